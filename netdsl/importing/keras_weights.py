"""The arrays of a Keras model: in netdsl's layout for its layers, and in Keras's own for the comparison."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl.importing.flat import FlatWeight
from netdsl.importing.random_weights import random_weight
from netdsl.weights.keras import KerasWeights

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.base.zip_archive import ZipArchive

ROLES = {
    "alpha": "slope",
    "beta": "bias",
    "bias": "bias",
    "gamma": "scale",
    "moving_mean": "mean",
    "moving_variance": "variance",
    "pointwise_bias": "bias",
}
"""Roles of random numbers by Keras's names of arrays; others are factors of products."""


class StoredKerasWeights:
    """The weights of a file."""

    def __init__(self, path: str, archive: ZipArchive | None) -> None:
        self.file = KerasWeights(path, archive, may_be_empty=True)

    def has(self, key: str) -> bool:
        return key in self.file.entries

    def get(self, key: str) -> FlatWeight:
        """Return a weight by the names of its layer and of PyTorch, in PyTorch's layout. Raises KeyError."""
        key = self.named(key)
        return FlatWeight(self.file.entries[key].shape, lambda: self._read(key))

    def named(self, key: str) -> str:
        """Return the name of a weight. Keras 2 names depthwise kernels otherwise, and not the layer in a wrapper."""
        *layer, wrapped, word = ["", *key.split(".")]
        others = (".".join([*layer, wrapped, "depthwise.weight"])[1:], ".".join([*layer, word])[1:])
        return next((name for name in (key, *others) if name in self.file.entries), key)

    def _read(self, key: str) -> Array:
        return self.file.converted(key, self.raw(key))

    def raw(self, key: str) -> Array:
        """Return an array as Keras has it."""
        return self.file.raw(self.named(key))


class RandomKerasWeights(StoredKerasWeights):
    """Random numbers in the shapes of a file's arrays."""

    def __init__(self, stored: StoredKerasWeights, seed: int) -> None:
        self.file = stored.file
        self.seed = seed

    def raw(self, key: str) -> Array:
        key = self.named(key)
        place, word, shape = self.file.stored(key)
        if place is None:
            return self.file.raw(key)
        role = ROLES.get(word, "bias" if len(shape) == 1 or "bias" in word else "weight")
        drawn = random_weight(self.seed, place, shape, role).read()
        if role == "weight" and len(shape) > 1:  # the last axis is that of the outputs
            drawn = drawn * float((prod(shape[1:]) / prod(shape[:-1])) ** 0.5)
        return drawn.astype("float32")
