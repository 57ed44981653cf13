"""Compare training steps with PyTorch: `python -m benchmarks.contest [NET …] [--rounds N] [--threads N] [--json FILE]`.

Each contestant runs in its own process; all contestants of a net are alive at once and take turns. PyTorch (2.13, CPU
wheel) and torchvision are not dependencies: set NETDSL_TORCH_PYTHON to the path of a Python that has both. Of PyTorch's
rivals, the fastest counts; `compiled` is `torch.compile`, which needs a C++ compiler and minutes for a large net.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.contest_nets import CONTESTS
from benchmarks.measure import ROOT, Figure
from netdsl.train.tune import processor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TORCH = "NETDSL_TORCH_PYTHON"
EAGER = ("contiguous", "channels_last")
RIVALS = (*EAGER, "kept", "compiled")
KEEP = ("MALLOC_MMAP_THRESHOLD_=68719476736", "MALLOC_TRIM_THRESHOLD_=68719476736")
"""Settings of glibc for the rival `kept`, which is contiguous: it keeps freed memory. Otherwise, PyTorch returns the
gradients of large weights to the system in each step, and clears new pages: a quarter of the time of VGG-11."""
STEP_BACKENDS = ("plain", "nchwc", "auto")
TURN = 0.5
"""Approximate duration of a turn in seconds, after one warm-up step."""


class Contestant:
    """A subprocess that runs steps on request, once it is ready."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.seconds: list[float] = []
        self.busy: list[float] = []
        self.last: dict[str, Any] = {}
        self.steps = 1

    def calibrate(self) -> None:
        """Choose the number of steps of a turn. A step that takes a turn by itself has no need of a warm-up."""
        self.turn()
        self.steps = max(1, min(200, round(TURN / min(self.last["seconds"]))))
        self.seconds, self.busy = [], []

    def turn(self) -> None:
        """Run steps, after one as a warm-up unless they are long."""
        assert self.process.stdin
        warm_up = not self.last or self.steps > 1
        self.process.stdin.write(f"{self.steps + warm_up}\n")
        self.process.stdin.flush()
        self.last = json.loads(self.answer())
        self.seconds.append(median(self.last["seconds"][warm_up:]))
        self.busy.append(median(self.last["busy"][warm_up:]))

    def answer(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} exited with {self.process.wait()}")
        return line

    def close(self) -> None:
        """Let the process end."""
        assert self.process.stdin
        assert self.process.stdout
        with self.process.stdout, suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()

    def end(self) -> dict[str, Any]:
        """Stop the process and return milliseconds per step (median and best turn) and the peak memory in MB."""
        self.close()
        return {
            "milliseconds": 1000 * median(self.seconds),
            "best": 1000 * min(self.seconds),
            "processor": 1000 * min(self.busy),
            "peak": self.last["peak"],
            "imported": self.last["imported"],
        }


def compete(commands: Mapping[str, list[str]], rounds: int) -> list[Contestant]:
    """Start contestants, all at once, let them take turns when all are ready, and return them. A round runs them in
    order, then in reverse."""
    contestants = [Contestant(name, command) for name, command in commands.items()]
    try:
        for each in contestants:
            each.answer()
        for each in contestants:
            each.calibrate()
        for _ in range(rounds):
            for each in (*contestants, *reversed(contestants)):
                each.turn()
    except BaseException:  # nobody may be left behind
        for each in contestants:
            each.process.kill()
            each.close()
        raise
    return contestants


def torch_python() -> str:
    found = os.environ.get(TORCH, "")
    if not Path(found).is_file():
        raise SystemExit(f"{TORCH} must be the path of a Python that has PyTorch 2.13 for CPUs, not `{found}`")
    return found


def command(net: str, name: str, threads: int) -> list[str]:
    """Return the command that starts a contestant."""
    if name in RIVALS:
        kept = ["env", *KEEP] if name == "kept" else []
        return [*kept, torch_python(), str(ROOT / "benchmarks" / "torch_contestant.py"), net, name, str(threads)]
    return [sys.executable, "-m", "benchmarks.netdsl_contestant", net, name, str(threads)]


def rivals() -> tuple[str, ...]:
    """Return PyTorch's contestants on this machine."""
    found = any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++")))
    return RIVALS if found else tuple(each for each in RIVALS if each != "compiled")


def contest(
    net: str,
    *,
    rounds: int = 7,
    threads: int = 2,
    backends: Sequence[str] = STEP_BACKENDS,
    against: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return each contestant's results for a net, by name."""
    names = (*(rivals() if against is None else against), *backends)
    contestants = compete({name: command(net, name, threads) for name in names}, rounds)
    return {each.name: each.end() for each in contestants}


def figures(net: str, found: dict[str, Any]) -> Iterator[Figure]:
    """Compare netdsl's default with the fastest of PyTorch: time and memory of the same runs."""
    against = [found[name] for name in RIVALS if name in found]
    fastest = min(against, key=lambda each: each["milliseconds"])
    ours = found.get("auto") or min((found[name] for name in found if name not in RIVALS), key=lambda e: e["best"])
    what, reach = f"{net}, batch {CONTESTS[net].batch}: a training step against PyTorch", CONTESTS[net].reach
    times = ", ".join(f"{name} {each['milliseconds']:.1f}" for name, each in found.items())
    yield Figure(f"{what}, time", ours["milliseconds"] / fastest["milliseconds"], "×", reach, f"ms: {times}")
    times = ", ".join(f"{name} {each['best']:.1f}" for name, each in found.items())
    best = min(each["best"] for each in against)
    yield Figure(f"{what}, best turns", ours["best"] / best, "×", reach, f"ms: {times}")
    times = ", ".join(f"{name} {each['processor']:.1f}" for name, each in found.items())
    best = min(each["processor"] for each in against)
    yield Figure(f"{what}, processor", ours["processor"] / best, "×", reach, f"ms of all threads: {times}")
    sizes = ", ".join(f"{name} {each['peak']:.0f}" for name, each in found.items())
    least = min(
        found[name]["peak"] for name in EAGER if name in found
    )  # the compiler takes memory, and so does what is kept
    yield Figure(f"{what}, memory", ours["peak"] / least, "×", 0.5, f"MB: {sizes}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contest")
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"{', '.join(CONTESTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--step-backends", type=lambda text: text.split(","), default=list(STEP_BACKENDS))
    parser.add_argument("--rivals", type=lambda text: text.split(","), help=f"{','.join(RIVALS)} (default: all)")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    given = parser.parse_args()
    unknown = [net for net in given.nets if net not in CONTESTS]
    if unknown:
        parser.error(f"unknown net: {', '.join(unknown)}")
    if rivals() != RIVALS:
        print("no C++ compiler was found, so torch.compile does not take part")
    found = {}
    for net in given.nets or CONTESTS:
        found[net] = contest(
            net, rounds=given.rounds, threads=given.threads, backends=given.step_backends, against=given.rivals
        )
        print("\n".join(map(str, figures(net, found[net]))), flush=True)
    loads = [round(load, 1) for load in os.getloadavg()]
    print("load average (1, 5, 15 min):", *loads)
    if given.json:
        about = {"machine": processor(), "onnxruntime": version("onnxruntime"), "threads": given.threads, "load": loads}
        given.json.write_text(json.dumps({**about, "nets": found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
