"""The kinds of declared arguments, which check and convert a value and describe what they accept."""

from __future__ import annotations

from math import inf, isfinite
from struct import pack, unpack
from typing import TYPE_CHECKING, Generic, TypeGuard, TypeVar

from netdsl.base.limits import RANK, SIZE
from netdsl.base.shape import Size
from netdsl.ir.init import ARITY, Init

if TYPE_CHECKING:
    from fractions import Fraction

    Number = int | float | Fraction

_T = TypeVar("_T", covariant=True)


class Word(str):
    """A bare word as a value, such as `same` in `pad same`."""

    __slots__ = ()


class ValueMisfit(Exception):
    """A value that an argument does not accept; the text completes the sentence "`stride` must be …"."""


class Kind(Generic[_T]):
    """A kind of argument. `words` are the bare words that it accepts, which take precedence over variables."""

    words: tuple[str, ...] = ()
    quoted: bool = False
    """Whether the value is a quoted string."""
    expected: str

    def convert(self, value: object) -> _T:
        """Return the converted value. Raises ValueMisfit."""
        raise NotImplementedError

    def _misfit(self) -> ValueMisfit:
        return ValueMisfit(self.expected)


def is_number(value: object) -> TypeGuard[Number]:
    """Return whether a value is an integer, a fraction or a float; booleans are not numbers."""
    return hasattr(value, "__float__") and not isinstance(value, bool)


def whole(value: object) -> int | None:
    """Return an exact integer, also from a fraction that is whole; None for anything else, including booleans and
    floats."""
    if type(value) is int:
        return value
    if is_number(value) and not isinstance(value, float) and value.denominator == 1:
        return int(value.numerator)
    return None


class Integer(Kind[int]):
    """An integer within bounds."""

    def __init__(self, minimum: int = 1, maximum: int = SIZE, odd: bool = False) -> None:
        self.minimum, self.maximum, self.odd = minimum, maximum, odd
        bound = f" of at least {minimum}" if maximum == SIZE else f" from {minimum} to {maximum}"
        if (minimum, maximum) == (-SIZE, SIZE):
            bound = ""
        self.expected = f"an {'odd ' if odd else ''}integer{bound}"

    def convert(self, value: object) -> int:
        number = whole(value)
        if number is not None and number > SIZE:
            raise ValueMisfit(f"at most {SIZE}")
        if number is None or not self.minimum <= number <= self.maximum or (self.odd and number % 2 == 0):
            raise self._misfit()
        return number


FLOAT32_MAX = (2 - 2**-23) * 2.0**127
FLOAT32_MIN = 2.0**-126
"""Largest and smallest positive normal float32. Hardware may flush smaller numbers to 0."""


class Real(Kind[float]):
    """A number in float32's normal range, within bounds; `above` and `below` are exclusive."""

    def __init__(
        self,
        minimum: float | None = None,
        maximum: float | None = None,
        above: float | None = None,
        below: float | None = None,
    ) -> None:
        self.minimum, self.maximum, self.above, self.below = minimum, maximum, above, below
        bounds = [(">=", minimum), (">", above), ("<=", maximum), ("<", below)]
        limits = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
        self.expected = f"a number {limits}".rstrip()

    def convert(self, value: object) -> float:
        if not is_number(value):
            raise self._misfit()
        try:
            number = float(value)
        except OverflowError:
            number = inf if value > 0 else -inf
        if not self._within(number):
            raise self._misfit()
        try:
            (single,) = unpack("<f", pack("<f", number))
        except OverflowError:
            single = inf
        if not isfinite(single):
            raise ValueMisfit(f"{self.expected} that float32 can hold, at most {FLOAT32_MAX:.7g} in magnitude")
        if value != 0 and abs(single) < FLOAT32_MIN:
            raise ValueMisfit(f"{self.expected} that float32 can hold, at least {FLOAT32_MIN:.7g} in magnitude")
        if not self._within(single):
            raise ValueMisfit(f"{self.expected} in float32, which rounds it to {single:g}")
        return number

    def _within(self, number: float) -> bool:
        return (
            (self.minimum is None or number >= self.minimum)
            and (self.maximum is None or number <= self.maximum)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )


class Flag(Kind[bool]):
    """`on` or `off`."""

    expected = "`on` or `off`"

    def convert(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise self._misfit()
        return value


class Choice(Kind[str]):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.expected = " or ".join(", ".join(f"`{w}`" for w in words).rsplit(", ", 1))

    def convert(self, value: object) -> str:
        if not isinstance(value, Word) or value not in self.words:
            raise self._misfit()
        return str(value)


class Sequence(Kind[tuple[_T, ...]]):
    """A list of values of one kind."""

    def __init__(self, item: Kind[_T]) -> None:
        self.item = item
        self.expected = f"a list, each of its entries {item.expected}"

    def convert(self, value: object) -> tuple[_T, ...]:
        if not isinstance(value, tuple) or not value:
            raise self._misfit()
        return tuple(map(self.entry, value))

    def entry(self, value: object) -> _T:
        """Convert one entry. Raises ValueMisfit with the item's reason if that is more specific."""
        try:
            return self.item.convert(value)
        except ValueMisfit as misfit:
            raise (self._misfit() if str(misfit) == self.item.expected else misfit) from None


class Numbers(Sequence[float]):
    """A number, or a list with one per channel."""

    def __init__(self, item: Real) -> None:
        super().__init__(item)
        self.expected = f"{item.expected}, or a list with one for each channel"

    def convert(self, value: object) -> tuple[float, ...]:
        return super().convert(value if isinstance(value, tuple) else (value,))


class Elements(Numbers):
    """The elements of a constant: a number, or a list of them."""

    def __init__(self) -> None:
        super().__init__(Real())
        self.expected = "a number, or a list of numbers"


class Sizes(Sequence[int]):
    """One size for all spatial axes, or a list with one per axis: `3`, `3x3`, `[3, 5]`."""

    def __init__(self, minimum: int = 1) -> None:
        super().__init__(Integer(minimum))
        self.expected = f"an integer of at least {minimum}, or one for each axis, such as `3x3`"

    def convert(self, value: object) -> int | tuple[int, ...]:  # type: ignore[override]
        return super().convert(value) if isinstance(value, tuple) else self.entry(value)


class Pair(Sizes):
    """A size for height and width, or a list with one for each."""

    def __init__(self, minimum: int = 1) -> None:
        super().__init__(minimum)
        self.expected = f"an integer of at least {minimum}, or two of them: height and width"

    def convert(self, value: object) -> int | tuple[int, ...]:  # type: ignore[override]
        if isinstance(value, tuple) and len(value) != 2:
            raise self._misfit()
        return super().convert(value)


def height_width(size: int | tuple[int, ...]) -> tuple[int, int]:
    """Return height and width of a `Pair`."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


class Dims(Kind[tuple[int | Size, ...]]):
    """The sizes of a shape, such as `3x224x224`; `?` is a size known only at run time."""

    expected = "a shape, such as `3x224x224`"

    def convert(self, value: object) -> tuple[int | Size, ...]:
        entries = value if isinstance(value, tuple) else (value,)
        sizes = tuple(entry if isinstance(entry, Size) else whole(entry) for entry in entries)
        if not sizes:
            raise self._misfit()
        if len(sizes) > RANK:
            raise ValueMisfit(f"a shape of at most {RANK} sizes")
        for size in sizes:
            if size is None or (isinstance(size, int) and not 1 <= size <= SIZE):
                raise ValueMisfit(f"integers from 1 to {SIZE}, such as `3x224x224`")
        return sizes  # type: ignore[return-value]


class KnownDims(Dims):
    """The sizes of a shape, all known when the net is compiled."""

    expected = "a shape of known sizes, such as `768x1`"

    def convert(self, value: object) -> tuple[int, ...]:
        sizes = super().convert(value)
        known = tuple(size for size in sizes if isinstance(size, int))
        if len(known) < len(sizes):
            raise self._misfit()
        return known


class Padding(Sizes):
    """A rule (`same`, `valid`, …), one size for all sides, or explicit sizes, all befores, then all afters."""

    words = ("same", "valid", "same_upper", "same_lower")

    def __init__(self) -> None:
        super().__init__(0)
        self.expected = "`same`, `valid`, `same_upper`, `same_lower`, or sizes of at least 0"

    def convert(self, value: object) -> str | int | tuple[int, ...]:  # type: ignore[override]
        return str(value) if isinstance(value, Word) and value in self.words else super().convert(value)


class Sides(Sizes):
    """One size for all sides, or explicit sizes, all befores, then all afters."""

    def __init__(self) -> None:
        super().__init__(0)
        self.expected = "a size of at least 0, or a list of all befores, then all afters"


INITIALISERS: dict[str, dict[str, Real]] = {
    "normal": {"s": Real(0, FLOAT32_MAX / 16)},
    "trunc_normal": {"s": Real(0, FLOAT32_MAX / 16)},
    "uniform": {"lo": Real(-FLOAT32_MAX / 2, FLOAT32_MAX / 2), "hi": Real(-FLOAT32_MAX / 2, FLOAT32_MAX / 2)},
    "constant": {"c": Real()},
}
"""Arguments of initializers. The bounds keep samples finite: none lies 16 standard deviations from the mean."""

_CALLS = tuple(f"`{n}({', '.join(INITIALISERS[n])})`" if n in INITIALISERS else f"`{n}`" for n in ARITY)


class Initializer(Kind[Init]):
    """A distribution of initial weights, such as `he_normal` or `normal(0.01)`."""

    words = tuple(name for name, arity in ARITY.items() if not arity)
    expected = f"an initializer: {', '.join(_CALLS)}"

    def convert(self, value: object) -> Init:
        if isinstance(value, Word) and ARITY.get(value) == 0:
            return Init(str(value))
        if not isinstance(value, Init):
            raise self._misfit()
        return value


INPUT_DTYPES = ("f32", "f16", "u8", "i64")
BARE_WORDS = frozenset({*Padding.words, *Initializer.words, *INPUT_DTYPES})
"""Words that keywords accept, and that can therefore be a parameter's default."""


class Operand(Kind[str]):
    """The value of a label, of elements of a type. The argument itself is the label's text; the value is an input."""

    expected = "a label"

    def __init__(self, dtype: str = "f32") -> None:
        self.dtype = dtype

    def convert(self, value: object) -> str:
        if not isinstance(value, Word):
            raise self._misfit()
        return str(value)


class Frequencies(Kind[float | tuple[float, ...]]):
    """The base of a geometric series of frequencies, or a list of frequencies."""

    expected = "a number > 0, or a list of frequencies"

    def convert(self, value: object) -> float | tuple[float, ...]:
        item = Real(above=0)
        try:
            return Sequence(item).convert(value) if isinstance(value, tuple) else item.convert(value)
        except ValueMisfit:
            raise self._misfit() from None


class LayerLabel(Kind[str]):
    """The label of an earlier layer whose weight is shared. The argument itself is the label's text."""

    expected = "the label of a layer"

    def convert(self, value: object) -> str:
        if not isinstance(value, Word):
            raise self._misfit()
        return str(value)


class Text(Kind[str]):
    """A text in quotes."""

    quoted = True
    expected = 'a string, such as `"iris.csv"`'

    def convert(self, value: object) -> str:
        if not isinstance(value, str) or isinstance(value, Word) or not value:
            raise self._misfit()
        return str(value)


class Character(Text):
    """A single character in quotes."""

    expected = 'a single character other than a quote or a line break, such as `";"`'

    def convert(self, value: object) -> str:
        character = super().convert(value)
        if len(character) != 1 or character in '"\r\n':
            raise self._misfit()
        return character


class Path(Text):
    """The path of a file or folder, relative to the file in which it is written."""

    expected = 'a path in quotes, such as `"datasets/mnist"`'


class Texts(Kind[tuple[str, ...]]):
    """A text in quotes, or a list of them."""

    quoted = True
    expected = 'a string, such as `"species"`, or a list of them'

    def convert(self, value: object) -> tuple[str, ...]:
        entries = value if isinstance(value, tuple) else (value,)
        try:
            texts = tuple(Text().convert(entry) for entry in entries)
        except ValueMisfit:
            raise self._misfit() from None
        if not texts:
            raise self._misfit()
        return texts
