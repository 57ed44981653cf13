"""Cut a part of a step into stages, between which vectors are summed over all shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.ir.graph import BYTES
from netdsl.ops.sync_batch_norm import ShardSum
from netdsl.passes.rewrite import Copy

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value

KEPT = "netdsl/kept/"
"""Prefix of the values that a stage keeps for later ones."""

SUMMED = "netdsl/summed/"
"""Prefix of the vectors that are summed over all shards, which later stages have as inputs of the same name."""


def is_staged(graph: Graph) -> bool:
    """Return whether shards need sums over all shards before the end of a step."""
    return any(isinstance(operation.op, ShardSum) for operation in graph.operations)


def alone(graph: Graph) -> Graph:
    """Return a part of a step as if its shard were the only one."""
    if not is_staged(graph):
        return graph
    copy = Copy(graph)
    for operation in graph.operations:
        if isinstance(operation.op, ShardSum):
            begin = len(copy.new.operations)
            copy.replace(operation, [ops.identity(*map(copy.value, operation.inputs))], begin)
        else:
            copy.keep(operation)
    return copy.finish()


def stages(graph: Graph) -> list[Graph]:
    """Cut a lowered graph at its sums over all shards.

    A stage depends on the sums that follow earlier ones; sums that do not depend on each other follow the same stage,
    so that there are as few stages as possible. Outputs of a stage with the prefixes KEPT and SUMMED are inputs of
    later ones. A state that a stage does not update is an input.
    """
    return _Stages(graph).run()


class _Stages:
    """The stages under construction; `stage` has the number of the one that computes each operation, or that a sum
    follows."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.stage: dict[Operation, int] = {}
        self.names: dict[Value, str] = {}
        first: dict[Value, int] = {}
        for operation in graph.operations:
            at = self.stage[operation] = max((first.get(x, 0) for x in operation.inputs), default=0)
            is_sum = isinstance(operation.op, ShardSum)
            first.update((y, at + is_sum) for y in operation.outputs)
            if is_sum:
                self.names[operation.outputs[0]] = f"{SUMMED}{len(self.names)}"
        self.postpone()

    def postpone(self) -> None:
        """Move operations to the first stage that needs their results, unless more bytes would then be kept."""
        ends = {*self.graph.outputs.values(), *(state.after for state in self.graph.state.values())}
        needed: dict[Value, tuple[int, int]] = {}
        for operation in reversed(self.graph.operations):
            at = self.stage[operation]
            later = min((needed[y][0] for y in operation.outputs if y in needed), default=at)
            if later > at and not isinstance(operation.op, ShardSum) and ends.isdisjoint(operation.outputs):
                more = {x for x in operation.inputs if x.producer and needed.get(x, (0, 0))[1] < later}
                if sum(map(_bytes, more)) <= sum(map(_bytes, operation.outputs)):
                    at = self.stage[operation] = later
            for x in operation.inputs:
                begin, end = needed.get(x, (at, at))
                needed[x] = min(begin, at), max(end, at)

    def run(self) -> list[Graph]:
        count = 1 + max(self.stage.values())
        for number in range(count):
            self.name_kept(number)
        return [self.cut(number) for number in range(count)]

    def name_kept(self, number: int) -> None:
        """Name the values of a stage that later ones need."""
        later = {x for operation, at in self.stage.items() if at > number for x in operation.inputs}
        own = (y for operation, at in self.stage.items() if at == number for y in operation.outputs)
        self.names.update((y, f"{KEPT}{number}/{i}") for i, y in enumerate(own) if y in later and y not in self.names)

    def cut(self, number: int) -> Graph:
        """Return a stage."""
        copy = Copy(self.graph)
        ends = {}
        for operation in (each for each, at in self.stage.items() if at == number):
            for x in operation.inputs:
                if x in self.names and x not in copy.values:
                    copy.values[x] = copy.new.input(self.names[x], x.shape, x.dtype)
            if isinstance(operation.op, ShardSum):
                ends[self.names[operation.outputs[0]]] = operation.inputs[0]
            else:
                copy.keep(operation)
                ends |= {self.names[y]: y for y in operation.outputs if y in self.names}
        made = {y for operation, at in self.stage.items() if at == number for y in operation.outputs}
        for state in self.graph.state.values():
            if state.after in made:
                copy.new.update(copy.value(state.before), copy.value(state.after), state.initial)
        taken = {*copy.new.inputs.values(), *(state.after for state in copy.new.state.values())}
        for name, y in {**{name: y for name, y in self.graph.outputs.items() if y in made}, **ends}.items():
            value = copy.value(y)
            copy.new.output(name, ops.identity(value) if value in taken else value)
            taken.add(value)
        return self.with_inputs(copy)

    def with_inputs(self, copy: Copy) -> Graph:
        """Return a stage whose inputs are the values that it reads, parameters and other states included."""
        new = copy.new
        read = {x for operation in new.operations for x in operation.inputs}
        states = {name: copy.values[state.before] for name, state in self.graph.state.items()}
        inputs = {**new.inputs, **new.parameters, **states}
        new.inputs = {name: x for name, x in inputs.items() if x in read and name not in new.state}
        new.parameters = {}
        return new


def _bytes(x: Value) -> int:
    return elements(x.shape) * BYTES[x.dtype]
