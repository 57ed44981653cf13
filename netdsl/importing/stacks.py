"""Join recurrent layers of one module that are stacked on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.layers.recurrent import RecurrentLayer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from netdsl.importing.flat import FlatLayer, FlatNet

SAME = ("hidden", "bidirectional", "bias", "act")
"""Arguments that all layers of a stack have in common."""


def stack(net: FlatNet) -> dict[FlatLayer, FlatLayer]:
    """Rewrite stacks in place. Return the layers that are replaced, with others of the same value."""
    readers: dict[FlatLayer, list[FlatLayer]] = {layer: [] for layer in net.layers}
    for layer in net.layers:
        for value in layer.inputs:
            readers[value].append(layer)
    outputs = set(net.outputs.values())
    below: dict[FlatLayer, FlatLayer] = {}
    for layer in net.layers:
        inner = _unshaped(layer.inputs[0]) if isinstance(layer.layer, RecurrentLayer) else None
        if inner is not None and inner not in outputs and _is_stacked(layer, inner, [*_readers(readers, inner)]):
            below[layer] = inner
    replaced: dict[FlatLayer, FlatLayer] = {}
    for layer in [layer for layer in below if layer not in below.values()]:
        chain = [layer]
        while chain[-1] in below:
            chain.append(below[chain[-1]])
        replaced |= _joined(net, chain[::-1], readers)
    if replaced:
        for layer in net.layers:
            layer.inputs = tuple(replaced.get(value, value) for value in layer.inputs)
        for name, layer in net.outputs.items():
            net.outputs[name] = replaced.get(layer, layer)
        _sort(net)
    return replaced


def _unshaped(x: FlatLayer) -> FlatLayer:
    """Return a value before reshapes, if it has that shape again after them."""
    before = x
    while before.kind == "reshape":
        before = before.inputs[0]
    return before if before.shape == x.shape else x


def _readers(readers: Mapping[FlatLayer, Sequence[FlatLayer]], layer: FlatLayer) -> Iterator[FlatLayer]:
    """Yield what reads a value, through reshapes too."""
    for reader in readers[layer]:
        if reader.kind == "reshape":
            yield from _readers(readers, reader)
        else:
            yield reader


def _is_stacked(layer: FlatLayer, inner: FlatLayer, readers: Sequence[FlatLayer]) -> bool:
    """Return whether a layer continues one that only it and `state` layers read, in the same module."""
    outer: Any = layer.layer
    if inner.kind != layer.kind or not layer.path or layer.path != inner.path or inner.layer.last:  # type: ignore[attr-defined]
        return False
    if any(getattr(outer, name, None) != getattr(inner.layer, name, None) for name in SAME):
        return False
    mine, others = (each.layer.split(each.inputs)[1] for each in (layer, inner))
    if mine.keys() != others.keys() or mine.get("lengths") is not others.get("lengths"):
        return False
    parts = [len(values["initial"].inputs) for values in (mine, others) if "initial" in values]
    return all(count == outer.states for count in parts) and all(
        reader is layer or reader.kind == "state" for reader in readers
    )


def _joined(
    net: FlatNet, chain: Sequence[FlatLayer], readers: Mapping[FlatLayer, Sequence[FlatLayer]]
) -> dict[FlatLayer, FlatLayer]:
    """Add one layer in place of several, the lowest first, and return what replaces them and their states."""
    first, last = chain[0], chain[-1]
    made: Any = last.layer
    values = first.layer.split(first.inputs)[1]
    if "initial" in values:
        states = [each.layer.split(each.inputs)[1]["initial"].inputs for each in chain]
        parts = [each[at] for at in range(made.states) for each in states]
        values["initial"] = net.add("concat", parts, place=first.place)  # type: ignore[assignment]
    arguments = {name: getattr(made, name) for name in (*SAME, "last") if name in made.arguments}
    weights = {
        name.replace("_l0", f"_l{at}"): weight for at, each in enumerate(chain) for name, weight in each.weights.items()
    }
    arguments["layers"] = len(chain)
    y = net.add(
        last.kind, first.inputs[:1], arguments, weights, values=values, path=last.path, place=last.place
    )  # fmt: skip
    if y is None:
        return {}
    found = {last: y}
    ends = [(at, state) for at, each in enumerate(chain) for state in readers[each] if state.kind == "state"]
    whole = net.add("state", [y], place=last.place) if ends else None
    if whole is None:
        return found
    for at, state in ends:
        pieces = [
            _piece(net, whole, (index * len(chain) + at) * made.width, made.width) for index in range(made.states)
        ]
        for reader in readers[state]:
            if reader.kind == "slice" and reader.shape == pieces[0].shape and reader.layer.start % made.width == 0:  # type: ignore[attr-defined]
                found[reader] = pieces[reader.layer.start // made.width]  # type: ignore[attr-defined]
        joined = net.add("concat", pieces, place=last.place)
        assert joined is not None
        found[state] = joined
    return found


def _piece(net: FlatNet, state: FlatLayer, start: int, width: int) -> FlatLayer:
    """Return a part of a state."""
    stop = {"stop": start + width} if start + width < state.shape[0] else {}  # type: ignore[operator]
    found = net.add("slice", [state], {"axis": 0, "start": start, **stop}, place=state.place)
    assert found is not None
    return found


def _sort(net: FlatNet) -> None:
    """Sort layers so that inputs precede what reads them."""
    found: dict[FlatLayer, None] = {}
    for layer in net.layers:
        waiting = [layer]
        while waiting:
            missing = [value for value in waiting[-1].inputs if value not in found]
            if not missing:
                found[waiting.pop()] = None
            waiting += missing
    net.layers = [*found]
