"""A call of a Keras layer that is being converted."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from netdsl.importing.calls import refused, sizes_of
from netdsl.importing.flat import FlatLayer
from netdsl.importing.keras_model import OLD_HARD_SIGMOID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.importing.flat import FlatWeight, Value
    from netdsl.importing.keras import Conversion
    from netdsl.importing.keras_model import KerasCall

ACTIVATIONS: dict[str, tuple[str, dict[str, object]] | None] = {
    "celu": ("celu", {}),
    "elu": ("elu", {}),
    "exponential": ("exp", {}),
    "gelu": ("gelu", {}),
    "hard_sigmoid": ("hard_sigmoid", {}),
    "hard_silu": ("hard_swish", {}),
    "hard_swish": ("hard_swish", {}),
    "hard_tanh": ("hard_tanh", {}),
    "leaky_relu": ("leaky_relu", {"slope": 0.2}),
    "linear": None,
    "log_sigmoid": ("log_sigmoid", {}),
    "log_softmax": ("log_softmax", {}),
    "mish": ("mish", {}),
    "relu": ("relu", {}),
    "relu6": ("relu6", {}),
    "selu": ("selu", {}),
    "sigmoid": ("sigmoid", {}),
    "silu": ("silu", {}),
    "softmax": ("softmax", {}),
    "softplus": ("softplus", {}),
    "softsign": ("softsign", {}),
    "swish": ("silu", {}),
    "tanh": ("tanh", {}),
}
"""Activations by their names; softmax is over the last axis, which is the first here."""


class Flattened:
    """A value [C, *S] whose elements a layer takes as [*S, C], one after the other."""

    __slots__ = ("layer",)

    def __init__(self, layer: FlatLayer) -> None:
        self.layer = layer

    @property
    def in_order(self) -> bool:
        """Whether the order is the same with the channels first."""
        return self.layer.shape[0] == 1 or prod(sizes_of(self.layer)[1:]) == 1


class KerasStep:
    """A call that is being converted."""

    __slots__ = ("_made", "call", "conversion", "net")

    def __init__(self, conversion: Conversion, call: KerasCall) -> None:
        self.conversion = conversion
        self.net = conversion.net
        self.call = call
        self._made = 0

    @property
    def about(self) -> Mapping[str, Any]:
        return self.call.about

    @property
    def channels_first(self) -> bool:
        return self.conversion.model.channels_first

    def axis(self, axis: int, x: FlatLayer) -> int:
        """Return the axis of a value that Keras counts from 1, or from the last one back."""
        rank = len(x.shape)
        at = axis % (rank + 1)
        return at - 1 if self.channels_first or at == 0 else 0 if at == rank else at

    def refuse(self, what: str, why: str = "") -> Value:
        return refused(self.net, what, self.call.name, why)

    def weight(self, word: str) -> FlatWeight:
        return self.conversion.weights.get(f"{self.call.name}.{word}")

    def weights(self, *words: str) -> dict[str, FlatWeight]:
        return {word: self.weight(word) for word in words}

    def add(
        self,
        kind: str,
        operands: Sequence[Value],
        arguments: Mapping[str, object] | None = None,
        weights: Mapping[str, FlatWeight] | None = None,
        end: str = "",
    ) -> Value:
        """Add a layer. In another call of the same Keras layer, it has the weights of the first one."""
        shares = None
        if weights:
            first = self.conversion.first.setdefault(self.call.name, [])
            if self.call.number:
                shares = first[self._made] if self._made < len(first) else None
                weights = {}
            self._made += 1
        path = f"{self.call.name}{end}" if weights or end == "" else ""
        made = self.net.add(kind, operands, arguments, weights, shares=shares, path=path, place=self.call.name)
        if made is not None and weights:
            self.conversion.first[self.call.name].append(made)
        return made

    def plain(self, x: Value | Flattened) -> Value:
        """Return a value as a layer, with its elements in Keras's order if it is flattened."""
        if not isinstance(x, Flattened):
            return x
        rank = len(x.layer.shape)
        y: Value = x.layer
        if not x.in_order:
            y = self.net.add("permute", [y], {"axes": (*range(1, rank), 0)}, place=self.call.name)
        return self.net.add("flatten", [y], place=self.call.name)

    def activated(self, y: Value, key: str = "activation") -> Value:
        found = self.about.get(key)
        if isinstance(found, dict):  # of a function, or of a layer such as ReLU
            found = found.get("config") if isinstance(found.get("config"), str) else found.get("class_name")
        name = str(found or "linear")
        if name == OLD_HARD_SIGMOID:
            for kind, given in (("scale", {"a": 0.2}), ("shift", {"b": 0.5}), ("clip", {"low": 0.0, "high": 1.0})):
                y = self.net.add(kind, [y], given, place=self.call.name)
            return y
        if name not in ACTIVATIONS:
            return self.refuse(f"the activation {name}", "netdsl does not know it")
        call = ACTIVATIONS[name]
        if call is None or y is None:
            return y
        self.conversion.before[y] = len(self.conversion.values)
        arguments = {"axis": self.axis(-1, y)} if call[0] in ("softmax", "log_softmax") else call[1]
        return self.net.add(call[0], [y], arguments, place=self.call.name)
