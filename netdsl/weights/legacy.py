"""PyTorch's checkpoints from before 1.6, without PyTorch and without running their pickles.

Five pickles one behind the other: a magic number, the version, the writer's machine, the checkpoint, and the keys of
its storages; then each storage: its count as eight bytes, and its elements, little-endian on all machines.
Source: torch/serialization.py, `_legacy_save`; torch/csrc/serialization.cpp.
"""

from __future__ import annotations

import os
from mmap import ACCESS_READ, mmap
from typing import TYPE_CHECKING, Any

from netdsl.diagnostics.terminal import escape
from netdsl.files import open_file
from netdsl.weights.archive import mapped
from netdsl.weights.errors import BadWeightFile
from netdsl.weights.file import Entry, WeightFile
from netdsl.weights.pickle_machine import Forbidden, Refused, shown
from netdsl.weights.pickled import unpickle_at
from netdsl.weights.pth import LONGEST_PICKLE, NAMES, Storage, Tensor, asks_for, storage_of, values
from netdsl.weights.state_dict import find

if TYPE_CHECKING:
    from netdsl.weights.archive import Bytes
    from netdsl.weights.file import Array

VERSION = 1001
COUNT = 8
"""Bytes of a storage's count."""


class LegacyTorchWeights(WeightFile):
    """The tensors of a `.pth` or `.pt` file that is no zip file."""

    __slots__ = ("_begins", "_storages", "_tensors")

    def __init__(self, path: str) -> None:
        self.path = path
        self._storages: dict[str, Storage] = {}
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                with mmap(file.fileno(), min(size, LONGEST_PICKLE), access=ACCESS_READ) as head:
                    root, keys, at = self._unpickled(head)
                self._begins = self._places(file, keys, at, size)
            except Forbidden as error:
                raise asks_for(error.name, path) from None
            except Refused as error:
                raise BadWeightFile(f"{escape(path)} is damaged: {escape(str(error))}") from None
        self._tensors = find(root, Tensor, path)
        self.entries = {key: Entry(t.dtype, t.shape) for key, t in self._tensors.items()}

    def _unpickled(self, head: mmap) -> tuple[object, list[Any], int]:
        """The checkpoint, the keys of its storages, and where the first storage begins."""
        at = 0
        found: list[Any] = []
        for _ in range(5):
            value, at = unpickle_at(head, at, NAMES, self._storage)
            found.append(value)
        _, version, _, root, keys = found
        if version != VERSION:
            raise Refused(f"it is of version {shown(version)}, which is unknown")
        if not isinstance(keys, list):
            raise Refused("it has no list of storages")
        return root, keys, at

    def _storage(self, identifier: object) -> Storage:
        """What a pickle calls a storage; a view of another one, the sixth entry, is what no network's weights are."""
        if not isinstance(identifier, tuple) or len(identifier) != 6 or identifier[5] is not None:
            raise Refused("it names a storage in an unknown way")
        storage = storage_of(identifier[:5])
        known = self._storages.setdefault(storage.key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise Refused(f"its storage {storage.key} has two types or sizes")
        return known

    def _places(self, file: Any, keys: list[Any], at: int, size: int) -> dict[str, int]:
        """Where the elements of each storage begin; together they fill the file."""
        begins: dict[str, int] = {}
        for key in keys:
            storage = self._storages.get(key) if isinstance(key, str) else None
            if storage is None or key in begins:
                raise Refused(f"its list has a storage {shown(key)} that no tensor has, or has it twice")
            file.seek(at)
            found = int.from_bytes(file.read(COUNT), "little", signed=True)
            if found != storage.count:
                raise Refused(f"its storage {key} has {found:,} elements, and should have {storage.count:,}")
            begins[key] = at + COUNT
            at += COUNT + storage.count * storage.width
            if at > size:
                raise Refused(f"it is cut short within its storage {key}")
        if at != size or len(begins) != len(self._storages):
            raise Refused(
                f"its storages end at byte {at:,} of {size:,}, and are {len(begins):,} of {len(self._storages):,}"
            )
        return begins

    def read(self, key: str) -> Array:
        tensor = self._tensors[key]
        start = self._begins[tensor.storage.key]

        def data(begin: int, end: int) -> Bytes:
            with open_file(self.path) as file:
                return mapped(file, start + begin, end - begin)

        return values(tensor, data, is_big=False)
