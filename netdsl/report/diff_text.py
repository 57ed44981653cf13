"""The differences of two nets as text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.base import shape
from netdsl.base.terminal import escape, width
from netdsl.report.figures import call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.net import Net, Node, Parameter
    from netdsl.report.diff import Diff

ARROW = "->"


def text(diff: Diff) -> str:
    """Format the layers like a patch, with `-` for removed, `+` for new and `~` for changed ones, then the weights."""
    layers = [
        *(("-", node, None) for node in diff.removed),
        *(("~", x, y) for x, y in diff.changed),
        *(("+", None, node) for node in diff.added),
    ]
    out = [f"{_title(diff.a)}  {ARROW}  {_title(diff.b)}"]
    if layers:
        out += ["", *_aligned([_layer(sign, x, y) for sign, x, y in layers])]
    else:
        out += ["", "the layers are the same"]
    return "\n".join([*out, "", *_weights(diff)])


def _title(net: Net) -> str:
    settings = ", ".join(f"{name} = {value}" for name, value in net.settings.items())
    return escape(f"{net.name}({settings})" if settings else net.name) + f" {escape(net.source.name)}"


def _layer(sign: str, x: Node | None, y: Node | None) -> list[str]:
    """Format one layer: sign, name, call and shape, before and after if they differ."""
    one = x or y
    assert one is not None
    nodes = [node for node in (x, y) if node is not None]
    calls = dict.fromkeys(escape(call(node.layer)) for node in nodes)
    shapes = dict.fromkeys(shape.text(node.shape) for node in nodes)
    return [sign, escape(one.name), f" {ARROW} ".join(calls), f" {ARROW} ".join(shapes)]


def _weights(diff: Diff) -> Iterator[str]:
    total = len(diff.b.parameters)
    yield f"{len(diff.kept):,} of {total:,} weights survive by name and shape: {diff.kept_numbers:,} numbers"
    for title, rows in (
        ("reshaped", [[p.name, f"{shape.text(p.shape)} {ARROW} {shape.text(q.shape)}"] for p, q in diff.reshaped]),
        ("gone", _named(diff.gone)),
        ("new", _named(diff.new)),
        ("perhaps renamed", [[x, ARROW, y, _rule(x, y)] for x, y in diff.renamed.items()]),
    ):
        if rows:
            yield f"{len(rows):,} {title}:"
            yield from (f"  {line}" for line in _aligned([list(map(escape, row)) for row in rows]))


def _named(parameters: list[Parameter]) -> list[list[str]]:
    return [[p.name, shape.text(p.shape)] for p in parameters]


def _rule(x: str, y: str) -> str:
    return f"--rename '^{re.escape(x)}\\.' '{y.replace('$', '$$')}.'"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
