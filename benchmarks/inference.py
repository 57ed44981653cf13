"""Compare inference with onnxruntime alone: `python -m benchmarks.inference [NET …] [--batches 1,8] [--json FILE] …`.

Two contestants run our model in our session; their two rivals run what PyTorch's exporters write of the same net in
onnxruntime with its defaults. Each has its own process; all of a net and batch are alive at once and take turns. They
have the same weights, and their outputs must agree. Processes that run the same model differ by ten percent and more,
depending on where their memory lies: each side has as many of them, of which the fastest counts. With `--folder`,
models that were exported before are used again. NETDSL_TORCH_PYTHON is as for `benchmarks.contest`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contest import compete, torch_python
from benchmarks.inference_nets import NETS
from benchmarks.measure import ROOT, Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OURS, AGAIN = "netdsl", "again"
"""Our contestants. They run the same model, so their difference is noise."""

RIVALS = ("legacy", "dynamo")
TOLERANCE = 1e-4
"""Maximum difference of an output from a rival's, relative to the largest element."""


def export(net: str, batch: int, rival: str, folder: Path) -> None:
    """Have PyTorch export a net, unless the folder has it."""
    if not (folder / f"{rival}{batch}.onnx").exists():
        script = str(ROOT / "benchmarks" / "torch_export.py")
        command = [torch_python(), script, net, str(batch), rival, str(folder)]
        subprocess.run(command, check=True, stderr=subprocess.PIPE)


def contest(
    net: str, batch: int, folder: Path, *, rounds: int = 7, threads: int = 2, rivals: Sequence[str] = RIVALS
) -> dict[str, Any]:
    """Return each contestant's times, memory and error by name, with models in the folder, exported where missing."""
    for rival in rivals:
        export(net, batch, rival, folder)
    commands = {
        name: [
            sys.executable,
            "-m",
            "benchmarks.inference_contestant",
            net,
            str(batch),
            str(threads),
            name,
            str(folder),
        ]
        for name in (OURS, *rivals, *([AGAIN] if len(rivals) > 1 else []))
    }
    contestants = compete(commands, rounds)
    found = {each.name: {**each.end(), "turns": each.seconds} for each in contestants}
    with np.load(folder / f"{OURS}{batch}.npz") as ours:
        for rival in rivals:
            with np.load(folder / f"{rival}{batch}.npz") as theirs:
                a, b = (each[each.files[0]] for each in (ours, theirs))
                found[rival]["error"] = float(np.abs(a - b).max() / np.abs(b).max())
    return found


def figures(net: str, batch: int, found: dict[str, Any]) -> Iterator[Figure]:
    """Compare the faster of our sessions with the faster of the exports: medians, best turns, processor and results."""
    ours = [each for name, each in found.items() if name in (OURS, AGAIN)]
    rivals = [each for name, each in found.items() if name not in (OURS, AGAIN)]
    for field, what in (("milliseconds", "medians"), ("best", "best turns"), ("processor", "processor")):
        ratio = min(each[field] for each in rivals) / min(each[field] for each in ours)
        detail = "ms: " + ", ".join(f"{name} {each[field]:.2f}" for name, each in found.items())
        yield Figure(f"{net}, batch {batch}: examples per second, {what}", ratio, "×", 1.0, detail, least=True)
    error = max(each["error"] for each in rivals)
    if error > TOLERANCE:
        yield Figure(f"{net}, batch {batch}: difference of the outputs", error, "", TOLERANCE)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference")
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"{', '.join(NETS)} (default: all)")
    parser.add_argument("--batches", type=lambda text: [*map(int, text.split(","))], default=[1, 8])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rivals", type=lambda text: text.split(","), default=list(RIVALS))
    parser.add_argument("--folder", type=Path, help="keep the models here")
    parser.add_argument("--export-only", action="store_true", help="export the models to the folder")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    given = parser.parse_args()
    unknown = [net for net in given.nets if net not in NETS]
    if unknown:
        parser.error(f"unknown net: {', '.join(unknown)}")
    results: dict[str, Any] = {}
    with TemporaryDirectory() if given.folder is None else nullcontext(given.folder) as folder:
        for net in given.nets or NETS:
            for batch in given.batches:
                place = Path(folder, net)
                place.mkdir(parents=True, exist_ok=True)
                if given.export_only:
                    for rival in given.rivals:
                        export(net, batch, rival, place)
                    continue
                choices = {"rounds": given.rounds, "threads": given.threads, "rivals": given.rivals}
                found = results.setdefault(net, {})[str(batch)] = contest(net, batch, place, **choices)
                print("\n".join(map(str, figures(net, batch, found))), flush=True)
    loads = [round(load, 1) for load in os.getloadavg()]
    print("load average (1, 5, 15 min):", *loads)
    if given.json:
        about = {"machine": platform.processor() or platform.machine(), "threads": given.threads, "load": loads}
        given.json.write_text(json.dumps({**about, "nets": results}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
