"""A file of weights: what it holds by name, told by its header; values are read one at a time, when asked for."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from netdsl.data.errors import CONVERT
from netdsl.diagnostics.terminal import escape
from netdsl.files import mistaken, open_file
from netdsl.weights.errors import BadWeightFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import numpy as np

    from netdsl.weights.keras import KerasModel
    from netdsl.weights.onnx_roles import Use

    Array = np.ndarray[Any, np.dtype[Any]]


LEGACY = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")
"""What `torch.save` began a file with before it wrote zip files: a number of ten bytes, pickled by some protocol."""


EXPORTED = ("archive_format", "serialized_exported_program.json")
"""Members of a `.pt2` file alone, of PyTorch from 2.6 on and before."""

FORMATS = "weights are .safetensors or an index of several, .npz, .pth, .pt, .keras, .weights.h5, or an ONNX model's"


class Entry:
    """A weight as its file declares it; `dtype` is NumPy's name, or `bfloat16`, or a smaller float's own.

    `use` is how the file's graph uses it, if it has one.
    """

    __slots__ = ("dtype", "shape", "use")

    def __init__(self, dtype: str, shape: tuple[int, ...], use: Use | None = None) -> None:
        self.dtype = dtype
        self.shape = shape
        self.use = use

    @property
    def size(self) -> int:
        """Bytes in all: the first number in the type's name is the bits of an element."""
        bits = re.search(r"\d+", self.dtype)
        return -(-math.prod(self.shape) * (int(bits[0]) if bits else 8) // 8)


class WeightFile(ABC):
    """The weights of a file by name."""

    __slots__ = ("entries", "path")

    path: str
    entries: Mapping[str, Entry]

    @property
    def metadata(self) -> Mapping[str, str]:
        """The texts that the file holds about itself."""
        return {}

    @property
    def doubled(self) -> Mapping[str, list[str]]:
        """Names that were given to more than one weight, and what those were called."""
        return {}

    @property
    def initial(self) -> frozenset[str]:
        """The network's weights that are not to be taken from the file, and stay initial."""
        return frozenset()

    @property
    def left(self) -> Mapping[str, tuple[int, ...]]:
        """The file's weights that are not taken, and their shapes."""
        return {}

    @property
    def any_value(self) -> bool:
        """Whether NaN, infinities and negative variances are let through."""
        return False

    @property
    def ordered(self) -> bool:
        """Whether its weights stand in the order of its network's layers, else only those of a kind do."""
        return True

    @property
    def keras(self) -> KerasModel | None:
        """The Keras model whose element order the weights still have; None where they have ours."""
        return None

    @property
    def layers(self) -> list[dict[str, str]] | None:
        """The names of each layer's weights by PyTorch's words for them, in the order in which a graph uses them; None
        where the file has no graph."""
        return None

    def stream(self, keys: Collection[str]) -> Iterator[tuple[str, Array]]:
        """These weights in this order, by name: each in one, or its elements in flat parts one after the other. A part
        is good until the next is asked for; all are, if the end is reached: a damaged file may be found out there."""
        for key in keys:
            yield key, self.read(key)

    @abstractmethod
    def read(self, key: str) -> Array:
        """One weight's values, with its shape, in a float type or as stored; bfloat16 comes as float32."""


def open_weights(path: str, *, shard: bool = False) -> WeightFile:
    """The file, its header checked whole: sizes against bytes, names for duplicates. First bytes tell the format. A
    `shard` is no index of others."""
    with open_file(path) as file:
        head = file.read(64)
    if head.lstrip()[:1] == b"{" and b"\0" not in head[:8] and not shard:
        from netdsl.weights.shards import ShardedWeights

        return ShardedWeights(path)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _open_zip(path)
    if head[:1] == b"\x80" and LEGACY in head[:32]:
        from netdsl.weights.legacy import LegacyTorchWeights

        return LegacyTorchWeights(path)
    if path.lower().endswith(".onnx") and not mistaken(head):
        from netdsl.weights.onnx_model import OnnxWeights

        return OnnxWeights(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        from netdsl.weights.keras import KerasWeights

        return KerasWeights(path)
    if head[8:9] == b"{":
        from netdsl.weights.safetensors import SafetensorsWeights

        return SafetensorsWeights(path)
    raise _stranger(path, head)


def _open_zip(path: str) -> WeightFile:
    """Names tell whose archive it is."""
    from netdsl.weights.archive import ZipMembers

    members = ZipMembers(path)
    if any(name.endswith(".npy") for name in members.members) or not members.members:
        from netdsl.weights.npz import NpzWeights

        return NpzWeights(path)
    if any(name.split("/")[-1] in EXPORTED for name in members.members):
        raise BadWeightFile(f"{escape(path)} is a program exported by `torch.export`, and not read", CONVERT)
    if "model.weights.h5" in members.members:
        from netdsl.weights.keras import KerasWeights

        return KerasWeights(path, members)
    from netdsl.weights.pth import TorchWeights

    return TorchWeights(path, members)


def _stranger(path: str, head: bytes) -> BadWeightFile:
    name = escape(path)
    if what := mistaken(head):
        return BadWeightFile(f"{name} {what}")
    if head.startswith(b"\x80"):
        return BadWeightFile(f"{name} is pickled, and never read: a pickle can run programs", CONVERT)
    if head.startswith(b"\x93NUMPY"):
        return BadWeightFile(f"{name} is a single array without a name", "save it with `numpy.savez(path, name=array)`")
    return BadWeightFile(f"{name} is damaged, or of a format that is not read", FORMATS)
