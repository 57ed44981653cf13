"""Read the profile that onnxruntime writes: the time of each run, and that of each kernel in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from statistics import median
from typing import Any

KERNEL = "_kernel_time"
"""Suffix of the event of a node's kernel."""

MEMORY = "mem_in_use_peak"
"""Bytes of the arena in use at most until a kernel ends; newer versions of onnxruntime tell them."""

Shape = tuple[int, ...]


class Kernel:
    """A kernel of the optimized model and its times in seconds, one for each run.

    `name` is that of its node, which can be empty; `inputs` and `outputs` are the shapes of its values in one run,
    without weights that the kernel stores in a form of its own. `read` and `written` are the bytes of its inputs
    without weights, and of its outputs. `inner` are the kernels that run inside it, such as those of a loop's body,
    which are part of its time.
    """

    __slots__ = ("index", "inner", "inputs", "name", "op", "outputs", "peak", "read", "times", "written")

    def __init__(self, name: str, op: str, index: int, arguments: Mapping[str, Any]) -> None:
        self.name = name
        self.op = op
        self.index = index
        self.times: list[float] = []
        self.inner: list[Kernel] = []
        self.inputs = _shapes(arguments, "input_type_shape")
        self.outputs = _shapes(arguments, "output_type_shape")
        self.read = int(arguments.get("activation_size", 0))
        self.written = int(arguments.get("output_size", 0))
        self.peak = int(arguments.get(MEMORY, 0))

    @property
    def seconds(self) -> float:
        """The median time of a run."""
        return median(self.times)

    def __repr__(self) -> str:
        return f"<{self.op} {self.name}: {1e3 * self.seconds:.3g} ms>"


def _shapes(arguments: Mapping[str, Any], key: str) -> list[Shape]:
    """Return the shape of each input or output. Sequences and maps have none."""
    found = arguments.get(key) or []
    return [tuple(shape) for each in found for shape in each.values() if isinstance(shape, list)]


class SessionProfile:
    """The runs of a session: the time of each in seconds, and the kernels in the order of execution."""

    __slots__ = ("kernels", "runs")

    def __init__(self, runs: list[float], kernels: list[Kernel]) -> None:
        self.runs = runs
        self.kernels = kernels
        for kernel in kernels:  # one in a branch does not run each time
            kernel.times += [0.0] * (len(runs) - len(kernel.times))

    @property
    def between(self) -> float:
        """The median time of a run outside kernels."""
        inside = (sum(kernel.times[at] for kernel in self.kernels) for at in range(len(self.runs)))
        return median(run - kernels for run, kernels in zip(self.runs, inside, strict=True))

    @property
    def peak(self) -> int:
        """The most bytes of the arena in use at once; 0 if onnxruntime does not tell."""
        return max((kernel.peak for kernel in self.kernels), default=0)


def read_profile(text: str | bytes, warm_up: int = 1) -> SessionProfile:
    """Return the profile in the JSON text that onnxruntime wrote, without the first `warm_up` runs."""
    events = sorted(json.loads(text), key=lambda event: (event.get("ts", 0), -event.get("dur", 0)))
    runs = [event for event in events if event.get("name") == "model_run"][warm_up:]
    kernels: dict[tuple[object, ...], Kernel] = {}
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(KERNEL)]
    at = 0
    for run in runs:
        begin, end = run["ts"], run["ts"] + run["dur"]
        while at < len(nodes) and nodes[at]["ts"] < begin:
            at += 1
        inside = at
        while at < len(nodes) and nodes[at]["ts"] < end:
            at += 1
        _add_run(nodes[inside:at], kernels)
    order = [kernel for key, kernel in kernels.items() if len(key) == 1]
    return SessionProfile([1e-6 * run["dur"] for run in runs], order)


def _add_run(events: list[dict[str, Any]], kernels: dict[tuple[object, ...], Kernel]) -> None:
    """Add the kernels of a run. An event within another one is of a kernel in its body."""
    around: list[tuple[float, Kernel, tuple[object, ...]]] = []
    numbers: dict[tuple[object, ...], count[int]] = {}
    for event in events:
        while around and event["ts"] >= around[-1][0]:
            around.pop()
        arguments = event["args"]
        name, op = event["name"].removesuffix(KERNEL), arguments["op_name"]
        index = int(arguments.get("node_index", -1))
        outer = around[-1][2] if around else ()
        key: tuple[object, ...] = (*outer, (index, name))
        if outer:  # the same node in each round of a loop
            key = (*key, next(numbers.setdefault(key, count())))
        kernel = kernels.get(key)
        if kernel is None:
            kernel = kernels[key] = Kernel(name, op, index, arguments)
            if around:
                around[-1][1].inner.append(kernel)
        kernel.times.append(1e-6 * event["dur"])
        kernel.peak = max(kernel.peak, int(arguments.get(MEMORY, 0)))
        around.append((event["ts"] + event["dur"], kernel, key))
