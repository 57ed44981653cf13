"""The whole line on one screen: a net becomes a model."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.emit import Array, Emitted, Weights
    from netdsl.ir.graph import Graph
    from netdsl.ir.net import Net
    from netdsl.weights.match import MatchedWeights

    Given = Mapping[str, Array] | MatchedWeights

OPSET = 21
"""The newest that runtimes of the last two years know."""


def compile_net(
    net: Net,
    file: BinaryIO,
    *,
    seed: int = 0,
    weights: Given | None = None,
    batch: int | None = None,
    opset: int = OPSET,
) -> None:
    """Write a net as one ONNX model, with these weights or with initial ones drawn from the seed.

    Raises TooLargeForOnnx.
    """
    from netdsl.lower import lower
    from netdsl.weights.draw import draw_all

    graph = lower(net, batch=batch)
    values: Weights
    if weights is None:
        # The first weights are drawn while onnx is imported.
        values = draw_all([p.declaration for p in graph.parameters.values()], seed)
    else:
        values = ((name, weights[name]) for name in graph.parameters)
    from netdsl.emit import write

    write(structure(graph, opset=opset), values, file)


def structure(graph: Graph, *, opset: int = OPSET) -> Emitted:
    """A graph as a checked model without its weights."""
    from netdsl.emit import check, emit

    emitted = emit(graph, opset=opset)
    check(emitted)
    return emitted


def compile_to_bytes(
    net: Net,
    *,
    seed: int = 0,
    weights: Given | None = None,
    batch: int | None = None,
    opset: int = OPSET,
) -> bytes:
    """The model whole, in memory, as onnxruntime's `InferenceSession` takes it."""
    file = io.BytesIO()
    compile_net(net, file, seed=seed, weights=weights, batch=batch, opset=opset)
    return file.getvalue()
