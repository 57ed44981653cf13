"""Read weights from `.npz` archives, and from mappings of names to arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.data.column import as_array
from netdsl.data.npy import NpzArchive
from netdsl.weights.errors import WrongWeightType
from netdsl.weights.file import Entry, WeightFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.base.dtypes import Array


class MappedWeights(WeightFile):
    """The values of a mapping, converted to arrays on access. Raises WrongType or WrongWeightType."""

    __slots__ = ("_arrays",)

    def __init__(self, arrays: Mapping[str, object]) -> None:
        self.path = "the mapping"
        self._arrays = arrays
        self.entries = {name: self._entry(name) for name in arrays}

    def _entry(self, name: str) -> Entry:
        if not isinstance(name, str):
            raise WrongWeightType(f"names of weights are strings, not {name!r}")
        array = self.read(name)
        return Entry(array.dtype.name, array.shape)

    def read(self, key: str) -> Array:
        return as_array(self._arrays[key], key)


class NpzWeights(WeightFile):
    """The arrays of an `.npz` file, compressed or not, in C or Fortran order and any byte order."""

    __slots__ = ("_archive",)

    def __init__(self, path: str) -> None:
        self.path = path
        self._archive = NpzArchive(path)
        headers = {name: self._archive.header(name) for name in self._archive.names}
        self.entries = {
            name: Entry(str(header.dtype.newbyteorder("=")), header.shape) for name, header in headers.items()
        }

    def read(self, key: str) -> Array:
        return np.require(self._archive.load(key), requirements="A")
