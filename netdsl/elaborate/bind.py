"""Bind the arguments of a call to the parameters that the callee declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from netdsl.declare.arguments import Word
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Edit, Rejected
from netdsl.elaborate.context import CALLABLE, Context, LabelValue, Poisoned
from netdsl.ir.net import CallArgument
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.base.text import Span
    from netdsl.diagnostics.name_problems import UnknownName
    from netdsl.elaborate.context import ExprValue


class Signature:
    """What a callee accepts: positional arguments in order and keyword arguments; some can be given either way."""

    __slots__ = (
        "by_keyword",
        "by_place",
        "declared",
        "docs",
        "flags",
        "labels",
        "name",
        "quoted",
        "required",
        "usage",
        "words",
    )

    def __init__(
        self,
        name: str,
        by_place: tuple[str, ...],
        by_keyword: tuple[str, ...],
        required: tuple[str, ...],
        *,
        words: dict[str, tuple[str, ...]] | None = None,
        quoted: tuple[str, ...] = (),
        labels: tuple[str, ...] = (),
        flags: tuple[str, ...] = (),
        operands: str = "",
        docs: dict[str, str] | None = None,
        declared: Span | None = None,
    ) -> None:
        """`labels` are keywords that take a label, `flags` those that take `on` or `off`, and `operands` shows in the
        usage what stands behind the call."""
        self.name = name
        self.by_place = by_place
        self.by_keyword = by_keyword
        self.required = required
        self.words = words or {}
        self.quoted = quoted
        self.labels = labels
        self.flags = flags
        self.docs = docs or {}
        self.declared = declared
        keywords, needed = set(by_keyword), set(required)
        places = [a.upper() if a in needed else f"[{a.upper()}]" for a in by_place if a not in keywords]
        self.usage = " ".join([name, *places, *(f"[{a} …]" for a in by_keyword), *filter(None, [operands])])


class Bound(CallArgument):
    """An argument with the expression of its value, or a bare word. `span` is the keyword's, if it
    has one."""

    __slots__ = ("expr", "word")

    def __init__(self, name: str, expr: ast.Expr, span: Span, word: Word | None = None) -> None:
        super().__init__(name, span, expr.span)
        self.expr = expr
        self.word = word

    def value(self, context: Context) -> ExprValue:
        from netdsl.elaborate.expressions import evaluate

        return self.word if self.word is not None else evaluate(self.expr, context)


def bind(arguments: tuple[ast.Expr, ...], signature: Signature, context: Context, span: Span) -> tuple[Bound, ...]:
    """Return which expression is which argument, without evaluating any. Raises Rejected."""
    from netdsl.elaborate.expressions import lookup

    bound: dict[str, Bound] = {}
    keyword = ""
    place = 0
    at = 0
    while at < len(arguments):
        expr = arguments[at]
        at += 1
        name = _bare(expr)
        if isinstance(expr, ast.Apply):
            _check_call(expr, signature, context)
        if name in signature.by_keyword and not _is_word(name, place, signature):
            keyword = name
            flag = name in signature.flags
            following = _bare(arguments[at]) if at < len(arguments) else ""
            is_next = flag and following in signature.by_keyword and lookup(following, context) is None
            if at == len(arguments) or is_next:
                context.reject(problems.NoValue, expr.span, callee=signature.name, name=name, flag=flag)
            _add(bound, keyword, arguments[at], signature, context, expr.span)
            at += 1
        elif keyword or place == len(signature.by_place):
            _too_many(arguments, at - 1, keyword, signature, context)
        else:
            _check_place(arguments, at - 1, place, signature, context)
            _add(bound, signature.by_place[place], expr, signature, context, expr.span)
            place += 1
    for required in signature.required:
        if required not in bound:
            missing = _word_left_out(arguments, signature)
            name = signature.by_place[0] if missing else required
            context.reject(
                problems.MissingArgument,
                span,
                callee=signature.name,
                name=name,
                doc=signature.docs.get(name, ""),
                usage=signature.usage,
                declared=signature.declared,
                edit=missing,
            )
    return tuple(bound.values())


def split_operands(
    arguments: tuple[ast.Expr, ...], signature: Signature, context: Context
) -> tuple[tuple[ast.Expr, ...], tuple[ast.Name | ast.Path, ...]]:
    """Split the arguments of a call that takes operands from the labels at their end. Raises Rejected."""
    at, places, keywords = 0, len(signature.by_place), False
    while at < len(arguments) and (_bare(arguments[at]) in signature.by_keyword or (places and not keywords)):
        is_keyword = _bare(arguments[at]) in signature.by_keyword
        at, places, keywords = at + 1 + is_keyword, places - (not is_keyword), keywords or is_keyword
    labels: list[ast.Name | ast.Path] = []
    for expr in arguments[at:]:
        if not isinstance(expr, (ast.Name, ast.Path)) or expr.grouped:
            return (*arguments[:at], expr), ()
        if labels and _bare(expr) in signature.by_keyword:
            rest = expr.span.to(arguments[-1].span)
            context.reject(
                problems.ArgumentAfterOperand, expr.span, callee=signature.name, operand=labels[0].span, rest=rest
            )
        labels.append(expr)
    return arguments[:at], tuple(labels)


def _word_left_out(arguments: tuple[ast.Expr, ...], signature: Signature) -> Edit | None:
    """Return the edit from `reduce [-1]` to `reduce mean (-1)`: the first place takes words, and has a value."""
    words = signature.words.get(signature.by_place[0], ()) if signature.by_place else ()
    if len(arguments) != 1 or not words or len(signature.by_place) != 2 or isinstance(arguments[0], ast.Name):
        return None
    value = arguments[0]
    only = value.items[0] if isinstance(value, ast.List) and len(value.items) == 1 else value
    text = only.span.text
    return Edit(value.span, f"{words[0]} {f'({text})' if text.startswith('-') else text}")


def _is_word(name: str, place: int, signature: Signature) -> bool:
    """Return whether a bare word is the positional word expected at this place, rather than a keyword."""
    return place < len(signature.by_place) and name in signature.words.get(signature.by_place[place], ())


def _add(
    bound: dict[str, Bound], name: str, expr: ast.Expr, signature: Signature, context: Context, span: Span
) -> None:
    if name in bound:
        earlier = bound[name].span
        context.reject(problems.ArgumentTwice, span, callee=signature.name, name=name, earlier=earlier)
    word = _bare(expr)
    bound[name] = Bound(name, expr, span, Word(word) if word and word in signature.words.get(name, ()) else None)


def _check_place(arguments: tuple[ast.Expr, ...], at: int, place: int, signature: Signature, context: Context) -> None:
    """Reject a word without a meaning at its place, as in `dense units 10`."""
    from netdsl.elaborate.expressions import lookup

    expr = arguments[at]
    name = _bare(expr)
    is_text = isinstance(expr, (ast.Path, ast.Binary)) or (name and lookup(name, context) is None)
    if signature.by_place[place] in signature.quoted and is_text:
        context.reject(problems.UnquotedText, expr.span, path=expr.span.text)
    if not name or _is_word(name, place, signature) or lookup(name, context) is not None:
        return
    from netdsl.diagnostics.foreign import argument

    wanted = signature.by_place[place]
    named = name == wanted or argument(name, (*signature.by_keyword, *signature.by_place)) == wanted
    unknown_argument(arguments, at, signature, context, needless=named, words=signature.words.get(wanted, ()))


def _check_call(expr: ast.Apply, signature: Signature, context: Context) -> None:
    """Reject `stride(2)`, unless it calls a function of that name."""
    from netdsl.elaborate.functions import BUILTINS

    name = _bare(expr.function)
    if name in signature.by_keyword and context.module.function(name) is None and name not in BUILTINS:
        value = expr.arguments[0].span if len(expr.arguments) == 1 else None
        context.reject(problems.KeywordCalled, expr.span, callee=signature.name, name=name, value=value)


def _too_many(arguments: tuple[ast.Expr, ...], at: int, keyword: str, signature: Signature, context: Context) -> None:
    from netdsl.diagnostics.foreign import OURS, called
    from netdsl.elaborate.expressions import lookup

    expr = arguments[at]
    name = _bare(expr)
    if name and lookup(name, context) is None:
        unknown_argument(arguments, at, signature, context)
    layers = []
    for argument in arguments[at:]:
        found = lookup(_bare(argument), context) if _bare(argument) else None
        ours = called(_bare(argument), OURS) if _bare(argument) else None
        if isinstance(found, CALLABLE) or (found is None and ours):
            layers.append((argument.span, argument.span.text if found else ours or ""))
    context.reject(
        problems.TooMany,
        expr.span,
        layers=tuple(layers),
        keyword=_likely_keyword(expr, signature) if at + 1 == len(arguments) else "",
        callee=signature.name,
        limit=len(signature.by_place),
        given=_places(arguments, signature),
        usage=signature.usage,
        declared=signature.declared,
        after=keyword if keyword and len(signature.by_place) else "",
    )


def _likely_keyword(expr: ast.Expr, signature: Signature) -> str:
    """Return the keyword that is given by position in other frameworks: a learning rate or a stride."""
    likely = {0: "lr", 1: "stride"}.get(len(signature.by_place), "")
    return likely if likely in signature.by_keyword and isinstance(expr, (ast.Number, ast.Dims)) else ""


def _bare(expr: ast.Expr) -> str:
    """Return the text of a bare word, which can be a keyword; otherwise an empty string."""
    return expr.text if isinstance(expr, ast.Name) and not expr.grouped else ""


def _places(arguments: tuple[ast.Expr, ...], signature: Signature) -> int:
    """Return the number of arguments before the first keyword."""
    words = [_bare(expr) in signature.by_keyword for expr in arguments]
    return words.index(True) if True in words else len(words)


def unknown_argument(
    arguments: tuple[ast.Expr, ...],
    at: int,
    signature: Signature,
    context: Context,
    *,
    needless: bool = False,
    words: tuple[str, ...] = (),
) -> NoReturn:
    """Reject a bare word that is neither a keyword of the callee nor a name; `words` are those that its place takes.
    Raises Rejected or Poisoned."""
    expr = arguments[at]
    assert isinstance(expr, ast.Name)
    span, name = expr.span, expr.text
    if context.module.lost(name):
        raise Poisoned
    reject_function(expr, arguments[at + 1 :], context)
    context.reject(
        problems.UnknownArgument,
        span,
        callee=signature.name,
        name=name,
        value=arguments[at + 1].span if at + 1 < len(arguments) else None,
        usage=signature.usage,
        places=tuple(place for place in signature.by_place if place not in signature.by_keyword),
        keywords=signature.by_keyword,
        names=context.names(),
        words=words,
        needless=needless,
        end=arguments[-1].span.end,
    )


def reject_function(expr: ast.Name, following: tuple[ast.Expr, ...], context: Context) -> None:
    """Reject a name without parentheses that is a function's. Raises Rejected."""
    from netdsl.elaborate.functions import BUILTINS

    function = context.module.function(expr.text)
    if function is None and expr.text not in BUILTINS:
        return
    count = len(function.definition.parameters) if function is not None else 1
    edit = None
    if 0 < count <= len(following):
        values = ", ".join(value.span.text for value in following[:count])
        edit = Edit(expr.span.to(following[count - 1].span), f"{expr.text}({values})")
    context.reject(problems.FunctionWithoutCall, expr.span, name=expr.text, edit=edit)


def _unknown_value(argument: Bound, unknown: UnknownName, signature: Signature, context: Context) -> None:
    """Reject an argument that is one unknown word, with a more specific problem if there is one."""
    if argument.span.key == argument.expr.span.key:
        unknown_argument((argument.expr,), 0, signature, context, words=signature.words.get(argument.name, ()))
    if argument.name in signature.quoted:
        context.reject(problems.UnquotedText, unknown.span, path=unknown.name)
    taken = signature.words.get(argument.name)
    if taken:
        context.reject(
            problems.UnknownWord,
            unknown.span,
            callee=signature.name,
            argument=argument.name,
            name=unknown.name,
            words=taken,
            names=context.names(),
        )


def _is_label(expr: ast.Expr, context: Context) -> bool:
    """Return whether an expression refers to a label, known or not, rather than to a variable or a definition."""
    from netdsl.elaborate.expressions import lookup

    if not isinstance(expr, ast.Name):
        return isinstance(expr, ast.Path)
    known = context.scope.find(expr.text) or lookup(expr.text, context)
    return known is None or isinstance(known, LabelValue)


def _label_text(expr: ast.Expr, context: Context) -> str:
    """Return the text of a reference to a label with its braces evaluated. Raises Rejected."""
    from netdsl.elaborate.labels import label_name

    if isinstance(expr, ast.Path):
        return ".".join(label_name(segment, context) for segment in expr.segments)
    return expr.span.text


def bound_values(bound: tuple[Bound, ...], signature: Signature, context: Context) -> list[ExprValue]:
    """Return the values of the arguments, in the order of `bound`. Raises Rejected."""
    found: list[ExprValue] = []
    for argument in bound:
        try:
            if argument.name in signature.labels and _is_label(argument.expr, context):
                found.append(Word(_label_text(argument.expr, context)))
            else:
                found.append(argument.value(context))
        except Rejected as rejected:
            wrong = rejected.problem
            if isinstance(wrong, problems.UnknownName) and wrong.span.key == argument.expr.span.key:
                _unknown_value(argument, wrong, signature, context)
            raise
    return found
