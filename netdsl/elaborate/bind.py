"""Arguments as they were written, bound to what the callee declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.diagnostics import argument_problems as problems
from netdsl.diagnostics.problem import Rejected
from netdsl.elaborate.context import Context, Poisoned
from netdsl.layers.arguments import Word
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.text import Span


class Signature:
    """What a callee takes: arguments by place, in order, and arguments by keyword; some may be given either way."""

    __slots__ = ("by_keyword", "by_place", "declared", "name", "required", "usage", "words")

    def __init__(
        self,
        name: str,
        by_place: tuple[str, ...],
        by_keyword: tuple[str, ...],
        required: tuple[str, ...],
        *,
        words: dict[str, tuple[str, ...]] | None = None,
        declared: Span | None = None,
    ) -> None:
        self.name = name
        self.by_place = by_place
        self.by_keyword = by_keyword
        self.required = required
        self.words = words or {}
        self.declared = declared
        only_place = [a for a in by_place if a not in by_keyword]
        places = [a.upper() if a in required else f"[{a.upper()}]" for a in only_place]
        self.usage = " ".join([name, *places, *(f"[{a} …]" for a in by_keyword)])


class Bound:
    """An argument and the expression of its value; a word stands for itself."""

    __slots__ = ("expr", "name", "word")

    def __init__(self, name: str, expr: ast.Expr, word: Word | None) -> None:
        self.name = name
        self.expr = expr
        self.word = word

    def value(self, context: Context) -> Any:
        from netdsl.elaborate.expressions import evaluate

        return self.word if self.word is not None else evaluate(self.expr, context)


def bind(arguments: tuple[ast.Expr, ...], signature: Signature, context: Context, span: Span) -> tuple[Bound, ...]:
    """Which expression is which argument; nothing is evaluated. Raises Rejected."""
    bound: dict[str, Bound] = {}
    keyword = ""
    place = 0
    at = 0
    while at < len(arguments):
        expr = arguments[at]
        at += 1
        name = expr.text if isinstance(expr, ast.Name) and not expr.grouped else ""
        if name in signature.by_keyword and not _is_word(name, place, signature):
            keyword = name
            if at == len(arguments):
                context.reject(problems.NoValue, expr.span, callee=signature.name, name=name)
            _add(bound, keyword, arguments[at], signature, context, expr.span)
            at += 1
        elif keyword or place == len(signature.by_place):
            _too_many(expr, name, keyword, signature, context)
        else:
            _add(bound, signature.by_place[place], expr, signature, context, expr.span)
            place += 1
    for required in signature.required:
        if required not in bound:
            context.reject(
                problems.MissingArgument,
                span,
                callee=signature.name,
                name=required,
                usage=signature.usage,
                declared=signature.declared,
            )
    return tuple(bound.values())


def _is_word(name: str, place: int, signature: Signature) -> bool:
    """Whether a bare word is the positional word that this place takes, rather than a keyword."""
    return place < len(signature.by_place) and name in signature.words.get(signature.by_place[place], ())


def _add(
    bound: dict[str, Bound], name: str, expr: ast.Expr, signature: Signature, context: Context, span: Span
) -> None:
    if name in bound:
        earlier = bound[name].expr.span
        context.reject(problems.ArgumentTwice, span, callee=signature.name, name=name, earlier=earlier)
    word = expr.text if isinstance(expr, ast.Name) and not expr.grouped else ""
    bound[name] = Bound(name, expr, Word(word) if word and word in signature.words.get(name, ()) else None)


def _too_many(expr: ast.Expr, name: str, keyword: str, signature: Signature, context: Context) -> None:
    from netdsl.elaborate.expressions import lookup

    if name and lookup(name, context) is None:
        unknown_argument(expr.span, name, signature, context)
    context.reject(
        problems.TooMany,
        expr.span,
        callee=signature.name,
        limit=len(signature.by_place),
        usage=signature.usage,
        declared=signature.declared,
        after=keyword if keyword and len(signature.by_place) else "",
    )


def unknown_argument(span: Span, name: str, signature: Signature, context: Context) -> None:
    """Reject a bare word that is neither a keyword of the callee nor a name. Raises Rejected or Poisoned."""
    if context.module.mutilated(name):
        raise Poisoned
    context.reject(
        problems.UnknownArgument,
        span,
        callee=signature.name,
        name=name,
        usage=signature.usage,
        keywords=signature.by_keyword,
        names=tuple(context.variables.visible()),
    )


def values(bound: tuple[Bound, ...], signature: Signature, context: Context) -> list[Any]:
    """The arguments' values, in the order of `bound`. Raises Rejected."""
    from netdsl.diagnostics.name_problems import UnknownName

    found = []
    for argument in bound:
        try:
            found.append(argument.value(context))
        except Rejected as rejected:
            wrong = rejected.problem
            if isinstance(wrong, UnknownName) and wrong.span.key == argument.expr.span.key:
                unknown_argument(wrong.span, wrong.name, signature, context)
            raise
    return found
