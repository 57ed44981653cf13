"""Transpose queries, keys and values of attention at once, before they are split."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netdsl import ops
from netdsl.ops.indexing import Split
from netdsl.ops.shaping import Reshape, Transpose
from netdsl.passes.rewrite import Copy, prune, readers_of

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value


class _Part(NamedTuple):
    """A part of a split value: the order in which its `heads` are transposed, and the result."""

    perm: tuple[int, ...]
    heads: Value
    result: Value


def split_heads(graph: Graph) -> Graph:
    """Replace Split, and a Reshape and a Transpose of each part, by a Reshape, a Transpose and a Split.

    A part whose last two axes are exchanged, as those of keys are, gets a Transpose of these alone, which runtimes
    make a part of the matrix product.
    """
    readers = readers_of(graph)
    copy = Copy(graph)
    kept = {*graph.outputs.values()}
    done: set[Value] = set()
    for operation in graph.operations:
        parts = _parts(operation, readers)
        if parts and kept.isdisjoint([*operation.outputs, *(part.heads for part in parts)]):
            _split(copy, operation, parts)
            done.update(value for part in parts for value in (part.heads, part.result))
        elif done.isdisjoint(operation.outputs):
            copy.keep(operation)
    return prune(copy.finish())


def _parts(operation: Operation, readers: dict[Value, list[Operation]]) -> list[_Part] | None:
    """Return the parts of a split of the last axis, if all become heads of one size in the same way."""
    (x, *_), op = operation.inputs or (None,), operation.op
    if x is None or not isinstance(op, Split) or op.axis != len(x.shape) - 1:
        return None
    parts = []
    for y in operation.outputs:
        (first, *others) = readers.get(y, [operation])
        if others or not isinstance(first.op, Reshape):
            return None
        heads = first.outputs[0]
        (second, *others) = readers.get(heads, [operation])
        if others or not isinstance(second.op, Transpose) or heads.shape[:-2] != y.shape[:-1]:
            return None
        parts.append(_Part(second.op.perm, heads, second.outputs[0]))
    sizes = {part.result.shape[part.perm.index(len(x.shape))] for part in parts}
    orders = {_in_order(part.perm) for part in parts}
    return parts if len(sizes) == len(orders) == 1 else None


def _in_order(perm: tuple[int, ...]) -> tuple[int, ...]:
    """Return the order of axes whose last two are ascending."""
    return *perm[:-2], *sorted(perm[-2:])


def _split(copy: Copy, operation: Operation, parts: list[_Part]) -> None:
    (x,) = operation.inputs
    rank = len(x.shape) + 1
    perm = _in_order(parts[0].perm)
    axis = perm.index(rank - 2)
    size = parts[0].result.shape[parts[0].perm.index(rank - 1)]
    counts = [part.result.shape[part.perm.index(rank - 2)] for part in parts]
    assert all(isinstance(count, int) for count in counts)
    begin = len(copy.new.operations)
    heads = ops.reshape(copy.value(x), (*x.shape[:-1], sum(counts), size), batch=False)
    found = ops.split(ops.transpose(heads, perm), counts, axis)  # type: ignore[arg-type]
    for part, value in zip(parts, found, strict=True):
        same = part.perm == perm
        copy.values[part.result] = value if same else ops.transpose(value, (*range(rank - 2), rank - 1, rank - 2))
    for made in copy.new.operations[begin:]:
        made.origin = operation.origin
