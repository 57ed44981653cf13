"""A training step that runs: onnxruntime's session, and the state that lives between the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from netdsl.emit import ELEMENT_TYPES, NEXT
from netdsl.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.ir.graph import Graph, Value

    Array = np.ndarray[Any, np.dtype[Any]]
    Values = dict[str, Any]


class Runner:
    """Runs steps, one after the other.

    The state stays where the session reads it: two sets, read and written in turn, so that nothing is copied, and what
    a step began with is whole until the next.
    """

    __slots__ = ("_bindings", "_inputs", "_outputs", "_session", "_sets", "_still", "_turn", "graph")

    def __init__(
        self,
        graph: Graph,
        model: bytes,
        state: Mapping[str, Array],
        *,
        threads: int | None = None,
        provider: str = "cpu",
        allow_fallback: bool = False,
    ) -> None:
        """`model` is the emitted graph; `state` has an array for each parameter and each part of the graph's state.
        Raises NoProvider and FellBack."""
        self.graph = graph
        opened = Session(model, provider=provider, threads=threads, name=graph.name, allow_fallback=allow_fallback)
        self._session = opened.native
        self._still = {name: _value(state[name]) for name in graph.parameters if name not in graph.state}
        self._sets: list[Values] = [{name: _value(state[name]) for name in graph.state} for _ in range(2)]
        self._inputs = {name: _value(_zeros(x)) for name, x in graph.inputs.items()}
        self._outputs = {name: _value(_zeros(y)) for name, y in graph.outputs.items()}
        self._bindings = [self._bind(before, after) for before, after in (self._sets, self._sets[::-1])]
        self._turn = 0

    def step(self, feeds: Mapping[str, Array]) -> None:
        """Run one step. `feeds` has a batch for each of the graph's inputs, and the rate."""
        for name, array in feeds.items():
            self._inputs[name].update_inplace(array)
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn ^= 1

    def result(self, name: str) -> Array:
        """A result of the last step; the next one overwrites it."""
        return self._outputs[name].numpy()  # type: ignore[no-any-return]

    def state(self) -> dict[str, Array]:
        """The state after the last step, and the parameters that no step changes, by name, as copies."""
        return {name: value.numpy().copy() for name, value in self.values().items()}

    def values(self) -> Values:
        """The same, as onnxruntime has it, without a copy: it is good until the next step but one."""
        return {**self._still, **self._sets[self._turn]}

    def before(self) -> dict[str, Array]:
        """What the last step began with, by name, as copies."""
        values = {**self._still, **self._sets[self._turn ^ 1]}
        return {name: value.numpy().copy() for name, value in values.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a state."""
        for name, value in self.values().items():
            value.update_inplace(np.ascontiguousarray(state[name]))

    def _bind(self, before: Values, after: Values) -> Any:
        binding = self._session.io_binding()
        for name, value in {**self._inputs, **self._still, **before}.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            binding.bind_ortvalue_output(name, value)
        for name, value in after.items():
            binding.bind_ortvalue_output(name + NEXT, value)
        return binding


def initial_state(graph: Graph, weights: Mapping[str, Array]) -> dict[str, Array]:
    """What training begins with: weights that are drawn or read, and whatever else the graph's state is filled with."""
    state = dict(weights)
    for name, each in graph.state.items():
        if each.initial is not None:
            state[name] = np.full_like(_zeros(each.before), each.initial)
    return state


def _zeros(x: Value) -> Array:
    return np.zeros(x.shape, ELEMENT_TYPES[x.dtype][1])


def _value(array: Array) -> Any:
    """A copy of its own, where the session reads it."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.array(array))
