"""Layers that several readers make, with the arguments that a person would write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.size import Undecidable
from netdsl.declare.arguments import Word
from netdsl.diagnostics.problem import Misfit
from netdsl.importing.errors import NoSuchInput
from netdsl.importing.flat import LABEL, make_layer
from netdsl.layers.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netdsl.base.shape import Shape
    from netdsl.importing.flat import FlatLayer, FlatNet, FlatWeight, Value

SAME = Word("same")

NO_LIMIT = 3.4028234e38
"""The shortest number that is the largest one in float32: the limit of a `clip` that has only one."""

NO_EPS = 1e-30
"""Epsilon of an `l2norm` that changes only vectors whose squares float32 hardly holds."""


def conv(
    net: FlatNet,
    x: Value,
    weights: Mapping[str, FlatWeight],
    *,
    kernel: Sequence[int],
    outputs: int,
    stride: Sequence[int] = (),
    pads: Sequence[int] | Word = (),
    dilation: Sequence[int] = (),
    groups: int = 1,
    bias: bool = True,
    path: str = "",
    place: str = "",
) -> Value:
    """Apply a convolution, or a depthwise one. `pads` are all befores, then all afters, or a rule; without
    them, there are none.

    `weights` are in the layout [outputs, inputs / groups, *kernel], or empty if the model came without any.
    """
    if x is None:
        return None
    dilation = tuple(dilation) or (1,) * len(kernel)
    sides = pads if isinstance(pads, Word) else tuple(pads) or (0,) * (2 * len(kernel))
    halves = [d * (k - 1) / 2 for k, d in zip(kernel, dilation, strict=True)]
    arguments: dict[str, object] = {
        "kernel": tuple(kernel) if len(kernel) > 1 else kernel[0],
        "stride": tuple(stride) or 1,
        "pad": SAME if [*sides] == halves * 2 and all(k % 2 for k in kernel) else sides,
        "dilation": dilation,
        "bias": bias,
    }
    channels = x.shape[0] if x.shape else 0
    if groups == channels != 1 and outputs % groups == 0:
        arguments["multiplier"] = outputs // groups
        return net.add("dwconv", [x], arguments, weights, path=path, place=place)
    arguments |= {"channels": outputs, "groups": groups}
    return net.add("conv", [x], arguments, weights, path=path, place=place)


def pool(
    net: FlatNet,
    kind: str,
    x: Value,
    *,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    pads: Sequence[int] | Word = (),
    ceil: bool = False,
    count_pad: bool = False,
    path: str = "",
    place: str = "",
) -> Value:
    """Apply a `maxpool` or an `avgpool`; without a stride, windows do not overlap.

    Padding behind the last elements that only completes a last window is written as `ceil on`.
    """
    if isinstance(pads, Word):
        sides: object = pads
    elif x is not None and not count_pad and not ceil and _is_ceil(x.shape, kernel, stride or kernel, pads):
        sides, ceil = (*pads[: len(kernel)], *pads[: len(kernel)]), True
    else:
        sides = tuple(pads)
    arguments: dict[str, object] = {"kernel": tuple(kernel) if len(kernel) > 1 else kernel[0]}
    if tuple(stride or kernel) != tuple(kernel):
        arguments["stride"] = tuple(stride)
    if any(pads):
        arguments["pad"] = sides
        if kind == "avgpool":
            arguments["count_pad"] = count_pad
    if ceil:
        arguments["ceil"] = True
    return net.add(kind, [x], arguments, path=path, place=place)


def _is_ceil(x: Shape, kernel: Sequence[int], stride: Sequence[int], pads: Sequence[int]) -> bool:
    """Return whether more padding behind than before does the same as `ceil on`."""
    before, after = tuple(pads[: len(kernel)]), tuple(pads[len(kernel) :])
    if before == after or any(a < b for a, b in zip(after, before, strict=True)):
        return False
    try:
        given = Window(x, tuple(kernel), tuple(stride), tuple(pads))
        return given.out == Window(x, tuple(kernel), tuple(stride), before * 2, ceil=True).out
    except (Misfit, Undecidable):
        return False


def sizes_of(x: FlatLayer) -> tuple[int, ...]:
    """Return the shape of a value of a model whose inputs have known sizes."""
    assert all(isinstance(size, int) for size in x.shape)
    return x.shape  # type: ignore[return-value]


def drop_unread_inputs(net: FlatNet) -> None:
    """Leave out the inputs that no output depends on."""
    reached = set(net.outputs.values())
    for layer in reversed(net.layers):
        if layer in reached:
            reached.update(layer.inputs)
    for name, layer in list(net.inputs.items()):
        if layer not in reached and net.outputs:
            del net.inputs[name]
            net.layers.remove(layer)
            net.leave_out("inputs that no output depends on", f"`{name}`")


def check_names(path: str, given: Iterable[str], inputs: Sequence[str]) -> None:
    """Raise NoSuchInput unless all given names are those of inputs."""
    for name in given:
        if name not in inputs:
            raise NoSuchInput(f"{path} has no input `{name}`", f"its inputs are {', '.join(inputs)}")


def is_same(a: FlatLayer, b: FlatLayer) -> bool:
    """Return whether two layers have the same arguments, as `reuse` requires of those that share weights."""
    return a.kind == b.kind and all(getattr(a.layer, name) == getattr(b.layer, name) for name in a.layer.arguments)


def share_weights(net: FlatNet) -> None:
    """Let layers with the same weights share them: an equal layer is a `reuse`, others are `tied` to the first one."""
    owners: dict[object, FlatLayer] = {}
    for layer in net.layers:
        sources = {name: weight.source for name, weight in layer.weights.items()}
        if layer.shares is not None or not sources or not all(sources.values()):
            continue
        owner = owners.setdefault((layer.kind, *sources.items()), layer)
        first = owners.setdefault(sources.get("weight") or owner, layer)
        if owner is not layer and is_same(owner, layer):
            layer.shares, layer.weights = owner, {}
        elif first is not layer and "tied" in layer.layer.arguments and layer.weights["weight"].shape == _table(first):
            given = {name: getattr(layer.layer, name) for name in layer.layer.arguments}
            layer.layer = make_layer(layer.kind, {**given, "tied": LABEL})
            layer.shares = first
            layer.weights = {name: weight for name, weight in layer.weights.items() if name != "weight"}


def _table(layer: FlatLayer) -> tuple[int, ...]:
    """Return the shape of a layer's weight."""
    declared = layer.layer.rules(tuple(x.shape for x in layer.inputs))[1]
    return next(each.shape for each in declared if each.name == "weight")


def refused(net: FlatNet, what: str, place: str = "", why: str = "") -> Value:
    """Record a part of a model that cannot be imported, and return its value."""
    net.refuse(what, place, why)
    return None
