"""Sums of two."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.arithmetic import Add
from netdsl.passes.rewrite import Copy

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph


def in_pairs(graph: Graph) -> Graph:
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
