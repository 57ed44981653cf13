"""Order a step so that each weight is updated as soon as its gradient is known, which frees the gradient."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from netdsl.base.shape import elements
from netdsl.passes.rewrite import Copy

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation

SHARED = ""
"""Marks an operation that serves more than one parameter."""


def reorder_updates(graph: Graph) -> Graph:
    """Return the same graph in an order that needs less memory.

    Operations that serve only the update of one parameter (its gradient, unless another gradient flows through it, and
    the optimizer's state) form a group that runs as early as possible; so do operations that compute a scalar for many
    updates, such as Adam's step size. All others keep their order. A runtime that executes operations in graph order
    then holds one weight gradient at a time.
    """
    serves = _served(graph)
    followers = _followers(graph, serves)
    copy = Copy(graph)
    for operation in (None, *graph.operations):
        if operation and _stays(operation, serves):
            copy.keep(operation)
        for each in followers[operation]:
            copy.keep(each)
    return copy.finish()


def _stays(operation: Operation, serves: _Serves) -> bool:
    """Return whether an operation keeps its place."""
    return serves.get(operation, SHARED) == SHARED and not _is_number(operation)


def _is_number(operation: Operation) -> bool:
    return all(elements(y.shape) == 1 for y in operation.outputs)


def _served(graph: Graph) -> _Serves:
    """Return the parameter that an operation serves, SHARED for several, or an empty string for none."""
    ends = dict.fromkeys(graph.outputs.values(), SHARED)
    for name, state in graph.state.items():
        weight = name.rpartition(".")[0]
        key = weight if weight in graph.state else name
        ends[state.after] = key if ends.get(state.after, key) == key else SHARED
    serves = _Serves()
    for operation in reversed(graph.operations):
        keys = {ends[y] for y in operation.outputs if y in ends}
        if keys:
            key = keys.pop() if len(keys) == 1 else SHARED
            serves[operation] = key
            for x in operation.inputs:
                ends[x] = key if ends.get(x, key) == key else SHARED
    for operation in graph.operations:
        if owner := serves.get(operation):
            serves.groups[owner].append(operation)
    return serves


class _Serves(dict["Operation", str]):
    """The parameter that each operation serves; `groups` has the operations of each parameter in order."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[str, list[Operation]] = defaultdict(list)


def _followers(graph: Graph, serves: _Serves) -> dict[Operation | None, list[Operation]]:
    """Return the operations that move, by the last operation that stays and that they depend on, or None.

    Scalars that many groups read come before the groups, since they depend on none.
    """
    position: dict[Operation | None, int] = {operation: i for i, operation in enumerate(graph.operations)}
    position[None] = -1
    stays: dict[Operation, Operation | None] = {}
    for operation in graph.operations:
        before = (stays[x.producer] for x in operation.inputs if x.producer)
        stays[operation] = (
            operation if _stays(operation, serves) else max(before, key=position.__getitem__, default=None)
        )
    followers: dict[Operation | None, list[Operation]] = defaultdict(list)
    for operation in graph.operations:
        if serves.get(operation, SHARED) == SHARED and not _stays(operation, serves):
            followers[stays[operation]].append(operation)
    for group in serves.groups.values():
        followers[max((stays[each] for each in group), key=position.__getitem__)].extend(_deepest_first(group))
    return followers


def _deepest_first(group: list[Operation]) -> list[Operation]:
    """Return a group in an order in which an operand that takes longer chains of operations is computed before the
    others, so that these are not kept meanwhile: a gradient comes before the weight's decay and the momentum."""
    depth: dict[Operation | None, int] = {None: 0}
    for operation in group:
        depth[operation] = 1 + max((depth.get(x.producer, 0) for x in operation.inputs), default=0)
    found: dict[Operation, None] = {}
    stack = sorted(group, key=depth.__getitem__)
    while stack:
        operation = stack[-1]
        producers = (x.producer for x in operation.inputs)
        waits = [each for each in producers if each in depth and each and each not in found]
        if operation in found or not waits:
            found.setdefault(operation)
            stack.pop()
        else:
            stack.extend(sorted(waits, key=depth.__getitem__))
    return list(found)
