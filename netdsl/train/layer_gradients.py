"""The graph of the gradients of a loss with respect to the outputs of layers and to weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.passes.gradient import gradients
from netdsl.passes.rewrite import prune
from netdsl.passes.watch import layer_values, watch
from netdsl.train.step import forward

if TYPE_CHECKING:
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.graph import Graph, Value

OF_LAYER, OF_WEIGHT = "netdsl/layer_gradient/", "netdsl/weight_gradient/"
"""Prefixes of the outputs that are gradients."""


class LayerGradients:
    """A graph with the outputs of layers, and the gradients, as outputs; it computes the loss as training does.

    `values` has the output of the graph for each layer, `layers` and `weights` those of the gradients, as far as the
    loss depends on them.
    """

    __slots__ = ("graph", "layers", "values", "weights")

    def __init__(self, recipe: Recipe) -> None:
        graph, loss = forward(recipe.net, recipe, reorder=False)
        values = layer_values(graph, ("f32",))
        nodes = [node for node in values if node.layer.kind != "input"]
        weights = [p for p in graph.parameters.values() if p.declaration.trainable and p.name not in recipe.freeze]
        found = gradients(loss, [*(values[node] for node in nodes), *weights])
        names: dict[Value, str] = {}
        self.layers = {
            node: _output(graph, gradient, OF_LAYER, names)
            for node, gradient in zip(nodes, found, strict=False)
            if gradient is not None
        }
        self.weights = {
            weight.name: _output(graph, gradient, OF_WEIGHT, names)
            for weight, gradient in zip(weights, found[len(nodes) :], strict=True)
            if gradient is not None
        }
        watched = watch(graph, ("f32",))
        self.values = {node: watched[node] for node in self.layers}
        self.graph: Graph = prune(graph)


def _output(graph: Graph, gradient: Value, prefix: str, names: dict[Value, str]) -> str:
    """Make a gradient an output, and return its name; several layers can have the same."""
    if gradient in names:
        return names[gradient]
    known = gradient in graph.outputs.values() or gradient.producer is None
    name = names[gradient] = f"{prefix}{len(names)}"
    graph.output(name, ops.identity(gradient) if known else gradient)
    return name
