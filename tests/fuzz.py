"""Random programs for as long as one likes: `python -m tests.fuzz --minutes 60`.

Each find is made smaller, and written to a folder with what went wrong; the exit code is then 1. `--seed N` alone
tries the one program of that number, `--digest` prints a sum over all that was said, to compare it over machines.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.support.fuzz_programs import mutant, program, settings
from tests.support.fuzz_rules import TooSlow, obeys, told

PATIENCE = 2.5
"""The bounds on time are stretched so far, for machines that have other things to do as well."""

MEMORY = 300_000_000
"""Bytes that one program may take on top of what the process has."""


def inputs(seed: int) -> tuple[str, list[str]]:
    """The program of a number, and its settings."""
    random = Random(seed)
    text = random.choice([mutant, program])(random)
    return text, settings(random, text)


def fault(text: str, given: Sequence[str]) -> tuple[str, str] | None:
    """What is wrong about how a text is treated: where, to tell finds apart, and the whole of it."""
    return fault_of(lambda: obeys(text, given, patience=PATIENCE))


def fault_of(run: Callable[[], object]) -> tuple[str, str] | None:
    """What a run raises, if it does: where, to tell finds apart, and the whole of it."""
    try:
        run()
    except (Exception, TooSlow) as error:
        trace = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in trace if "netdsl" in frame.filename] or list(trace)
        where = "" if isinstance(error, TooSlow) else f" at {Path(ours[-1].filename).name}:{ours[-1].name}"
        return f"{type(error).__name__}{where}", "".join(traceback.format_exception(error))
    return None


def smaller(text: str, given: Sequence[str], kind: str) -> str:
    """A text with the same fault, with fewer lines and fewer characters. Gives up after a minute."""
    end = time.monotonic() + 60
    for pieces in (text.splitlines(keepends=True), None):
        parts = pieces if pieces is not None else list(text)
        size = max(1, len(parts) // 2)
        while size and time.monotonic() < end:
            at = 0
            while at < len(parts) and time.monotonic() < end:
                fewer = parts[:at] + parts[at + size :]
                found = fault("".join(fewer), given)
                if found is not None and found[0] == kind:
                    parts = fewer
                else:
                    at += size
            size //= 2
        text = "".join(parts)
    return text


def search(seconds: float, first: int, finds: Path) -> int:
    """Try program after program; how many faults of different kinds were found."""
    kinds: Counter[str] = Counter()
    end = time.monotonic() + seconds
    seed = first
    while time.monotonic() < end:
        text, given = inputs(seed)
        finds.joinpath("last.txt").write_text(f"{seed}\n")  # what killed the process, should it be killed
        found = fault(text, given)
        if found is not None:
            kind, whole = found
            kinds[kind] += 1
            if kinds[kind] == 1:
                print(f"seed {seed}: {kind}", flush=True)
                small = smaller(text, given, kind)
                report = f"seed {seed}, settings {given}\n\n{whole}\n--- the program, made smaller\n{small}"
                finds.joinpath(f"{len(kinds):03}.txt").write_text(report, "utf-8")
        seed += 1
        if seed % 20 == 0:
            gc.collect()  # or the garbage of many programs would count as one's memory
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{seed - first:,} programs from seed {first} in {seconds / 60:.0f} minutes, {peak} MB at most: {dict(kinds)}"
    )
    return len(kinds)


def digest(count: int, first: int) -> str:
    """A sum over all that is said about some programs."""
    found = hashlib.sha256()
    for seed in range(first, first + count):
        found.update(told(*inputs(seed))[0].encode("utf-8", "backslashreplace"))
    return found.hexdigest()


def _bound_memory() -> None:
    """Let a program take no more than MEMORY; where the system does not tell how much the process has, do nothing."""
    import onnx  # noqa: F401  (so that its size is none of a program's)

    sizes = Path("/proc/self/statm")
    if sizes.exists():
        size = int(sizes.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--minutes", type=float, default=0)
    options.add_argument("--seed", type=int, default=0, help="first seed; without --minutes, the only one")
    options.add_argument("--digest", type=int, metavar="COUNT", help="print a digest of COUNT programs")
    options.add_argument("--finds", type=Path, default=Path("fuzz-finds"), help="folder for failing programs")
    chosen = options.parse_args()
    finds = chosen.finds.absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if chosen.digest:
            print(digest(chosen.digest, chosen.seed))
            return 0
        if not chosen.minutes:
            text, given = inputs(chosen.seed)
            print(text, *given, told(text, given)[0], fault(text, given) or "nothing is wrong", sep="\n---\n")
            return 0
        _bound_memory()
        finds.mkdir(parents=True, exist_ok=True)
        return int(search(chosen.minutes * 60, chosen.seed, finds) > 0)


if __name__ == "__main__":
    sys.exit(main())
