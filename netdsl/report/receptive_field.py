"""Receptive fields: the number of positions along an input's axis that one position of a value can depend on.

Each op defines its own rule, `Op.reach`. Positions in the padding count, as in the literature: Araujo, Norris & Sim
(2019), "Computing receptive fields of convolutional neural networks".
"""

from __future__ import annotations

from math import gcd, inf, lcm
from typing import TYPE_CHECKING

from netdsl.ir.reach import REGROUPED, UNKNOWN_REACH, known_elements, runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from netdsl.base.shape import Dim, Shape
    from netdsl.ir.graph import Graph, Operation, Value
    from netdsl.ir.net import Node
    from netdsl.ir.reach import Reach

MAX_PERIOD = 256
"""Maximum period, in positions, of a receptive field's pattern. Beyond it, as after fine upsampling, it is unknown."""

MAX_POSITIONS = 2**16
"""Maximum number of positions to enumerate for a receptive field; beyond it, the field is unknown."""


class Field:
    """The receptive fields of the positions along an axis, from lows[p] to highs[p] for position p.

    They repeat with a period of len(lows) positions, moved by `shift` each time.
    """

    __slots__ = ("highs", "lows", "rising", "shift", "size")

    def __init__(self, lows: tuple[int, ...], highs: tuple[int, ...], shift: int) -> None:
        self.lows = lows
        self.highs = highs
        self.shift = shift
        self.size = max(high - low + 1 for low, high in zip(lows, highs, strict=True))
        self.rising = all([*ends] == sorted(ends) and ends[-1] <= ends[0] + shift for ends in (lows, highs))

    def seen(self, first: int, last: int) -> tuple[int, int]:
        """Return the first and the last input position in the fields of the positions from `first` to `last`."""
        period = len(self.lows)
        ends = [divmod(position, period) for position in ((first, last) if self.rising else range(first, last + 1))]
        return (
            min(self.lows[at] + turn * self.shift for turn, at in ends),
            max(self.highs[at] + turn * self.shift for turn, at in ends),
        )

    def through(self, reach: Reach) -> Field | None:
        """Return the fields of the positions of an op's result that reads these; None if they are unknown."""
        old = len(self.lows)
        if reach.block == 1:
            period = old * reach.up // gcd(reach.stride, old * reach.up)
        else:
            period = reach.block * reach.up * old // gcd(reach.stride, old)
        width = 1 if self.rising else (reach.last - reach.first) // reach.up + 2
        if period > MAX_PERIOD or period * width > MAX_POSITIONS:
            return None
        pairs = []
        for position in range(period):
            start = position // reach.block * reach.stride
            pairs.append(self.seen((start + reach.first) // reach.up, (start + reach.last) // reach.up))
        lows, highs = zip(*pairs, strict=True)
        return Field(lows, highs, period // reach.block * reach.stride // (old * reach.up) * self.shift)


IDENTITY = Field((0,), (0,), 1)


class FieldTerm:
    """A term of a receptive field: at position p of `axis`, the field at position (p // div) % size.

    A `size` of 0 means no modulus, and a `field` of None means that it is unknown.
    """

    __slots__ = ("axis", "div", "field", "size")

    def __init__(self, axis: int, field: Field | None, div: int = 1, size: int = 0) -> None:
        self.axis = axis
        self.field = field
        self.div = div
        self.size = size

    @property
    def spread(self) -> Field | None:
        """The fields by position p of the axis, without `div` and `size`; None if they are unknown."""
        if self.field is None or (self.div == 1 and not self.size):
            return self.field
        old = self.size or len(self.field.lows)
        if old * self.div > MAX_PERIOD:
            return None
        pairs = [self.field.seen(position, position) for position in range(old) for _ in range(self.div)]
        lows, highs = zip(*pairs, strict=True)
        return Field(lows, highs, 0 if self.size else self.field.shift)

    def whole(self, length: Dim) -> tuple[int, int] | None:
        """Return the first and the last input position in the fields of all positions of an axis; None if unknown."""
        if self.field is None or not isinstance(length, int):
            return None
        positions = -(-length // self.div)
        positions = min(positions, self.size) if self.size else positions
        return self.field.seen(0, positions - 1) if self.field.rising or positions <= MAX_POSITIONS else None


class JointTerm:
    """A term whose position is the sum of those of `digits`, which are linear, on several axes: of a field whose period
    is none of theirs, as that of windows in pairs of rows."""

    __slots__ = ("digits", "field")

    def __init__(self, digits: Sequence[FieldTerm], field: Field) -> None:
        self.digits = digits
        self.field = field

    def read(self, operation: Operation, at: int, y: Shape) -> tuple[list[FieldTerm], set[int]] | None:
        """Return the digits that the result of an op has, and the sums of those that it reads as a whole; None if they
        are unknown."""
        xs = [x.shape for x in operation.inputs]
        kept: list[FieldTerm] = []
        sums = {0}
        for digit in self.digits:
            assert digit.field is not None
            reach = operation.op.reach(at, digit.axis, y, *xs)
            if reach is None:
                ends = digit.whole(xs[at][digit.axis])
                if ends is None or (ends[1] // digit.field.shift + 1) * len(sums) > MAX_POSITIONS:
                    return None
                sums = {each + more for each in sums for more in range(0, ends[1] + 1, digit.field.shift)}
            elif reach is UNKNOWN_REACH or reach.moves:
                return None
            else:
                kept.append(FieldTerm(reach.to, digit.field, digit.div, digit.size))
        return kept, sums


class Seen:
    """The receptive field of a value on one axis of an input, which has `length` positions.

    A position in it is the sum of one position from each term's field and a number from `low` to `high`, the same at
    all positions of the value. `everything` means that the field is the whole axis.
    """

    __slots__ = ("everything", "high", "length", "low", "terms")

    def __init__(
        self,
        length: Dim,
        terms: tuple[FieldTerm | JointTerm, ...],
        low: int = 0,
        high: int = 0,
        *,
        everything: bool = False,
    ) -> None:
        self.length = length
        self.terms = terms
        self.low = low
        self.high = high
        self.everything = everything

    @property
    def size(self) -> FieldSize:
        if self.everything:
            return WHOLE_INPUT
        total, slides = 1 + self.high - self.low, False
        for term in self.terms:
            if term.field is None:
                return None
            total += term.field.size - 1
            slides = slides or term.field.shift != 0
        return total if slides or not isinstance(self.length, int) or total < self.length else WHOLE_INPUT

    @property
    def order(self) -> tuple[int, int]:
        """Sort key by size: known sizes, then unknown ones, then the whole input."""
        size = self.size
        return (2, 0) if size == WHOLE_INPUT else (1, 0) if size is None else (0, int(size))


InputAxis = tuple[str, int]
"""An input's name and one of its axes."""

View = dict[InputAxis, Seen]
"""The receptive field of a value on each axis of each input."""

FieldSize = int | str | None
"""Size of a receptive field in positions, or WHOLE_INPUT; None if it is unknown."""

WHOLE_INPUT = "all"
"""Size of a receptive field that is the whole input."""


def input_view(node: Node) -> View:
    """Return the receptive field of an input, which is itself: on its spatial axes, or on its only axis."""
    rank = len(node.shape)
    axes = range(min(2, rank), rank + 1)
    return {(node.name, axis): Seen(node.shape[axis - 1], (FieldTerm(axis, IDENTITY),)) for axis in axes}


def layer_view(graph: Graph, inputs: list[View]) -> View:
    """Return the receptive field of a layer's result, given those of its inputs and its operations."""
    views: dict[Value, View] = dict(zip(graph.inputs.values(), inputs, strict=True))
    (result,) = graph.outputs.values()
    for operation in graph.operations:
        for y in operation.outputs:
            merged: View = {}
            for at, x in enumerate(operation.inputs):
                for axis, seen in _step(operation, at, views.get(x, {}), y.shape, last=y is result):
                    if axis not in merged or seen.order > merged[axis].order:
                        merged[axis] = seen
            views[y] = merged
    return views.get(result, {})  # a constant has none


def state_view(view: View) -> View:
    """Return the receptive field of a recurrent layer's state, given that of the layer's result."""
    return {axis: Seen(seen.length, (), everything=True) for axis, seen in view.items()}


def _step(operation: Operation, at: int, view: View, y: Shape, *, last: bool) -> Iterable[tuple[InputAxis, Seen]]:
    """Yield the field of an operation's result through one operand; `last` if it is the layer's result."""
    x = operation.inputs[at].shape
    for axis, seen in view.items():
        if seen.everything:
            yield axis, seen
        elif operation.op.reach(at, min(1, len(x) - 1), y, *(x.shape for x in operation.inputs)) is not REGROUPED:
            yield axis, _moved(seen, operation, at, y)
        elif last and axis[1] == 1 and len(x) == 2 < len(y) and [term.field for term in seen.terms] == [IDENTITY]:
            for other in range(2, len(y)):  # a flat input reshaped to a map: positions are those of the map
                yield (axis[0], other), Seen(y[other], (FieldTerm(other, IDENTITY),))
        else:
            yield axis, _regrouped(seen, x, y)


def _moved(seen: Seen, operation: Operation, at: int, y: Shape) -> Seen:
    """Return the field of the result of an op that treats each axis separately."""
    xs = [x.shape for x in operation.inputs]
    terms: list[FieldTerm | JointTerm] = []
    low, high, lost = seen.low, seen.high, False
    plain = [term for term in seen.terms if isinstance(term, FieldTerm)]
    for axis in dict.fromkeys(term.axis for term in plain):
        here = [term for term in plain if term.axis == axis]
        reach = operation.op.reach(at, axis, y, *xs)
        if reach is UNKNOWN_REACH:
            terms.append(FieldTerm(min(axis, len(y) - 1), None))
        elif reach is None:
            term = here[0] if len(here) == 1 else FieldTerm(axis, _sum(here))
            ends = term.whole(xs[at][axis])
            low, high, lost = (low + ends[0], high + ends[1], lost) if ends else (low, high, True)
        elif reach.moves:
            field = _sum(here)
            terms.append(FieldTerm(reach.to, field and field.through(reach)))
        else:
            terms += [FieldTerm(reach.to, term.field, term.div, term.size) for term in here]
    for joint in (term for term in seen.terms if isinstance(term, JointTerm)):
        read = joint.read(operation, at, y)
        found, first, last = _without(joint.field, *read) if read else (None, 0, 0)
        terms += [FieldTerm(min(digit.axis, len(y) - 1), None) for digit in joint.digits] if found is None else found
        low, high = low + first, high + last
    if lost:
        axes = {term.axis for each in terms for term in (each.digits if isinstance(each, JointTerm) else [each])}
        return Seen(seen.length, tuple(FieldTerm(axis, None) for axis in axes), everything=not axes)
    made = Seen(seen.length, tuple(terms), low, high)
    if not terms:
        made.everything = _covers(seen, low, high)
    return made


def _without(
    field: Field, digits: list[FieldTerm], sums: set[int]
) -> tuple[list[FieldTerm | JointTerm] | None, int, int]:
    """Return the terms of a field at the sum of digits, over all of these `sums` in addition, and an interval to add;
    no terms if they are unknown."""
    if not digits:
        pairs = [field.seen(each, each) for each in sums]
        return [], min(low for low, _ in pairs), max(high for _, high in pairs)
    if len(sums) == 1:
        return _terms(digits, field), 0, 0
    step = gcd(*(digit.field.shift for digit in digits if digit.field))
    period = len(field.lows) // gcd(len(field.lows), step)
    if period * len(sums) > MAX_POSITIONS:
        return None, 0, 0
    all_ends = [[field.seen(at * step + each, at * step + each) for each in sums] for at in range(period)]
    lows = tuple(min(low for low, _ in ends) for ends in all_ends)
    highs = tuple(max(high for _, high in ends) for ends in all_ends)
    smaller = [FieldTerm(x.axis, _linear(x.field.shift // step), x.div, x.size) for x in digits if x.field]
    return _terms(smaller, Field(lows, highs, field.shift * step * period // len(field.lows))), 0, 0


def _linear(step: int) -> Field:
    return Field((0,), (0,), step)


def _terms(digits: Sequence[FieldTerm], field: Field) -> list[FieldTerm | JointTerm]:
    """Return a field at the sum of digits as a term for each, if its period allows it."""
    period = len(field.lows)
    steps = [digit.field.shift for digit in digits if digit.field]
    if steps.count(1) != 1 or any(step != 1 and step % period for step in steps):
        return [JointTerm(digits, field)]
    return [
        FieldTerm(x.axis, field if step == 1 else _linear(field.shift * step // period), x.div, x.size)
        for x, step in zip(digits, steps, strict=True)
    ]


def _covers(seen: Seen, low: int, high: int) -> bool:
    """Return whether positions cover an axis, up to a remainder smaller than a stride, which no window reads."""
    step = max((abs(term.field.shift) for term in seen.terms if term.field), default=1)
    return not isinstance(seen.length, int) or (low < max(1, step) and high >= seen.length - max(1, step))


def _sum(terms: list[FieldTerm]) -> Field | None:
    """Return the sum of the fields of terms on one axis, position by position; None if it is unknown."""
    fields = [term.spread for term in terms]
    known = [field for field in fields if field is not None]
    period = lcm(*(len(field.lows) for field in known))
    if len(known) < len(fields) or period > MAX_PERIOD:
        return None
    if len(known) == 1:
        return known[0]
    pairs = [[field.seen(position, position) for field in known] for position in range(period)]
    lows, highs = (tuple(sum(pair[end] for pair in each) for each in pairs) for end in (0, 1))
    return Field(lows, highs, sum(field.shift * (period // len(field.lows)) for field in known))


def _regrouped(seen: Seen, x: Shape, y: Shape) -> Seen:
    """Return the field of the result of a reshape, which keeps the elements and their order."""
    terms: list[FieldTerm] = []
    joint: list[JointTerm] = []
    low, high = seen.low, seen.high
    for term in seen.terms:
        digits = term.digits if isinstance(term, JointTerm) else [FieldTerm(term.axis, IDENTITY, term.div, term.size)]
        parts = [_split(digit, x, y) for digit in digits if x[digit.axis] != 1]
        if term.field is None or None in parts:
            terms += [FieldTerm(axis, None) for digit in digits for axis in _targets(digit.axis, x, y)]
        elif parts:
            for each in _terms(_joined([part for found in parts for part in found or ()]), term.field):
                (joint if isinstance(each, JointTerm) else terms).append(each)  # type: ignore[arg-type]
        else:
            ends = term.field.seen(0, 0)
            low, high = low + ends[0], high + ends[1]
    return Seen(seen.length, (*_joined(terms), *joint), low, high)


def _targets(axis: int, x: Shape, y: Shape) -> list[int]:
    """Return the axes of the result of a reshape that have the elements of this axis."""
    there = next((there for here, there in runs(x, y) if axis in here), ())
    return [other for other in there if y[other] != 1]


def _split(digit: FieldTerm, x: Shape, y: Shape) -> list[FieldTerm] | None:
    """Return a digit as digits on the axes into which its axis is split or merged; None if their positions are not
    aligned."""
    here, there = next((run for run in runs(x, y) if digit.axis in run[0]), ((digit.axis,), ()))
    after = [axis for axis in there if y[axis] != 1]
    if len(after) == sum(x[axis] != 1 for axis in here) == 1:
        return [FieldTerm(after[0], digit.field, digit.div, digit.size)]
    assert digit.field is not None
    inner, own = known_elements(x[digit.axis + 1 : here[-1] + 1]), x[digit.axis]
    size: float = digit.size or inf
    if not digit.size and any(x[axis] != 1 for axis in here if axis < digit.axis):
        size = own / digit.div if isinstance(own, int) and own % digit.div == 0 else 0
    if not inner or not size:
        return None
    bottom, top = inner * digit.div, inner * digit.div * size
    found = []
    for axis in there:
        stride, width = known_elements(y[axis + 1 : there[-1] + 1]), y[axis]
        end = stride * width if isinstance(width, int) else inf
        low, high = max(stride, bottom), min(end, top)
        if not stride or (low < high < inf and high % low) or (low < high and (low % stride or low % bottom)):
            return None
        if width != 1 and low < high:
            field = _linear(digit.field.shift * (low // bottom))
            found.append(FieldTerm(axis, field, low // stride, 0 if high == end else int(high // low)))
    return found or None


def _joined(terms: list[FieldTerm]) -> list[FieldTerm]:
    """Merge terms of one axis that are digits of one number."""
    found: list[FieldTerm] = []
    for term in sorted(terms, key=lambda each: (each.axis, -each.div)):
        before = found[-1] if found else None
        if before is not None and _continues(before, term):
            assert before.field is not None
            assert term.field is not None
            low = before.field.lows[0] + term.field.lows[0]
            high = before.field.highs[0] + term.field.highs[0]
            field = Field((low,), (high,), term.field.shift)
            found[-1] = FieldTerm(term.axis, field, term.div, before.size * term.size)
        else:
            found.append(term)
    return found


def _continues(before: FieldTerm, term: FieldTerm) -> bool:
    """Return whether a term is the next digit of the number of another one."""
    if before.axis != term.axis or before.field is None or term.field is None or not term.size:
        return False
    linear = len(before.field.lows) == len(term.field.lows) == 1
    return linear and before.div == term.div * term.size and before.field.shift == term.field.shift * term.size


def field_size(view: View) -> FieldSize | list[FieldSize]:
    """Return the size of a receptive field: one number if it is the same on all axes, otherwise one per axis; 0 for a
    constant. The axes of several inputs are aligned at the last ones."""
    if not view:
        return 0
    ends: dict[str, int] = {}
    for name, axis in view:
        ends[name] = max(axis, ends.get(name, 0))
    largest: dict[int, Seen] = {}
    for (name, axis), seen in view.items():
        back = axis - ends[name]
        if back not in largest or seen.order > largest[back].order:
            largest[back] = seen
    sizes = [largest[axis].size for axis in sorted(largest)]
    return sizes[0] if len(set(sizes)) == 1 else sizes or None
