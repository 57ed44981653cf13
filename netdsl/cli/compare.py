"""`netdsl compare`: nets side by side, as a table or a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.compare import compared, comparison_picture, omissions
from netdsl.cli.messages import TERMINAL, note, show
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse

    from netdsl.report.comparison import Compared


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 if a net has errors, which alone are then printed. Raises UserError."""
    for name in ("by", "theme"):
        if getattr(options, name) is not None and options.plot is None:
            options.parser.error(f"--{name} needs --plot OUT.svg")
    report = Report()
    rows = compared(options.files, report, batch=options.batch or 1, root=options.root, reporter=TERMINAL)
    show(report, options)
    if rows is None or report.errors:
        return 1
    if options.plot is not None:
        _draw(rows, options)
    from netdsl.report import comparison

    write = {
        "csv": comparison.comparison_csv,
        "json": comparison.comparison_json,
        "markdown": comparison.comparison_markdown,
    }
    print(write.get(options.format, comparison.comparison_text)(rows))
    return 0


def _draw(rows: list[Compared], options: argparse.Namespace) -> None:
    from netdsl.app.output import replace_picture

    with replace_picture(options.plot, force=options.force, reads=[row.file for row in rows]) as write:
        canvas, left_out = comparison_picture(rows, options.by, options.theme)
        write(canvas)
    note(options.plot)
    for line in omissions(left_out):
        note(line)
