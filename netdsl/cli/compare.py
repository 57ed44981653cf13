"""`netdsl compare`: nets side by side, as a table or a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.compare import files, load
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.cli.messages import note, show
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse

    from netdsl.report.canvas import Canvas
    from netdsl.report.comparison import Compared


class NothingToPlot(UserError, code="E0637", title="no net to plot", exit_code=USAGE_IS_WRONG):
    """`netdsl compare --plot` draws nets that have a published error, `top1`, in their `about` and a constant number of
    MACs; `--by year` also needs a `year`. None of the nets qualifies."""


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 if a net has errors, which alone are then printed. Raises UserError."""
    if options.by is not None and options.plot is None:
        options.parser.error("--by needs --plot OUT.svg")
    rows = _rows(options)
    if rows is None:
        return 1
    if options.plot is not None:
        _draw(rows, options)
    from netdsl.report import comparison

    write = {
        "text": comparison.comparison_text,
        "csv": comparison.comparison_csv,
        "json": comparison.comparison_json,
    }
    print(write[options.form](rows))
    return 0


def _rows(options: argparse.Namespace) -> list[Compared] | None:
    """Return the rows; None if a net has errors, which are shown."""
    from netdsl.report.comparison import Compared, ordered

    rows: list[Compared] = []
    report = Report()
    for file in files(options.files):
        own = Report()
        found = load(file, own, options.root)
        report.join(own)
        if not own.errors:
            rows += [Compared(name, net, options.batch or 1) for name, net in found]
    show(report, options)
    return None if report.errors else ordered(rows)


def _draw(rows: list[Compared], options: argparse.Namespace) -> None:
    from netdsl.app.output import replace_picture

    with replace_picture(options.plot, force=options.force, reads=[row.file for row in rows]) as write:
        write(_picture(rows, options.by))
    note(options.plot)


def _picture(rows: list[Compared], by: str | None) -> Canvas:
    from netdsl.report.comparison_chart import accuracy_by_macs, depth_by_year, plottable

    if by == "year":
        rows = [row for row in rows if row.year is not None]
        if not rows:
            raise NothingToPlot("none of these nets has a year", "add `about { year 2015 }`")
        return depth_by_year(rows)
    rows = [row for row in rows if plottable(row)]
    if not rows:
        raise NothingToPlot("none of these nets has a published error", 'add `about { top1 22.9; protocol "…" }`')
    return accuracy_by_macs(rows)
