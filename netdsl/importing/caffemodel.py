"""Read the weights in a .caffemodel: protobuf's wire format, with the field numbers of caffe.proto.

Source: https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.base.files import open_file
from netdsl.base.limits import RANK
from netdsl.base.zip_archive import mapped
from netdsl.weights.errors import BadWeightFile, damaged
from netdsl.weights.protobuf import FIXED32, FIXED64, MESSAGE, VARINT, Protobuf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

LAYER_FIELDS = {100: (1, 7), 2: (4, 6)}
"""Field of a net that holds layers, by version, and in a layer the fields of its name and its blobs."""

NUMBERS: dict[int, np.dtype[np.floating[Any]]] = {FIXED32: np.dtype("<f4"), FIXED64: np.dtype("<f8")}
DATA_FIELDS = {5: FIXED32, 8: FIXED64}
"""Fields of a blob that hold its elements, and the wire type of one."""
SHAPE_FIELD, SIZES_FIELD, RAW_FIELD = 7, 1, 12
LEGACY_FIELDS = (1, 2, 3, 4)
MAX_BLOBS = 100_000


class Blob:
    """An array of a layer: its shape, and the places of its elements in the file."""

    __slots__ = ("_data", "_parts", "shape")

    def __init__(self, data: NDArray[np.uint8], shape: tuple[int, ...], parts: list[_Part]) -> None:
        self._data = data
        self._parts = parts
        self.shape = shape

    def read(self) -> Array:
        """Return the elements as float32, without a copy if they are stored so."""
        pieces = [part.read(self._data) for part in self._parts]
        whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces or [np.empty(0, np.float32)])
        return whole.astype(np.float32, copy=False).reshape(self.shape)


class _Part:
    """Elements that follow each other: `count` records of `stride` bytes, the last of which are a number."""

    __slots__ = ("at", "count", "dtype", "stride")

    def __init__(self, at: int, count: int, dtype: np.dtype[np.floating[Any]], stride: int) -> None:
        self.at = at
        self.count = count
        self.dtype = dtype
        self.stride = stride

    def read(self, data: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        records = data[self.at : self.at + self.count * self.stride]
        if self.stride > self.dtype.itemsize:
            records = records.reshape(self.count, self.stride)[:, -self.dtype.itemsize :].copy().reshape(-1)
        return records.view(self.dtype)


def read_caffemodel(path: str) -> dict[str, list[Blob]]:
    """Return the blobs of each layer that has any, by its name. Raises BadWeightFile."""
    with open_file(path) as file:
        size = file.seek(0, 2)
        data = mapped(file, 0, size)
    reader = _Reader(Protobuf(data, lambda reason: damaged(path, reason)), path)
    found: dict[str, list[Blob]] = {}
    for name, blobs in reader.layers():
        if blobs and found.setdefault(name, blobs) is not blobs:
            raise damaged(path, f"two of its layers with weights are named {name}")
    if not found:
        raise BadWeightFile(f"{path} is not a .caffemodel with weights")
    return found


class _Reader:
    def __init__(self, proto: Protobuf, path: str) -> None:
        self._proto = proto
        self._path = path
        self._count = 0

    def layers(self) -> Iterator[tuple[str, list[Blob]]]:
        for number, kind, begin, end in self._proto.fields(0, self._proto.data.size):
            if number in LAYER_FIELDS and kind == MESSAGE:
                yield self._layer(begin, end, *LAYER_FIELDS[number])

    def _layer(self, at: int, stop: int, name_field: int, blobs_field: int) -> tuple[str, list[Blob]]:
        name, blobs = "", []
        for number, kind, begin, end in self._proto.fields(at, stop):
            if kind == MESSAGE and number == name_field:
                name = self._proto.data[begin:end].tobytes().decode("utf-8", "backslashreplace")
            elif kind == MESSAGE and number == blobs_field:
                blobs.append((begin, end))
        self._count += len(blobs)
        if self._count > MAX_BLOBS:
            raise damaged(self._path, f"it has more than {MAX_BLOBS:,} arrays")
        return name, [self._blob(f"array {i} of {name}", *place) for i, place in enumerate(blobs)]

    def _blob(self, name: str, at: int, stop: int) -> Blob:
        shape: tuple[int, ...] | None = None
        legacy = [0, 0, 0, 0]
        parts: list[_Part] = []
        for number, kind, begin, end in self._proto.fields(at, stop):
            if number == SHAPE_FIELD and kind == MESSAGE:
                shape = self._sizes(begin, end)
            elif number in LEGACY_FIELDS and kind == VARINT:
                legacy[number - 1] = self._proto.integers(begin, end)[0]
            elif number in DATA_FIELDS and kind in (MESSAGE, DATA_FIELDS[number]):
                self._append(parts, number, kind == MESSAGE, begin, end)
            elif number == RAW_FIELD:
                raise BadWeightFile(f"{self._path}: {name} is stored in NVCaffe's own format, which is not supported")
        count = sum(part.count for part in parts)
        shape = tuple(legacy) if shape is None and any(legacy) else shape if shape is not None else (count,)
        if len(shape) > RANK or min(shape, default=1) < 0 or prod(shape) != count:
            raise damaged(self._path, f"{name} has {count:,} elements, and the shape {list(shape)[:RANK]}")
        return Blob(self._proto.data, shape, parts)

    def _append(self, parts: list[_Part], number: int, packed: bool, begin: int, end: int) -> None:
        """Add elements, and join single ones to those before them."""
        dtype = NUMBERS[DATA_FIELDS[number]]
        last = parts[-1] if parts else None
        if packed:
            if (end - begin) % dtype.itemsize:
                raise damaged(self._path, f"an array of {end - begin} bytes is not one of {dtype.itemsize} per element")
            parts.append(_Part(begin, (end - begin) // dtype.itemsize, dtype, dtype.itemsize))
        elif last is not None and last.stride == dtype.itemsize + 1 and last.at + last.count * last.stride == begin - 1:
            last.count += 1
        else:
            parts.append(_Part(begin - 1, 1, dtype, dtype.itemsize + 1))

    def _sizes(self, at: int, stop: int) -> tuple[int, ...]:
        sizes: list[int] = []
        for number, kind, begin, end in self._proto.fields(at, stop):
            if number == SIZES_FIELD and kind in (VARINT, MESSAGE):
                sizes += self._proto.integers(begin, end)
        return tuple(sizes[: RANK + 1])
