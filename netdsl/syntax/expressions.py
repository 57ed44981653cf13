"""Build the nodes of expressions, one method per grammar rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.syntax import ast
from netdsl.syntax.context import NodeBuilder, all_of, at, exprs
from netdsl.syntax.scan import Token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.text import Span
    from netdsl.syntax.context import Part


class Hole(ast.Node):
    """`{i}` with the text that follows without a space: a part of a label."""

    __slots__ = ("tail", "value")

    def __init__(self, span: Span, value: ast.Expr, tail: str) -> None:
        self.span, self.value, self.tail = span, value, tail

    @property
    def parts(self) -> tuple[str | ast.Expr, ...]:
        return (self.value, self.tail) if self.tail else (self.value,)


class _Arm(ast.Node):
    """An arm of a match."""

    __slots__ = ("pattern", "value")

    def __init__(self, span: Span, pattern: ast.Expr | None, value: ast.Expr) -> None:
        self.span, self.pattern, self.value = span, pattern, value


class Expressions(NodeBuilder):
    """Builds the nodes of expressions, one method per grammar rule."""

    def build_number(self, span: Span, parts: Sequence[Part]) -> ast.Number:
        text = at(parts, 0, Token).text
        return ast.Number(span, float(text) if any(sign in text for sign in ".eE") else int(text))

    def build_dims(self, span: Span, parts: Sequence[Part]) -> ast.Dims:
        return ast.Dims(span, tuple(None if size == "?" else int(size) for size in at(parts, 0, Token).text.split("x")))

    def build_unknown(self, span: Span, parts: Sequence[Part]) -> ast.Unknown:
        return ast.Unknown(span, at(parts, 0, Token).text[1:] or None)

    def build_text(self, span: Span, parts: Sequence[Part]) -> ast.Text:
        return ast.Text(span, at(parts, 0, Token).text[1:-1])

    def build_switch(self, span: Span, parts: Sequence[Part]) -> ast.Switch:
        return ast.Switch(span, at(parts, 0, Token).text == "on")

    def build_reference(self, span: Span, parts: Sequence[Part]) -> ast.Name:
        return ast.Name(span, at(parts, 0, Token).text)

    def build_hole(self, span: Span, parts: Sequence[Part]) -> Hole:
        last = at(parts, -1, Token)
        return Hole(span, exprs(parts)[0], last.text if last.type == "TAIL" else "")

    def build_path(self, span: Span, parts: Sequence[Part]) -> ast.Path:
        segments: list[list[str | ast.Expr]] = [[at(parts, 0, Token).text]]
        for part in parts[1:]:
            if isinstance(part, Hole):
                segments[-1] += part.parts
            else:
                segments.append([part.text[1:]] if isinstance(part, Token) and part.type == "FIELD" else [])
        return ast.Path(span, tuple(map(tuple, segments)))

    def build_list(self, span: Span, parts: Sequence[Part]) -> ast.List:
        return ast.List(span, exprs(parts))

    def build_comprehension(self, span: Span, parts: Sequence[Part]) -> ast.Comprehension:
        return ast.Comprehension(span, exprs(parts)[0], all_of(parts, ast.Generator))

    def build_generator(self, span: Span, parts: Sequence[Part]) -> ast.Generator:
        iterable, *condition = exprs(parts)
        return ast.Generator(span, self.new_names(parts), iterable, condition[0] if condition else None)

    def build_unary(self, span: Span, parts: Sequence[Part]) -> ast.Unary:
        return ast.Unary(span, at(parts, 0, Token).text, at(parts, 1, ast.Expr))

    def build_chain(self, span: Span, parts: Sequence[Part]) -> ast.Binary:
        first, *operands = exprs(parts)
        operators = all_of(parts, Token)
        steps = tuple((op.text, self.span(op), operand) for op, operand in zip(operators, operands, strict=True))
        return ast.Binary(span, first, steps)

    build_or = build_and = build_comparison = build_sum = build_product = build_power = build_chain

    def build_ternary(self, span: Span, parts: Sequence[Part]) -> ast.Ternary:
        then, condition, otherwise = exprs(parts)
        return ast.Ternary(span, then, condition, otherwise)

    def build_index(self, span: Span, parts: Sequence[Part]) -> ast.Index:
        value, at = exprs(parts)
        return ast.Index(span, value, at)

    def build_slice(self, span: Span, parts: Sequence[Part]) -> ast.Slice:
        value, *_ = exprs(parts)
        colon = next(at for at, part in enumerate(parts) if isinstance(part, Token) and part.text == ":")
        start, stop = exprs(parts[1:colon]), exprs(parts[colon:])
        return ast.Slice(span, value, start[0] if start else None, stop[0] if stop else None)

    def build_apply(self, span: Span, parts: Sequence[Part]) -> ast.Apply:
        return ast.Apply(span, self.name(parts[0]), exprs(parts))

    def build_group(self, span: Span, parts: Sequence[Part]) -> ast.Expr:
        """Return the inner node, marked as `grouped`, with a span that includes the parentheses."""
        inner = at(parts, 1, ast.Expr)
        inner.grouped = True
        inner.span = span
        return inner

    def build_arm(self, span: Span, parts: Sequence[Part]) -> _Arm:
        pattern, value = exprs(parts)
        is_default = isinstance(pattern, ast.Name) and pattern.text == "_" and not pattern.grouped
        return _Arm(span, None if is_default else pattern, value)

    def build_match(self, span: Span, parts: Sequence[Part]) -> ast.Match:
        """Build a match; a broken arm makes the statement unreliable, so that a missing arm is not reported as well."""
        if all_of(parts, ast.Broken):
            self.spoil()
        arms = tuple((arm.pattern, arm.value) for arm in all_of(parts, _Arm))
        return ast.Match(span, exprs(parts)[0], arms)

    def build_deep(self, span: Span, parts: Sequence[Part]) -> ast.Text:
        """Build the placeholder of an expression that is nested too deeply."""
        self.spoil()
        return ast.Text(span, "")
