"""Compare Transformers and a recurrent model with PyTorch: `python -m benchmarks.sequences [NET …] [--rounds N] …`.

Each contestant runs in its own process; all contestants of a net are alive at once and take turns. PyTorch computes
with scaled_dot_product_attention, eagerly and compiled. All start from the same weights and inputs, and the
outputs, or the losses of the first step, must agree. NETDSL_TORCH_PYTHON is as for `benchmarks.contest`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contest import compete, torch_python
from benchmarks.measure import ROOT, Figure, python
from benchmarks.sequence_nets import SEQUENCES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RIVALS = ("eager", "compiled")
TOLERANCE = 1e-5
"""Maximum difference of an output from PyTorch's, relative to the largest element."""


def contest(
    net: str, *, rounds: int = 7, threads: int = 2, rivals: Sequence[str] = RIVALS, opsets: Sequence[str] = ("21",)
) -> dict[str, Any]:
    """Return each contestant's times, memory and error by name."""
    with TemporaryDirectory() as folder:
        python("-m", "benchmarks.netdsl_sequences", "weights", net, folder)
        script = str(ROOT / "benchmarks" / "torch_sequences_contestant.py")
        commands = {f"netdsl{each}": [sys.executable, "-m", "benchmarks.netdsl_sequences"] for each in opsets}
        commands |= {rival: [torch_python(), script] for rival in rivals}
        contestants = compete(
            {
                name: [*command, net, folder, str(threads), name.removeprefix("netdsl")]
                for name, command in commands.items()
            },
            rounds,
        )
        results = {each.name: _arrays(Path(folder, f"{each.name}.npz")) for each in contestants}
        found = {each.name: each.end() for each in contestants}
    for name, arrays in results.items():
        found[name]["error"] = max(
            float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(arrays, results[rivals[0]], strict=True)
        )
    return found


def _arrays(path: Path) -> list[Any]:
    with np.load(path) as file:
        return [file[name] for name in file.files]


def figures(net: str, found: dict[str, Any]) -> Iterator[Figure]:
    """Compare the default opset with the faster of PyTorch's ways: time, memory and results."""
    reach = 1.0 if SEQUENCES[net].train else 0.9
    ours = next(iter(found.values()))
    rivals = [each for name, each in found.items() if name in RIVALS]
    for field, what in (("milliseconds", "medians"), ("best", "best turns"), ("processor", "processor")):
        ratio = ours[field] / min(each[field] for each in rivals)
        detail = ", ".join(f"{name} {each[field]:.1f}" for name, each in found.items())
        yield Figure(f"{net}: {what}", ratio, "×", reach, f"ms: {detail}")
    detail = ", ".join(f"{name} {each['peak']:.0f}" for name, each in found.items())
    yield Figure(f"{net}: memory", ours["peak"] / min(each["peak"] for each in rivals), "×", 1, f"MB: {detail}")
    error = max(each["error"] for each in found.values())
    yield Figure(f"{net}: difference of the results, ×1e5", error / TOLERANCE, "", 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequences")
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"{', '.join(SEQUENCES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rivals", type=lambda text: text.split(","), default=list(RIVALS))
    parser.add_argument("--opsets", type=lambda text: text.split(","), default=["21"])
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    given = parser.parse_args()
    unknown = [net for net in given.nets if net not in SEQUENCES]
    if unknown:
        parser.error(f"unknown net: {', '.join(unknown)}")
    found = {}
    for net in given.nets or SEQUENCES:
        found[net] = contest(net, rounds=given.rounds, threads=given.threads, rivals=given.rivals, opsets=given.opsets)
        print("\n".join(map(str, figures(net, found[net]))), flush=True)
    loads = [round(load, 1) for load in os.getloadavg()]
    print("load average (1, 5, 15 min):", *loads)
    if given.json:
        given.json.write_text(json.dumps({"threads": given.threads, "load": loads, "nets": found}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
