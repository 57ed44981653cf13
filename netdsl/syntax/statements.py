"""Build the nodes of statements, one method per grammar rule."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from netdsl.base.text import Span
from netdsl.diagnostics.call_problems import MinusInCall
from netdsl.diagnostics.syntax_problems import LabelledStatement, UnexpectedToken
from netdsl.syntax import ast
from netdsl.syntax.context import Context
from netdsl.syntax.expressions import Hole, exprs
from netdsl.syntax.tokens import Token
from netdsl.syntax.words import NO_VALUE


def has(children: list[Any], word: str) -> bool:
    """Return whether a keyword is among the parts of a statement."""
    return any(isinstance(child, Token) and child.text == word and child.type != "NAME" for child in children)


def bodies(children: list[Any]) -> list[ast.Body]:
    return [child for child in children if isinstance(child, ast.Body)]


def _leans_right(sign: Span) -> bool:
    """Return whether there is a space before and none after."""
    text = sign.source.text
    return text[sign.start - 1].isspace() and not text[sign.end].isspace()


class Label:
    """A label's parts, not yet a node."""

    __slots__ = ("parts", "span")

    def __init__(self, span: Span, parts: tuple[str | ast.Expr, ...]) -> None:
        self.span, self.parts = span, parts


class Axis:
    """`axis N`, not yet a node."""

    __slots__ = ("span", "value")

    def __init__(self, span: Span, value: ast.Expr) -> None:
        self.span, self.value = span, value


class Settings:
    """The lines of a `{ }` of settings, not yet a node."""

    __slots__ = ("lines", "span")

    def __init__(self, span: Span, lines: tuple[ast.Setting, ...]) -> None:
        self.span, self.lines = span, lines


class Statements(Context):
    """Builds the nodes of statements, one method per grammar rule."""

    def build_body(self, span: Span, children: list[Any]) -> ast.Body:
        statements = tuple(child for child in children if isinstance(child, ast.Stmt))
        for before, after in pairwise(statements):
            if isinstance(after, ast.For):
                self._check_operand(before, after)
        return ast.Body(span, statements)

    def _check_operand(self, before: ast.Stmt, after: ast.For) -> None:
        """Complain of a `for` that stands below a merge as one of its operands would."""
        merge = before.body if isinstance(before, ast.Labelled) else before
        source, start = self.source, after.span.start
        gap = source.text[before.span.end : start]
        line = source.line_starts[source.position(before.span.start)[0] - 1]
        indent = len(source.text[line:]) - len(source.text[line:].lstrip(" \t"))
        if not isinstance(merge, ast.Merge) or not re.fullmatch(r"[ \t]*(#[^\n]*)?\n[ \t]*", gap):
            return
        if source.position(start)[1] - 1 > indent:
            from netdsl.diagnostics.net_problems import OperandOnNextLine

            place = Span(source, start, start + 3)
            self.complain(OperandOnNextLine(span=place, merge=merge.kind.span, end=before.span.end))

    def build_broken(self, span: Span, children: list[Any]) -> ast.Broken:
        return ast.Broken(span)

    def arguments(self, children: list[Any]) -> tuple[ast.Expr, ...]:
        """Return the raw arguments; the spaces around a minus decide what it is."""
        found = exprs(children)
        for argument in found:
            self._check_minus(argument)
        return found

    def _check_minus(self, argument: ast.Expr) -> None:
        todo: list[tuple[Any, ast.Expr]] = [(None, argument)]
        while todo:
            left, value = todo.pop()
            if value.grouped:
                continue
            if isinstance(value, ast.Unary) and value.op == "-" and left is None:
                sign = Span(value.span.source, value.span.start, value.span.start + 1)
                self.complain(MinusInCall(span=sign, operand=value.operand.span, left=None))
                self.spoilt = True
            elif isinstance(value, ast.Binary):
                todo.append((left, value.first))
                before = value.first
                for op, span, operand in value.steps:
                    if op == "-" and _leans_right(span):
                        self.complain(MinusInCall(span=span, operand=operand.span, left=before.span))
                        self.spoilt = True
                    todo.append((before, operand))
                    before = operand

    def build_call(self, span: Span, children: list[Any]) -> ast.Call | ast.Broken:
        head: Token = children[0]
        found = self.arguments(children)
        opening = self.scan.tokens[head.index + 1] if found and found[0].span.start == head.end else None
        if opening and opening.text == "[":
            self.complain(UnexpectedToken(span=self.span(opening), found="`[`", expected=("a space before it",)))
        elif opening and opening.text == "(":
            from netdsl.diagnostics.foreign import suggest_layer
            from netdsl.syntax.call_mistakes import parentheses_in_call

            problem = parentheses_in_call(self.source, self.span(head), self.scan.tokens, opening)
            self.complain(problem)
            if problem.translated or suggest_layer(self.span(head), head.text):
                return ast.Broken(span)
        return ast.Call(span, self.name(head), found)

    def build_default(self, span: Span, children: list[Any]) -> ast.Default:
        return ast.Default(span, self.name(children[1]), self.arguments(children))

    def build_input(self, span: Span, children: list[Any]) -> ast.Input:
        return ast.Input(span, self.name(children[1]), self.arguments(children))

    def build_expect(self, span: Span, children: list[Any]) -> ast.Expect:
        values = exprs(children)
        what, value = "shape", values[0]
        if len(values) > 1 and isinstance(value, ast.Name) and value.text in ("params", "macs") and not value.grouped:
            what, values = value.text, values[1:]
        if len(values) > 1:
            extra = values[1].span
            self.complain(UnexpectedToken(span=extra, found=f"`{extra.text}`", expected=("the end of the statement",)))
        return ast.Expect(span, what, values[0])

    def build_label(self, span: Span, children: list[Any]) -> Label:
        parts: list[str | ast.Expr] = [children[0].text]
        for child in children[1:]:
            if isinstance(child, Hole):
                parts += child.parts
        return Label(Span(span.source, span.start, self.between(children[-2], children[-2]).end), tuple(parts))

    def build_labelled(self, span: Span, children: list[Any]) -> ast.Labelled:
        if isinstance(children[-1], ast.Call) and children[-1].head.text in NO_VALUE:
            head = children[-1].head
            problem = LabelledStatement(span=children[0].span, statement=head.text, end=head.span.start)
            self.complain(problem)
            self.spoilt = True
        return ast.Labelled(span, children[0].parts, children[0].span, children[-1], has(children, "seq"))

    def build_from(self, span: Span, children: list[Any]) -> ast.From:
        return ast.From(span, children[1])

    def build_reuse(self, span: Span, children: list[Any]) -> ast.Reuse:
        return ast.Reuse(span, children[1])

    def build_skip(self, span: Span, children: list[Any]) -> ast.Skip:
        condition = exprs(children)
        first, *rest = bodies(children)
        return ast.Skip(span, condition[0] if condition else None, first, rest[0] if rest else None)

    def build_axis(self, span: Span, children: list[Any]) -> Axis:
        return Axis(span, children[1])

    def build_merge(self, span: Span, children: list[Any]) -> ast.Merge:
        along = children[1].value if isinstance(children[1], Axis) else None
        operands = tuple(child for child in children[1:] if not isinstance(child, Axis))
        return ast.Merge(span, self.name(children[0]), along, operands)

    def build_repeat(self, span: Span, children: list[Any]) -> ast.Repeat:
        names = self.new_names(children)
        return ast.Repeat(span, exprs(children)[0], names[0] if names else None, children[-1])

    def build_for(self, span: Span, children: list[Any]) -> ast.For:
        return ast.For(span, self.new_names(children), exprs(children)[0], children[-1])

    def build_if(self, span: Span, children: list[Any]) -> ast.If:
        conditions, branches = exprs(children), bodies(children)
        arms = tuple(zip(conditions, branches, strict=False))
        return ast.If(span, arms, branches[-1] if len(branches) > len(conditions) else None)

    def build_freeze(self, span: Span, children: list[Any]) -> ast.Freeze:
        return ast.Freeze(span, children[1])

    def build_let(self, span: Span, children: list[Any]) -> ast.Let:
        return ast.Let(span, self.new_name(children[1]), children[3])

    def build_output(self, span: Span, children: list[Any]) -> ast.Output:
        branch = bodies(children)
        return ast.Output(span, self.name(children[1]), has(children, "training"), branch[0] if branch else None)

    def build_settings(self, span: Span, children: list[Any]) -> Settings:
        return Settings(span, tuple(child for child in children if isinstance(child, ast.Setting)))

    def build_setting(self, span: Span, children: list[Any]) -> ast.Setting:
        lines = children[-1].lines if isinstance(children[-1], Settings) else None
        return ast.Setting(span, self.name(children[0]), self.arguments(children), lines)

    def build_about(self, span: Span, children: list[Any]) -> ast.About:
        return ast.About(span, children[1].lines)
