"""Time models in a subprocess, `python -m netdsl.train.stopwatch`.

The subprocess isolates memory use and crashes. It reads requests, each a line of JSON followed by the bytes of models,
and answers each with their times in seconds as a line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from math import inf, isfinite, prod
from threading import Timer
from time import perf_counter
from typing import TYPE_CHECKING, Any

from netdsl.base.threads import start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    import numpy as np

    from netdsl.base.dtypes import Array
    from netdsl.passes.finish import Finished

    Run = Callable[[], object]

TIME_LIMIT = 90.0
"""Default time limit of a measurement in seconds: for the subprocess to start, and a race."""

TURNS = 100
"""Number of turns in the planned time of a race. A model runs in a turn as often as there is time, at least once."""

ROUNDS = 3, 30
"""Minimum and maximum number of rounds of a race."""

SETTLED = 1.02
"""Ratio of the two shortest times of a model below which its minimum is trusted."""

OVERTIME = 4
"""How many times its planned time a race takes at most, plus one round."""


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

    def race(self, rivals: Sequence[Finished], seconds: float) -> list[float]:
        """Return the minimum time of a run of each model on random numbers in seconds; `race` has the rules.

        States are updated in place as in training. The time of a model that cannot run, crashes or hangs is infinite,
        and so is that of every model after one that hung. Models that crash together, such as for lack of memory, are
        measured one by one.
        """
        found = self._ask(rivals, seconds)
        if found is None and len(rivals) > 1:
            return [time for each in rivals for time in self.race([each], seconds / len(rivals))]
        return found or [inf for _ in rivals]

    def _ask(self, rivals: Sequence[Finished], seconds: float) -> list[float] | None:
        """Return the answer of the subprocess, or None if it died or was killed."""
        if self.hung:
            return None
        request, models = _request(rivals)
        timer = Timer(self._limit, self._stop)
        try:
            self._process = self._process or _begin()
            start(timer)
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            header = {"models": request, "threads": self._threads, "seconds": seconds}
            self._process.stdin.write(json.dumps(header).encode() + b"\n" + b"".join(models))
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            answer = b""
        finally:
            timer.cancel()
        if not answer:
            self._end()
            return None
        return [float(time) for time in json.loads(answer)]

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


def _request(rivals: Sequence[Finished]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the description of each model for `Runnable`, with its size, and its bytes."""
    from netdsl.backend.emit import emit
    from netdsl.ir.graph import RATE

    request, models = [], []
    for each in rivals:
        models.append(emit(each.graph, lean=True).model.SerializeToString())
        fills = {name: state.initial for name, state in each.graph.state.items() if state.initial is not None}
        about = {"name": each.graph.name, "fills": {**fills, RATE: 0}, "overwritten": sorted(each.overwritten)}
        request.append({"size": len(models[-1]), **about})
    return request, models


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
        models = [(sys.stdin.buffer.read(about.pop("size")), about) for about in request["models"]]
        arrays = Arrays()
        runs: list[Run | None] = []
        for model, about in models:
            try:
                runs.append(runnable(model, arrays, threads=request["threads"], **about))
            except Exception:  # onnxruntime may raise anything; the next model may still run
                runs.append(None)
        print(json.dumps(race(runs, request["seconds"])), flush=True)


class Arrays:
    """Inputs and outputs of models, which share those of the same shape: together, they need the memory of one."""

    def __init__(self) -> None:
        import numpy as np

        self._random = np.random.default_rng(0)
        self._kept: dict[tuple[object, ...], list[Array]] = {}
        self._taken: dict[tuple[object, ...], int] = {}

    def next_model(self) -> None:
        """Let the next model take arrays that earlier ones have taken."""
        self._taken.clear()

    def take(self, shape: tuple[int | None, ...], dtype: str, fill: float | None) -> Array:
        """Return an array that this model has not taken yet, of a number or, without `fill`, of random ones."""
        key = shape, dtype, fill
        number = self._taken[key] = self._taken.get(key, -1) + 1
        kept = self._kept.setdefault(key, [])
        if number == len(kept):
            kept.append(_numbers(known_sizes(shape), dtype, fill, self._random))
        return kept[number]


def runnable(
    model: bytes, arrays: Arrays, *, name: str, threads: int | None, fills: Mapping[str, float], overwritten: list[str]
) -> Run:
    """Load a model, and return a function that runs it. Its states start from the numbers in `fills` or from random
    ones; the `overwritten` ones are updated in place."""
    from onnxruntime import OrtValue

    from netdsl.backend.emit import NEXT
    from netdsl.backend.session import Session

    session = Session(model, threads=threads, name=name, in_order=True, in_turns=True)
    arrays.next_model()
    binding = session.native.io_binding()
    inputs = {key: arrays.take(x.shape, x.dtype, fills.get(key)) for key, x in session.inputs.items()}
    for key, array in inputs.items():
        binding.bind_ortvalue_input(key, OrtValue.ortvalue_from_numpy(array))
    outputs = {}
    for key, y in session.outputs.items():
        state = key.removesuffix(NEXT)
        outputs[key] = inputs[state] if state in overwritten else arrays.take(y.shape, y.dtype, 0)
        binding.bind_ortvalue_output(key, OrtValue.ortvalue_from_numpy(outputs[key]))
    return lambda: (session.native.run_with_iobinding(binding), inputs, outputs)  # which must outlive the runs


def race(runs: Sequence[Run | None], seconds: float) -> list[float]:
    """Return the minimum time of each run in seconds: infinite if there is none, or if it fails.

    All take turns, in alternating order, so that other load on the machine, which can only add to the times, affects
    them alike. A run drops out once it is clearly slower than the fastest, which takes the fewer rounds the slower it
    is. The race ends when one is left, after the maximum number of rounds, or when `seconds` are over and the minima
    have settled.
    """
    found: list[list[float]] = [[] for _ in runs]
    left = [i for i, run in enumerate(runs) if run is not None]
    begin = perf_counter()
    for round_number in range(ROUNDS[1] + 1):
        for i in left[:: -1 if round_number % 2 else 1]:
            found[i].append(turn(runs[i], seconds / TURNS))
        left = [i for i in left if isfinite(found[i][-1])]
        if round_number == 0:  # the first runs allocate memory
            continue
        left = _left(found, left, round_number)
        spent = perf_counter() - begin
        settled = spent > seconds and round_number >= ROUNDS[0] and all(_gap(found[i]) < SETTLED for i in left)
        if len(left) < 2 or settled or spent > OVERTIME * seconds:
            break
    return [min(times, default=inf) if not times or isfinite(times[-1]) else inf for times in found]


def _left(found: Sequence[list[float]], left: Sequence[int], rounds: int) -> list[int]:
    """Return the runs that may yet turn out to be the fastest."""
    if rounds < ROUNDS[0]:
        return list(left)
    fastest = min((min(found[i]) for i in left), default=inf)
    return [i for i in left if min(found[i]) <= fastest * (1 + 0.3 / rounds) * _gap(found[i])]


def _gap(times: Sequence[float]) -> float:
    """Return the ratio of the two shortest times: 1 if other load does not affect the minimum."""
    first, second = sorted(times)[:2]
    return second / first


def turn(run: Run | None, seconds: float) -> float:
    """Return the minimum time of a run in seconds, of as many as take `seconds`; infinite if it fails."""
    assert run is not None
    found: list[float] = []
    try:
        while sum(found) < seconds:
            begin = perf_counter()
            run()
            found.append(perf_counter() - begin)
    except Exception:  # onnxruntime may raise anything
        return inf
    return min(found)


def known_sizes(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    assert None not in shape, shape
    return tuple(size or 0 for size in shape)


def _numbers(shape: tuple[int, ...], dtype: str, fill: float | None, random: np.random.Generator) -> Array:
    """Return an array of a number or, without `fill`, of random numbers of the magnitude of weights, which neither
    vanish nor grow; denormal numbers would be slow. Integers are 0."""
    import numpy as np

    if fill is not None or dtype != "float32":
        return np.full(shape, fill or 0, dtype)
    return np.asarray(random.standard_normal(shape, np.float32) / prod((1, *shape[1:])) ** 0.5, dtype)


if __name__ == "__main__":
    serve()
