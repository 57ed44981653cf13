"""Random calls of every layer over the ranges of its arguments: valid, at the bounds, and beyond them.

`python -m tests.support.argument_sweep --count 20000 --seed 1` runs more of them than the tests do.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument

from tests.support.paths import TESTS

sys.path[:0] = [str(TESTS)]

from netdsl.backend.compile import CompileOptions, compile_to_bytes  # noqa: E402
from netdsl.backend.emit import OPSETS, check, emit  # noqa: E402
from netdsl.backend.quantize import quantize  # noqa: E402
from netdsl.backend.serialize import to_bytes  # noqa: E402
from netdsl.base.shape import Size  # noqa: E402
from netdsl.base.user_error import UserError  # noqa: E402
from netdsl.ir.net import Net, Node  # noqa: E402
from netdsl.layers import layer_modules  # noqa: E402
from netdsl.lower import lower  # noqa: E402
from netdsl.train.export import NeedsNewerOpset, step_to_bytes  # noqa: E402
from tests.support.exact import evaluator  # noqa: E402
from tests.support.programs import try_net  # noqa: E402
from tests.support.random_calls import EXTREME_REALS, Calls  # noqa: E402
from tests.support.recipe_tools import recipe_of  # noqa: E402

ELEMENTS = 200_000
"""Maximum number of elements of a value or weight in a model that is loaded and run."""

UNDEFINED = ("sqrt", "log", "div")
"""Layers that are not finite everywhere."""

JUMPING = ("hard_shrink", "threshold")
"""Layers that are not continuous."""

STEEP = (
    "sign",
    "step",
    "exp",
    "norm",
    "bn",
    "softmax",
    "div",
    "lrn",
    "square",
    "argmax",
    "indices",
    "roi_align",
    *JUMPING,
)
"""Layers that make much of a small difference, or of values that vary little."""

UNITS = (5, 3, 2, 1)
"""Bounds of random integers, which may be indices of axes of few elements: the first that a model accepts is used."""


def programs(seed: int, count: int) -> Iterator[tuple[str, int]]:
    """Yield programs, and an opset for each; every layer comes equally often."""
    calls = Calls(seed)
    names = sorted(layer_modules())
    for i in range(count):
        yield calls.program(names[i % len(names)]), calls.random.choice(OPSETS)


def called(text: str) -> str:
    """Return the layer that a program calls."""
    return text.rpartition("; ")[2].split()[0]


def checked(text: str) -> Net | None:
    """Return the net of a program, or None where it is refused, which must be with a message."""
    net, report = try_net(text)
    if net is None:
        problems = list(report)
        assert problems, "refused without a problem"
        assert all(p.message() for p in problems)
    return net


def plain(text: str, opset: int) -> str:
    """Compile, load and run a program, and compare with its declared shape and onnx's reference.

    Returns how far it came: `refused`, `large` or `ran`. Raises AssertionError, and whatever netdsl or onnxruntime do.
    """
    net = checked(text)
    if net is None:
        return "refused"
    if largest(net) > ELEMENTS or slow(text):
        return "large"
    made = model(net, opset)
    session = runs(made)
    ran = "large"
    for sizes in ({"N": 2, "H": 5}, {"N": 1, "H": 4}):
        expected = (sizes["N"], *at(net.outputs["output"].node.shape, sizes))
        if min(expected) < 1:  # a size that is known only at run time may be too small for its layer
            continue
        try:
            feeds, (found,) = fed(session, net, sizes)
        except (Fail, InvalidArgument) as error:
            if is_too_short(text, error):  # likewise
                continue
            raise
        assert found.shape == expected, f"shape {found.shape}, declared {expected}"
        if not extreme(text) and not any(word in text for word in UNDEFINED):
            assert np.isfinite(found).all(), "not finite"
            compare(made, feeds, found)
        ran = "ran"
    return ran


def is_too_short(text: str, error: Exception) -> bool:
    """Return whether onnxruntime rejects an axis that is known only at run time, as too short for its layer."""
    told = ("k argument", "Compute Index tensor shape")  # TopK and MaxUnpool
    return "?" in text and (isinstance(error, InvalidArgument) or any(each in str(error) for each in told))


def other_forms(text: str, opset: int) -> str:
    """Compile a program in half precision, with functions and in int8; load, run and compare each with f32."""
    net = checked(text)
    if net is None:
        return "refused"
    if largest(net) > ELEMENTS // 10 or slow(text):
        return "large"
    sizes = {"N": 4, "H": 5}
    if min(at(net.outputs["output"].node.shape, sizes), default=1) < 1:
        return "large"
    made = compile_to_bytes(net, CompileOptions(opset=opset))
    try:
        feeds, (right,) = fed(runs(made), net, sizes)
    except (Fail, InvalidArgument) as error:
        if is_too_short(text, error):
            return "large"
        raise
    (found,) = runs(compile_to_bytes(net, CompileOptions(opset=opset, functions=True))).run(None, feeds)
    np.testing.assert_array_equal(found, right)
    exact = extreme(text) or any(word in text for word in UNDEFINED) or not right.any() or not np.isfinite(right).all()
    for form in (
        lambda: compile_to_bytes(net, CompileOptions(opset=opset, dtype="f16")),
        lambda: quantised(made, feeds),
    ):
        try:
            converted = form()
        except UserError as error:
            if error.code not in ("E0681", "E0682"):
                raise
            continue
        (found,) = runs(converted).run(None, feeds)
        assert found.shape == right.shape
        if not exact and not any(word in text for word in STEEP):
            assert np.isfinite(found).all(), "not finite"
            assert np.abs(found - right).max() <= 0.25 * max(1e-3, np.abs(right).max()), "far off"
    return "ran"


def quantised(made: bytes, feeds: dict[str, np.ndarray]) -> bytes:
    return quantize(made, [feeds]).SerializeToString()


def trained(text: str, opset: int) -> str:
    """Compile a training step of a program, with a weight behind each input, load it and take the step twice.

    Returns how far it came, as `plain`. The loss must fall by |gradient|^2 along the gradient, to first order.
    """
    text = re.sub(r"input (\w+) ((?:(?!dtype i64)[^;])*);", r"input \1_in \2; \1: prelu;", text)
    text = f'{text}\ntrain n {{ data npz "x.npz"; loss mse; batch 2; optimizer sgd lr 1 }}'
    recipe, problems = recipe_of(text)
    if recipe is None:
        assert problems, "refused without a problem"
        return "refused"
    if largest(recipe.net) > ELEMENTS // 10 or slow(text):
        return "large"
    try:
        made = step_to_bytes(recipe, opset=opset)
    except NeedsNewerOpset:
        return "refused"
    session = runs(made)
    rng = np.random.default_rng(1)
    target = rng.standard_normal((2, *recipe.net.outputs["output"].node.shape)).astype("f4")
    feeds, results = fed(session, recipe.net, {"N": 2}, {"rate": np.array(1, "f4"), "target": target})
    names = [y.name for y in session.get_outputs()]
    found = dict(zip(names, results, strict=True))
    if extreme(text) or any(word in text for word in (*UNDEFINED, *JUMPING, "dropout", "square")):
        return "ran"
    assert np.isfinite(found["loss"]), "the loss is not finite"
    weights = weights_of(made)
    gradient = {
        name: weights[name].astype("f8") - found[f"{name}.next"]
        for name in weights
        if f"{name}.next" in found and weights[name].ndim and "running" not in name
    }
    assert all(np.isfinite(g).all() for g in gradient.values()), "a gradient is not finite"
    slope = sum(float((g**2).sum()) for g in gradient.values())
    size = 1e-3 / max(slope**0.5, 1e-6)
    losses = []
    for sign in (1, -1):
        moved = {n: (weights[n] + sign * size * g).astype("f4") for n, g in gradient.items()}
        losses.append(float(dict(zip(names, session.run(None, {**feeds, **moved}), strict=True))["loss"]))
    rise = (losses[0] - losses[1]) / (2 * size)
    assert abs(rise - slope) <= 0.2 * slope + 2e-3 * max(1, abs(losses[0])) / size * 1e-3, f"slope {rise}, not {slope}"
    return "ran"


def weights_of(made: bytes) -> dict[str, np.ndarray]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(made).graph.initializer}


def runs(made: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])


def compare(made: bytes, feeds: dict[str, np.ndarray], found: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        (right,) = evaluator(made).run(None, feeds)
    np.testing.assert_allclose(found, right, rtol=2e-3, atol=2e-4)


def extreme(text: str) -> bool:
    """Whether a number is so large or so small that a result may be infinite, or differ by rounding.

    A hundred recurrent layers with large weights are chaotic.
    """
    return any(f" {real}" in text or f"[{real}" in text for real in EXTREME_REALS) or any(
        number in text for number in ("e38", "e39", "e40", "2147483", "922337", "100000000", "65536", "layers 100")
    )


def slow(text: str) -> bool:
    """Whether onnxruntime's average, or its search for the place of a maximum, takes a step for each of millions of
    padding cells."""
    return any(word in text for word in ("avgpool", "unpool")) and any(
        number in text for number in ("2147483", "65536")
    )


def largest(net: Net) -> int:
    counts = [np.prod([float(d) for d in at(node.shape, {"H": 5})]) for node in net.nodes]
    counts += [np.prod([float(d) for d in p.shape]) for p in net.parameters.values()]
    return int(max(counts))


def model(net: Net, opset: int) -> bytes:
    """Return the checked model with small random weights."""
    rng = np.random.default_rng(0)
    emitted = emit(lower(net), opset=opset)
    check(emitted)
    values = []
    for p in emitted.parameters:
        low, high = (0.5, 2.0) if p.name.endswith("running_var") else (-1.0, 1.0)
        values.append((p.name, rng.uniform(low, high, p.shape).astype("f4")))
    return to_bytes(emitted, values)


def at(shape: tuple[int | Size, ...], sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(size.substitute(sizes) if isinstance(size, Size) else size for size in shape)


def fed(
    session: onnxruntime.InferenceSession, net: Net, sizes: dict[str, int], more: dict[str, np.ndarray] | None = None
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Run a model on random inputs; return them and the results."""
    names = {x.name for x in session.get_inputs()}
    for units in UNITS:
        feeds = {**{x.name: example(x, sizes, units) for x in net.inputs}, **(more or {})}
        feeds = {name: value for name, value in feeds.items() if name in names}
        try:
            return feeds, session.run(None, feeds)
        except Exception as error:  # of onnxruntime, whose classes differ between versions
            if units == 1 or not any(word in str(error) for word in ("bounds", "invalid index", "Invalid value")):
                raise
    raise AssertionError


def example(node: Node, sizes: dict[str, int], units: int) -> np.ndarray:
    dtype, shape = node.layer.dtype, (sizes["N"], *at(node.shape, sizes))  # type: ignore[attr-defined]
    rng = np.random.default_rng([len(shape), *node.name.encode()])
    if dtype == "i64":
        return rng.integers(0, units, shape)
    if dtype == "u8":
        return rng.integers(0, 256, shape).astype("u1")
    return rng.standard_normal(shape).astype("f2" if dtype == "f16" else "f4")


HOW = {"plain": plain, "trained": trained, "other_forms": other_forms}


def main() -> int:
    onnxruntime.set_default_logger_severity(4)
    parser = argparse.ArgumentParser(description="Hold random calls of every layer against onnxruntime.")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--how", choices=HOW, default="plain", help="what is compiled")
    parser.add_argument("--last", help="file for the program that is running, to find what ends the process")
    options = parser.parse_args()
    found: Counter[str] = Counter()
    failures: dict[str, str] = {}
    for text, opset in programs(options.seed, options.count):
        if options.last:
            Path(options.last).write_text(f"{opset}: {text}\n")
        try:
            found[HOW[options.how](text, opset)] += 1
        except Exception as error:
            found["failed"] += 1
            first = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
            failures.setdefault(first[:60] + called(text), f"{opset}: {text}\n    {first}")
    print(dict(found))
    for each in failures.values():
        print(each)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
