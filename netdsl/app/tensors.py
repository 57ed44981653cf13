"""The tensors of a file of weights, without their values."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from netdsl.base.shape import format_shape
from netdsl.base.terminal import escape, plural
from netdsl.report.table import aligned
from netdsl.weights.file import open_weights

HEADER = ("TENSOR", "TYPE", "SHAPE", "NUMBERS", "BYTES")


class Tensor(NamedTuple):
    """A tensor of a file: its type in the file, its shape, and its size in numbers and bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    numbers: int
    bytes: int


class Tensors:
    """The tensors of a file of weights, in order."""

    __slots__ = ("path", "tensors")

    def __init__(self, path: str) -> None:
        """Read the header of a file. Raises UserError for a missing or damaged file."""
        self.path = path
        entries = open_weights(path).entries
        self.tensors = [Tensor(name, e.dtype, (*e.shape,), prod(e.shape), e.size) for name, e in entries.items()]

    @property
    def numbers(self) -> int:
        return sum(tensor.numbers for tensor in self.tensors)

    @property
    def bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    def rows(self) -> list[dict[str, object]]:
        return [{**tensor._asdict(), "shape": [*tensor.shape]} for tensor in self.tensors]

    def data(self) -> dict[str, object]:
        """Return the data that `weights --json` prints."""
        return {"file": self.path, "tensors": self.rows(), "totals": {"numbers": self.numbers, "bytes": self.bytes}}

    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows of the table."""
        return [
            (escape(t.name), t.dtype, format_shape(t.shape) if t.shape else "-", f"{t.numbers:,}", f"{t.bytes:,}")
            for t in self.tensors
        ]

    @property
    def totals(self) -> str:
        return f"{plural(len(self.tensors), 'tensor')}, {plural(self.numbers, 'number')}, {self.bytes:,} bytes"

    def text(self) -> str:
        return "\n".join([*aligned([HEADER, *self.cells()], right=(3, 4)), "", self.totals])
