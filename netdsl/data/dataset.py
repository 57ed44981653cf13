"""Training data: the interface, and data sets with random access, in shuffled batches from any position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from netdsl.data.checks import check_counts, lone_label
from netdsl.data.draws import permutation
from netdsl.data.errors import BatchTooLarge
from netdsl.ir.names import Names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.data.augment import Augment
    from netdsl.data.column import ArrayColumn, Column
    from netdsl.data.picture import Picture


class Examples(ABC):
    """Examples, each with its inputs and targets, in batches.

    `names` are the names of classes (by target) and columns, where known; `notes` are sentences for the user about data
    that are valid but unusual.
    """

    __slots__ = ("names", "notes")

    names: Names
    notes: list[str]
    restarts: Sequence[int] = ()
    """The numbers of the batches before which the source began again within an epoch, the same in all processes."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of examples per epoch."""

    @abstractmethod
    def batch(self, wanted: int) -> int:
        """Return the batch size for a requested one: at most the number of examples."""

    def steps(self, batch: int, drop_last: bool = True) -> int:
        """Return the number of batches per epoch."""
        return len(self) // batch if drop_last else -(-len(self) // batch)

    @abstractmethod
    def batches(
        self,
        batch: int,
        *,
        seed: int,
        epoch: int,
        first: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        augment: Augment | None = None,
        rows: tuple[int, int] | None = None,
        every: int = 1,
    ) -> Iterator[dict[str, Array]]:
        """Yield the batches of an epoch from number `first` on: arrays [n, *shape] by input and target, of the required
        types, contiguous and newly allocated.

        The content of a position depends on seed, epoch and position alone, including augmentation; `augment` replaces
        that of the data set. n is `batch`; remaining examples at the end are dropped, or form a smaller batch.

        For one of several processes: with `rows` (lo, hi), only these examples of each batch, at the same positions,
        which requires `drop_last`; with `every`, only the batches `first`, `first + every`, ….
        """

    @abstractmethod
    def name(self, key: str, position: int, *, seed: int, epoch: int) -> str:
        """Return the name in messages of an input or target at a position of a shuffled epoch."""

    @abstractmethod
    def digests(self) -> dict[str, str]:
        """Return a digest per input and target that distinguishes them from other data of the same form. It covers a
        sample if there are more than SAMPLE_BYTES. Empty if they cannot be read."""


def check_rows(rows: tuple[int, int] | None, batch: int, drop_last: bool) -> tuple[int, int]:
    """Return the examples of each batch that are wanted, by default all, after checking the arguments of `batches`."""
    low, high = rows or (0, batch)
    assert 0 <= low < high <= batch, f"rows {low} to {high} of {batch}"
    assert rows is None or drop_last
    return low, high


class Dataset(Examples):
    """Examples with random access. All checks run on creation.

    `augment` is applied to the stored examples of each batch. `pictures` are the inputs whose examples are pixels,
    which are normalized after that.
    """

    __slots__ = ("augment", "inputs", "pictures", "targets")

    def __init__(
        self,
        inputs: dict[str, Column],
        targets: dict[str, ArrayColumn],
        *,
        names: Names | None = None,
        notes: Sequence[str] = (),
        augment: Augment | None = None,
        pictures: Mapping[str, Picture] | None = None,
    ) -> None:
        assert inputs
        check_counts({**inputs, **targets})
        self.inputs = inputs
        self.targets = targets
        self.augment = augment
        self.pictures = dict(pictures or {})
        self.names = names or Names()
        self.notes = list(notes)
        for name, target in targets.items():
            if target.dtype == np.int64 and (label := lone_label(target)) is not None and len(target) > 1:
                self.notes.append(
                    f"all {len(target):,} examples have the same `{name}`, {label}: there is nothing to distinguish"
                )

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def batch(self, wanted: int) -> int:
        """Return the batch size, reduced to the number of examples if there are fewer, which adds a note."""
        if wanted <= len(self):
            return wanted
        note = f"there are fewer examples, {len(self):,}, than the batch size, {wanted:,}: each batch has all of them"
        if note not in self.notes:
            self.notes.append(note)
        return len(self)

    def batches(
        self,
        batch: int,
        *,
        seed: int,
        epoch: int,
        first: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        augment: Augment | None = None,
        rows: tuple[int, int] | None = None,
        every: int = 1,
    ) -> Iterator[dict[str, Array]]:
        """Yield batches as described in `Examples`, reading no other examples. Raises BatchTooLarge if there would
        be none, and the errors of decoding images."""
        assert batch > 0
        assert first >= 0
        own = slice(*check_rows(rows, batch, drop_last))
        count = len(self)
        if drop_last and batch > count:
            raise BatchTooLarge(
                f"the batch size is {batch:,}, but there are only {count:,} examples: no batch would be complete",
                f"use a batch size of at most {count:,}",
            )
        order = permutation(count, seed, epoch) if shuffle else np.arange(count)
        starts = range(first * batch, self.steps(batch, drop_last) * batch, every * batch)
        picked = [order[at : at + batch][own] for at in starts]
        parts = {name: column.takes(picked) for name, column in self.inputs.items()}
        try:
            augment = augment or self.augment
            for indices in picked:
                raw = {name: next(part) for name, part in parts.items()}
                yield self._finished(raw, indices, seed, epoch, augment)
        finally:
            for part in parts.values():
                part.close()

    def name(self, key: str, position: int, *, seed: int, epoch: int) -> str:
        column = self.inputs.get(key) or self.targets[key]
        return column.name(int(permutation(len(self), seed, epoch)[position]))

    def digests(self) -> dict[str, str]:
        found = {}
        for name, column in {**self.inputs, **self.targets}.items():
            hashed = sha256()
            column.digest(hashed)
            found[name] = hashed.hexdigest()
        return found

    def _finished(
        self, raw: dict[str, Array], indices: Array, seed: int, epoch: int, augment: Augment | None
    ) -> dict[str, Array]:
        made = {}
        for name, column in self.inputs.items():
            x = raw[name]
            if augment is not None:
                x = augment(x, seed=seed, epoch=epoch, positions=indices)
            if name in self.pictures:
                x = self.pictures[name].normalized(x)
            made[name] = np.ascontiguousarray(x, column.dtype)
        for name, target in self.targets.items():
            made[name] = np.ascontiguousarray(target.take(indices), target.dtype)
        return made
