"""Lines that select a declared component by its name: a loss, an optimizer, a kind of data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, TypeVar

from netdsl.base.text import Span
from netdsl.data.augment import AUGMENTATIONS
from netdsl.declare.arguments import is_number
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.elaborate.bind import bind, bound_values
from netdsl.elaborate.layers import convert_argument, declared_signature
from netdsl.syntax import ast
from netdsl.syntax.translate import statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.declare.arguments import Kind
    from netdsl.declare.declared import Declared
    from netdsl.elaborate.context import Context

_D = TypeVar("_D", bound="Declared")


def make_component(cls: type[_D], arguments: tuple[ast.Expr, ...], context: Context, head: Span) -> _D:
    """Return the component for a name and its arguments. Raises Rejected or Poisoned."""
    bound = bind(arguments, declared_signature(cls), context, head)
    given = bound_values(bound, declared_signature(cls), context)
    pairs = tuple(zip(bound, given, strict=True))
    for _, value in pairs:
        context.module.work.weigh(value, head, context.frame)
    made = cls(**{argument.name: convert_argument(cls, argument, value, context, pairs) for argument, value in pairs})
    made.spans = {"": head, **{argument.name: argument.expr.span for argument in bound}}
    try:
        made.validate()
    except Misfit as misfit:
        context.reject(misfit.problem, made.spans.get(misfit.at, head), **misfit.data)
    return made


def word(expr: ast.Expr | None) -> str:
    """Return the text of a bare word; otherwise an empty string."""
    return expr.text if isinstance(expr, ast.Name) and not expr.grouped else ""


def choose_component(
    key: ast.Name, given: tuple[ast.Expr, ...], table: Mapping[str, type[_D]], what: str, context: Context
) -> _D:
    """Return the component of a table that the first word names, with the rest as its arguments. Raises Rejected or
    Poisoned."""
    if not given:
        reject_missing(key, what, table, context)
    cls = table.get(word(given[0]))
    if cls is None:
        reject_unknown(key, given[0], table, what, context)
    return make_component(cls, given[1:], context, given[0].span)


def reject_missing(key: ast.Name, what: str, table: Mapping[str, object], context: Context) -> NoReturn:
    usage = f"{key.text} {'|'.join(table)} …"
    context.reject(problems.MissingArgument, key.span, callee=key.text, name=what, usage=usage)


def reject_unknown(key: ast.Name, expr: ast.Expr, table: Mapping[str, object], what: str, context: Context) -> NoReturn:
    """Reject a name that is not in the table. Raises Rejected."""
    name = word(expr)
    if name == "normalize" and table is AUGMENTATIONS:
        context.reject(problems.Normalizing, expr.span)
    if name:
        context.reject(problems.UnknownChoice, expr.span, name=name, candidates=tuple(table), what=what)
    if isinstance(expr, ast.Apply) and isinstance(expr.function, ast.Name):
        called = expr.function.text
        given = [("", argument.span.text) for argument in expr.arguments]
        written = statement(called, given, choice=True) or " ".join([called.lower(), *(text for _, text in given)])
        context.reject(problems.PythonCall, expr.span, name=called, ours=None, statement=written)
    if isinstance(expr, ast.Binary) and word(expr.first) in table:
        path = expr.span.text.removeprefix(word(expr.first)).lstrip()
        context.reject(
            problems.UnquotedText, Span(expr.span.source, expr.span.end - len(path), expr.span.end), path=path
        )
    article = "an" if what[0] in "aeiou" else "a"
    expected = f"the name of {article} {what}: {', '.join(table)}"
    context.reject(
        problems.BadArgument,
        expr.span,
        callee=key.text,
        argument="name",
        expected=expected,
        value=f"`{expr.span.text}`",
    )


def written(thing: Declared) -> str:
    """Format a declared component with all its arguments."""
    parts = [thing.kind]
    for name, argument in sorted(thing.arguments.items(), key=lambda item: item[1].keyword):
        value = getattr(thing, name)
        if value is not None and value != ():
            parts += [name] * argument.keyword + [_value(value, argument.kind)]
    return " ".join(parts)


def _value(value: object, kind: Kind[object]) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return f"[{', '.join(_value(entry, kind) for entry in value)}]"
    if isinstance(value, str):
        return value if value in kind.words else f'"{value}"'
    assert is_number(value), value
    return f"({value!r})" if value < 0 else repr(value)
