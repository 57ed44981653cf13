"""Read the .weights files of Darknet: a header, and the arrays of the layers in order, without names or sizes.

Source: `load_weights_upto` in src/parser.c of pjreddie/darknet and AlexeyAB/darknet.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.files import open_file
from netdsl.base.zip_archive import mapped
from netdsl.importing.flat import FlatWeight
from netdsl.importing.random_weights import random_weight
from netdsl.weights.errors import damaged

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array


class DarknetWeights:
    """The arrays of a net, one after the other. This one has none: a net without weights."""

    transposed = False
    """Whether the weights of connected layers are stored as [inputs, outputs]."""

    def __init__(self) -> None:
        self.taken = 0

    def take(self, shape: tuple[int, ...], role: str) -> FlatWeight | None:
        """Return the next array, or None if there is no file."""
        self.taken += prod(shape)
        return None

    def rest(self) -> str:
        """Return what is wrong with the length of the file, after all arrays are taken."""
        return ""


class RandomDarknetWeights(DarknetWeights):
    """Random arrays."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def take(self, shape: tuple[int, ...], role: str) -> FlatWeight:
        super().take(shape, role)
        return random_weight(self.seed, str(self.taken), shape, role)


class StoredDarknetWeights(DarknetWeights):
    """The arrays of a file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        with open_file(path) as file:
            data = mapped(file, 0, file.seek(0, 2))
        if data.size < 16:
            raise damaged(path, f"its header needs 16 bytes, and it has {data.size}")
        major, minor = (int(number) for number in data[:8].view("<i4"))
        begin = 12 + (8 if major * 10 + minor >= 2 and abs(major) < 1000 and abs(minor) < 1000 else 4)
        self.transposed = major > 1000 or minor > 1000
        if (data.size - begin) % 4 or data.size < begin:
            raise damaged(path, f"{data.size - begin} bytes after its header are not a number of floats")
        self._path = path
        self._floats: Array = data[begin:].view("<f4")

    def take(self, shape: tuple[int, ...], role: str) -> FlatWeight:
        begin = self.taken
        super().take(shape, role)
        end = self.taken
        return FlatWeight(shape, lambda: self._floats[begin:end].astype(np.float32, copy=False).reshape(shape))

    def rest(self) -> str:
        left = self._floats.size - self.taken
        if not left:
            return ""
        what = f"{left:,} more" if left > 0 else f"{-left:,} fewer"
        return f"{self._path} has {self._floats.size:,} floats, {what} than the {self.taken:,} that the net needs"
