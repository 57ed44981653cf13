"""Where a training step becomes something that runs: the one place that knows lowerings, threads and providers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from netdsl.lowering import LOWERINGS
from netdsl.train.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.ir.graph import Graph
    from netdsl.train.runner import Arrays


class Choices:
    """How a step is computed, which decides its last bits: a lowering, a number of threads, and a provider.

    `lowered` are the lowering's own choices, once they are made, as JSON has them; given again, they are kept to.
    """

    __slots__ = ("allow_fallback", "lowered", "lowering", "provider", "threads")

    def __init__(
        self,
        lowering: str = "auto",
        threads: int | None = None,
        provider: str = "cpu",
        allow_fallback: bool = False,
        lowered: Mapping[str, Any] | None = None,
    ) -> None:
        assert lowering in LOWERINGS, lowering
        self.lowering = lowering
        self.threads = threads or default_threads()
        self.provider = provider
        self.allow_fallback = allow_fallback
        self.lowered = lowered

    def how(self) -> dict[str, Any]:
        """What a session takes of them."""
        return {"threads": self.threads, "provider": self.provider, "allow_fallback": self.allow_fallback}

    def kept(self) -> dict[str, object]:
        """What a checkpoint keeps of them."""
        kept = {"lowering": self.lowering, "threads": self.threads, "provider": self.provider}
        return {**kept, "lowered": self.lowered}


def default_threads() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare(graph: Graph, state: Arrays, choices: Choices) -> Runner:
    """A runner of a step, with the state that it begins with, which it takes. `auto` becomes what it was chosen to be.

    Raises NoProvider and FellBack.
    """
    from netdsl.emit import emit
    from netdsl.lowering import lower_step
    from netdsl.passes.finish import finish
    from netdsl.step import LOSS

    lowering = choices.lowering if choices.provider.partition(":")[0] == "cpu" else "std"
    lowered = lower_step(graph, lowering, threads=choices.threads, choices=choices.lowered)
    choices.lowering, choices.lowered = lowered.choices["lowering"], lowered.choices
    finished = finish(lowered.graph, LOSS)
    model = emit(finished.graph).model.SerializeToString()
    return Runner(graph, model, state, finished=finished, layouts=lowered.layouts, **choices.how())
