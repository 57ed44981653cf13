"""`netdsl docs`: list the pages of the documentation, or print some."""

from __future__ import annotations

import sys

from netdsl.app.docs import page, topics

TYPE_CHECKING = False  # this starts without typing
if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError for an unknown topic."""
    if options.topics:
        sys.stdout.write("\n".join([page(topic) for topic in options.topics]))
        return 0
    known = topics()
    if options.json:
        from netdsl.report.table import json_text

        print(json_text([{"name": name, "description": text} for name, text in known.items()]))
        return 0
    wide = max(map(len, known))
    for name, text in known.items():
        print(f"{name:{wide}}  {text}")
    return 0
