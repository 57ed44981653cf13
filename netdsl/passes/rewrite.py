"""Copy a graph operation by operation, replacing or dropping some; the basis of all passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ir.graph import Constant, Graph
from netdsl.ir.op import Macro
from netdsl.ops.attending import Attention
from netdsl.ops.elementwise import identity
from netdsl.ops.recurrence import Recurrent
from netdsl.ops.regions import RoiAlign

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from netdsl.ir.graph import Operation, Value


class Copy:
    """A copy of a graph under construction; `values` maps old values to new ones.

    States and parameters whose name begins with one of `without` are left out.
    """

    __slots__ = ("new", "old", "values")

    def __init__(self, graph: Graph, without: Collection[Value] = ()) -> None:
        self.old = graph
        self.new = Graph(graph.name, graph.origin, graph.dtype)
        self.new.products = graph.products
        self.values: dict[Value, Value] = {}
        for parameter in graph.parameters.values():
            if parameter in without:
                continue
            self.values[parameter] = self.new.parameter(parameter.declaration)
            self.values[parameter].shape = parameter.shape  # as a pass may have laid it out
        for name, x in graph.inputs.items():
            self.values[x] = self.new.input(name, x.shape, x.dtype)
        for name, state in graph.state.items():
            if state.before not in self.values and state.before not in without:
                self.values[state.before] = self.new.state_input(name, state.before.shape, state.before.dtype)

    def value(self, x: Value) -> Value:
        found = self.values.get(x)
        if found is None:
            assert isinstance(x, Constant), f"{x!r} is used before it is computed"
            found = self.values[x] = Constant(self.new, x.tensor)
        return found

    def keep(self, operation: Operation) -> None:
        """Copy an operation unchanged."""
        inputs = tuple([self.value(x) for x in operation.inputs])
        for x, old in zip(inputs, operation.inputs, strict=True):
            if x.shape != old.shape or x.dtype != old.dtype:
                begin = len(self.new.operations)
                self.replace(operation, self.new.apply(operation.op, *inputs), begin)
                return
        results = self.new.repeat(operation, inputs)
        for y, made in zip(operation.outputs, results, strict=True):
            self.values[y] = made
            made.name = y.name

    def replace(self, operation: Operation, results: Iterable[Value], begin: int) -> None:
        """Replace the results of an operation by `results`; new operations from `begin` on get its origin."""
        for each in self.new.operations[begin:]:
            each.origin = operation.origin
        for old, made in zip(operation.outputs, results, strict=True):
            self.values[old] = made
            if old.name and made.producer is not None and not made.name:
                made.name = old.name

    def finish(self) -> Graph:
        """Return the new graph, with the outputs and the state of the old one."""
        for name, y in self.old.outputs.items():
            self.new.output(name, self.value(y))
        for state in self.old.state.values():
            if state.before not in self.values:
                continue
            self.new.update(self.value(state.before), self.value(state.after), state.initial)
        return self.new


class Converting(Copy):
    """A copy in which values can be held in another form, such as another layout: `convert` computes an operation in
    it, and `value` returns a value in its own."""

    __slots__ = ()

    def convert(self, operation: Operation) -> bool:
        """Compute an operation in another form; return False, with nothing done, if it is better copied."""
        raise NotImplementedError

    def run(self) -> Graph:
        for operation in self.old.operations:
            begin = len(self.new.operations)
            if not self.convert(operation):
                self.keep(operation)
                continue
            for made in self.new.operations[begin:]:
                made.origin = made.origin or operation.origin
        return self.finish()

    def finish(self) -> Graph:
        """Return the new graph. Outputs whose conversions cancel are copied: each output is a value of its own."""
        taken: set[Value] = set()
        for y in self.old.outputs.values():
            made = self.value(y)
            if made.producer is None or made in taken:
                made = self.values[y] = identity(made)
                assert made.producer is not None
                made.producer.origin = y.producer.origin if y.producer else None
            taken.add(made)
        return super().finish()


def readers_of(graph: Graph) -> dict[Value, list[Operation]]:
    """Return the operations that read each value; one that reads it twice is there twice. Outputs are not counted."""
    readers: dict[Value, list[Operation]] = {}
    for operation in graph.operations:
        for x in operation.inputs:
            readers.setdefault(x, []).append(operation)
    return readers


def needed_for(graph: Graph, ends: Iterable[Value]) -> set[Value]:
    """Return values, and all values that they depend on."""
    needed = set(ends)
    for operation in reversed(graph.operations):
        if not needed.isdisjoint(operation.outputs):
            needed.update(operation.inputs)
    return needed


def prune(graph: Graph) -> Graph:
    """Remove operations that no output and no state depends on; a graph without any is returned as it is."""
    needed = needed_for(graph, (*graph.outputs.values(), *(state.after for state in graph.state.values())))
    if not any(needed.isdisjoint(operation.outputs) for operation in graph.operations):
        return graph
    copy = Copy(graph)
    for operation in graph.operations:
        if not needed.isdisjoint(operation.outputs):
            copy.keep(operation)
    return copy.finish()


def expand_macros(graph: Graph, opset: int = 0, *, keep: tuple[type[Macro], ...] = ()) -> Graph:
    """Expand macros, recursively, into ops that ONNX has: at this opset, or at all of them. Those in `keep` stay."""

    def expands(operation: Operation) -> bool:
        op = operation.op
        return isinstance(op, Macro) and not op.native(opset) and not isinstance(op, keep)

    while any(map(expands, graph.operations)):
        copy = Copy(graph)
        for operation in graph.operations:
            begin = len(copy.new.operations)
            if isinstance(operation.op, Macro) and expands(operation):
                copy.replace(operation, operation.op.expand_at(opset, *map(copy.value, operation.inputs)), begin)
            else:
                copy.keep(operation)
        graph = copy.finish()
    return graph


def differentiable(graph: Graph) -> Graph:
    """Replace the ops of inference that have no gradient by ones that compute the same."""
    copy = Copy(graph)
    for operation in graph.operations:
        begin = len(copy.new.operations)
        if isinstance(operation.op, Recurrent):
            copy.replace(operation, operation.op.scans(*map(copy.value, operation.inputs)), begin)
        elif isinstance(operation.op, (Attention, RoiAlign)):
            copy.replace(operation, operation.op.expand(*map(copy.value, operation.inputs)), begin)
        else:
            copy.keep(operation)
    return copy.finish()
