"""Run a model with onnxruntime's profiler and without, and attribute the time of its kernels to places."""

from __future__ import annotations

import os
from contextlib import suppress
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from netdsl.backend.session import OPTIMIZED
from netdsl.base.user_error import UserError
from netdsl.profiling.attribution import Attribution, RunNode
from netdsl.profiling.flops import flops, moved
from netdsl.profiling.model_nodes import model_nodes, read_model
from netdsl.profiling.profile import Cost
from netdsl.profiling.session_profile import read_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from onnxruntime import InferenceSession

    from netdsl.profiling.attribution import Owned
    from netdsl.profiling.model_nodes import ModelNode, ModelNodes
    from netdsl.profiling.profile import Place
    from netdsl.profiling.session_profile import Kernel, SessionProfile

WARM_UP = 2
"""Runs before those that count: memory is reserved, and kernels choose their forms."""

MIN_RUNS, MIN_SECONDS = 5, 2.0
"""Runs with the profiler, and as many without it, unless they take longer."""

MAX_EVENTS = 40_000
"""Maximum number of kernels that are recorded; their events take a kilobyte each."""

LOOPS = frozenset({"Scan", "Loop", "SequenceMap"})
"""Operators whose bodies run many times, with an event for each of their operators."""

BODY_SECONDS = MAX_EVENTS * 5e-6
"""Time of the runs of a model with loops: the number of events in a run is not known before, and each takes some
microseconds."""

PERCENT = 100
"""Progress of each of the two parts of a measurement, when it is complete."""


SLOWER = 0.05
"""Relative overhead of the profiler above which it is reported."""


class TooManyKernels(UserError, code="E0943", title="a run with too many operators to profile"):
    """onnxruntime's profiler records a million operators, which must suffice for several runs. Each round of a loop
    counts: a shorter input or a smaller batch has fewer.

    ```sh
    netdsl profile net.net --input text=1000
    ```
    """


class Measured(NamedTuple):
    """The runs with the profiler, the times of those without it in seconds, and the profiler's file."""

    profile: SessionProfile
    seconds: list[float]
    raw: bytes

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def warnings(self) -> list[str]:
        """What the profiler costs, if it is much."""
        with_profiler = sum(kernel.seconds for kernel in self.profile.kernels) + self.profile.between
        slower = with_profiler / self.median - 1
        if slower <= SLOWER:
            return []
        return [f"the profiler makes a run {100 * slower:.0f} % slower: shares of short operators are too large"]


def measure(
    run: Callable[[], object],
    session: InferenceSession,
    operators: Collection[str],
    show: Callable[[int], None],
    before: int = 0,
) -> Measured:
    """Run a session that was opened with `profile`, with the profiler and then without it, and remove its file.

    `operators` are those of the model's nodes, `show` is called with what is done, up to 2 PERCENT, and `before` is the
    number of earlier runs. Raises TooManyKernels.
    """
    most = max(MIN_RUNS, MAX_EVENTS // max(1, len(operators)))
    seconds = min(MIN_SECONDS, BODY_SECONDS) if LOOPS.intersection(operators) else MIN_SECONDS
    for _ in range(WARM_UP):
        run()
    _runs(run, most, seconds, show)
    path = session.end_profiling()
    with open(path, "rb") as file:
        raw = file.read()
    os.remove(path)
    profile = read_profile(raw, before + WARM_UP)
    if not profile.runs:
        raise TooManyKernels("a run has more operators, with the rounds of its loops, than onnxruntime records")
    without = _runs(run, most, MIN_SECONDS, lambda percent: show(PERCENT + percent))
    return Measured(profile, without, raw)


def _timed(run: Callable[[], object]) -> float:
    begin = perf_counter()
    run()
    return perf_counter() - begin


def _runs(run: Callable[[], object], most: int, seconds: float, show: Callable[[int], None]) -> list[float]:
    found: list[float] = []
    while len(found) < MIN_RUNS or (sum(found) < seconds and len(found) < most):
        found.append(_timed(run))
        show(round(PERCENT * min(1, len(found) / MIN_RUNS, max(sum(found) / seconds, len(found) / most))))
    return found


def optimized_nodes(folder: str) -> list[ModelNode]:
    """Return the nodes of the optimized model that a session wrote to a folder; none if it did not."""
    with suppress(Exception):  # a provider that compiles the model cannot write it
        return model_nodes(read_model(os.path.join(folder, OPTIMIZED))).nodes
    return []


def kernel_owners(
    model: ModelNodes, kernels: Sequence[Kernel], optimized: Sequence[ModelNode]
) -> tuple[Attribution, list[Owned]]:
    """Return which nodes of a model each kernel computes. The values of kernels are those of the optimized model."""
    found = Attribution(model.nodes, _run_nodes(kernels, optimized))
    return found, found.owned


def _run_nodes(kernels: Sequence[Kernel], optimized: Sequence[ModelNode]) -> list[RunNode]:
    """Return the nodes that ran. One without a name has that of its operator and number in the profile; it is known by
    its position, since onnxruntime writes the optimized model in the order of execution."""
    values = {(node.name, node.op): (node.inputs, node.outputs) for node in optimized}
    names = [kernel.name for kernel in kernels]
    if [kernel.op for kernel in kernels] == [node.op for node in optimized]:
        for at, kernel in enumerate(kernels):
            if kernel.name == f"{kernel.op}_{kernel.index}":
                names[at] = optimized[at].name
    return [
        RunNode(name, kernel.op, *values.get((name, kernel.op), ()))
        for name, kernel in zip(names, kernels, strict=True)
    ]


def costs(
    model: ModelNodes,
    kernels: Sequence[Kernel],
    optimized: Sequence[ModelNode],
    place_of: Callable[[ModelNode, Kernel], Place],
) -> list[Cost]:
    """Return the costs of kernels in the order of execution, with the places of what they compute."""
    found = []
    for kernel, owned in zip(kernels, kernel_owners(model, kernels, optimized)[1], strict=True):
        main = None if owned.main is None else place_of(owned.main, kernel)
        others = dict.fromkeys(place_of(node, kernel) for node in owned.nodes)
        found.append(
            Cost(
                place=main,
                name=kernel.name,
                op=kernel.op,
                seconds=kernel.seconds,
                flops=flops(kernel, owned, model.weights),
                moved=moved(kernel, owned, model.weights),
                joined=[each for each in others if main is None or each.layer != main.layer],
                layout=owned.layout,
            )
        )
    return found
