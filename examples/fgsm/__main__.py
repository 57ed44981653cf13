"""Attack LeNet-5, trained with and without adversarial examples, with FGSM and PGD."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from examples.tools import TEST, draw, netdsl, options, seconds, show, train

FILE = Path(__file__).parent / "fgsm.net"
NETS = "ordinary", "defended"
EPSILONS = 0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3
METHODS = {"fgsm": 10000, "pgd": 1000}
"""Attack methods, with the number of test images: ten gradients take longer than one."""


def main(arguments: Sequence[str] | None = None) -> None:
    asked = options("fgsm", __doc__, arguments)
    columns: dict[str, list[float]] = {}
    for name in NETS:
        out = asked.out / name
        train(f"{FILE}:{name}", out, *(["train.steps=20"] if asked.quick else []), threads=asked.threads)
        for method, examples in METHODS.items():
            columns[f"{name}, {method}"] = attack(name, out, method, 100 if asked.quick else examples, asked.threads)
        print(f"{name}: trained in {seconds(out):.0f} s")
    print()
    show(
        ("test error at ε", *columns),
        [
            (f"{epsilon:g}", *(f"{errors[at]:.2f} %" for errors in columns.values()))
            for at, epsilon in enumerate(EPSILONS)
        ],
    )
    curves = {name: list(zip(EPSILONS, errors, strict=True)) for name, errors in columns.items()}
    draw(asked.out / "fgsm.svg", "LeNet-5 under attack", {"error, %": curves}, "ε")


def attack(name: str, out: Path, method: str, examples: int, threads: int) -> list[float]:
    """Return the test errors in percent, for each epsilon."""
    whom = f"{FILE}:{name}", "--weights", out / "last.safetensors", "--data", TEST, "--examples", examples
    how = "--method", method, "--epsilon", ",".join(map(str, EPSILONS)), "--threads", threads
    found = json.loads(netdsl("attack", *whom, *how, "--json", "--quiet"))
    return [100 * (1 - row["accuracy"]) for row in found["rows"]]


if __name__ == "__main__":
    main()
