"""Find names of a file that nothing uses, and names that hide others."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from netdsl.diagnostics import problems
from netdsl.elaborate.functions import BUILTINS
from netdsl.elaborate.module import inner
from netdsl.elaborate.scopes import ScopeWalk, Variable
from netdsl.layers import find_layer, layer_modules
from netdsl.layers.base import Layer
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.base.text import Span
    from netdsl.diagnostics.problem import Problem
    from netdsl.elaborate.module import Module

_SEEN = (ast.Block, ast.Function, ast.Let)
"""Definitions visible to expressions and calls by name; nets are entry points too, and not among them."""


def check_names(module: Module) -> None:
    """Report unused definitions of a file without errors, and names that hide others.

    A file without a net is meant for others, so that its blocks, functions and values need not be used in it.
    """
    walk = _Walk(module)
    walk.visit(module.file.items)
    found = walk.found
    if any(isinstance(item, (ast.Net, ast.Alias)) for item in module.own.values()):
        found += [*_definitions(walk), *_labels(walk)]
    for problem in (*found, *_hidden(module)):
        module.report.add(problem)


class _Walk(ScopeWalk):
    """What the walk has seen.

    `used` are words that no braces bind, so that they mean definitions or labels; `begun` are the texts before the
    first brace of interpolated references. `labels` are those outside any `seq`, where a label changes numbers.
    """

    def __init__(self, module: Module) -> None:
        super().__init__(module)
        self.found: list[Problem] = []
        self.used: set[str] = set()
        self.begun: set[str] = set()
        self.labels: list[ast.Labelled] = []

    def free(self, name: ast.Name) -> None:
        self.used.add(name.text)

    def path(self, path: ast.Path) -> None:
        for first, *rest in path.segments:
            (self.begun if rest else self.used).add(first if isinstance(first, str) else "")
        super().path(path)

    def body(self, body: ast.Body, scope: dict[str, Variable] | None = None, is_seq: bool = False) -> None:
        if not is_seq:
            self.labels += [stmt for stmt in body.statements if isinstance(stmt, ast.Labelled)]
        super().body(body, scope, is_seq)

    def close(self) -> None:
        for variable in self.scopes.pop().values():
            if variable.kind and not variable.used:
                self.found.append(_unused(variable.kind, variable.name))

    def declare(self, name: ast.Name, kind: str) -> None:
        around = (scope[name.text].name for scope in reversed(self.scopes[:-1]) if name.text in scope)
        definition = self.module.own.get(name.text)
        hidden = next(around, definition.name if isinstance(definition, _SEEN) else None)
        if hidden is not None and not name.text.startswith("_"):
            self.found.append(problems.Hides(span=name.span, name=name.text, hidden=hidden.span))
        super().declare(name, kind)

    def definition(self, stmt: ast.Net | ast.Block) -> None:
        name, known = stmt.name.text, set(self.used)
        super().definition(stmt)
        if name not in known:
            self.used.discard(name)  # a call by itself uses no block

    def match(self, expr: ast.Match) -> None:
        super().match(expr)
        earlier: dict[object, ast.Expr] = {}
        for pattern, value in expr.arms:
            key = _constant(pattern)
            above = earlier.get("_", earlier.get(key)) if earlier else None
            if above is not None:
                self.found.append(
                    problems.UnreachableArm(span=(pattern or value).span, above=above.span, rest="_" in earlier)
                )
            if key is not None:
                earlier.setdefault(key, pattern or value)


def _constant(pattern: ast.Expr | None) -> object:
    """Return what equal patterns have in common; None for a pattern that must be evaluated first."""
    if pattern is None:
        return "_"
    if isinstance(pattern, ast.Number | ast.Text | ast.Switch):
        return type(pattern), pattern.value
    return (ast.Name, pattern.text) if isinstance(pattern, ast.Name) else None


def _unused(kind: str, name: ast.Name) -> Problem:
    if kind == "parameter":
        return problems.UnusedParameter(span=name.span, name=name.text)
    if kind == "value":
        return problems.UnusedValue(span=name.span, name=name.text)
    return problems.UnusedDefinition(span=name.span, name=name.text, what=kind)


def _definitions(walk: _Walk) -> Iterator[Problem]:
    """Yield unused blocks, functions and values of the file."""
    kinds = {ast.Block: "block", ast.Function: "function", ast.Let: "value"}
    for name, item in walk.module.own.items():
        if type(item) in kinds and name not in walk.used and not name.startswith("_"):
            yield _unused(kinds[type(item)], item.name)


def _hidden(module: Module) -> Iterator[Problem]:
    """Yield what the file's definitions hide: names of a file that it uses whole, built-in layers and functions."""
    taken = {n: used.own[n].name.span for used, names in module.uses if used and names is None for n in used.own}
    for name, item in module.own.items():
        what = ""
        if isinstance(item, ast.Block) and name in layer_modules():
            what = "layer"
        elif isinstance(item, ast.Function) and name in BUILTINS:
            what = "function"
        if what or name in taken:
            yield problems.Hides(span=item.name.span, name=name, hidden=taken.get(name), what=what)


def _labels(walk: _Walk) -> Iterator[Problem]:
    """Yield labels without references that are in no name of a weight; those of unused values are reported as such."""
    weightless: set[str] = set()
    dead = sorted(problem.span.key for problem in walk.module.report if problem.code == "W0201")
    references = _References(walk.used, walk.begun)
    for stmt in walk.labels:
        if references.mean(stmt.label) or _is_around(stmt.span, dead) or _may_weigh(stmt, walk.module, weightless):
            continue
        yield problems.UnusedLabel(span=stmt.label_span, name=stmt.label_span.text)


class _References:
    """References to labels: `whole` ones, and the texts before the first brace of interpolated ones."""

    def __init__(self, whole: set[str], begun: set[str]) -> None:
        self.whole, self.begun = whole, begun
        self.sorted_whole, self.sorted_begun = sorted(whole), sorted(begun)
        self.lengths = {len(text) for text in begun}

    def mean(self, label: tuple[str | ast.Expr, ...]) -> bool:
        """Return whether one of them can mean a label."""
        first, *rest = label
        text = first if isinstance(first, str) else ""
        if any(text[:length] in self.begun for length in self.lengths):
            return True
        if text and not rest:
            return text in self.whole
        return _begins_one(text, self.sorted_whole) or _begins_one(text, self.sorted_begun)


def _begins_one(text: str, ordered: list[str]) -> bool:
    """Return whether one of some sorted texts begins with a prefix."""
    at = bisect_left(ordered, text)
    return at < len(ordered) and ordered[at].startswith(text)


def _is_around(span: Span, inner: list[tuple[str, int, int]]) -> bool:
    """Return whether a span contains the beginning of one of some sorted spans."""
    name, start, end = span.key
    at = bisect_left(inner, (name, start, 0))
    return at < len(inner) and inner[at][0] == name and inner[at][1] < end


def _may_weigh(label: ast.Labelled, module: Module, weightless: set[str]) -> bool:
    """Return whether anything under a label, however deep, may have weights. The value of a variable and a block of
    another file may, and so may `reuse`, whose weights are named after its label.

    `weightless` are names that are known to have none, and grows.
    """
    seen: set[str] = set()
    todo: list[ast.Stmt] = [label]
    while todo:
        stmt = todo.pop()
        if isinstance(stmt, ast.Reuse):
            return True
        todo += inner(stmt)
        if not isinstance(stmt, ast.Call):
            continue
        name = stmt.head.text
        if name not in weightless and name not in seen:
            seen.add(name)
            block = module.block(name)
            if block is not None and block.module is module:
                todo += block.block.body.statements
            elif (cls := find_layer(name)) is None or block is not None or cls.weights is not Layer.weights:
                return True
    weightless |= seen
    return False
