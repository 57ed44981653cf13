"""Symbolic sizes known only at run time, in a normal form in which equal sizes are equal."""

from __future__ import annotations

from bisect import bisect_left
from math import gcd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Undecidable(Exception):
    """A question about symbolic sizes without a single answer for all their values."""


class Floor:
    """A term `(linear)//divisor` of a Size that cannot be divided exactly."""

    __slots__ = ("divisor", "linear", "text")

    def __init__(self, linear: Size, divisor: int) -> None:
        self.linear = linear
        self.divisor = divisor
        inner = str(linear)
        self.text = f"({inner})//{divisor}" if " " in inner or "*" in inner or "//" in inner else f"{inner}//{divisor}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Floor) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text


Term = str | Floor


class Size:
    """A symbolic size such as `2*H + (W + 1)//2 - 3`: a constant plus multiples of named sizes and of floors of such
    sums.

    The form is normal: whole multiples leave a floor, nested floors merge, and terms are sorted by their text. So `==`
    proves equality, and two sizes whose difference is a number are proved different.
    """

    __slots__ = ("constant", "terms")

    def __init__(self, symbol: str) -> None:
        self.terms: tuple[tuple[Term, int], ...] = ((symbol, 1),)
        self.constant = 0

    @staticmethod
    def _of(terms: Iterable[tuple[Term, int]], constant: int) -> Size | int:
        """Return the sum of terms and a constant with like terms merged; an int if it is constant."""
        joined: dict[Term, int] = {}
        for term, factor in terms:
            joined[term] = joined.get(term, 0) + factor
        kept = sorted(((t, f) for t, f in joined.items() if f), key=lambda pair: str(pair[0]))
        if not kept:
            return constant
        size = object.__new__(Size)
        size.terms = tuple(kept)
        size.constant = constant
        return size

    def __add__(self, other: Size | int) -> Size | int:
        if isinstance(other, Size):
            return Size._of((*self.terms, *other.terms), self.constant + other.constant)
        return Size._of(self.terms, self.constant + other) if isinstance(other, int) else NotImplemented

    __radd__ = __add__

    def __neg__(self) -> Size:
        return self * -1  # type: ignore[return-value]

    def __sub__(self, other: Size | int) -> Size | int:
        return self + -other if isinstance(other, (Size, int)) else NotImplemented

    def __rsub__(self, other: int) -> Size | int:
        return -self + other

    def __mul__(self, factor: Size | int) -> Size | int:
        if isinstance(factor, Size):
            raise Undecidable
        if not isinstance(factor, int):
            return NotImplemented
        return Size._of([(term, each * factor) for term, each in self.terms], self.constant * factor)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Size | int:
        if not isinstance(divisor, int) or divisor < 1:
            raise Undecidable
        whole = [(term, factor // divisor) for term, factor in self.terms if factor % divisor == 0]
        rest = [(term, factor) for term, factor in self.terms if factor % divisor]
        quotient, constant = divmod(self.constant, divisor)
        return Size._of(whole, quotient) + _floor(rest, constant, divisor)

    def __mod__(self, divisor: int) -> Size | int:
        return self - self // divisor * divisor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.terms == other.terms and self.constant == other.constant

    def __hash__(self) -> int:
        return hash((self.terms, self.constant))

    def __repr__(self) -> str:
        return f"Size({self})"

    def __str__(self) -> str:
        text = ""
        for term, factor in self.terms:
            sign = (" - " if factor < 0 else " + ") if text else ("-" if factor < 0 else "")
            word = f"({term})" if isinstance(term, Floor) and abs(factor) != 1 else str(term)
            text += sign + (word if abs(factor) == 1 else f"{abs(factor)}*{word}")
        return text + (f" + {self.constant}" if self.constant > 0 else f" - {-self.constant}" if self.constant else "")

    @property
    def symbols(self) -> list[str]:
        """The named sizes that it depends on, in order."""
        return sorted(set(self._symbols()))

    def _symbols(self) -> Iterator[str]:
        for term, _ in self.terms:
            if isinstance(term, str):
                yield term
            else:
                yield from term.linear._symbols()

    def least(self) -> int | None:
        """Return the smallest value of its only named size for which it is positive, as it then is for larger ones.
        None if it has several named sizes, or does not grow with the one."""
        if len(self.symbols) > 1 or not self._grows():
            return None
        (symbol,) = self.symbols

        def is_positive(value: int) -> bool:
            found = self.substitute({symbol: value})
            return isinstance(found, int) and found > 0

        high = 1
        while not is_positive(high):
            high *= 2
        return bisect_left(range(high), True, lo=max(1, high // 2), key=is_positive)

    def _grows(self) -> bool:
        """Return whether it grows with each of its named sizes: all of their factors are positive."""
        return all(factor > 0 and (isinstance(term, str) or term.linear._grows()) for term, factor in self.terms)

    def substitute(self, values: dict[str, Size | int]) -> Size | int:
        """Return the size with named sizes replaced by other sizes or numbers."""
        total: Size | int = self.constant
        for term, factor in self.terms:
            if isinstance(term, str):
                value = values.get(term, Size(term))
            else:
                value = term.linear.substitute(values) // term.divisor
            total = total + value * factor
        return total


def _floor(rest: list[tuple[Term, int]], constant: int, divisor: int) -> Size | int:
    """Return `(rest + constant)//divisor`; no factor of `rest` is a multiple of the divisor, and the constant is
    smaller."""
    if not rest:
        return 0
    common = gcd(divisor, *(factor for _, factor in rest))
    rest = [(term, factor // common) for term, factor in rest]
    constant, divisor = constant // common, divisor // common
    floors = [term for term, factor in rest if factor == 1 and isinstance(term, Floor)]
    if len(floors) == 1:  # (L//c + R)//d = (L + c*R)//(c*d)
        inner = floors[0]
        others = Size._of([(term, factor) for term, factor in rest if term is not inner], constant)
        return (inner.linear + others * inner.divisor) // (inner.divisor * divisor)
    linear = Size._of(rest, constant)
    assert isinstance(linear, Size)
    size = Size("")
    size.terms = ((Floor(linear, divisor), 1),)
    return size


def multiple_that_decides(left: Size | int, right: Size | int) -> tuple[str, int] | None:
    """Return the named size and the least multiple, up to 64, that makes two sizes equal, or None."""
    symbols = sorted({s for size in (left, right) if isinstance(size, Size) for s in size.symbols})
    for symbol in symbols:
        for factor in range(2, 65):
            values: dict[str, Size | int] = {symbol: Size(symbol) * factor}
            if _substituted(left, values) == _substituted(right, values):
                return symbol, factor
    return None


def _substituted(size: Size | int, values: dict[str, Size | int]) -> Size | int:
    return size.substitute(values) if isinstance(size, Size) else size
