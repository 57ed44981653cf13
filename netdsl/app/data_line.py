"""`--data D`: data as named in a `train` block, on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.frontend import open_module
from netdsl.base.text import Source
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.diagnostics.problem import Rejected
from netdsl.elaborate.context import Poisoned
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.data.kinds import DataKind
    from netdsl.diagnostics.report import Report


class BadDataLine(UserError, code="E0644", title="an invalid `--data`", exit_code=USAGE_IS_WRONG):
    """The value of `--data` is written like a `data` line in a `train` block: `--data 'mnist "datasets/mnist" split
    test'`."""


def data_of(text: str, report: Report) -> DataKind | None:
    """Return the kind of data that a text names, with paths relative to the working folder; None if there are errors.
    Raises BadDataLine for more than one line."""
    from netdsl.elaborate.train_lines import read_data

    module, _ = open_module(Source("--data", f"train d {{ data {text}\n}}"), report)
    if report.errors:
        return None
    items = module.file.items
    lines = items[0].settings if len(items) == 1 and isinstance(items[0], ast.Train) else ()
    if len(lines) != 1 or lines[0].key.text != "data":
        raise BadDataLine(f"`--data {text}` is more than one line of data")
    try:
        found = read_data(lines[0], module.context)
    except Rejected as rejected:
        report.add(rejected.problem)
    except Poisoned:
        pass
    return None if report.errors else found
