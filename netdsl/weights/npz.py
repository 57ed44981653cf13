"""Weights in NumPy's archives: a member's name is the weight's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.data.npz import Archive
from netdsl.data.stream import damage_is_told
from netdsl.weights.file import Entry, WeightFile

if TYPE_CHECKING:
    from netdsl.weights.file import Array


class NpzWeights(WeightFile):
    """The arrays of an `.npz` file, compressed or not, in either order and byte order."""

    __slots__ = ("_archive", "_headers")

    def __init__(self, path: str) -> None:
        self.path = path
        self._archive = Archive(path)
        self._headers = {name: self._archive.header(name) for name in self._archive.members}
        self.entries = {
            name: Entry(str(header.dtype.newbyteorder("=")), header.shape) for name, header in self._headers.items()
        }

    def read(self, key: str) -> Array:
        header = self._headers[key]
        with self._archive.open(key) as stream, damage_is_told(self.path):
            stream.read(header.offset)
            data = stream.read()
        return np.frombuffer(data, header.dtype).reshape(header.shape, order="F" if header.fortran else "C")
