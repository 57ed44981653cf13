"""What an edit changes in a net: layers by name, and which weights still fit."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from math import prod
from typing import TYPE_CHECKING

from netdsl.base.shape import format_shape
from netdsl.base.terminal import escape
from netdsl.report.figures import layer_call, net_call
from netdsl.report.table import aligned, json_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netdsl.ir.net import Net, Node, Parameter

    Signature = tuple[tuple[str, tuple[int, ...]], ...]


_ARROW = "->"


class Diff:
    """Two nets compared layer by layer and weight by weight, in the order of the net that has them."""

    __slots__ = ("a", "added", "b", "changed", "gone", "kept", "new", "removed", "renamed", "reshaped")

    def __init__(self, a: Net, b: Net) -> None:
        self.a = a
        self.b = b
        before, after = ({node.name: node for node in net.nodes} for net in (a, b))
        self.removed = [node for name, node in before.items() if name not in after]
        self.added = [node for name, node in after.items() if name not in before]
        both = [(before[name], after[name]) for name in after if name in before]
        self.changed = [(x, y) for x, y in both if _call(x) != _call(y) or x.shape != y.shape]
        old, new = a.parameters, b.parameters
        self.kept = [name for name, p in new.items() if name in old and old[name].shape == p.shape]
        self.reshaped = [(old[name], p) for name, p in new.items() if name in old and old[name].shape != p.shape]
        self.gone = [p for name, p in old.items() if name not in new]
        self.new = [p for name, p in new.items() if name not in old]
        self.renamed = renamed_layers(self.gone, self.new)

    @property
    def kept_numbers(self) -> int:
        return sum(prod(self.b.parameters[name].shape) for name in self.kept)

    def text(self) -> str:
        """Format the layers like a patch, with `-` for removed, `+` for new and `~` for changed ones, then the
        weights."""
        layers = [
            *(("-", node, None) for node in self.removed),
            *(("~", x, y) for x, y in self.changed),
            *(("+", None, node) for node in self.added),
        ]
        out = [f"{_title(self.a)}  {_ARROW}  {_title(self.b)}"]
        if layers:
            out += ["", *aligned([_cells(sign, x, y) for sign, x, y in layers])]
        else:
            out += ["", "the layers are the same"]
        return "\n".join([*out, "", *_weights(self)])

    def data(self) -> dict[str, object]:
        """Return the data that `diff --json` prints."""
        return {
            "a": {"net": self.a.name, "file": self.a.source.name},
            "b": {"net": self.b.name, "file": self.b.source.name},
            "layers": {
                "removed": [_layer(node) for node in self.removed],
                "added": [_layer(node) for node in self.added],
                "changed": [{"name": x.name, "a": _layer(x), "b": _layer(y)} for x, y in self.changed],
            },
            "weights": {
                "kept": self.kept,
                "reshaped": [{"name": x.name, "a": list(x.shape), "b": list(y.shape)} for x, y in self.reshaped],
                "gone": [{"name": p.name, "shape": list(p.shape)} for p in self.gone],
                "new": [{"name": p.name, "shape": list(p.shape)} for p in self.new],
                "renamed": [{"a": x, "b": y} for x, y in self.renamed.items()],
            },
        }


def _call(node: Node) -> str:
    return layer_call(node.layer, preprocessing=True)


def _layer(node: Node) -> dict[str, object]:
    return {"name": node.name, "layer": _call(node), "shape": [*map(json_number, node.shape)]}


def renamed_layers(gone: list[Parameter], new: list[Parameter]) -> dict[str, str]:
    """Return pairs of removed and new layers that may be the same under another name: equal weights and shapes, in
    order."""
    before, after = _signatures(gone), _signatures(new)
    matcher = SequenceMatcher(None, list(before.values()), list(after.values()), autojunk=False)
    names, others = list(before), list(after)
    found: dict[str, str] = {}
    for at, to, size in matcher.get_matching_blocks():
        found.update(zip(names[at : at + size], others[to : to + size], strict=True))
    return found


def _signatures(parameters: list[Parameter]) -> Mapping[str, Signature]:
    """Return the weights of each layer by its name."""
    found: dict[str, Signature] = {}
    for parameter in parameters:
        layer, _, word = parameter.name.rpartition(".")
        found[layer] = (*found.get(layer, ()), (word, parameter.shape))
    return found


def _title(net: Net) -> str:
    return f"{escape(net_call(net))} {escape(net.source.name)}"


def _cells(sign: str, x: Node | None, y: Node | None) -> list[str]:
    """Format one layer: sign, name, call and shape, before and after if they differ."""
    one = x or y
    assert one is not None
    nodes = [node for node in (x, y) if node is not None]
    calls = dict.fromkeys(_call(node) for node in nodes)
    shapes = dict.fromkeys(format_shape(node.shape) for node in nodes)
    return [sign, one.name, f" {_ARROW} ".join(calls), f" {_ARROW} ".join(shapes)]


def _weights(diff: Diff) -> Iterator[str]:
    total = len(diff.b.parameters)
    yield f"{len(diff.kept):,} of {total:,} weights survive by name and shape: {diff.kept_numbers:,} numbers"
    for title, rows in (
        (
            "reshaped",
            [[p.name, f"{format_shape(p.shape)} {_ARROW} {format_shape(q.shape)}"] for p, q in diff.reshaped],
        ),
        ("gone", _named(diff.gone)),
        ("new", _named(diff.new)),
        ("perhaps renamed", [[x, _ARROW, y, _rule(x, y)] for x, y in diff.renamed.items()]),
    ):
        if rows:
            yield f"{len(rows):,} {title}:"
            yield from (f"  {line}" for line in aligned(rows))


def _named(parameters: list[Parameter]) -> list[list[str]]:
    return [[p.name, format_shape(p.shape)] for p in parameters]


def _rule(x: str, y: str) -> str:
    return f"--rename '^{re.escape(x)}\\.' '{y.replace('$', '$$')}.'"
