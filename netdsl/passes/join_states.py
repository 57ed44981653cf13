"""Update all small states of a step at once: an update of its own takes a few kernels, each of microseconds."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.ir.graph import UPDATE, Constant, Origin
from netdsl.ir.op import Pointwise
from netdsl.ops.arithmetic import Elementwise
from netdsl.ops.base import constant
from netdsl.ops.comparison import Where
from netdsl.ops.shaping import Reshape
from netdsl.passes.rewrite import Copy, needed_for, readers_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from netdsl.ir.graph import Graph, Operation, State, Value

    Place = tuple[str, object]

ELEMENTWISE = (Elementwise, Pointwise, Where)
"""Ops that compute each element of their result from those at the same place."""

MAX_ELEMENTS = 2**13
"""Maximum number of elements of a state that is joined: copying a larger gradient takes longer than a kernel more."""

MAX_JOINED = 2**17
"""Maximum number of elements of a joined state, so that the operands of an update stay in the cache."""

ALIGNMENT = 16
"""Alignment of states in elements: a line of the cache, and the widest vector."""

JOINED = "netdsl/joined/"
"""Prefix of the names of joined states."""


class Joined:
    """A graph, and for each joined state the names of the states that are parts of it, in order."""

    __slots__ = ("graph", "members")

    def __init__(self, graph: Graph, members: dict[str, list[str]]) -> None:
        self.graph = graph
        self.members = members


def join_states(graph: Graph, apart: Collection[str] = ()) -> Joined:
    """Replace small states that are updated in the same way by one, a vector that is updated at the end of the step.

    States belong to a family if the update of one reads another, as that of a weight reads its momentum. Families whose
    updates are equal but for what they read, such as gradients, are joined: this is concatenated. The results are
    identical to the bit. Each state begins at a multiple of ALIGNMENT, after zeros.

    Other operations that read a state, such as a layer its weight, still do: it is a parameter or an input that the
    step does not change. Its array is part of that of the joined state. Families of states `apart`, such as those that
    are overwritten before the end of the step, are not joined.
    """
    groups: dict[object, list[_Family]] = defaultdict(list)
    for family in _families(graph, apart):
        groups[family.key].append(family)
    chunks = [chunk for group in groups.values() for chunk in _chunks(group) if _saves(chunk)]
    return _Join(graph, chunks).run() if chunks else Joined(graph, {})


class _Family:
    """States of one shape and their update, as a program of elementwise operations.

    `steps` has the ops with their operands, each a kind and a number: of one of the `states`, of the values that are
    `given`, or of an earlier step; or "number" and a scalar. `ends` are the operands that the states become.
    """

    __slots__ = ("ends", "given", "places", "states", "steps")

    def __init__(self, states: Sequence[State], update: _Update) -> None:
        self.states = states
        self.given: list[Value] = []
        self.steps: list[tuple[Operation, list[Place]]] = []
        self.places: dict[Value, Place] = {state.before: ("state", i) for i, state in enumerate(states)}
        for state in states:
            self._add(state.after, update)
        self.ends = [self.places[state.after] for state in states]

    def _add(self, y: Value, update: _Update) -> None:
        """Append the steps that compute a value, after those of their operands."""
        waiting = [y]
        while waiting:
            x = waiting[-1]
            operands = update.operands(x)
            rest = [each for each in operands if each not in self.places]
            if rest and x not in self.places:
                waiting += rest[::-1]
                continue
            waiting.pop()
            if x in self.places:
                continue
            if elements(x.shape) == 1:
                self.places[x] = "number", _number(x)
            elif not operands:
                self.places[x] = "given", len(self.given)
                self.given.append(x)
            else:
                assert x.producer
                self.places[x] = "step", len(self.steps)
                self.steps.append((x.producer, [self.places[each] for each in operands]))

    @property
    def read(self) -> Iterator[Value]:
        """The values that the update is given, and its numbers, before they are reshaped."""
        return (_unmoved(x) for x, (kind, _) in self.places.items() if kind in ("given", "number"))

    @property
    def key(self) -> object:
        """What the families that are joined have in common."""
        steps = [(type(each.op), repr(each.op.attributes), *operands) for each, operands in self.steps]
        types = tuple(x.dtype for x in self.given)
        return tuple(steps), tuple(self.ends), types, tuple(repr(state.initial) for state in self.states)


def _number(x: Value) -> object:
    """Return what identifies a value of one element: its number if it is constant, otherwise itself, but for moves."""
    x = _unmoved(x)
    return (x.dtype, repr(x.tensor.data)) if isinstance(x, Constant) else x


class _Update:
    """The elementwise operations that compute new states from old ones of the same shape. `own` has their results."""

    def __init__(self, graph: Graph, small: dict[Value, State]) -> None:
        self.uses = {x: len(each) for x, each in readers_of(graph).items()}
        for end in (*graph.outputs.values(), *(state.after for state in graph.state.values())):
            self.uses[end] = self.uses.get(end, 0) + 1
        self.own = {*small}
        for operation in graph.operations:
            if _is_elementwise(operation) and not self.own.isdisjoint(operation.inputs):
                self.own.add(operation.outputs[0])

    def operands(self, x: Value) -> tuple[Value, ...]:
        """Return the operands of a value that is part of an update; none if the update is only given it.

        A value that is computed from one other, for the update alone, is part of it.
        """
        operation = x.producer
        if operation is None or elements(x.shape) == 1 or not _is_elementwise(operation):
            return ()
        others = {each for each in operation.inputs if elements(each.shape) > 1}
        alone = len(others) == 1 and self.uses[x] == 1
        return operation.inputs if x in self.own or alone else ()


def _is_elementwise(operation: Operation) -> bool:
    """Return whether each element of the result depends on those at its place, and on numbers."""
    (y, *more), shape = operation.outputs, operation.outputs[0].shape
    sizes = (x.shape == shape or elements(x.shape) == 1 for x in operation.inputs)
    return isinstance(operation.op, ELEMENTWISE) and not more and elements(y.shape) != 1 and all(sizes)


def _families(graph: Graph, apart: Collection[str]) -> Iterator[_Family]:
    """Yield the families of small states whose update is elementwise, but those of states `apart`."""
    states = [s for s in graph.state.values() if 1 < elements(s.before.shape) <= MAX_ELEMENTS]
    small = {state.before: state for state in states if state.before.dtype == "f32"}
    update, family = _Update(graph, small), {x: [x] for x in small}
    for state in small.values():
        todo, seen = [state.after], {state.after}
        while todo:
            x = todo.pop()
            if x in family and family[x] is not family[state.before]:
                family[state.before] += family[x]
                family.update(dict.fromkeys(family[x], family[state.before]))
            more = [each for each in update.operands(x) if each not in seen]
            todo += more
            seen.update(more)
    position = {x: i for i, x in enumerate(small)}
    for members in {id(each): each for each in family.values()}.values():
        found = [small[x] for x in sorted(members, key=position.__getitem__)]
        if all(s.after in update.own and s.after not in small and s.name not in apart for s in found):
            yield _Family(found, update)


def _chunks(families: list[_Family]) -> Iterator[list[_Family]]:
    """Divide families that are updated in the same way, in order, so that they fit into a joined state."""
    chunk: list[_Family] = []
    total = 0
    for family in families:
        size = _size(family)
        if chunk and total + size > MAX_JOINED:
            yield chunk
            chunk, total = [], 0
        chunk.append(family)
        total += size
    yield chunk


def _size(family: _Family) -> int:
    """Return the number of elements that a state takes, including the zeros before the next one."""
    return -(-elements(family.states[0].before.shape) // ALIGNMENT) * ALIGNMENT


def _saves(chunk: list[_Family]) -> bool:
    """Return whether joining families takes fewer kernels."""
    moves = sum(len(_unmoved(x).shape) > 1 for family in chunk for x in family.given)
    return (len(chunk) - 1) * len(chunk[0].steps) > len(chunk[0].given) + moves


def _unmoved(x: Value) -> Value:
    """Return the value whose elements a value has in the same order."""
    while x.producer and isinstance(x.producer.op, Reshape):
        (x,) = x.producer.inputs
    return x


class _Join:
    """The new graph under construction."""

    def __init__(self, graph: Graph, chunks: list[list[_Family]]) -> None:
        self.copy = Copy(graph)
        self.chunks = chunks
        self.members: dict[str, list[str]] = {}
        self.zeros: dict[tuple[int, str], Value] = {}

    def run(self) -> Joined:
        copy, old, families = self.copy, self.copy.old, [family for chunk in self.chunks for family in chunk]
        members = {state.before: state.name for family in families for state in family.states}
        ends = (state.after for state in old.state.values() if state.before not in members)
        read = (x for family in families for x in family.read)
        needed = needed_for(old, (*old.outputs.values(), *ends, *read))
        for operation in old.operations:
            if not needed.isdisjoint(operation.outputs):
                copy.keep(operation)
        before = {name: copy.values.pop(x) for x, name in members.items()}
        new = copy.finish()
        for x, name in members.items():
            if x not in needed:
                new.parameters.pop(name, None)
            elif name not in new.parameters:
                new.inputs[name] = before[name]
        for number, chunk in enumerate(self.chunks):
            with new.owned(self.owner(chunk)):
                self.join(chunk, f"{JOINED}{number}")
        return Joined(new, self.members)

    def owner(self, chunk: list[_Family]) -> Origin:
        """Return the line of the `train` block that owns the update of states of several layers: their own, or else
        the first that owns an update, for running statistics."""
        own = (operation for family in chunk for operation, _ in family.steps)
        updates = (each for each in self.copy.old.operations if each.origin and each.origin.phase == UPDATE)
        origins = (each.origin for operations in (own, updates) for each in operations)
        return Origin(None, UPDATE, next((each.line for each in origins if each and each.line), None))

    def join(self, chunk: list[_Family], prefix: str) -> None:
        """Append the update of the families of a chunk."""
        first, new = chunk[0], self.copy.new
        size = sum(map(_size, chunk))
        made: dict[Place, Value] = {}
        for i, state in enumerate(first.states):
            name = f"{prefix}/{i}"
            made["state", i] = new.state_input(name, (size,), state.before.dtype)
            self.members[name] = [family.states[i].name for family in chunk]
        for i in range(len(first.given)):
            made["given", i] = self.joined([family.given[i] for family in chunk])
        made.update((place, self.number(x)) for x, place in first.places.items() if place[0] == "number")
        for i, (operation, operands) in enumerate(first.steps):
            (made["step", i],) = new.apply(operation.op, *(made[place] for place in operands))
        for i, (state, end) in enumerate(zip(first.states, first.ends, strict=True)):
            new.update(made["state", i], made[end], state.initial)

    def joined(self, xs: Sequence[Value]) -> Value:
        """Return the elements of values of this shape one after the other, with zeros between them."""
        parts = []
        for x in xs:
            source = self.copy.value(_unmoved(x))
            count = elements(x.shape)
            assert isinstance(count, int)
            parts.append(source if source.shape == (count,) else ops.reshape(source, (count,), batch=False))
            if rest := -count % ALIGNMENT:
                key = rest, x.dtype
                if key not in self.zeros:
                    self.zeros[key] = constant(self.copy.new, 0, x.dtype, (rest,))
                parts.append(self.zeros[key])
        return ops.concat(parts, 0)

    def number(self, x: Value) -> Value:
        """Return a value of one element as a scalar."""
        x = _unmoved(x)
        if isinstance(x, Constant):
            return constant(self.copy.new, x.tensor.data[0], x.dtype)
        found = self.copy.value(x)
        return found if not x.shape else ops.reshape(found, (), batch=False)
