"""What a run measures, in files that grow by whole lines and can be cut back to where a checkpoint was made."""

from __future__ import annotations

import json
import os
from math import isfinite
from typing import TYPE_CHECKING

from netdsl.diagnostics.terminal import escape
from netdsl.files import CannotWrite, reason, write_atomically
from netdsl.train.checkpoint import BadCheckpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Row = Mapping[str, float | int | None]


class Log:
    """Tables in a folder: each row is a line of `NAME.csv`, and of `NAME.jsonl` too where `objects` says so.

    A row is written in one piece before `add` returns, so that a kill leaves no half of it but where the system is
    killed as well; `cut` then removes what came after a checkpoint.
    """

    __slots__ = ("_columns", "_files", "_open")

    def __init__(self, folder: str, name: str, columns: Sequence[str], *, objects: bool = True) -> None:
        self._columns = tuple(columns)
        endings = ("csv", "jsonl") if objects else ("csv",)
        self._open: dict[str, int] = {}
        self._files = {ending: os.path.join(folder, f"{name}.{ending}") for ending in endings}

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._files.values())

    def begin(self) -> None:
        """Empty files, but for the names of the columns. Raises CannotWrite."""
        self.close()
        for ending, path in self._files.items():
            with write_atomically(path) as file:
                file.write(f"{','.join(self._columns)}\n".encode() if ending == "csv" else b"")

    def add(self, row: Row) -> None:
        """A row; columns that it does not have, or that are no numbers, stay empty. Raises CannotWrite."""
        assert row.keys() <= set(self._columns), row.keys() - set(self._columns)
        known = {key: row[key] for key in self._columns if _is_number(row.get(key))}
        texts = {key: json.dumps(value) for key, value in known.items()}
        self._append("csv", ",".join(texts.get(key, "") for key in self._columns))
        if "jsonl" in self._files:
            self._append("jsonl", json.dumps(known))

    def _append(self, ending: str, line: str) -> None:
        path = self._files[ending]
        try:
            if ending not in self._open:
                self._open[ending] = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
            os.write(self._open[ending], f"{line}\n".encode())
        except OSError as error:
            raise _cannot(path, error) from None

    def close(self) -> None:
        """Give the files back; `add` opens them again."""
        while self._open:
            os.close(self._open.popitem()[1])

    def sizes(self) -> dict[str, int]:
        """The length of each file, which is then on the disk. Raises CannotWrite."""
        return {os.path.basename(path): _synced(path) for path in self.paths}

    def cut(self, sizes: Mapping[str, int]) -> None:
        """Back to these lengths, before anything is added. Raises BadCheckpoint where a file is shorter than
        that, and CannotWrite."""
        for path in self.paths:
            wanted = sizes.get(os.path.basename(path), 0)
            try:
                found = os.path.getsize(path)
                if found >= wanted:
                    os.truncate(path, wanted)
            except OSError as error:
                raise _cannot(path, error) from None
            if found < wanted:
                raise BadCheckpoint(f"{escape(path)} has {found:,} bytes, and the checkpoint was made at {wanted:,}")


def _is_number(value: float | int | None) -> bool:
    return value is not None and isfinite(value)


def read_rows(path: str) -> list[dict[str, float]]:
    """The rows of a file of JSON lines."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_columns(path: str, names: tuple[str, str]) -> list[tuple[float, float]]:
    """Two columns of a file of comma-separated values, where neither is empty."""
    with open(path, encoding="utf-8") as file:
        head = file.readline().rstrip().split(",")
        places = [head.index(name) for name in names]
        cells = [[line.rstrip("\n").split(",")[at] for at in places] for line in file]
    return [(float(x), float(y)) for x, y in cells if x and y]


def _synced(path: str) -> int:
    try:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size
    except OSError as error:
        raise _cannot(path, error) from None


def _cannot(path: str, error: OSError) -> CannotWrite:
    return CannotWrite(f"cannot write {escape(path)}: {reason(error)}")
