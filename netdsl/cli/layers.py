"""`netdsl layers`: list layers and what a `train` block selects from, or show the pages of some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.reference import all_pages, find_pages, overview
from netdsl.cli.messages import print_json
from netdsl.layers.pages import page_data, page_text

if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError for an unknown name."""
    found = [page for name in options.names for page in find_pages(name)]
    if options.json:
        everything = (page for _, pages in all_pages() for page in pages)
        print_json([page_data(each) for each in found or everything])
    elif found:
        print("\n\n\n".join(map(page_text, found)))
    else:
        print(overview())
    return 0
