"""Which definition each name of a file means, found without evaluating anything, so that the file can have errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from netdsl.base.text import Span
from netdsl.elaborate.functions import BUILTINS
from netdsl.elaborate.part import UNTIL
from netdsl.elaborate.scopes import ScopeWalk, Variable
from netdsl.layers import find_layer
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netdsl.elaborate.module import Module

    Segment = tuple[tuple[str | ast.Expr, ...], Span]
    """The parts of a label in a path, and where it stands."""

KINDS = {ast.Net: "net", ast.Alias: "net", ast.Block: "block", ast.Function: "function", ast.Let: "value"}
LABEL_LINES = ("freeze", "except")
"""Lines of a `train` block whose words are labels."""
OUTPUT_LINES = ("loss", "metric")
"""Lines of a `train` block whose first word can be an output."""


class Reference:
    """A name at a location.

    `kind` is net, block, function, value (a `let`), variable, parameter, label, input, output, layer, keyword (of
    `owner`, a layer), word (that a keyword takes), or builtin. `definition` is where the name is defined, the location
    itself for a definition, and None where there is none in a text or where it is not known. `exact` is False if the
    name is interpolated, so that it may mean something else.
    """

    __slots__ = ("definition", "exact", "kind", "owner", "span")

    def __init__(self, span: Span, definition: Span | None, kind: str, *, exact: bool = True, owner: str = "") -> None:
        self.span = span
        self.definition = definition
        self.kind = kind
        self.exact = exact
        self.owner = owner

    def __repr__(self) -> str:
        return f"<{self.kind} {self.span.text} at {self.span}, of {self.definition}>"


class Label:
    """A label, input or output; `inner` has the labels in its braces, `callee` the block or net that it calls."""

    __slots__ = ("callee", "inner", "kind", "span")

    def __init__(self, span: Span, kind: str, inner: LabelScope | None, callee: str = "") -> None:
        self.span = span
        self.kind = kind
        self.inner = inner
        self.callee = callee


class LabelScope:
    """The labels of some braces, inside those of `outer`; `begun` are the texts before the first brace of interpolated
    ones. `module` is the file that the names in it refer to."""

    __slots__ = ("begun", "labels", "module", "outer", "outputs")

    def __init__(self, module: Module, outer: LabelScope | None) -> None:
        self.module = module
        self.outer = outer
        self.labels: dict[str, Label] = {}
        self.outputs: dict[str, Label] = {}
        self.begun: list[tuple[str, Label]] = []

    def chain(self) -> Iterator[LabelScope]:
        """Yield this scope and those around it."""
        scope: LabelScope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    def find(self, parts: tuple[str | ast.Expr, ...]) -> list[tuple[Label, bool]]:
        """Return the labels that a text can mean here, and whether that is certain."""
        first, *rest = parts
        text = first if isinstance(first, str) else ""
        if not rest and (known := self.labels.get(text, self.outputs.get(text))):
            return [(known, True)]
        uncertain = [
            label for begin, label in self.begun if text.startswith(begin) or (rest and begin.startswith(text))
        ]
        uncertain += [label for name, label in self.labels.items() if rest and name.startswith(text)]
        return [(each, False) for each in uncertain]


class References(ScopeWalk):
    """The names of a file, in `table` in the order of the text; `bodies` are the labels of its nets and blocks."""

    RULES: ClassVar[dict[type[ast.Node], str]] = {
        **ScopeWalk.RULES,
        ast.From: "reference",
        ast.Reuse: "reference",
        ast.Merge: "merge",
        ast.Skip: "skip",
        ast.Apply: "apply",
        ast.Use: "use",
        ast.Train: "train",
    }

    def __init__(self, module: Module, known: dict[int, References] | None = None) -> None:
        super().__init__(module)
        self.table: list[Reference] = []
        self.bodies: dict[ast.Stmt, LabelScope] = {}
        self.known = {} if known is None else known
        self.known[id(module)] = self
        self._labels = LabelScope(module, None)
        self._trained: LabelScope | None = None
        self._values = {item.name: item.value for item in module.file.items if isinstance(item, ast.Let)}
        self._pending: list[tuple[list[Segment], LabelScope, ast.Name | None]] = []
        self.visit(*module.file.items)
        for segments, scope, name in self._pending:
            if not self._resolve(segments, scope) and name is not None:
                self._defined(name)
        self.table.sort(key=lambda each: (each.span.start, -each.span.end))

    def add(self, span: Span, definition: Span | None, kind: str, *, exact: bool = True, owner: str = "") -> None:
        self.table.append(Reference(_bare(span), definition, kind, exact=exact, owner=owner))

    # names of definitions and variables

    def bound(self, name: ast.Name, variable: Variable) -> None:
        self.add(name.span, variable.name.span, variable.kind.replace("value", "variable") or "variable")

    def free(self, name: ast.Name) -> None:
        found = self.module.find(name.text)
        if found is not None and isinstance(found[1], ast.Let):
            self._defined(name)
        else:  # a label precedes blocks, layers and nets, and can follow in the text
            self._pending.append((_segments(name), self._labels, name))

    def declare(self, name: ast.Name, kind: str) -> None:
        super().declare(name, kind)
        variable = self.scopes[-1][name.text]
        self.add(name.span, variable.name.span, variable.kind.replace("value", "variable") or "variable")

    def _defined(self, name: ast.Name) -> None:
        """Add a name that means a definition of the file, or something that the language has."""
        found = self.module.find(name.text)
        if found is not None and not (isinstance(found[1], (ast.Net, ast.Alias)) and find_layer(name.text)):
            self.add(name.span, found[1].name.span, KINDS[type(found[1])])
        elif find_layer(name.text):
            self.add(name.span, None, "layer")
        elif name.text in ("channels", "shape") or name.text in BUILTINS:
            self.add(name.span, None, "builtin")

    def apply(self, expr: ast.Apply) -> None:
        if isinstance(expr.function, ast.Name):
            self._defined(expr.function)
        else:
            self.visit(expr.function)
        self.visit(expr.arguments)

    def use(self, stmt: ast.Use) -> None:
        for name in stmt.names or ():
            self._defined(name)

    def alias(self, stmt: ast.Alias) -> None:
        self.add(stmt.name.span, stmt.name.span, "net")
        self._defined(stmt.target)
        for name, _ in stmt.arguments:
            if name is not None:
                self._keyword(stmt.target, name)
        super().alias(stmt)

    def let(self, stmt: ast.Let) -> None:
        if not self.scopes:
            self.add(stmt.name.span, stmt.name.span, "value")
        self._values[stmt.name] = stmt.value
        super().let(stmt)

    def function(self, stmt: ast.Function) -> None:
        self.add(stmt.name.span, stmt.name.span, "function")
        super().function(stmt)

    def definition(self, stmt: ast.Net | ast.Block) -> None:
        self.add(stmt.name.span, stmt.name.span, KINDS[type(stmt)])
        around, self._labels = self._labels, LabelScope(self.module, None)
        self.bodies[stmt] = self._labels
        super().definition(stmt)
        self._labels = around

    # calls

    def call(self, stmt: ast.Call) -> None:
        variable = self.find(stmt.head.text)
        if variable is None:
            self._defined(stmt.head)
        else:
            self.bound(stmt.head, variable)
        self.arguments(stmt.head, stmt.arguments)
        for operand in stmt.operands:
            self._operand(operand)

    def merge(self, stmt: ast.Merge) -> None:
        self.add(stmt.kind.span, None, "layer")
        self.visit(stmt.option)
        for operand in stmt.operands:
            self._operand(operand)

    def default(self, stmt: ast.Default) -> None:
        self._defined(stmt.layer)
        super().default(stmt)

    def arguments(self, head: ast.Name, given: Sequence[ast.Expr]) -> None:
        signature = None if self.find(head.text) else self.signature(head.text)
        if signature is None:
            self._arguments_of_value(head, given)
            return
        keyword, place = "", 0
        for expr in given:
            word = expr.text if isinstance(expr, ast.Name) and not expr.grouped else ""
            name = keyword or (signature.by_place[place] if place < len(signature.by_place) else "")
            is_word = bool(word) and word in signature.words.get(name, ())
            if not keyword and not is_word and word in signature.by_keyword:
                assert isinstance(expr, ast.Name)
                self._keyword(head, expr)
                keyword = word
                continue
            if is_word:
                self.add(expr.span, None, "word", owner=head.text)
            elif name == UNTIL and isinstance(expr, (ast.Name, ast.Path)):
                self._cut(head.text, expr)
            elif (name in signature.labels or not name) and isinstance(expr, (ast.Name, ast.Path)):
                self._operand(expr)
            else:
                self.visit(expr)
            place += not keyword
            keyword = ""

    def _arguments_of_value(self, head: ast.Name, given: Sequence[ast.Expr]) -> None:
        """Visit the arguments of a call whose head is a variable or a `let`. A word may be a keyword of what it holds,
        which is known if the value names only blocks, layers and nets."""
        variable, found = self.find(head.text), self.module.find(head.text)
        name = variable.name if variable else found[1].name if found else head
        value = self._values.get(name)
        held = [self.signature(name) for name in _names(value)] if value is not None else []
        keywords = {word for each in held if each for word in each.by_keyword}
        is_known = any(held)
        was_keyword = False
        for at, expr in enumerate(given):
            word = expr.text if isinstance(expr, ast.Name) and not expr.grouped else ""
            can_be = bool(word) and not was_keyword and at + 1 < len(given) and (not is_known or word in keywords)
            if can_be and is_known:
                self._shared_keyword(value, expr)
            elif can_be and (bound := self.find(word)):
                self.add(expr.span, bound.name.span, bound.kind or "variable", exact=False)
            else:
                self.visit(expr)
            was_keyword = can_be and is_known

    def _shared_keyword(self, value: ast.Expr | None, expr: ast.Expr) -> None:
        """Add the keyword of a call that means one of several blocks, as one of each of their parameters."""
        assert isinstance(expr, ast.Name)
        for name in _names(value):
            block = self.module.block(name)
            for parameter in block.block.parameters if block else ():
                if parameter.name.text == expr.text:
                    self.add(expr.span, parameter.name.span, "parameter", exact=False)

    def _keyword(self, callee: ast.Name, name: ast.Name) -> None:
        """Add the keyword of a call: a parameter of a block or net, or that of a layer."""
        found = self.module.find(callee.text)
        definition: ast.Stmt | None = found[1] if found else None
        if found is not None and isinstance(found[1], (ast.Net, ast.Alias)):
            from netdsl.elaborate.net import net_of

            definition = net_of(found[1], found[0])
        parameters = definition.parameters if isinstance(definition, (ast.Net, ast.Block)) else ()
        declared = [parameter.name.span for parameter in parameters if parameter.name.text == name.text]
        if declared:
            self.add(name.span, declared[0], "parameter")
        else:
            self.add(name.span, None, "keyword", owner=callee.text)

    # labels

    def labelled(self, stmt: ast.Labelled) -> None:
        inner = LabelScope(self.module, self._labels)
        callee = stmt.body.head.text if isinstance(stmt.body, ast.Call) else ""
        self._label(stmt.label, Label(stmt.label_span, "label", inner, callee))
        around, self._labels = self._labels, inner
        super().labelled(stmt)
        self._labels = around

    def sequence(self, stmt: ast.Sequence) -> None:
        self._within(stmt.body)

    def skip(self, stmt: ast.Skip) -> None:
        self.visit(stmt.condition, stmt.body)
        self._within(stmt.projection)

    def input(self, stmt: ast.Input) -> None:
        self._label(stmt.name.parts, Label(stmt.name.span, "input", None))
        super().input(stmt)

    def output(self, stmt: ast.Output) -> None:
        self._label(stmt.name.parts, Label(stmt.name.span, "output", None))
        self.visit(stmt.name)
        self._within(stmt.body)

    def path(self, path: ast.Path) -> None:
        super().path(path)
        self._pending.append((_segments(path), self._labels, None))

    def reference(self, stmt: ast.From | ast.Reuse) -> None:
        self._operand(stmt.target)

    def _operand(self, operand: ast.Operand) -> None:
        """Visit an operand: a word is a label, also where there is a definition of the name."""
        if not isinstance(operand, ast.Name):
            self.visit(operand)
        elif variable := self.find(operand.text):
            self.bound(operand, variable)
        else:
            self._pending.append((_segments(operand), self._labels, None))

    def _within(self, body: ast.Body | None) -> None:
        """Visit braces whose labels cannot be seen outside."""
        around, self._labels = self._labels, LabelScope(self.module, self._labels)
        self.visit(body)
        self._labels = around

    def _label(self, parts: tuple[str | ast.Expr, ...], label: Label) -> None:
        first, *rest = parts
        if rest or not isinstance(first, str):
            self._labels.begun.append((first if isinstance(first, str) else "", label))
            self.add(label.span, label.span, label.kind, exact=False)
        else:
            names = self._labels.outputs if label.kind == "output" else self._labels.labels
            known = names.setdefault(first, label)  # branches of an `if` can define the same
            self.add(label.span, known.span, label.kind)

    def _cut(self, callee: str, target: ast.Name | ast.Path) -> None:
        scope = self._body(self.module, callee)
        if scope is not None:
            self._pending.append((_segments(target), scope, None))

    def _resolve(self, segments: list[Segment], scope: LabelScope) -> bool:
        """Add the labels of a path, up to one that is not known."""
        found = next((each for around in scope.chain() if (each := around.find(segments[0][0]))), [])
        for at, (parts, span) in enumerate(segments):
            if at:
                following = [each for label, _ in found for each in self._inside(label, parts)]
                if not following and isinstance(parts[0], str) and parts[0].isdigit():
                    continue  # a round of a loop, or an element of a `seq`
                found = following
            if not found:
                return at > 0
            for label, is_certain in found:
                self.add(span, label.span, label.kind, exact=is_certain)
        return True

    def _inside(self, label: Label, parts: tuple[str | ast.Expr, ...]) -> list[tuple[Label, bool]]:
        """Return the labels that a text can mean inside a label."""
        if label.inner is None:
            return []
        body = self._body(label.inner.module, label.callee) if label.callee else None
        return label.inner.find(parts) or (body.find(parts) if body else [])

    def _body(self, module: Module, name: str) -> LabelScope | None:
        """Return the labels of a block or a net."""
        from netdsl.elaborate.net import net_of

        found = module.find(name)
        if found is None:
            return None
        owner, definition = found
        while isinstance(definition, ast.Alias):
            target = owner.find(definition.target.text)
            if target is None or net_of(definition, owner) is None:
                return None
            owner, definition = target
        walk = self.known.get(id(owner)) or References(owner, self.known)
        return walk.bodies.get(definition)

    # training

    def train(self, stmt: ast.Train) -> None:
        self._defined(stmt.name)
        self._trained = self._body(self.module, stmt.name.text)
        self.visit(stmt.settings)
        self._trained = None

    def setting(self, line: ast.Setting) -> None:
        is_label = line.key.text in LABEL_LINES
        for at, value in enumerate(line.values):
            is_output = line.key.text in OUTPUT_LINES and at == 0
            if isinstance(value, ast.Path) and self._trained is not None:
                self._resolve(_segments(value), self._trained)
            elif not isinstance(value, ast.Name) or value.grouped:
                self.visit(value)
            elif self._trained is not None and (is_label or (is_output and value.text in self._trained.outputs)):
                self._resolve(_segments(value), self._trained)
            is_label = is_label or (isinstance(value, ast.Name) and value.text in LABEL_LINES)
        self.visit(line.lines)


def _bare(span: Span) -> Span:
    """Return the location of a name without the parentheses around it."""
    text = span.text
    if not text.startswith("("):
        return span
    start = len(text) - len(text.lstrip("( \t\n"))
    return Span(span.source, span.start + start, span.start + len(text.rstrip(") \t\n")))


def _segments(path: ast.Name | ast.Path) -> list[Segment]:
    """Return the segments of a path with their locations."""
    if isinstance(path, ast.Name):
        return [((path.text,), path.span)]
    found: list[Segment] = []
    span = _bare(path.span)
    start, depth = span.start, 0
    rest = iter(path.segments)
    for at, character in enumerate(f"{span.text}.", start):
        depth += (character == "{") - (character == "}")
        if character == "." and not depth:
            found.append((next(rest), Span(path.span.source, start, at)))
            start = at + 1
    return found


def _names(value: object) -> Iterator[str]:
    """Yield the words of an expression."""
    todo = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name):
            yield node.text
        elif isinstance(node, tuple):
            todo += node
        elif isinstance(node, ast.Node):
            todo += [getattr(node, field) for field in node.__slots__]
