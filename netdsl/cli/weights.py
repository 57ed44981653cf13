"""`netdsl weights`: list the tensors of a weight file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.tensors import Tensors
from netdsl.report.table import json_text

if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError for a missing or damaged file. Values are not read."""
    found = Tensors(options.file)
    print(json_text(found.data()) if options.json else found.text())
    return 0
