"""Recompute cheap activations that would otherwise be kept over the memory peak of a step."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

from netdsl.base.shape import elements
from netdsl.ir.graph import BACKWARD, BYTES
from netdsl.ops.activations import Clip, HardSigmoid, LeakyRelu, Relu, Sigmoid, Tanh
from netdsl.ops.arithmetic import Elementwise
from netdsl.ops.base import apply, known
from netdsl.ops.batch_training import BatchNormalizationTraining
from netdsl.ops.elementwise import Cast, Identity
from netdsl.ops.nchwc import BlockedConv
from netdsl.ops.quick_gelu import QuickGelu
from netdsl.ops.shaping import Flatten, Reshape
from netdsl.passes.in_place import MOVES
from netdsl.passes.rewrite import Copy, prune

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from netdsl.ir.graph import Graph, Operation, Value

VIEWS = (Reshape, Flatten, Identity)
"""Ops whose results share their inputs' memory."""

CHEAP = (Elementwise, Relu, LeakyRelu, Clip, HardSigmoid, Sigmoid, Tanh, QuickGelu, Cast)

MIN_BYTES = 2**18
"""Minimum size in bytes of a value worth recomputing."""

MAX_KEPT = 2**-3
"""Maximum size of a value kept for a recomputation, as a fraction of the recomputed value."""

MAX_CHAIN = 3
"""Maximum length of the chain of operations that recomputes a value."""

MIN_SAVING = 2**22
"""Minimum reduction of the peak in bytes; below it, the graph stays unchanged."""


def recompute(graph: Graph, overwritten: Collection[str] = ()) -> Graph:
    """Recompute cheap, large values that would be kept over the memory peak.

    While the peak falls, a value that is unused at the peak is dropped after its previous use and recomputed before
    its next one, from values that are kept anyway: elementwise, or with two numbers per channel. The result is
    identical to the bit. States in `overwritten` are not read again.

    Source: Chen et al. (2016), Training deep nets with sublinear memory cost, section 4.1.
    """
    memory = Memory(graph)
    plan = _Plan(memory, _views_of(graph, {graph.state[name].before for name in overwritten}))
    before = max(memory.profile)
    while plan.lower():
        pass
    return plan.rewritten() if before - max(memory.profile) >= MIN_SAVING else graph


def _views_of(graph: Graph, values: set[Value]) -> set[Value]:
    """Return these values and all views of them."""
    for operation in graph.operations:
        if isinstance(operation.op, MOVES) and operation.inputs[0] in values:
            values.update(operation.outputs)
    return values


class _Life:
    """Lifetime of a value with its own memory: the operations that produce or use it, those that only view it, and the
    intervals over which it is kept."""

    __slots__ = ("intervals", "size", "uses", "views")

    def __init__(self, value: Value, born: int) -> None:
        self.size = elements(value.shape) * BYTES[value.dtype]
        self.uses = [born]
        self.views: list[Operation] = []
        self.intervals = [[born, born]]

    def interval(self, at: int) -> list[int]:
        """Return the last interval that begins no later than the operation."""
        return next(each for each in reversed(self.intervals) if each[0] <= at)

    def waits(self, at: int) -> bool:
        """Return whether the value is kept during an operation, between two uses, that does not use it."""
        begin, end = self.interval(at)
        return begin < at < end and self.uses[bisect_left(self.uses, at)] != at


class Memory:
    """Memory of a step whose operations run in order; `profile` has the bytes in use at each operation.

    Inputs, outputs and state exist throughout, and are not counted.
    """

    __slots__ = ("graph", "lives", "position", "profile", "roots")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.position = {operation: i for i, operation in enumerate(graph.operations)}
        self.lives: dict[Value, _Life] = {}
        self.roots: dict[Value, Value] = {}
        for i, operation in enumerate(graph.operations):
            roots = dict.fromkeys(map(self.root, operation.inputs))
            lives = [self.lives[root] for root in roots if root in self.lives]
            for life in lives:
                life.uses.append(i)
                life.intervals[0][1] = i
            if isinstance(operation.op, VIEWS):
                (self.roots[operation.outputs[0]],) = roots
                for life in lives:
                    life.views.append(operation)
            else:
                self.lives.update((y, _Life(y, i)) for y in operation.outputs)
        for end in (*graph.outputs.values(), *(state.after for state in graph.state.values())):
            self.lives.pop(self.root(end), None)
        changes = [0] * (len(graph.operations) + 1)
        for life in self.lives.values():
            first, last = life.intervals[0]
            changes[first] += life.size
            changes[last + 1] -= life.size
        self.profile = [*accumulate(changes[:-1])]

    def root(self, x: Value) -> Value:
        """Return the value whose memory this one shares, or itself."""
        return self.roots.get(x, x)

    def add(self, size: int, begin: int, end: int) -> None:
        """Add bytes to the profile from one operation to another, inclusive."""
        self.profile[begin : end + 1] = [each + size for each in self.profile[begin : end + 1]]


class _Recomputation:
    """How to recompute a value: the operations, the values that must be kept for them, and the bytes that they
    write."""

    __slots__ = ("kept", "operations", "written")

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.kept: list[_Life] = []
        self.written = 0


class _Plan:
    """What to recompute, and before which operations; `unreadable` are values that must not be read again."""

    def __init__(self, memory: Memory, unreadable: Collection[Value]) -> None:
        self.memory = memory
        self.unreadable = unreadable
        self.again: dict[int, set[Operation]] = defaultdict(set)
        self.candidates = {y: life for y, life in memory.lives.items() if life.size >= MIN_BYTES}

    def lower(self) -> bool:
        """Lower the first peak by recomputing the value with the best ratio of saving to cost; return whether one was
        found."""
        profile = self.memory.profile
        peak = max(profile)
        at = profile.index(peak)
        best, ratio = None, 0.0
        for value, life in self.candidates.items():
            if not life.uses[0] < at < life.uses[-1] or not life.waits(at):
                continue
            back = life.uses[bisect_left(life.uses, at)]
            again = _Recomputation()
            if not self._collect(value, at, back, again, MAX_CHAIN):
                continue
            saved = life.size - sum(each.size for each in again.kept if each.interval(back)[1] < at)
            if saved / again.written > ratio and profile[back] + again.written - life.size < peak:
                best, ratio = (life, back, again), saved / again.written
        if best:
            self._apply(at, *best)
        return best is not None

    def _collect(self, value: Value, at: int, back: int, again: _Recomputation, depth: int) -> bool:
        """Return how to recompute a value before the operation `back` without keeping a large value at `at`, or
        None."""
        operation = value.producer
        if not depth or operation is None or not _cheap(operation, value):
            return False
        size = self.memory.lives[value].size
        for x in _reads(operation):
            root = self.memory.root(x)
            life = self.memory.lives.get(root)
            if x in self.unreadable:
                return False
            if life is None:
                continue
            if life.interval(back)[1] >= at or life.size <= MAX_KEPT * size:
                again.kept.append(life)
            elif not self._collect(root, at, back, again, depth - 1):
                return False
        again.operations.append(operation)
        again.written += size
        return True

    def _apply(self, at: int, life: _Life, back: int, again: _Recomputation) -> None:
        """Drop a value between its last use before `at` and the operation `back`."""
        add = self.memory.add
        interval = life.interval(at)
        last = life.uses[bisect_left(life.uses, at) - 1]
        add(-life.size, last + 1, back - 1)
        life.intervals.insert(life.intervals.index(interval) + 1, [back, interval[1]])
        interval[1] = last
        for each in again.kept:
            kept = each.interval(back)
            if kept[1] < back:
                add(each.size, kept[1] + 1, back)
                kept[1] = back
            insort(each.uses, back)
        add(again.written - life.size, back, back)
        self.again[back].update(again.operations)

    def rewritten(self) -> Graph:
        """Return the graph with the recomputations; later consumers use the recomputed values and new views of them."""
        graph, position = self.memory.graph, self.memory.position
        copy = Copy(graph)
        for i, operation in enumerate(graph.operations):
            for each in sorted(self.again[i], key=position.__getitem__):
                views = self.memory.lives[each.outputs[0]].views
                for one in (each, *(view for view in views if position[view] < i)):
                    _repeat(one, copy)
            copy.keep(operation)
        return prune(copy.finish())


def _reads(operation: Operation) -> Iterable[Value]:
    """Return what the recomputation of an operation reads."""
    if isinstance(operation.op, BatchNormalizationTraining):
        return *operation.inputs[:3], *operation.outputs[1:]
    return operation.inputs


def _repeat(operation: Operation, copy: Copy) -> None:
    """Recompute the first result of an operation."""
    begin = len(copy.new.operations)
    again = operation.op.again if isinstance(operation.op, BatchNormalizationTraining) else partial(apply, operation.op)
    copy.values[operation.outputs[0]] = again(*map(copy.value, _reads(operation)))
    for made in copy.new.operations[begin:]:
        made.origin = operation.origin and operation.origin.during(BACKWARD)


def _cheap(operation: Operation, y: Value) -> bool:
    """Return whether a result of an operation can be recomputed by memory-bound ones."""
    if isinstance(operation.op, BatchNormalizationTraining):
        return y is operation.outputs[0]
    if isinstance(operation.op, BlockedConv):
        channels, *kernel = known(operation.inputs[1].shape)
        return operation.op.group == channels and set(kernel) == {1}
    return isinstance(operation.op, CHEAP)
