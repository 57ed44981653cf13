"""Read arrays from HDF5 files with h5py.

The structure of a file is checked before any values are read; links and data in other files are refused.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.base.dtypes import widened
from netdsl.data.errors import MissingPackage
from netdsl.weights.errors import BadWeightFile, damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netdsl.base.dtypes import Array

    Opener = Callable[[], Any]

MAX_GROUP_DEPTH = 32
"""Maximum nesting of groups."""
ATTRIBUTES = ("name", "layer_names", "weight_names", "model_config", "keras_version")
MAX_GROUPS = 200_000
"""Maximum number of groups in a file."""


class H5Array:
    """The path, type and shape of an array."""

    __slots__ = ("dtype", "path", "shape")

    def __init__(self, path: str, dtype: str, shape: tuple[int, ...]) -> None:
        self.path = path
        self.dtype = dtype
        self.shape = shape


class Arrays:
    """The arrays of an HDF5 file by path, and the text attributes of its groups.

    `source` returns what h5py opens: a path, or a file object.
    """

    __slots__ = ("_source", "datasets", "path", "texts")

    def __init__(self, path: str, source: Opener) -> None:
        self.path = path
        self._source = source
        self.datasets: dict[str, H5Array] = {}
        self.texts: dict[str, dict[str, list[str]]] = {}
        with self._open() as root:
            self._walk(root)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            import h5py
        except ModuleNotFoundError:
            raise MissingPackage(
                f"{self.path} is an HDF5 file, which requires h5py", "pip install 'netdsl[keras]'"
            ) from None
        try:
            with h5py.File(self._source(), "r") as root:
                yield root
        except (BadWeightFile, MemoryError):
            raise
        except Exception as error:  # h5py raises many types for damaged files
            reason = (str(error).splitlines() or [type(error).__name__])[0]
        else:
            return
        # Outside the handler: otherwise `__context__` keeps objects of h5py alive, which break Python's shutdown.
        raise damaged(self.path, f"it cannot be read as HDF5: {reason[:200]}")

    def _walk(self, root: Any) -> None:
        import h5py

        waiting: list[tuple[str, Any, int]] = [("", root, 0)]
        seen = {h5py.h5o.get_info(root.id).addr}
        for path, group, depth in waiting:  # grows during the loop
            self.texts[path] = {key: _texts(group.attrs[key]) for key in ATTRIBUTES if key in group.attrs}
            for key in group:
                place = f"{path}/{key}".lstrip("/")
                if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                    raise damaged(self.path, f"{place} is a link")
                item = group[key]
                if isinstance(item, h5py.Dataset):
                    self._admit(place, item)
                elif (
                    depth < MAX_GROUP_DEPTH
                    and len(waiting) < MAX_GROUPS
                    and (at := h5py.h5o.get_info(item.id).addr) not in seen
                ):
                    seen.add(at)
                    waiting.append((place, item, depth + 1))
                else:
                    raise damaged(self.path, "its groups are nested without end")

    def _admit(self, place: str, item: Any) -> None:
        if item.external or item.is_virtual:
            raise damaged(self.path, f"{place} has its data in another file")
        if item.dtype.kind not in "fiub" or item.shape is None:
            return  # strings
        halves = item.dtype == np.uint16 and item.attrs.get("dtype") == "bfloat16"
        dtype = "bfloat16" if halves else str(item.dtype.newbyteorder("="))
        self.datasets[place] = H5Array(place, dtype, tuple(item.shape))

    def read(self, place: str) -> Array:
        with self._open() as root:
            array: Array = root[place][()]
        return widened(np.asarray(array), self.datasets[place].dtype)


def _texts(value: Any) -> list[str]:
    """Return the value of an attribute, a string or an array of strings, as a list."""
    found = [value] if isinstance(value, str | bytes) else np.asarray(value).reshape(-1).tolist()
    return [each.decode("utf-8") if isinstance(each, bytes) else str(each) for each in found]


class BytesView(io.RawIOBase):
    """A read-only file object over memory-mapped bytes."""

    def __init__(self, data: Any) -> None:
        self._data = memoryview(data)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, len(self._data))[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        part = self._data[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)
