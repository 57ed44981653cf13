"""Counts that depend on sizes known only at run time: exact formulas such as `1728*H*W`."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from netdsl.base.size import Size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from netdsl.base.shape import Shape

_Product = tuple[Size, ...]


class Formula:
    """A sum of whole multiples of products of sizes. `(H + 1)*W` stays a product, and is not multiplied out."""

    __slots__ = ("terms",)

    def __init__(self, terms: dict[_Product, int]) -> None:
        self.terms = terms

    @staticmethod
    def of(terms: Mapping[_Product, int]) -> Count:
        """Return the sum of these terms, an int if it is constant."""
        kept = {product: terms[product] for product in sorted(terms, key=_order) if terms[product]}
        if not kept.keys() - {()}:
            return kept.get((), 0)
        return Formula(kept)

    def __add__(self, other: Count) -> Count:
        terms = dict(self.terms)
        for product, factor in _terms(other).items():
            terms[product] = terms.get(product, 0) + factor
        return Formula.of(terms)

    __radd__ = __add__

    def __mul__(self, other: Count) -> Count:
        terms: dict[_Product, int] = {}
        for left, a in self.terms.items():
            for right, b in _terms(other).items():
                product = tuple(sorted(left + right, key=_by_symbol))
                terms[product] = terms.get(product, 0) + a * b
        return Formula.of(terms)

    __rmul__ = __mul__

    def __neg__(self) -> Count:
        return self * -1

    def __sub__(self, other: Count) -> Count:
        return self + -other

    def __rsub__(self, other: int) -> Count:
        return -self + other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(tuple(self.terms.items()))

    def __repr__(self) -> str:
        return f"Formula({self})"

    def __str__(self) -> str:
        return format(self)

    def __format__(self, form: str) -> str:
        """Format with `","` for thousands separators, as in `1,728*H*W`."""
        text = ""
        for product, factor in self.terms.items():
            sign = (" - " if factor < 0 else " + ") if text else ("-" if factor < 0 else "")
            words = [_factor(size) for size in product]
            if abs(factor) != 1 or not words:
                words.insert(0, format(abs(factor), form))
            text += sign + "*".join(words)
        return text

    def value(self, sizes: dict[str, int]) -> int:
        """Return the count for given sizes, which must include all named ones."""
        total = 0
        for product, factor in self.terms.items():
            for size in product:
                known = size.substitute({**sizes})
                assert isinstance(known, int), f"{size} for {sizes}"
                factor *= known
            total += factor
        return total


Count = int | Formula


def element_count(shape: Shape) -> Count:
    """Return the number of elements of a shape."""
    factor = 1
    sizes = []
    for size in shape:
        if isinstance(size, int):
            factor *= size
        else:
            content = gcd(size.constant, *(multiple for _, multiple in size.terms))
            whole = size // content
            assert isinstance(whole, Size)
            factor *= content
            sizes.append(whole)
    return Formula.of({tuple(sorted(sizes, key=_by_symbol)): factor})


class Largest:
    """The maximum of several formulas: `max(12*H + 8, 40*(H//2))`."""

    __slots__ = ("counts",)

    def __init__(self, counts: tuple[Count, ...]) -> None:
        self.counts = counts

    def __str__(self) -> str:
        return format(self)

    def __format__(self, form: str) -> str:
        return f"max({', '.join(format(each, form) for each in self.counts)})"


def largest(counts: Iterable[Count]) -> Count | Largest:
    """Return the largest count, or a `Largest` of all counts that are not provably at most another one."""
    kept: list[Count] = []
    for each in dict.fromkeys(counts):
        if not any(_at_most(each, other) for other in kept):
            kept = [other for other in kept if not _at_most(other, each)] + [each]
    return kept[0] if len(kept) == 1 else Largest(tuple(kept))


def _at_most(left: Count, right: Count) -> bool:
    """Return whether each term with sizes is at most its counterpart, and the left is at most the right at size 1.

    As sizes are at least 1, the left then never exceeds the right.
    """
    here, there = _terms(left), _terms(right)
    surplus = {product: there.get(product, 0) - here.get(product, 0) for product in here.keys() | there.keys()}
    return sum(surplus.values()) >= 0 and all(more >= 0 for product, more in surplus.items() if product)


def _terms(count: Count) -> dict[_Product, int]:
    return count.terms if isinstance(count, Formula) else {(): count}


def _order(product: _Product) -> tuple[int, list[str]]:
    return -len(product), list(map(str, product))


def _factor(size: Size) -> str:
    text = str(size)
    return f"({text})" if " " in text or "//" in text else text


def _by_symbol(size: Size) -> tuple[list[str], str]:
    return size.symbols, str(size)
