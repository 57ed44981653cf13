"""Train deep nets as plain chains, and the same layers with shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log10
from pathlib import Path

from examples.tools import Points, draw, judge, options, seconds, show, table, train

FILE = Path(__file__).parent / "pair.net"
NETS = "plain20", "resnet20", "plain56", "resnet56"
GROUP = 20
"""Number of steps per point of a curve, which is their mean."""
QUICK = "train.steps=20", "train.batch=16"


def main(arguments: Sequence[str] | None = None) -> None:
    asked = options("plain_vs_residual", __doc__, arguments)
    rows, curves = [], {}
    for name in NETS[:2] if asked.quick else NETS:
        file, out = f"{FILE}:{name}", asked.out / name
        found = train(file, out, *(QUICK if asked.quick else ()), threads=asked.threads)[-1]
        test = found if asked.quick else judge(file, out / "last.safetensors")
        points = smooth([(row["step"], row["loss"]) for row in table(out / "steps.csv")])
        curves[name] = [(step, log10(loss)) for step, loss in points]
        errors = (f"{100 * each['error']:.2f} %" for each in (found, test))
        rows.append((name, f"{found['step']:g}", f"{points[-1][1]:.3f}", *errors, f"{seconds(out):.0f} s"))
    show(("net", "steps", "loss at the end", "training error", "test error", "time"), rows)
    draw(asked.out / "pair.svg", "Plain nets and their residual twins", {"log10 of the training loss": curves}, "step")


def smooth(points: Points) -> Points:
    """Return the mean of each group of consecutive values, at the position of the last."""
    cuts = [*range(0, len(points), GROUP), len(points)]
    groups = [points[begin:end] for begin, end in pairwise(cuts)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


if __name__ == "__main__":
    main()
