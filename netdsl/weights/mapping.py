"""Weights that a program has in memory: a mapping from names to arrays, a `state_dict` for example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.data.array import as_array
from netdsl.diagnostics.terminal import escape
from netdsl.weights.errors import WrongWeightType
from netdsl.weights.file import Entry, WeightFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.weights.file import Array


class MappedWeights(WeightFile):
    """The arrays of a mapping, each converted when it is looked at. Raises WrongType or WrongWeightType."""

    __slots__ = ("_arrays",)

    def __init__(self, arrays: Mapping[str, object]) -> None:
        self.path = "the mapping"
        self._arrays = arrays
        self.entries = {name: self._entry(name) for name in arrays}

    def _entry(self, name: str) -> Entry:
        if not isinstance(name, str):
            raise WrongWeightType(f"weights are called by texts, and not by {escape(repr(name))}")
        array = self.read(name)
        return Entry(array.dtype.name, array.shape)

    def read(self, key: str) -> Array:
        return as_array(self._arrays[key], key)
