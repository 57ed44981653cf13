"""Rewrite a flat list with the layers that a person would use, where another tool has several parts in their place."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.declare.arguments import Word
from netdsl.importing.flat import FlatLayer, FlatNet, FlatWeight
from netdsl.importing.masks import refuse_masks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.base.dtypes import Array

    Rule = Callable[["Tidier", FlatLayer], FlatLayer | None]

RULES: dict[str, list[Rule]] = {}
"""The rules by the kind of the layer that they begin with, the last one of what they replace. Each returns a layer with
the same value, or None."""


def replaces(*kinds: str) -> Callable[[Rule], Rule]:
    """Register a rule."""

    def register(rule: Rule) -> Rule:
        for kind in kinds:
            RULES.setdefault(kind, []).append(rule)
        return rule

    return register


def tidy(net: FlatNet) -> dict[FlatLayer, FlatLayer]:
    """Rewrite a net in place. Return the layers that are replaced, with others of the same value."""
    for module in ("tidy_shapes", "tidy_norms", "tidy_attention", "tidy_rope"):
        import_module(f"netdsl.importing.{module}")
    return Tidier(net).run()


class Tidier:
    """One pass over a net, from its inputs on."""

    def __init__(self, net: FlatNet) -> None:
        self.net = net
        net.layers = net.live()
        self.readers: dict[FlatLayer, int] = dict.fromkeys(net.layers, 0)
        for layer in net.layers:
            for value in {*layer.inputs}:
                self.readers[value] += 1
            if layer.shares is not None:
                self.readers[layer.shares] += 2
        for layer in net.outputs.values():
            self.readers[layer] += 2

    def run(self) -> dict[FlatLayer, FlatLayer]:
        replaced: dict[FlatLayer, FlatLayer] = {}
        layers, self.net.layers = self.net.layers, []
        for layer in layers:
            layer.inputs = tuple(replaced.get(value, value) for value in layer.inputs)
            self.net.layers.append(layer)
            found: FlatLayer | None = layer
            while found is not None:
                found = next(filter(None, (rule(self, found) for rule in RULES.get(found.kind, ()))), None)
                if found is not None:
                    replaced[layer] = found
                    self.readers[found] = self.readers[layer]
        for name, layer in self.net.outputs.items():
            self.net.outputs[name] = replaced.get(layer, layer)
        refuse_masks(self.net, replaced)
        self.net.layers = self.net.live()
        return replaced

    def is_only(self, layer: FlatLayer, *kinds: str) -> bool:
        """Return whether a layer is of one of these kinds, and read once."""
        return layer.kind in kinds and self.readers.get(layer, 1) == 1

    def add(
        self,
        like: FlatLayer,
        kind: str,
        x: FlatLayer,
        arguments: Mapping[str, object] | None = None,
        weights: Mapping[str, FlatWeight] | None = None,
        path: str = "",
    ) -> FlatLayer | None:
        """Add a layer in the place of another one."""
        return self.net.add(kind, [x], arguments, weights, path=path or like.path, place=like.place)


def given(layer: FlatLayer) -> dict[str, Any]:
    """Return the arguments of a layer that differ from their defaults."""
    values = {name: getattr(layer.layer, name) for name in layer.layer.arguments}
    others = {name: value for name, value in values.items() if value != layer.layer.arguments[name].default}
    return {name: Word(value) if isinstance(value, str) else value for name, value in others.items()}


def changed(weight: FlatWeight, change: Callable[[Array], Array]) -> FlatWeight:
    """Return a weight that is computed from another one of its shape."""
    return FlatWeight(weight.shape, lambda: np.ascontiguousarray(change(weight.read()), np.float32))


def per_channel(layer: FlatLayer, x: FlatLayer) -> FlatWeight | None:
    """Return a constant with a number for each channel of x as a weight [C]; None for anything else."""
    if layer.shape != (x.shape[0], *(1 for _ in x.shape[1:])):
        return None
    count = layer.shape[0]
    assert isinstance(count, int)
    if layer.kind == "param" and layer.weights:
        weight = layer.weights["weight"]
        return FlatWeight((count,), lambda: weight.read().reshape(-1))
    if layer.kind == "values":
        numbers = np.array(layer.layer.numbers, np.float32)  # type: ignore[attr-defined]
        return FlatWeight((count,), lambda: numbers)
    return None


def with_constant(layer: FlatLayer) -> tuple[FlatLayer, FlatLayer] | None:
    """Return the value and the constant that a layer combines, if it does."""
    if len(layer.inputs) != 2:
        return None
    a, b = layer.inputs
    if b.kind in ("param", "values"):
        return a, b
    return (b, a) if a.kind in ("param", "values") else None


# --- activations ---


@replaces("mul")
def _gated(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """x sigmoid(x), x hard_sigmoid(x), x tanh(softplus(x)), and x relu6(x + 3), which is six times a hard swish."""
    if len(layer.inputs) != 2:
        return None
    for x, gate in (layer.inputs, layer.inputs[::-1]):
        if not gate.inputs or tidier.readers[gate] != 1:
            continue
        inner = gate.inputs[0]
        if inner is x and gate.kind in ("sigmoid", "hard_sigmoid"):
            return tidier.add(layer, "silu" if gate.kind == "sigmoid" else "hard_swish", x)
        if gate.kind == "tanh" and tidier.is_only(inner, "softplus") and inner.inputs[0] is x:
            return tidier.add(layer, "mish", x)
    return None


@replaces("scale")
def _sixth(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """relu6(x + 3) / 6 and x relu6(x + 3) / 6."""
    if abs(layer.layer.a * 6 - 1) > 1e-6:  # type: ignore[attr-defined]
        return None
    (y,) = layer.inputs
    if (x := _shifted_relu6(tidier, y)) is not None:
        return tidier.add(layer, "hard_sigmoid", x)
    if tidier.is_only(y, "mul") and len(y.inputs) == 2:
        for x, gate in (y.inputs, y.inputs[::-1]):
            if _shifted_relu6(tidier, gate) is x:
                return tidier.add(layer, "hard_swish", x)
    return None


def _shifted_relu6(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """Return x of relu6(x + 3)."""
    if not tidier.is_only(layer, "relu6") or not tidier.is_only(layer.inputs[0], "shift"):
        return None
    shift = layer.inputs[0]
    return shift.inputs[0] if shift.layer.b == 3 else None  # type: ignore[attr-defined]


# --- affine maps ---


@replaces("dense")
def _flattened(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """A dense layer flattens its input; if that was transposed first, its columns have another order."""
    flat = layer.inputs[0]
    if flat.kind != "flatten" or layer.shares is not None:
        return None
    (x,) = flat.inputs
    weights = dict(layer.weights)
    if x.kind == "permute" and tidier.is_only(x, "permute") and "weight" in weights:
        axes, sizes = x.layer.axes, x.shape  # type: ignore[attr-defined]
        if not all(isinstance(size, int) for size in sizes):
            return None
        weights["weight"] = changed(weights["weight"], lambda w: _columns(w, sizes, axes))  # type: ignore[arg-type]
        (x,) = x.inputs
    return tidier.add(layer, "dense", x, given(layer), weights)


def _columns(weight: Array, sizes: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """Return the columns for the axes before a permutation."""
    wide = weight.reshape(-1, *sizes)
    return wide.transpose(0, *(axes.index(axis) + 1 for axis in range(len(axes)))).reshape(weight.shape)


@replaces("add")
def _biased(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """A constant for each channel behind a linear layer without a bias, or behind `bn`."""
    found = with_constant(layer)
    if found is None:
        return None
    x, constant = found
    bias = per_channel(constant, x)
    if bias is None or x.shape != layer.shape:
        return None
    if tidier.is_only(x, "dense", "linear", "conv", "dwconv", "deconv") and not x.layer.bias and x.weights:  # type: ignore[attr-defined]
        return tidier.add(x, x.kind, x.inputs[0], {**given(x), "bias": True}, {**x.weights, "bias": bias})
    if tidier.is_only(x, "bn") and x.weights:
        before = x.weights["bias"]
        weights = {**x.weights, "bias": FlatWeight(bias.shape, lambda: before.read() + bias.read())}
        return tidier.add(x, "bn", x.inputs[0], given(x), weights)
    return None


@replaces("add")
def _summed(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """A sum of a sum and more values, which are added in this order."""
    inner = layer.inputs[0]
    if not tidier.is_only(inner, "add") or layer.layer.spread or inner.layer.spread:  # type: ignore[attr-defined]
        return None
    a, b = inner.inputs[0], inner.inputs[-1]
    if _reaches(a, b) or _reaches(b, a):  # a residual connection
        return None
    return tidier.net.add("add", (*inner.inputs, *layer.inputs[1:]), path=layer.path, place=layer.place)


def _reaches(layer: FlatLayer, target: FlatLayer) -> bool:
    """Return whether a layer depends on another one, which is not far from it."""
    found, waiting = {layer}, [layer]
    while waiting and len(found) < NEAR:
        for value in waiting.pop(0).inputs:
            if value is target:
                return True
            if value not in found:
                found.add(value)
                waiting.append(value)
    return False


NEAR = 100
"""Maximum number of layers in which a residual connection is found."""


@replaces("shift")
def _biased_by_a_number(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """The bias of a single output."""
    (x,) = layer.inputs
    if not tidier.is_only(x, "dense", "linear", "conv") or x.shape[0] != 1 or x.layer.bias or not x.weights:  # type: ignore[attr-defined]
        return None
    number = np.array([layer.layer.b], np.float32)  # type: ignore[attr-defined]
    weights = {**x.weights, "bias": FlatWeight((1,), lambda: number)}
    return tidier.add(x, x.kind, x.inputs[0], {**given(x), "bias": True}, weights)


@replaces("mul")
def _scaled(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """A factor for each channel behind `bn`."""
    found = with_constant(layer)
    if found is None or not tidier.is_only(found[0], "bn") or not found[0].weights:
        return None
    x, constant = found
    factor = per_channel(constant, x)
    if factor is None or x.shape != layer.shape:
        return None
    weights = {**x.weights}
    for name in ("weight", "bias"):
        weights[name] = _product(x.weights[name], factor)
    return tidier.add(x, "bn", x.inputs[0], given(x), weights)


def _product(a: FlatWeight, b: FlatWeight) -> FlatWeight:
    return FlatWeight(a.shape, lambda: a.read() * b.read())


@replaces("add")
def _affine_norm(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """A factor and an offset for each channel behind a normalization without them."""
    outer = with_constant(layer)
    inner = with_constant(outer[0]) if outer is not None and tidier.is_only(outer[0], "mul") else None
    if outer is None or inner is None or not tidier.is_only(inner[0], "layernorm", "instancenorm", "groupnorm"):
        return None
    norm, constant = inner
    weight, bias = per_channel(constant, norm), per_channel(outer[1], norm)
    if norm.layer.affine or weight is None or bias is None or layer.shape != norm.shape:  # type: ignore[attr-defined]
        return None
    arguments = {name: value for name, value in given(norm).items() if name != "affine"}
    return tidier.add(layer, norm.kind, norm.inputs[0], arguments, {"weight": weight, "bias": bias})


@replaces("add")
def _affine(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """A factor and then an offset for each channel: a depthwise convolution of one position."""
    outer = with_constant(layer)
    inner = with_constant(outer[0]) if outer is not None and tidier.is_only(outer[0], "mul") else None
    if outer is None or inner is None or not 2 <= len(layer.shape) <= 4:
        return None
    x, constant = inner
    factor, offset = per_channel(constant, x), per_channel(outer[1], x)
    if factor is None or offset is None or x.shape != layer.shape:
        return None
    ones = (1,) * (len(x.shape) - 1)
    weight = FlatWeight((*factor.shape, 1, *ones), lambda: factor.read().reshape(-1, 1, *ones))
    kernel = ones if len(ones) > 1 else 1
    return tidier.add(layer, "dwconv", x, {"kernel": kernel}, {"weight": weight, "bias": offset})


@replaces("div")
def _normalized(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """(x - mean) / std by constants of the text."""
    x, std = layer.inputs if len(layer.inputs) == 2 else (layer, layer)
    if std.kind != "values" or not tidier.is_only(x, "sub") or len(x.inputs) != 2 or x.inputs[1].kind != "values":
        return None
    source, mean = x.inputs
    if per_channel(std, source) is None or per_channel(mean, source) is None or min(std.layer.numbers) <= 0:  # type: ignore[attr-defined]
        return None
    return tidier.add(layer, "normalize", source, {"mean": mean.layer.numbers, "std": std.layer.numbers})  # type: ignore[attr-defined]


# --- GELU ---


@replaces("div")
def _softmax(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """exp(x - m) / sum of exp(x - m), with m the maximum of x."""
    if len(layer.inputs) != 2:
        return None
    exp, total = layer.inputs
    if exp.kind != "exp" or tidier.readers[exp] != 2 or not tidier.is_only(exp.inputs[0], "sub"):
        return None
    difference = exp.inputs[0]
    if len(difference.inputs) != 2:
        return None
    x, most = difference.inputs
    reductions = [(total, exp, "sum"), (most, x, "max")]
    if not all(tidier.is_only(r, "reduce") and r.inputs[0] is y and r.layer.how == how for r, y, how in reductions):  # type: ignore[attr-defined]
        return None
    axis = total.layer.axis  # type: ignore[attr-defined]
    return tidier.add(layer, "softmax", x, {"axis": axis}) if axis == most.layer.axis else None  # type: ignore[attr-defined]


@replaces("mul")
def _tanh_gelu(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """x / 2 (1 + tanh(√(2/π) (x + 0.044715 x³))), with the half of either factor, or behind."""
    if len(layer.inputs) != 2:
        return None
    for first, second in (layer.inputs, layer.inputs[::-1]):
        x, half = _unscaled(tidier, first)
        one, other = _unscaled(tidier, second)
        inner: FlatLayer | None = one
        for kind, number in (("shift", 1.0), ("tanh", None), ("scale", (2 / np.pi) ** 0.5)):
            inner = _argument_of(tidier, inner, kind, number)
        if inner is None or not tidier.is_only(inner, "add") or len(inner.inputs) != 2 or x not in inner.inputs:
            continue
        cube = inner.inputs[1 if inner.inputs[0] is x else 0]
        if abs(half * other - 0.5) <= 1e-6 and _is_cube(tidier, cube, x):
            return tidier.add(layer, "gelu", x, {"tanh": True})
    return None


def _unscaled(tidier: Tidier, layer: FlatLayer) -> tuple[FlatLayer, float]:
    """Return a value that a layer multiplies by a number, and that number."""
    if not tidier.is_only(layer, "scale"):
        return layer, 1.0
    return layer.inputs[0], layer.layer.a  # type: ignore[attr-defined]


def _is_cube(tidier: Tidier, layer: FlatLayer, x: FlatLayer) -> bool:
    """Return whether a value is 0.044715 x³, as products in any order."""
    factor, powers, waiting = 1.0, 0, [layer]
    while waiting and powers <= 3:
        found, number = _unscaled(tidier, waiting.pop())
        factor *= number
        if found is x:
            powers += 1
        elif tidier.is_only(found, "mul"):
            waiting += found.inputs
        else:
            return False
    return powers == 3 and abs(factor - 0.044715) <= 1e-7


def _argument_of(tidier: Tidier, layer: FlatLayer | None, kind: str, number: float | None) -> FlatLayer | None:
    """Return what a layer of a kind reads, if its only argument is this number."""
    if layer is None or not tidier.is_only(layer, kind):
        return None
    given_numbers = [*given(layer).values()]
    fits = number is None or (len(given_numbers) == 1 and abs(given_numbers[0] - number) <= 1e-6 * number)
    return layer.inputs[0] if fits else None
