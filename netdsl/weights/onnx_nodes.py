"""The nodes of an ONNX graph, as far as they tell what its constants are for: read where they lie.

Source: onnx.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.weights.onnx_values import MOST_AXES
from netdsl.weights.protobuf import FIXED32, MESSAGE, VARINT

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.weights.protobuf import Protobuf

DEEPEST = 8
"""Graphs within each other; constants of deeper ones have no known use."""

NODE, INPUT, VALUE_INFO = 1, 11, 13


class Node:
    """A node: its operator, the names of its inputs and outputs, and its attributes. A tensor among these stands as a
    pair of offsets, and so does a sparse one, under `sparse_value`."""

    __slots__ = ("attributes", "inputs", "op", "outputs")

    def __init__(self) -> None:
        self.op = ""
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.attributes: dict[str, object] = {}

    def number(self, name: str, default: float) -> float:
        """Return a number among the attributes."""
        found = self.attributes.get(name, default)
        return found if isinstance(found, int | float) else default

    def integer(self, name: str, default: int) -> int:
        """Return a whole number among the attributes."""
        found = self.attributes.get(name, default)
        return found if isinstance(found, int) else default

    def integers(self, name: str) -> list[int] | None:
        """Return a list of whole numbers among the attributes; None where there is none."""
        found = self.attributes.get(name)
        return found if isinstance(found, list) and all(isinstance(each, int) for each in found) else None


class Nodes:
    """What is read of a graph: `nodes` in its order, those of graphs within it before the node that holds them, and
    `ranks` of its values, where the file says them."""

    def __init__(self, wire: Protobuf) -> None:
        self._wire = wire
        self.nodes: list[Node] = []
        self.ranks: dict[str, int] = {}

    def graph(self, begin: int, end: int, other: Callable[[int, int, int], None], depth: int = 0) -> None:
        """Read a graph; `other` takes the number and place of each field that is not read here."""
        for field, kind, at, stop in self._wire.fields(begin, end):
            if kind != MESSAGE:
                continue
            if field == NODE:
                self.nodes.append(self._node(at, stop, depth))
            elif field in (INPUT, VALUE_INFO):
                self._value(at, stop)
            else:
                other(field, at, stop)

    def _node(self, begin: int, end: int, depth: int) -> Node:
        node = Node()
        domain = ""
        for field, kind, at, stop in self._wire.fields(begin, end):
            if kind != MESSAGE:
                continue
            if field == 1:
                node.inputs.append(self._wire.text(at, stop))
            elif field == 2:
                node.outputs.append(self._wire.text(at, stop))
            elif field == 4:
                node.op = self._wire.text(at, stop)
            elif field == 5:
                self._attribute(node, at, stop, depth)
            elif field == 7:
                domain = self._wire.text(at, stop)
        if domain not in ("", "ai.onnx"):
            node.op = f"{domain}.{node.op}"
        return node

    def _attribute(self, node: Node, begin: int, end: int, depth: int) -> None:
        name = ""
        value: object = None
        integers: list[int] = []
        floats: list[float] = []
        for field, kind, at, stop in self._wire.fields(begin, end):
            if field == 1 and kind == MESSAGE:
                name = self._wire.text(at, stop)
            elif field == 2 and kind == FIXED32:
                value = self._floats(at, stop)[0]
            elif field == 3 and kind == VARINT:
                value = self._wire.integers(at, stop)[0]
            elif field in (5, 22) and kind == MESSAGE:
                value = at, stop
            elif field in (6, 11) and kind == MESSAGE and depth < DEEPEST:
                self.graph(at, stop, lambda *_: None, depth + 1)
            elif field == 7 and kind in (MESSAGE, FIXED32):
                floats += self._floats(at, stop)
            elif field == 8 and kind in (MESSAGE, VARINT):
                integers += self._wire.integers(at, stop)
        node.attributes[name] = integers or floats or value

    def _floats(self, at: int, stop: int) -> list[float]:
        found: list[float] = self._wire.data[at : stop - (stop - at) % 4].view("<f4").astype(np.float64).tolist()
        return found

    def _value(self, begin: int, end: int) -> None:
        """Note the rank of a value that the file describes."""
        name = ""
        rank: int | None = None
        for field, kind, at, stop in self._wire.fields(begin, end):
            if field == 1 and kind == MESSAGE:
                name = self._wire.text(at, stop)
            elif field == 2 and kind == MESSAGE:
                rank = self._rank(at, stop)
        if rank is not None:
            self.ranks[name] = rank

    def _rank(self, begin: int, end: int) -> int | None:
        """Return the number of axes of a TypeProto's tensor, where it has a shape."""
        for field, kind, at, stop in self._wire.fields(begin, end):
            if (field, kind) != (1, MESSAGE):
                continue
            for inner, wire, a, b in self._wire.fields(at, stop):
                if (inner, wire) == (2, MESSAGE):
                    rank = sum(dim == 1 for dim, *_ in self._wire.fields(a, b))
                    return rank if rank <= MOST_AXES else None
        return None
