"""What the examples share: netdsl's commands called from Python, runs and their figures, tables, pictures."""

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
    """What each example takes."""
    parser = argparse.ArgumentParser(prog=f"python -m examples.{name}", description=about)
    parser.add_argument("--quick", action="store_true", help="a reduced form, in seconds")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of the CPU; 2 by default")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"the folder of its runs; runs/{name} by default")
    found = parser.parse_args(arguments)
    if found.out is None:
        found.out = Path("runs") / (f"{name}_quick" if found.quick else name)
    return found


def netdsl(*words: object) -> str:
    """What a command prints; a command that fails ends the program."""
    with redirect_stdout(io.StringIO()) as printed:
        code = main([str(word) for word in words])
    if code:
        raise SystemExit(code)
    return printed.getvalue()


def train(file: Path | str, out: Path, *settings: str, threads: int = 2) -> list[Row]:
    """The rows of a run's metrics, an epoch each. What an earlier call has left in the folder is gone on with.

    The step backend is the one that computes the same bits on equal machines, not the fastest one here.
    """
    options = ["--threads", threads, "--step-backend", "plain", "--quiet"]
    netdsl("train", file, "--out", out, "--resume", *options, *given(settings))
    return table(out / "metrics.csv")


def table(path: Path) -> list[Row]:
    """The rows of a CSV file of numbers."""
    with open(path, newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def seconds(out: Path) -> float:
    """How long the epochs of a run took."""
    return sum(row["seconds"] for row in table(out / "speed.csv"))


def judge(file: Path | str, weights: Path, *settings: str, data: str = TEST) -> Row:
    """The metrics of a net's `train` block on other data: MNIST's test images."""
    words = "eval", file, "--weights", weights, "--data", data, "--json", "--quiet"
    found: Row = json.loads(netdsl(*words, *given(settings)))
    return found


def given(settings: Iterable[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def show(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, the first column to the left and the others to the right."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for first, *rest in lines:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip())


def draw(path: Path, title: str, panels: Mapping[str, Mapping[str, Points]], x: str) -> None:
    """Curves by their panels and names, as a picture."""
    from netdsl.report.curves import draw_curves

    path.write_bytes(draw_curves(title, panels, x).svg())
    print(path)
