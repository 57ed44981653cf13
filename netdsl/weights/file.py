"""The interface of weight files: entries by name from the header, and values that are read on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from netdsl.base.dtypes import byte_size
from netdsl.base.files import mistaken, open_file
from netdsl.data.errors import CONVERT
from netdsl.weights.errors import BadWeightFile, damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from netdsl.base.dtypes import Array
    from netdsl.weights.keras import KerasModel
    from netdsl.weights.onnx_roles import TensorUse

    Permute = Callable[[Array], Array]

LEGACY = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")
"""PyTorch's magic number, pickled: it begins `torch.save` files before the zip format, after the protocol."""

EXPORTED = ("archive_format", "serialized_exported_program.json")
"""Members by which `.pt2` files are recognized: since PyTorch 2.6, and before."""

SUPPORTED = "weights are .safetensors or an index of several, .npz, .pth, .pt, .keras, .weights.h5, or an ONNX model's"


MAX_AXES = 32
"""Maximum number of axes of a tensor."""


class Entry:
    """The type and shape of a weight in its file. `dtype` is a NumPy name, `bfloat16`, or the name of a smaller float.

    `use` is how the graph of the file uses the weight, if the file has a graph.
    """

    __slots__ = ("dtype", "shape", "use")

    def __init__(self, dtype: str, shape: tuple[int, ...], use: TensorUse | None = None) -> None:
        self.dtype = dtype
        self.shape = shape
        self.use = use

    @property
    def size(self) -> int:
        """Size in bytes."""
        return byte_size(self.dtype, self.shape)


class WeightFile(ABC):
    """The weights of a file by name."""

    __slots__ = ("entries", "path")

    path: str
    entries: Mapping[str, Entry]

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata of the file."""
        return {}

    @property
    def doubled(self) -> Mapping[str, list[str]]:
        """Names that several weights are renamed to, with the original names."""
        return {}

    @property
    def initial(self) -> frozenset[str]:
        """The net's weights that keep their initial values."""
        return frozenset()

    @property
    def unused(self) -> Mapping[str, tuple[int, ...]]:
        """The file's weights that are not loaded, with their shapes."""
        return {}

    @property
    def origins(self) -> Mapping[str, str]:
        """The names of the weights in the underlying file, by their names here."""
        return {name: name for name in self.entries}

    @property
    def transposed(self) -> frozenset[str]:
        """The weights that rename rules transpose."""
        return frozenset()

    @property
    def allow_nonfinite(self) -> bool:
        """Whether NaN, infinities and negative variances are accepted."""
        return False

    @property
    def ordered(self) -> bool:
        """Whether the weights are in the order of the layers; if not, only layers of the same kind are in order."""
        return True

    @property
    def keras(self) -> KerasModel | None:
        """The Keras model whose element order the weights have; None if they have netdsl's."""
        return None

    @property
    def layers(self) -> list[dict[str, str]] | None:
        """The names of each layer's weights by role (`weight`, `bias`, …), in the order in which a graph uses them;
        None if the file has no graph."""
        return None

    def damaged(self, reason: str, *helps: str) -> BadWeightFile:
        """Return the error for a damaged file."""
        return damaged(self.path, reason, *helps)

    def parse_json(self, text: bytes, what: str) -> object:
        """Parse JSON. Raises BadWeightFile, also for duplicate keys. `what` names the text in messages."""
        import json

        def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
            found: dict[str, object] = {}
            for key, value in pairs:
                if key in found:
                    raise self.damaged(f"`{key}` occurs twice")
                found[key] = value
            return found

        try:
            return json.loads(text.decode("utf-8-sig"), object_pairs_hook=unique)
        except (ValueError, RecursionError):
            raise self.damaged(f"{what} is not JSON") from None

    def stream(self, keys: Collection[str]) -> Iterator[tuple[str, Array]]:
        """Yield these weights by name, in this order: each as an array, or in consecutive flat parts.

        A part is valid until the next one is requested. Checksums may be verified at the end, so all values are
        unverified until the iterator is exhausted.
        """
        for key in keys:
            yield key, self.read(key)

    @abstractmethod
    def read(self, key: str) -> Array:
        """Return the values of a weight in the type of its entry; bfloat16 is converted to float32."""


def open_weights(path: str, *, shard: bool = False) -> WeightFile:
    """Open a weight file and check its header, including sizes and duplicate names. Raises UserError.

    The format is detected by the first bytes. A `shard` of another file cannot itself be an index.
    """
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
    if path.endswith(".net") and b"\0" not in head:
        raise BadWeightFile(f"{path} describes a net, and has no weights", SUPPORTED)
    if head[8:9] == b"{":
        from netdsl.weights.safetensors import SafetensorsWeights

        return SafetensorsWeights(path)
    raise _unsupported(path, head)


def _open_zip(path: str) -> WeightFile:
    """Open a zip file. The names of its members determine the format."""
    from netdsl.base.zip_archive import ZipArchive

    archive = ZipArchive(path, lambda reason: damaged(path, reason))
    if any(name.endswith(".npy") for name in archive.members) or not archive.members:
        from netdsl.weights.npz import NpzWeights

        return NpzWeights(path)
    if any(name.split("/")[-1] in EXPORTED for name in archive.members):
        raise BadWeightFile(f"{path} is a program exported by `torch.export`, which is not supported", CONVERT)
    if "model.weights.h5" in archive.members:
        from netdsl.weights.keras import KerasWeights

        return KerasWeights(path, archive)
    from netdsl.weights.pth import TorchWeights

    return TorchWeights(path, archive)


def _unsupported(path: str, head: bytes) -> BadWeightFile:
    if what := mistaken(head):
        return BadWeightFile(f"{path} {what}")
    if head.startswith(b"\x80"):
        return BadWeightFile(f"{path} is a pickle, which is never loaded, since it can run code", CONVERT)
    if head.startswith(b"\x93NUMPY"):
        return BadWeightFile(f"{path} is a single array without a name", "save it with `numpy.savez(path, name=array)`")
    return BadWeightFile(f"{path} is damaged, or has an unsupported format", SUPPORTED)


class WeightView(WeightFile):
    """The weights of another file under other names; `names` maps new names to the file's.

    `permutations` reorder the elements of weights, from Keras's order to netdsl's, and `transposed` ones swap their
    axes. `shapes` are new shapes of weights, with the same elements. `allow_nonfinite` accepts NaN, infinities and
    negative variances. `initial` are the net's weights that keep their initial values, and `unused` the file's weights
    that are not loaded.
    """

    __slots__ = (
        "_allow_nonfinite",
        "_doubled",
        "_file",
        "_initial",
        "_names",
        "_permutations",
        "_shapes",
        "_transposed",
        "_unused",
    )

    def __init__(
        self,
        file: WeightFile,
        names: Mapping[str, str],
        *,
        doubled: Mapping[str, list[str]] | None = None,
        permutations: Mapping[str, Permute] | None = None,
        transposed: Collection[str] = (),
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        allow_nonfinite: bool = False,
        initial: frozenset[str] = frozenset(),
        unused: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.path = file.path
        self._file = file
        self._names = names
        self._doubled = doubled or {}
        self._permutations = permutations
        self._transposed = frozenset(transposed)
        self._shapes = shapes or {}
        self._allow_nonfinite = allow_nonfinite
        self._initial = initial
        self._unused = unused or {}
        self.entries = {name: file.entries[old] for name, old in names.items()}
        for name in permutations or ():
            entry = self.entries[name]
            self.entries[name] = Entry(entry.dtype, entry.shape)  # without `use`: the permutation replaces it
        for name in self._transposed:
            entry = self.entries[name]
            self.entries[name] = Entry(entry.dtype, entry.shape[::-1])
        for name, shape in self._shapes.items():
            entry = self.entries[name]
            self.entries[name] = Entry(entry.dtype, shape, entry.use)

    @property
    def metadata(self) -> Mapping[str, str]:
        return {} if self._initial else self._file.metadata  # the head, which class names describe, may be new

    @property
    def doubled(self) -> Mapping[str, list[str]]:
        return self._doubled or self._file.doubled

    @property
    def initial(self) -> frozenset[str]:
        return self._initial | self._file.initial

    @property
    def unused(self) -> Mapping[str, tuple[int, ...]]:
        return {**self._file.unused, **self._unused}

    @property
    def transposed(self) -> frozenset[str]:
        inner = self._file.transposed
        return self._transposed | {name for name, old in self._names.items() if old in inner}

    @property
    def allow_nonfinite(self) -> bool:
        return self._allow_nonfinite or self._file.allow_nonfinite

    @property
    def ordered(self) -> bool:
        return self._file.ordered

    @property
    def keras(self) -> KerasModel | None:
        return self._file.keras if self._permutations is None else None

    @property
    def layers(self) -> list[dict[str, str]] | None:
        inner = self._file.layers
        if inner is None:
            return None
        now = {old: name for name, old in self._names.items()}
        return [{word: now[old] for word, old in layer.items() if old in now} for layer in inner]

    @property
    def origins(self) -> Mapping[str, str]:
        inner = self._file.origins
        return {name: inner[old] for name, old in self._names.items()}

    def stream(self, keys: Collection[str]) -> Iterator[tuple[str, Array]]:
        now = {self._names[key]: key for key in keys}
        changed = self._permutations or self._transposed or self._shapes
        if changed or len(now) < len(keys):  # or two names for one tensor
            return super().stream(keys)
        return ((now[old], part) for old, part in self._file.stream(now))

    def read(self, key: str) -> Array:
        array = self._file.read(self._names[key])
        if self._permutations and key in self._permutations:
            array = self._permutations[key](array)
        if key in self._transposed:
            array = array.T
        return array.reshape(self._shapes[key]) if key in self._shapes else array
