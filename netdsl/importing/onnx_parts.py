"""Values of an ONNX model that no layer computes alone, and which are parts of what one does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from netdsl.importing.onnx_values import Moved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Dim
    from netdsl.importing.flat import FlatLayer


class Erf(NamedTuple):
    """A part of a GELU of x: `scale` (`shift` + erf(x / √2)); netdsl has no layer for the error function alone."""

    x: Moved
    shift: float
    scale: float


class IsNan(NamedTuple):
    """Which elements of a value are undefined."""

    x: Moved


class IsZero(NamedTuple):
    """Which elements of a value are 0."""

    x: Moved


class OneHot(NamedTuple):
    """Indices as vectors of `size` elements along a new last axis."""

    x: Moved
    size: int


class Repeated(NamedTuple):
    """A value whose axes of size 1 are repeated up to a shape, as arithmetic does by itself."""

    x: Moved
    shape: tuple[Dim, ...]


class Maxima(NamedTuple):
    """Where a `maxpool` finds its maxima."""

    pool: FlatLayer


ARITHMETIC = frozenset(["Add", "Sub", "Mul", "Div", "Max", "Min"])

PARTS: dict[type, tuple[str, frozenset[str]]] = {
    Erf: ("netdsl has the error function as a part of `gelu` only", frozenset(["Add", "Mul", "Div"])),
    IsNan: ("it tells which numbers are undefined", frozenset(["Where"])),
    IsZero: ("it compares computed values", frozenset(["Where"])),
    Maxima: ("netdsl has the places of maxima as a part of `unpool` only", frozenset(["MaxUnpool"])),
    OneHot: ("netdsl has one-hot vectors as a part of `embedding` only", frozenset(["Cast", "MatMul"])),
    Repeated: ("it repeats elements of a computed value", ARITHMETIC | {"Equal", "Where", "And"}),
}
"""Why each part is no value of its own, and the operators that can make a layer of it."""


def unsupported_part(operator: str, given: Sequence[Any]) -> str:
    """Return why an operator cannot take one of its inputs; an empty text if it can."""
    for value in given:
        why, takers = PARTS.get(type(value), ("", ()))
        if why and operator not in takers:
            return why
    return ""


def unrepeated(xs: Sequence[Any]) -> list[Any]:
    """Return the operands of an operator that repeats axes of size 1 by itself, with repeated ones as they were before;
    those whose axes no other operand has remain."""
    return [_before(x, [other for other in xs if other is not x]) if isinstance(x, Repeated) else x for x in xs]


def _before(repeated: Repeated, others: Sequence[Any]) -> Moved | Repeated:
    rank = repeated.x.rank
    for axis, (have, want) in enumerate(zip(repeated.x.shape, repeated.shape, strict=True)):
        shapes = [tuple(other.shape) for other in others if hasattr(other, "shape")]
        if have != want and not any(
            len(shape) <= rank and axis >= rank - len(shape) and shape[axis - rank] == want for shape in shapes
        ):
            return repeated
    return repeated.x
