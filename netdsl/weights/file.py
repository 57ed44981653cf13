"""A file of weights: its entries by name, from its header; values are read one at a time on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from netdsl.base.dtypes import byte_size
from netdsl.base.files import mistaken, open_file
from netdsl.base.terminal import escape
from netdsl.data.errors import CONVERT
from netdsl.weights.errors import BadWeightFile, damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from netdsl.base.dtypes import Array
    from netdsl.weights.keras import KerasModel
    from netdsl.weights.onnx_roles import Use

    Turn = Callable[[Array], Array]

LEGACY = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")
"""First bytes of `torch.save` files before the zip format: a number of ten bytes, pickled with some protocol."""


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
        """Bytes in all."""
        return byte_size(self.dtype, self.shape)


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
        """Names given to more than one weight, with the original names."""
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
        """Whether NaN, infinities and negative variances are accepted."""
        return False

    @property
    def ordered(self) -> bool:
        """Whether its weights are in the order of the layers; otherwise only those of one kind are."""
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

    def damaged(self, reason: str, *helps: str) -> BadWeightFile:
        """Return the error for a damaged file."""
        return damaged(self.path, reason, *helps)

    def stream(self, keys: Collection[str]) -> Iterator[tuple[str, Array]]:
        """Yield these weights in this order by name: each as an array, or as flat parts of its elements. A part is
        valid until the next one is requested, and all of them only if the end is reached, where damage may be detected.
        """
        for key in keys:
            yield key, self.read(key)

    @abstractmethod
    def read(self, key: str) -> Array:
        """Return the values of one weight, in a float type or as stored; bfloat16 is returned as float32."""


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
        from netdsl.weights.pth import LegacyTorchWeights

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
    """Open a zip file; the names of its members determine the format."""
    from netdsl.base.zip_archive import ZipArchive

    archive = ZipArchive(path, lambda reason: damaged(path, reason))
    if any(name.endswith(".npy") for name in archive.members) or not archive.members:
        from netdsl.weights.npz import NpzWeights

        return NpzWeights(path)
    if any(name.split("/")[-1] in EXPORTED for name in archive.members):
        raise BadWeightFile(f"{escape(path)} is a program exported by `torch.export`, and not read", CONVERT)
    if "model.weights.h5" in archive.members:
        from netdsl.weights.keras import KerasWeights

        return KerasWeights(path, archive)
    from netdsl.weights.pth import TorchWeights

    return TorchWeights(path, archive)


def _stranger(path: str, head: bytes) -> BadWeightFile:
    name = escape(path)
    if what := mistaken(head):
        return BadWeightFile(f"{name} {what}")
    if head.startswith(b"\x80"):
        return BadWeightFile(f"{name} is pickled, and never read: a pickle can run programs", CONVERT)
    if head.startswith(b"\x93NUMPY"):
        return BadWeightFile(f"{name} is a single array without a name", "save it with `numpy.savez(path, name=array)`")
    return BadWeightFile(f"{name} is damaged, or of a format that is not read", FORMATS)


class Fitted(WeightFile):
    """The weights of `file`, `names` being what each is called now and what it is called there.

    `turns` reorder the values of some, which then have our element order and no longer Keras's. `any_value` lets NaN,
    infinities and negative variances pass. `initial` are the network's weights that are not taken from the file, and
    `left` the file's that are left over.
    """

    __slots__ = ("_any_value", "_doubled", "_file", "_initial", "_left", "_names", "_turns")

    def __init__(
        self,
        file: WeightFile,
        names: Mapping[str, str],
        *,
        doubled: Mapping[str, list[str]] | None = None,
        turns: Mapping[str, Turn] | None = None,
        any_value: bool = False,
        initial: frozenset[str] = frozenset(),
        left: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.path = file.path
        self._file = file
        self._names = names
        self._doubled = doubled or {}
        self._turns = turns
        self._any_value = any_value
        self._initial = initial
        self._left = left or {}
        self.entries = {name: file.entries[old] for name, old in names.items()}
        for name in turns or ():
            entry = self.entries[name]
            self.entries[name] = Entry(entry.dtype, entry.shape)  # laid out as ours, whatever a graph makes of it

    @property
    def metadata(self) -> Mapping[str, str]:
        return {} if self._initial else self._file.metadata  # names of classes are those of a head

    @property
    def doubled(self) -> Mapping[str, list[str]]:
        return self._doubled or self._file.doubled

    @property
    def initial(self) -> frozenset[str]:
        return self._initial | self._file.initial

    @property
    def left(self) -> Mapping[str, tuple[int, ...]]:
        return {**self._file.left, **self._left}

    @property
    def any_value(self) -> bool:
        return self._any_value or self._file.any_value

    @property
    def ordered(self) -> bool:
        return self._file.ordered

    @property
    def keras(self) -> KerasModel | None:
        return self._file.keras if self._turns is None else None

    @property
    def layers(self) -> list[dict[str, str]] | None:
        inner = self._file.layers
        if inner is None:
            return None
        now = {old: name for name, old in self._names.items()}
        return [{word: now[old] for word, old in layer.items() if old in now} for layer in inner]

    @property
    def origins(self) -> Mapping[str, str]:
        """The name of each weight in the file."""
        if not isinstance(self._file, Fitted):
            return self._names
        inner = self._file.origins
        return {name: inner[old] for name, old in self._names.items()}

    def stream(self, keys: Collection[str]) -> Iterator[tuple[str, Array]]:
        now = {self._names[key]: key for key in keys}
        if self._turns or len(now) < len(keys):  # two layers share a tensor
            return super().stream(keys)
        return ((now[old], part) for old, part in self._file.stream(now))

    def read(self, key: str) -> Array:
        array = self._file.read(self._names[key])
        return self._turns[key](array) if self._turns and key in self._turns else array
