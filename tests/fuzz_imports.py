"""Random files of other tools' models for as long as one likes: `python -m tests.fuzz_imports --minutes 60`.

Each becomes an import or a `UserError`, within a time and a memory, without running anything or writing elsewhere.
Finds are written to a folder, each kind once, with the files of the model; the exit code is then 1. `--seed N` alone
tries the one case of that number. A process that is killed by a case is one of the finds, and another goes on.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from netdsl.app.import_model import ImportOptions, import_model
from netdsl.base.user_error import UserError
from tests.fuzz import fault_of
from tests.support.fuzz_bytes import Case
from tests.support.fuzz_models import case
from tests.support.fuzz_rules import seconds_of_work

SECONDS = 20.0
"""Of one core's time, for an import."""

STUCK = 300
"""Seconds until a process that is stuck outside of Python is ended, however busy the machine is."""

MEMORY = 1_500_000_000
"""Bytes that an import may take on top of what the process has and of its files."""

FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class", "socket.")
"""Events of the interpreter that no model may cause."""


class Forbidden(BaseException):
    """A model that makes the program do what it must not. No handler of errors in between may hold it up."""


class Watch:
    """Raises Forbidden where a program runs something, or writes outside of a folder, while it is on."""

    def __init__(self) -> None:
        self.folder = ""
        self.on = False
        tuple(platform.uname())  # for which Python runs a program, once
        sys.addaudithook(self._event)

    def _event(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.on:
            return
        if event.startswith(FORBIDDEN):
            raise Forbidden(f"{event} {arguments}")
        if event == "open":
            path, mode, flags = (*arguments, None, None, None)[:3]
            if isinstance(path, int):
                return  # a file that is open: its opening was an event of its own
            writes = isinstance(mode, str) and set(mode) & set("wax+")
            writes = writes or (mode is None and isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR))
            allowed = self.folder, os.path.realpath(tempfile.gettempdir()), os.devnull
            # Python keeps the bytecode of a module that a reader is the first to import.
            bytecode = os.path.basename(os.path.dirname(str(path))) == "__pycache__"
            real = os.path.realpath(str(path))
            if writes and not bytecode and (real.startswith(str(ROOT)) or not real.startswith(allowed)):
                raise Forbidden(f"it writes {path}")


WATCH = Watch()


def imports(made: Case, folder: Path) -> str:
    """Import a case; the code of the error, or `imported`. Raises what should not be raised."""
    path = made.write(folder)
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    options = {key: str(folder / value) if key == "weights" else value for key, value in made.options.items()}
    _forget_peak()
    size = _memory("VmRSS")
    WATCH.folder, WATCH.on = os.path.realpath(folder), True
    try:
        with seconds_of_work(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("error")
            import_model(str(path), ImportOptions(check=1, output=str(folder / "out.net"), **options))
        refusal = None
    except UserError as error:
        refusal = error
    finally:
        WATCH.on = False
    if refusal is not None:
        assert not any(ord(char) < 32 and char != "\n" for char in str(refusal)), "a control character is let through"
        after = {each.name: each.read_bytes() for each in folder.iterdir()}
        assert after == before, f"files are left after an error: {sorted({*after} ^ {*before})}"
    taken = _memory("VmHWM") - size - sum(map(len, made.files.values()))
    assert taken <= MEMORY, f"it takes {taken / 1e6:,.0f} MB"
    return refusal.code if refusal is not None else "imported"


def _forget_peak() -> None:
    if os.path.exists("/proc/self/clear_refs"):
        Path("/proc/self/clear_refs").write_text("5")


def _memory(kind: str) -> int:
    """The memory of this process in bytes; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:")), 0)


def fault(seed: int) -> tuple[str, str, str]:
    """What becomes of a case, and what is wrong about it: where, to tell finds apart, and the whole of it."""
    said = ["fault"]

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            said[0] = imports(made, Path(folder))

    made = case(seed)
    try:
        found = fault_of(run)
    except Forbidden as error:
        found = f"Forbidden {str(error)[:60]}", str(error)
    kind, whole = found or ("", "")
    return f"{made.reader} {said[0]}", kind, whole


def work(seconds: float, seed: int, log: Path) -> None:
    """Try case after case, and write what becomes of each as a line, before and after it."""
    faulthandler.enable()
    end = time.monotonic() + seconds
    with log.open("a") as file:
        while time.monotonic() < end:
            print(json.dumps([seed]), file=file, flush=True)
            faulthandler.dump_traceback_later(STUCK, exit=True)
            found = fault(seed)
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps([seed, *found]), file=file, flush=True)
            seed += 1
            if seed % 20 == 0:
                gc.collect()  # or the garbage of many cases would count as one's memory


def search(seconds: float, first: int, finds: Path) -> int:
    """Try case after case in other processes; how many faults of different kinds were found."""
    finds.mkdir(parents=True, exist_ok=True)
    log, errors = finds / "log.jsonl", finds / "stderr.txt"
    ends: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    end, seed = time.monotonic() + seconds, first
    while (left := end - time.monotonic()) > 1:
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.fuzz_imports", "--work", str(log)]
        left = min(left, 300)  # a new process now and then, whose memory begins anew
        with errors.open("w") as file:
            done = subprocess.run([*command, "--minutes", str(left / 60), "--seed", str(seed)], stderr=file, cwd=ROOT)
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        for number, said, kind, whole in (line for line in lines if len(line) > 1):
            ends[said] += 1
            if kind:
                _keep(finds, kinds, number, kind, whole)
        if not lines:
            raise SystemExit(f"no case was tried:\n{errors.read_text()}")
        if len(lines[-1]) == 1:
            _keep(finds, kinds, lines[-1][0], f"killed with {done.returncode}", errors.read_text())
        seed = lines[-1][0] + 1
    print(f"{seed - first:,} cases from seed {first} in {seconds / 60:.0f} minutes: {dict(ends.most_common())}")
    print(f"faults: {dict(kinds)}")
    return len(kinds)


def _keep(finds: Path, kinds: Counter[str], seed: int, kind: str, whole: str) -> None:
    kinds[kind] += 1
    if kinds[kind] > 1:
        return
    print(f"seed {seed}: {kind}", flush=True)
    folder = finds / f"{seed:08}"
    folder.mkdir(exist_ok=True)
    case(seed).write(folder)
    (folder / "fault.txt").write_text(f"seed {seed}: {kind}\n\n{whole}", "utf-8")


ROOT = Path(__file__).parent.parent


def _bound_memory() -> None:
    """Keep a case from exhausting the machine."""
    import onnxruntime  # noqa: F401  (so that its size is none of a case's)

    if size := _memory("VmSize"):
        resource.setrlimit(resource.RLIMIT_AS, (size + 3 * MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--minutes", type=float, default=0)
    options.add_argument("--seed", type=int, default=0, help="first seed; without --minutes, the only one")
    options.add_argument("--finds", type=Path, default=Path("fuzz-finds"), help="folder for failing cases")
    options.add_argument("--work", type=Path, metavar="LOG", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.work:
        _bound_memory()
        work(chosen.minutes * 60, chosen.seed, chosen.work)
        return 0
    if chosen.minutes:
        return int(search(chosen.minutes * 60, chosen.seed, chosen.finds.absolute()) > 0)
    print(*fault(chosen.seed), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
