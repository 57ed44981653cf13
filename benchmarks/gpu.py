"""Compare with PyTorch on one GPU: `python -m benchmarks.gpu`, which `benchmarks/gpu.sh` prepares.

Runs the tests marked `gpu`, then inference and training of each net, in f32 and mixed precision. All contestants of a
net load at once, which takes PyTorch's compiler the longest, and then take turns. What fails, or is not ready in
time, is a remark below the table, and does not end the run.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from math import inf
from pathlib import Path
from queue import Empty, Queue
from statistics import median
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from benchmarks.contest import TORCH, torch_python
from benchmarks.gpu_nets import MODES, NETS, SMOKE, TYPES
from benchmarks.measure import ROOT
from benchmarks.processes import Process
from netdsl.report.table import aligned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RIVALS = ("eager", "channels_last", "compiled")
OURS = "netdsl"
TURN = 0.5
"""Approximate duration of a turn in seconds."""

TESTS = ("tests/train/test_mixed_precision.py", "tests/compiler/test_devices.py", "tests/compiler/test_session.py")


def _step_times(line: bytes) -> list[float]:
    """Return the seconds of steps that a contestant has printed, without the first; none if the line has others."""
    with suppress(ValueError, KeyError, TypeError):
        found = [float(each) for each in json.loads(line)["seconds"][1:]]
        return found if all(0 < each < inf for each in found) else []
    return []


class Contestant:
    """A subprocess that runs steps on request, until it fails."""

    def __init__(self, mode: str, kind: str, name: str, command: list[str]) -> None:
        self.mode = mode
        self.kind = kind
        self.name = name
        self.said = ""
        self.seconds: list[float] = []
        self.steps = 1
        self.expected = TURN
        self.process = Process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.failure = self.process.failure
        self._lines: Queue[bytes] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self.process.popen:
            assert self.process.popen.stdout
            for line in self.process.popen.stdout:
                if line.startswith(b"{"):  # libraries print other lines
                    self._lines.put(line)
        self._lines.put(b"")

    def begin(self, steps: int) -> None:
        if self.process.popen:
            assert self.process.popen.stdin
            with suppress(OSError):
                self.process.popen.stdin.write(b"%d\n" % steps)
                self.process.popen.stdin.flush()

    def finish(self, seconds: float, late: str) -> list[float]:
        """Return the seconds of the steps begun, without the first; none if they have failed or take too long."""
        try:
            line = self._lines.get(timeout=max(0.1, seconds))
        except Empty:
            self.end(late)
            return []
        if found := _step_times(line):
            return found
        code = self.process.wait(0.1 if line else 5)
        self.end("printed no times" if code is None else f"ended with exit code {code}")
        self.failure = self.said or self.failure
        return []

    def calibrate(self, seconds: float) -> None:
        """Choose the number of steps of a turn by the steps begun."""
        if found := self.finish(seconds, "not ready in time"):
            self.steps = max(1, min(200, round(TURN / min(found))))
            self.expected = min(found) * (self.steps + 1)

    def turn(self, seconds: float) -> None:
        self.begin(self.steps + 1)
        found = self.finish(seconds, "took too long")
        self.seconds += [median(found)] if found else []

    def end(self, failure: str = "") -> None:
        """End the process, with `said` as the last line that it has printed to stderr."""
        self.failure = self.failure or failure
        said = self.process.end()
        self.said = said.splitlines()[-1].strip()[:300] if said else ""
        if self.process.popen:
            self._reader.join(1)  # a process of another session may hold its output open for longer
            assert self.process.popen.stdin
            assert self.process.popen.stdout
            with suppress(OSError):
                self.process.popen.stdin.close()
            if not self._reader.is_alive():
                self.process.popen.stdout.close()

    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = {"mode": self.mode, "type": self.kind, "contestant": self.name}
        if self.seconds and not self.failure:
            found["milliseconds"] = 1000 * median(self.seconds)
        remark = self.failure or (self.said if self.name == OURS else "")
        return {**found, **({"failed" if self.failure else "remark": remark} if remark else {})}


def contestants(net: str, given: argparse.Namespace) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield the mode, the type and the name of each contestant, and the command that starts it."""
    smoke = ["smoke"] if given.smoke else []
    for mode in MODES:
        for kind in TYPES:
            ours = [sys.executable, "-m", "benchmarks.netdsl_gpu", net, mode, kind, given.provider, *smoke]
            yield mode, kind, OURS, ours
            for rival in RIVALS if given.torch else ():
                if rival != "channels_last" or not NETS[net].words:
                    script = str(ROOT / "benchmarks" / "torch_gpu.py")
                    yield mode, kind, rival, [given.torch, script, net, rival, mode, kind, given.device, *smoke]


def contest(net: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the results of all contestants of a net, which have `given.seconds` to load and to run."""
    begin, waiting = monotonic(), [*contestants(net, given)]
    started: list[Contestant] = []
    try:
        while waiting:
            batch = [Contestant(*each) for each in waiting[: given.jobs]]
            batches = -(-len(waiting) // given.jobs)
            del waiting[: given.jobs]
            started += batch
            for each in batch:
                each.begin(4)
            now = monotonic()  # a batch leaves equal shares of the time to the next ones
            until = now + (begin + 0.7 * given.seconds - now) / batches
            for each in batch:
                each.calibrate(until - monotonic())
        take_turns([each for each in started if not each.failure], given.rounds, begin + given.seconds)
    finally:
        for each in started:
            each.process.kill()
        for each in started:
            each.end()
    return [each.data() for each in started]


def take_turns(ready: list[Contestant], rounds: int, until: float) -> None:
    """Let contestants take turns, none of them longer than a quarter of the time left, nor begun without that."""
    for turn in range(rounds):
        for each in ready if turn % 2 else ready[::-1]:
            seconds = (until - monotonic()) / 4
            if not each.failure and each.expected < seconds:
                each.turn(seconds)
    for each in ready:
        if not each.seconds:
            each.failure = each.failure or "was not measured, for lack of time"


def tests(seconds: float) -> str:
    """Run the tests marked `gpu`, and return pytest's summary."""
    process = Process([sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *TESTS])
    try:
        code = process.wait(seconds)
    finally:
        printed = process.end()
    if printed:
        print(printed, flush=True)
    if code is None:
        return process.failure or f"took more than {seconds:.0f} s"
    return printed.splitlines()[-1] if printed else f"printed nothing, with exit code {code}"


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return milliseconds of each net, and the ratio to the fastest of PyTorch."""
    rows, remarks = [["net", "what", "type", OURS, *RIVALS, "ratio"]], []
    for net, results in found.items():
        for mode in MODES:
            for kind in TYPES:
                own = [each for each in results if (each["mode"], each["type"]) == (mode, kind)]
                times = {each["contestant"]: each.get("milliseconds") for each in own}
                rivals = [time for name in RIVALS if (time := times.get(name))]
                ratio = f"{times[OURS] / min(rivals):.2f} ×" if times.get(OURS) and rivals else "–"
                cells = [f"{time:.2f} ms" if (time := times.get(name)) else "–" for name in (OURS, *RIVALS)]
                rows.append([net, mode, kind, *cells, ratio])
                said = ((each, each.get("failed") or each.get("remark")) for each in own)
                remarks += [f"{net}, {mode}, {kind}, {each['contestant']}: {text}" for each, text in said if text]
    return "\n".join([*aligned(rows, right=range(3, len(rows[0]))), *dict.fromkeys(remarks)])


def queries(given: argparse.Namespace) -> dict[str, Process]:
    """Start the commands that print the GPU and its driver, and the versions."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    ours = "import onnxruntime, netdsl; print(onnxruntime.__version__, netdsl.__version__)"
    theirs = "import torch; print(torch.__version__, torch.version.cuda)"
    commands = {"onnxruntime, netdsl": [sys.executable, "-c", ours]}
    if given.provider == "cuda":
        commands["gpu"] = query
    if given.torch:
        commands["torch, CUDA"] = [given.torch, "-c", theirs]
    return {name: Process(command) for name, command in commands.items()}


def environment(given: argparse.Namespace, started: dict[str, Process], seconds: float) -> dict[str, str]:
    """Return the answers to the queries; those that take longer are unknown."""
    found = {"provider": given.provider, "cores": str(os.cpu_count()), "smoke": str(given.smoke)}
    until = monotonic() + seconds
    for name, each in started.items():
        found[name] = each.end() or "unknown" if each.wait(until - monotonic()) == 0 else "unknown"
    return found


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"{', '.join(NETS)} (default: all)")
    parser.add_argument("--provider", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--smoke", action="store_true", help="small nets, to try the script")
    parser.add_argument("--seconds", type=float, default=160, help="limit of each net, two thirds of it to load")
    parser.add_argument("--test-seconds", type=float, default=100, help="limit of the tests, 0 for none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="contestants that load at the same time")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    given = parser.parse_args(arguments)
    if unknown := [net for net in given.nets if net not in NETS]:
        parser.error(f"unknown net: {', '.join(unknown)}")
    given.device = given.provider
    given.torch = torch_python() if os.environ.get(TORCH) else ""
    return given


def stop(number: int, _: object) -> None:
    """End on a signal with the results so far, and without processes left behind."""
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> None:
    given = options(arguments)
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)
    if not given.torch:
        print(f"without PyTorch, because {TORCH} is not set", file=sys.stderr)
    asked, report = queries(given), {"nets": {}}
    try:
        run(given, asked, report)
    finally:
        report["environment"] = environment(given, asked, 2)
        for each in asked.values():
            each.end()
        print("\n".join(f"{name}: {text}" for name, text in report["environment"].items()))
        print(f"\n{table(report['nets'])}", flush=True)


def run(given: argparse.Namespace, asked: dict[str, Process], report: dict[str, Any]) -> None:
    """Run the tests and the nets, and add what is found to the report."""
    if given.test_seconds:
        report["tests"] = tests(given.test_seconds)
        print(f"tests: {report['tests']}", flush=True)
    for net in given.nets or (SMOKE if given.smoke else NETS):
        report["nets"][net] = contest(net, given)
        print(table({net: report["nets"][net]}), flush=True)
        if given.json:  # after each net, in case the machine is taken away
            report["environment"] = environment(given, asked, 0)
            given.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
