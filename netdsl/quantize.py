"""Weights and activations in 8 bits: onnxruntime's static quantisation, with the ranges that examples take."""

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

from netdsl.diagnostics.terminal import escape
from netdsl.diagnostics.user_error import UserError
from netdsl.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from netdsl.session import Array


class CannotQuantize(UserError, code="E0682"):
    """The examples give no ranges that 8 bits could spread over: they hold NaN, or make the network compute it."""


def quantize(model: bytes, batches: Iterable[Mapping[str, Array]]) -> ModelProto:
    """The model in int8, as pairs of QuantizeLinear and DequantizeLinear around each operator that has integer kernels.

    Weights have a scale for each output channel and no zero point; an activation has one scale and a zero point, from
    the least and the largest value over all `batches`. Batch norms behind convolutions and dense layers go into these,
    others stay in f32. Inputs and outputs stay what they are. Equal arguments give equal models within one version of
    onnxruntime. Raises CannotQuantize, and whatever `batches` raise.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Examples(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> Mapping[str, Array] | None:
            batch = next(self._batches, None)
            for name, array in (batch or {}).items():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise CannotQuantize(f"the examples for `{escape(name)}` hold NaN or infinite numbers")
            return batch

    proto = onnx.load_from_string(model)
    fold(proto)
    with TemporaryDirectory(prefix="netdsl-") as folder, _quiet(), _told():
        path = os.path.join(folder, "model.onnx")
        quantize_static(
            proto,
            path,
            Examples(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_kinds(),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        made = onnx.load(path)
    _sign(made)
    return made


def _kinds() -> list[str]:
    """The operators to quantise. A batch norm has one scale for the weights of all channels, and no integer kernel."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted((QDQRegistry.keys() | QLinearOpsRegistry.keys()) - {"BatchNormalization"})


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime warns that it would rather optimise the model first, and numpy of what is found out afterwards."""
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
    """Its exceptions share no base class."""
    try:
        yield
    except (UserError, MemoryError, OSError):
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CannotQuantize(f"the model cannot be quantised: onnxruntime says, {escape(first)}") from None


def _sign(model: ModelProto) -> None:
    """The model stays netdsl's, and tells what was done."""
    model.producer_name = "netdsl"
    model.producer_version = VERSION
    kept = [prop for prop in model.metadata_props if prop.key != "onnx.infer"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key="netdsl.quantized", value="int8")


def fold(model: ModelProto) -> None:
    """Take each batch norm into the convolution or dense layer before it, if nothing else reads that one's result.

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
    used = {name for node in graph.node for name in node.input}
    for name, tensor in tensors.items():
        if name not in used:
            graph.initializer.remove(tensor)


def _users(model: ModelProto) -> dict[str, int]:
    """How many read each value, the caller of the model included."""
    users: dict[str, int] = {}
    for name in (*(x for node in model.graph.node for x in node.input), *(y.name for y in model.graph.output)):
        users[name] = users.get(name, 0) + 1
    return users


def _folds(node: NodeProto, users: dict[str, int], tensors: Mapping[str, Any]) -> bool:
    """Whether a node has output channels first in a weight of its own, and one reader."""
    turned = any(a.name == "transB" and a.i == 1 for a in node.attribute)
    if node.op_type != "Conv" and not (node.op_type == "Gemm" and turned):
        return False
    return users[node.output[0]] == 1 and all(name in tensors and users[name] == 1 for name in node.input[1:])


def _set(tensor: onnx.TensorProto, value: Array) -> None:
    assert tuple(tensor.dims) == value.shape, tensor.name
    tensor.raw_data = np.ascontiguousarray(value, "<f4").tobytes()
