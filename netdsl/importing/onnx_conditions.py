"""Comparisons, selections and casts of ONNX, which masks of attention are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.importing.masks import EqualMask, FloatMask, GreaterMask, HiddenMask, NotMask, PastMask, WhereMask, add_mask
from netdsl.importing.onnx_constants import HIDDEN
from netdsl.importing.onnx_elementwise import arithmetic_with_constant
from netdsl.importing.onnx_fold import OnnxNode, Unsupported
from netdsl.importing.onnx_parts import PARTS, IsNan, IsZero, OneHot, unrepeated
from netdsl.importing.onnx_reader import Reader, handles
from netdsl.importing.onnx_values import Moved, fixed_shape, like, ordered, settled

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.importing.flat import FlatLayer
    from netdsl.importing.masks import MaskLayer

NO_LAYER = "netdsl has no layer for it"


def _mask(r: Reader, node: OnnxNode, mask: type[MaskLayer], x: Moved, number: float = 0.0) -> Moved:
    return Moved(add_mask(r.net, mask, [x.layer], node.op, node.place, number), x.axes)


@handles("Equal", lazy=True)
def _equal(r: Reader, node: OnnxNode, *xs: Any) -> Any:
    """Comparisons with a number or another value, and of indices with 0, 1, 2, …, which makes one-hot vectors of
    them."""
    a, b = unrepeated(xs)
    x, other = (a, b) if isinstance(a, Moved) else (b, a)
    if not isinstance(x, Moved):
        raise Unsupported(PARTS[IsZero][0])
    if isinstance(other, np.ndarray):
        return _equal_to(r, node, x, other)
    if not isinstance(other, Moved) or x.layer.dtype != "i64":
        raise Unsupported(PARTS[IsZero][0])
    first = settled(r.net, x, node.place)
    second = ordered(r.net, other, first.order, node.place)
    return Moved(add_mask(r.net, EqualMask, [first.layer, second.layer], node.op, node.place), first.axes)


def _equal_to(r: Reader, node: OnnxNode, x: Moved, number: Array) -> Any:
    """Compare a value with constants. Raises Unsupported."""
    if number.size == 1 and x.layer.dtype == "i64":
        return _mask(r, node, EqualMask, x, float(number.reshape(-1)[0]))
    if number.size == 1 and not number.any():
        return IsZero(x)
    count = number.shape[-1] if number.ndim else 0
    if x.layer.dtype == "i64" and number.size == count and (number.reshape(-1) == np.arange(count)).all():
        shape = fixed_shape(r.net, x)
        if number.ndim <= x.rank and shape[-1] == 1 and 0 not in x.axes[-1]:
            r.net.leave_out("zeros for indices that have no vector", node.place, f"they are those below {count}")
            return OneHot(x._replace(axes=x.axes[:-1]), count)
    raise Unsupported(PARTS[IsZero][0])


@handles("Not", lazy=True)
def _not(r: Reader, node: OnnxNode, x: Moved) -> Moved:
    return _mask(r, node, NotMask, x)


@handles("Greater", lazy=True)
def _greater(r: Reader, node: OnnxNode, x: Any, other: Any) -> Moved:
    if not isinstance(x, Moved) or not isinstance(other, np.ndarray) or other.size != 1:
        raise Unsupported(NO_LAYER)
    return _mask(r, node, GreaterMask, x, float(other.reshape(-1)[0]))


@handles("And", lazy=True)
def _and(r: Reader, node: OnnxNode, a: Any, b: Any) -> Moved:
    x, other = (a, b) if isinstance(a, Moved) else (b, a)
    if not isinstance(other, np.ndarray) or other.ndim < 2:
        raise Unsupported(NO_LAYER)
    if not np.array_equal(np.squeeze(other), np.tri(other.shape[-1], dtype=bool)) or x.shape[-1] != other.shape[-1]:
        raise Unsupported(NO_LAYER)
    return _mask(r, node, PastMask, x)


@handles("IsNaN", lazy=True)
def _is_nan(_reader: Reader, _: OnnxNode, x: Moved) -> Any:
    return IsNan(x)


@handles("Where", lazy=True)
def _where(r: Reader, node: OnnxNode, *xs: Any) -> Moved | None:
    """Zeros in place of undefined numbers, which netdsl's layers do not have; or numbers that hide scores."""
    condition, a, b = unrepeated(xs)
    if isinstance(condition, IsZero):
        return _quotient_or_zero(r, node, condition.x, a, b)
    if isinstance(condition, IsNan) and b is condition.x and isinstance(a, np.ndarray) and not a.any():
        return b if isinstance(b, Moved) else None
    if isinstance(condition, Moved):
        return _selected(r, node, condition, a, b)
    if not isinstance(condition, np.ndarray):
        raise Unsupported("its condition is computed from the inputs")
    x, number, seen = (a, b, condition) if isinstance(a, Moved) else (b, a, np.logical_not(condition))
    if not isinstance(x, Moved) or not _hides(number):
        raise Unsupported("it selects between values")
    added = np.where(seen, np.float32(0), np.float32(number.reshape(-1)[0]))
    name = f"{node.outputs[0]}/hidden"
    r.values[name] = added
    return arithmetic_with_constant(r, node, "add", x, name, added, False) if added.size > 1 else x


def _quotient_or_zero(r: Reader, node: OnnxNode, divisor: Moved, zero: Any, quotient: Any) -> Moved | None:
    """Return x / y with 0 where y is: x / (y + 1 - |sign y|) |sign y|, which is equal to the last bit."""
    exact = isinstance(quotient, Moved) and quotient.layer.kind == "div" and len(quotient.layer.inputs) == 2
    if (
        not exact
        or _source(quotient.layer.inputs[1]) is not _source(divisor.layer)
        or not isinstance(zero, np.ndarray)
        or zero.any()
    ):
        raise Unsupported("it selects between values")
    y = quotient.layer.inputs[1]
    signs = r.add(node, "sign", [y])
    some = r.add(node, "abs", [signs]) if signs is not None else None
    less = r.add(node, "scale", [some], {"a": -1.0}) if some is not None else None
    none = r.add(node, "shift", [less], {"b": 1.0}) if less is not None else None
    if some is None or none is None:
        return None
    safe = r.add(node, "add", [y, none])
    found = None if safe is None else r.add(node, "div", [quotient.layer.inputs[0], safe])
    return None if found is None else like(r.add(node, "mul", [found, some]), quotient.axes)


def _source(layer: FlatLayer) -> FlatLayer:
    """Return the value whose elements a layer has."""
    while layer.kind in ("permute", "reshape", "flatten"):
        (layer,) = layer.inputs
    return layer


def _hides(number: Any) -> bool:
    return isinstance(number, np.ndarray) and number.size == 1 and bool(number.max() <= HIDDEN)


LINEAR = 16
"""From here on, a softplus is its input in float32."""


def _selected(r: Reader, node: OnnxNode, seen: Moved, a: Any, b: Any) -> Moved:
    """Hide scores where a computed condition is false; or where it is true, if the hidden ones come first. A softplus
    beside its input, for large numbers, is the softplus alone."""
    if (
        seen.layer.kind == "greater"
        and seen.layer.layer.number >= LINEAR  # type: ignore[attr-defined]
        and isinstance(b, Moved)
        and b.layer.kind == "softplus"
        and isinstance(a, Moved)
        and a == b._replace(layer=b.layer.inputs[0]) == seen._replace(layer=seen.layer.inputs[0])
        and sum([*each.input].count(node.inputs[0]) for each in r.graph.node) == 1
    ):
        r.net.layers.remove(seen.layer)
        return b
    if _hides(a):
        seen, a, b = _mask(r, node, NotMask, seen), b, a
    if not _hides(b):
        raise Unsupported("its condition is computed from the inputs")
    number = float(b.reshape(-1)[0])
    if isinstance(a, np.ndarray):
        if a.size != 1 or a.any():
            raise Unsupported("its condition is computed from the inputs")
        return _mask(r, node, HiddenMask, seen, number)
    x = settled(r.net, a, node.place)
    condition = ordered(r.net, seen, x.order, node.place)
    return Moved(add_mask(r.net, WhereMask, [condition.layer, x.layer], node.op, node.place, number), x.axes)


OF_ONNX = {"FLOAT": 1, "INT32": 6, "INT64": 7, "BOOL": 9, "FLOAT16": 10, "DOUBLE": 11}
"""Numbers of types by their names, as older models write them."""

TYPES = {1: "f32", 10: "f32", 11: "f32", 16: "f32", 6: "i64", 7: "i64", 9: "bool"}
"""Types of values by the numbers of ONNX's types."""

OF_NUMPY = {"float32": "f32", "float64": "f32", "float16": "f32", "int64": "i64", "int32": "i64", "bool": "bool"}
"""Types of values by NumPy's names for those of constants."""


@handles("Cast", "CastLike", lazy=True)
def _cast(r: Reader, node: OnnxNode, x: Any, like: Any = None) -> Any:
    if isinstance(x, OneHot):
        return x
    to = node.get("to")
    name = TYPES.get(to if isinstance(to, int) else OF_ONNX.get(str(to), 0), "")
    if isinstance(x, np.ndarray):
        assert isinstance(like, Moved)
        return np.asarray(x, np.int64 if like.layer.dtype == "i64" else np.float32)
    if node.op == "CastLike":
        name = like.layer.dtype if isinstance(like, Moved) else OF_NUMPY.get(like.dtype.name, "")
    if name == x.layer.dtype:
        return x
    match x.layer.dtype, name:
        case "bool", "f32":
            return _mask(r, node, FloatMask, x)
        case "i64", "bool":
            return _mask(r, node, NotMask, _mask(r, node, EqualMask, x))
    raise Unsupported("it changes the type of elements")
