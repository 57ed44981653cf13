"""Measure which step backend is fastest, and cache the result by the operations of the step, in a JSON file per
machine.

The file is `tuning.json` in `NETDSL_CACHE`, by default in `netdsl` in the user's cache folder. It applies to one
processor, one number of threads and one version of onnxruntime; an unreadable file is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import warnings
from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any

import onnxruntime

from netdsl.base.files import write_atomically
from netdsl.base.shape import elements
from netdsl.base.user_error import UserError
from netdsl.base.version import VERSION
from netdsl.ir.graph import LOSS
from netdsl.lower import cost
from netdsl.ops.base import known
from netdsl.ops.convolution_gradients import ConvDw
from netdsl.passes.blocked import Lowered, candidate, kernel_choices, lower_blocked
from netdsl.passes.blocked.blocker import op_key
from netdsl.passes.finish import Finished, finish
from netdsl.passes.stages import alone
from netdsl.train.fused_ops import are_supported
from netdsl.train.step import portable
from netdsl.train.stopwatch import TIME_LIMIT, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.ir.graph import Graph
    from netdsl.passes.blocked.blocker import KernelChoice

REVISION = 13
"""Version of the kernels: older measurements are repeated."""

STEP_SECONDS = 6.0
"""Planned time of the race of step backends in seconds."""

MIN_MACS_PER_SECOND = 1e9
"""Multiplications per second below which a step counts as hanging."""

KERNEL_SECONDS = 0.02
"""Planned time of the race of the kernels of an operation in seconds."""

KERNELS_SECONDS = 20.0
"""Time in seconds after which no further kernels are measured; those of the largest operations are the first."""


class MeasuringHangs(RuntimeWarning):
    """A measurement did not end: the step is computed with `plain`, and measured again next time."""


def choose_backend(
    graph: Graph, block: int, threads: int | None = None, shown: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Return the choices for a training step, cached or measured: its backend and, for `nchwc`, its kernels.

    Backends have their stored names, `std` and `blk`. Without convolutions there is nothing to choose. `shown` is
    called with the time that measuring has taken and the planned time, in seconds.
    """
    if not any(isinstance(operation.op, ConvDw) for operation in graph.operations):
        return {"lowering": "std"}
    cache = Cache(_machine(threads))
    key = step_signature(graph)
    found = cache.get(key)
    if found is None or (found["lowering"] == "blk" and found.get("block") != block):
        found = measure_backends(graph, block, threads, shown)
        if found.get("milliseconds"):
            cache.put(key, found)
    return found


def measure_backends(
    graph: Graph, block: int, threads: int | None = None, shown: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Measure and return the choices for a training step, including the times in milliseconds.

    The kernels of a blocked step are measured one by one, and their combination is used if it makes the step faster.
    Candidates that fail are not chosen. If all fail, or a measurement hangs, `plain` is chosen, in the latter case with
    a MeasuringHangs warning.
    """
    with Stopwatch(threads, limit(graph)) as watch:
        recipes = measure_kernels(graph, block, watch, shown)
        plain, nchwc, tuned = standard(graph), lower_blocked(graph, block), lower_blocked(graph, block, recipes)
        steps = {"std": plain, "blk": nchwc} | ({"tuned": tuned} if tuned.choices != nchwc.choices else {})
        found = watch.race([finished(step.graph) for step in steps.values()], STEP_SECONDS)
    if watch.hung:
        text = f"measuring the step of {graph.name} hung and was stopped; the step is computed with `plain`"
        warnings.warn(MeasuringHangs(text), stacklevel=4)
        return dict(steps["std"].choices)
    times = dict(zip(steps, found, strict=True))
    best = min(times, key=times.__getitem__)
    milliseconds = {name: round(1000 * time, 3) for name, time in times.items() if isfinite(time)}
    return {**steps[best].choices, "milliseconds": milliseconds}


def measure_kernels(
    graph: Graph, block: int, watch: Stopwatch, shown: Callable[[int, int], None] | None = None
) -> dict[str, str]:
    """Return the fastest implementation of each operation of a blocked step, by the keys of the choices."""
    kernels = sorted(kernel_choices(graph, block), key=_size, reverse=True)
    begin, found = monotonic(), {}
    for done, choice in enumerate(kernels):
        spent = monotonic() - begin
        if spent > KERNELS_SECONDS:
            break
        if shown is not None and done:
            shown(round(spent), round(min(KERNELS_SECONDS, spent / done * len(kernels)) + STEP_SECONDS))
        rivals = [Finished(candidate(choice, each, block), {}, frozenset()) for each in choice.options]
        times = dict(zip(choice.options, watch.race(rivals, KERNEL_SECONDS), strict=True))
        best = min(times, key=times.__getitem__)
        # A small advantage may be noise.
        found[choice.key] = best if times[best] < 0.9 * times[choice.options[0]] else choice.options[0]
    return found


def _size(choice: KernelChoice) -> int:
    """Return the elements of the operands, which decide about an operation's time, as most windows are small."""
    return sum(elements(x.shape) for x in choice.operation.inputs)


def limit(graph: Graph) -> float:
    """Return the time in seconds after which a race of three steps, two runs of each, counts as hanging."""
    batch = max((known(x.shape)[0] for x in graph.inputs.values() if x.shape), default=1)
    macs = cost(graph)
    assert isinstance(macs, int), "a step's sizes are numbers"
    return TIME_LIMIT + 6 * batch * macs / MIN_MACS_PER_SECOND


def standard(graph: Graph) -> Lowered:
    """Return the step in standard ops and the plain layout."""
    return Lowered(portable(graph), {}, {"lowering": "std"})


def finished(graph: Graph) -> Finished:
    """Return a step as it is run."""
    graph = alone(graph)
    return finish(graph, LOSS, fused=are_supported()) if LOSS in graph.outputs else Finished(graph, {}, frozenset())


def step_signature(graph: Graph) -> str:
    """Return a digest of the operations of a step and their shapes, on which its time depends."""
    digest = hashlib.sha256()
    for operation in graph.operations:
        operands = [(x.shape, x.dtype) for x in operation.inputs]
        digest.update(f"{op_key(operation.op)} {operands}\n".encode())
    return digest.hexdigest()[:32]


def _machine(threads: int | None) -> str:
    """Return the processor, the number of threads, and the versions of onnxruntime, netdsl and its kernels."""
    cores, versions = os.cpu_count() or 1, f"onnxruntime {onnxruntime.__version__}, netdsl {VERSION}, {REVISION}"
    return f"{processor()}, {threads or cores} of {cores} cores, {versions}"


def processor() -> str:
    """Return the name of the processor, as reported by the system."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


class Cache:
    """The choices measured on one machine, by the signatures of steps."""

    __slots__ = ("_machine", "path")

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self.path = os.path.join(folder(), "tuning.json")

    def get(self, key: str) -> dict[str, Any] | None:
        found = self._read().get(self._machine, {}).get(key)
        if not isinstance(found, dict) or found.get("lowering") not in ("std", "blk"):
            return None
        return found if isinstance(found.get("recipes", {}), dict) else None

    def put(self, key: str, choices: Mapping[str, Any]) -> None:
        """Add choices to the file. If it cannot be written, they are measured again next time."""
        known = self._read()
        known.setdefault(self._machine, {})[key] = dict(choices)
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with write_atomically(self.path) as file:
                file.write(json.dumps(known, indent=1, sort_keys=True).encode() + b"\n")
        except (OSError, UserError):
            pass

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            with open(self.path, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        sound = isinstance(found, dict) and all(isinstance(each, dict) for each in found.values())
        return found if sound else {}


def folder() -> str:
    """Return the folder of the cache file."""
    if given := os.environ.get("NETDSL_CACHE"):
        return given
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "netdsl")
