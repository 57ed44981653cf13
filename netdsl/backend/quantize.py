"""Quantize to int8: 7-bit weights with corrected biases, then onnxruntime's static quantization."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from netdsl.base.user_error import UserError
from netdsl.base.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from netdsl.backend.session import Array


class CannotQuantize(UserError, code="E0682", title="calibration examples that cannot be used"):
    """The calibration examples give no range to quantize to 8 bits: they contain NaN, or the network computes it from
    them.

    ```sh
    netdsl compile net.net --quantize int8 --calibrate examples.npy
    ```
    """


class NoRange(UserError, code="E0683", title="a calibration input without a range"):
    """The calibration examples of an input are all zero, or too close to zero to compute a scale from them.

    ```sh
    netdsl compile net.net --quantize int8 --calibrate examples.npy
    ```
    """


LARGEST, LARGEST_PAIR = 127, 128
"""Maximum absolute value of a quantized weight, and of the sum of two with the same sign in an output channel.

CPUs without VNNI add two products of an unsigned and a signed byte with 16-bit saturation: 255 * 128 fits, 255 * 129
does not.
"""

CHANNEL_AXES = {"Conv": 0, "Gemm": 0, "ConvTranspose": 1, "MatMul": 1}
"""Operators with weights, and the axis of the output channels, which have a scale each."""

SMALLEST_RANGE = 255 * float(np.finfo(np.float32).tiny)
"""Minimum range to quantize. For smaller ranges onnxruntime uses the scale 1 and the zero point 0; where the range
replaces a ReLU, negative numbers would pass."""

HIDES = 1e30
"""Minimum magnitude of a number that hides a score of attention."""


def quantize(model: bytes, batches: Iterable[Mapping[str, Array]]) -> ModelProto:
    """Quantize a model to int8: insert QuantizeLinear and DequantizeLinear around operators with integer kernels.

    Weights have about 7 bits, a scale per output channel and no zero point; biases compensate for the mean rounding
    error. Activations have one scale and zero point, from their minimum and maximum over all `batches`, which are read
    twice. Batch norms after convolutions and dense layers are folded; others stay in f32. Inputs and outputs keep their
    types. Equal arguments give equal models with the same version of onnxruntime. Raises CannotQuantize, NoRange, and
    any exception of `batches`.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Examples(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> Mapping[str, Array] | None:
            return next(self._batches, None)

    proto = onnx.load_from_string(model)
    transpose_weights(proto)
    fold(proto)
    with TemporaryDirectory(prefix="netdsl-") as folder, _quiet(), _told():
        kept, overrides = round_weights(proto, batches, folder)
        source, path = os.path.join(folder, "source.onnx"), os.path.join(folder, "model.onnx")
        onnx.save(proto, source)  # from a file, since onnxruntime 1.20 loses the weights of a model in memory
        quantize_static(
            source,
            path,
            Examples(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_kinds(),
            per_channel=True,
            nodes_to_exclude=kept,
            extra_options={"TensorQuantOverrides": overrides},
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        made = onnx.load(path)
    _sign(made)
    return made


def _kinds() -> list[str]:
    """Return the operators to quantize: not batch norms, which lack integer kernels and scales per channel."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted((QDQRegistry.keys() | QLinearOpsRegistry.keys()) - {"BatchNormalization"})


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence onnxruntime's advice to optimize the model first, and NumPy's warnings about values checked later."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        logging.disable(before)


@contextmanager
def _told() -> Iterator[None]:
    """Convert exceptions of onnxruntime's quantizer, which share no base class, to CannotQuantize."""
    try:
        yield
    except (UserError, MemoryError, OSError):
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CannotQuantize(f"the model cannot be quantized; onnxruntime reports: {first}") from None


def _sign(model: ModelProto) -> None:
    """Make netdsl the producer of the model again, and record the quantization in its metadata."""
    model.producer_name = "netdsl"
    model.producer_version = VERSION
    kept = [prop for prop in model.metadata_props if prop.key != "onnx.infer"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key="netdsl.quantized", value="int8")


def transpose_weights(model: ModelProto) -> None:
    """Replace the transpositions of weights, in products with sequences, by transposed weights."""
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in tensors]:
        (perm,) = (tuple(attribute.ints) for attribute in node.attribute)
        weight = np.ascontiguousarray(numpy_helper.to_array(tensors[node.input[0]]).transpose(perm))
        graph.initializer.append(numpy_helper.from_array(weight, node.output[0]))
        graph.node.remove(node)
    _drop_unused(model)


def fold(model: ModelProto) -> None:
    """Fold each batch norm into the preceding convolution or dense layer, if that has no other consumer.

    W' = s W and b' = s (b - mean) + bias, with s = scale / sqrt(var + epsilon) for each output channel.
    Source: Jacob et al. (2018), section 3.2.
    """
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    users = _users(model)
    makers = {name: node for node in graph.node for name in node.output}
    gone = []
    for norm in graph.node:
        maker = makers.get(norm.input[0])
        if norm.op_type != "BatchNormalization" or maker is None or not _folds(maker, users, tensors):
            continue
        epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
        scale, bias, mean, var = (numpy_helper.to_array(tensors[name]) for name in norm.input[1:])
        factor = scale / np.sqrt(var + np.float32(epsilon))
        weight = numpy_helper.to_array(tensors[maker.input[1]])
        own = numpy_helper.to_array(tensors[maker.input[2]]) if len(maker.input) > 2 else np.float32(0)
        _set(tensors[maker.input[1]], weight * factor.reshape(-1, *(1,) * (weight.ndim - 1)))
        del maker.input[2:]
        maker.input.append(norm.input[2])
        _set(tensors[norm.input[2]], factor * (own - mean) + bias)
        maker.output[0] = norm.output[0]
        makers[norm.output[0]] = maker
        gone.append(norm)
    for norm in gone:
        graph.node.remove(norm)
    _drop_unused(model)


def round_weights(
    model: ModelProto, batches: Iterable[Mapping[str, Array]], folder: str
) -> tuple[list[str], dict[str, list[dict[str, Any]]]]:
    """Round weights to multiples of their scales, and correct the biases for the mean error of each channel.

    Returns the names of nodes that must stay in f32, and the scales as overrides for onnxruntime. An activation stays
    in f32 if a quantized range cannot replace it, and a node with weights if its inputs are all 0: onnxruntime would
    use the scale 1 for them, and so a far too coarse scale for the bias. So do scores that attention hides, and
    operators that read a weight as data.
    Source of the correction: Nagel et al. (2019), section 4.2, with measured means.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    scales = {node.input[1]: _scales(node, tensors) for node in _weighted(model)}
    found = _measured(_measuring(model, scales), batches, folder)
    users = _users(model)
    for node in _weighted(model):
        shift = found[f"{node.output[0]}:shift"]
        if node.op_type == "MatMul":
            _subtract(model, node, shift, users)
            continue
        bias = numpy_helper.to_array(tensors[node.input[2]]) if len(node.input) > 2 else np.zeros_like(shift)
        if len(node.input) > 2 and users[node.input[2]] == 1:
            _set(tensors[node.input[2]], bias - shift)
            continue
        name = f"{node.name}:bias"
        model.graph.initializer.append(numpy_helper.from_array((bias - shift).astype("<f4"), name))
        del node.input[2:]
        node.input.append(name)
    for name, scale in scales.items():
        _set(tensors[name], _rounded(tensors[name], scale))
    _drop_unused(model)
    kept = [node for node in _limiting(model) if not _limits(node.output[0], found)]
    kept += [node for node in _weighted(model) if not _spread(node.input[0], found)]
    kept += _hiding(model) + _reading(model, scales)
    return [node.name for node in kept], {name: _override(scale) for name, scale in scales.items()}


def _subtract(model: ModelProto, product: NodeProto, shift: Array, users: Mapping[str, int]) -> None:
    """Subtract numbers from the result of a MatMul: from the bias that the next node adds, if that is all it does."""
    graph, name = model.graph, product.output[0]
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    after = next((node for node in graph.node if name in node.input), None)
    if after is not None and after.op_type == "Add" and users[name] == 1:
        (other,) = (x for x in after.input if x != name)
        if other in tensors and users[other] == 1 and tuple(tensors[other].dims) == shift.shape:
            _set(tensors[other], numpy_helper.to_array(tensors[other]) - shift)
            return
    product.output[0] = f"{name}:product"
    graph.initializer.append(numpy_helper.from_array((-shift).astype("<f4"), f"{name}:bias"))
    added = onnx.helper.make_node("Add", [product.output[0], f"{name}:bias"], [name], name=f"{name}:corrected")
    graph.node.insert([*graph.node].index(product) + 1, added)


def _weighted(model: ModelProto) -> list[NodeProto]:
    ranks = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    kinds = [node for node in model.graph.node if node.op_type in CHANNEL_AXES and node.input[1] in ranks]
    return [node for node in kinds if node.op_type != "MatMul" or ranks[node.input[1]] == 2]


def _limiting(model: ModelProto) -> list[NodeProto]:
    """Return the operators that onnxruntime removes because the limits of a quantized range have the same effect."""
    return [node for node in model.graph.node if node.op_type in ("Relu", "Clip")]


def _limits(name: str, found: Mapping[str, Array]) -> bool:
    """Return whether the quantized range of an activation's results has the effect of the activation."""
    return bool(found[f"{name}:min"] <= 0 <= found[f"{name}:max"]) and _spread(name, found)


def _spread(name: str, found: Mapping[str, Array]) -> bool:
    """Return whether the range of values, extended to include 0, is large enough for a scale."""
    low, high = min(0.0, float(found[f"{name}:min"])), max(0.0, float(found[f"{name}:max"]))
    return high - low >= SMALLEST_RANGE


def _hiding(model: ModelProto) -> list[NodeProto]:
    """Return the operators from the selection of a number that hides a score to the softmax. In a range that includes
    the number, all other scores would be equal."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    hidden: set[str] = set()
    found = []
    for node in model.graph.node:
        chosen = [tensors[name] for name in node.input if name in tensors] if node.op_type == "Where" else []
        begins = any(np.abs(numpy_helper.to_array(each)).max(initial=0) >= HIDES for each in chosen)
        if begins or not hidden.isdisjoint(node.input):
            found.append(node)
            hidden.update(node.output if node.op_type != "Softmax" else ())
    return found


def _reading(model: ModelProto, scales: Mapping[str, Array]) -> list[NodeProto]:
    """Return the operators that read a weight as data, as an embedding does that a layer is tied to. onnxruntime would
    quantize their results with the scales of the weight's channels, along an axis of another meaning."""
    others = [node for node in model.graph.node if node.op_type not in CHANNEL_AXES]
    return [node for node in others if not scales.keys().isdisjoint(node.input)]


def _grouped(node: NodeProto) -> bool:
    """Return whether scales per output channel are impossible, since a weight has the channels of only one group."""
    return node.op_type == "ConvTranspose" and any(a.name == "group" and a.i > 1 for a in node.attribute)


def _scales(node: NodeProto, tensors: Mapping[str, Any]) -> Array:
    """Return the scales of a weight, per output channel if possible, with size 1 along all other axes.

    They are as small as LARGEST and LARGEST_PAIR allow, whichever two weights of a channel a kernel adds.
    """
    weight = numpy_helper.to_array(tensors[node.input[1]])
    axis = CHANNEL_AXES[node.op_type]
    rows = weight.reshape(1, -1) if _grouped(node) else np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    # Two numbers with a sum below 128 round to a sum of at most 128.
    two = min(2, rows.shape[1])
    pairs = [np.partition(np.maximum(sign * rows, 0), -two, axis=1)[:, -two:].sum(axis=1) for sign in (1, -1)]
    scale = np.maximum(np.max(pairs, axis=0) / (LARGEST_PAIR - 0.01), np.abs(rows).max(axis=1) / LARGEST)
    scale = np.where(scale >= np.finfo(np.float32).tiny, scale, 1).astype("<f4")
    found: Array = scale.reshape([len(scale) if i == axis else 1 for i in range(weight.ndim)])
    return found


def _override(scale: Array) -> list[dict[str, Any]]:
    """Return scales, per channel or a single one, as onnxruntime's overrides for a tensor."""
    from onnxruntime.quantization import QuantType

    how = {"quant_type": QuantType.QInt8, "zero_point": np.int8(0)}
    axes = [{"axis": axis} for axis, size in enumerate(scale.shape) if size > 1] or [{}]
    return [{**how, **axes[0], "scale": each} for each in scale.ravel()]


def _rounded(tensor: onnx.TensorProto, scale: Array) -> Array:
    """Return the values of a weight after quantization."""
    found: Array = np.rint(numpy_helper.to_array(tensor) / scale) * scale
    return found


def _measuring(model: ModelProto, scales: Mapping[str, Array]) -> ModelProto:
    """Return a model that computes the mean rounding error of each result, per channel, and the activations' ranges."""
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    del graph.output[:]
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    shapes = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    shapes.update((value.name, value) for value in model.graph.output)
    for node in _weighted(model):
        name = f"{node.output[0]}:shift"
        tensor = tensors[node.input[1]]
        error = _rounded(tensor, scales[tensor.name]) - numpy_helper.to_array(tensor)
        graph.initializer.append(numpy_helper.from_array(error, f"{name}:weight"))
        other = graph.node.add()
        other.CopyFrom(node)
        other.name = other.output[0] = f"{name}:all"
        del other.input[1:]
        other.input.append(f"{name}:weight")
        rank = len(shapes[node.output[0]].type.tensor_type.shape.dim)
        axes = [*range(rank - 1)] if node.op_type == "MatMul" else [0, *range(2, rank)]
        _reduce(made, "ReduceMean", f"{name}:all", name, axes)
    named = [node.output[0] for node in (*_weighted(model), *_limiting(model))]
    for name in sorted({*named, *(node.input[0] for node in _weighted(model))}):
        _reduce(made, "ReduceMin", name, f"{name}:min")
        _reduce(made, "ReduceMax", name, f"{name}:max")
    return made


def _reduce(model: ModelProto, kind: str, x: str, y: str, axes: list[int] | None = None) -> None:
    """Append a reduction, over all axes by default, and make it an output."""
    node = onnx.helper.make_node(kind, [x], [y], name=y, keepdims=0)
    if axes and model.opset_import[0].version >= 18:
        model.graph.initializer.append(numpy_helper.from_array(np.array(axes), f"{y}:axes"))
        node.input.append(f"{y}:axes")
    elif axes:
        node.attribute.append(onnx.helper.make_attribute("axes", axes))
    model.graph.node.append(node)
    model.graph.output.append(onnx.helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, None))


def _measured(model: ModelProto, batches: Iterable[Mapping[str, Array]], folder: str) -> dict[str, Array]:
    """Run the model on all examples, and combine its means, minima and maxima. Raises CannotQuantize or NoRange."""
    from onnxruntime import InferenceSession

    path = os.path.join(folder, "measuring.onnx")
    onnx.save_model(model, path, save_as_external_data=True, location="measuring.data")
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [y.name for y in session.get_outputs()]
    found: dict[str, Array] = {}
    done = 0
    largest: dict[str, float] = {}
    for batch in batches:
        count = len(next(iter(batch.values())))
        for name, array in batch.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise CannotQuantize(f"the examples for `{name}` contain NaN or infinity")
            if array.dtype.kind in "fu":  # indices of words have no scale
                largest[name] = max(largest.get(name, 0), np.abs(array).max(initial=0))
        for name, value in zip(names, session.run(names, batch) if names else (), strict=True):
            joined = found.get(name, value)
            if name.endswith(":shift"):
                found[name] = joined + (value.astype("f8") - joined) * (count / (done + count))
            else:
                found[name] = np.minimum(joined, value) if name.endswith(":min") else np.maximum(joined, value)
        done += count
    for name in (name for name, value in largest.items() if value < SMALLEST_RANGE):
        raise NoRange(f"the examples for `{name}` are all 0, or closer to it than {SMALLEST_RANGE:.1g}")
    if not all(np.isfinite(value).all() for value in found.values()):
        raise CannotQuantize("the net computes NaN or infinity from the examples")
    return found


def _drop_unused(model: ModelProto) -> None:
    """Remove initializers that no node reads."""
    used = {name for node in model.graph.node for name in node.input}
    for tensor in list(model.graph.initializer):
        if tensor.name not in used:
            model.graph.initializer.remove(tensor)


def _users(model: ModelProto) -> dict[str, int]:
    """Return the number of consumers of each value, including the caller of the model."""
    users: dict[str, int] = {}
    for name in (*(x for node in model.graph.node for x in node.input), *(y.name for y in model.graph.output)):
        users[name] = users.get(name, 0) + 1
    return users


def _folds(node: NodeProto, users: dict[str, int], tensors: Mapping[str, Any]) -> bool:
    """Return whether a batch norm can be folded into a node: its weight is unshared, and it has one consumer."""
    turned = any(a.name == "transB" and a.i == 1 for a in node.attribute)
    if node.op_type != "Conv" and not (node.op_type == "Gemm" and turned):
        return False
    return users[node.output[0]] == 1 and all(name in tensors and users[name] == 1 for name in node.input[1:])


def _set(tensor: onnx.TensorProto, value: Array) -> None:
    assert tuple(tensor.dims) == value.shape, tensor.name
    tensor.raw_data = np.ascontiguousarray(value, "<f4").tobytes()
