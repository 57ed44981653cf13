"""Sizes and shapes: integers where they are known, formulas over a named size where they are not."""

from __future__ import annotations

from math import gcd


class Undecidable(Exception):
    """A question about symbolic sizes that has no one answer for all their values."""


class Size:
    """`(a*symbol + b)//c + d`, a size known only at run time; equal normal forms are equal sizes.

    The form is kept lowest: 0 <= b < c, gcd(a, c) = 1, and so floors of floors fold into one.
    """

    __slots__ = ("a", "b", "c", "d", "symbol")

    def __init__(self, symbol: str, a: int = 1, b: int = 0, c: int = 1, d: int = 0) -> None:
        assert a > 0
        assert c > 0
        self.symbol = symbol
        common = gcd(a, c)
        self.a, self.c = a // common, c // common
        quotient, self.b = divmod(b // common, self.c)
        self.d = d + quotient

    def __add__(self, other: int) -> Size:
        return Size(self.symbol, self.a, self.b, self.c, self.d + other)

    def __radd__(self, other: int) -> Size:
        return self + other

    def __sub__(self, other: int) -> Size:
        return self + -other

    def __mul__(self, factor: int) -> Size | int:
        if factor == 0:
            return 0
        if factor != 1 and (self.c > 1 or not isinstance(factor, int) or factor < 0):
            raise Undecidable
        return Size(self.symbol, self.a * factor, self.b, self.c, self.d * factor)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Size:
        if not isinstance(divisor, int) or divisor < 1:
            raise Undecidable
        return Size(self.symbol, self.a, self.b + self.d * self.c, self.c * divisor)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Size({self})"

    def __str__(self) -> str:
        text = self.symbol if self.a == 1 else f"{self.a}*{self.symbol}"
        text += f" + {self.b}" if self.b else ""
        if self.c > 1:
            text = f"({text})//{self.c}" if self.b else f"{text}//{self.c}"
        return text + (f" + {self.d}" if self.d > 0 else f" - {-self.d}" if self.d else "")

    @property
    def _key(self) -> tuple[str, int, int, int, int]:
        return self.symbol, self.a, self.b, self.c, self.d


Dim = int | Size
Shape = tuple[Dim, ...]
"""The sizes of a value. In Net without the batch, `(64, 56, 56)`; in Graph with it, `(N, 64, 56, 56)`."""


def text(shape: Shape) -> str:
    """`64x56x56`; with formulas in it `[64, H//2, W//2]`."""
    if all(isinstance(d, int) or str(d).isidentifier() for d in shape):
        return "x".join(map(str, shape))
    return f"[{', '.join(map(str, shape))}]"


def elements(shape: Shape) -> int:
    """The product of known sizes. Raises Undecidable where one is symbolic."""
    product = 1
    for size in shape:
        if not isinstance(size, int):
            raise Undecidable
        product *= size
    return product
