"""Predictions as a table: a row for each example, as CSV."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from netdsl.app.scores import class_scores, is_map
from netdsl.app.sequences import SequenceReading, sequence_text, sequences, without_padding
from netdsl.base.terminal import escape
from netdsl.base.user_error import UserError
from netdsl.report.table import csv_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from netdsl.app.predict import Batch
    from netdsl.app.scores import Reading
    from netdsl.backend.session import Array, Session

HEADS = (("file", "class", "probability"), ("file", "class", "score"), ("file", "value"), ("file", "sequence"))
"""Columns of classes with a known probability, of other classes, of numbers, and of sequences."""

MARKS = tuple(f"\n{','.join(head)}\n".encode() for head in HEADS)
"""First lines of tables that netdsl wrote."""


class NoTable(UserError, code="E0627", title="outputs that do not fit into a table"):
    """A table of predictions has one class, one number or one sequence for each example. A net with several outputs, or
    with maps, does not fit: `-o OUT.npz` writes all numbers, and `--json` prints all outputs. A Parquet file has a
    column for each output, which cannot be called `name`, nor have an axis of length 0.

    ```sh
    netdsl run net.net x.npy -o out.npz
    netdsl run net.net x.npy --format json
    ```
    """


class PredictionTable:
    """The best class of each example with its probability, or else its output; or its sequence, or the only number."""

    __slots__ = ("_begun", "_name", "_reading", "_shape")

    def __init__(self, session: Session, readings: Mapping[str, Reading]) -> None:
        """Raise NoTable if the session has several outputs."""
        if len(session.outputs) != 1:
            raise _misfit(f"{session.name} has {len(session.outputs)} outputs")
        ((self._name, output),) = session.outputs.items()
        self._reading = readings[self._name]
        self._shape = tuple(size or 2 for size in output.shape[1:])
        self._begun = False

    def add(self, names: Sequence[str], outputs: Mapping[str, Array]) -> str:
        """Return the rows of a batch as CSV, the first ones after a header. Raises NoTable."""
        if not names:
            self._shape = outputs[self._name].shape[1:]
            return ""
        head, rows = self._rows(outputs[self._name])
        lines = csv_text(head, [(escape(name), *row) for name, row in zip(names, rows, strict=True)]) + "\n"
        text = lines.partition("\n")[2] if self._begun else lines
        self._begun = True
        return text

    def end(self) -> str:
        """Return the header if there were no examples."""
        return "" if self._begun else csv_text(self._rows(np.zeros((1, *self._shape)))[0], ()) + "\n"

    def _rows(self, array: Array) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        if isinstance(self._reading, SequenceReading):
            texts = (sequence_text(symbols, self._reading) for symbols in sequences(array, self._reading.blank))
            return HEADS[3], [(escape(text),) for text in texts]
        if is_map(array):
            raise _misfit(f"the output `{self._name}` is a map")
        scores = class_scores(array, self._reading, 1)
        if scores is None:
            return HEADS[2], [(f"{value:.6g}",) for value in array.reshape(-1).tolist()]
        best = [each[0] for each in scores]
        if any(each.probability is None for each in best):
            return HEADS[1], [(escape(each.name), f"{each.value:.6g}") for each in best]
        return HEADS[0], [(escape(each.name), f"{each.probability:.6g}") for each in best]


def _misfit(what: str) -> NoTable:
    return NoTable(
        f"{what}, but a table has one class, one number or one sequence for each example",
        "`-o OUT.npz` writes all numbers, and `--json` prints all outputs",
    )


@contextmanager
def output_table(
    file: BinaryIO, session: Session, readings: Mapping[str, Reading]
) -> Iterator[Callable[[Batch], None]]:
    """Yield a function that writes the rows of a batch. Raises NoTable."""
    table = PredictionTable(session, readings)
    yield lambda batch: _write(file, table.add(batch.names, without_padding(batch, readings)))
    _write(file, table.end())


def _write(file: BinaryIO, text: str) -> None:
    file.write(text.encode())


def table_names(path: str) -> list[str] | None:
    """Return the names of the examples in a table that netdsl wrote; None for another file."""
    import csv

    try:
        with open(path, encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error):
        return None
    return [row[0] for row in rows] if tuple(head) in HEADS and all(rows) else None
