"""Final passes before a training step is emitted for our own session: less memory, and fewer and faster operations."""

from __future__ import annotations

from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base import limits
from netdsl.base.shape import elements
from netdsl.ops.arithmetic import Add
from netdsl.ops.base import apply, known
from netdsl.ops.linear import Gemm
from netdsl.ops.reduction import ReduceSum
from netdsl.passes.affine_convolutions import affine_convolutions
from netdsl.passes.broadcast import full_ranks
from netdsl.passes.fuse_silu import fuse_silu
from netdsl.passes.in_place import in_place
from netdsl.passes.join_states import Joined, join_states
from netdsl.passes.merge_reshapes import merge_reshapes
from netdsl.passes.mixed import half_type
from netdsl.passes.recompute import recompute
from netdsl.passes.rewrite import Copy
from netdsl.passes.scaled_sums import scaled_sums
from netdsl.passes.schedule import reorder_updates
from netdsl.passes.share import share
from netdsl.passes.split_dense_rows import Slabs, split_dense_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.base.dtypes import Array
    from netdsl.ir.graph import Graph, Operation, Value


MIN_COLUMNS = 2**6
"""Minimum number of columns whose sums are computed as a product."""

LONG = 2**8
"""Minimum length of the sums of a matrix product whose first operand is transposed beforehand."""

SHARED = 2**13
"""Maximum number of elements of a value that is kept if it is needed again, such as the statistics of a channel."""


def binary_sums(graph: Graph) -> Graph:
    """Rewrite n-ary sums as chains of binary Add.

    onnxruntime parallelizes Add, but runs Sum on one thread, which takes twice as long.
    """
    copy = Copy(graph)
    for operation in graph.operations:
        if isinstance(operation.op, Add) and len(operation.inputs) > 2:
            begin = len(copy.new.operations)
            copy.replace(operation, [reduce(ops.add, map(copy.value, operation.inputs))], begin)
        else:
            copy.keep(operation)
    return copy.finish()


def transposed_operands(graph: Graph) -> Graph:
    """Transpose the smaller operand of long products x^T w before them: w^T x is computed if that is w, and transposed.

    onnxruntime computes x^T w in 1.2 times the time of x w. A transposition takes less than the difference unless it is
    of a large matrix, whose columns evict each other from the cache if their distance is a power of 2.
    """
    if not any(map(_is_long, graph.operations)):
        return graph
    copy = Copy(graph)
    for operation in graph.operations:
        op = operation.op
        if isinstance(op, Gemm) and _is_long(operation):
            begin = len(copy.new.operations)
            x, w, *bias = map(copy.value, operation.inputs)
            if not (op.trans_b or bias) and elements(w.shape) < elements(x.shape):
                y = ops.transpose(ops.gemm(ops.transpose(w, (1, 0)), x), (1, 0))
            else:
                y = apply(Gemm(op.trans_b), ops.transpose(x, (1, 0)), w, *bias)
            copy.replace(operation, [y], begin)
        else:
            copy.keep(operation)
    return copy.finish()


def _is_long(operation: Operation) -> bool:
    op = operation.op
    return isinstance(op, Gemm) and op.trans_a and known(operation.inputs[0].shape)[0] >= LONG


def column_sums(graph: Graph) -> Graph:
    """Compute sums over all axes but the last, the gradients of biases and scales, as products of ones with all rows.

    onnxruntime takes 0.3 to 0.7 times the time for them.
    """
    copy = Copy(graph)
    ones: dict[int, Value] = {}
    for operation in graph.operations:
        op = operation.op
        if isinstance(op, ReduceSum) and _sums_columns(op, operation.inputs[0]):
            begin = len(copy.new.operations)
            (x,), (y,) = map(copy.value, operation.inputs), operation.outputs
            rows, columns = elements(x.shape[:-1]), known(x.shape)[-1]
            if rows not in ones:
                ones[rows] = ops.constant(copy.new, (1.0,) * rows, x.dtype, (1, rows))
            found = ops.matmul(ones[rows], ops.reshape(x, (rows, columns), batch=False))
            copy.replace(operation, [ops.reshape(found, y.shape, batch=False)], begin)
        else:
            copy.keep(operation)
    return copy.finish()


def _sums_columns(op: ReduceSum, x: Value) -> bool:
    rank = len(x.shape)
    leading = {axis % rank for axis in op.axes} == {*range(rank - 1)}
    return rank > 1 and leading and x.dtype == "f32" and known(x.shape)[-1] >= MIN_COLUMNS


class Finished:
    """A training step ready to run.

    `parts` maps the states that are split into slabs of rows to the names of their slabs, `joined` each vector of
    several states to their names. `overwritten` are the states of the graph whose new value may overwrite the old one,
    in any execution order.
    """

    __slots__ = ("graph", "joined", "overwritten", "parts")

    def __init__(
        self,
        graph: Graph,
        parts: dict[str, list[str]],
        overwritten: frozenset[str],
        joined: Mapping[str, list[str]] | None = None,
    ) -> None:
        self.graph = graph
        self.parts = parts
        self.overwritten = overwritten
        self.joined = joined or {}

    def split(self, state: Mapping[str, Array]) -> dict[str, Array]:
        """Return views of the state in the form that the step expects."""
        found = {name: array for name, array in state.items() if name not in self.parts}
        for name, parts in self.parts.items():
            begin, width = 0, elements(state[name].shape[1:])
            for part in parts:
                end = begin + elements(self.graph.state[part].before.shape) // width
                found[part] = state[name][begin:end]
                begin = end
        states = self.graph.state
        return {name: x.reshape(known(states[name].before.shape)) if name in states else x for name, x in found.items()}


@limits.kept()
def finish(graph: Graph, watched: str | None, *, join: bool = True, fused: bool = False) -> Finished:
    """Prepare a step without macros for execution; `watched` is the name of the loss output, if it has one. Without
    `join`, all states keep their names. With `fused`, for onnxruntime's CPU provider, updates add multiples, and
    x sigmoid(x) is computed, by ops of its own, and channels are multiplied by convolutions."""
    lean = merge_reshapes(share(binary_sums(graph), SHARED))
    cut = Slabs(lean, {}) if half_type(graph) else split_dense_rows(lean)
    safe = in_place(merge_reshapes(column_sums(transposed_operands(cut.graph))), watched)
    ready = fuse_silu(scaled_sums(safe.graph, safe.overwritten)) if fused else safe.graph
    ordered = reorder_updates(full_ranks(ready))
    apart = {*safe.overwritten, *chain.from_iterable(cut.parts.values())}
    joined = join_states(ordered, apart) if join else Joined(ordered, {})
    lower = recompute(joined.graph, safe.overwritten)
    last = affine_convolutions(lower) if fused else lower
    return Finished(last, cut.parts, safe.overwritten, joined.members)
