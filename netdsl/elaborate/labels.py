"""Labels: their names spelled out, and the paths that lead to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics import expression_problems as problems
from netdsl.diagnostics.name_problems import DefinedTwice, UnknownLabel
from netdsl.elaborate.context import POISON, Context, Label, Poisoned
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.elaborate.context import Scope, _Poison
    from netdsl.ir.net import Node
    from netdsl.text import Span


def spell(parts: tuple[str | ast.Expr, ...], context: Context) -> str:
    """A label's name, its braces filled in: `layer{i+1}` is `layer1`."""
    from netdsl.elaborate.arithmetic import show
    from netdsl.elaborate.expressions import evaluate

    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        value = evaluate(part, context)
        if type(value) is not int and not (type(value) is str and value.isidentifier()):
            what = f"a name takes an integer or a word in its braces, not {show(value)}"
            context.reject(problems.BadOperation, part.span, what=what)
        text += str(value)
    return text


def find_label(target: ast.Name | ast.Path, context: Context) -> Label:
    """The label that a reference means. Raises Rejected, or Poisoned where its value went wrong."""
    if isinstance(target, ast.Name):
        names = [target.text]
        found = context.variables.find(target.text)
        if found is not None and isinstance(found[0], Label):
            return found[0]
    else:
        names = [spell(segment, context) for segment in target.segments]
    label = context.scope.find(names[0])
    scope: Scope | None = context.scope
    for name in names[1:]:
        scope = label.scope if label else None
        label = scope.labels.get(name) if scope else None
    if label is None:
        if context.module.mutilated(names[0]):
            raise Poisoned
        context.reject(
            UnknownLabel,
            target.span,
            name=".".join(names),
            candidates=tuple(context.scope.visible() if scope is context.scope else scope.labels if scope else ()),
            hidden=context.builder.labels.get(names[-1]),
        )
    return label


def value_of(label: Label) -> Node:
    """A label's value. Raises Poisoned."""
    if label.node is POISON:
        raise Poisoned
    return label.node  # type: ignore[return-value]


def define_label(
    name: str,
    span: Span,
    node: Node | _Poison,
    context: Context,
    *,
    scope: Scope | None = None,
    statement: ast.Labelled | None = None,
    around: Context | None = None,
) -> None:
    """Give a value a label in the naming scope of this place."""
    labels = context.scope.labels
    if name in labels:
        context.reject(DefinedTwice, span, name=name, earlier=labels[name].span)
    labels[name] = Label(name, node, scope, span, statement, around)
    context.builder.labels.setdefault(name, span)
