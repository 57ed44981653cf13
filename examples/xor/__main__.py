"""Train one threshold unit and two layers on exclusive or."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from examples.tools import Row, draw, netdsl, options, show, train

FILE = Path(__file__).parent / "xor.net"
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def main(arguments: Sequence[str] | None = None) -> None:
    asked = options("xor", __doc__, arguments)
    epochs = 200 if asked.quick else 1000
    alone = train(f"{FILE}:one_layer", asked.out / "one_layer", f"train.epochs={epochs}", threads=1)
    wrong = [round(4 * row["error"]) for row in alone]
    print(f"one layer: {epochs} epochs, each with {min(wrong)} to {max(wrong)} of 4 misclassified\n")
    seeds = 3 if asked.quick else 20
    rows, curves = [], {}
    for hidden in (2, 3, 4):
        runs = [learn(hidden, seed, asked.out) for seed in range(seeds)]
        ends = [end for end in map(solved, runs) if end is not None]
        middle = f"{median(ends):g}" if ends else "-"
        rows.append((f"{hidden} hidden units", f"{len(ends)} of {seeds}", middle))
        curves[f"{hidden} hidden"] = [(row["epoch"], row["loss"]) for row in runs[0]]
    show(("two layers", "seeds that solve it", "epochs, median"), rows)
    print()
    scores(asked.out / "2_0" / "last.onnx")
    draw(asked.out / "loss.svg", "Two layers learn exclusive or", {"loss, seed 0": curves}, "epoch")


def learn(hidden: int, seed: int, out: Path) -> list[Row]:
    return train(f"{FILE}:two_layers", out / f"{hidden}_{seed}", f"hidden={hidden}", f"train.seed={seed}", threads=1)


def solved(rows: Sequence[Row]) -> int | None:
    """Return the epoch from which on nothing is misclassified, or None."""
    wrong = [epoch for epoch, row in enumerate(rows, 1) if row["error"] > 0]
    return max(wrong, default=0) + 1 if rows[-1]["error"] == 0 else None


def scores(model: Path) -> None:
    """Return the scores of a trained net at the corners."""
    import numpy as np

    corners, found = model.with_name("corners.npy"), model.with_name("scores.npz")
    np.save(corners, np.array(CORNERS, np.float32))
    netdsl("run", model, corners, "-o", found, "--force", "--quiet")
    (values,) = np.load(found).values()
    show(
        ("corner", "score"), [(str(corner), f"{value:+.0f}") for corner, (value,) in zip(CORNERS, values, strict=True)]
    )


if __name__ == "__main__":
    main()
