"""Parts of masks: steps of a model that netdsl has only within a layer, such as the comparisons of a mask.

Readers make them; the rules of `tidy` must replace them by layers, or else the model is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.declare.arguments import Real
from netdsl.declare.declared import keyword
from netdsl.importing.flat import FlatLayer
from netdsl.layers.base import Layer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from netdsl.importing.flat import FlatNet


class MaskLayer(Layer):
    """Base class of parts of masks. `what` is the operator in messages."""

    dtype = "bool"
    number: float = keyword(Real(), 0.0)
    what = ""


class EqualMask(MaskLayer):
    """Whether two values are equal, or one and `number`."""

    kind = "equal"


class NotMask(MaskLayer):
    """The negation of a condition."""

    kind = "not"


class GreaterMask(MaskLayer):
    """Whether a value is greater than `number`."""

    kind = "greater"


class PastMask(MaskLayer):
    """A condition, and that the position of the key is not behind that of the query."""

    kind = "past"


class WhereMask(MaskLayer):
    """A value where a condition is true, and else `number`."""

    kind = "where"
    dtype = "f32"


class HiddenMask(MaskLayer):
    """0 where a condition is true, and else `number`."""

    kind = "hidden"
    dtype = "f32"


class FloatMask(MaskLayer):
    """1 where a condition is true, and else 0."""

    kind = "float"
    dtype = "f32"


def add_mask(
    net: FlatNet, kind: type[MaskLayer], xs: Sequence[FlatLayer], what: str, place: str, number: float = 0.0
) -> FlatLayer:
    """Add a part of a mask, of values with equally many axes, of which those of size 1 are repeated."""
    made = kind(number=number)
    made.what = what
    widest = max(xs, key=lambda x: sum(size != 1 for size in x.shape))
    found = FlatLayer(made, tuple(xs), widest.shape, kind.dtype)
    found.place = place
    net.layers.append(found)
    return found


def refuse_masks(net: FlatNet, replaced: Iterable[FlatLayer]) -> None:
    """Refuse the parts of masks that no rule has replaced: those that an output needs, or that nothing reads."""
    read = {value for layer in net.layers for value in layer.inputs}
    wanted = {layer for layer in net.layers if layer not in read} - {*replaced}
    wanted |= {*net.outputs.values()}
    for layer in reversed(net.layers):
        if layer in wanted:
            wanted.update(layer.inputs)
    for layer in net.layers:
        if layer in wanted and isinstance(layer.layer, MaskLayer):
            net.refuse(layer.layer.what, layer.place, "netdsl has it as a part of `attention` only")


def condition_of(seen: FlatLayer) -> tuple[str, FlatLayer] | None:
    """Return the keyword and the value of a condition of attention: numbers that are not 0, or equal ones."""
    negated = False
    while seen.kind in ("not", "reshape", "flatten"):
        negated ^= seen.kind == "not"
        seen = seen.inputs[0]
    if seen.kind != "equal":
        return None
    if negated and len(seen.inputs) == 1 and seen.layer.number == 0:  # type: ignore[attr-defined]
        return "mask", seen.inputs[0]
    if len(seen.inputs) == 2 and not negated:
        a, b = (unshaped(x) for x in seen.inputs)
        return ("segments", a) if a is b else None
    return None


def unshaped(x: FlatLayer) -> FlatLayer:
    """Return a value before its reshapes."""
    while x.kind in ("reshape", "flatten"):
        x = x.inputs[0]
    return x
