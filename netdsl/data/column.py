"""Examples of one input or target, accessible in any order."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

import numpy as np

from netdsl.data.errors import NoExamples, WrongType
from netdsl.data.reader import Reader, check_types, convert, match_shape, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.data.reader import Dims


def as_array(value: object, name: str) -> Array:
    """Convert a value with NumPy: an array, nested lists, or a tensor on the CPU. Raises WrongType."""
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        reason = str(error).partition("\n")[0]
        raise WrongType(f"{name} is {type(value).__name__}, not an array: {reason}") from None


class ArrayReader(Reader):
    """An array as batches of an input's type; `name` is its name in messages. Its shape is not checked."""

    __slots__ = ("_array",)

    def __init__(self, name: str, value: object, dtype: str) -> None:
        self._array: Array = as_array(value, name)
        super().__init__(name, self._array.shape[1:], dtype)
        check_types(name, self._array.dtype, self.dtype)

    def __len__(self) -> int:
        return len(self._array) if self._array.ndim else 0

    def name(self, index: int) -> str:
        return f"{self.path}[{index}]"

    def batches(self, size: int, first: int = 0, stop: int | None = None) -> Iterator[Array]:
        for at, end in self.spans(size, first, stop):
            yield convert(self, self._array[at:end], at)

    @property
    def whole(self) -> Array:
        """Return all examples in one batch."""
        return convert(self, self._array, 0)


SAMPLE_BYTES = 2**26
"""Number of bytes hashed to identify data: all of MNIST, in a tenth of a second."""

CHUNK_ELEMENTS = 2**24
"""Number of elements processed at a time when all are."""


class Hash(Protocol):
    """A hash of `hashlib`."""

    def update(self, data: bytes | memoryview, /) -> None: ...


class Column(Reader):
    """A reader with random access to examples. `shape` is that of an example, `dtype` the type it is converted to."""

    __slots__ = ()

    @abstractmethod
    def take(self, indices: Array) -> Array:
        """Return the examples [n, *shape] at these indices, in the type of their file, as a new array."""

    def takes(self, picked: Sequence[Array]) -> Generator[Array, None, None]:
        """Yield the examples of each batch, given by indices. Closing the generator stops decoding ahead."""
        for indices in picked:
            yield self.take(indices)

    def digest(self, hashed: Hash) -> None:
        """Update a hash with data that identifies the examples."""
        feed(hashed, len(self), self.take)

    @property
    def chunk(self) -> int:
        """Number of examples processed at a time."""
        return max(1, CHUNK_ELEMENTS // max(1, int(np.prod([size or 1 for size in self.shape]))))


class ArrayColumn(Column):
    """An array, possibly memory-mapped. Its first axis counts the examples, as determined by `match_shape`.

    `where` names an example in messages: `y.npy[3]`, unless there is a better name.
    """

    __slots__ = ("_rows", "_where", "array")

    def __init__(
        self,
        path: str,
        array: Array,
        shape: Dims,
        dtype: str,
        where: Callable[[int], str] | None = None,
        taker: str = "the input",
    ) -> None:
        if array.ndim and not len(array):
            raise NoExamples(f"{path} contains no examples")
        check_types(path, array.dtype, type_of(dtype), taker)
        count, example = match_shape(path, array.shape, shape, taker)
        super().__init__(path, example, dtype)
        # np.asarray turns a memmap into a plain view, which is faster to slice.
        self.array: Array = np.asarray(array).reshape(count, *example)
        self._rows = _rows(self.array)
        self._where = where

    def __len__(self) -> int:
        return len(self.array)

    def name(self, index: int) -> str:
        return self._where(index) if self._where else f"{self.path}[{index}]"

    def batches(self, size: int, first: int = 0, stop: int | None = None) -> Iterator[Array]:
        for at, end in self.spans(size, first, stop):
            yield convert(self, np.asarray(self.array[at:end]), at)

    def take(self, indices: Array) -> Array:
        if self._rows is None:
            return self.array[indices]
        taken: Array = self._rows.take(indices).view(self.array.dtype)
        return taken.reshape(len(indices), *self.array.shape[1:])


def _rows(array: Array) -> Array | None:
    """View contiguous examples as records [n], or return None: copying records is twice as fast as copying unaligned
    numbers, such as those of an archive."""
    if not array.flags.c_contiguous:
        return None
    return array.reshape(len(array), -1).view(f"V{array.itemsize * math.prod(array.shape[1:])}")[:, 0]


def feed(hashed: Hash, count: int, take: Callable[[Array], Array]) -> None:
    """Update a hash with examples by their indices below `count`: all, or evenly spread ones up to SAMPLE_BYTES bytes,
    including the first and the last."""
    size = take(np.arange(min(count, 1))).nbytes
    most = max(2, SAMPLE_BYTES // max(1, size))
    chosen = np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)
    hashed.update(f"{count} examples".encode())
    for part in np.array_split(chosen, 1 + len(chosen) * size // 2**22):
        hashed.update(np.ascontiguousarray(take(part)).data)
