"""`netdsl check`: check every net of the files, and each value of each domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.analyse import check_file
from netdsl.base.terminal import brief, escape
from netdsl.base.user_error import UserError
from netdsl.cli.messages import note, print_error, print_json, show, tell_more
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0 clean or warnings only, 1 for errors, 2 for a missing file."""
    code = 0
    reports: list[Report] = []
    for file in options.files:
        report = Report()
        try:
            if options.fix or options.diff:
                _fix(file, options)
            names = check_file(file, report, settings=options.set, root=options.root)
        except UserError as error:
            print_error(error, options.format)
            code = max(code, error.exit_code)
            continue
        show(report, options, is_check=True)
        reports.append(report)
        if report.errors:
            code = max(code, 1)
        elif names is not None and options.format == "text":
            note(f"{file}: ok ({brief(', '.join(names)) or 'no networks'})")
    tell_more(reports, options)
    return code


def _fix(file: str, options: argparse.Namespace) -> None:
    """Report the safe fixes of a file; with `--diff` show them, and with `--fix` apply them."""
    from netdsl.app.fix import Fixes

    fixes = Fixes(file, settings=options.set, root=options.root)
    for problem, fix in fixes.applied:
        note(f"{problem.span}: {problem.message()}: {fix.text}")
    if options.diff:
        from difflib import unified_diff

        for name, text in fixes.after.items():
            lines = [*unified_diff(fixes.before[name].splitlines(), text.splitlines(), name, name, lineterm="")]
            if options.json:
                print_json({"file": name, "diff": lines})
            else:
                print("\n".join(map(escape, lines)))
    if options.fix:
        fixes.write()
