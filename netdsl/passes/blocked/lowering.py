"""Lower a whole training step, forward pass, backward pass and update, to the blocked layout.

Weights are stored in blocks from step to step. Ops without an implementation here are computed in the
plain layout, between conversions.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from netdsl.base import limits
from netdsl.ir.graph import Graph
from netdsl.ops.activations import Clip, HardSigmoid, LeakyRelu, Relu
from netdsl.ops.arithmetic import Add, Mul
from netdsl.ops.base import apply
from netdsl.ops.batch_training import BnGrad, BnTrain
from netdsl.ops.convolution import Conv
from netdsl.ops.convolution_gradients import ConvDw, ConvDx
from netdsl.ops.indexing import Concat, Slice
from netdsl.ops.nchwc import BlockedConv
from netdsl.ops.pooling import AveragePool, GlobalAveragePool, MaxPool
from netdsl.ops.pooling_gradients import MaxPoolDx
from netdsl.ops.reduction import ReduceMean, ReduceSum
from netdsl.ops.shaping import Expand, Reshape
from netdsl.ops.sync_batch_norm import ChannelMoments, SyncBn, SyncBnDx, SyncBnSums
from netdsl.passes.blocked import convolution, elementwise, gates, normalization, pooling, weight_gradient
from netdsl.passes.blocked.blocker import Blocker, Lowered
from netdsl.passes.rewrite import Copy, expand_macros, prune

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.ir.graph import Graph, Operation, Value
    from netdsl.ir.op import Op
    from netdsl.passes.blocked.blocker import KernelChoice, Rule


def fuse(graph: Graph) -> Graph:
    """Fuse `conv + x` and activations of convolutions into one operation, if nothing else reads the intermediate
    value."""
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
            begin = len(copy.new.operations)
            copy.replace(operation, copy.new.apply(op, *map(copy.value, inputs)), begin)
    return prune(copy.finish())


def _fused(
    operation: Operation, fused: dict[Value, tuple[BlockedConv, tuple[Value, ...]]], uses: Counter[Value]
) -> tuple[BlockedConv, tuple[Value, ...]] | None:
    """Return the convolution fused with an operation that reads it, or None."""

    def conv(x: Value) -> tuple[BlockedConv, tuple[Value, ...]] | None:
        if uses[x] != 1 or x.producer is None:
            return None
        if x in fused:
            return fused[x]
        op = x.producer.op
        return (op, x.producer.inputs) if isinstance(op, BlockedConv) else None

    parameters = _activation(operation.op)
    if parameters is not None:
        before = conv(operation.inputs[0])
        if before and not before[0].activation:
            return _changed(before[0], activation=type(operation.op).__name__, parameters=parameters), before[1]
    elif isinstance(operation.op, Add) and len(operation.inputs) == 2:
        for x, other in (operation.inputs, operation.inputs[::-1]):
            before = conv(x)
            if before and other.shape == x.shape and not before[0].addend and not before[0].activation:
                return _changed(before[0], addend=True), (*before[1], other)
    return None


def _activation(op: Op) -> tuple[float, ...] | None:
    """Return the parameters of an activation that convolutions compute, or None."""
    if isinstance(op, Relu):
        return ()
    if isinstance(op, HardSigmoid):
        return op.alpha, op.beta
    if isinstance(op, LeakyRelu):
        return (op.alpha,)
    if isinstance(op, Clip) and op.low is not None and op.high is not None:
        return op.low, op.high
    return None


def _changed(
    op: BlockedConv,
    *,
    addend: bool | None = None,
    activation: str | None = None,
    parameters: tuple[float, ...] = (),
) -> BlockedConv:
    return type(op)(
        op.strides,
        op.pads,
        op.dilations,
        op.group,
        op.bias,
        op.addend if addend is None else addend,
        activation or op.activation,
        parameters or op.parameters,
    )


BLOCKED_RULES: dict[type[Op], Rule] = {
    Conv: convolution.lower_conv,
    ConvDx: convolution.lower_conv_dx,
    ConvDw: weight_gradient.lower_conv_dw,
    BnTrain: normalization.lower_batch_norm,
    BnGrad: normalization.lower_batch_norm_gradient,
    ChannelMoments: normalization.lower_moments,
    SyncBn: normalization.lower_sync_batch_norm,
    SyncBnSums: normalization.lower_sync_batch_norm_sums,
    SyncBnDx: normalization.lower_sync_batch_norm_dx,
    MaxPool: pooling.lower_max_pool,
    MaxPoolDx: pooling.lower_max_pool_dx,
    AveragePool: pooling.lower_average_pool,
    GlobalAveragePool: pooling.lower_global_average_pool,
    Concat: elementwise.lower_concat,
    Slice: elementwise.lower_slice,
    Reshape: elementwise.lower_reshape,
    Expand: elementwise.lower_expand,
    ReduceSum: elementwise.lower_reduction,
    ReduceMean: elementwise.lower_reduction,
    **dict.fromkeys((*elementwise.UNARY, *elementwise.SEVERAL), elementwise.lower_elementwise),
    Mul: gates.lower_product,
    Add: gates.lower_sum,
}


@limits.kept()
def lower_blocked(graph: Graph, block: int, choices: Mapping[str, str] | None = None) -> Lowered:
    """Lower a training graph, macros included, to blocks of `block` channels; `Blocker` explains the choices."""
    blocker = Blocker(graph, block, choices or {})
    made = blocker.run(BLOCKED_RULES)
    return Lowered(_finalize(made), blocker.layouts, {"lowering": "blk", "block": block, "recipes": blocker.selected})


def kernel_choices(graph: Graph, block: int) -> list[KernelChoice]:
    """Return the choices between implementations in a graph."""
    blocker = Blocker(graph, block, {})
    blocker.run(BLOCKED_RULES)
    return [*blocker.kernel_choices.values()]


def candidate(choice: KernelChoice, option: str, block: int) -> Graph:
    """Return a graph of one operation in one of its implementations, with the layouts that it has in the whole
    graph."""
    operation, graph = choice.operation, Graph("candidate")
    xs = [graph.input(f"x{i}", x.shape, x.dtype) for i, x in enumerate(operation.inputs)]
    graph.output("y", apply(operation.op, *xs))
    given = {f"x{i}": layout for i, layout in enumerate(choice.layouts) if layout is not None}
    first = Blocker(graph, block, {}, given)
    first.run(BLOCKED_RULES)
    if layout := first.native(graph.outputs["y"]):
        given["y"] = layout
    return _finalize(Blocker(graph, block, {choice.key: option}, given).run(BLOCKED_RULES))


def _finalize(graph: Graph) -> Graph:
    return fuse(prune(expand_macros(prune(graph))))
