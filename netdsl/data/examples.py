"""The interface of training data, in memory or streamed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netdsl.base.dtypes import Array
    from netdsl.data.augment import Augment
    from netdsl.ir.names import Names

SAMPLE = 2**26
"""Number of bytes hashed to identify data: all of MNIST, in a tenth of a second."""


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
    ) -> Iterator[dict[str, Array]]:
        """Yield the batches of an epoch from number `first` on: arrays [n, *shape] by input and target, of the required
        types, contiguous and newly allocated.

        The content of a position depends on seed, epoch and position alone, including augmentation; `augment` replaces
        that of the data set. n is `batch`; remaining examples at the end are dropped, or form a smaller batch.
        """

    @abstractmethod
    def name(self, key: str, position: int, *, seed: int, epoch: int) -> str:
        """Return the name in messages of an input or target at a position of a shuffled epoch."""

    @abstractmethod
    def digests(self) -> dict[str, str]:
        """Return a digest per input and target that distinguishes them from other data of the same form; beyond SAMPLE
        bytes, it covers a sample. Empty if they cannot be read."""


def feed(hashed: Any, count: int, take: Callable[[Array], Array]) -> None:
    """Update a hash with examples by their indices below `count`: all, or evenly spread ones up to SAMPLE bytes,
    including the first and the last."""
    size = take(np.arange(min(count, 1))).nbytes
    most = max(2, SAMPLE // max(1, size))
    chosen = np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)
    hashed.update(f"{count} examples".encode())
    for part in np.array_split(chosen, 1 + len(chosen) * size // 2**22):
        hashed.update(np.ascontiguousarray(take(part)).data)
