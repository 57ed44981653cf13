"""Build the nodes of statements, one method per grammar rule."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics import problems
from netdsl.syntax import ast
from netdsl.syntax.context import NodeBuilder, all_of, at, exprs, has
from netdsl.syntax.expressions import Hole
from netdsl.syntax.scan import Token
from netdsl.syntax.words import ITEM_WORDS, NO_VALUE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.syntax.context import Part


def _leans_right(sign: Span) -> bool:
    """Return whether there is a space before and none after."""
    text = sign.source.text
    return text[sign.start - 1].isspace() and not text[sign.end].isspace()


class _LabelParts(ast.Node):
    """The parts of a label."""

    __slots__ = ("parts",)

    def __init__(self, span: Span, parts: tuple[str | ast.Expr, ...]) -> None:
        self.span, self.parts = span, parts


class _MergeOption(ast.Node):
    """`axis N` or `spread on`."""

    __slots__ = ("value",)

    def __init__(self, span: Span, value: ast.Expr) -> None:
        self.span, self.value = span, value


class Settings(ast.Node):
    """The lines of a `{ }` of settings."""

    __slots__ = ("lines",)

    def __init__(self, span: Span, lines: tuple[ast.Setting, ...]) -> None:
        self.span, self.lines = span, lines


class Statements(NodeBuilder):
    """Builds the nodes of statements, one method per grammar rule."""

    def build_body(self, span: Span, parts: Sequence[Part]) -> ast.Body:
        statements = all_of(parts, ast.Stmt)
        for before, after in pairwise(statements):
            if isinstance(after, ast.For):
                self._check_operand(before, after)
        return ast.Body(span, statements)

    def _check_operand(self, before: ast.Stmt, after: ast.For) -> None:
        """Report a `for` below a merge, or a call with operands, that is indented like one of its operands."""
        merge = before.body if isinstance(before, ast.Labelled) else before
        source, start = self.source, after.span.start
        gap = source.text[before.span.end : start]
        line = source.line_starts[source.position(before.span.start)[0] - 1]
        indent = len(source.text[line:]) - len(source.text[line:].lstrip(" \t"))
        if not isinstance(merge, (ast.Merge, ast.Call)) or not merge.operands:
            return
        if "\n" not in gap or not re.fullmatch(r"(?:[ \t\n]|#[^\n]*)*", gap):
            return
        if source.position(start)[1] - 1 > indent:
            from netdsl.diagnostics.net_problems import OperandOnNextLine

            place = Span(source, start, start + 3)
            head = merge.kind if isinstance(merge, ast.Merge) else merge.head
            self.complain(OperandOnNextLine(span=place, merge=head.span, end=before.span.end, loop=after.span))

    def build_broken(self, span: Span, parts: Sequence[Part]) -> ast.Broken:
        return ast.Broken(span)

    def arguments(self, parts: Sequence[Part]) -> tuple[ast.Expr, ...]:
        """Return the raw arguments; the spaces around a minus decide what it is."""
        found = exprs(parts)
        for argument in found:
            self._check_minus(argument)
        return found

    def _check_minus(self, argument: ast.Expr) -> None:
        todo: list[tuple[ast.Expr | None, ast.Expr]] = [(None, argument)]
        while todo:
            left, value = todo.pop()
            if value.grouped:
                continue
            if isinstance(value, ast.Unary) and value.op == "-" and left is None:
                sign = Span(value.span.source, value.span.start, value.span.start + 1)
                self.complain(problems.MinusInCall(span=sign, operand=value.operand.span, left=None))
                self.spoilt = True
            elif isinstance(value, ast.Binary):
                todo.append((left, value.first))
                before = value.first
                for op, span, operand in value.steps:
                    if op == "-" and _leans_right(span):
                        self.complain(problems.MinusInCall(span=span, operand=operand.span, left=before.span))
                        self.spoilt = True
                    todo.append((before, operand))
                    before = operand

    def build_call(self, span: Span, parts: Sequence[Part]) -> ast.Call | ast.Broken:
        head = at(parts, 0, Token)
        if head.text in ITEM_WORDS:
            self.complain(problems.ItemInside(span=self.span(head)))
            return ast.Broken(span)
        first = next((n for n, part in enumerate(parts) if isinstance(part, (ast.Body, ast.For))), len(parts))
        found = self.arguments(parts[:first])
        opening = self.scan.tokens[head.index + 1] if found and found[0].span.start == head.end else None
        if opening and opening.text == "[":
            self.complain(
                problems.UnexpectedToken(span=self.span(opening), found="`[`", expected=("a space before it",))
            )
        elif opening and opening.text == "(":
            from netdsl.diagnostics.foreign import suggest_layer
            from netdsl.syntax.call_mistakes import parentheses_in_call

            problem = parentheses_in_call(self.source, self.span(head), self.scan.tokens, opening)
            self.complain(problem)
            if problem.translated or suggest_layer(self.span(head), head.text):
                return ast.Broken(span)
        return ast.Call(span, self.name(head), found, _operands(parts[first:]))

    def build_default(self, span: Span, parts: Sequence[Part]) -> ast.Default:
        return ast.Default(span, self.name(parts[1]), self.arguments(parts))

    def build_input(self, span: Span, parts: Sequence[Part]) -> ast.Input:
        return ast.Input(span, at(parts, 1, ast.Port), self.arguments(parts))

    def build_port(self, span: Span, parts: Sequence[Part]) -> ast.Port:
        return ast.Port(span, _interpolated(parts))

    def build_expect(self, span: Span, parts: Sequence[Part]) -> ast.Expect:
        values = exprs(parts)
        what, value = "shape", values[0]
        if len(values) > 1 and isinstance(value, ast.Name) and value.text in ("params", "macs") and not value.grouped:
            what, values = value.text, values[1:]
        if len(values) > 1:
            extra = values[1].span
            self.complain(
                problems.UnexpectedToken(span=extra, found=f"`{extra.text}`", expected=("the end of the statement",))
            )
        return ast.Expect(span, what, values[0])

    def build_label(self, span: Span, parts: Sequence[Part]) -> _LabelParts:
        return _LabelParts(Span(span.source, span.start, self.between(parts[-2], parts[-2]).end), _interpolated(parts))

    def build_labelled(self, span: Span, parts: Sequence[Part]) -> ast.Labelled:
        label, body = at(parts, 0, _LabelParts), parts[-1]
        assert isinstance(body, (ast.Stmt, ast.Body)), body
        if isinstance(body, ast.Call) and body.head.text in NO_VALUE:
            self.complain(
                problems.LabelledStatement(span=label.span, statement=body.head.text, end=body.head.span.start)
            )
            self.spoilt = True
        return ast.Labelled(span, label.parts, label.span, body, has(parts, "seq"))

    def build_sequence(self, span: Span, parts: Sequence[Part]) -> ast.Sequence:
        return ast.Sequence(span, at(parts, 1, ast.Body))

    def build_from(self, span: Span, parts: Sequence[Part]) -> ast.From:
        return ast.From(span, _reference(parts))

    def build_reuse(self, span: Span, parts: Sequence[Part]) -> ast.Reuse:
        return ast.Reuse(span, _reference(parts))

    def build_skip(self, span: Span, parts: Sequence[Part]) -> ast.Skip:
        condition = exprs(parts)
        first, *rest = all_of(parts, ast.Body)
        return ast.Skip(span, condition[0] if condition else None, first, rest[0] if rest else None)

    def build_axis(self, span: Span, parts: Sequence[Part]) -> _MergeOption:
        return _MergeOption(span, at(parts, 1, ast.Expr))

    build_spread = build_axis

    def build_merge(self, span: Span, parts: Sequence[Part]) -> ast.Merge:
        options = [option.value for option in all_of(parts, _MergeOption)]
        return ast.Merge(span, self.name(parts[0]), options[0] if options else None, _operands(parts))

    def build_repeat(self, span: Span, parts: Sequence[Part]) -> ast.Repeat:
        names = self.new_names(parts)
        return ast.Repeat(span, exprs(parts)[0], names[0] if names else None, at(parts, -1, ast.Body))

    def build_for(self, span: Span, parts: Sequence[Part]) -> ast.For:
        return ast.For(span, self.new_names(parts), exprs(parts)[0], at(parts, -1, ast.Body))

    def build_if(self, span: Span, parts: Sequence[Part]) -> ast.If:
        conditions, branches = exprs(parts), all_of(parts, ast.Body)
        arms = tuple(zip(conditions, branches, strict=False))
        return ast.If(span, arms, branches[-1] if len(branches) > len(conditions) else None)

    def build_freeze(self, span: Span, parts: Sequence[Part]) -> ast.Freeze:
        return ast.Freeze(span, at(parts, 1, ast.Body))

    def build_let(self, span: Span, parts: Sequence[Part]) -> ast.Let:
        return ast.Let(span, self.new_name(parts[1]), at(parts, 3, ast.Expr))

    def build_output(self, span: Span, parts: Sequence[Part]) -> ast.Output:
        branch = all_of(parts, ast.Body)
        return ast.Output(span, at(parts, 1, ast.Port), has(parts, "training"), branch[0] if branch else None)

    def build_settings(self, span: Span, parts: Sequence[Part]) -> Settings:
        return Settings(span, all_of(parts, ast.Setting))

    def build_setting(self, span: Span, parts: Sequence[Part]) -> ast.Setting:
        last = parts[-1]
        lines = last.lines if isinstance(last, Settings) else None
        return ast.Setting(span, self.name(parts[0]), self.arguments(parts), lines)

    def build_about(self, span: Span, parts: Sequence[Part]) -> ast.About:
        return ast.About(span, at(parts, 1, Settings).lines)


def _interpolated(parts: Sequence[Part]) -> tuple[str | ast.Expr, ...]:
    """Return the parts of a word with holes."""
    found: list[str | ast.Expr] = [at(parts, 0, Token).text]
    for hole in all_of(parts, Hole):
        found += hole.parts
    return tuple(found)


def _operands(parts: Sequence[Part]) -> tuple[ast.Operand, ...]:
    return tuple([part for part in parts if isinstance(part, (ast.Body, ast.Name, ast.Path, ast.For))])


def _reference(parts: Sequence[Part]) -> ast.Name | ast.Path:
    """Return the label after a keyword."""
    target = parts[1]
    assert isinstance(target, (ast.Name, ast.Path)), target
    return target
