"""A layer of Caffe that is being converted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.importing.calls import refused, sizes_of
from netdsl.importing.flat import FlatWeight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from netdsl.importing.caffe_model import CaffeLayer
    from netdsl.importing.flat import FlatLayer, FlatNet, Value
    from netdsl.importing.prototxt import Message

    Shape = tuple[int, ...]
    WeightOf = Callable[[CaffeLayer, int, Shape, str], FlatWeight | None]


class Step:
    """A layer of Caffe that is being converted: the net to add to, and where its weights come from."""

    __slots__ = ("layer", "net", "weight_of")

    def __init__(self, net: FlatNet, layer: CaffeLayer, weight_of: WeightOf) -> None:
        self.net = net
        self.layer = layer
        self.weight_of = weight_of

    @property
    def path(self) -> str:
        return self.layer.name.replace("/", ".")

    @property
    def place(self) -> str:
        return self.layer.place

    def parameters(self, name: str) -> Message:
        return self.layer.parameters(name)

    def refuse(self, what: str, why: str = "") -> Value:
        return refused(self.net, what, self.place, why)

    def weight(self, at: int, shape: Shape, role: str = "weight") -> FlatWeight | None:
        return self.weight_of(self.layer, at, shape, role)

    def weights(self, **given: FlatWeight | None) -> dict[str, FlatWeight]:
        """Return the weights of a layer; none if the model came without."""
        found = {name: weight for name, weight in given.items() if weight is not None}
        return found if len(found) == len(given) else {}

    def spread(self, x: FlatLayer, like: FlatLayer) -> Value:
        """Return a value for each channel with as many axes as another value."""
        missing = len(like.shape) - len(x.shape)
        return self.add("reshape", [x], {"sizes": (*x.shape, *(1,) * missing)}, inner=True) if missing else x

    def add(
        self,
        kind: str,
        operands: Sequence[Value],
        arguments: Mapping[str, object] | None = None,
        weights: Mapping[str, FlatWeight] | None = None,
        *,
        values: Mapping[str, Value] | None = None,
        inner: bool = False,
    ) -> Value:
        """Add a layer. `inner` is one that is only a part of this step, and has no name in the model."""
        return self.net.add(
            kind,
            operands,
            arguments,
            weights,
            values=values,
            path="" if inner else self.path,
            place=self.place,
        )


def axis_sizes(fields: Message, name: str, short: str, rank: int, default: int | None) -> tuple[int, ...] | None:
    """Return one size per axis: from `name` (once, or for each axis), or for two axes from `short_h` and `short_w`."""
    given = fields.integers(name)
    both = [fields.integers(f"{short}_{side}") for side in "hw"]
    if all(both) or (any(both) and default is not None):
        return tuple(each[-1] if each else default for each in both) if rank == 2 else None  # type: ignore[misc]
    if not given:
        return None if default is None else (default,) * rank
    return tuple(given) if len(given) == rank else (given[0],) * rank


def zeros(*shape: int) -> FlatWeight:
    return FlatWeight(shape, lambda: np.zeros(shape, np.float32))


def ones(*shape: int) -> FlatWeight:
    return FlatWeight(shape, lambda: np.ones(shape, np.float32))


def reshaped(weight: FlatWeight | None, *shape: int) -> FlatWeight | None:
    return None if weight is None else FlatWeight(shape, lambda: weight.read().reshape(shape))


def scaled(step: Step, x: FlatLayer, role: str | None, bias: bool, at: int = 0) -> Value:
    """Multiply by a learned number for each channel if it has a role, and add one: a depthwise convolution 1x1."""
    size, *spatial = sizes_of(x)
    rank = len(spatial)
    given: dict[str, FlatWeight | None] = {}
    weight = step.weight(at, (size,), role) if role else None
    offset = step.weight(at + bool(role), (size,), "bias") if bias else None
    if not rank:  # flat
        if role:
            x = step.add("mul", [x, learned(step, weight, size)], inner=bias)  # type: ignore[assignment]
        return step.add("add", [x, learned(step, offset, size)]) if bias else x
    if role is None:
        weight = offset and ones(size)
    given["weight"] = reshaped(weight, size, 1, *(1,) * rank)
    if bias:
        given["bias"] = offset
    return step.add("dwconv", [x], {"kernel": 1 if rank == 1 else (1,) * rank, "bias": bias}, step.weights(**given))


def learned(step: Step, weight: FlatWeight | None, *sizes: int) -> Value:
    """Return a learned value, whose weight may have other axes of 1."""
    return step.add("param", [], {"sizes": sizes}, step.weights(weight=reshaped(weight, *sizes)), inner=True)
