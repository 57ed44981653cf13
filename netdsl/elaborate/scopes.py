"""Walk the syntax tree of a file with the variables of each pair of braces, without evaluating anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from netdsl.elaborate import blocks, layers
from netdsl.layers import find_layer
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.elaborate.bind import Signature
    from netdsl.elaborate.module import Module


class Variable:
    """A variable of some braces; `kind` is empty for that of a loop, which may only count rounds."""

    __slots__ = ("kind", "name", "used")

    def __init__(self, name: ast.Name, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.used = name.text.startswith("_")


class ScopeWalk:
    """The state of a walk: the variables of the enclosing braces. The file can have errors.

    A subclass overrides what happens at each kind of node: `bound` is a word that means a variable, `free` one that no
    braces bind, so that it means a definition, a layer or a label.
    """

    RULES: ClassVar[dict[type[ast.Node], str]] = {
        ast.Name: "name",
        ast.Path: "path",
        ast.Labelled: "labelled",
        ast.Call: "call",
        ast.Input: "input",
        ast.Default: "default",
        ast.For: "for_each",
        ast.Repeat: "repeat",
        ast.Body: "body",
        ast.Sequence: "sequence",
        ast.Let: "let",
        ast.Output: "output",
        ast.Port: "port",
        ast.Net: "definition",
        ast.Block: "definition",
        ast.Function: "function",
        ast.Alias: "alias",
        ast.Setting: "setting",
        ast.Comprehension: "comprehension",
        ast.Match: "match",
    }
    """The method for nodes that bind names, or in which words have another meaning."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.scopes: list[dict[str, Variable]] = []

    def visit(self, *nodes: object) -> None:
        """Visit nodes in order."""
        todo = list(reversed(nodes))
        while todo:
            node = todo.pop()
            if isinstance(node, tuple):
                todo += reversed(node)
            elif isinstance(node, ast.Node):
                if rule := self.RULES.get(type(node)):
                    getattr(self, rule)(node)
                else:
                    todo += [getattr(node, field) for field in reversed(node.__slots__)]

    def name(self, name: ast.Name) -> None:
        variable = self.find(name.text)
        if variable is None:
            self.free(name)
        else:
            self.bound(name, variable)

    def find(self, text: str) -> Variable | None:
        """Return the variable that a word means here."""
        return next((scope[text] for scope in reversed(self.scopes) if text in scope), None)

    def bound(self, name: ast.Name, variable: Variable) -> None:
        variable.used = True

    def free(self, name: ast.Name) -> None:
        pass

    def path(self, path: ast.Path) -> None:
        self.visit(*(part for segment in path.segments for part in segment if not isinstance(part, str)))

    def body(self, body: ast.Body, scope: dict[str, Variable] | None = None, is_seq: bool = False) -> None:
        """Visit the statements of some braces; `scope` has the variables that they bring."""
        self.scopes.append({} if scope is None else scope)
        for stmt in body.statements:
            self.visit(stmt)
        self.close()

    def close(self) -> None:
        """End the innermost braces."""
        self.scopes.pop()

    def declare(self, name: ast.Name, kind: str) -> None:
        """Bind a variable in the innermost braces."""
        self.scopes[-1].setdefault(name.text, Variable(name, kind))

    def arguments(self, head: ast.Name, given: Sequence[ast.Expr]) -> None:
        """Visit the arguments of a call; a keyword of the callee means no variable."""
        signature = None if self.find(head.text) else self.signature(head.text)
        keywords = signature.by_keyword if signature else ()
        is_value = False
        for expr in given:
            is_value = not is_value and isinstance(expr, ast.Name) and not expr.grouped and expr.text in keywords
            if not is_value:
                self.visit(expr)

    def signature(self, head: str) -> Signature | None:
        """Return what the block, layer or net of a name accepts."""
        block, cls, net = self.module.block(head), find_layer(head), self.module.net(head)
        if block is not None:
            return blocks.block_signature(block.block)
        if cls is None and net is not None:
            from netdsl.elaborate.net import net_of
            from netdsl.elaborate.part import net_signature

            definition = net_of(net.definition, net.module)
            return net_signature(definition) if definition else None
        return layers.declared_signature(cls) if cls else None

    def labelled(self, stmt: ast.Labelled) -> None:
        self.visit(*(part for part in stmt.label if not isinstance(part, str)))
        if isinstance(stmt.body, ast.Body):
            self.body(stmt.body, is_seq=stmt.seq)
        else:
            self.visit(stmt.body)

    def call(self, stmt: ast.Call) -> None:
        self.name(stmt.head)
        self.arguments(stmt.head, stmt.arguments)
        self.visit(stmt.operands)

    def input(self, stmt: ast.Input) -> None:
        self.visit(stmt.name)
        self.arguments(ast.Name(stmt.span, "input"), stmt.arguments)

    def default(self, stmt: ast.Default) -> None:
        self.arguments(stmt.layer, stmt.arguments)

    def for_each(self, stmt: ast.For) -> None:
        self.loop(stmt.iterable, stmt.names, stmt.body)

    def repeat(self, stmt: ast.Repeat) -> None:
        self.loop(stmt.count, (stmt.name,) if stmt.name else (), stmt.body)

    def loop(self, before: ast.Expr, names: tuple[ast.Name, ...], body: ast.Body) -> None:
        self.visit(before)
        self.scopes.append({})
        for name in names:
            self.declare(name, "")
        self.body(body, self.scopes.pop())

    def sequence(self, stmt: ast.Sequence) -> None:
        self.body(stmt.body, is_seq=True)

    def let(self, stmt: ast.Let) -> None:
        self.visit(stmt.value)
        if self.scopes:
            self.declare(stmt.name, "value")

    def output(self, stmt: ast.Output) -> None:
        self.visit(stmt.name, stmt.body)

    def port(self, port: ast.Port) -> None:
        self.visit(*(part for part in port.parts if not isinstance(part, str)))

    def definition(self, stmt: ast.Net | ast.Block) -> None:
        self.scopes.append({})
        for parameter in stmt.parameters:
            self.visit(parameter.domain, parameter.default)
            self.declare(parameter.name, "parameter")
        self.body(stmt.body, self.scopes.pop(), is_seq=isinstance(stmt, ast.Block) and stmt.seq)

    def function(self, stmt: ast.Function) -> None:
        self.scopes.append({})
        for name in stmt.parameters:
            self.declare(name, "parameter")
        self.visit(stmt.value)
        self.close()

    def alias(self, stmt: ast.Alias) -> None:
        self.visit(*(value for _, value in stmt.arguments))

    def setting(self, line: ast.Setting) -> None:
        """Visit a line of `about` or `train`, where a bare word is a text."""
        self.visit(*(value for value in line.values if not isinstance(value, ast.Name) or value.grouped), line.lines)

    def comprehension(self, expr: ast.Comprehension) -> None:
        for generator in expr.generators:
            self.visit(generator.iterable)
            self.scopes.append({})
            for name in generator.names:
                self.declare(name, "")
            self.visit(generator.condition)
        self.visit(expr.item)
        for _ in expr.generators:
            self.close()

    def match(self, expr: ast.Match) -> None:
        self.visit(expr.subject, expr.arms)
