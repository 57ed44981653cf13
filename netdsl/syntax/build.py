"""Build the AST from the parse tree: one pass down orders the tree, one pass up builds nodes; no recursion."""

from __future__ import annotations

from typing import Any

from lark import Tree

from netdsl.base.limits import NESTING
from netdsl.diagnostics.syntax_problems import TooDeep
from netdsl.syntax import ast
from netdsl.syntax.expressions import Expressions
from netdsl.syntax.items import Items
from netdsl.syntax.statements import Statements


class Builder(Expressions, Statements, Items):
    """Builds the nodes of one file."""

    def build(self, tree: Tree[Any]) -> tuple[tuple[ast.Stmt, ...], bool]:
        """Return the items of a file, and whether all of them are sound."""
        built: dict[int, Any] = {}
        for node in reversed(self._ordered(tree)):
            children = [built.pop(id(child)) if isinstance(child, Tree) else child for child in node.children]
            if node is tree:
                return tuple(child for child in children if isinstance(child, ast.Stmt)), self.sound
            made = getattr(self, f"build_{node.data}")(self.between(children[0], children[-1]), children)
            if self.spoilt and isinstance(made, ast.Stmt):
                made = ast.Broken(made.span)
                self.spoilt = False
            built[id(node)] = made
        raise AssertionError("the tree is the first of its nodes")

    def _ordered(self, tree: Tree[Any]) -> list[Tree[Any]]:
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

    def _flatten(self, node: Tree[Any], *, complain: bool) -> None:
        first: Any = node
        while isinstance(first, Tree):
            first = first.children[0]
        if complain:
            self.complain(TooDeep(span=self.span(first), limit=NESTING))
        node.data = "deep"
        node.children = [first]
