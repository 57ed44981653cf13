"""Run a training step: onnxruntime's session, and the state between steps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np
import onnxruntime

from netdsl.backend.emit import ELEMENT_TYPES, NEXT, emit
from netdsl.backend.session import Session, failed
from netdsl.ir.graph import LOSS
from netdsl.ops.base import known
from netdsl.passes.blocked import Lowered
from netdsl.passes.finish import Finished, finish
from netdsl.passes.join_states import ALIGNMENT
from netdsl.passes.mixed import emulated, half_type
from netdsl.train.fused_ops import are_supported
from netdsl.train.precision import PRODUCT_NODES, session_opset
from netdsl.train.step import AVERAGE, GRADIENT
from netdsl.train.step_backend import STEP_BACKENDS, current_name, lower_step, stored_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from onnxruntime import InferenceSession, OrtValue

    from netdsl.base.dtypes import Array
    from netdsl.ir.graph import Graph, Value
    from netdsl.passes.blocked import Layout

    Arrays = dict[str, Array]

LARGE_STATE = 2**26
"""Minimum size of a large state in bytes."""


STOP, SAVE = 0, 1
"""Places of the signals to stop, and to write a checkpoint."""


class Runner:
    """Runs steps one after the other.

    The state stays in the buffers of the session: two sets, read and written alternately, so that nothing is copied.
    States that can be updated in place have a single buffer. After a step whose loss is not finite, the state before
    the step is intact. `signals` are numbers that a step adds up over all processes that train together.
    """

    in_turns: ClassVar[bool] = False
    """Whether several sessions run a step in turns."""

    __slots__ = ("_bound", "_layouts", "_outputs", "_sets", "_stopped", "_turn", "graph", "signals")

    def __init__(
        self,
        graph: Graph,
        model: bytes,
        state: Arrays,
        *,
        finished: Finished | None = None,
        layouts: Mapping[str, Layout] | None = None,
        threads: int | None = None,
        provider: str = "cpu",
        allow_fallback: bool = False,
        profile: str = "",
    ) -> None:
        """Initialize. `model` is the emitted graph, or its `finished` form; `layouts` has the layouts of states
        that are not plain; `profile` is for the session. `state` has a plain array for each parameter and each state of
        the graph; each is removed once it is copied, so that there is no second state of that size. Raises NoProvider
        and FellBack.
        """
        self.graph = graph
        self.signals = np.zeros(2, np.float32)
        done = finished or Finished(graph, {}, frozenset())
        self._layouts = layouts or {}
        opened = Session(
            model,
            provider=provider,
            threads=threads,
            name=graph.name,
            allow_fallback=allow_fallback,
            in_order=finished is not None,
            in_turns=self.in_turns,
            never_left=PRODUCT_NODES if half_type(done.graph) else (),
            profile=profile,
        )
        first = self._placed(
            {name: self._encoded(name, state.pop(name)) for name in {**graph.parameters, **graph.state}}
        )
        once = self._once(done) if opened.provider == "cpu" else {*graph.parameters} - {*graph.state}
        second = {name: array if name in once else array.copy() for name, array in first.items()}
        self._sets = _joined(first, done), _joined(second, done)
        self._outputs = {name: zeros(y) for name, y in graph.outputs.items()}
        self._bound = [Bound(opened.native, done, *sets, self._outputs) for sets in (self._sets, self._sets[::-1])]
        self._turn = 0
        self._stopped = False

    def step(self, feeds: Mapping[str, Array]) -> None:
        """Run one step. `feeds` has a batch for each input of the graph, and the learning rate.

        If the loss is not finite, the state may stay unchanged. Raises RunFailed, for example for an index out of range
        of an embedding.
        """
        self._stopped = not self._bound[self._turn].run(feeds)
        if not self._stopped:
            self._turn ^= 1

    def result(self, name: str) -> Array:
        """Return an output of the last step as a copy."""
        return self._outputs[name].copy()

    def batch_of(self, feeds: Mapping[str, Array]) -> tuple[Mapping[str, Array], int] | None:
        """Return the feeds of the part of the last step whose loss is not finite, from those of the step, and the
        number of the step's rows before it; None if it is in another process."""
        return feeds, 0

    def state(self) -> Arrays:
        """Return the state after the last step, and the parameters that no step changes, by name, as copies."""
        return {name: np.array(array) for name, array in self.live().items()}

    def live(self, names: Iterable[str] | None = None) -> Mapping[str, Array]:
        """Return all states, or the named ones, valid until the next step. Plain ones are not copied, others are
        converted on access."""
        return Live(self._sets[self._turn], self._layouts, self._kept if names is None else names)

    def values(self) -> dict[str, OrtValue]:
        """Return all states."""
        return {name: _value(array) for name, array in self.live().items()}

    def before(self) -> Arrays:
        """Return the state at the beginning of the last step by name, as copies; large states only if its loss was not
        finite."""
        before = Live(self._sets[self._turn if self._stopped else self._turn ^ 1], self._layouts, self._kept)
        return {name: np.array(array) for name, array in before.items()}

    @property
    def session(self) -> InferenceSession:
        """The session that runs the steps."""
        return self._bound[0].session

    @property
    def is_large(self) -> bool:
        """Whether a copy of the state should be avoided."""
        return sum(self._sets[self._turn][name].nbytes for name in self._kept) >= LARGE_STATE

    def restore(self, state: Mapping[str, Array]) -> None:
        """Resume from a state."""
        for name in self._kept:
            self._sets[self._turn][name][...] = self._encoded(name, state[name])

    @property
    def _kept(self) -> list[str]:
        """The names of all states but the sums of gradients, which are 0 between steps."""
        own = {**self.graph.parameters, **self.graph.state}
        return [name for name in self._sets[self._turn] if name in own and not name.startswith(GRADIENT)]

    def _encoded(self, name: str, array: Array) -> Array:
        """Return a copy in the layout of the session."""
        return np.array(self._layouts[name].encode(array) if name in self._layouts else array, order="C")

    def _once(self, finished: Finished) -> set[str]:
        """Return the names of states with a single buffer: parameters that do not change, and states updated in
        place."""
        still = {*self.graph.parameters} - {*self.graph.state}
        parts = {name: finished.parts.get(name, [name]) for name in self.graph.state}
        return still | {name for name, each in parts.items() if finished.overwritten.issuperset(each)}

    def _placed(self, state: Arrays) -> Arrays:
        """Return the initial state in the arrays that hold it."""
        return state


class Bound:
    """A session with its states and outputs bound to arrays: it reads one set of states and writes the other."""

    __slots__ = ("_binding", "_fed", "_halves", "_name", "_outputs", "session")

    def __init__(
        self, session: InferenceSession, finished: Finished, before: Arrays, after: Arrays, outputs: Arrays
    ) -> None:
        graph = finished.graph
        self.session = session
        self._binding = session.io_binding()
        self._name = graph.name
        self._outputs = outputs
        states = finished.split(before)
        self._fed = [name for name in graph.inputs if name not in states]
        self._halves = {name for name, x in graph.inputs.items() if x.dtype == "bf16"}
        for name, array in states.items():
            if name in graph.parameters or name in graph.state or name in graph.inputs:
                self._binding.bind_ortvalue_input(name, _value(array, name in self._halves))
        for name, y in graph.outputs.items():
            self._binding.bind_ortvalue_output(name, _value(outputs[name], y.dtype == "bf16"))
        for name, array in finished.split(after).items():
            if name in graph.state:
                self._binding.bind_ortvalue_output(name + NEXT, _value(array))

    def run(self, feeds: Mapping[str, Array]) -> bool:
        """Run the session; return False if it stopped because the loss is not finite. Raises RunFailed."""
        # The session reads these arrays in place, so they must outlive the run.
        contiguous = {name: np.asarray(feeds[name], order="C") for name in self._fed}
        for name, array in contiguous.items():
            self._binding.bind_ortvalue_input(name, _value(array, name in self._halves))
        try:
            self.session.run_with_iobinding(self._binding)
        except Exception as error:
            if LOSS not in self._outputs or np.isfinite(self._outputs[LOSS]):
                raise failed(self._name, error) from None
            return False
        return True


class Live(Mapping[str, "Array"]):
    """The named states, each converted to the plain layout on access."""

    __slots__ = ("_arrays", "_layouts", "_names")

    def __init__(self, arrays: Arrays, layouts: Mapping[str, Layout], names: Iterable[str]) -> None:
        self._arrays = arrays
        self._layouts = layouts
        self._names = list(names)

    def __getitem__(self, name: str) -> Array:
        array = self._arrays[name]
        return self._layouts[name].decode(array) if name in self._layouts else array

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def initial_state(graph: Graph, weights: Mapping[str, Array]) -> Arrays:
    """Return the initial state: weights, drawn or read, which their averages start from, and the fill values of the
    other states, which are read-only and take no memory."""
    state = dict(weights)
    for name, each in graph.state.items():
        if name.endswith(AVERAGE) and name not in weights:
            state[name] = weights[name.removesuffix(AVERAGE)]
        elif each.initial is not None:
            filling = np.array(each.initial, ELEMENT_TYPES[each.before.dtype][1])
            state[name] = np.broadcast_to(filling, known(each.before.shape))
    return state


def _joined(state: Arrays, finished: Finished) -> Arrays:
    """Return a state with the joined ones, of which their members are views."""
    made = dict(state)
    for name, members in finished.joined.items():
        made[name], views = aligned_views({member: state[member].shape for member in members})
        for member, view in views.items():
            view[...] = state[member]
            made[member] = view
    return made


def aligned_views(shapes: Mapping[str, tuple[int, ...]], more: int = 0) -> tuple[Array, Arrays]:
    """Return a flat array of zeros, and aligned views of it of these shapes, followed by `more` elements."""
    begins = np.cumsum([0, *(-(-prod(shape) // ALIGNMENT) * ALIGNMENT for shape in shapes.values())])
    size = int(begins[-1]) + more
    whole = np.zeros(size + ALIGNMENT, np.float32)
    flat = whole[-whole.ctypes.data // 4 % ALIGNMENT :][:size]
    views = {
        name: flat[begin : begin + prod(shape)].reshape(shape)
        for begin, (name, shape) in zip(begins, shapes.items(), strict=False)
    }
    return flat, views


def zeros(x: Value) -> Array:
    """Return an array for a value of known shape."""
    return np.zeros(known(x.shape), ELEMENT_TYPES[x.dtype][1])


def _value(array: Array, is_bf16: bool = False) -> OrtValue:
    """Return a value that shares the memory of an array, which has the bits of bf16 if that is its type."""
    if is_bf16:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, ELEMENT_TYPES["bf16"][0])
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


class SessionArguments(TypedDict):
    """Keyword arguments of a session."""

    threads: int | None
    provider: str
    allow_fallback: bool


class Choices:
    """How a step is computed, which determines its last bits: step backend, number of threads, and provider.

    With `emulated`, half precision is emulated in f32.
    `lowered` has the choices of the backend as JSON data once they are made, and reproduces them if passed in; `shards`
    is the number of shards for a recipe that has none, None for one in each process.
    """

    __slots__ = ("allow_fallback", "emulated", "lowered", "provider", "shards", "step_backend", "threads")

    def __init__(
        self,
        step_backend: str = "auto",
        threads: int | None = None,
        provider: str = "cpu",
        allow_fallback: bool = False,
        lowered: Mapping[str, Any] | None = None,
        shards: int | None = None,
        emulated: bool = False,
    ) -> None:
        assert step_backend in STEP_BACKENDS, step_backend
        self.step_backend = step_backend
        self.threads = threads or default_threads()
        self.provider = provider
        self.allow_fallback = allow_fallback
        self.lowered = lowered
        self.shards = shards
        self.emulated = emulated

    def how(self) -> SessionArguments:
        """Return the arguments for a session."""
        return {"threads": self.threads, "provider": self.provider, "allow_fallback": self.allow_fallback}

    def chosen(self, lowered: Mapping[str, Any]) -> None:
        """Take over the choices of the backend."""
        self.step_backend, self.lowered = current_name(lowered["lowering"]), lowered

    def kept(self) -> dict[str, object]:
        """Return the entries of a checkpoint."""
        kept = {"lowering": stored_name(self.step_backend), "threads": self.threads, "provider": self.provider}
        more = {"emulated": True} if self.emulated else {}
        return {**kept, "lowered": self.lowered, "shards": self.shards, **more}


def default_threads() -> int:
    """Return the number of cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def to_run(graph: Graph) -> bytes:
    """Return the model of a finished graph for our own session."""
    model: bytes = emit(graph, opset=session_opset(graph), lean=True).model.SerializeToString()
    return model


def finish_step(graph: Graph, choices: Choices, watched: str | None = LOSS) -> Finished:
    """Prepare a lowered step for a session; `watched` is as for `finish`."""
    fused = choices.provider.partition(":")[0] == "cpu" and are_supported()
    return finish(graph, watched, fused=fused)


def lower(graph: Graph, choices: Choices, shown: Callable[[int, int], None] | None = None) -> Lowered:
    """Lower a step as chosen. In `choices`, the selected backend replaces `auto`."""
    backend = choices.step_backend if choices.provider.partition(":")[0] == "cpu" else "plain"
    lowered = lower_step(graph, backend, threads=choices.threads, choices=choices.lowered, shown=shown)
    choices.chosen(lowered.choices)
    return Lowered(emulated(lowered.graph), lowered.layouts, lowered.choices) if choices.emulated else lowered
