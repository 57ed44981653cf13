"""Build the nodes of definitions, one method per grammar rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.syntax import ast
from netdsl.syntax.context import Context
from netdsl.syntax.expressions import exprs
from netdsl.syntax.statements import has
from netdsl.syntax.tokens import Token

if TYPE_CHECKING:
    from netdsl.base.text import Span


class Parameters:
    """`(a, b = 1)`, not yet a node."""

    __slots__ = ("parameters", "span")

    def __init__(self, span: Span, found: tuple[ast.Parameter, ...]) -> None:
        self.span, self.parameters = span, found


class Argument:
    """`name = value` of an alias, not yet a node."""

    __slots__ = ("name", "span", "value")

    def __init__(self, span: Span, name: ast.Name | None, value: ast.Expr) -> None:
        self.span, self.name, self.value = span, name, value


def parameters_of(children: list[Any]) -> tuple[ast.Parameter, ...]:
    return next((child.parameters for child in children if isinstance(child, Parameters)), ())


class Items(Context):
    """Builds the nodes of definitions, one method per grammar rule."""

    def build_parameter(self, span: Span, children: list[Any]) -> ast.Parameter:
        values = list(exprs(children))
        domain = values.pop(0) if has(children, "in") else None
        return ast.Parameter(span, self.new_name(children[0]), domain, values[0] if values else None)

    def build_parameters(self, span: Span, children: list[Any]) -> Parameters:
        return Parameters(span, tuple(child for child in children if isinstance(child, ast.Parameter)))

    def build_argument(self, span: Span, children: list[Any]) -> Argument:
        name = self.name(children[0]) if isinstance(children[0], Token) else None
        return Argument(span, name, children[-1])

    def build_use(self, span: Span, children: list[Any]) -> ast.Use:
        path = children[-1]
        names = tuple(self.name(child) for child in children if child.type == "NAME")
        return ast.Use(span, names or None, ast.Text(self.span(path), path.text[1:-1]))

    def build_net(self, span: Span, children: list[Any]) -> ast.Net:
        doc = self.documentation(span)
        return ast.Net(span, self.name(children[1]), parameters_of(children), children[-1], doc)

    def build_alias(self, span: Span, children: list[Any]) -> ast.Alias:
        found = tuple((child.name, child.value) for child in children if isinstance(child, Argument))
        doc = self.documentation(span)
        return ast.Alias(span, self.name(children[1]), self.name(children[3]), found, doc)

    def build_block(self, span: Span, children: list[Any]) -> ast.Block:
        name, doc = self.new_name(children[1]), self.documentation(span)
        return ast.Block(span, name, parameters_of(children), has(children, "seq"), children[-1], doc)

    def build_fn(self, span: Span, children: list[Any]) -> ast.Function:
        name, *names = self.new_names(children)
        return ast.Function(span, name, tuple(names), children[-1], self.documentation(span))

    def build_train(self, span: Span, children: list[Any]) -> ast.Train:
        return ast.Train(span, self.name(children[1]), children[-1].lines)
