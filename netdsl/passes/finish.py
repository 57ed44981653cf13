"""The last passes before a training step is emitted for a session of our own: less memory, and updates in the cache."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from netdsl import ops
from netdsl.base import limits
from netdsl.ops.arithmetic import Add
from netdsl.ops.base import known
from netdsl.passes.in_place import in_place
from netdsl.passes.recompute import recompute
from netdsl.passes.rewrite import Copy
from netdsl.passes.schedule import schedule
from netdsl.passes.split_dense_rows import slabs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.ir.graph import Graph


def binary_sums(graph: Graph) -> Graph:
    """Sums of many as sums of two, one after the other: onnxruntime's Add shares its work among threads, its Sum does
    not, and takes twice as long."""
    copy = Copy(graph)
    for operation in graph.operations:
        if isinstance(operation.op, Add):
            begin = len(copy.new.operations)
            copy.replace(operation, [reduce(ops.add, map(copy.value, operation.inputs))], begin)
        else:
            copy.keep(operation)
    return copy.finish()


class Finished:
    """A step as it is run.

    `parts` are the states that it takes as slabs of rows, by name, and `overwritten` those of its own states whose new
    value may be written over the old one, if its operations run in order or in any other.
    """

    __slots__ = ("graph", "overwritten", "parts")

    def __init__(self, graph: Graph, parts: dict[str, list[str]], overwritten: frozenset[str]) -> None:
        self.graph = graph
        self.parts = parts
        self.overwritten = overwritten

    def split(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A state as the step takes it: slabs are views of the arrays of `state`."""
        found = {name: array for name, array in state.items() if name not in self.parts}
        for name, parts in self.parts.items():
            begin = 0
            for part in parts:
                end = begin + known(self.graph.state[part].before.shape)[0]
                found[part] = state[name][begin:end]
                begin = end
        return found


@limits.kept()
def finish(graph: Graph, watched: str) -> Finished:
    """A step in ops that ONNX has, ready to be run; `watched` is the output that is the loss."""
    cut = slabs(binary_sums(graph))
    safe = in_place(cut.graph, watched)
    return Finished(recompute(schedule(safe.graph), safe.overwritten), cut.parts, safe.overwritten)
