"""Convert a graph from single to half precision, weights and computation alike."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from netdsl.base.user_error import UserError
from netdsl.ir.graph import Constant, Graph, Origin, Tensor
from netdsl.ops.activations import Clip
from netdsl.ops.elementwise import Cast, cast, identity
from netdsl.ops.indexing import Pad
from netdsl.ops.normalization import LRN, L2Normalization, LrnWithin, RMSNormalization
from netdsl.ops.regions import RoiAlign
from netdsl.ops.scanning import Scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from netdsl.ir.graph import Operation, Scalar, Value

WIDE = (LRN, LrnWithin, L2Normalization, RMSNormalization, RoiAlign)
"""Ops that stay in f32: sums of squares overflow f16 where their results do not, and coordinates need its precision.

Ops with an attribute outside f16's range, such as an epsilon of 1e-9, stay in f32 too."""


class BeyondHalf(UserError, code="E0681", title="weights outside half precision"):
    """The network uses a number outside the range of half precision: at most 65,504 and, unless zero, at least 6e-8.

    ```sh
    netdsl compile net.net --dtype f32
    ```
    """


def half(graph: Graph, *, io: str = "f32") -> Graph:
    """Return the same computation in f16. Inputs and outputs keep their types unless `io` is f16 too.

    Only f32 values are converted. Raises BeyondHalf for a constant outside the range of f16.
    """
    return _Half(graph, io).run()


class _Half:
    """The new graph under construction; `values` maps old values to new ones."""

    def __init__(self, graph: Graph, io: str) -> None:
        assert io in ("f16", "f32"), io
        self.old = graph
        self.new = Graph(graph.name, graph.origin, "f16")
        self.io = io
        self.values: dict[Value, Value] = {}
        self.outputs: set[Value] = set()

    def run(self) -> Graph:
        old, new = self.old, self.new
        origins = {node.name: Origin(node) for node in old.origin.inputs} if old.origin else {}
        for parameter in old.parameters.values():
            self.values[parameter] = new.parameter(parameter.declaration)
        for name, x in old.inputs.items():
            begin = len(new.operations)
            kept = new.input(name, x.shape, self.io if x.dtype == "f32" else x.dtype)
            self.values[x] = cast(kept, "f16") if x.dtype == "f32" else kept
            self.set_origin(begin, origins.get(name))
        for operation in old.operations:
            begin = len(new.operations)
            self.operation(operation)
            self.set_origin(begin, operation.origin)
        for name, y in old.outputs.items():
            begin = len(new.operations)
            new.output(name, self.output(y))
            self.set_origin(begin, y.origin)
        return new

    def set_origin(self, begin: int, origin: Origin | None) -> None:
        """Set the origin of new operations."""
        for operation in self.new.operations[begin:]:
            operation.origin = operation.origin or origin

    def operation(self, operation: Operation) -> None:
        op = operation.op
        inputs = tuple(self.value(x, operation.origin) for x in operation.inputs)
        if isinstance(op, Cast) and op.to == "f32":
            self.values[operation.outputs[0]] = cast(inputs[0], "f16")
            return
        if isinstance(op, WIDE) or not all(map(_holds, _floats(op.attributes))):
            inputs = tuple(cast(x, "f32") if x.dtype == "f16" else x for x in inputs)
        if isinstance(op, Scan):
            op = Scan(half(op.body, io="f16"), op.states, op.scanned, op.reverse)
        if isinstance(op, Pad):
            _check((op.value,), operation.origin)
        if isinstance(op, Clip):  # a limit outside f16's range has no effect, unless every value becomes the limit
            _check((max(op.low or 0.0, 0.0), min(op.high or 0.0, 0.0)), operation.origin)
        for y, made in zip(operation.outputs, self.new.apply(op, *inputs), strict=True):
            made.name = y.name
            self.values[y] = cast(made, "f16") if made.dtype == "f32" else made

    def value(self, x: Value, origin: Origin | None) -> Value:
        if x not in self.values:
            assert isinstance(x, Constant), f"{x!r} is used before it is computed"
            tensor = x.tensor
            if tensor.dtype == "f32":
                _check(tensor.data, origin)
                tensor = Tensor("f16", tensor.shape, tensor.data)
            self.values[x] = Constant(self.new, tensor)
        return self.values[x]

    def output(self, y: Value) -> Value:
        """Return an output in its original type, under a unique name."""
        made = self.values[y]
        if y.dtype == "f32":
            made = cast(made, self.io)
        if made.producer is None or made in self.outputs:
            made = identity(made)
        self.outputs.add(made)
        return made


def _floats(attributes: Mapping[str, object]) -> Iterable[float]:
    return (value for value in attributes.values() if isinstance(value, float))


def _holds(number: Scalar) -> bool:
    """Return whether f16 approximates a number: it neither overflows nor becomes 0."""
    try:
        (kept,) = struct.unpack("<e", struct.pack("<e", number))
    except OverflowError:
        return False
    return bool(kept) == bool(number)


def _check(numbers: Iterable[Scalar], origin: Origin | None) -> None:
    for number in numbers:
        if not _holds(number):
            where = f"layer `{origin.name}`" if origin else "network"
            raise BeyondHalf(f"the {where} uses {number:g}, which is outside the range of half precision")
