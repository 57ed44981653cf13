"""Split large dense weights into slabs of rows, whose intermediate results are used while still in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.ir.op import SameShape
from netdsl.ops.arithmetic import Elementwise
from netdsl.ops.base import known
from netdsl.ops.linear import Gemm
from netdsl.passes.rewrite import Copy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Graph, Operation, Value

SLAB_ELEMENTS = 2**19
"""Elements per slab: weight, gradient and momentum together fill a few level-2 caches."""

MIN_SPLIT_ELEMENTS = 2 * SLAB_ELEMENTS
"""Minimum number of elements of a weight that is split."""


class Slabs:
    """A graph, and for each state that is split the names of its slabs, in row order."""

    __slots__ = ("graph", "parts")

    def __init__(self, graph: Graph, parts: dict[str, list[str]]) -> None:
        self.graph = graph
        self.parts = parts


def split_dense_rows(graph: Graph) -> Slabs:
    """Split each large dense weight [units, in] of a step into slabs of rows.

    A weight can be split if it is used in products only and everything computed from its gradient is elementwise. Each
    slab then passes through the input gradient, the weight gradient and the update before the next one, and the
    gradient of a whole weight is never kept. Sums over the units are accumulated slab by slab.
    """
    users = _users(graph)
    families: dict[Value, str] = {}
    for name, weight in graph.parameters.items():
        if name in graph.state and len(weight.shape) == 2 and elements(weight.shape) >= MIN_SPLIT_ELEMENTS:
            families.update(dict.fromkeys(_family(graph, weight, users), name))
    return _Slabs(graph, families).run() if families else Slabs(graph, {})


def _users(graph: Graph) -> dict[Value, list[Operation]]:
    users: dict[Value, list[Operation]] = {}
    for operation in graph.operations:
        for x in operation.inputs:
            users.setdefault(x, []).append(operation)
    return users


def _family(graph: Graph, weight: Value, users: dict[Value, list[Operation]]) -> set[Value]:
    """Return the values of the weight's shape that are split with it: its gradient, its momentum and what is computed
    from them; nothing if one of them cannot be split."""
    before = {state.before for state in graph.state.values()}
    ends = set(graph.outputs.values())
    found, queue = {weight}, [weight]
    for x in queue:
        producer = x.producer
        if x in ends or not (x in before if producer is None else _is_elementwise(producer) or _is_gradient(producer)):
            return set()
        near = [user for user in users.get(x, ()) if not _is_product(user, x)]
        if not all(_is_elementwise(user) and user.outputs[0].shape == x.shape for user in near):
            return set()
        if producer and _is_elementwise(producer):
            near.append(producer)
        for operation in near:
            kin = [y for y in (*operation.inputs, *operation.outputs) if elements(y.shape) > 1]
            if any(y.shape != x.shape for y in kin):
                return set()
            queue += [y for y in kin if y not in found]
            found.update(kin)
    return found


def _is_elementwise(operation: Operation) -> bool:
    return isinstance(operation.op, (Elementwise, SameShape)) and len(operation.outputs) == 1


def _is_gradient(operation: Operation) -> bool:
    """Return whether the result is the gradient of a dense weight, dy^T x."""
    op = operation.op
    return isinstance(op, Gemm) and op.trans_a and not op.trans_b and len(operation.inputs) == 2


def _is_product(operation: Operation, w: Value) -> bool:
    """Return whether the operation is x w^T + b or dy w."""
    op = operation.op
    if not isinstance(op, Gemm) or op.trans_a or [i for i, x in enumerate(operation.inputs) if x is w] != [1]:
        return False
    return op.trans_b or len(operation.inputs) == 2


class _Slabs:
    """The new graph under construction; `made` maps old values to their slabs."""

    def __init__(self, graph: Graph, families: dict[Value, str]) -> None:
        self.old = graph
        self.families = families
        self.copy = Copy(graph, without=set(families))
        self.made: dict[Value, Sequence[Value]] = {}
        self.parts: dict[str, list[str]] = {}
        self.columns: dict[Value, list[Value]] = {}

    def run(self) -> Slabs:
        for name, state in self.old.state.items():
            if state.before in self.families:
                self.cut(name, state.before)
        for operation in self.old.operations:
            begin = len(self.copy.new.operations)
            if operation.outputs[0] in self.families:
                self.made[operation.outputs[0]] = self.slabs(operation)
                for each in self.copy.new.operations[begin:]:
                    each.origin = operation.origin
            elif self.families.keys() & set(operation.inputs):
                self.copy.replace(operation, [self.product(operation)], begin)
            else:
                self.copy.keep(operation)
        for name in self.parts:
            state = self.old.state[name]
            pairs = zip(self.made[state.before], self.made[state.after], strict=True)
            for before, after in pairs:
                self.copy.new.update(before, after, state.initial)
        return Slabs(self.copy.finish(), self.parts)

    def cut(self, name: str, before: Value) -> None:
        """Split a state: `fc.weight` becomes `fc.weight/0`, …, and `fc.weight.velocity` becomes `fc.weight/0.velocity`,
        …."""
        weight = self.families[before]
        rest, width = name.removeprefix(weight), known(before.shape)[1]
        self.parts[name] = [f"{weight}/{i}{rest}" for i in range(len(_rows(before)))]
        rows = zip(self.parts[name], _rows(before), strict=True)
        self.made[before] = [self.copy.new.state_input(part, (n, width), before.dtype) for part, n in rows]

    def slabs(self, operation: Operation) -> list[Value]:
        """Return the slabs of a gradient or of an elementwise result."""
        new = self.copy.new
        if _is_gradient(operation):
            dy, x = map(self.copy.value, operation.inputs)
            return [ops.gemm(part, x, trans_a=True) for part in self.cut_columns(dy, _rows(operation.outputs[0]))]
        count = len(_rows(operation.outputs[0]))
        inputs = [self.made[x] if x in self.families else [self.copy.value(x)] * count for x in operation.inputs]
        return [y for each in zip(*inputs, strict=True) for y in new.apply(operation.op, *each)]

    def product(self, operation: Operation) -> Value:
        """Return x w^T + b as a concatenation of columns, or dy w as a sum."""
        x, w, *bias = operation.inputs
        assert isinstance(operation.op, Gemm)
        slabs, left = self.made[w], self.copy.value(x)
        if operation.op.trans_b:
            y = ops.concat([ops.gemm(left, slab, trans_b=True) for slab in slabs], 1)
            return ops.add(y, self.copy.value(bias[0])) if bias else y
        total: Value | None = None
        for part, slab in zip(self.cut_columns(left, _rows(w)), slabs, strict=True):
            total = ops.gemm(part, slab, total)
        assert total is not None
        return total

    def cut_columns(self, x: Value, widths: Sequence[int]) -> list[Value]:
        """Return x split into columns of these widths, cached."""
        if x not in self.columns:
            begins = [sum(widths[:i]) for i in range(len(widths))]
            self.columns[x] = [ops.slice(x, (1,), (b,), (b + n,)) for b, n in zip(begins, widths, strict=True)]
        return self.columns[x]


def _rows(w: Value) -> list[int]:
    """Return the number of rows of each slab, as equal as possible."""
    height, width = known(w.shape)
    count = -(-height // max(1, SLAB_ELEMENTS // width))
    return [(i + 1) * height // count - i * height // count for i in range(count)]
