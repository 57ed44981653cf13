"""Compile a net to an ONNX model: lower, emit, check, serialize."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from netdsl.base.shape import elements
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.ir.graph import BYTES
from netdsl.ir.names import METADATA_PREFIX, Names, read_names
from netdsl.losses import LOSSES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx import ModelProto

    from netdsl.backend.emit import Emitted
    from netdsl.backend.external_data import DataFile, Writable
    from netdsl.backend.serialize import Weights
    from netdsl.ir.graph import Graph
    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile

OPSET = 21
"""Default opset: the newest that runtimes released in the last two years support."""

ONE_FILE = 2_000_000_000
"""Maximum size in bytes of the weights in a single file. Protobuf's limit of 2 GiB leaves room for the graph."""


class BadMetadata(UserError, code="E0640", title="invalid model metadata", exit_code=USAGE_IS_WRONG):
    """Model metadata consists of keys and strings. Keys that begin with `netdsl.` are reserved.

    ```sh
    netdsl compile net.net --metadata author=me --metadata license=MIT
    ```
    """


class CompileOptions(NamedTuple):
    """How to compile a net. The defaults are those of the command line and of the Python API.

    - `weights`: a weight file. Other weights are drawn from the `seed`.
    - `batch`: a fixed batch size; None is dynamic.
    - `opset`: the ONNX opset.
    - `dtype`: `f16` computes in half precision; `io="f16"` also makes the inputs and outputs f16.
    - `metadata`: further entries of the model's metadata.
    - `functions`: emit blocks as functions of the model.
    - `names`: names of classes, columns and losses for the metadata, if the weight file has none.
    """

    seed: int = 0
    weights: WeightFile | None = None
    batch: int | None = None
    opset: int = OPSET
    dtype: str = "f32"
    io: str = "f32"
    metadata: Mapping[str, str] | None = None
    functions: bool = False
    names: Names = Names()


DEFAULTS = CompileOptions()


def compile_net(
    net: Net, file: Writable, options: CompileOptions = DEFAULTS, *, data: DataFile | None = None
) -> Emitted:
    """Write a net as an ONNX model, with its weights in the same file, or in `data` if given.

    Returns the model without its weights. Raises UserError if the weights do not match, a number is out of range for
    f16, the model is too large for one file, or the metadata is invalid.
    """
    from netdsl.lower import lower

    graph = lower(net, batch=options.batch)
    if options.dtype == "f16":
        from netdsl.passes.half import half

        graph = half(graph, io=options.io)
    values = _values(net, graph, options.seed, options.weights)
    from netdsl.backend.serialize import write

    emitted = structure(graph, opset=options.opset, functions=options.functions)
    names = net_names(net, options.weights).or_else(options.names)
    add_metadata(options.metadata or {}, emitted.model, own=_readable(names, net).metadata)
    write(emitted, values, file, data)
    return emitted


SQUASHING = frozenset(["softmax", "sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "softsign", "sign", "step", "exp"])
"""Layers whose results are not the scores that a loss takes. A net that ends with one was changed after its training,
or trained despite a warning."""


def _readable(names: Names, net: Net) -> Names:
    """Return the names without the losses that no longer say how to turn an output into probabilities."""
    squashed = {name for name, output in net.inference_outputs.items() if output.maker.layer.kind in SQUASHING}
    likely = {name for name, (loss, *_) in names.losses.items() if loss not in LOSSES or LOSSES[loss].probability}
    return names.without_losses(squashed & likely)


def net_names(net: Net, weights: WeightFile | None) -> Names:
    """Return the names of classes, columns and losses in a weight file, by the net's outputs and inputs. Raises
    BadNames."""
    if weights is None:
        return Names()
    inputs = {node.name: node.shape for node in net.inputs}
    outputs = {name: output.node.shape for name, output in net.inference_outputs.items()}
    return read_names(weights.metadata, weights.path, inputs, outputs)


def add_metadata(metadata: Mapping[str, str], model: ModelProto, own: Mapping[str, str] | None = None) -> None:
    """Add the user's `metadata` and netdsl's `own` to a model. Raises BadMetadata."""
    for key, value in (own or {}).items():
        model.metadata_props.add(key=key, value=value)
    for key, value in metadata.items():
        if not key or key.startswith(METADATA_PREFIX):
            why = f"keys that begin with `{METADATA_PREFIX}` are netdsl's own" if key else "a key is not empty"
            raise BadMetadata(f"the model cannot have the metadata `{key}`: {why}")
        try:
            model.metadata_props.add(key=key, value=value)
        except UnicodeEncodeError:
            raise BadMetadata(f"the metadata `{key}` are not Unicode") from None


def weights_size(net: Net, dtype: str = "f32") -> int:
    """Return the size of a net's weights in bytes."""
    return BYTES[dtype] * sum(elements(parameter.shape) for parameter in net.parameters.values())


def structure(graph: Graph, *, opset: int = OPSET, functions: bool = False) -> Emitted:
    """Emit a graph as a model without its weights, and check it."""
    from netdsl.backend.emit import check, emit
    from netdsl.ops.normalization import RMSNormalization
    from netdsl.passes.equal_ranks import equal_ranks
    from netdsl.passes.join_rows import row_matrices
    from netdsl.passes.merge_reshapes import merge_reshapes
    from netdsl.passes.rewrite import expand_macros
    from netdsl.passes.scale_last import scale_last
    from netdsl.passes.share import share
    from netdsl.passes.sink_transposes import sink_transposes
    from netdsl.passes.split_heads import split_heads

    graph = expand_macros(graph, opset, keep=(RMSNormalization,))  # which is a norm of rows for the next passes
    graph = sink_transposes(merge_reshapes(share(graph)))
    graph = row_matrices(split_heads(scale_last(merge_reshapes(graph))))
    graph = expand_macros(merge_reshapes(graph), opset)
    if graph.dtype == "f16":
        graph = equal_ranks(graph)
    emitted = emit(graph, opset=opset)
    if functions:
        from netdsl.backend.functions import fold

        fold(emitted, graph)
    check(emitted)
    return emitted


def _values(net: Net, graph: Graph, seed: int, weights: WeightFile | None) -> Weights:
    """Yield the weights in graph order, one at a time. Drawing starts now, so that it overlaps with importing onnx."""
    if weights is None:
        from netdsl.weights.draw import draw_all

        return draw_all([p.declaration for p in graph.parameters.values()], seed)
    from netdsl.weights.check import checked_weights
    from netdsl.weights.draw import draw_missing
    from netdsl.weights.match import match_weights

    shapes = {name: p.declaration.shape for name, p in graph.parameters.items()}
    matched = checked_weights(
        shapes, match_weights(net, weights), optional=net.parameters.keys() - shapes.keys(), net=net
    )
    return draw_missing([p.declaration for p in graph.parameters.values()], seed, matched)


def model_bytes(net: Net, graph: Graph, *, seed: int = 0, weights: WeightFile | None = None) -> bytes:
    """Return a graph of a net as the bytes of a model, with the net's weights. Raises like `compile_net`."""
    from netdsl.backend.serialize import to_bytes

    values = _values(net, graph, seed, weights)
    return to_bytes(structure(graph), values)


def compile_to_bytes(net: Net, options: CompileOptions = DEFAULTS) -> bytes:
    """Return the bytes of the model, which `onnxruntime.InferenceSession` accepts. Raises like `compile_net`."""
    file = BytesIO()
    compile_net(net, file, options)
    return file.getvalue()
