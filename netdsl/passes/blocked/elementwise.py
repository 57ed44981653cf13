"""Elementwise ops in the layout of their operands; reductions, concatenation and slicing of maps."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops import activations, arithmetic, comparison, elementwise
from netdsl.ops.base import known
from netdsl.passes.blocked.blocker import ANY, FINITE, ZERO
from netdsl.passes.blocked.layout import Layout, blocked_map, to_layout
from netdsl.passes.blocked.normalization import map_products

if TYPE_CHECKING:
    from netdsl.ir.graph import Operation, Value
    from netdsl.ir.op import Op
    from netdsl.ops.indexing import Concat, Slice
    from netdsl.ops.reduction import Reduce
    from netdsl.ops.shaping import Reshape
    from netdsl.passes.blocked.blocker import Blocker

UNARY = {
    elementwise.Identity: ZERO,
    elementwise.Abs: ZERO,
    elementwise.Neg: ZERO,
    elementwise.Sign: ZERO,
    elementwise.Sqrt: ZERO,
    elementwise.Sin: ZERO,
    elementwise.Erf: ZERO,
    elementwise.Cast: ZERO,
    activations.Relu: ZERO,
    activations.Silu: ZERO,
    activations.Tanh: ZERO,
    activations.LeakyRelu: ZERO,
    activations.Elu: ZERO,
    activations.Selu: ZERO,
    activations.Sigmoid: FINITE,
    activations.HardSigmoid: FINITE,
    activations.Softplus: FINITE,
    elementwise.Exp: FINITE,
    elementwise.Cos: FINITE,
    elementwise.Reciprocal: ANY,
    elementwise.Log: ANY,
    elementwise.Power: ANY,
    activations.Clip: FINITE,
    comparison.Not: FINITE,
    comparison.IsNaN: FINITE,
    comparison.IsInf: FINITE,
}
"""Unary ops, and the content of their result's padding if the operand's is zero."""

BOUNDED = (
    activations.Sigmoid,
    activations.HardSigmoid,
    activations.Silu,
    activations.Tanh,
    activations.Relu,
    elementwise.Cast,
)
"""Ops that map finite numbers to finite numbers."""

SEVERAL = (
    arithmetic.Add,
    arithmetic.Sub,
    arithmetic.Mul,
    arithmetic.Div,
    arithmetic.Max,
    arithmetic.Min,
    comparison.Equal,
    comparison.Greater,
    comparison.GreaterOrEqual,
    comparison.And,
    comparison.Or,
    comparison.Where,
    activations.PRelu,
)


def lower_elementwise(b: Blocker, operation: Operation) -> bool:
    """Lower an elementwise op whose operands have the result's shape, one number per channel, or one number."""
    (y,) = operation.outputs
    layout = _common(b, operation)
    if layout is None:
        return False
    spreads = [x.shape != y.shape and _count(x) > 1 for x in operation.inputs]
    inputs = []
    for x, spread in zip(operation.inputs, spreads, strict=True):
        if x.shape == y.shape:
            value = b.get(x, layout, clean=False)
            inputs.append(ops.reshape(value, layout.memory, batch=False) if any(spreads) else value)
        elif spread:
            inputs.append(_spread(b, x, layout))
        else:
            inputs.append(b.get(x) if not x.shape else ops.reshape(b.get(x), (), batch=False))
    (made,) = b.new.apply(operation.op, *inputs)
    made = ops.reshape(made, layout.padded, batch=False) if any(spreads) else made
    made.name = y.name if y.producer is operation else ""
    b.put(y, made, layout, _padding(b, operation, layout) if layout.has_padding else ZERO)
    return True


def _common(b: Blocker, operation: Operation) -> Layout | None:
    """Return the blocked layout to compute in, or None."""
    (y,) = operation.outputs
    full = [x for x in operation.inputs if x.shape == y.shape]
    if not full:
        return None
    found = next((layout for x in full if (layout := b.native(x))), None) or b.expected(y)
    if found is None or found.shape != y.shape:
        return None
    for x in operation.inputs:
        if x.shape != y.shape and _count(x) > 1 and not (found.axes == (1,) and _spreads(x, found)):
            return None
    return found


def _count(x: Value) -> int:
    return prod(known(x.shape))


def _aligned(x: Value, layout: Layout) -> tuple[int, ...]:
    """Return a shape with leading axes of size 1, up to the rank that it broadcasts to."""
    return (1,) * (len(layout.shape) - len(x.shape)) + known(x.shape)


def _spreads(x: Value, layout: Layout) -> bool:
    """Return whether an operand broadcasts one number over all channels, or one per channel, of a map."""
    return len(x.shape) <= len(layout.shape) and _aligned(x, layout)[1] in (1, layout.shape[1])


def _spread(b: Blocker, x: Value, layout: Layout) -> Value:
    """Return an operand in the shape that broadcasts over the blocks in memory: [N or 1, C/B or 1, H or 1, W or 1, B or
    1]."""
    shape = _aligned(x, layout)
    if shape[1] == 1:
        return ops.reshape(b.get(x), (*shape, 1), batch=False)
    whole = Layout(shape, layout.block, (1,))
    if x.shape == shape and (narrow := blocked_map(shape, layout.block)) == whole:
        value = b.get(x, narrow)
    else:
        value = to_layout(ops.reshape(b.get(x), shape, batch=False), whole)
    return ops.reshape(value, whole.memory, batch=False)


def _padding(b: Blocker, operation: Operation, layout: Layout) -> int:
    """Return the content of the padding of the result."""
    op, y = operation.op, operation.outputs[0]
    kinds = [b.padding(x, layout) for x in operation.inputs if x.shape == y.shape]
    alone = len(kinds) == len(operation.inputs)
    if type(op) in UNARY:
        if isinstance(op, activations.HardSigmoid) and op.beta == 0 and kinds == [ZERO]:
            return ZERO
        return UNARY[type(op)] if kinds == [ZERO] else FINITE if kinds == [FINITE] and isinstance(op, BOUNDED) else ANY
    if isinstance(op, arithmetic.Mul) and max(kinds) <= FINITE:
        return ZERO if ZERO in kinds else FINITE
    if isinstance(op, arithmetic.Div):
        by = operation.inputs[1]
        return ZERO if by.shape != y.shape and _count(by) == 1 and kinds[0] == ZERO else ANY
    if isinstance(op, (arithmetic.Add, arithmetic.Sub, arithmetic.Max, arithmetic.Min)) and max(kinds) <= FINITE:
        return max(kinds) if alone else FINITE
    return FINITE if y.dtype == "bool" else ANY


def lower_reduction(b: Blocker, operation: Operation) -> bool:
    """Lower a sum or a mean over all axes, or over all but the channels."""
    op: Reduce = operation.op  # type: ignore[assignment]
    (x,), (y,) = operation.inputs, operation.outputs
    layout = b.native(x)
    axes = {axis % len(x.shape) for axis in op.axes}
    if layout is None:
        return False
    if len(axes) == len(x.shape) and (not layout.has_padding or _is_sum(op)):
        (made,) = b.new.apply(op, b.get(x, layout))
        b.put(y, made)
        return True
    if layout.axes != (1,) or 1 in axes:
        return False
    n, blocks, *sizes, block = layout.memory
    spatial = sorted(axes - {0})
    factors = _factors(b, operation, layout) if len(spatial) == len(sizes) == 2 else None
    value = b.get(x, layout) if factors is None else map_products(*factors, b.block)
    if factors is not None:
        sizes = []
    elif spatial:
        if len(spatial) < len(sizes):
            return False
        rows = ops.reshape(value, (n * blocks, prod(sizes), block), batch=False)
        (value,) = b.new.apply(type(op)((1,), False), rows)
        sizes = []
    if 0 in axes:
        (value,) = b.new.apply(
            type(op)((0,), False), ops.reshape(value, (n, blocks * prod(sizes) * block), batch=False)
        )
    target = Layout(y.shape, layout.block, (1 if op.keepdims or 0 not in axes else 0,))
    idle = not (target.moves or target.has_padding)
    b.put(y, ops.reshape(value, target.padded, batch=False), Layout(y.shape) if idle else target)
    return True


def _factors(b: Blocker, operation: Operation, layout: Layout) -> tuple[Value, Value] | None:
    """Return the factors whose product an operation adds up, maps in this layout, or None."""
    (x,) = operation.inputs
    product = x.producer
    if product is None or not isinstance(product.op, arithmetic.Mul) or not _is_sum(operation.op) or x.dtype != "f32":
        return None
    if any(each.shape != x.shape or b.native(each) != layout for each in product.inputs):
        return None
    first, second = (b.get(each, layout) for each in product.inputs)
    return first, second


def _is_sum(op: Op) -> bool:
    return type(op).__name__ == "ReduceSum"


def lower_reshape(b: Blocker, operation: Operation) -> bool:
    """Lower a Reshape of [N, C, *S] to [N, C, *S'], which does not mix channels."""
    op: Reshape = operation.op  # type: ignore[assignment]
    (x,), (y,) = operation.inputs, operation.outputs
    layout = b.native(x)
    if layout is None or layout.axes != (1,) or op.shape[:2] != x.shape[:2]:
        return False
    target = blocked_map(y.shape, b.block)
    b.put(y, ops.reshape(b.get(x, layout), target.padded, batch=False), target)
    return True


def lower_expand(b: Blocker, operation: Operation) -> bool:
    """Lower an Expand of [N, C, 1, 1] to [N, C, H, W]."""
    (x,), (y,) = operation.inputs, operation.outputs
    if len(y.shape) != 4 or x.shape != (*y.shape[:2], 1, 1) or b.expected(y) != blocked_map(y.shape, b.block):
        return False
    layout = blocked_map(y.shape, b.block)
    n, blocks, high, wide, block = layout.memory
    value = ops.reshape(b.get(x, blocked_map(x.shape, b.block)), (n * blocks, 1, block), batch=False)
    made = ops.expand(value, (n * blocks, high * wide, block))
    b.put(y, ops.reshape(made, layout.padded, batch=False), layout)
    return True


def lower_concat(b: Blocker, operation: Operation) -> bool:
    """Lower a Concat of maps along the channels, if all but the last fill their blocks."""
    op: Concat = operation.op  # type: ignore[assignment]
    (y,) = operation.outputs
    if op.axis % len(y.shape) != 1 or len(y.shape) != 4 or all(b.native(x) is None for x in operation.inputs):
        return False
    if any(known(x.shape)[1] % b.block for x in operation.inputs[:-1]):
        return False
    made = ops.concat([b.get(x, blocked_map(x.shape, b.block)) for x in operation.inputs], 1)
    b.put(y, made, blocked_map(y.shape, b.block))
    return True


def lower_slice(b: Blocker, operation: Operation) -> bool:
    """Lower a Slice of the channels of a map at block boundaries."""
    op: Slice = operation.op  # type: ignore[assignment]
    (x,), (y,) = operation.inputs, operation.outputs
    layout = b.native(x)
    if layout is None or layout.axes != (1,) or op.axes != (1,) or op.steps != (1,):
        return False
    begin = op.starts[0]
    stop = known(x.shape)[1] if op.stops[0] is None else op.stops[0]
    if min(begin, stop) < 0 or begin % b.block or (stop % b.block and stop < known(x.shape)[1]):
        return False
    target = blocked_map(y.shape, b.block)
    b.put(y, ops.slice(b.get(x, layout), (1,), (begin,), (begin + target.padded[1],)), target)
    return True
