"""The tensors of a weight file, or those that a net declares, without their values."""

from __future__ import annotations

import os
import re
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from netdsl.base.dtypes import byte_size
from netdsl.base.shape import format_shape
from netdsl.base.terminal import escape, plural
from netdsl.report.table import aligned, csv_text, json_text, markdown_text

if TYPE_CHECKING:
    from netdsl.ir.net import Net

HEADER = ("TENSOR", "TYPE", "SHAPE", "NUMBERS", "BYTES", "INITIAL")
DTYPE = "float32"
"""Type of a net's weights."""


class Tensor(NamedTuple):
    """A tensor: its type, its shape, and its size in numbers and bytes. For a net's, also its initializer, and whether
    it is a running statistic."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    numbers: int
    bytes: int
    init: str | None = None
    buffer: bool | None = None


class Tensors:
    """The tensors of a file, in order."""

    __slots__ = ("path", "tensors")

    def __init__(self, path: str, tensors: list[Tensor]) -> None:
        self.path = path
        self.tensors = tensors

    @property
    def numbers(self) -> int:
        return sum(tensor.numbers for tensor in self.tensors)

    @property
    def bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    def rows(self) -> list[dict[str, object]]:
        return [
            {name: value for name, value in tensor._asdict().items() if value is not None} | {"shape": [*tensor.shape]}
            for tensor in self.tensors
        ]

    def data(self) -> dict[str, object]:
        """Return the data that `weights --json` prints."""
        return {"file": self.path, "tensors": self.rows(), "totals": {"numbers": self.numbers, "bytes": self.bytes}}

    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows of the table; those of a net have initializers."""
        rows = []
        for t in self.tensors:
            shape = format_shape(t.shape) if t.shape else "-"
            initial = [] if t.init is None else [t.init]
            rows.append((escape(t.name), t.dtype, shape, f"{t.numbers:,}", f"{t.bytes:,}", *initial))
        return rows

    @property
    def totals(self) -> str:
        return f"{plural(len(self.tensors), 'tensor')}, {plural(self.numbers, 'number')}, {self.bytes:,} bytes"

    def text(self) -> str:
        return "\n".join([*aligned([self._header, *self.cells()], right=(3, 4)), "", self.totals])

    def markdown(self) -> str:
        return "\n".join([markdown_text(self._header, self.cells()), "", self.totals])

    def csv(self) -> str:
        """Return a header with the names of the JSON keys, and a line for each tensor."""
        fields = Tensor._fields if self._is_net else Tensor._fields[:-2]
        rows = ({**each._asdict(), "shape": format_shape(each.shape)} for each in self.tensors)
        return csv_text(fields, ([row[field] for field in fields] for row in rows))

    def json(self) -> str:
        return json_text(self.data())

    @property
    def _is_net(self) -> bool:
        return any(each.init is not None for each in self.tensors)

    @property
    def _header(self) -> tuple[str, ...]:
        return HEADER if self._is_net else HEADER[:-1]


def is_net(path: str) -> bool:
    """Return whether a FILE is that of a net rather than of weights: `a.net`, `a.net:b`, or a net of the zoo."""
    return re.search(r"\.net(:|$)", path) is not None or not os.path.lexists(path)


def tensors_of_file(path: str) -> Tensors:
    """Return the tensors of a weight file, from its header. Raises UserError if it is missing or damaged."""
    from netdsl.weights.file import open_weights

    entries = open_weights(path).entries
    return Tensors(path, [Tensor(name, e.dtype, (*e.shape,), prod(e.shape), e.size) for name, e in entries.items()])


def tensors_of_net(net: Net, path: str) -> Tensors:
    """Return the weights and running statistics of a net from a path."""
    found = net.parameters.values()
    sizes = {p.name: (prod(p.shape), byte_size(DTYPE, p.shape)) for p in found}
    return Tensors(path, [Tensor(p.name, DTYPE, p.shape, *sizes[p.name], str(p.init), p.buffer) for p in found])
