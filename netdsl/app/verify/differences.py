"""Compare gradients with central differences of the loss in double precision.

The loss is computed by onnx's reference evaluator, so that neither onnxruntime nor the gradients of operators take
part. Each weight tensor is moved along a random direction of signs, which finds a wrong element wherever it is, and at
single elements: where the gradient is largest, and at random places.
"""

from __future__ import annotations

from math import inf, isfinite, sqrt
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.app.verify.exact import evaluator
from netdsl.ir.graph import LOSS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from netdsl.base.dtypes import Array

    Arrays = Mapping[str, Array]

STEP, LARGEST_STEP = 1e-6, 1e-3
"""First step of a difference, and the largest one that its rounding may require, relative to the deviation of a
tensor."""

SHRINKS, SHRINK = 3, 0.03
"""How often, and by which factor, a step is made smaller if the slope is not that of the gradient: a larger one may
have crossed the kink of an activation."""

CLOSE = 1e-4
"""Relative error below which no smaller step is tried."""

SMALLEST = 1e-2
"""Deviation of tensors that are closer to 0, such as biases."""

FLOOR = 1e-4
"""Smallest gradient of a tensor that its errors are relative to, as a part of the largest of all tensors. Rounding
alone is the gradient of a bias that a batch normalization subtracts again."""

NOISE = 4e-15
"""Rounding of a loss in double precision, relative to it."""

RESOLUTION = 1e-4
"""Largest error of a slope by that rounding, relative to what errors are relative to."""


def compare(
    model: str,
    feeds: Arrays,
    found: Sequence[Arrays],
    nudged: Sequence[Arrays],
    *,
    samples: int,
    seed: int,
    seconds: float,
) -> dict[str, Any]:
    """Compare several sets of gradients by the names of weights. Those that are `nudged` are of weights that differ in
    their last bit, and tell the rounding of the first.

    Returns the loss; for each tensor its largest error in each set, the rounding, and the number of differences;
    and the number of tensors that no difference can measure. Stops after `seconds`, at the earliest when the first
    tensor has been compared.
    """
    end = monotonic() + seconds
    loss = _Loss(model, feeds)
    middle = loss(None, None)
    floor = FLOOR * max((float(np.abs(g).max(initial=0)) for g in found[0].values()), default=0.0)
    tensors: dict[str, dict[str, Any]] = {}
    unmeasured: set[str] = set()
    for name, kind, direction in _directions(found[0], samples, seed):
        if tensors and monotonic() > end:
            break
        scale = _scale(found[0][name], kind, floor)
        deviation = max(float(feeds[name].std()), SMALLEST)
        needed = NOISE * abs(middle) / (RESOLUTION * scale) if scale else inf
        if needed > LARGEST_STEP * deviation:
            unmeasured.add(name)
            continue
        mine, others = ([_slope(g[name], direction) for g in some] for some in (found, nudged))
        errors = _errors(loss, name, direction, mine, scale, (max(STEP * deviation, needed), needed))
        each = tensors.setdefault(name, {"errors": [0.0] * len(found), "rounding": 0.0, "count": 0})
        each["errors"] = [max(pair) for pair in zip(each["errors"], errors, strict=True)]
        each["rounding"] = max(each["rounding"], *(_relative(abs(other - mine[0]), scale) for other in others))
        each["count"] += 1
    return {"loss": middle, "tensors": tensors, "unmeasured": sorted(unmeasured - tensors.keys())}


def _slope(gradient: Array, direction: Array) -> float:
    return float((gradient.astype(np.float64) * direction).sum())


def _errors(
    loss: _Loss, name: str, direction: Array, slopes: Sequence[float], scale: float, steps: tuple[float, float]
) -> list[float]:
    """Return the errors of slopes along a direction, the smallest ones of several steps. `steps` are the first one and
    the smallest that rounding allows."""
    step, least = steps
    errors = [inf] * len(slopes)
    for _ in range(1 + SHRINKS):
        slope = (loss(name, step * direction) - loss(name, -step * direction)) / (2 * step)
        errors = [min(error, _relative(abs(mine - slope), scale)) for error, mine in zip(errors, slopes, strict=True)]
        if max(errors, default=0.0) <= CLOSE or step * SHRINK < least:
            break
        step *= SHRINK
    return errors


def _relative(error: float, scale: float) -> float:
    return error / scale if isfinite(error) else inf


def _scale(gradient: Array, kind: str, floor: float) -> float:
    """Return what the error of a slope is relative to: for a direction of signs the norm of the gradient, as its slope
    is about as large, and for an element the largest one."""
    wide = gradient.astype(np.float64)
    if kind == "all":
        return max(float(np.linalg.norm(wide)), floor * sqrt(gradient.size))
    return max(float(np.abs(wide).max(initial=0)), floor)


def _directions(gradients: Arrays, samples: int, seed: int) -> Iterator[tuple[str, str, Array]]:
    """Yield directions for all tensors in turns, in an order that the seed determines."""
    random = np.random.default_rng(seed)
    names = [str(name) for name in random.permutation([*gradients])]
    for name in names:
        yield name, "all", random.choice((-1.0, 1.0), gradients[name].shape)
    for at in range(samples):
        for name in names:
            size = gradients[name].size
            if at >= size:
                continue
            direction = np.zeros(size)
            place = np.abs(gradients[name]).argmax() if at == 0 else random.integers(size)
            direction[place] = 1.0
            yield name, "element", direction.reshape(gradients[name].shape)


class _Loss:
    """The loss as a function of a change of one tensor."""

    def __init__(self, model: str, feeds: Arrays) -> None:
        self.program: Any = evaluator(model)
        self.feeds = dict(feeds)

    def __call__(self, name: str | None, change: Array | None) -> float:
        feeds = self.feeds if name is None else {**self.feeds, name: self.feeds[name] + change}
        (value,) = self.program.run([LOSS], feeds)
        return float(value)
