"""Fold constants of an ONNX model node by node, with sizes that are known only at run time.

A shape with such a size is an array of objects: integers and `Size`s. Large constants stay views of their file, or of a
single element.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from netdsl.base.dtypes import ONNX
from netdsl.base.limits import SIZE
from netdsl.base.size import Size, Undecidable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onnx import NodeProto

    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Dim

MAX_BYTES = 2**28
"""Maximum size of a constant that is computed, rather than a view, and has more elements than what it is made of."""

MAX_VIEW = 2**28
"""Maximum number of elements of a view."""

MAX_WHOLE = 2**20
"""Maximum number of elements of a constant that is a shape, or that the reference evaluator reads."""


class Unsupported(Exception):
    """A node that has no result here; the text says why."""


class OnnxNode:
    """A node: its operator, the names of its inputs and outputs, its attributes, and its name in messages."""

    __slots__ = ("attributes", "domain", "inputs", "name", "op", "outputs", "place", "proto")

    def __init__(self, proto: NodeProto) -> None:
        self.proto = proto
        self.domain = "" if proto.domain == "ai.onnx" else proto.domain
        self.op = f"{self.domain}.{proto.op_type}" if self.domain else proto.op_type
        self.inputs = list(proto.input)
        self.outputs = list(proto.output)
        self.attributes: dict[str, Any] = {each.name: helper.get_attribute_value(each) for each in proto.attribute}
        self.name = proto.name
        self.place = f"node {proto.name or next(filter(None, self.outputs), '?')}"

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute; a text is decoded."""
        found = self.attributes.get(name, default)
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else found


def shape_array(dims: Sequence[Dim]) -> Array:
    """Return sizes as a constant."""
    if all(isinstance(dim, int) for dim in dims):
        return np.array(dims, np.int64)
    found = np.empty(len(dims), object)
    found[:] = dims
    return found


def fold(node: OnnxNode, inputs: Sequence[Array | None], opset: int) -> list[Array]:
    """Return the results of a node whose inputs are constants; an input is None if it is left out. Raises
    Unsupported."""
    if node.op == "Split":
        return _split(node, inputs)
    if node.op not in MOVES:  # constants of half precision are not rounded to it again
        inputs = [x.astype(np.float32) if x is not None and x.dtype == np.float16 else x for x in inputs]
    rule = RULES.get(node.op)
    try:
        if rule is not None:
            return [rule(node, *inputs)]
        return _evaluated(node, inputs, opset)
    except Undecidable:
        raise Unsupported("it depends on sizes that are known only at run time") from None
    except (ValueError, IndexError, TypeError, KeyError, ZeroDivisionError, OverflowError) as error:
        if any(each is not None and each.dtype == object for each in inputs):
            raise Unsupported("it depends on sizes that are known only at run time") from None
        raise Unsupported(f"its constants contradict each other: {str(error)[:100]}") from None


MOVES = frozenset(
    [
        *("Identity", "Dropout", "Cast", "Shape", "Size", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Flatten"),
        *("Concat", "Gather", "GatherElements", "Slice", "Expand", "Tile", "Where"),
    ]
)
"""Operators whose results have the elements of their inputs."""

EVALUATED = re.compile(
    "Abs|Neg|Floor|Ceil|Round|Sqrt|Exp|Log|Erf|Sigmoid|Tanh|Relu|Sin|Cos|Sign|Reciprocal|Pow|Clip|Not|And|Or|Trilu|"
    "CumSum|ScatterND|GatherND|MatMul|Reduce(Sum|Mean|Min|Max|L2)|NonZero|Softmax|OneHot"
)
"""Operators that onnx's reference evaluator computes, on small arrays."""


def _evaluated(node: OnnxNode, inputs: Sequence[Array | None], opset: int) -> list[Array]:
    if not EVALUATED.fullmatch(node.op):
        raise Unsupported("netdsl does not compute it for constants")
    if any(each is not None and each.dtype == object for each in inputs):
        raise Unsupported("it depends on sizes that are known only at run time")
    if any(each is not None and each.size > MAX_WHOLE for each in inputs) or _results(node, inputs) > 2**24:
        raise Unsupported("its constants are too large")
    from onnx.reference import ReferenceEvaluator

    try:
        session = ReferenceEvaluator(node.proto, opsets={"": opset})
        given = {name: np.asarray(each) for name, each in zip(node.inputs, inputs, strict=True) if each is not None}
        return [np.asarray(each) for each in session.run(None, given)]
    except Exception as error:  # of many kinds
        raise Unsupported(str(error).splitlines()[0][:100] if str(error) else "it fails for its constants") from None


def _results(node: OnnxNode, inputs: Sequence[Array | None]) -> int:
    """Return an upper bound for the number of elements of a result."""
    shapes = [each.shape for each in inputs if each is not None]
    match node.op, inputs:
        case "MatMul", _:
            return int(math.prod(shapes[0]) * math.prod(shapes[1]) // max(shapes[0][-1], 1))
        case "OneHot", [_, np.ndarray() as depth, *_]:
            return math.prod(shapes[0]) * int(np.max(depth, initial=0))
        case "GatherND", _:
            return math.prod(shapes[0]) * math.prod(shapes[1][:-1])
        case (("Pow" | "And" | "Or"), _):
            return int(math.prod(np.broadcast_shapes(*shapes)))
    return 0


def _limited(shape: Sequence[int], itemsize: int = 4, limit: int = MAX_BYTES) -> tuple[int, ...]:
    """Return a shape. Raises Unsupported if it has too many elements."""
    found = tuple(int(size) for size in shape)
    if any(not 0 <= size <= SIZE for size in found) or math.prod(found) * itemsize > limit:
        raise Unsupported(f"a constant of shape {list(found)} is too large")
    return found


def _copyable(x: Array, itemsize: int) -> Array:
    """Return an array that is copied next. Raises Unsupported if it is a view of too many elements."""
    if 0 in x.strides:
        _limited(x.shape, itemsize)
    return x


def whole(array: Array) -> list[int]:
    """Return the elements of a shape or of axes. Raises Unsupported if they are not all known."""
    if array.size > MAX_WHOLE:
        raise Unsupported("its constants are too large")
    if not all(isinstance(each, (int, np.integer)) for each in array.reshape(-1).tolist()):
        raise Unsupported("it depends on sizes that are known only at run time")
    return [int(each) for each in array.reshape(-1).tolist()]


def _constant_of_shape(node: OnnxNode, shape: Array) -> Array:
    from onnx import numpy_helper

    value = node.get("value")
    element = numpy_helper.to_array(value).reshape(-1)[0] if value is not None else np.float32(0)
    sizes = [1 if size == BATCH else size for size in shape.tolist()]  # the same for each example
    return np.broadcast_to(element, _limited(whole(shape_array(sizes)), 1, MAX_VIEW))


def _cast(node: OnnxNode, x: Array) -> Array:
    to = node.get("to")
    name = to.lower() if isinstance(to, str) else ONNX.get(to, "")
    if x.dtype == object:
        if name not in ("int64", "int32"):
            x = np.array(whole(x), np.int64).reshape(x.shape)
        else:
            return x
    if name in ("float", "double"):
        name = {"float": "float32", "double": "float64"}[name]
    if name in ("float16", "bfloat16"):
        name = x.dtype.name if x.dtype.kind == "f" else "float32"
    if name == x.dtype.name:
        return x
    if not name or name not in np.sctypeDict:
        raise Unsupported(f"a cast to {name or 'an unknown type'}")
    with np.errstate(over="ignore", invalid="ignore"):
        return _copyable(x, np.dtype(name).itemsize).astype(name)


def axes_of(node: OnnxNode, given: Array | None) -> list[int] | None:
    """Return the axes of a node, an attribute or, at newer opsets, an input."""
    if given is not None:
        return whole(given)
    found = node.get("axes")
    return None if found is None else [int(each) for each in found]


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from 0. Raises Unsupported."""
    if not -rank <= axis < rank:
        raise Unsupported("an axis is outside of its input")
    return axis % rank


def _unsqueeze(node: OnnxNode, x: Array, given: Array | None = None) -> Array:
    axes = axes_of(node, given)
    return np.expand_dims(x, tuple(axes or ()))


def _squeeze(node: OnnxNode, x: Array, given: Array | None = None) -> Array:
    axes = axes_of(node, given)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def resolve_shape(wanted: Sequence[Dim], before: Sequence[Dim], allow_zero: bool = False) -> list[Dim]:
    """Return the target of a Reshape with its 0 and -1 resolved. Raises Unsupported or Undecidable."""
    if not allow_zero:
        wanted = [before[at] if type(size) is int and size == 0 else size for at, size in enumerate(wanted)]
    found = list(wanted)
    if -1 in found:
        at = found.index(-1)
        left, right = list(before), [size for size in found if not (type(size) is int and size == -1)]
        for size in [*right]:
            if size in left:
                left.remove(size)
                right.remove(size)
        numerator: Dim = 1
        for size in left:
            numerator = numerator * size
        denominator: Dim = 1
        for size in right:
            denominator = denominator * size
        if not isinstance(denominator, int) or denominator < 1:
            raise Unsupported("a reshape depends on sizes that are known only at run time")
        found[at] = numerator // denominator
    return found


def _reshape(node: OnnxNode, x: Array, shape: Array | None = None) -> Array:
    wanted = shape.tolist() if shape is not None else list(node.get("shape"))
    if any(x.strides):  # else it stays a view
        _copyable(x, x.itemsize)
    return x.reshape(whole(shape_array(resolve_shape(wanted, x.shape, bool(node.get("allowzero", 0))))))


def _transpose(node: OnnxNode, x: Array) -> Array:
    return x.transpose(node.get("perm"))


def _flatten(node: OnnxNode, x: Array) -> Array:
    axis = node.get("axis", 1)
    return _copyable(x, x.itemsize).reshape(math.prod(x.shape[:axis]), -1)


def _concat(node: OnnxNode, *xs: Array) -> Array:
    symbolic = any(x.dtype == object for x in xs)
    if symbolic or any(0 in x.strides for x in xs) or len({*map(id, xs)}) < len(xs):
        _limited([sum(x.size for x in xs)], max(x.itemsize for x in xs) * (8 if symbolic else 1))
    return np.concatenate([x.astype(object) if symbolic else x for x in xs], node.get("axis", 1))


def _gather(node: OnnxNode, x: Array, indices: Array) -> Array:
    axis = node.get("axis", 0)
    _limited([indices.size, x.size // max(x.shape[axis], 1)], x.itemsize)
    indices = indices if indices.dtype.kind == "i" else np.array(whole(indices), np.int64).reshape(indices.shape)
    found = x.take(indices, axis)
    return np.asarray(found, x.dtype)


def _gather_elements(node: OnnxNode, x: Array, indices: Array) -> Array:
    axis = node.get("axis", 0)
    _limited(indices.shape, 32)
    return np.take_along_axis(x, np.where(indices < 0, indices + x.shape[axis], indices), axis)


def slices(node: OnnxNode, rank: int, inputs: Sequence[Array | None]) -> dict[int, tuple[int, int, int]]:
    """Return start, stop and step of a Slice by axis, as they are given."""
    if inputs:
        starts, stops = (whole(each) for each in inputs[:2] if each is not None)
        more = [*inputs[2:], None, None][:2]
        axes = whole(more[0]) if more[0] is not None else [*range(len(starts))]
        steps = whole(more[1]) if more[1] is not None else [1] * len(starts)
    else:
        starts, stops = list(node.get("starts")), list(node.get("ends"))
        axes, steps = list(node.get("axes") or range(len(starts))), [1] * len(starts)
    return {axis_of(axis, rank): each for axis, *each in zip(axes, starts, stops, steps, strict=True)}  # type: ignore[misc]


def _slice(node: OnnxNode, x: Array, *inputs: Array | None) -> Array:
    index: list[slice] = [slice(None)] * x.ndim
    for axis, (start, stop, step) in slices(node, x.ndim, inputs).items():
        low = stop if step > 0 or stop >= -x.shape[axis] else None
        index[axis] = slice(start, low, step)
    return x[tuple(index)]


def _split(node: OnnxNode, inputs: Sequence[Array | None]) -> list[Array]:
    x = inputs[0]
    assert x is not None
    axis = node.get("axis", 0)
    sizes = split_sizes(node, x.shape[axis], inputs[1] if len(inputs) > 1 else None)
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def split_sizes(node: OnnxNode, size: int, given: Array | None) -> list[int]:
    """Return the sizes of the parts of a Split. Raises Unsupported."""
    if given is not None:
        return whole(given)
    if node.get("split"):
        return [int(each) for each in node.get("split")]
    count = min(node.get("num_outputs", len(node.outputs)), size)
    part = -(-size // count)
    return [min(part, size - at * part) for at in range(count)]


def _expand(_: OnnxNode, x: Array, shape: Array) -> Array:
    target = shape.tolist()
    if len(target) > x.ndim:
        x = x.reshape((1,) * (len(target) - x.ndim) + x.shape)
    target = [1] * (x.ndim - len(target)) + target
    known = [
        have if not isinstance(want, int) or want == 1 else want for have, want in zip(x.shape, target, strict=True)
    ]
    if any(not isinstance(want, int) and have != 1 for have, want in zip(x.shape, target, strict=True)):
        raise Unsupported("it expands to sizes that are known only at run time")
    if any(not isinstance(want, int) and want != BATCH for want in target):
        raise Unsupported("it expands to sizes that are known only at run time")
    return np.broadcast_to(x, _limited(known, 1, MAX_VIEW))


BATCH = Size("N")
"""The size of the batch."""


def _tile(_: OnnxNode, x: Array, repeats: Array) -> Array:
    counts = whole(repeats)
    _limited([size * count for size, count in zip(x.shape, counts, strict=True)], x.itemsize)
    return np.tile(x, counts)


def _range(_: OnnxNode, start: Array, stop: Array, step: Array) -> Array:
    count = math.ceil((stop.item() - start.item()) / step.item())
    _limited([max(count, 0)], 32)  # with what is computed on the way
    return np.asarray(start + step * np.arange(max(count, 0)), start.dtype)


def _arithmetic(operation: Callable[[Any, Any], Any]) -> Callable[..., Array]:
    def compute(node: OnnxNode, *xs: Array) -> Array:
        found = xs[0]
        for x in xs[1:]:
            shape = np.broadcast_shapes(found.shape, x.shape)
            if shape != found.shape or 0 in found.strides or found.dtype.kind != "f":
                _limited(shape, 16)
            if node.get("broadcast") and node.get("axis") is not None:
                x = x.reshape(x.shape + (1,) * (found.ndim - x.ndim - node.get("axis")))
            with np.errstate(all="ignore"):
                found = np.asarray(operation(found, x))
        return found

    return compute


def _divided(a: Any, b: Any) -> Any:
    """Return a / b; integers are rounded towards zero."""
    if a.dtype == object or b.dtype == object:
        return np.frompyfunc(_quotient, 2, 1)(a, b)
    if not np.issubdtype(a.dtype, np.integer):
        return a / b
    return a // b + ((a % b != 0) & ((a < 0) != (b < 0)))


def _quotient(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return a // b if a * b >= 0 else -(-a // b)
    if not isinstance(b, int) or b < 0 or (isinstance(a, Size) and any(factor < 0 for _, factor in a.terms)):
        raise Unsupported("it divides by sizes that are known only at run time, or negative ones")
    return a // b


def _remainder(node: OnnxNode, a: Array, b: Array) -> Array:
    return _arithmetic(np.fmod if node.get("fmod") else lambda a, b: a % b)(node, a, b)


def _where(_: OnnxNode, condition: Array, a: Array, b: Array) -> Array:
    _limited(np.broadcast_shapes(condition.shape, a.shape, b.shape), 8)
    return np.where(condition.astype(bool), a, b)


def _reduce_prod(node: OnnxNode, x: Array, given: Array | None = None) -> Array:
    axes = axes_of(node, given)
    found = np.prod(x, None if axes is None else tuple(axes), keepdims=bool(node.get("keepdims", 1)))
    return np.asarray(found, x.dtype)


RULES: dict[str, Callable[..., Array]] = {
    "Identity": lambda _, x: x,
    "Dropout": lambda _, x, *_others: x,
    "ConstantOfShape": _constant_of_shape,
    "Cast": _cast,
    "Shape": lambda node, x: np.array(x.shape[node.get("start", 0) : node.get("end", x.ndim)], np.int64),
    "Size": lambda _, x: np.array(x.size, np.int64),
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Concat": _concat,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Slice": _slice,
    "Expand": _expand,
    "Tile": _tile,
    "Range": _range,
    "Add": _arithmetic(lambda a, b: a + b),
    "Sub": _arithmetic(lambda a, b: a - b),
    "Mul": _arithmetic(lambda a, b: a * b),
    "Div": _arithmetic(_divided),
    "Mod": _remainder,
    "Max": _arithmetic(np.maximum),
    "Min": _arithmetic(np.minimum),
    "Equal": _arithmetic(lambda a, b: a == b),
    "Greater": _arithmetic(lambda a, b: a > b),
    "GreaterOrEqual": _arithmetic(lambda a, b: a >= b),
    "Less": _arithmetic(lambda a, b: a < b),
    "LessOrEqual": _arithmetic(lambda a, b: a <= b),
    "Where": _where,
    "ReduceProd": _reduce_prod,
}
"""The operators that are computed here: what they return stays small, or is a view."""
