"""Locate external data of ONNX models, and refuse any outside the model's folder.

As in onnx and onnxruntime, that folder is the one of the path by which the model is opened.
Source: onnx.proto, `TensorProto.external_data`; onnx's docs/ExternalData.md.
"""

from __future__ import annotations

import os
from mmap import ACCESS_READ, mmap
from typing import TYPE_CHECKING

from netdsl.base.files import beneath, open_file
from netdsl.weights.errors import OutsideModelFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

IN_MEMORY = "*/_ORT_MEM_ADDR_/*"
"""Location that onnxruntime uses for data in the memory of its own process."""

MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""Per message of onnx.proto: the fields, by number, that lead to entries of `external_data`."""

KEY, VALUE = 1, 2


def data_file(model: str, location: str) -> str:
    """Return the path of an external data file, with links resolved. Raises OutsideModelFolder."""
    path = beneath(os.path.dirname(model), location)
    if path is None or os.path.isabs(location) or "\\" in location or location.startswith(IN_MEMORY):
        raise OutsideModelFolder(
            f"{model} keeps data in {location or 'a file without a name'}, which is not in its folder"
        )
    return path


def data_files(model: str) -> list[str]:
    """Return the files with external data of an ONNX model, all checked to be in its folder, before onnxruntime opens
    them.

    A damaged model is checked up to the damage: onnxruntime will reject it. Raises OutsideModelFolder, or a UserError
    if the file cannot be read.
    """
    with open_file(model) as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return []
        with mmap(file.fileno(), size, access=ACCESS_READ) as data:
            return [data_file(model, location) for location in dict.fromkeys(_locations(data))]


def _locations(data: mmap) -> Iterator[str]:
    waiting = [("model", 0, len(data))]
    while waiting:
        message, at, end = waiting.pop()
        if message == "entry":
            pair = {number: data[begin:stop] for number, begin, stop in _fields(data, at, end)}
            if pair.get(KEY) == b"location":
                yield pair.get(VALUE, b"").decode("utf-8", "surrogateescape")
            continue
        inner = MESSAGES[message]
        waiting += [(inner[number], begin, stop) for number, begin, stop in _fields(data, at, end) if number in inner]


def _fields(data: mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number, begin and end of each length-delimited field, up to the first damaged one."""
    while at < end:
        tag, at = _varint(data, at, end)
        kind = tag & 7
        length = {1: 8, 5: 4}.get(kind, 0)
        if kind == 0:
            _, at = _varint(data, at, end)
        elif kind == 2:
            length, at = _varint(data, at, end)
        elif not length:
            return
        if at + length > end:
            return
        if kind == 2:
            yield tag >> 3, at, at + length
        at += length


def _varint(data: mmap, at: int, end: int) -> tuple[int, int]:
    number = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at
    return 0, end + 1
