"""What a training asks of its data, whether they are all there or come as they are made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netdsl.data.augment import Augment
    from netdsl.data.reader import Array
    from netdsl.ir.names import Names

SAMPLE = 2**26
"""So many bytes of data are looked at to tell them from others: all of MNIST, in a tenth of a second."""


class Examples(ABC):
    """Examples, each with its inputs and targets, in batches.

    `names` are those of classes and columns, where they are known, with the names of outputs by target; `notes` are
    sentences about what looks odd and is allowed.
    """

    __slots__ = ("names", "notes")

    names: Names
    notes: list[str]

    @abstractmethod
    def __len__(self) -> int:
        """How many an epoch has."""

    @abstractmethod
    def batch(self, wanted: int) -> int:
        """The batch that can be had where one of a size is wanted: at most all examples."""

    def steps(self, batch: int, drop_last: bool = True) -> int:
        """How many batches an epoch has."""
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
    ) -> Iterator[dict[str, Array]]:
        """The batches of an epoch from number `first` on: arrays [n, *shape] by input and target, of the types wanted,
        contiguous, in memory of their own.

        What comes at a position depends on seed, epoch and position alone, augmentation included; `augment` stands in
        the place of the data's own. n is `batch`; the examples left over at the end are dropped, or come as a smaller
        batch.
        """

    @abstractmethod
    def name(self, key: str, position: int, *, seed: int, epoch: int) -> str:
        """What to call what an input or target has at a position of a shuffled epoch."""

    @abstractmethod
    def digests(self) -> dict[str, str]:
        """A digest by the name of each input and target, which tells them from other data of the same form; of more
        than SAMPLE bytes it sees a part. Nothing where they cannot be looked at."""


def feed(hashed: Any, count: int, take: Callable[[Array], Array]) -> None:
    """Have a hash see examples by their indices below `count`: all, or as many, evenly spread, as SAMPLE has room for;
    the first and the last are among them."""
    size = take(np.arange(min(count, 1))).nbytes
    most = max(2, SAMPLE // max(1, size))
    chosen = np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)
    hashed.update(f"{count} examples".encode())
    for part in np.array_split(chosen, 1 + len(chosen) * size // 2**22):
        hashed.update(np.ascontiguousarray(take(part)).data)
