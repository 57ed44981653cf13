"""Keep the rows of linear layers joined: compute what is done to each row on the matrix of all rows.

A linear layer is a product of the matrix [rows, C] of all rows of its operand [*, C] (see `row_products`). What lies
between two of them, such as activations, norms and sums, computes the same on the matrix, so that the Reshapes between
them meet their inverse.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Undecidable, product
from netdsl.ir.graph import Constant, Parameter, Tensor
from netdsl.ir.op import Pointwise
from netdsl.ops.activations import Gelu, OverAxis
from netdsl.ops.arithmetic import Elementwise
from netdsl.ops.base import apply
from netdsl.ops.comparison import Where
from netdsl.ops.indexing import Concat, Split
from netdsl.ops.linear import Gemm
from netdsl.ops.normalization import LayerNormalization, RMSNormalization
from netdsl.ops.reduction import Reduce
from netdsl.ops.shaping import Reshape
from netdsl.passes.rewrite import Converting, prune, readers_of
from netdsl.passes.row_products import row_products

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Graph, Operation, Value
    from netdsl.ir.op import Op

ALIGNED = (Pointwise, Elementwise, Where)
NORMS = (LayerNormalization, RMSNormalization)


def row_matrices(graph: Graph) -> Graph:
    """Compute linear layers as products of all rows (see `row_products`), and what lies between them on all rows, where
    this takes fewer operations."""
    joined = join_rows(row_products(graph))
    if all(isinstance(size, int) for x in graph.inputs.values() for size in x.shape):
        return joined  # onnxruntime would replace MatMul by a product of rows itself
    short = _short_runs(joined)
    return join_rows(row_products(graph, short)) if short else joined


def join_rows(graph: Graph) -> Graph:
    """Return a graph that reshapes less, or the same graph if there is nothing to gain."""
    if not any(map(_joins, graph.operations)):
        return graph
    joined = prune(_Joining(graph).run())
    return joined if _reshapes(joined) < _reshapes(graph) else graph


def _short_runs(graph: Graph) -> set[str]:
    """Return the weights of products that are better left to MatMul: of several on the same rows, if the Reshapes
    around them outnumber the biases, for each of which MatMul needs an Add. Runtimes fuse that with a GELU. Weights
    with other readers, which would be there twice, are left."""
    readers = readers_of(graph)
    runs: dict[Value, Value] = {}
    for operation in graph.operations:
        flat = [x for x in (*operation.inputs, *operation.outputs) if len(x.shape) == 2 and _varies(x)]
        if flat and not isinstance(operation.op, Reshape):
            first = _root(runs, flat[0])
            runs.update((_root(runs, x), first) for x in flat[1:] if _root(runs, x) is not first)
    weights: dict[Value, set[str]] = {}
    reshapes: Counter[Value] = Counter()
    for operation in graph.operations:
        x, y = operation.inputs[0] if operation.inputs else operation.outputs[0], operation.outputs[0]
        if _joins(operation) or _splits(operation):
            reshapes[_root(runs, y if len(y.shape) == 2 else x)] += 1
        elif isinstance(operation.op, Gemm) and operation.op.trans_b:
            run = _root(runs, y)
            weights.setdefault(run, set()).add(operation.inputs[1].name)
            after = readers.get(y, [])
            fused = len(after) == 1 and isinstance(after[0].op, Gelu)
            reshapes[run] -= len(operation.inputs) == 3 and not fused
    tied = {name for name, weight in graph.parameters.items() if len(readers.get(weight, ())) > 1}
    short = (names for run, names in weights.items() if len(names) > 1 and reshapes[run] > 0)
    return {name for names in short if names.isdisjoint(tied) for name in names}


def _varies(x: Value) -> bool:
    return not isinstance(x, (Parameter, Constant))


def _root(runs: dict[Value, Value], x: Value) -> Value:
    """Return what stands for all values of a run."""
    while x in runs:
        x = runs[x]
    return x


def _reshapes(graph: Graph) -> int:
    return sum(isinstance(operation.op, Reshape) for operation in graph.operations)


def _rows(shape: Shape) -> Shape | None:
    """Return the shape of the matrix of all rows; None if ONNX cannot reshape it back."""
    try:
        rows = product(shape[:-1]), shape[-1]
    except Undecidable:
        return None
    return rows if ops.can_reshape(rows, shape) else None


def _joins(operation: Operation) -> bool:
    """Return whether an operation reshapes [*, C] to [rows, C]."""
    if not isinstance(operation.op, Reshape) or len(operation.inputs[0].shape) < 3:
        return False
    return operation.outputs[0].shape == _rows(operation.inputs[0].shape)


def _splits(operation: Operation) -> bool:
    """Return whether an operation reshapes [rows, C] to [*, C]."""
    (y, *_) = operation.outputs
    return isinstance(operation.op, Reshape) and len(y.shape) > 2 and operation.inputs[0].shape == _rows(y.shape)


class _Joining(Converting):
    """A copy in which values [*, C] can be held as [rows, C].

    `joined` has the values that are, by their old values; those in `values` exist in their own shape (too). `wanted`
    are the old values that some reader takes as rows, `needed` those that some reader takes in their own shape.
    """

    __slots__ = ("joined", "needed", "wanted")

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.joined: dict[Value, Value] = {}
        self.wanted: set[Value] = set()
        self.needed: set[Value] = {*graph.outputs.values()}
        for operation in reversed(graph.operations):
            rows = _joins(operation) or (
                self.wanted.issuperset(operation.outputs) and _by_row(operation.op, operation) is not None
            )
            for x in operation.inputs:
                (self.wanted if rows and _is_full(x, operation) else self.needed).add(x)

    def value(self, x: Value) -> Value:
        """Return a value in its own shape, reshaping it on its first use."""
        if x not in self.values and x in self.joined:
            made = self.values[x] = ops.reshape(self.joined[x], x.shape, batch=False)
            assert made.producer is not None
            made.producer.origin = x.producer.origin if x.producer else None
            made.name = x.name
        return super().value(x)

    def rows(self, x: Value) -> Value:
        """Return a value [*, C] as [rows, C], reshaping it on its first use."""
        if x not in self.joined:
            shape = _rows(x.shape)
            assert shape is not None
            made = self.joined[x] = ops.reshape(self.value(x), shape, batch=False)
            assert made.producer is not None
            made.producer.origin = x.producer.origin if x.producer else None
        return self.joined[x]

    def convert(self, operation: Operation) -> bool:
        """Compute an operation on rows, or return False."""
        x = operation.inputs[0] if operation.inputs else None
        if _splits(operation):
            self.joined[operation.outputs[0]] = self.value(operation.inputs[0])
            return True
        if x is not None and _joins(operation):
            self.values[operation.outputs[0]] = self.rows(x)
            return True
        if x in self.joined and isinstance(operation.op, Reshape):
            return self.reshape(operation)
        op = _by_row(operation.op, operation)
        if op is None or not self.gains(operation):
            return False
        results = self.new.apply(op, *(self.operand(x, operation) for x in operation.inputs))
        self.joined.update(zip(operation.outputs, results, strict=True))
        return True

    def reshape(self, operation: Operation) -> bool:
        """Reshape the rows themselves to another shape."""
        (x,), (y,) = operation.inputs, operation.outputs
        if x in self.values or not ops.can_reshape(self.joined[x].shape, y.shape):
            return False
        self.values[y] = apply(operation.op, self.joined[x])
        if y.name:
            self.values[y].name = y.name
        return True

    def gains(self, operation: Operation) -> bool:
        """Return whether rows need no more Reshapes than the operands' own shapes; if as many, only where a row is all
        that the operation reads."""
        full = {x for x in operation.inputs if _is_full(x, operation)}
        if not full or any(_rows(x.shape) is None for x in (*full, *operation.outputs)):
            return False
        if not all(_is_row(x) for x in operation.inputs if x not in full):
            return False
        wanted, needed = (not found.isdisjoint(operation.outputs) for found in (self.wanted, self.needed))
        rows = sum(x not in self.joined for x in full) + needed
        own = sum(x not in self.values for x in full) + wanted
        return rows < own or (rows == own and (len(full) == 1 or full <= self.joined.keys()))

    def operand(self, x: Value, operation: Operation) -> Value:
        """Return an operand of an operation on rows: all rows, or what is the same for each row."""
        if _is_full(x, operation):
            return self.rows(x)
        if len(x.shape) < 2:
            return self.value(x)
        if isinstance(x, Constant):
            return Constant(self.new, Tensor(x.dtype, x.tensor.shape[-1:], x.tensor.data))
        return ops.reshape(self.value(x), x.shape[-1:], batch=False)


def _is_full(x: Value, operation: Operation) -> bool:
    """Return whether an operand has each row of the result."""
    y = operation.outputs[0] if not _joins(operation) else x
    return len(x.shape) > 2 and x.shape[:-1] == y.shape[:-1]


def _is_row(x: Value) -> bool:
    """Return whether an operand is the same for each row."""
    return all(size == 1 for size in x.shape[:-1])


def _by_row(op: Op, operation: Operation) -> Op | None:
    """Return the op that computes the same on rows, or None."""
    if isinstance(op, (*ALIGNED, *NORMS)):
        return op if len(operation.outputs) == 1 else None
    last = len(operation.inputs[0].shape) - 1 if operation.inputs else 0
    if isinstance(op, OverAxis):
        return type(op)(1) if op.axis % (last + 1) == last else None
    if isinstance(op, Reduce):
        return type(op)((1,), True) if op.keepdims and {axis % (last + 1) for axis in op.axes} == {last} else None
    if isinstance(op, Concat):
        return Concat(1) if op.axis == last else None
    if isinstance(op, Split):
        return Split(op.sizes, 1) if op.axis == last else None
    return None
