"""`netdsl docs`: list the pages of the documentation, or print some."""

from __future__ import annotations

import sys

from netdsl.app.docs import page, topics
from netdsl.cli.messages import print_json

TYPE_CHECKING = False  # this starts without typing
if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError for an unknown topic."""
    pages = {topic: page(topic) for topic in options.topics}
    known = topics()
    if options.json:
        listed = [{"name": name, "description": text} for name, text in known.items()]
        print_json([{"name": name, "text": text} for name, text in pages.items()] or listed)
        return 0
    if pages:
        sys.stdout.write("\n".join(pages.values()))
        return 0
    wide = max(map(len, known))
    for name, text in known.items():
        print(f"{name:{wide}}  {text}")
    return 0
