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
import tempfile
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from statistics import median
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from benchmarks.contest import TORCH, torch_python
from benchmarks.gpu_nets import MODES, NETS, SMOKE, TYPES
from benchmarks.measure import ROOT
from netdsl.report.table import aligned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RIVALS = ("eager", "channels_last", "compiled")
OURS = "netdsl"
TURN = 0.5
"""Approximate duration of a turn in seconds."""

TESTS = ("tests/train/test_mixed_precision.py", "tests/compiler/test_devices.py", "tests/compiler/test_session.py")


class Contestant:
    """A subprocess that runs steps on request, until it fails."""

    def __init__(self, mode: str, kind: str, name: str, command: list[str]) -> None:
        self.mode = mode
        self.kind = kind
        self.name = name
        self.failure = ""
        self.seconds: list[float] = []
        self.steps = 1
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._lines: Queue[str] = Queue()
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        self.said = ""

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):  # libraries print other lines
                self._lines.put(line)
        self._lines.put("")

    def begin(self, steps: int) -> None:
        assert self.process.stdin
        with suppress(OSError):
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()

    def finish(self, seconds: float) -> list[float]:
        """Return the seconds of the steps begun, without the first; none if they have failed or take too long."""
        try:
            line = self._lines.get(timeout=max(0.1, seconds))
            found: list[float] = json.loads(line)["seconds"][1:]
        except Empty:
            self.end("not ready in time" if not self.seconds else "took too long")
            return []
        except ValueError:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            self.end(f"ended with exit code {self.process.returncode}")
            self.failure = self.said or self.failure
            return []
        return found

    def turn(self, seconds: float) -> None:
        self.begin(self.steps + 1)
        found = self.finish(seconds)
        self.seconds += [median(found)] if found else []

    def end(self, failure: str = "") -> None:
        """End the process, with `said` as the last line that it has printed to stderr."""
        self.failure = self.failure or failure
        if self._said.closed:
            return
        with suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(1)  # processes of PyTorch's compiler may hold its output open for longer
        assert self.process.stdin
        assert self.process.stdout
        with suppress(OSError):
            self.process.stdin.close()
        if not self._reader.is_alive():
            self.process.stdout.close()
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        self.said = lines[-1].strip() if lines else ""
        self._said.close()

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
    begin, waiting, ready = monotonic(), [*contestants(net, given)], []
    loaded, all_of_them = begin + 0.7 * given.seconds, []
    try:
        while waiting:
            batch = [Contestant(*each) for each in waiting[: given.jobs]]
            del waiting[: given.jobs]
            all_of_them += batch
            for each in batch:
                each.begin(4)
            for each in batch:
                seconds = each.finish(loaded - monotonic())
                each.steps = max(1, min(200, round(TURN / min(seconds)))) if seconds else 1
                ready += [each] if seconds else []
        for turn in range(given.rounds):
            for each in ready if turn % 2 else ready[::-1]:
                if not each.failure:
                    each.turn(begin + given.seconds - monotonic())
    finally:
        for each in all_of_them:
            each.end()
    return [each.data() for each in all_of_them]


def tests(seconds: float) -> str:
    """Run the tests marked `gpu`, and return pytest's summary."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *TESTS]
    try:
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"took more than {seconds:.0f} s"
    print(ran.stdout)
    return (ran.stdout + ran.stderr).strip().splitlines()[-1] if ran.stdout or ran.stderr else "printed nothing"


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


def environment(given: argparse.Namespace) -> dict[str, str]:
    """Return the GPU and its driver, and the versions."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    ours = "import onnxruntime, netdsl; print(onnxruntime.__version__, netdsl.__version__)"
    theirs = "import torch; print(torch.__version__, torch.version.cuda)"
    commands = {"gpu": query, "onnxruntime, netdsl": [sys.executable, "-c", ours]}
    if given.torch:
        commands["torch, CUDA"] = [given.torch, "-c", theirs]
    found = {"provider": given.provider, "cores": str(os.cpu_count()), "smoke": str(given.smoke)}
    for name, command in commands.items():
        with suppress(OSError, subprocess.TimeoutExpired):
            ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            found[name] = ran.stdout.strip() or "unknown"
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


def main(arguments: Sequence[str] | None = None) -> None:
    given = options(arguments)
    if not given.torch:
        print(f"without PyTorch, because {TORCH} is not set", file=sys.stderr)
    report: dict[str, Any] = {"environment": environment(given), "nets": {}}
    print("\n".join(f"{name}: {text}" for name, text in report["environment"].items()), flush=True)
    if given.test_seconds:
        report["tests"] = tests(given.test_seconds)
        print(f"tests: {report['tests']}", flush=True)
    for net in given.nets or (SMOKE if given.smoke else NETS):
        report["nets"][net] = contest(net, given)
        print(table({net: report["nets"][net]}), flush=True)
        if given.json:  # after each net, in case the machine is taken away
            given.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(f"\n{table(report['nets'])}")


if __name__ == "__main__":
    main()
