"""Train five models on the 60,000 training images of MNIST, and tabulate their test errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from examples.tools import draw, judge, options, seconds, show, train

HERE = Path(__file__).parent
NETS = {
    "linear": ("softmax regression", 8.0),
    "svm": ("linear SVM", 8.5),
    "svm_rff": ("SVM on random Fourier features", 1.8),
    "mlp": ("multi-layer perceptron", 1.5),
    "lenet5": ("LeNet-5", 0.85),
}
"""Name of each model, and its maximum test error in percent."""


def main(arguments: Sequence[str] | None = None) -> None:
    asked = options("mnist_table", __doc__, arguments)
    rows, curves = [], {}
    for name, (title, most) in NETS.items():
        file, out = HERE / f"{name}.net", asked.out / name
        settings = ["train.steps=50", *(["features=512"] if name == "svm_rff" else [])] if asked.quick else []
        found = train(file, out, *settings, threads=asked.threads)
        test = judge(file, out / "last.safetensors", *settings[1:])
        took, error = seconds(out), 100 * test["error"]
        assert asked.quick or error <= most, f"{name}: {error:.2f} % test error, expected at most {most} %"
        rows.append((title, f"{100 * found[-1]['error']:.2f} %", f"{error:.2f} %", len(found), f"{took:.0f} s"))
        curves[name] = [(row["epoch"], 100 * row["error"]) for row in found]
    show(("machine", "training error", "test error", "epochs", "time"), rows)
    draw(asked.out / "training.svg", "Training errors on MNIST", {"training error, %": curves}, "epoch")


if __name__ == "__main__":
    main()
