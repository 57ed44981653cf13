"""`netdsl weights`: list the tensors of a weight file."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from netdsl.base import shape
from netdsl.base.terminal import escape

if TYPE_CHECKING:
    import argparse

    from netdsl.weights.file import Entry

HEAD = ("TENSOR", "TYPE", "SHAPE", "NUMBERS", "BYTES")


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError for a missing or damaged file. Values are not read."""
    from netdsl.weights.file import open_weights

    entries = open_weights(options.file).entries
    known = [_known(key, entry) for key, entry in entries.items()]
    totals = {name: sum(each[name] for each in known) for name in ("numbers", "bytes")}
    if options.json:
        from json import dumps

        print(dumps({"file": options.file, "tensors": known, "totals": totals}, indent=2, ensure_ascii=False))
        return 0
    cells = [
        (*_cells(key, entry), f"{each['numbers']:,}", f"{each['bytes']:,}")
        for (key, entry), each in zip(entries.items(), known, strict=True)
    ]
    rows = [HEAD, *cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        left = [f"{cell:{wide}}" for cell, wide in zip(row[:3], widths[:3], strict=True)]
        right = [f"{cell:>{wide}}" for cell, wide in zip(row[3:], widths[3:], strict=True)]
        print("  ".join([*left, *right]))
    print(f"\n{_counted(len(known), 'tensor')}, {_counted(totals['numbers'], 'number')}, {totals['bytes']:,} bytes")
    return 0


def _known(key: str, entry: Entry) -> dict[str, Any]:
    numbers = prod(entry.shape)
    return {
        "name": key,
        "dtype": entry.dtype,
        "shape": list(entry.shape),
        "numbers": numbers,
        "bytes": entry.size,
    }


def _cells(key: str, entry: Entry) -> tuple[str, str, str]:
    return escape(key), entry.dtype, shape.text(entry.shape) if entry.shape else "-"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + "s" * (count != 1)
