"""Let a training step overwrite its state in place; extra edges make that safe in any execution order."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.ir.graph import Constant
from netdsl.ir.op import SameShape
from netdsl.ops.arithmetic import Elementwise
from netdsl.ops.base import constant
from netdsl.ops.elementwise import Identity
from netdsl.ops.indexing import Gather, Slice
from netdsl.ops.nchwc import ReorderOutput
from netdsl.ops.shaping import Reshape, Transpose
from netdsl.passes.rewrite import Copy

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, State, Value

MIN_ELEMENTS = 2**14
"""Minimum number of elements of an overwritten state: an edge costs microseconds, a copy of less costs nothing."""

MAX_ANCESTORS = 24
"""Maximum number of operations before the writer of a state that are searched for a scalar operand."""

MOVES = (Reshape, Transpose, Identity, Gather, Slice, ReorderOutput)
"""Ops whose result may share its input's memory, or be read through its input, in a runtime. A copy counts as read
where it is used, so that it is freed before the update."""


class InPlace:
    """A graph, and the names of the states whose new value may overwrite the old one."""

    __slots__ = ("graph", "overwritten")

    def __init__(self, graph: Graph, overwritten: frozenset[str]) -> None:
        self.graph = graph
        self.overwritten = overwritten


def in_place(graph: Graph, watched: str | None) -> InPlace:
    """Add edges from the last readers of each large state to its update, so that the state can be overwritten.

    A state is overwritten if each of its readers precedes the operation that writes it in every valid execution order,
    or is that operation itself and works element by element. If no path leads from a reader to the writer, one is
    added: 0 times an element of the reader's result is added to a scalar of the update, such as the learning rate. An
    infinite or NaN element makes the update NaN too, as it would one step later.

    Nothing is overwritten in a step whose output `watched` (the loss, a scalar) is not finite: a Gather then reads
    beyond the end of a constant, which ends the run in onnxruntime's CPU provider. Without `watched`, the caller knows
    that it is finite.

    Source: anti-dependences, Kuck et al. (1981), section 2.
    """
    return _InPlace(graph, watched).run()


class _Plan:
    """How a state becomes safe to overwrite: the scalar operand `at` of `operation` must be read `after` these
    operations."""

    __slots__ = ("after", "at", "operation")

    def __init__(self, operation: Operation, at: int, after: list[Operation]) -> None:
        self.operation = operation
        self.at = at
        self.after = after


class _InPlace:
    """The new graph under construction; `guarded` has its guarded scalars, constants by their data and shape."""

    def __init__(self, graph: Graph, watched: str | None) -> None:
        self.old = graph
        self.loss = None if watched is None else graph.outputs[watched]
        self.copy = Copy(graph)
        self.position = {operation: i for i, operation in enumerate(graph.operations)}
        self.guarded: dict[object, Value] = {}

    def run(self) -> InPlace:
        plans = self.plans()
        by_operation: dict[Operation, list[_Plan]] = defaultdict(list)
        for plan in plans.values():
            by_operation[plan.operation].append(plan)
        for operation in self.old.operations:
            if operation in by_operation:
                self.delay(operation, by_operation[operation])
            else:
                self.copy.keep(operation)
        return InPlace(self.copy.finish(), frozenset(plans))

    def plans(self) -> dict[str, _Plan]:
        """Return the plans for the large states that can be made safe."""
        states = self.old.state.items()
        large = {name: s for name, s in states if elements(s.before.shape) >= MIN_ELEMENTS and s.after.producer}
        readers = _readers(self.old, {s.before: name for name, s in large.items()})
        pivots = _Pivots(self.old)
        found = {}
        for name, state in large.items():
            plan = self.plan(state, readers[name], pivots)
            if plan:
                found[name] = plan
        return found

    def plan(self, state: State, readers: list[Operation], pivots: _Pivots) -> _Plan | None:
        writer = state.after.producer
        assert writer
        known = (self.loss.producer,) if self.loss and self.loss.producer else ()
        near = _near(writer)
        before = [r for r in readers if r is not writer and r not in near and not pivots.part(r, writer)]
        if writer in readers and not isinstance(writer.op, (Elementwise, SameShape)):
            return None
        for operation in near:
            at = _scalar(operation)
            if at is not None and all(self.position[r] < self.position[operation] for r in (*known, *before)):
                return _Plan(operation, at, before)
        return None

    def delay(self, operation: Operation, plans: list[_Plan]) -> None:
        """Copy an operation, with a scalar operand that waits for other operations."""
        begin = len(self.copy.new.operations)
        inputs = [self.copy.value(x) for x in operation.inputs]
        (at,) = {plan.at for plan in plans}
        waits = dict.fromkeys(r for plan in plans for r in plan.after)
        scalar = self.guard(operation.inputs[at])
        rank = len(operation.outputs[0].shape)
        inputs[at] = ops.add(scalar, *(self.nothing(r, rank) for r in waits)) if waits else scalar
        self.copy.replace(operation, self.copy.new.apply(operation.op, *inputs), begin)

    @cached_property
    def finite(self) -> Value:
        """A 0 that can be computed only if the loss is finite: otherwise, its index is out of range."""
        assert self.loss
        loss = self.copy.value(self.loss)
        index = ops.cast(ops.logical_not(ops.is_finite(loss)), "i64")
        return ops.gather(constant(self.copy.new, [0.0], loss.dtype), index, 0)

    def guard(self, scalar: Value) -> Value:
        """Return a scalar that can be computed only if the loss, if any, is finite; equal constants share it."""
        key = (scalar.tensor.data, scalar.shape) if isinstance(scalar, Constant) else scalar
        if key not in self.guarded:
            self.guarded[key] = ops.add(self.copy.value(scalar), self.finite) if self.loss else self.copy.value(scalar)
        return self.guarded[key]

    def nothing(self, reader: Operation, rank: int) -> Value:
        """Return a 0 that depends on the reader's result."""
        result = self.copy.value(reader.outputs[0])
        axes = range(len(result.shape))
        first = ops.slice(result, axes, [0 for _ in axes], [1 for _ in axes]) if axes else result
        return ops.mul(first if len(axes) <= rank else ops.reshape(first, (), batch=False), 0.0)


class _Pivots:
    """The operations that compute the outputs, before they are moved: they follow the forward pass, and the backward
    pass follows them."""

    __slots__ = ("_sides",)

    def __init__(self, graph: Graph) -> None:
        pivots = dict.fromkeys(y.producer for y in map(_unmoved, graph.outputs.values()) if y.producer)
        self._sides = [(_ancestors(graph, pivot), _descendants(graph, pivot)) for pivot in pivots]

    def part(self, reader: Operation, writer: Operation) -> bool:
        """Return whether a pivot lies on a path from reader to writer."""
        return any(reader in before and writer in after for before, after in self._sides)


def _unmoved(x: Value) -> Value:
    """Return the value whose elements a value has in another order."""
    while x.producer and isinstance(x.producer.op, MOVES):
        x = x.producer.inputs[0]
    return x


def _ancestors(graph: Graph, pivot: Operation) -> set[Operation]:
    """Return the ancestors of an operation, including itself."""
    needed, found = set(pivot.outputs), set()
    for operation in reversed(graph.operations):
        if not needed.isdisjoint(operation.outputs):
            needed.update(operation.inputs)
            found.add(operation)
    return found


def _descendants(graph: Graph, pivot: Operation) -> set[Operation]:
    """Return the descendants of an operation, including itself."""
    made, found = set(pivot.outputs), {pivot}
    for operation in graph.operations:
        if not made.isdisjoint(operation.inputs):
            made.update(operation.outputs)
            found.add(operation)
    return found


def _readers(graph: Graph, states: dict[Value, str]) -> dict[str, list[Operation]]:
    """Return the operations that read each state, or a view of it, in graph order."""
    ends = {*graph.outputs.values(), *(state.after for state in graph.state.values())}
    carried: dict[Value, frozenset[str]] = {x: frozenset((name,)) for x, name in states.items()}
    readers: dict[str, list[Operation]] = defaultdict(list)
    for operation in graph.operations:
        names: frozenset[str] = frozenset().union(*(carried[x] for x in operation.inputs if x in carried))
        if names and isinstance(operation.op, MOVES) and ends.isdisjoint(operation.outputs):
            carried.update((y, names) for y in operation.outputs)
            continue
        for name in names:
            readers[name].append(operation)
    return readers


def _near(writer: Operation) -> dict[Operation, None]:
    """Return up to MAX_ANCESTORS ancestors of an operation, including itself, nearest first."""
    found = {writer: None}
    queue = [writer]
    for operation in queue:
        for x in operation.inputs:
            if x.producer and x.producer not in found and len(found) < MAX_ANCESTORS:
                found[x.producer] = None
                queue.append(x.producer)
    return found


def _scalar(operation: Operation) -> int | None:
    """Return the index of the scalar float operand of an elementwise operation, or None."""
    if isinstance(operation.op, Elementwise) and elements(operation.outputs[0].shape) > 1:
        for at, x in enumerate(operation.inputs):
            if elements(x.shape) == 1 and x.dtype == operation.outputs[0].dtype in ("f32", "f64"):
                return at
    return None
