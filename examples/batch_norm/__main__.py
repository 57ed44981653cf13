"""Train nets with and without batch normalization at several learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from examples.tools import Points, Row, draw, options, seconds, show, train

FILE = Path(__file__).parent / "batch_norm.net"
RATES = {"small": (0.1, 1.0), "deep": (0.01, 0.1)}
NORMS = {"bn": "with", "plain": "without"}
GOAL = 0.05
QUICK = "train.steps=15", "train.validate=0.01"


def main(arguments: Sequence[str] | None = None) -> None:
    asked = options("batch_norm", __doc__, arguments)
    rows: list[tuple[object, ...]] = []
    panels: dict[str, dict[str, Points]] = {}
    for net, rates in RATES.items():
        curves = panels[f"{net}: error, %"] = {}
        for rate, norm in product(rates[:1] if asked.quick else rates, ("bn", "plain")):
            out = asked.out / f"{net}_{norm}_{rate}"
            settings = [f"train.optimizer.lr={rate}", *(QUICK if asked.quick else ())]
            found = train(f"{FILE}:{net}_{norm}", out, *settings, threads=asked.threads)
            errors = [100 * row["validation_error"] for row in found]
            which = f"{rate:g} {NORMS[norm]}"
            rows.append(
                (f"{net}, rate {which}", reached(found), f"{errors[-1]:.2f} %", len(found), f"{seconds(out):.0f} s")
            )
            curves[which] = [(row["step"], error) for row, error in zip(found, errors, strict=True)]
    show(("net", f"epochs to {100 * GOAL:g} %", "test error", "epochs", "time"), rows)
    draw(asked.out / "batch_norm.svg", "With and without batch normalization", panels, "step")


def reached(rows: Sequence[Row]) -> str:
    """Return the first epoch with a small test error."""
    return next((f"{row['epoch']:g}" for row in rows if row["validation_error"] <= GOAL), "-")


if __name__ == "__main__":
    main()
