"""Additions and activations behind a blocked convolution go into it: it adds while it writes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from netdsl.ops.activations import Relu
from netdsl.ops.arithmetic import Add
from netdsl.ops.nchwc import BlockedConv
from netdsl.passes.rewrite import Copy, prune

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value


def fuse(graph: Graph) -> Graph:
    """The graph with `conv + x` and `relu(conv)` as one operation each, where nothing else reads what comes between."""
    uses = Counter(x for operation in graph.operations for x in operation.inputs)
    uses.update(graph.outputs.values())
    uses.update(state.after for state in graph.state.values())
    copy = Copy(graph)
    fused: dict[Value, tuple[BlockedConv, tuple[Value, ...]]] = {}
    for operation in graph.operations:
        found = _fused(operation, fused, uses)
        if found is None:
            copy.keep(operation)
        else:
            op, inputs = found
            fused[operation.outputs[0]] = found
            copy.replace(operation, copy.new.apply(op, *map(copy.value, inputs)), len(copy.new.operations))
    return prune(copy.finish())


def _fused(
    operation: Operation, fused: dict[Value, tuple[BlockedConv, tuple[Value, ...]]], uses: Counter[Value]
) -> tuple[BlockedConv, tuple[Value, ...]] | None:
    """The convolution that does what an operation does and, of those that it reads, what one does."""

    def conv(x: Value) -> tuple[BlockedConv, tuple[Value, ...]] | None:
        if uses[x] != 1 or x.producer is None:
            return None
        if x in fused:
            return fused[x]
        op = x.producer.op
        return (op, x.producer.inputs) if isinstance(op, BlockedConv) else None

    if isinstance(operation.op, Relu):
        before = conv(operation.inputs[0])
        if before and not before[0].activation:
            return _changed(before[0], activation="Relu"), before[1]
    elif isinstance(operation.op, Add) and len(operation.inputs) == 2:
        for x, other in (operation.inputs, operation.inputs[::-1]):
            before = conv(x)
            if before and other.shape == x.shape and not before[0].addend and not before[0].activation:
                return _changed(before[0], addend=True), (*before[1], other)
    return None


def _changed(op: BlockedConv, *, addend: bool | None = None, activation: str | None = None) -> BlockedConv:
    return BlockedConv(
        op.strides,
        op.pads,
        op.dilations,
        op.group,
        op.bias,
        op.addend if addend is None else addend,
        activation or op.activation,
    )
