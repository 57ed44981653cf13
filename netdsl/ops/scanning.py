"""Recurrences over an axis, whose step is a graph of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.formula import element_count
from netdsl.ir.graph import Graph
from netdsl.ir.op import Macro, OnnxNode, Op

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.formula import Count
    from netdsl.ir.graph import Value
    from netdsl.ir.reach import Reach

__all__ = ["scan"]


class Scan(Op):
    """Apply `body` to each slice of some values along their first axis, carrying a state. ONNX Scan.

    The first `states` inputs are the state before the first slice, the next `scanned` are the values that are sliced,
    and the others are read whole by every step. The inputs of the body are the state, one slice of each scanned value,
    and the others; its outputs are the new state and the slices of results. The results of the op are the last state,
    and the slices stacked along a new first axis. With `reverse`, the slices are read and written from the last to the
    first. An ONNX body refers to the values that are read whole by name, so they are not among the node's inputs.
    """

    __slots__ = ("body", "reverse", "scanned", "states")

    def __init__(self, body: Graph, states: int, scanned: int, reverse: bool = False) -> None:
        assert scanned > 0, "a scan goes over something"
        assert not {*body.parameters, *body.state}, f"{body!r} is not a function of its inputs"
        assert all(not isinstance(operation.op, Macro) for operation in body.operations), f"{body!r} has macros"
        self.body = body
        self.states = states
        self.scanned = scanned
        self.reverse = reverse

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        slices = xs[self.states : self.states + self.scanned]
        assert len({x[0] for x in slices}) == 1, f"{slices} are scanned together"
        given = (*xs[: self.states], *(x[1:] for x in slices), *xs[self.states + self.scanned :])
        wanted = tuple(x.shape for x in self.body.inputs.values())
        assert given == wanted, f"a body of {wanted} is given {given}"
        results = tuple(y.shape for y in self.body.outputs.values())
        assert results[: self.states] == given[: self.states], f"the state {given[: self.states]} becomes {results}"
        return (*results[: self.states], *((slices[0][0], *y) for y in results[self.states :]))

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        wanted = tuple(x.dtype for x in self.body.inputs.values())
        assert xs == wanted, f"a body of {wanted} is given {xs}"
        return tuple(y.dtype for y in self.body.outputs.values())

    def macs(self, y: Shape, *xs: Shape) -> Count:
        step: Count = 0
        for operation in self.body.operations:
            step += operation.op.macs(operation.outputs[0].shape, *(x.shape for x in operation.inputs))
        return element_count(xs[self.states][:1]) * step

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return None

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        attributes: dict[str, object] = {"num_scan_inputs": self.scanned}
        if self.reverse:
            attributes["scan_input_directions"] = (1,) * self.scanned
            attributes["scan_output_directions"] = (1,) * (len(self.body.outputs) - self.states)
        return OnnxNode("Scan", attributes, body=self.body, captured=len(xs) - self.states - self.scanned)


def scan(
    step: Callable[..., tuple[Sequence[Value], Sequence[Value]]],
    states: Sequence[Value],
    scanned: Sequence[Value],
    whole: Sequence[Value] = (),
    *,
    reverse: bool = False,
) -> tuple[Value, ...]:
    """Return the last states and the stacked results of `step`.

    `step` computes the new states and the slices of the results, both as sequences, from the states, a slice of each
    scanned value, and the values that are read whole.
    """
    body = Graph("step")
    given = [(x.shape, x.dtype) for x in states]
    given += [(x.shape[1:], x.dtype) for x in scanned]
    given += [(x.shape, x.dtype) for x in whole]
    after, results = step(*(body.input(f"x{i}", shape, dtype) for i, (shape, dtype) in enumerate(given)))
    assert len(after) == len(states), f"{len(states)} states become {len(after)}"
    taken: set[Value] = set()
    for i, y in enumerate((*after, *results)):
        output = ops.identity(y) if y in taken or y.producer is None else y
        taken.add(output)
        body.output(f"y{i}", output)
    return states[0].graph.apply(Scan(body, len(states), len(scanned), reverse), *states, *scanned, *whole)
