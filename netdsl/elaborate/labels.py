"""Names of labels, and the paths that refer to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from netdsl.diagnostics import problems
from netdsl.elaborate.context import POISON, Context, LabelValue, Poisoned
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.base.text import Span
    from netdsl.elaborate.context import Poison, Scope
    from netdsl.ir.net import Node


def label_name(parts: tuple[str | ast.Expr, ...], context: Context) -> str:
    """Return the name of a label with its braces evaluated: `layer{i+1}` is `layer1`."""
    from netdsl.elaborate.arithmetic import show_value
    from netdsl.elaborate.expressions import evaluate

    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        value = evaluate(part, context)
        if not (value >= 0 if type(value) is int else type(value) is str and value.isidentifier()):
            what = f"a name takes an integer of at least 0 or a word in its braces, not {show_value(value)}"
            context.reject(problems.BadOperation, part.span, what=what)
        text += str(value)
    return text


def find_label(target: ast.Name | ast.Path, context: Context) -> LabelValue:
    """Return the label that a reference means. Raises Rejected, or Poisoned if its value failed."""
    if isinstance(target, ast.Name):
        names = [target.text]
        found = context.variables.find(target.text)
        if found is not None and isinstance(found[0], LabelValue):
            return found[0]
    else:
        names = [label_name(segment, context) for segment in target.segments]
    label, candidates = _follow(names, context.scope)
    if label is None:
        if context.module.lost(names[0]):
            raise Poisoned
        _unknown(names, target.span, candidates, context)
    return label


def _follow(names: list[str], scope: Scope) -> tuple[LabelValue | None, list[str]]:
    """Return the label at the end of a path, or the paths that may have been meant."""
    label = scope.find(names[0])
    if label is None:
        return None, [".".join((other, *names[1:])) for other in scope.visible()]
    for at, name in enumerate(names[1:], 1):
        inner = label.scope.names if label.scope else {}
        if name not in inner:
            return None, [".".join((*names[:at], other, *names[at + 1 :])) for other in inner]
        label = inner[name]
    return label, []


def _unknown(names: list[str], span: Span, candidates: list[str], context: Context) -> NoReturn:
    elsewhere = context.builder.labels.get(names[-1])
    hidden, path = elsewhere if elsewhere is not None else (None, "")
    inside = [expansion.definition.span for expansion in context.builder.active[-1:]]
    callers = hidden is not None and any(
        hidden.source is not block.source or not block.start <= hidden.start < block.end for block in inside
    )
    path = path.removeprefix(context.scope.path)
    context.reject(
        problems.UnknownLabel,
        span,
        name=".".join(names),
        candidates=tuple(candidates),
        hidden=hidden,
        callers=callers,
        path=path if path and _follow(path.split("."), context.scope)[0] else "",
    )


def value_of(label: LabelValue) -> Node:
    """Return the value of a label. Raises Poisoned."""
    if label.node is POISON:
        raise Poisoned
    return label.node


def define_label(
    name: str,
    span: Span,
    node: Node | Poison,
    context: Context,
    *,
    scope: Scope | None = None,
    statement: ast.Labelled | None = None,
    around: Context | None = None,
) -> None:
    """Give a value a label in the current naming scope."""
    labels = context.scope.names
    if name in labels:
        context.reject(problems.DefinedTwice, span, name=name, earlier=labels[name].span)
    labels[name] = LabelValue(name=name, node=node, span=span, scope=scope, statement=statement, context=around)
    path = f"{context.scope.path}{name}"
    context.builder.labels.setdefault(name, (span, path))
    context.builder.label_paths.add(path)
    context.builder.reach(path, node)
