"""Compile a net to an ONNX model, from lowering to the bytes of the file."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from netdsl.base.shape import elements
from netdsl.base.terminal import escape
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.ir.graph import BYTES
from netdsl.ir.names import OWN, Names, read_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx import ModelProto

    from netdsl.backend.emit import Emitted
    from netdsl.backend.external_data import DataFile
    from netdsl.backend.serialize import Weights
    from netdsl.ir.graph import Graph
    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile

OPSET = 21
"""Default opset, the newest that runtimes of the last two years support."""

ONE_FILE = 2_000_000_000
"""Maximum size in bytes of the weights in a single file; a protobuf message holds slightly more, for the graph."""


class BadMetadata(UserError, code="E0640", exit_code=USAGE_IS_WRONG):
    """Model metadata are keys and texts. Keys that begin with `netdsl.` are reserved."""


def compile_net(
    net: Net,
    file: BinaryIO,
    *,
    seed: int = 0,
    weights: WeightFile | None = None,
    batch: int | None = None,
    opset: int = OPSET,
    dtype: str = "f32",
    io: str = "f32",
    metadata: Mapping[str, str] | None = None,
    data: DataFile | None = None,
    functions: bool = False,
    names: Names | None = None,
) -> Emitted:
    """Write a net as one ONNX model, with the weights of a file or with initial ones drawn from the seed.

    With the `dtype` f16 it computes in half precision; its inputs and outputs are halves too if `io` says so.
    `metadata` is what it tells of itself besides what netdsl puts there, such as the names of classes and columns that
    the weights' file has, or else `names`. The weights go into `data`, where given. With
    `functions` the blocks of the net are functions of the model.

    Returns the model without its weights. Raises UserError where the weights do not fit, a number is beyond a half's
    range, the model is too large for one file, or the metadata are not allowed.
    """
    from netdsl.lower import lower

    graph = lower(net, batch=batch)
    if dtype == "f16":
        from netdsl.passes.half import half

        graph = half(graph, io=io)
    values = _values(net, graph, seed, weights)
    from netdsl.backend.serialize import write, write_apart

    emitted = structure(graph, opset=opset, functions=functions)
    found = net_names(net, weights) or names or Names()
    add_metadata(metadata or {}, emitted.model, own=found.metadata)
    if data is None:
        write(emitted, values, file)
    else:
        write_apart(emitted, values, file, data)
    return emitted


def net_names(net: Net, weights: WeightFile | None) -> Names:
    """Return the names of classes and columns that a weight file has, as the net calls its outputs and inputs. Raises
    BadNames."""
    if weights is None:
        return Names()
    inputs = {node.name: node.shape for node in net.inputs}
    outputs = {name: output.node.shape for name, output in net.outputs.items() if not output.training}
    return read_names(weights.metadata, weights.path, inputs, outputs)


def add_metadata(metadata: Mapping[str, str], model: ModelProto, own: Mapping[str, str] | None = None) -> None:
    """Add metadata of the user's, and our `own`, to a model. Raises BadMetadata."""
    for key, value in (own or {}).items():
        model.metadata_props.add(key=key, value=value)
    for key, value in metadata.items():
        if not key or key.startswith(OWN):
            why = f"keys that begin with `{OWN}` are netdsl's own" if key else "a key is not empty"
            raise BadMetadata(f"the model cannot have the metadata `{escape(key)}`: {why}")
        try:
            model.metadata_props.add(key=key, value=value)
        except UnicodeEncodeError:
            raise BadMetadata(f"the metadata `{escape(key)}` are not Unicode") from None


def weights_size(net: Net, dtype: str = "f32") -> int:
    """Return the size of a net's weights in bytes."""
    return BYTES[dtype] * sum(elements(parameter.shape) for parameter in net.parameters.values())


def structure(graph: Graph, *, opset: int = OPSET, functions: bool = False) -> Emitted:
    """Return a graph as a checked model without its weights."""
    from netdsl.backend.emit import check, emit

    emitted = emit(graph, opset=opset)
    if functions:
        from netdsl.backend.functions import fold

        fold(emitted, graph)
    check(emitted)
    return emitted


def _values(net: Net, graph: Graph, seed: int, weights: WeightFile | None) -> Weights:
    """Yield the weights in graph order, one at a time. The first ones are drawn while onnx is imported."""
    if weights is None:
        from netdsl.weights.draw import draw_all

        return draw_all([p.declaration for p in graph.parameters.values()], seed)
    from netdsl.weights.fit import fit
    from netdsl.weights.match import match
    from netdsl.weights.partial import or_drawn

    shapes = {name: p.declaration.shape for name, p in graph.parameters.items()}
    matched = match(shapes, fit(net, weights), optional=net.parameters.keys() - shapes.keys(), net=net)
    return or_drawn([p.declaration for p in graph.parameters.values()], seed, matched)


def model_bytes(net: Net, graph: Graph, *, seed: int = 0, weights: WeightFile | None = None) -> bytes:
    """Return a net's graph as a model in memory, with the net's weights. Raises like `compile_net`."""
    from netdsl.backend.serialize import to_bytes

    values = _values(net, graph, seed, weights)
    return to_bytes(structure(graph), values)


def compile_to_bytes(
    net: Net,
    *,
    seed: int = 0,
    weights: WeightFile | None = None,
    batch: int | None = None,
    opset: int = OPSET,
    dtype: str = "f32",
    io: str = "f32",
    metadata: Mapping[str, str] | None = None,
    functions: bool = False,
    names: Names | None = None,
) -> bytes:
    """Return the whole model in memory, as accepted by onnxruntime's `InferenceSession`."""
    file = BytesIO()
    compile_net(
        net,
        file,
        seed=seed,
        weights=weights,
        batch=batch,
        opset=opset,
        dtype=dtype,
        io=io,
        metadata=metadata,
        functions=functions,
        names=names,
    )
    return file.getvalue()
