"""`netdsl weights`: list the tensors of a weight file."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl.base.shape import format_shape
from netdsl.base.terminal import escape
from netdsl.cli.messages import plural
from netdsl.report.table import aligned, json_text

if TYPE_CHECKING:
    import argparse

HEADER = ("TENSOR", "TYPE", "SHAPE", "NUMBERS", "BYTES")


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError for a missing or damaged file. Values are not read."""
    from netdsl.weights.file import open_weights

    tensors = [(name, entry, prod(entry.shape)) for name, entry in open_weights(options.file).entries.items()]
    numbers, size = sum(count for *_, count in tensors), sum(entry.size for _, entry, _ in tensors)
    if options.json:
        known = [
            {"name": name, "dtype": entry.dtype, "shape": [*entry.shape], "numbers": count, "bytes": entry.size}
            for name, entry, count in tensors
        ]
        totals = {"numbers": numbers, "bytes": size}
        print(json_text({"file": options.file, "tensors": known, "totals": totals}))
        return 0
    rows = [
        (escape(name), entry.dtype, format_shape(entry.shape) if entry.shape else "-", f"{count:,}", f"{entry.size:,}")
        for name, entry, count in tensors
    ]
    print("\n".join(aligned([HEADER, *rows], right=(3, 4))))
    print(f"\n{plural(len(tensors), 'tensor')}, {plural(numbers, 'number')}, {size:,} bytes")
    return 0
