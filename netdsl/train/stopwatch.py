"""Time a model in a subprocess, `python -m netdsl.train.stopwatch`.

The subprocess isolates memory use and crashes. It reads requests, each a line of JSON followed by the bytes of a model,
and answers each with the time in seconds as a line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from math import inf, prod
from threading import Timer
from time import perf_counter
from typing import TYPE_CHECKING

from netdsl.base.threads import start

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import numpy as np

    from netdsl.base.dtypes import Array
    from netdsl.ir.graph import Graph

SLOW_RUN = 2.0
"""Time of a run in seconds above which one run suffices."""


TIME_LIMIT = 60.0
"""Default time limit of a measurement in seconds, most of it for the subprocess to start."""


class Stopwatch:
    """Measures in a subprocess that starts with the first measurement and ends with the context.

    `hung` is set once a measurement exceeds `limit` seconds; none is started after that.
    """

    __slots__ = ("_limit", "_process", "_threads", "hung")

    def __init__(self, threads: int | None = None, limit: float = TIME_LIMIT) -> None:
        self.hung = False
        self._limit = limit
        self._threads = threads
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stopwatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def seconds(self, graph: Graph, budget: float) -> float:
        """Return the minimum time of a run on random numbers in seconds; other load on the machine can only add to it.

        The model runs for `budget` seconds, at least twice. The time of a graph that cannot run, crashes or hangs is
        infinite, and so is that of every graph after one that hung.
        """
        from netdsl.backend.emit import emit

        if self.hung:
            return inf
        model = emit(graph).model.SerializeToString()
        request = {"size": len(model), "name": graph.name, "threads": self._threads, "budget": budget}
        timer = Timer(self._limit, self._stop)
        try:
            self._process = self._process or _begin()
            start(timer)
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(request).encode() + b"\n" + model)
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            answer = b""
        finally:
            timer.cancel()
        if not answer:
            self._end()
            return inf
        return float(json.loads(answer))

    def _stop(self) -> None:
        """Kill the subprocess from another thread, which ends a wait for it."""
        self.hung = True
        if self._process is not None:
            self._process.kill()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _begin() -> subprocess.Popen[bytes]:
    """Start the subprocess, with the module search path of this process."""
    path = os.pathsep.join(filter(None, sys.path))  # -m replaces "" by the working folder
    return subprocess.Popen(
        [sys.executable, "-m", "netdsl.train.stopwatch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )


def serve() -> None:
    """Answer requests until the input ends."""
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        model = sys.stdin.buffer.read(request.pop("size"))
        try:
            found = time_model(model, **request)
        except Exception:  # onnxruntime may raise anything; the next model may still run
            found = inf
        print(json.dumps(found), flush=True)


def time_model(model: bytes, name: str, threads: int | None, budget: float) -> float:
    """Return the minimum time of a run in seconds."""
    import numpy as np

    from netdsl.backend.session import Session

    session = Session(model, threads=threads, name=name, in_order=True)
    random = np.random.default_rng(0)
    feeds = {name: _numbers(known_sizes(x.shape), x.dtype, random) for name, x in session.inputs.items()}
    return timed(lambda: session.native.run(None, feeds), budget)


def known_sizes(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    assert None not in shape, shape
    return tuple(size or 0 for size in shape)


def timed(run: Callable[[], object], budget: float) -> float:
    """Return the minimum time of a call in seconds."""
    found: list[float] = []
    while sum(found) < budget or len(found) < 2:
        begin = perf_counter()
        run()
        found.append(perf_counter() - begin)
        if found[0] > SLOW_RUN:
            break
    return min(found)


def _numbers(shape: tuple[int, ...], dtype: str, random: np.random.Generator) -> Array:
    """Return random numbers of the magnitude of weights, which neither vanish nor grow; denormal numbers would be
    slow."""
    import numpy as np

    if dtype != "float32":
        return np.zeros(shape, dtype)
    return np.asarray(random.standard_normal(shape, np.float32) / prod((1, *shape[1:])) ** 0.5, dtype)


if __name__ == "__main__":
    serve()
