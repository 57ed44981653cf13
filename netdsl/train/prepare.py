"""Prepare a training step: compile it, and load it into a session."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from netdsl.backend.heap import return_memory
from netdsl.base.child import in_child
from netdsl.ir.graph import Graph, Value
from netdsl.passes.finish import Finished
from netdsl.passes.mixed import half_type
from netdsl.train.fused_ops import are_supported
from netdsl.train.runner import Choices, Runner, finish_step, lower, to_run
from netdsl.train.step_backend import select_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from netdsl.base.dtypes import Array
    from netdsl.passes.blocked import Layout

LARGE_GRAPH = 2**9
"""Minimum number of operations of a step that is compiled in a child process."""


class Compiled:
    """A step for our own session: the bytes of its model, its finished form, the layouts of its states, and the choices
    of the backend."""

    __slots__ = ("choices", "finished", "layouts", "model")

    def __init__(
        self, model: bytes, finished: Finished, layouts: Mapping[str, Layout], choices: Mapping[str, Any]
    ) -> None:
        self.model = model
        self.finished = finished
        self.layouts = layouts
        self.choices = choices


def prepare(
    graph: Graph, state: dict[str, Array], choices: Choices, shown: Callable[[int, int], None] | None = None
) -> Runner:
    """Return a runner of a step that takes ownership of its initial state. In `choices`, the selected backend replaces
    `auto`; `shown` is for `choose_backend`. Raises NoProvider and FellBack."""
    done = compile_step(graph, choices, shown)
    runner = Runner(graph, done.model, state, finished=done.finished, layouts=done.layouts, **choices.how())
    del done
    return_memory()
    return runner


def compile_step(graph: Graph, choices: Choices, shown: Callable[[int, int], None] | None = None) -> Compiled:
    """Compile a step. A large one is compiled in a child process where that is possible, as the graphs of the passes
    would leave gaps in the heap of this one, which would not return to the system. `prepare` has the arguments."""
    if len(graph.operations) < LARGE_GRAPH or choices.provider != "cpu" or half_type(graph):
        return _compiled(graph, choices, shown)
    choices.lowered = select_backend(
        graph, choices.step_backend, threads=choices.threads, choices=choices.lowered, shown=shown
    )
    are_supported()  # onnxruntime does not run in the child
    found = in_child(lambda: pickle.dumps(_without_operations(_compiled(graph, choices))))
    if found is None:
        return _compiled(graph, choices)
    done: Compiled = pickle.loads(found)
    choices.chosen(done.choices)
    return done


def _compiled(graph: Graph, choices: Choices, shown: Callable[[int, int], None] | None = None) -> Compiled:
    lowered = lower(graph, choices, shown)
    finished = finish_step(lowered.graph, choices)
    return Compiled(to_run(finished.graph), finished, lowered.layouts, lowered.choices)


def _without_operations(done: Compiled) -> Compiled:
    """Return a step in f32 without what only its compilation needs."""
    old, new = done.finished.graph, Graph(done.finished.graph.name)
    for name, x in {**old.inputs, **old.parameters}.items():
        if name not in old.state:
            new.input(name, x.shape, x.dtype)
    for name, state in old.state.items():
        before = new.state_input(name, state.before.shape, state.before.dtype)
        new.update(before, Value(new, before.shape, before.dtype), state.initial)
    for name, y in old.outputs.items():
        new.output(name, Value(new, y.shape, y.dtype, name=y.name))
    finished = Finished(new, done.finished.parts, done.finished.overwritten, done.finished.joined)
    return Compiled(done.model, finished, done.layouts, done.choices)
