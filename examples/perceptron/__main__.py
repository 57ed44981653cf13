"""Count the mistakes of Rosenblatt's perceptron, on separable and inseparable classes."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from pathlib import Path
from statistics import median

from examples.tools import Row, draw, options, show, train

HERE = Path(__file__).parent
RADIUS = 1.0
MARGINS = {0.2: 10, 0.1: 10, 0.05: 20, 0.02: 40, 0.01: 60, 0.005: 100}
"""Number of epochs for each margin; the last mistake occurs earlier."""
EXAMPLES, SEEDS = 200, 10


def mistakes(rows: Sequence[Row], examples: int) -> list[int]:
    """Return the mistakes per epoch: examples that were misclassified in their step, and changed the weights."""
    return [round(row["error"] * examples) for row in rows]


def bounds(margin: float, radius: float = RADIUS) -> tuple[float, float]:
    """Return Novikoff's bound, for examples with an additional input of 1, and the lecture's, for R = 1."""
    return (radius**2 + 1) / margin**2, (2 * radius / margin) ** 2


def main(arguments: Sequence[str] | None = None) -> None:
    asked = options("perceptron", __doc__, arguments)
    margins = {0.2: 10, 0.1: 10} if asked.quick else MARGINS
    rows: list[tuple[object, ...]] = []
    points: dict[str, list[tuple[float, float]]] = {"(2R/γ)²": [], "(R²+1)/γ²": [], "most mistakes": [], "median": []}
    for margin, epochs in margins.items():
        counts, ends = [], []
        for seed in range(3 if asked.quick else SEEDS):
            settings = [f"train.data.margin={margin}", f"train.data.seed={seed}", f"train.epochs={epochs}"]
            found = train(
                HERE / "perceptron.net:perceptron",
                asked.out / f"{margin}_{seed}",
                *settings,
                f"train.seed={seed}",
                threads=1,
            )
            made = mistakes(found, EXAMPLES)
            assert made[-1] == 0, f"margin {margin}, seed {seed}: still learning after {epochs} epochs"
            counts.append(sum(made))
            ends.append(max(epoch for epoch, count in enumerate(made, 1) if count))
        tight, lecture = bounds(margin)
        rows.append((margin, min(counts), f"{median(counts):g}", max(counts), f"{tight:g}", f"{lecture:g}", max(ends)))
        for name, value in zip(points, (lecture, tight, max(counts), median(counts)), strict=True):
            points[name].append((log10(1 / margin), log10(value)))
    head = "margin", "fewest", "median", "most", "(R²+1)/γ²", "(2R/γ)²", "last mistake in epoch"
    show(head, rows)
    draw(
        asked.out / "mistakes.svg",
        "The perceptron's mistakes",
        {"log10 of mistakes": points},
        "log10 of R/γ",
    )
    never(asked.out, asked.quick)


def never(out: Path, quick: bool) -> None:
    """Apply the rule to classes that are not linearly separable: every epoch has mistakes."""
    print()
    cases = {
        "xor": (HERE / "../xor/xor.net:one_layer", 4, 1000),
        "connectedness, 8x8": (HERE / "perceptron.net:retina", 1000, 200),
    }
    rows = []
    for name, (file, examples, epochs) in cases.items():
        epochs = epochs // 10 if quick else epochs
        made = mistakes(train(file, out / name.partition(",")[0], f"train.epochs={epochs}", threads=1), examples)
        rows.append((name, epochs, sum(made), f"{min(made)} of {examples}", f"{made[-1]} of {examples}"))
    show(("not separable", "epochs", "mistakes", "fewest in an epoch", "in the last"), rows)


if __name__ == "__main__":
    main()
