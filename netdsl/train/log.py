"""Logs of a run: tables in files that grow by whole lines and can be truncated to a checkpoint, and TensorBoard's."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING

from netdsl.base.files import CannotWrite, reason, write_atomically
from netdsl.data.errors import MissingPackage
from netdsl.train.checkpoint import BadCheckpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Row = Mapping[str, float]


class MetricLog:
    """A table in a folder: each row is a line of `NAME.csv` and, with `objects`, of `NAME.jsonl`.

    Rows are written whole, immediately or at most `patience` seconds later, so that a killed process leaves no partial
    row unless the system fails too. `cut` removes the rows after a checkpoint.
    """

    __slots__ = ("_columns", "_files", "_open", "_patience", "_rows", "_written")

    def __init__(
        self, folder: str, name: str, columns: Sequence[str], *, objects: bool = True, patience: float = 0
    ) -> None:
        self._columns = tuple(columns)
        self._patience = patience
        self._rows: list[Row] = []
        self._written = monotonic()
        endings = ("csv", "jsonl") if objects else ("csv",)
        self._open: dict[str, int] = {}
        self._files = {ending: os.path.join(folder, f"{name}.{ending}") for ending in endings}

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._files.values())

    def begin(self) -> None:
        """Create files that hold only the column names. Raises CannotWrite."""
        self.close()
        for ending, path in self._files.items():
            with write_atomically(path) as file:
                file.write(f"{','.join(self._columns)}\n".encode() if ending == "csv" else b"")

    def add(self, row: Row) -> None:
        """Add a row; the cells of missing and non-finite values are empty. Raises CannotWrite."""
        assert row.keys() <= set(self._columns), row.keys() - set(self._columns)
        self._rows.append(row)
        if monotonic() - self._written >= self._patience:
            self.flush()

    def flush(self) -> None:
        """Write the pending rows. Raises CannotWrite."""
        rows, self._rows, self._written = self._rows, [], monotonic()
        known = [{key: row[key] for key in self._columns if _is_number(row.get(key))} for row in rows]
        if "jsonl" in self._files:
            self._append("jsonl", [json.dumps(each) for each in known])
        texts = [{key: json.dumps(value) for key, value in each.items()} for each in known]
        self._append("csv", [",".join(each.get(key, "") for key in self._columns) for each in texts])

    def _append(self, ending: str, lines: Sequence[str]) -> None:
        if not lines:
            return
        path = self._files[ending]
        try:
            if ending not in self._open:
                self._open[ending] = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
            left = "".join(f"{line}\n" for line in lines).encode()
            while left:  # a full disk may accept a part; writing the rest then raises the error
                left = left[os.write(self._open[ending], left) :]
        except OSError as error:
            raise _cannot(path, error) from None

    def close(self) -> None:
        """Close the files; `add` reopens them. Rows that cannot be written are lost."""
        with suppress(CannotWrite):
            self.flush()
        while self._open:
            os.close(self._open.popitem()[1])

    def sizes(self) -> dict[str, int]:
        """Write the pending rows, and return the length of each file. Raises CannotWrite."""
        self.flush()
        return {os.path.basename(path): _size(path) for path in self.paths}

    def sync(self) -> None:
        """Flush written rows to disk. Another thread may add rows at the same time. Raises CannotWrite."""
        for path in self.paths:
            _sync(path)

    def cut(self, sizes: Mapping[str, int]) -> None:
        """Truncate the files to these lengths before anything is added. Raises BadCheckpoint if a file is shorter, and
        CannotWrite."""
        for path in self.paths:
            wanted = sizes.get(os.path.basename(path), 0)
            try:
                found = os.path.getsize(path)
                if found >= wanted:
                    os.truncate(path, wanted)
            except OSError as error:
                raise _cannot(path, error) from None
            if found < wanted:
                raise BadCheckpoint(f"{path} has {found:,} bytes, but had {wanted:,} at the checkpoint")


class TensorBoardLog:
    """The rows of a run as event files for TensorBoard, written by tensorboardX."""

    __slots__ = ("_writer",)

    def __init__(self, folder: str, step: int) -> None:
        """Open the log, and discard rows of an earlier process after `step`. Raises MissingPackage if tensorboardX is
        not installed."""
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            raise MissingPackage(
                "event files for TensorBoard require tensorboardX", "pip install 'netdsl[tensorboard]'"
            ) from None
        self._writer = SummaryWriter(folder, purge_step=step + 1)

    def add(self, row: Row) -> None:
        """Add the metrics of a row at its `step`."""
        for name, value in row.items():
            if name not in ("step", "epoch"):
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        self._writer.close()


def _is_number(value: float | None) -> bool:
    return value is not None and isfinite(value)


def read_rows(path: str) -> list[dict[str, float]]:
    """Return the rows of a JSON Lines file."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_columns(path: str, names: tuple[str, str]) -> list[tuple[float, float]]:
    """Return two columns of a CSV file, for the rows where both have a value."""
    with open(path, encoding="utf-8") as file:
        head = file.readline().rstrip().split(",")
        places = [head.index(name) for name in names]
        cells = [[line.rstrip("\n").split(",")[at] for at in places] for line in file]
    return [(float(x), float(y)) for x, y in cells if x and y]


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError as error:
        raise _cannot(path, error) from None


def _sync(path: str) -> None:
    try:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    except OSError as error:
        raise _cannot(path, error) from None


def _cannot(path: str, error: OSError) -> CannotWrite:
    return CannotWrite(f"cannot write {path}: {reason(error)}")
