"""`netdsl summary`: the layers of a net and their figures."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from netdsl.cli.messages import open_partial

if TYPE_CHECKING:
    import argparse

    from netdsl.report.figures import Figures


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 if the net has errors, of which only what precedes them is shown, and nothing
    in CSV, which cannot say so. Raises UserError."""
    net, code = open_partial(options)
    if net is not None and not (code and options.format == "csv"):
        from netdsl.report.figures import Figures

        print(_text(Figures(net, options.batch or 1), options))
    return code


def _text(figures: Figures, options: argparse.Namespace) -> str:
    from netdsl.report.summary import summary_csv, summary_data, summary_markdown, summary_text
    from netdsl.report.table import json_text

    form: str = options.format
    if form == "json":
        return json_text(summary_data(figures, weights=options.list_weights))
    if form == "csv":
        return summary_csv(figures, weights=options.list_weights)
    if form == "markdown":
        return summary_markdown(figures, depth=options.depth, weights=options.list_weights)
    if not sys.stdout.isatty():
        return summary_text(figures, depth=options.depth, weights=options.list_weights)
    from shutil import get_terminal_size

    color = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return summary_text(
        figures,
        depth=options.depth,
        weights=options.list_weights,
        columns=get_terminal_size().columns,
        color=color,
    )
