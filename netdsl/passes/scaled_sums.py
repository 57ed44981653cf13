"""Update weights in fewer passes over memory: multiples are added where the sum is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.ir.graph import UPDATE, Constant
from netdsl.ir.op import Pointwise
from netdsl.ops.arithmetic import Add, Elementwise, Mul, Sub
from netdsl.ops.base import constant
from netdsl.ops.elementwise import Cast
from netdsl.ops.scaled_sum import scaled_sum
from netdsl.passes.rewrite import Copy, readers_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Graph, Operation, State, Value


def scaled_sums(graph: Graph, overwritten: Collection[str]) -> Graph:
    """Fuse `w - r v` and other sums of a value and a multiple, in the updates of states that are overwritten.

    The result must take the place of the addend: the state that it updates, or a value that nothing else reads. States
    and what their updates compute element by element become vectors [1, 1, n]; all others read views of them.
    """
    sums = _Sums(graph)
    states = [graph.state[name] for name in overwritten]
    updates = [state for state in states if state.before.dtype == "f32" and sums.of(state.after, state.before)]
    return _Fusion(graph, sums, _vectors(graph, updates)).run() if updates else graph


class _Sum(NamedTuple):
    """`addend` + `factor` `x`, or a difference; `product` computes the multiple."""

    addend: Value
    x: Value
    factor: Value
    product: Operation
    is_difference: bool


class _Sums:
    """The sums of a graph that can be fused."""

    def __init__(self, graph: Graph) -> None:
        self._readers = readers_of(graph)
        self._ends = {*graph.outputs.values(), *(state.after for state in graph.state.values())}

    def of(self, y: Value, before: Value | None = None) -> _Sum | None:
        """Return the sum that computes `y`, whose addend is the state `before` the update or a value that nothing else
        reads."""
        operation = y.producer
        if operation is None or not isinstance(operation.op, (Add, Sub)) or len(operation.inputs) != 2:
            return None
        a, b = operation.inputs
        is_difference = isinstance(operation.op, Sub)
        for addend, product in ((a, b),) if is_difference else ((a, b), (b, a)):
            taken = addend is before if before is not None else self._is_only_read_here(addend) and y not in self._ends
            found = self._multiple(product, y.shape) if taken and addend.shape == y.shape else None
            if found:
                return _Sum(addend, *found, is_difference)
        return None

    def _is_only_read_here(self, x: Value) -> bool:
        return x.producer is not None and x not in self._ends and len(self._readers[x]) == 1

    def _multiple(self, y: Value, shape: Shape) -> tuple[Value, Value, Operation] | None:
        """Return a value, the number that it is multiplied by, and the operation, if only the sum reads `y`."""
        operation = y.producer
        if operation is None or not isinstance(operation.op, Mul) or not self._is_only_read_here(y):
            return None
        for x, factor in (operation.inputs, operation.inputs[::-1]):
            if x.shape == shape and x.dtype == "f32" and elements(factor.shape) == 1:
                return x, factor, operation
        return None


def _vectors(graph: Graph, updates: list[State]) -> set[Value]:
    """Return the values that become vectors: these states, and values of the same shape that updates compute from each
    other element by element."""
    befores = {state.after: state.before for state in graph.state.values()}
    found: set[Value] = set()
    queue = [state.after for state in updates]
    for y in queue:
        if y in found or y.producer is None or not _is_elementwise(y.producer):
            continue
        found.add(y)
        if y in befores:
            found.add(befores[y])
        queue += [x for x in y.producer.inputs if x.shape == y.shape]
    return found


def _is_elementwise(operation: Operation) -> bool:
    """Return whether an update computes each element from those at its place and from numbers."""
    if operation.origin is None or operation.origin.phase != UPDATE or isinstance(operation.op, Cast):
        return False
    (y, *more), inputs = operation.outputs, operation.inputs
    same = all(x.shape == y.shape or elements(x.shape) == 1 for x in inputs)
    return isinstance(operation.op, (Elementwise, Pointwise)) and same and not more


class _Fusion(Copy):
    """The new graph under construction; `vectors` maps old values to vectors."""

    def __init__(self, graph: Graph, sums: _Sums, vectors: set[Value]) -> None:
        super().__init__(graph)
        befores = {state.after: state.before for state in graph.state.values()}
        self.held = vectors
        self.vectors: dict[Value, Value] = {}
        self.factors: dict[tuple[Value, bool], Value] = {}
        found = {y: sums.of(y, befores.get(y)) for y in vectors if y.producer}
        self.sums = {y.producer: each for y, each in found.items() if each}
        self.products = {each.product for each in self.sums.values()}
        for before in vectors & self.values.keys():
            self.vectors[before] = self.values.pop(before)
            self.vectors[before].shape = _flat(before)

    def run(self) -> Graph:
        for operation in self.old.operations:
            begin = len(self.new.operations)
            if operation in self.products:
                continue
            if operation.outputs[0] in self.held:
                self.vectors[operation.outputs[0]] = self.convert(operation)
            else:
                self.keep(operation)
            for each in self.new.operations[begin:]:
                each.origin = each.origin or operation.origin
        return self.finish()

    def convert(self, operation: Operation) -> Value:
        """Compute an operation on vectors."""
        if operation in self.sums:
            each = self.sums[operation]
            x, factor, addend = self.vector(each.x), self.factor(each), self.vector(each.addend)
            return scaled_sum(x, factor, addend)
        inputs = [self.vector(x) if elements(x.shape) > 1 else self.number(x) for x in operation.inputs]
        (y,) = self.new.apply(operation.op, *inputs)
        return y

    def value(self, x: Value) -> Value:
        if x not in self.values and x in self.vectors:
            self.values[x] = ops.reshape(self.vectors[x], x.shape, batch=False)
        return super().value(x)

    def vector(self, x: Value) -> Value:
        if x not in self.vectors:
            self.vectors[x] = ops.reshape(self.value(x), _flat(x), batch=False)
        return self.vectors[x]

    def number(self, x: Value) -> Value:
        """Return a number whose rank is not above that of vectors."""
        return self.value(x) if len(x.shape) < 4 else ops.reshape(self.value(x), (), batch=False)

    def factor(self, each: _Sum) -> Value:
        """Return the number that a sum multiplies by, as a kernel."""
        key = each.factor, each.is_difference
        if key not in self.factors:
            sign = -1.0 if each.is_difference else 1.0
            if isinstance(each.factor, Constant):
                (number,) = each.factor.tensor.data
                self.factors[key] = constant(self.new, sign * number, shape=(1, 1, 1))
            else:
                self.factors[key] = ops.mul(self.number(each.factor), constant(self.new, sign, shape=(1, 1, 1)))
        return self.factors[key]

    def finish(self) -> Graph:
        """Return the new graph, whose states are vectors where their updates are."""
        for name, y in self.old.outputs.items():
            self.new.output(name, self.value(y))
        for state in self.old.state.values():
            own = self.vectors.get if state.before in self.vectors else self.values.get
            before, after = own(state.before), own(state.after)
            self.new.update(before or self.value(state.before), after or self.value(state.after), state.initial)
        return self.new


def _flat(x: Value) -> tuple[int, int, int]:
    count = elements(x.shape)
    assert isinstance(count, int)
    return 1, 1, count
