"""Activations, arithmetic and comparisons of ONNX."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.declare.arguments import FLOAT32_MAX
from netdsl.importing.calls import NO_LIMIT
from netdsl.importing.onnx_constants import operand
from netdsl.importing.onnx_fold import OnnxNode, Unsupported, axis_of
from netdsl.importing.onnx_parts import PARTS, Erf, Repeated, unrepeated
from netdsl.importing.onnx_reader import Reader, handles
from netdsl.importing.onnx_values import Moved, against, fixed_shape, like, ordered, reshaped, settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.dtypes import Array
    from netdsl.importing.flat import FlatLayer

UNARY = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Exp": "exp",
    "Log": "log",
    "Sqrt": "sqrt",
    "Abs": "abs",
    "Sin": "sin",
    "Cos": "cos",
    "Sign": "sign",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Mish": "mish",
    "HardSwish": "hard_swish",
}
"""Operators of one input without arguments, with their layers."""

INFINITE = float(np.float32(FLOAT32_MAX))
"""Limits of a `Clip` from here on are none."""


@handles(*UNARY, lazy=True)
def _unary(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    return like(r.add(node, UNARY[node.op], [x.layer]), x.axes)


@handles("Identity", "Dropout", lazy=True)
def _same(_reader: Reader, _: OnnxNode, x: Moved, *others: Any) -> list[Moved | None]:
    if len(others) > 1 and isinstance(others[1], np.ndarray) and bool(others[1].reshape(-1)[0]):
        raise Unsupported("it is in training mode")
    return [x]


@handles("LeakyRelu", "Elu", "Celu", "ThresholdedRelu", "Selu", "Gelu", "Swish", "HardSigmoid", lazy=True)
def _parametric(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    alpha = node.get("alpha")
    kind, arguments = "", {}
    match node.op:
        case "LeakyRelu":
            kind, arguments = "leaky_relu", {"slope": 0.01 if alpha is None else alpha}
        case "Elu" | "Celu":
            kind, arguments = node.op.lower(), {"alpha": 1.0 if alpha is None else alpha}
        case "ThresholdedRelu":
            kind, arguments = "threshold", {"threshold": 1.0 if alpha is None else alpha}
        case "Gelu":
            kind, arguments = "gelu", {"tanh": node.get("approximate", "none") == "tanh"}
        case "Swish" if alpha in (None, 1.0):
            kind = "silu"
        case "Selu" if _near(alpha, 1.67326319) and _near(node.get("gamma"), 1.05070102):
            kind = "selu"
        case "HardSigmoid":
            return _hard_sigmoid(r, node, x, 0.2 if alpha is None else alpha, node.get("beta", 0.5))
        case _:
            raise Unsupported("its parameters are others than those of the layer")
    return like(r.add(node, kind, [x.layer], arguments), x.axes)


def _near(number: float | None, wanted: float) -> bool:
    return number is None or abs(number - wanted) <= 1e-5 * abs(wanted)


def _hard_sigmoid(r: Reader, node: OnnxNode, x: Moved, alpha: float, beta: float) -> Moved | None:
    if _near(alpha, 1 / 6) and _near(beta, 0.5):
        return like(r.add(node, "hard_sigmoid", [x.layer]), x.axes)
    found: FlatLayer | None = x.layer
    for kind, arguments in (("scale", {"a": alpha}), ("shift", {"b": beta}), ("clip", {"low": 0.0, "high": 1.0})):
        found = None if found is None else r.add(node, kind, [found], arguments)
    return like(found, x.axes)


@handles("Clip", lazy=True)
def _clip(r: Reader, node: OnnxNode, x: Moved, low: Any = None, high: Any = None) -> Moved | None:
    if isinstance(low, Moved) or isinstance(high, Moved):
        raise Unsupported("its limits are computed from the inputs")
    least = node.get("min") if low is None else float(low.reshape(-1)[0])
    most = node.get("max") if high is None else float(high.reshape(-1)[0])
    least = None if least is None or least <= -INFINITE else least
    most = None if most is None or most >= INFINITE else most
    if (least, most) == (None, None):
        return x
    if least == 0 and most in (None, 6):
        return like(r.add(node, "relu" if most is None else "relu6", [x.layer]), x.axes)
    arguments = {"low": -NO_LIMIT if least is None else least, "high": NO_LIMIT if most is None else most}
    return like(r.add(node, "clip", [x.layer], arguments), x.axes)


@handles("Softmax", "LogSoftmax", lazy=True)
def _softmax(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    kind = "softmax" if node.op == "Softmax" else "log_softmax"
    axis = axis_of(node.get("axis", -1 if r.opset >= 13 else 1), x.rank)
    if r.opset < 13 and any(size != 1 for size in x.shape[axis + 1 :]):
        raise Unsupported("it normalizes over several axes")
    if len(x.axes[axis]) != 1:
        x = settled(r.net, x, node.place)
    at = x.axes[axis][0] - 1
    if at < 0:
        raise Unsupported("it normalizes over the batch")
    return like(r.add(node, kind, [x.layer], {"axis": at}), x.axes)


@handles("PRelu")
def _prelu(r: Reader, node: OnnxNode, x: Moved, slope: Any) -> Moved | None:
    if isinstance(slope, Moved):
        raise Unsupported("its slopes are computed from the inputs")
    name = node.inputs[1]
    if slope.size == 1:
        weight = r.weight(name, slope.reshape(1))
        return like(r.add(node, "prelu", [x.layer], {"shared": True}, {"weight": weight}), x.axes)
    by_channel = slope.ndim == 1 and r.opset < (9 if slope.size != x.shape[-1] else 7)
    slopes = against(x, slope.reshape(-1, *(1,) * (x.rank - 2)) if by_channel else slope)
    if slopes.size != slopes.shape[0]:
        raise Unsupported("its slopes differ between positions")
    return like(r.add(node, "prelu", [x.layer], {}, {"weight": r.weight(name, slopes.reshape(-1))}), x.axes)


@handles("Erf", lazy=True)
def _erf(_reader: Reader, _: OnnxNode, x: Moved) -> Any:
    layer = x.layer
    if layer.kind != "scale" or not _near(layer.layer.a, sqrt(0.5)):  # type: ignore[attr-defined]
        raise Unsupported(PARTS[Erf][0])
    return Erf(Moved(layer.inputs[0], x.axes), 0.0, 1.0)


def _with_erf(r: Reader, node: OnnxNode, part: Erf, other: Any) -> Any:
    """Return the next part of a GELU, or the whole. Raises Unsupported."""
    if isinstance(other, np.ndarray) and other.size == 1:
        number = float(other.reshape(-1)[0])
        if node.op == "Add" and part.scale == 1:
            return part._replace(shift=part.shift + number)
        if node.op in ("Mul", "Div"):
            return part._replace(scale=part.scale * (number if node.op == "Mul" else 1 / number))
    if isinstance(other, Moved) and node.op == "Mul" and part.shift == 1:
        layer, factor = other.layer, part.scale
        if layer is not part.x.layer and layer.kind == "scale" and layer.inputs[0] is part.x.layer:
            layer, factor = layer.inputs[0], factor * layer.layer.a  # type: ignore[attr-defined]
        if layer is part.x.layer and other.axes == part.x.axes:
            found = r.add(node, "gelu", [layer])
            if abs(factor - 0.5) > 1e-7 and found is not None:
                found = r.add(node, "scale", [found], {"a": factor * 2})
            return like(found, other.axes)
    raise Unsupported(PARTS[Erf][0])


@handles("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", lazy=True)
def _arithmetic(r: Reader, node: OnnxNode, *xs: Any) -> Any:
    kind = {"Sum": "add", "Mean": "add"}.get(node.op, node.op.lower())
    xs = tuple(unrepeated(xs))
    if any(isinstance(x, Repeated) for x in xs):
        raise Unsupported(PARTS[Repeated][0])
    for a, b in ((xs[0], xs[-1]), (xs[-1], xs[0])):
        if isinstance(a, Erf) and len(xs) == 2:
            return _with_erf(r, node, a, b)
    values = [x for x in xs if isinstance(x, Moved)]
    constants = [(name, x) for name, x in zip(node.inputs, xs, strict=True) if isinstance(x, np.ndarray)]
    if len(values) + len(constants) < len(xs):
        raise Unsupported(PARTS[Erf][0])
    found: Moved | None = None
    if len(values) > 1:
        found = _merged(r, node, kind, values)
        if found is None:
            return None
    else:
        found = values[0]
    for name, array in constants:
        first = isinstance(xs[0], np.ndarray) and len(xs) == 2
        found = arithmetic_with_constant(r, node, kind, found, name, array, first)
        if found is None:
            return None
    if node.op == "Mean" and len(xs) > 1:
        found = like(r.add(node, "scale", [found.layer], {"a": 1 / len(xs)}), found.axes)
    return found


def _merged(r: Reader, node: OnnxNode, kind: str, values: Sequence[Moved]) -> Moved | None:
    """Merge values, with their axes in the order of the first one's, repeated where they have size 1."""
    first = max(values, key=lambda x: x.rank)
    if any(x.axes != first.axes or len(x.layer.shape) != len(first.layer.shape) for x in values):
        first = settled(r.net, first, node.place)
        values = [_widened(r, node, x, first) for x in values]
    layers = [x.layer for x in values]
    unequal = any(layer.shape != layers[0].shape for layer in layers)
    arguments = {"spread": True} if unequal and kind not in ("mul", "div") else {}
    return like(r.add(node, kind, layers, arguments), first.axes)


def _widened(r: Reader, node: OnnxNode, x: Moved, first: Moved) -> Moved:
    """Return an operand with the number and the order of the axes of the first one."""
    if x.rank < first.rank:
        if not (node.get("broadcast") and node.get("axis", -1) == 0):
            raise Unsupported("its inputs have different numbers of axes, of which one is the batch")
        x = reshaped(r.net, x, [*x.shape, *[1] * (first.rank - x.rank)], node.place)
    return ordered(r.net, x, first.order, node.place)


def arithmetic_with_constant(
    r: Reader, node: OnnxNode, kind: str, x: Moved, name: str, array: Array, first: bool
) -> Moved | None:
    """Combine a value with a constant, which is the `first` operand or the second."""
    if x.layer.dtype != "f32":
        raise Unsupported("it computes with integers")
    if node.get("broadcast") and node.get("axis") is not None:
        array = array.reshape(array.shape + (1,) * (x.rank - array.ndim - axis_of(node.get("axis"), x.rank)))
    if array.size == 1 and array.ndim <= x.rank:
        whole = None if kind != "div" or first else _normalized(r, node, x, float(array.reshape(-1)[0]))
        if whole is not None:
            return whole
        simple = _scalar(kind, float(array.reshape(-1)[0]), first)
        if simple is not None:
            found: FlatLayer | None = x.layer
            for step, arguments in simple:
                found = None if found is None else r.add(node, step, [found], arguments)
            return like(found, x.axes)
    if _adds_nothing(r, kind, x, array, first):
        r.net.leave_out("an addition of zeros", node.place)
        return x
    if any(size > 1 and not joined for joined, size in zip(x.axes[::-1], array.shape[::-1], strict=False)):
        x = settled(r.net, x, node.place)  # the constant repeats an axis of size 1, which must be one of the layer
    constant = operand(r, node, name, array, x)
    if constant is None:
        return None
    operands = [constant, x.layer] if first and kind in ("sub", "div") else [x.layer, constant]
    arguments = {"spread": True} if constant.shape != x.layer.shape and kind not in ("mul", "div") else {}
    return like(r.add(node, kind, operands, arguments), x.axes)


def _adds_nothing(r: Reader, kind: str, x: Moved, array: Array, first: bool) -> bool:
    """Return whether a constant of several axes is only zeros to add, which neither repeats nor negates the value."""
    if kind not in ("add", "sub") or (kind == "sub" and first) or array.any() or array.ndim > x.rank:
        return False
    sizes = fixed_shape(r.net, x)[x.rank - array.ndim :]
    fits = all(size in (1, have) for size, have in zip(array.shape, sizes, strict=True))
    return fits and sum(size > 1 for size in array.shape) > 1


def _normalized(r: Reader, node: OnnxNode, x: Moved, std: float) -> Moved | None:
    """Return (x - mean) / std of a single channel."""
    shift = x.layer
    if shift.kind != "shift" or shift.shape[0] != 1 or std <= 0:
        return None
    arguments = {"mean": (-shift.layer.b,), "std": (std,)}  # type: ignore[attr-defined]
    return like(r.add(node, "normalize", [shift.inputs[0]], arguments), x.axes)


def _scalar(kind: str, number: float, first: bool) -> list[tuple[str, dict[str, object]]] | None:
    """Return the layers that combine a value with a number, or None if there are none."""
    match kind:
        case "add":
            return [("shift", {"b": number})] if number else []
        case "mul":
            return [("scale", {"a": number})] if number != 1 else []
        case "sub" if first:
            return [("scale", {"a": -1.0}), ("shift", {"b": number})]
        case "sub":
            return [("shift", {"b": -number})] if number else []
        case "div" if not first and number:
            return [("scale", {"a": 1 / number})] if number != 1 else []
        case "max" if number == 0:
            return [("relu", {})]
        case "max" if number <= -INFINITE:
            return []
    return None


@handles("Neg", lazy=True)
def _neg(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    return like(r.add(node, "scale", [x.layer], {"a": -1.0}), x.axes)


@handles("Reciprocal", lazy=True)
def _reciprocal(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    one = r.add(node, "values", [], {"numbers": (1.0,), "sizes": (1,) * len(x.layer.shape)}, path="")
    return None if one is None else like(r.add(node, "div", [one, x.layer]), x.axes)


@handles("Pow", lazy=True)
def _pow(r: Reader, node: OnnxNode, x: Any, exponent: Any) -> Moved | None:
    if not isinstance(x, Moved) or not isinstance(exponent, np.ndarray) or exponent.size != 1:
        raise Unsupported("its exponent is no number")
    number = float(exponent.reshape(-1)[0])
    if number in (2, 0.5):
        return like(r.add(node, "square" if number == 2 else "sqrt", [x.layer]), x.axes)
    if number == 1:
        return x
    if number in (3, 4):
        return like(r.add(node, "mul", [x.layer] * int(number)), x.axes)
    raise Unsupported(f"its exponent is {number:g}")
