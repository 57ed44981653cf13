"""Writes PyTorch's checkpoints without PyTorch: opcodes and a zip file as `torch.save` of torch 2.13 writes them, and
whatever else a test wants to have in them."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "uint8": "ByteStorage",
    "int8": "CharStorage",
    "int16": "ShortStorage",
    "int32": "IntStorage",
    "int64": "LongStorage",
    "bool": "BoolStorage",
}


class View:
    """A tensor that looks at a storage (any array, flat) with an offset and strides in elements; whatever they are."""

    def __init__(self, storage: np.ndarray, offset: Any, shape: Any, strides: Any, dtype: str = "") -> None:
        self.storage = storage
        self.offset = offset
        self.shape = shape
        self.strides = strides
        self.dtype = dtype or storage.dtype.name


class Raw:
    """Opcodes as they are."""

    def __init__(self, code: bytes) -> None:
        self.code = code


class Pickler:
    """Writes a value; the storages that it meets are kept by their keys."""

    def __init__(self) -> None:
        self.storages: list[np.ndarray] = []
        self.counts: dict[int, int] = {}

    def dump(self, value: Any) -> bytes:
        return b"\x80\x02" + self.code(value) + b"."

    def code(self, value: Any) -> bytes:
        match value:
            case Raw():
                return value.code
            case View():
                return self.view(value)
            case np.ndarray():
                strides = tuple(int(np.prod(value.shape[axis + 1 :])) for axis in range(value.ndim))
                return self.view(View(value.reshape(-1), 0, value.shape, strides))
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int():
                return b"J" + struct.pack("<i", value) if abs(value) < 2**31 else self.long(value)
            case float():
                return b"G" + struct.pack(">d", value)
            case str():
                text = value.encode("utf-8", "surrogatepass")
                return b"X" + struct.pack("<I", len(text)) + text
            case tuple():
                return b"(" + b"".join(map(self.code, value)) + b"t"
            case list():
                return b"](" + b"".join(map(self.code, value)) + b"e"
            case dict():
                items = b"".join(self.code(key) + self.code(item) for key, item in value.items())
                return b"ccollections\nOrderedDict\n)R(" + items + b"u}X\x09\x00\x00\x00_metadata}sb"
        raise TypeError(type(value))

    def long(self, value: int) -> bytes:
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data

    def view(self, view: View) -> bytes:
        known = [at for at, storage in enumerate(self.storages) if storage is view.storage]
        key = known[0] if known else len(self.storages)
        if not known:
            self.storages.append(view.storage)
        kind = Raw(f"ctorch\n{STORAGES[view.dtype]}\n".encode())
        identifier = ("storage", kind, str(key), "cpu", self.counts.get(key, view.storage.size))
        hooks = Raw(b"ccollections\nOrderedDict\n)R")
        arguments = (Raw(self.code(identifier) + b"Q"), view.offset, view.shape, view.strides, False, hooks)
        return b"ctorch._utils\n_rebuild_tensor_v2\n" + self.code(arguments) + b"R"


def write(path: Path, value: Any, *, pickle: bytes | None = None, packed: bool = False, order: str = "little") -> str:
    """A checkpoint of a value; `pickle` stands in the place of its own."""
    pickler = Pickler()
    data = pickler.dump(value)
    members: dict[str, bytes] = {"data.pkl": data if pickle is None else pickle, "byteorder": order.encode()}
    for key, storage in enumerate(pickler.storages):
        members[f"data/{key}"] = storage.astype(storage.dtype.newbyteorder("<" if order == "little" else ">")).tobytes()
    members["version"] = b"3\n"
    return write_members(path, members, packed=packed)


def write_members(path: Path, members: dict[str, bytes], *, root: str = "archive/", packed: bool = False) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(f"{root}{name}", content)
    return str(path)
