"""A file of weights: what it holds by name, told by its header; values are read one at a time, when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from netdsl.data.errors import CONVERT
from netdsl.diagnostics.terminal import escape
from netdsl.files import mistaken, open_file
from netdsl.weights.errors import BadWeightFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


class Entry:
    """One weight as its file declares it; `dtype` is NumPy's name, or `bfloat16`, or an 8-bit float's own."""

    __slots__ = ("dtype", "shape")

    def __init__(self, dtype: str, shape: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.shape = shape


class WeightFile(ABC):
    """The weights of a file by name."""

    __slots__ = ("entries", "path")

    path: str
    entries: Mapping[str, Entry]

    @abstractmethod
    def read(self, key: str) -> Array:
        """One weight's values, with its shape, in a float type or as stored; bfloat16 comes as float32."""


def open_weights(path: str) -> WeightFile:
    """The file, its header checked whole: sizes against bytes, names for duplicates. First bytes tell the format."""
    with open_file(path) as file:
        head = file.read(64)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        from netdsl.weights.npz import NpzWeights

        return NpzWeights(path)
    if head[8:9] == b"{":
        from netdsl.weights.safetensors import SafetensorsWeights

        return SafetensorsWeights(path)
    raise _stranger(path, head)


def _stranger(path: str, head: bytes) -> BadWeightFile:
    name = escape(path)
    if what := mistaken(head):
        return BadWeightFile(f"{name} {what}")
    if head.startswith(b"\x80"):
        return BadWeightFile(f"{name} is pickled, and never read: a pickle can run programs", CONVERT)
    if head.startswith(b"\x89HDF"):
        return BadWeightFile(f"{name} is an HDF5 file, which is not read", "save the weights as .npz or safetensors")
    if head.startswith(b"\x93NUMPY"):
        return BadWeightFile(f"{name} is a single array without a name", "save it with `numpy.savez(path, name=array)`")
    return BadWeightFile(f"{name} is damaged, or neither a safetensors nor an npz file")
