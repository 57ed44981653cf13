"""Shared by the examples: calling netdsl commands from Python, results of runs, tables and charts."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from netdsl.cli import main

HERE = Path(__file__).parent
TEST = f'mnist "{HERE / "mnist"}" split test'

Row = Mapping[str, float]
Points = Sequence[tuple[float, float]]


def options(name: str, about: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line of an example."""
    parser = argparse.ArgumentParser(prog=f"python -m examples.{name}", description=about)
    parser.add_argument("--quick", action="store_true", help="run a reduced version, in seconds")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="number of CPU threads (default: 2)")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"folder of the runs (default: runs/{name})")
    found = parser.parse_args(arguments)
    if found.out is None:
        found.out = Path("runs") / (f"{name}_quick" if found.quick else name)
    return found


def netdsl(*words: object) -> str:
    """Return what a command prints; a command that fails ends the program."""
    with redirect_stdout(io.StringIO()) as printed:
        code = main([str(word) for word in words])
    if code:
        raise SystemExit(code)
    return printed.getvalue()


def train(file: Path | str, out: Path, *settings: str, threads: int = 2) -> list[Row]:
    """Train, or resume an earlier run in the folder, and return the metrics of each epoch.

    The step backend computes the same bits on equal machines, and is not always the fastest.
    """
    options = ["--threads", threads, "--step-backend", "plain", "--quiet"]
    netdsl("train", file, "--out", out, "--resume", *options, *given(settings))
    return table(out / "metrics.csv")


def table(path: Path) -> list[Row]:
    """Return the rows of a CSV file of numbers."""
    with open(path, newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def seconds(out: Path) -> float:
    """Return the duration of all epochs of a run."""
    return sum(row["seconds"] for row in table(out / "speed.csv"))


def judge(file: Path | str, weights: Path, *settings: str, data: str = TEST) -> Row:
    """Return the metrics of a net's `train` block on MNIST's test images."""
    words = "eval", file, "--weights", weights, "--data", data, "--json", "--quiet"
    found: Row = json.loads(netdsl(*words, *given(settings)))
    return found


def given(settings: Iterable[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def show(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table with the first column aligned left and the others right."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for first, *rest in lines:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip())


def draw(path: Path, title: str, panels: Mapping[str, Mapping[str, Points]], x: str) -> None:
    """Draw curves, by panel and name, to a file."""
    from netdsl.report.curves import draw_curves

    path.write_bytes(draw_curves(title, panels, x).svg())
    print(path)
