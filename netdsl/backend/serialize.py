"""Serialize a model with its weights: one protobuf message, or a message and an external data file.

Weights are streamed as they are drawn or read, so a model of any size needs only a few megabytes of memory. Equal
models give equal bytes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto, TensorProto

from netdsl.backend.emit import ELEMENT_TYPES
from netdsl.backend.external_data import MARK
from netdsl.base.shape import elements
from netdsl.base.user_error import UserError
from netdsl.passes.half import BeyondHalf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from netdsl.backend.emit import Emitted
    from netdsl.backend.external_data import DataFile, Writable
    from netdsl.ir.net import Parameter

    Array = NDArray[Any]
    Weights = Iterable[tuple[str, Array | Iterable[Array]]]

LIMIT = 2**31 - 1
"""Maximum size in bytes of a protobuf message, and so of a model in a single file."""

PAGE = 4096
GRAIN = 65536
LARGE = 2**20
"""Minimum size in bytes of a weight that is aligned to 64 KiB, so that Windows can map it too, as onnx recommends."""


class TooLargeForOnnx(UserError, code="E0680", title="a model that is too large for ONNX"):
    """An ONNX file is a single protobuf message of less than 2 GB, about 536 million weights.

    ```sh
    netdsl compile net.net --external-data
    ```
    """


def write(emitted: Emitted, weights: Weights, file: Writable, data: DataFile | None = None) -> None:
    """Write a model, with its weights in the same file, or in `data` if given.

    `weights` yields names and arrays, or blocks of an array's elements, in the order of `parameters`. Raises
    TooLargeForOnnx before anything is written.
    """
    if data is not None:
        _write_external(emitted, weights, file, data)
        return
    head, graph = _parts(emitted.model)
    prefixes = [_prefix(emitted, parameter) for parameter in emitted.parameters]
    size = len(graph) + sum(map(len, prefixes)) + sum(_length(emitted, p) for p in emitted.parameters)
    if len(head) + size + 12 > LIMIT:
        raise TooLargeForOnnx(
            f"the model would have {size / 1e9:.1f} GB, but an ONNX file must be smaller than 2 GB",
            "write it to a file on disk, with the weights in a second file: --external-data",
        )
    file.write(head + _tag(_GRAPH) + _varint(size) + graph)
    for prefix, blocks in zip(prefixes, _values(emitted, weights), strict=True):
        file.write(prefix)
        for block in blocks:
            file.write(block)


def _write_external(emitted: Emitted, weights: Weights, file: Writable, data: DataFile) -> None:
    """Write the weights to a data file, in the order of `parameters`, and then the model that refers to it."""
    model = ModelProto()
    model.CopyFrom(emitted.model)
    end = data.file.write(MARK)
    for parameter, blocks in zip(emitted.parameters, _values(emitted, weights), strict=True):
        length = _length(emitted, parameter)
        offset = _aligned(end, GRAIN if length >= LARGE else PAGE)
        data.file.write(bytes(offset - end))
        for block in blocks:
            data.file.write(block)
        end = offset + length
        tensor = model.graph.initializer.add(
            name=parameter.name,
            dims=parameter.shape,
            data_type=ELEMENT_TYPES[emitted.dtype][0],
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (("location", data.name), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
    file.write(model.SerializeToString(deterministic=True))


def to_bytes(emitted: Emitted, weights: Weights) -> bytes:
    """Return the bytes of a model with its weights."""
    file = io.BytesIO()
    write(emitted, weights, file)
    return file.getvalue()


def _values(emitted: Emitted, weights: Weights) -> Iterator[Iterator[memoryview]]:
    """Yield the bytes of each parameter in blocks, to be consumed before the next parameter."""
    for parameter, (name, value) in zip(emitted.parameters, weights, strict=True):
        assert name == parameter.name, f"{name} came where {parameter.name} was due"
        yield _blocks(emitted, parameter, (value,) if isinstance(value, np.ndarray) else value)


def _blocks(emitted: Emitted, parameter: Parameter, blocks: Iterable[Array]) -> Iterator[memoryview]:
    left = _length(emitted, parameter)
    bytes_type = ELEMENT_TYPES[emitted.dtype][1]
    for block in blocks:
        data = _halved(parameter, block) if emitted.dtype == "f16" else np.ascontiguousarray(block, bytes_type)
        left -= data.nbytes
        yield data.reshape(-1).data.cast("B")
    assert left == 0, f"{parameter.name} is {-left} bytes too long"


def _halved(parameter: Parameter, block: Array) -> Array:
    with np.errstate(over="ignore"):
        data = np.ascontiguousarray(block, "<f2")
    if not np.isfinite(data).all():
        largest = float(np.abs(block).max())
        raise BeyondHalf(
            f"the weight `{parameter.name}` has a magnitude of {largest:g}, but half precision is limited to 65,504"
        )
    return data


def _length(emitted: Emitted, parameter: Parameter) -> int:
    """Return the size of a parameter in bytes."""
    return elements(parameter.shape) * np.dtype(ELEMENT_TYPES[emitted.dtype][1]).itemsize


def _aligned(offset: int, to: int) -> int:
    return -(-offset // to) * to


# Field numbers of onnx.proto.
_GRAPH = 7
_INITIALIZER = 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9


def _parts(model: ModelProto) -> tuple[bytes, bytes]:
    """Serialize the model without its graph, and the graph without its weights.

    The fields of a message can have any order, so the weights can follow everything else.
    """
    head = ModelProto()
    head.CopyFrom(model)
    head.ClearField("graph")
    return head.SerializeToString(deterministic=True), model.graph.SerializeToString(deterministic=True)


def _prefix(emitted: Emitted, parameter: Parameter) -> bytes:
    """Return the bytes that precede the values of a weight."""
    length = _length(emitted, parameter)
    name = parameter.name.encode()
    fields = b"".join(_tag(_DIMS, 0) + _varint(size) for size in parameter.shape)
    fields += _tag(_DATA_TYPE, 0) + _varint(ELEMENT_TYPES[emitted.dtype][0])
    fields += _tag(_NAME) + _varint(len(name)) + name + _tag(_RAW_DATA) + _varint(length)
    return _tag(_INITIALIZER) + _varint(len(fields) + length) + fields


def _tag(field: int, wire_type: int = 2) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(number: int) -> bytes:
    """Encode a varint: base 128, least significant digit first, with the high bit set in all bytes but the last."""
    if number < 128:
        return bytes((number,))
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)
