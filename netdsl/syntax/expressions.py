"""Build the nodes of expressions, one method per grammar rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.syntax import ast
from netdsl.syntax.context import Context

if TYPE_CHECKING:
    from netdsl.base.text import Span


def exprs(children: list[Any]) -> tuple[ast.Expr, ...]:
    return tuple(child for child in children if isinstance(child, ast.Expr))


class Hole:
    """`{i}` with the text that follows without a space: a part of a label, not yet a node."""

    __slots__ = ("span", "tail", "value")

    def __init__(self, span: Span, value: ast.Expr, tail: str) -> None:
        self.span, self.value, self.tail = span, value, tail

    @property
    def parts(self) -> tuple[str | ast.Expr, ...]:
        return (self.value, self.tail) if self.tail else (self.value,)


class Arm:
    """An arm of a match, not yet a node."""

    __slots__ = ("pattern", "span", "value")

    def __init__(self, span: Span, pattern: ast.Expr | None, value: ast.Expr) -> None:
        self.span, self.pattern, self.value = span, pattern, value


class Expressions(Context):
    """Builds the nodes of expressions, one method per grammar rule."""

    def build_number(self, span: Span, children: list[Any]) -> ast.Number:
        text = children[0].text
        return ast.Number(span, float(text) if any(sign in text for sign in ".eE") else int(text))

    def build_dims(self, span: Span, children: list[Any]) -> ast.Dims:
        return ast.Dims(span, tuple(None if size == "?" else int(size) for size in children[0].text.split("x")))

    def build_unknown(self, span: Span, children: list[Any]) -> ast.Unknown:
        return ast.Unknown(span, children[0].text[1:] or None)

    def build_text(self, span: Span, children: list[Any]) -> ast.Text:
        return ast.Text(span, children[0].text[1:-1])

    def build_switch(self, span: Span, children: list[Any]) -> ast.Switch:
        return ast.Switch(span, children[0].text == "on")

    def build_reference(self, span: Span, children: list[Any]) -> ast.Name:
        return ast.Name(span, children[0].text)

    def build_hole(self, span: Span, children: list[Any]) -> Hole:
        tail = children[-1].text if children[-1].type == "TAIL" else ""
        return Hole(span, exprs(children)[0], tail)

    def build_path(self, span: Span, children: list[Any]) -> ast.Path:
        segments: list[list[str | ast.Expr]] = [[children[0].text]]
        for child in children[1:]:
            if isinstance(child, Hole):
                segments[-1] += child.parts
            elif child.type == "FIELD":
                segments.append([child.text[1:]])
            else:
                segments.append([])
        return ast.Path(span, tuple(map(tuple, segments)))

    def build_list(self, span: Span, children: list[Any]) -> ast.List:
        return ast.List(span, exprs(children))

    def build_unary(self, span: Span, children: list[Any]) -> ast.Unary:
        return ast.Unary(span, children[0].text, children[1])

    def build_chain(self, span: Span, children: list[Any]) -> ast.Binary:
        operators, operands = children[1::2], children[2::2]
        steps = tuple((op.text, self.span(op), operand) for op, operand in zip(operators, operands, strict=True))
        return ast.Binary(span, children[0], steps)

    build_or = build_and = build_comparison = build_sum = build_product = build_power = build_chain

    def build_ternary(self, span: Span, children: list[Any]) -> ast.Ternary:
        then, condition, otherwise = exprs(children)
        return ast.Ternary(span, then, condition, otherwise)

    def build_index(self, span: Span, children: list[Any]) -> ast.Index:
        value, at = exprs(children)
        return ast.Index(span, value, at)

    def build_apply(self, span: Span, children: list[Any]) -> ast.Apply:
        return ast.Apply(span, self.name(children[0]), exprs(children))

    def build_group(self, span: Span, children: list[Any]) -> ast.Expr:
        """Return the inner node, marked as `grouped`, with a span that includes the parentheses."""
        inner: ast.Expr = children[1]
        inner.grouped = True
        inner.span = span
        return inner

    def build_arm(self, span: Span, children: list[Any]) -> Arm:
        pattern, value = exprs(children)
        is_default = isinstance(pattern, ast.Name) and pattern.text == "_" and not pattern.grouped
        return Arm(span, None if is_default else pattern, value)

    def build_match(self, span: Span, children: list[Any]) -> ast.Match:
        """Build a match; a broken arm makes the statement unreliable, so that a missing arm is not reported as well."""
        if any(isinstance(child, ast.Broken) for child in children):
            self.spoil()
        arms = tuple((child.pattern, child.value) for child in children if isinstance(child, Arm))
        return ast.Match(span, exprs(children)[0], arms)

    def build_deep(self, span: Span, children: list[Any]) -> ast.Text:
        """Build the placeholder of an expression that is nested too deeply."""
        self.spoil()
        return ast.Text(span, "")
