"""Arrays that a program hands over, in the place of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.data.errors import WrongType
from netdsl.data.reader import Reader, check_types, convert
from netdsl.diagnostics.terminal import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.data.reader import Array


def as_array(value: object, name: str) -> Array:
    """What NumPy makes of a value: an array, nested lists, a tensor on the CPU. Raises WrongType."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise WrongType(f"{escape(name)} is {type(value).__name__}, and no array: {escape(reason)}") from None


class ArrayReader(Reader):
    """An array as batches of an input's type; `name` is what messages call it. Its shape is not looked at."""

    __slots__ = ("_array",)

    def __init__(self, name: str, value: object, dtype: str) -> None:
        self._array: np.ndarray[Any, np.dtype[Any]] = as_array(value, name)
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
        """All of it in one batch."""
        return convert(self, self._array, 0)
