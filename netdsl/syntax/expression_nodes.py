"""The nodes of expressions; `netdsl.syntax.ast` has them all."""

from __future__ import annotations

from netdsl.text import Span


class Node:
    """Anything with a place in the text."""

    __slots__ = ("span",)
    span: Span

    def __repr__(self) -> str:
        fields = (f"{n}={getattr(self, n)!r}" for n in self.__slots__ if n != "cache")
        return f"{type(self).__name__}({', '.join(fields)})"


class Expr(Node):
    """An expression; `grouped` where parentheses stand around it, which makes a bare word a variable."""

    __slots__ = ("grouped",)
    grouped: bool


class Number(Expr):
    """`64`, `1_000`, `0.5`, `5e-4`."""

    __slots__ = ("value",)

    def __init__(self, span: Span, value: int | float) -> None:
        self.span, self.value, self.grouped = span, value, False


class Text(Expr):
    """`"text"`, without its quotes."""

    __slots__ = ("value",)

    def __init__(self, span: Span, value: str) -> None:
        self.span, self.value, self.grouped = span, value, False


class Switch(Expr):
    """`on` or `off`."""

    __slots__ = ("value",)

    def __init__(self, span: Span, value: bool) -> None:
        self.span, self.value, self.grouped = span, value, False


class Unknown(Expr):
    """`?` or `?H`: a size known only at run time."""

    __slots__ = ("name",)

    def __init__(self, span: Span, name: str | None) -> None:
        self.span, self.name, self.grouped = span, name, False


class Dims(Expr):
    """`3x224x224`, `3x?x?`: sizes joined by `x`; None for `?`."""

    __slots__ = ("sizes",)

    def __init__(self, span: Span, sizes: tuple[int | None, ...]) -> None:
        self.span, self.sizes, self.grouped = span, sizes, False


class Name(Expr):
    """A bare word."""

    __slots__ = ("text",)

    def __init__(self, span: Span, text: str) -> None:
        self.span, self.text, self.grouped = span, text, False


class Path(Expr):
    """A reference with dots or braces: `layer1.0.x`, `enc{i}`. Each segment is its literal and interpolated parts."""

    __slots__ = ("segments",)

    def __init__(self, span: Span, segments: tuple[tuple[str | Expr, ...], ...]) -> None:
        self.span, self.segments, self.grouped = span, segments, False


class List(Expr):
    """`[1, 2]`."""

    __slots__ = ("items",)

    def __init__(self, span: Span, items: tuple[Expr, ...]) -> None:
        self.span, self.items, self.grouped = span, items, False


class Unary(Expr):
    """`-x` or `not x`."""

    __slots__ = ("op", "operand")

    def __init__(self, span: Span, op: str, operand: Expr) -> None:
        self.span, self.op, self.operand, self.grouped = span, op, operand, False


class Binary(Expr):
    """A chain of one precedence: `first op x op y …`.

    `+ - * / // %` associate to the left, a chain of comparisons means what it means in Python, `and` and `or` stop at
    the first that decides; `**` has exactly one step. A chain is flat, so that 100,000 terms are no deeper than two.
    """

    __slots__ = ("first", "steps")

    def __init__(self, span: Span, first: Expr, steps: tuple[tuple[str, Span, Expr], ...]) -> None:
        self.span, self.first, self.steps, self.grouped = span, first, steps, False


class Ternary(Expr):
    """`then if condition else otherwise`."""

    __slots__ = ("condition", "otherwise", "then")

    def __init__(self, span: Span, then: Expr, condition: Expr, otherwise: Expr) -> None:
        self.span, self.then, self.condition, self.otherwise, self.grouped = span, then, condition, otherwise, False


class Index(Expr):
    """`value[index]`."""

    __slots__ = ("index", "value")

    def __init__(self, span: Span, value: Expr, index: Expr) -> None:
        self.span, self.value, self.index, self.grouped = span, value, index, False


class Apply(Expr):
    """`function(arguments)`."""

    __slots__ = ("arguments", "function")

    def __init__(self, span: Span, function: Expr, arguments: tuple[Expr, ...]) -> None:
        self.span, self.function, self.arguments, self.grouped = span, function, arguments, False


class Match(Expr):
    """`match subject { pattern => value; _ => value }`; a pattern of None is `_`."""

    __slots__ = ("arms", "subject")

    def __init__(self, span: Span, subject: Expr, arms: tuple[tuple[Expr | None, Expr], ...]) -> None:
        self.span, self.subject, self.arms, self.grouped = span, subject, arms, False
