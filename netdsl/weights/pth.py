"""Read PyTorch checkpoints without PyTorch, and without executing their pickle.

Since PyTorch 1.6, `torch.save` writes an uncompressed zip archive: `data.pkl` describes the tensors, and `data/0`,
`data/1` … are their storages. Before, it wrote consecutive pickles, followed by the storages (LegacyTorchWeights).
Source: torch/serialization.py and torch/_utils.py, version 2.
"""

from __future__ import annotations

import math
import os
from mmap import ACCESS_READ, mmap
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from netdsl.base.dtypes import TORCH, byte_size, stored, widened
from netdsl.base.files import open_file
from netdsl.base.zip_archive import PIECE_BYTES, mapped
from netdsl.data.errors import CONVERT
from netdsl.weights.errors import BadWeightFile
from netdsl.weights.file import MAX_AXES, Entry, WeightFile
from netdsl.weights.pickled import (
    IGNORED_GLOBALS,
    CallableGlobal,
    GlobalRejected,
    Ignored,
    PickleRejected,
    shown,
    unpickle,
    unpickle_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from netdsl.base.dtypes import Array, DType
    from netdsl.base.zip_archive import Bytes, ZipArchive

_T = TypeVar("_T")

WEIGHT_KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
)
"""Keys under which checkpoints commonly store weights, most specific first."""

TRAINING_KEYS = ("optim", "sched", "scaler", "lr_")
"""Prefixes of keys under which checkpoints store other state: optimizer, schedule, gradient scaler."""

MAX_SETS_SHOWN = 10
MAX_DICT_DEPTH = 20
"""Maximum nesting of dictionaries."""


def find_state_dict(root: object, kind: type[_T], path: str) -> dict[str, _T]:
    """Find the state dict in a checkpoint: the checkpoint itself, or the nested dictionary that holds the weights.

    Returns its tensors, the values of type `kind`, by name. Other values, such as an epoch number, are ignored. Raises
    BadWeightFile if no dictionary has tensors, or several are equally likely.
    """
    if isinstance(root, kind):
        raise BadWeightFile(f"{path} is a single tensor without a name")
    found = list(_candidates(root, kind))
    if not found:
        raise BadWeightFile(f"{path} contains no named tensors")
    best = min(_rank(name) for name, _ in found)
    chosen = [(name, tensors) for name, tensors in found if _rank(name) == best]
    if len(chosen) > 1:
        names = ", ".join(".".join(name) for name, _ in chosen[:MAX_SETS_SHOWN]) + ", …" * (
            len(chosen) > MAX_SETS_SHOWN
        )
        raise BadWeightFile(
            f"{path} contains {len(chosen)} sets of weights: {names}", "save one of them in its own file"
        )
    return chosen[0][1]


def _candidates(root: object, kind: type[_T]) -> Iterator[tuple[tuple[str, ...], dict[str, _T]]]:
    """Yield the path and the tensors of each dictionary that contains any."""
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], object]] = [((), root)]
    for name, value in waiting:  # grows during the loop
        if not isinstance(value, dict) or id(value) in seen:
            continue
        seen.add(id(value))
        tensors = {key: item for key, item in value.items() if isinstance(item, kind) and isinstance(key, str)}
        if tensors:
            yield name, tensors
        if len(name) < MAX_DICT_DEPTH:
            waiting += [((*name, str(key)), item) for key, item in value.items() if isinstance(item, dict)]


def _rank(name: tuple[str, ...]) -> tuple[bool, int, int]:
    """Return a sort key, the likeliest candidate first: those with a usual name, then the least nested ones."""
    words = [word.lower() for word in name]
    training = any(word.startswith(TRAINING_KEYS) for word in words)
    usual = min((WEIGHT_KEYS.index(word) for word in words if word in WEIGHT_KEYS), default=len(WEIGHT_KEYS))
    return training, usual, len(name)


MAX_PICKLE_BYTES = 2**26
PICKLE = "data.pkl"

STORAGES = {**TORCH, "storage.UntypedStorage": "uint8"}
"""NumPy type names by PyTorch's storage types."""

UNTYPED = (
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"),
    *("uint16", "uint32", "uint64"),
)
"""Types without a storage class of their own: their tensors use untyped storages."""


class Storage:
    """A flat buffer that tensors view: member `data/KEY` of the archive, with `count` elements."""

    __slots__ = ("count", "dtype", "key")

    def __init__(self, dtype: str, key: str, count: int) -> None:
        self.dtype = dtype
        self.key = key
        self.count = count

    @property
    def width(self) -> int:
        """Size of an element in bytes."""
        return byte_size(self.dtype, (1,))

    def numpy_type(self, *, is_big: bool) -> DType:
        """Return the NumPy type of the elements as stored."""
        return np.dtype(stored(self.dtype)).newbyteorder(">" if is_big else "<")


class TorchType(Ignored):
    """A PyTorch type, by its NumPy name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class TorchTensor:
    """A view of a storage; offset and strides are in elements."""

    __slots__ = ("dtype", "offset", "shape", "storage", "strides")

    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.dtype = storage.dtype
        self.storage = storage
        self.offset = offset
        self.shape = shape
        self.strides = strides

    @property
    def span(self) -> int:
        """Number of elements of the storage from the first one viewed to the last, inclusive."""
        if not math.prod(self.shape):
            return 0
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))

    @property
    def is_whole(self) -> bool:
        """Whether the tensor is its entire storage, in row-major order."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != step:
                return False
            step *= size
        return step == self.storage.count > 0


def _tensor(storage: object, offset: object, shape: object, strides: object, *more: object) -> TorchTensor:
    """Build a tensor like `torch._utils._rebuild_tensor_v2`. `more`: requires_grad, hooks, unsupported metadata."""
    if any(more[2:]):
        raise PickleRejected(
            "a tensor is a conjugate or negative view: call `resolve_neg()` or `resolve_conj()` before saving"
        )
    if not isinstance(storage, Storage) or not _is_size(offset):
        raise PickleRejected("a tensor has no storage")
    if not (_are_sizes(shape) and _are_sizes(strides) and len(shape) == len(strides)):  # type: ignore[arg-type]
        raise PickleRejected("a tensor has an invalid shape or invalid strides")
    tensor = TorchTensor(storage, offset, shape, strides)  # type: ignore[arg-type]
    if math.prod(tensor.shape) >= 2**63:
        raise PickleRejected(f"a tensor has the impossible shape {str(shape)[:80]}")
    if tensor.offset + tensor.span > storage.count:
        raise PickleRejected(
            f"a tensor of shape {list(tensor.shape)} reaches to element {tensor.offset + tensor.span:,} of a storage "
            f"of {storage.count:,}"
        )
    return tensor


def _tensor_of_bytes(storage: object, offset: object, shape: object, strides: object, *more: object) -> TorchTensor:
    """Build a tensor like `torch._utils._rebuild_tensor_v3`, from an untyped storage.

    `more`: requires_grad, hooks, the type, unsupported metadata.
    """
    kind = more[2] if len(more) > 2 else None
    if not isinstance(storage, Storage) or not isinstance(kind, TorchType):
        raise PickleRejected("a tensor has no storage or type")
    width = byte_size(kind.name, (1,))
    tensor = _tensor(Storage(kind.name, storage.key, storage.count // width), offset, shape, strides)
    tensor.storage = storage
    return tensor


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _are_sizes(value: object) -> bool:
    return isinstance(value, tuple) and len(value) <= MAX_AXES and all(map(_is_size, value))


def _parameter(tensor: object, *_: object) -> TorchTensor:
    if not isinstance(tensor, TorchTensor):
        raise PickleRejected("a parameter is not a tensor")
    return tensor


def _ordered(items: object = ()) -> dict[Any, Any]:
    if items in ((), []):
        return {}
    raise PickleRejected("an ordered dictionary has an unknown encoding")


def _size(sizes: object) -> tuple[Any, ...]:
    if not isinstance(sizes, tuple | list) or len(sizes) > MAX_AXES:
        raise PickleRejected("a size is not a list")
    return tuple(sizes)


GLOBALS: dict[str, object] = {
    **IGNORED_GLOBALS,
    "collections.OrderedDict": CallableGlobal(_ordered),
    "torch._utils._rebuild_tensor_v2": CallableGlobal(_tensor),
    "torch._utils._rebuild_tensor": CallableGlobal(_tensor),
    "torch._utils._rebuild_tensor_v3": CallableGlobal(_tensor_of_bytes),
    "torch._utils._rebuild_parameter": CallableGlobal(_parameter),
    "torch._utils._rebuild_parameter_with_state": CallableGlobal(_parameter),
    "torch.Size": CallableGlobal(_size),
    **{f"torch.{name}": dtype for name, dtype in STORAGES.items()},
    **{f"torch.{name}": TorchType(name) for name in UNTYPED},
}
"""The allowlist: globals that create tensors and containers, and those of unused values."""


class TorchWeights(WeightFile):
    """The tensors of a `.pth` or `.pt` file in the zip format."""

    __slots__ = ("_big", "_root", "_tensors", "_zip")

    def __init__(self, path: str, archive: ZipArchive) -> None:
        self.path = path
        self._zip = archive
        self._root = self._find_root()
        self._big = self._is_big()
        self._tensors = find_state_dict(self._load(), TorchTensor, path)
        for tensor in self._tensors.values():
            self._check_storage(tensor.storage)
        self.entries = {key: Entry(t.dtype, t.shape) for key, t in self._tensors.items()}

    def _find_root(self) -> str:
        """Return the folder of `data.pkl` in the archive, with a trailing slash, or an empty string."""
        roots = [name.removesuffix(PICKLE) for name in self._zip.members if name.split("/")[1:] == [PICKLE]]
        if PICKLE in self._zip.members:
            roots.append("")
        if len(roots) != 1:
            raise self.damaged(f"it has {len(roots)} members named {PICKLE}, not one")
        if any(name.startswith((f"{roots[0]}code/", f"{roots[0]}constants.pkl")) for name in self._zip.members):
            raise BadWeightFile(
                f"{self.path} is a TorchScript program, which is never loaded, since it can run code", CONVERT
            )
        return roots[0]

    def _is_big(self) -> bool:
        name = f"{self._root}byteorder"
        order = self._zip.read(name, 16) if name in self._zip.members else b"little"
        if order not in (b"little", b"big"):
            raise self.damaged("its byte order is unknown")
        return order == b"big"

    def _load(self) -> object:
        pickle = self._zip.read(self._root + PICKLE, MAX_PICKLE_BYTES)
        try:
            return unpickle(pickle, GLOBALS, storage_of)
        except GlobalRejected as error:
            raise refusal(error.name, self.path) from None
        except PickleRejected as error:
            raise self.damaged(str(error)) from None

    def _check_storage(self, storage: Storage) -> None:
        name = f"{self._root}data/{storage.key}"
        if name not in self._zip.members:
            raise self.damaged(f"its member {name} is missing")
        found = self._zip.members[name].file_size
        if found != storage.count * storage.width:
            raise self.damaged(
                f"its member {name} has {found:,} bytes, expected {storage.count:,} numbers of {storage.dtype}"
            )

    def _member(self, key: str) -> str:
        return f"{self._root}data/{self._tensors[key].storage.key}"

    def read(self, key: str) -> Array:
        name = self._member(key)
        return tensor_values(self._tensors[key], lambda begin, end: self._zip.map(name, begin, end), is_big=self._big)

    def stream(self, keys: Collection[str]) -> Iterator[tuple[str, Array]]:
        """Yield contiguous tensors in parts, while the checksums of large members are verified in the background."""
        stored = {key: name for key in keys if self._is_in_order(key, name := self._member(key))}
        large = dict.fromkeys(name for name in stored.values() if self._zip.members[name].file_size > PIECE_BYTES)
        buffer = np.empty(PIECE_BYTES, np.uint8)
        with open_file(self.path) as file, self._zip.verified(large):
            for key in keys:
                if key not in stored:
                    yield key, self.read(key)
                    continue
                name, storage = stored[key], self._tensors[key].storage
                dtype = storage.numpy_type(is_big=self._big)
                for piece in self._zip.pieces(file, name, buffer, verify=name not in large):
                    yield key, widened(piece.view(dtype), storage.dtype)

    def _is_in_order(self, key: str, name: str) -> bool:
        return self._tensors[key].is_whole and self._zip.is_stored(name)


def storage_of(identifier: object) -> Storage:
    """Resolve the persistent ID of a storage. Raises PickleRejected."""
    match identifier:
        case ("storage", str(dtype), str(key), _, int(count)) if dtype in STORAGES.values() and _is_size(count):
            return Storage(dtype, key, count)
    raise PickleRejected(f"it refers to a storage in an unknown way: {type(identifier).__name__}")


def refusal(name: str, path: str) -> BadWeightFile:
    """Return the error for a pickle that refers to a global outside the allowlist."""
    refers = f"{path} refers to `{name[:200]}`, and is not read: "
    if name.startswith(("torch._utils._rebuild_", "torch.Complex")):
        return BadWeightFile(
            refers + "it contains a sparse, quantized or complex tensor, or one of a rare type",
            "save it dense and in floats: `tensor.to_dense()`, `.dequantize()`, `.float()`",
        )
    return BadWeightFile(refers + "a pickle can run code, and this one contains more than tensors", CONVERT)


def tensor_values(tensor: TorchTensor, data: Callable[[int, int], Bytes], *, is_big: bool) -> Array:
    """Return the values of a tensor. `data(begin, end)` returns these bytes of its storage."""
    storage = tensor.storage
    width, dtype = storage.width, storage.numpy_type(is_big=is_big)
    if not tensor.span:
        return widened(np.empty(tensor.shape, dtype), storage.dtype)
    flat = data(tensor.offset * width, (tensor.offset + tensor.span) * width).view(dtype)
    strides = tuple(step * width for step in tensor.strides)
    array = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
    return widened(array, storage.dtype)


LEGACY_VERSION = 1001
COUNT_BYTES = 8
"""Size in bytes of the element count before each storage."""


class LegacyTorchWeights(WeightFile):
    """The tensors of a `.pth` or `.pt` file in the format before PyTorch 1.6: five pickles, then the storages."""

    __slots__ = ("_begins", "_storages", "_tensors")

    def __init__(self, path: str) -> None:
        self.path = path
        self._storages: dict[str, Storage] = {}
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                with mmap(file.fileno(), min(size, MAX_PICKLE_BYTES), access=ACCESS_READ) as head:
                    root, keys, at = self._unpickled(head)
                self._begins = self._places(file, keys, at, size)
            except GlobalRejected as error:
                raise refusal(error.name, path) from None
            except PickleRejected as error:
                raise self.damaged(str(error)) from None
        self._tensors = find_state_dict(root, TorchTensor, path)
        self.entries = {key: Entry(t.dtype, t.shape) for key, t in self._tensors.items()}

    def _unpickled(self, head: mmap) -> tuple[object, list[Any], int]:
        """Return the checkpoint, the keys of its storages, and the offset of the first storage."""
        at = 0
        found: list[Any] = []
        for _ in range(5):
            value, at = unpickle_at(head, at, GLOBALS, self._storage)
            found.append(value)
        _, version, _, root, keys = found
        if version != LEGACY_VERSION:
            raise PickleRejected(f"it has the unknown version {shown(version)}")
        if not isinstance(keys, list):
            raise PickleRejected("it has no list of storages")
        return root, keys, at

    def _storage(self, identifier: object) -> Storage:
        """Resolve the persistent ID of a storage. Raises PickleRejected, also for a view of another storage (the sixth
        entry), which a weight never is."""
        if not isinstance(identifier, tuple) or len(identifier) != 6 or identifier[5] is not None:
            raise PickleRejected("it refers to a storage in an unknown way")
        storage = storage_of(identifier[:5])
        known = self._storages.setdefault(storage.key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise PickleRejected(f"its storage {storage.key} has two types or sizes")
        return known

    def _places(self, file: Any, keys: list[Any], at: int, size: int) -> dict[str, int]:
        """Return the offset of each storage's elements. Checks that the storages fill the rest of the file."""
        begins: dict[str, int] = {}
        for key in keys:
            storage = self._storages.get(key) if isinstance(key, str) else None
            if storage is None or key in begins:
                raise PickleRejected(f"its list has a storage {shown(key)} that no tensor uses, or lists one twice")
            file.seek(at)
            found = int.from_bytes(file.read(COUNT_BYTES), "little", signed=True)
            if found != storage.count:
                raise PickleRejected(f"its storage {key} has {found:,} elements, expected {storage.count:,}")
            begins[key] = at + COUNT_BYTES
            at += COUNT_BYTES + storage.count * storage.width
            if at > size:
                raise PickleRejected(f"it is truncated within its storage {key}")
        if at != size or len(begins) != len(self._storages):
            raise PickleRejected(
                f"its storages end at byte {at:,} of {size:,}, and are {len(begins):,} of {len(self._storages):,}"
            )
        return begins

    def read(self, key: str) -> Array:
        tensor = self._tensors[key]
        start = self._begins[tensor.storage.key]

        def data(begin: int, end: int) -> Bytes:
            with open_file(self.path) as file:
                return mapped(file, start + begin, end - begin)

        return tensor_values(tensor, data, is_big=False)
