"""The whole line on one screen: a net becomes a model."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from netdsl.emit import Emitted
    from netdsl.ir.graph import Graph
    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile
    from netdsl.wire import Weights

OPSET = 21
"""The newest that runtimes of the last two years know."""


def compile_net(
    net: Net,
    file: BinaryIO,
    *,
    seed: int = 0,
    weights: WeightFile | None = None,
    batch: int | None = None,
    opset: int = OPSET,
) -> Emitted:
    """Write a net as one ONNX model, with the weights of a file or with initial ones drawn from the seed.

    Returns the model without its weights.

    Raises UserError where the weights do not fit, or the model is too large for one file.
    """
    from netdsl.lower import lower

    graph = lower(net, batch=batch)
    values = _values(net, graph, seed, weights)
    from netdsl.wire import write

    emitted = structure(graph, opset=opset)
    write(emitted, values, file)
    return emitted


def structure(graph: Graph, *, opset: int = OPSET) -> Emitted:
    """A graph as a checked model without its weights."""
    from netdsl.emit import check, emit

    emitted = emit(graph, opset=opset)
    check(emitted)
    return emitted


def _values(net: Net, graph: Graph, seed: int, weights: WeightFile | None) -> Weights:
    """The weights in the graph's order, one at a time. The first drawn ones are made while onnx is imported."""
    if weights is None:
        from netdsl.weights.draw import draw_all

        return draw_all([p.declaration for p in graph.parameters.values()], seed)
    from netdsl.weights.match import match

    shapes = {name: p.declaration.shape for name, p in graph.parameters.items()}
    matched = match(shapes, weights, optional=net.parameters.keys() - shapes.keys())
    return ((name, matched[name]) for name in shapes)


def compile_to_bytes(
    net: Net,
    *,
    seed: int = 0,
    weights: WeightFile | None = None,
    batch: int | None = None,
    opset: int = OPSET,
) -> bytes:
    """The model whole, in memory, as onnxruntime's `InferenceSession` takes it."""
    file = io.BytesIO()
    compile_net(net, file, seed=seed, weights=weights, batch=batch, opset=opset)
    return file.getvalue()
