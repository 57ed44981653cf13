"""Build the AST from the parse tree: one pass down orders the tree, one pass up builds nodes; no recursion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.limits import NESTING
from netdsl.diagnostics import problems
from netdsl.syntax import ast
from netdsl.syntax.context import all_of, at, exprs, has
from netdsl.syntax.expressions import Expressions
from netdsl.syntax.lalr import Tree
from netdsl.syntax.scan import Token
from netdsl.syntax.statements import Settings, Statements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netdsl.base.text import Span
    from netdsl.syntax.context import Part


class _Parameters(ast.Node):
    """`(a, b = 1)`."""

    __slots__ = ("parameters",)

    def __init__(self, span: Span, parameters: tuple[ast.Parameter, ...]) -> None:
        self.span, self.parameters = span, parameters


class _AliasArgument(ast.Node):
    """`name = value` of an alias."""

    __slots__ = ("name", "value")

    def __init__(self, span: Span, name: ast.Name | None, value: ast.Expr) -> None:
        self.span, self.name, self.value = span, name, value


def _parameters(parts: Sequence[Part]) -> tuple[ast.Parameter, ...]:
    return next((found.parameters for found in all_of(parts, _Parameters)), ())


class Builder(Expressions, Statements):
    """Builds the nodes of one file; definitions have their methods here."""

    def build(self, tree: Tree) -> tuple[tuple[ast.Stmt, ...], bool]:
        """Return the items of a file, and whether all of them are sound."""
        built: dict[int, ast.Node] = {}
        for node in reversed(self._ordered(tree)):
            parts = [built.pop(id(child)) if isinstance(child, Tree) else child for child in node.children]
            if node is tree:
                return all_of(parts, ast.Stmt), self.sound
            rule: Callable[[Span, Sequence[Part]], ast.Node] = getattr(self, f"build_{node.data}")
            made = rule(self.between(parts[0], parts[-1]), parts)
            if self.spoilt and isinstance(made, ast.Stmt):
                made = ast.Broken(made.span)
                self.spoilt = False
            built[id(node)] = made
        raise AssertionError("the tree is the first of its nodes")

    def _ordered(self, tree: Tree) -> list[Tree]:
        """Return every node before its parts, last part first; what is nested too deeply has no parts."""
        order = []
        todo = [(tree, 0, tree)]
        blamed = None
        while todo:
            node, depth, root = todo.pop()
            order.append(node)
            depth = depth + 1 if hasattr(Expressions, f"build_{node.data}") else 0
            root = root if depth > 1 else node
            if depth > NESTING:
                self._flatten(node, complain=root is not blamed)
                blamed = root
            todo += [(child, depth, root) for child in node.children if isinstance(child, Tree)]
        return order

    def _flatten(self, node: Tree, *, complain: bool) -> None:
        first: Token | Tree = node
        while isinstance(first, Tree):
            first = first.children[0]
        if complain:
            self.complain(problems.TooDeep(span=self.span(first), limit=NESTING))
        node.data = "deep"
        node.children = [first]

    def build_parameter(self, span: Span, parts: Sequence[Part]) -> ast.Parameter:
        values = list(exprs(parts))
        domain = values.pop(0) if has(parts, "in") else None
        return ast.Parameter(span, self.new_name(parts[0]), domain, values[0] if values else None)

    def build_parameters(self, span: Span, parts: Sequence[Part]) -> _Parameters:
        return _Parameters(span, all_of(parts, ast.Parameter))

    def build_argument(self, span: Span, parts: Sequence[Part]) -> _AliasArgument:
        name = self.name(parts[0]) if isinstance(parts[0], Token) else None
        return _AliasArgument(span, name, at(parts, -1, ast.Expr))

    def build_use(self, span: Span, parts: Sequence[Part]) -> ast.Use:
        path = at(parts, -1, Token)
        names = tuple(self.name(token) for token in all_of(parts, Token) if token.type == "NAME")
        return ast.Use(span, names or None, ast.Text(self.span(path), path.text[1:-1]))

    def build_net(self, span: Span, parts: Sequence[Part]) -> ast.Net:
        doc = self.documentation(span)
        return ast.Net(span, self.name(parts[1]), _parameters(parts), at(parts, -1, ast.Body), doc)

    def build_alias(self, span: Span, parts: Sequence[Part]) -> ast.Alias:
        found = tuple((argument.name, argument.value) for argument in all_of(parts, _AliasArgument))
        doc = self.documentation(span)
        return ast.Alias(span, self.name(parts[1]), self.name(parts[3]), found, doc)

    def build_block(self, span: Span, parts: Sequence[Part]) -> ast.Block:
        name, doc = self.new_name(parts[1]), self.documentation(span)
        return ast.Block(span, name, _parameters(parts), has(parts, "seq"), at(parts, -1, ast.Body), doc)

    def build_fn(self, span: Span, parts: Sequence[Part]) -> ast.Function:
        name, *names = self.new_names(parts)
        return ast.Function(span, name, tuple(names), at(parts, -1, ast.Expr), self.documentation(span))

    def build_train(self, span: Span, parts: Sequence[Part]) -> ast.Train:
        return ast.Train(span, self.name(parts[1]), at(parts, -1, Settings).lines)
