"""Sink transpositions: compute ops on operands in another layout, so that most transpositions meet their inverse.

Layers keep the channels first; those that work on the last axis (linear, layer norm, attention) transpose around their
bodies. An elementwise op computes the same in any layout, so the transposition of its operand can follow it instead,
until it is composed with the next one.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.graph import Constant, Parameter
from netdsl.ir.op import Pointwise
from netdsl.ops.activations import OverAxis
from netdsl.ops.arithmetic import Elementwise
from netdsl.ops.base import apply
from netdsl.ops.comparison import Where
from netdsl.ops.indexing import Concat, Slice
from netdsl.ops.linear import MatMul
from netdsl.ops.normalization import LayerNormalization, RMSNormalization
from netdsl.ops.pooling import GlobalAveragePool
from netdsl.ops.reduction import Reduce, ReduceMean
from netdsl.ops.shaping import Expand, Flatten, Reshape, Transpose
from netdsl.passes.rewrite import Converting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Graph, Operation, Value
    from netdsl.ir.op import Op

Perm = tuple[int, ...]
"""An order of axes: axis i of the result of `Transpose(perm)` is axis perm[i] of its operand."""
Moved = tuple["Value", Perm]
"""A value of the new graph in another layout, and the order of its axes that restores the old value."""

ALIGNED = (Pointwise, Elementwise, Where)
"""Ops that compute each element from the elements at its position, with operands broadcast as in NumPy."""


def sink_transposes(graph: Graph) -> Graph:
    """Return a graph that transposes less, or the same graph if there is nothing to gain."""
    if not any(isinstance(operation.op, Transpose) for operation in graph.operations):
        return graph
    sunk = _Sinking(graph).run()
    return sunk if _transposed(sunk) < _transposed(graph) else graph


def _transposed(graph: Graph) -> int:
    """Return how many elements are transposed at run time."""
    moved = (operation.inputs[0] for operation in graph.operations if isinstance(operation.op, Transpose))
    return sum(_elements(x) for x in moved if not _is_fixed(x, graph))


def _is_fixed(x: Value, graph: Graph) -> bool:
    """Return whether a value never changes, so that a runtime transposes it once."""
    return isinstance(x, Constant) or (isinstance(x, Parameter) and x.name not in graph.state)


def _elements(x: Value) -> int:
    """Return the number of elements; sizes known only at run time count as 1."""
    return prod(size for size in x.shape if isinstance(size, int))


def _inverse(perm: Perm) -> Perm:
    return tuple(perm.index(axis) for axis in range(len(perm)))


class _Sinking(Converting):
    """A copy in which values can be held in another layout.

    `moved` has the values that are, by their old values; those in `values` exist in their own layout (too). `made` has
    the transpositions of new values, `laid` the operands that were brought into a layout. `wanted` is the layout, as
    the perm of a transposition, that most readers of an old value want; it is missing where they want its own.
    """

    __slots__ = ("laid", "made", "moved", "wanted")

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.moved: dict[Value, Moved] = {}
        self.laid: dict[tuple[Value, Perm], Value] = {}
        self.made: dict[tuple[Value, Perm], Value] = {}
        self.wanted = _wanted_layouts(graph)

    def convert(self, operation: Operation) -> bool:
        moved = self.sink(operation)
        if moved is None:
            return False
        source, perm = moved
        (y,) = operation.outputs
        if perm == tuple(range(len(perm))):
            self.values[y] = source
        else:
            self.moved[y] = moved
        return True

    def sink(self, operation: Operation) -> Moved | None:
        """Return the result of an operation in another layout, or None if it is computed in its own."""
        if not isinstance(operation.op, SEVERAL) and not (operation.inputs and operation.inputs[0] in self.moved):
            return None
        rule = next((rule for kinds, rule in RULES if isinstance(operation.op, kinds)), None)
        return rule(self, operation) if rule else None

    def value(self, x: Value) -> Value:
        """Return a value in its own layout, transposing it on its first use."""
        if x not in self.values and x in self.moved:
            made = self.values[x] = self.transposed(*self.moved[x])
            if made.producer is not None and not made.name:
                made.name = x.name
                made.producer.origin = x.producer.origin if x.producer else None
        return super().value(x)

    def transposed(self, source: Value, perm: Perm) -> Value:
        """Return a value of the new graph in another layout, transposing it once."""
        if (source, perm) not in self.made:
            self.made[source, perm] = ops.transpose(source, perm)
        return self.made[source, perm]

    def lay(self, x: Value, perm: Perm) -> Value:
        """Return an operand in the layout whose restoring perm is `perm`, with axes of size 1 put before its own."""
        if x in self.moved and self.moved[x][1] == perm:
            return self.moved[x][0]
        if not x.shape:
            return self.value(x)
        if (x, perm) not in self.laid:
            full = (*(1,) * (len(perm) - len(x.shape)), *x.shape)
            order = _inverse(perm)
            made = self.value(x)
            if sum(size != 1 for size in full) <= 1:
                made = ops.reshape(made, [full[axis] for axis in order], batch=False)
            else:
                made = made if full == x.shape else ops.reshape(made, full, batch=False)
                made = self.transposed(made, order)
            self.laid[x, perm] = made
        return self.laid[x, perm]

    def layout(self, operation: Operation) -> Perm | None:
        """Return the layout in which an op with aligned operands transposes the fewest elements."""
        (y,) = operation.outputs
        cost: dict[Perm, int] = {}
        stay = 0
        for x in operation.inputs:
            if x in self.moved and len(x.shape) == len(y.shape):
                cost.setdefault(self.moved[x][1], 0)
                stay += 0 if x in self.values else _elements(x)
        for perm in cost:
            for x in operation.inputs:
                there = (x, perm) in self.laid or (x in self.moved and self.moved[x][1] == perm)
                if not there and not _is_fixed(x, self.old) and sum(size != 1 for size in x.shape) > 1:
                    cost[perm] += _elements(x)
        unsure = (
            x
            for x in operation.inputs
            if len(x.shape) < len(y.shape) and not all(isinstance(size, int) for size in x.shape)
        )
        if not cost or next(unsure, None) is not None:
            return None
        perm = min(cost, key=lambda perm: (cost[perm], self.wanted.get(y) != _inverse(perm)))
        wins = cost[perm] < stay or (cost[perm] == stay and self.wanted.get(y) == _inverse(perm))
        return perm if wins else None


def _wanted_layouts(graph: Graph) -> dict[Value, Perm]:
    """Return the perms by which the readers of each value transpose it, where more do so than need its own layout."""
    ends = (*graph.outputs.values(), *(state.after for state in graph.state.values()))
    votes: dict[Value, list[Perm | None]] = {y: [None] for y in ends}
    wanted: dict[Value, Perm] = {}
    for operation in reversed(graph.operations):
        for y in operation.outputs:
            found = votes.get(y, [])
            perms = [vote for vote in found if vote is not None]
            best = max(dict.fromkeys(perms), key=perms.count, default=None)
            if best is not None and perms.count(best) > len(found) - len(perms):
                wanted[y] = best
        for x in operation.inputs:
            if isinstance(operation.op, Transpose):
                (y,), perm = operation.outputs, operation.op.perm
                through = tuple(perm[axis] for axis in wanted.get(y, range(len(perm))))
                votes.setdefault(x, []).append(None if through == tuple(range(len(perm))) else through)
            elif not isinstance(operation.op, (*ALIGNED, Concat, Slice)):
                votes.setdefault(x, []).append(None)
            elif operation.outputs[0] in wanted and len(x.shape) == len(wanted[operation.outputs[0]]):
                votes.setdefault(x, []).append(wanted[operation.outputs[0]])
    return wanted


def _transpose(sinking: _Sinking, operation: Operation) -> Moved:
    (x,) = operation.inputs
    assert isinstance(operation.op, Transpose)
    perm = operation.op.perm
    if x in sinking.moved:
        source, before = sinking.moved[x]
        return source, tuple(before[axis] for axis in perm)
    return sinking.value(x), perm


def _aligned(sinking: _Sinking, operation: Operation) -> Moved | None:
    perm = sinking.layout(operation)
    if perm is None:
        return None
    return apply(operation.op, *[sinking.lay(x, perm) for x in operation.inputs]), perm


def _concat(sinking: _Sinking, operation: Operation) -> Moved | None:
    perm = sinking.layout(operation)
    if perm is None:
        return None
    assert isinstance(operation.op, Concat)
    return apply(Concat(perm[operation.op.axis]), *[sinking.lay(x, perm) for x in operation.inputs]), perm


def _over_axis(sinking: _Sinking, operation: Operation) -> Moved | None:
    """Runtimes are fastest over the last axis."""
    op = operation.op
    assert isinstance(op, OverAxis)
    source, perm = sinking.moved[operation.inputs[0]]
    axis, last = op.axis % len(perm), len(perm) - 1
    return (apply(type(op)(perm[axis]), source), perm) if perm[axis] == last or axis != last else None


def _slice(sinking: _Sinking, operation: Operation) -> Moved:
    op = operation.op
    assert isinstance(op, Slice)
    source, perm = sinking.moved[operation.inputs[0]]
    return apply(Slice(tuple(perm[axis] for axis in op.axes), op.starts, op.stops, op.steps), source), perm


def _expand(sinking: _Sinking, operation: Operation) -> Moved | None:
    op = operation.op
    assert isinstance(op, Expand)
    source, perm = sinking.moved[operation.inputs[0]]
    order = _inverse(perm)
    return (ops.expand(source, tuple(op.shape[axis] for axis in order)), perm) if len(op.shape) == len(perm) else None


def _reduce(sinking: _Sinking, operation: Operation) -> Moved:
    op = operation.op
    assert isinstance(op, Reduce)
    source, perm = sinking.moved[operation.inputs[0]]
    gone = {axis % len(perm) for axis in op.axes}
    made = apply(type(op)(tuple(sorted(perm[axis] for axis in gone)), op.keepdims), source)
    if op.keepdims:
        return made, perm
    kept = [perm[axis] for axis in range(len(perm)) if axis not in gone]
    return made, tuple(sorted(kept).index(axis) for axis in kept)


def _average(sinking: _Sinking, operation: Operation) -> Moved:
    source, perm = sinking.moved[operation.inputs[0]]
    return apply(ReduceMean(tuple(sorted(perm[2:])), True), source), perm


def _flatten(sinking: _Sinking, operation: Operation) -> Moved | None:
    """Flatten in the moved layout, where no more than axes of size 1 change their places."""
    (x,) = operation.inputs
    source, perm = sinking.moved[x]
    axes = [axis for axis, size in zip(perm, x.shape, strict=True) if size != 1 or axis == 0]
    if perm[0] != 0 or axes != sorted(axes):
        return None
    made = source.producer
    if made is not None and isinstance(made.op, Reduce) and made.op.keepdims and len(made.op.axes) == len(perm) - 2:
        return apply(type(made.op)(made.op.axes, False), *made.inputs), (0, 1)
    return ops.flatten(source), (0, 1)


def _layer_norm(sinking: _Sinking, operation: Operation) -> Moved | None:
    if len(operation.outputs) > 1:
        return None
    x, *affine = operation.inputs
    source, perm = sinking.moved[x]
    if perm[-1] != len(perm) - 1:
        return None
    return apply(operation.op, source, *map(sinking.value, affine)), perm


def _matmul(sinking: _Sinking, operation: Operation) -> Moved | None:
    """Multiply rows by a matrix in any order of the rows, if readers transpose the result.

    A linear layer on the result of a recurrent one keeps its order, steps first.
    """
    x, weight = operation.inputs
    source, perm = sinking.moved[x]
    (y,) = operation.outputs
    if perm[-1] != len(perm) - 1 or len(weight.shape) != 2 or y not in sinking.wanted:
        return None
    return apply(operation.op, source, sinking.value(weight)), perm


def _reshape(sinking: _Sinking, operation: Operation) -> Moved | None:
    """Reshape in the moved layout, where axes that are joined are neighbors; else, if the readers transpose the result,
    transpose to what they want."""
    (x,), (y,) = operation.inputs, operation.outputs
    source, perm = sinking.moved[x]
    groups = _regrouped(x.shape, y.shape)
    if groups is None:
        return None
    if not all(_run([perm[axis] for axis in old]) for old, _ in groups):
        wanted = sinking.wanted.get(y)
        if (
            wanted is None
            or x in sinking.values
            or not all(_run([wanted.index(axis) for axis in new]) for _, new in groups)
        ):
            return None
        groups.sort(key=lambda group: wanted.index(group[1][0]))
        source = sinking.transposed(source, tuple(perm[axis] for old, _ in groups for axis in old))
    else:
        groups.sort(key=lambda group: perm[group[0][0]])
    order = tuple(axis for _, new in groups for axis in new)
    reshaped = Reshape(tuple(y.shape[axis] for axis in order))
    if not ops.can_reshape(source.shape, reshaped.shape):
        return None
    return apply(reshaped, source), _inverse(order)


def _run(axes: Sequence[int]) -> bool:
    return all(b == a + 1 for a, b in pairwise(axes))


def _regrouped(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]] | None:
    """Return the shortest runs of axes with equal products, or None if a run has none on one side."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) and j < len(new):
        a, b = old[i], new[j]
        groups.append(([i], [j]))
        i, j = i + 1, j + 1
        while a != b:
            mine, other = groups[-1]
            if isinstance(a, int) and (a < b if isinstance(b, int) else True) and i < len(old):
                a = a * old[i]
                mine.append(i)
                i += 1
            elif isinstance(b, int) and j < len(new):
                b = b * new[j]
                other.append(j)
                j += 1
            else:
                return None
    if not groups or any(size != 1 for size in (*old[i:], *new[j:])):
        return None
    groups[-1][0].extend(range(i, len(old)))
    groups[-1][1].extend(range(j, len(new)))
    return groups


RULES: tuple[tuple[type[Op] | tuple[type[Op], ...], Callable[[_Sinking, Operation], Moved | None]], ...] = (
    (Transpose, _transpose),
    (ALIGNED, _aligned),
    (Concat, _concat),
    (OverAxis, _over_axis),
    (Slice, _slice),
    (Expand, _expand),
    (Reduce, _reduce),
    (GlobalAveragePool, _average),
    (Flatten, _flatten),
    (LayerNormalization, _layer_norm),
    (RMSNormalization, _layer_norm),
    (MatMul, _matmul),
    (Reshape, _reshape),
)
SEVERAL = (Transpose, *ALIGNED, Concat)
"""Ops whose rule decides itself; that of others applies if their first operand has been moved."""
