"""Load nets and show their problems to the user."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from netdsl.app.reporter import Reporter
from netdsl.base.user_error import USAGE_IS_WRONG, UserError, escape

TYPE_CHECKING = False  # `netdsl zoo` starts without typing
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from netdsl.app.given_weights import WeightSource
    from netdsl.diagnostics.report import Report
    from netdsl.ir.net import Net

TOLD = 3
"""Maximum number of codes named at the end."""

QUIET, NORMAL, VERBOSE = -1, 0, 1
_level = NORMAL
_bars = True


class NotForAModel(UserError, code="E0614", title="an option that needs a `.net` file", exit_code=USAGE_IS_WRONG):
    """The parameters and weights of a compiled model are fixed, so options that change them are not allowed.

    ```sh
    netdsl run net.net x.npy --weights w.safetensors
    netdsl run model.onnx x.npy
    ```
    """


def open_net(options: argparse.Namespace) -> Net | None:
    """Return the net of FILE, or None if it has errors; print its problems. Raises UserError."""
    from netdsl.app.frontend import load_net
    from netdsl.diagnostics.report import Report

    report = Report()
    net = load_net(options.file, report, settings=options.set, root=options.root)
    show(report, options, net if "weights" in options else None)
    return None if report.errors else net


def open_partial(options: argparse.Namespace) -> tuple[Net | None, int]:
    """Return the net of FILE, or what precedes its first error, and the exit code; print its problems. The net is None
    if there is nothing to show. Raises UserError."""
    from netdsl.app.frontend import load_partial
    from netdsl.diagnostics.report import Report

    report = Report()
    net = load_partial(options.file, report, settings=options.set, root=options.root)
    has_errors = report.errors > 0
    show(report, options)
    if net is not None and net.incomplete is not None and not options.json:
        note(f"{net.name} is incomplete: only what precedes the first error, {net.incomplete}, could be built")
    return (net if has_errors or not report.errors else None), int(report.errors > 0)


def weight_source(options: argparse.Namespace) -> WeightSource:
    """Return the weights that the options of a command name. Raises UserError for an invalid `--rename`."""
    from netdsl.app.given_weights import WeightSource
    from netdsl.weights.rename import option_rules

    return WeightSource(
        options.weights,
        option_rules(options.rename),
        options.match,
        options.exclude,
        options.partial,
        options.allow_nonfinite,
    )


def note_if_random(net: Net, options: argparse.Namespace) -> None:
    """Print that the weights are random, if no file of weights is given."""
    if options.weights is None and net.parameters:
        from netdsl.app.given_weights import note_random

        note_random(net, options.seed or 0, TERMINAL)


def check_model_options(options: argparse.Namespace, *, draws: bool = False) -> None:
    """Raise UserError if an option would change a compiled model. With `draws`, the seed is for other random numbers
    than the weights."""
    from netdsl.app.given_weights import check_together

    check_together(weight_source(options))
    for name in ("weights", "seed", "set", "root", "functions"):
        given = getattr(options, name, None)
        if name == "seed" and draws:
            continue
        if not (given is None or given is False or given == []):  # --seed 0 is given
            raise NotForAModel(f"{options.file} is a compiled model, which does not accept --{name}")


def show(report: Report, options: argparse.Namespace, net: Net | None = None, *, is_check: bool = False) -> None:
    """Print the problems of a run: `json` and `github` to stdout, unless a file is
    written there, others to stderr. `csv` and `markdown` are formats of
    results, and print problems as `text` does.

    `--strict` treats warnings as errors. Commands other than `check` print a warning as one line, and none with `-q`.
    Warnings about biases that the `net` takes from the file of `--weights` are discarded.
    """
    form: str = options.format
    if net is not None and options.weights is not None:
        from netdsl.app.given_weights import discard_bias_warnings

        discard_bias_warnings(report, net, weight_source(options))
    if getattr(options, "strict", False):
        report.harden()
    if not len(report):
        return
    if form in ("json", "github"):
        from netdsl.diagnostics import formats

        line = formats.json_line if form == "json" else formats.github
        stream = sys.stderr if getattr(options, "output", None) == "-" else sys.stdout
        for problem in report:
            if is_check or problem.severity == "error" or audible(NORMAL):
                print(line(problem), file=stream)
        return
    from netdsl.diagnostics.formats import short, summary
    from netdsl.diagnostics.render import render

    for problem in report:
        if is_check or problem.severity == "error":
            print(short(problem) if form == "short" else render(problem, color=_color()) + "\n", file=sys.stderr)
        else:
            note(short(problem))
    if is_check or report.errors:
        print(summary(report), file=sys.stderr)
    if report.errors and not is_check:
        tell_more([report], options)


def print_error(error: UserError, form: str) -> None:
    """Print an error without a location: `json` and `github` to stdout, others to stderr."""
    if form in ("json", "github"):
        from netdsl.diagnostics.formats import error_github, error_json_line

        print((error_json_line if form == "json" else error_github)(error))
    elif form == "short":
        print(f"error[{error.code}]: {error.message.splitlines()[0]}", file=sys.stderr)
    else:
        print(error, file=sys.stderr)


def print_json(data: object) -> None:
    """Print a result in one line, after problems, which differ from it by a `code` and a `severity`."""
    from netdsl.report.table import json_text

    print(json_text(data))


def print_table(records: Sequence[Mapping[str, object]], form: str) -> None:
    """Print records of the same fields as `csv`, `markdown`, or a `json` array."""
    from netdsl.report.table import csv_text, markdown_text

    rows = [each.values() for each in records]
    if form == "json":
        print_json(records)
    else:
        print((csv_text if form == "csv" else markdown_text)([*records[0]], rows))


def print_written(text: str, record: Mapping[str, object], options: argparse.Namespace) -> None:
    """Report a file that a command wrote: as a note, or as a JSON record with its path in `file`, on stderr if the file
    itself went to stdout."""
    if not options.json:
        note(text)
    elif record["file"] != "-":
        print_json(record)
    else:
        from netdsl.report.table import json_text

        note(json_text(record))


def tell_more(reports: Iterable[Report], options: argparse.Namespace) -> None:
    """Print how to read more about the problems that a run printed as `text`."""
    codes = dict.fromkeys(problem.code for report in reports for problem in report)
    if codes and options.format == "text":
        note(f"for more: netdsl explain {' '.join([*codes][:TOLD])}")


def note(text: str, level: int = NORMAL) -> None:
    """Print a line about what a command did or assumed, depending on the verbosity; it is escaped here."""
    if audible(level):
        print(escape(text), file=sys.stderr)


@contextmanager
def verbosity(level: int, *, bars: bool = True) -> Iterator[None]:
    """Set the verbosity of the notes within a block: QUIET, NORMAL or VERBOSE; and whether progress has bars."""
    global _level, _bars
    before = _level, _bars
    _level, _bars = level, bars
    try:
        yield
    finally:
        _level, _bars = before


def silence() -> None:
    """Print no more notes, bars and warnings of packages for the rest of a command, which another process prints."""
    import warnings

    global _level, _bars
    warnings.simplefilter("ignore")
    _level, _bars = QUIET, False


def audible(level: int) -> bool:
    return _level >= level


def shows_bars() -> bool:
    return _bars and audible(NORMAL)


def _color() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Terminal(Reporter):
    """Prints escaped lines to stderr."""

    __slots__ = ()

    def note(self, text: str) -> None:
        note(text)

    def warn(self, *lines: str) -> None:
        print("warning:", "\n".join(map(escape, lines)), file=sys.stderr)

    def progress(self, unit: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        from netdsl.app.progress import counted

        return counted(unit, total, visible=shows_bars())


TERMINAL = Terminal()
