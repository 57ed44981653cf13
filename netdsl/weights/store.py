"""Writing safetensors files: a header in JSON, then the tensors end to end, in the order that they are given in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from netdsl.weights.safetensors import TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.weights.file import Array

NAMES = {numpy_name: name for name, numpy_name in TYPES.items()}
ALIGNMENT = 8


def write_tensors(file: BinaryIO, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write arrays by name, and texts about them. Equal arguments give equal bytes.

    Source: https://github.com/huggingface/safetensors, "Format".
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, array in arrays.items():
        assert name != "__metadata__"
        header[name] = {
            "dtype": NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % ALIGNMENT)
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for array in arrays.values():
        file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data)
