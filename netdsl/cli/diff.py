"""`netdsl diff`: what an edit of a net changes, and which weights survive it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.frontend import load_net
from netdsl.cli.messages import print_json, show
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse

    from netdsl.ir.net import Net


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, with or without differences, or 1 if a net has errors. Raises UserError."""
    report = Report()
    a = _net(options.file, options.set_a, options, report)
    b = _net(options.after, options.set_b, options, report)
    show(report, options)
    if a is None or b is None or report.errors:
        return 1
    from netdsl.report.diff import Diff

    found = Diff(a, b)
    if options.json:
        print_json(found.data())
    else:
        print(found.text())
    return 0


def _net(file: str, settings: list[str], options: argparse.Namespace, report: Report) -> Net | None:
    own = Report()
    net = load_net(file, own, settings=[*options.set, *settings], root=options.root)
    report.join(own)
    return net
