"""`netdsl fmt`: format `.net` files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.format import Formatted, files_in
from netdsl.base.paths import NET_SUFFIXES
from netdsl.base.terminal import escape
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.cli.messages import note, print_error, print_json, show, tell_more

if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, 1 if a file would change with `--check` or `--diff`, or 2 if a file does not parse
    or is missing."""
    failures: list[UserError] = []

    def failed(error: UserError) -> None:
        print_error(error, options.format)
        failures.append(error)

    files: list[Formatted] = []
    for path in files_in(options.files, failed):
        try:
            file = Formatted(path, body=options.body)
            _write(file, options)
        except UserError as error:
            failed(error)
            continue
        files.append(file)
        if file.after is None:
            show(file.report, options, is_check=True)
    changed, broken = sum(file.changes for file in files), sum(file.after is None for file in files)
    if not files and not failures and not options.json:
        note(f"there are no files that end in {' or '.join(NET_SUFFIXES)}")
    elif not options.json and not any(file.path == "-" for file in files):
        verb = "would be formatted" if options.check or options.diff else "formatted"
        errors = f", {_count(broken + len(failures))} with errors" if broken or failures else ""
        note(f"{_count(changed)} {verb}, {_count(len(files) - changed - broken)} unchanged{errors}")
    tell_more([file.report for file in files], options)
    if broken or failures:
        return USAGE_IS_WRONG
    return 1 if changed and (options.check or options.diff) else 0


def _write(file: Formatted, options: argparse.Namespace) -> None:
    """Print or write what changes in a file."""
    is_result = file.path == "-" and file.after is not None and not (options.check or options.diff)
    if options.json and is_result:
        print_json({"file": file.name, "text": file.after})
    elif options.json and file.changes:
        print_json({"file": file.name, "diff": file.diff()})
    elif file.changes and (options.check or options.diff):
        lines = [*([file.name] if options.check else []), *(file.diff() if options.diff else [])]
        print("\n".join("\t".join(map(escape, line.split("\t"))) for line in lines))
    if (is_result and not options.json) or (file.changes and file.path != "-" and not (options.check or options.diff)):
        file.write()


def _count(files: int) -> str:
    return f"{files} file" if files == 1 else f"{files} files"
