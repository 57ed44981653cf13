"""What is fastest here, measured once and remembered: a JSON file for each machine, by the step's operations.

The file is `tuning.json` in `NETDSL_CACHE`, else in `netdsl` below the user's cache folder. What it says holds for one
processor, one number of threads and one version of onnxruntime; a file that cannot be read is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from netdsl.diagnostics.user_error import UserError
from netdsl.emit import ELEMENT_TYPES, emit
from netdsl.files import write_atomically
from netdsl.passes.blocked import Lowered, lower_blocked
from netdsl.step import portable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.ir.graph import Graph, Value

REVISION = 1
"""Of the recipes: what was measured before another is measured again."""

SECONDS = 0.3
"""How long a candidate is timed, beyond a first run and one that counts."""


def choose(graph: Graph, block: int, threads: int | None = None) -> dict[str, Any]:
    """The choices for a training step, remembered or measured: its lowering and, for `blk`, the recipes."""
    cache = Cache(_machine(threads))
    key = signature(graph)
    found = cache.get(key)
    if found is None or (found["lowering"] == "blk" and found.get("block") != block):
        found = measured(graph, block, threads)
        cache.put(key, found)
    return found


def measured(graph: Graph, block: int, threads: int | None = None) -> dict[str, Any]:
    """The choices for a training step by their times; these are among them, as milliseconds."""
    blocked = lower_blocked(graph, block)
    times = {"std": seconds(portable(graph), threads), "blk": seconds(blocked.graph, threads)}
    best = min(times, key=lambda name: times[name])
    milliseconds = {name: round(1000 * value, 3) for name, value in times.items()}
    choices = dict(blocked.choices) if best == "blk" else {"lowering": "std"}
    return {**choices, "milliseconds": milliseconds}


def seconds(graph: Graph, threads: int | None = None) -> float:
    """The median time of a step on random numbers."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads or 0
    model = emit(graph).model.SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = {**graph.inputs, **graph.parameters, **{name: state.before for name, state in graph.state.items()}}
    wanted = {each.name for each in session.get_inputs()}
    random = np.random.default_rng(0)
    feeds = {name: _numbers(x, random) for name, x in given.items() if name in wanted}
    return _timed(lambda: session.run(None, feeds))


def _timed(run: Callable[[], object]) -> float:
    run()
    found: list[float] = []
    while not found or sum(found) < SECONDS:
        begin = perf_counter()
        run()
        found.append(perf_counter() - begin)
    return float(np.median(found))


def _numbers(x: Value, random: np.random.Generator) -> Any:
    """Of the size that weights have, so that they neither vanish nor grow: numbers near 0 are slow."""
    kind = ELEMENT_TYPES[x.dtype][1]
    if x.dtype != "f32":
        return np.zeros(x.shape, kind)
    fan_in = np.prod([size for size in x.shape[1:] if isinstance(size, int)], dtype=float)
    return np.array(random.standard_normal(x.shape) / max(1.0, fan_in) ** 0.5, kind)


def signature(graph: Graph) -> str:
    """What a step's times depend on: its operations and their shapes."""
    digest = hashlib.sha256()
    for operation in graph.operations:
        op = operation.op
        slots = [name for kind in type(op).__mro__ for name in getattr(kind, "__slots__", ())]
        attributes = [(name, getattr(op, name)) for name in slots]
        operands = [(x.shape, x.dtype) for x in operation.inputs]
        digest.update(repr((type(op).__name__, attributes, operands)).encode())
    return digest.hexdigest()[:32]


def _machine(threads: int | None) -> str:
    """The processor, the threads, and who computes."""
    cores = os.cpu_count() or 1
    return f"{_processor()}, {threads or cores} of {cores} cores, onnxruntime {onnxruntime.__version__}, {REVISION}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


class Cache:
    """What is remembered of one machine: choices by the signatures of steps."""

    __slots__ = ("_machine", "path")

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self.path = os.path.join(folder(), "tuning.json")

    def get(self, key: str) -> dict[str, Any] | None:
        found = self._read().get(self._machine, {}).get(key)
        valid = isinstance(found, dict) and found.get("lowering") in ("std", "blk")
        return found if valid and isinstance(found.get("recipes", {}), dict) else None

    def put(self, key: str, choices: Mapping[str, Any]) -> None:
        """Remember choices, beside those of other steps; where that cannot be, they are measured again next time."""
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
    """Where it is remembered."""
    if given := os.environ.get("NETDSL_CACHE"):
        return given
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "netdsl")


__all__ = ["Cache", "Lowered", "choose", "folder", "measured", "seconds", "signature"]
