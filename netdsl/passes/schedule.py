"""The order of a step's operations: a weight is updated as soon as its gradient is known, so that this dies at once."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from netdsl.passes.rewrite import Copy

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation

MANY = ""
"""What serves more than one parameter."""


def schedule(graph: Graph) -> Graph:
    """The same graph in an order that keeps less in memory.

    Whatever serves only the update of one parameter - its gradient, unless that of another one goes through it, the
    state of the optimizer - stands together, as early as it can. The rest keeps its order. A runtime that executes
    models in their own order then holds one gradient of a weight at a time.
    """
    serves = _served(graph)
    followers = _followers(graph, serves)
    copy = Copy(graph)
    for key in followers[None]:
        _keep(copy, serves, key)
    for operation in graph.operations:
        if serves.get(operation, MANY) == MANY:
            copy.keep(operation)
            for key in followers[operation]:
                _keep(copy, serves, key)
    return copy.finish()


def _served(graph: Graph) -> _Serves:
    """The only parameter that an operation serves, or MANY; nothing for one that serves none."""
    ends = dict.fromkeys(graph.outputs.values(), MANY)
    for name, state in graph.state.items():
        weight = name.rpartition(".")[0]
        key = weight if weight in graph.state else name
        ends[state.after] = key if ends.get(state.after, key) == key else MANY
    serves = _Serves()
    for operation in reversed(graph.operations):
        keys = {ends[y] for y in operation.outputs if y in ends}
        if keys:
            key = keys.pop() if len(keys) == 1 else MANY
            serves[operation] = key
            for x in operation.inputs:
                ends[x] = key if ends.get(x, key) == key else MANY
    for operation in graph.operations:
        if owner := serves.get(operation):
            serves.groups[owner].append(operation)
    return serves


class _Serves(dict["Operation", str]):
    """The parameter that each operation serves; `groups` are those of each parameter, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[str, list[Operation]] = defaultdict(list)


def _followers(graph: Graph, serves: _Serves) -> dict[Operation | None, list[str]]:
    """The groups by the last operation that they need; None for those that need no other."""
    position = {operation: i for i, operation in enumerate(graph.operations)}
    last: dict[Operation | None, list[str]] = defaultdict(list)
    for key, group in serves.groups.items():
        needed = {x.producer for each in group for x in each.inputs if x.producer and serves.get(x.producer) != key}
        last[max(needed, key=position.__getitem__, default=None)].append(key)
    return last


def _keep(copy: Copy, serves: _Serves, key: str) -> None:
    for operation in serves.groups[key]:
        copy.keep(operation)
