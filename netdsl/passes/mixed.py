"""Mixed precision: compute the products of a training step in half precision, and everything else in f32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.graph import HALVES
from netdsl.ops.base import apply, known
from netdsl.ops.convolution import Conv, ConvTranspose
from netdsl.ops.elementwise import Cast
from netdsl.ops.recurrence import RecurrentTraining
from netdsl.ops.scanning import Scan
from netdsl.ops.shaping import Reshape, Transpose
from netdsl.passes.products import PRODUCTS
from netdsl.passes.rewrite import Copy, prune

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value

MOVES = (Reshape, Transpose)
"""Ops that commute with a conversion: applied to numbers in half precision, they move half the bytes."""

BF16_CONV_OPSET = 22
"""First opset whose convolutions take bf16."""


def mixed(graph: Graph, dtype: str) -> Graph:
    """Compute the `products` of a graph in half precision: their operands are rounded to it, and their results are.

    Results are converted back to f32, where biases are added, so that all else is computed in f32: reductions,
    normalization, softmax, losses and updates. Source: Micikevicius et al. (2018), Mixed precision training, section 3.
    """
    assert dtype in HALVES, dtype
    return prune(_Mixed(_without_recurrences(graph), dtype).run())


def half_type(graph: Graph) -> str:
    """Return the type of half precision in which a graph computes something; empty if there is none."""
    for operation in graph.operations:
        found = half_type(operation.op.body) if isinstance(operation.op, Scan) else ""
        for y in operation.outputs:
            found = found or (y.dtype if y.dtype in HALVES and not isinstance(operation.op, Cast) else "")
        if found:
            return found
    return ""


def has_bf16_convolutions(graph: Graph) -> bool:
    """Return whether a graph without macros convolves in bf16, for which ONNX needs the opset BF16_CONV_OPSET."""
    return any(
        isinstance(operation.op, (Conv, ConvTranspose)) and operation.outputs[0].dtype == "bf16"
        for operation in graph.operations
    )


def emulated(graph: Graph) -> Graph:
    """Compute in f32 what a graph without macros computes in half precision, and round the results: the same numbers,
    but for the order of sums, on providers that lack the type."""
    copy = Copy(graph)
    wide: dict[Value, Value] = {}

    def widened(x: Value) -> Value:
        if x.dtype in HALVES and x not in wide:
            wide[x] = ops.cast(x, "f32")
        return wide.get(x, x)

    for operation in graph.operations:
        begin, op = len(copy.new.operations), operation.op
        types = {x.dtype for x in (*operation.inputs, *operation.outputs)}
        if isinstance(op, Scan):
            op = Scan(emulated(op.body), op.states, op.scanned, op.reverse)
        if isinstance(op, Cast) or types.isdisjoint(HALVES):
            copy.replace(operation, copy.new.apply(op, *map(copy.value, operation.inputs)), begin)
            continue
        made = copy.new.apply(op, *(widened(copy.value(x)) for x in operation.inputs))
        results = [ops.cast(y, old.dtype) for y, old in zip(made, operation.outputs, strict=True)]
        copy.replace(operation, results, begin)
    return copy.finish()


def _without_recurrences(graph: Graph) -> Graph:
    """Expand recurrences, whose products become products of the graph."""
    copy = Copy(graph)
    for operation in graph.operations:
        begin = len(copy.new.operations)
        if isinstance(operation.op, RecurrentTraining):
            copy.replace(operation, operation.op.expand(*map(copy.value, operation.inputs)), begin)
            made = (each.op for each in copy.new.operations[begin:])
            graph.products.update(op for op in made if isinstance(op, PRODUCTS))
        else:
            copy.keep(operation)
    return copy.finish()


class _Mixed:
    """The new graph under construction; `halves` has the values of the new graph in half precision."""

    def __init__(self, graph: Graph, dtype: str) -> None:
        self.old = graph
        self.dtype = dtype
        self.copy = Copy(graph)
        self.halves: dict[Value, Value] = {}

    def run(self) -> Graph:
        for operation in self.old.operations:
            begin = len(self.copy.new.operations)
            if operation.op not in self.old.products:
                self.copy.keep(operation)
            elif isinstance(operation.op, Scan):
                self.copy.replace(operation, self.scan(operation.op, operation), begin)
            else:
                self.copy.replace(operation, [self.product(operation)], begin)
        return self.copy.finish()

    def scan(self, op: Scan, operation: Operation) -> tuple[Value, ...]:
        """Return the results of a recurrence whose body multiplies in half precision."""
        products = {each.op for each in op.body.operations if isinstance(each.op, PRODUCTS)}
        op.body.products.update(products)
        body = _Mixed(op.body, self.dtype).run()
        inputs = map(self.copy.value, operation.inputs)
        return self.copy.new.apply(Scan(body, op.states, op.scanned, op.reverse), *inputs)

    def product(self, operation: Operation) -> Value:
        """Return a product in f32, of operands in half precision."""
        a, b, *bias = map(self.copy.value, operation.inputs)
        half = apply(operation.op, self.half(a), self.half(b))
        y = ops.cast(half, "f32")
        self.halves[y] = half
        for each in bias:
            rank = len(y.shape) - 2 if isinstance(operation.op, (Conv, ConvTranspose)) else 0
            y = ops.add(y, ops.reshape(each, (*known(each.shape), *(1,) * rank), batch=False) if rank else each)
        return y

    def half(self, x: Value) -> Value:
        """Return a value in half precision, moved there if it is a moved result of a product."""
        if x not in self.halves:
            source = x.producer
            if source and isinstance(source.op, MOVES) and source.inputs[0] in self.halves:
                self.halves[x] = apply(source.op, self.halves[source.inputs[0]])
            else:
                self.halves[x] = ops.cast(x, self.dtype)
        return self.halves[x]
