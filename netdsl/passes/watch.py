"""Make the results of layers outputs of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ir.graph import DTYPES

if TYPE_CHECKING:
    from collections.abc import Collection

    from netdsl.ir.graph import Graph, Value
    from netdsl.ir.net import Node

WATCHED = "netdsl/value/"
"""Prefix of the names of outputs that are results of layers."""


def layer_values(graph: Graph, dtypes: Collection[str] = DTYPES) -> dict[Node, Value]:
    """Return the result of each layer that computes one of these types. Layers that only pass a value on, such as
    `dropout` at inference, have none."""
    found: dict[Node, Value] = {}
    for operation in graph.operations:
        node = operation.origin.node if operation.origin is not None else None
        for value in operation.outputs if node is not None else ():
            if node is not None and value.name == node.name and value.dtype in dtypes:
                found[node] = value
    return found


def watch(graph: Graph, dtypes: Collection[str] = DTYPES) -> dict[Node, str]:
    """Make the results of layers outputs of the graph, and return their names as such."""
    known: dict[Value, str] = {value: name for name, value in graph.outputs.items()}
    known |= {state.after: f"{name}.next" for name, state in graph.state.items()}
    watched: dict[Node, str] = {}
    for node, value in layer_values(graph, dtypes).items():
        if value not in known:
            known[value] = f"{WATCHED}{len(watched)}"
            graph.output(known[value], value)
        watched[node] = known[value]
    return watched
