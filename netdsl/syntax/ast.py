"""The syntax tree of a `.net` text: what was written and where, before names have a meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.base.text import Source, Span

if TYPE_CHECKING:
    from typing import TypeAlias

    Operand: TypeAlias = "Body | Name | Path | For"
    """A value behind a merge or a call: a branch, a label, or a branch for each round of a `for`."""


class Node:
    """A node with a location in the text."""

    __slots__ = ("span",)
    span: Span

    def __repr__(self) -> str:
        fields = (f"{n}={getattr(self, n)!r}" for n in self.__slots__ if n != "cache")
        return f"{type(self).__name__}({', '.join(fields)})"


class Expr(Node):
    """An expression; `grouped` if it is in parentheses, so that a bare word is a variable."""

    __slots__ = ("grouped",)
    grouped: bool


class Number(Expr):
    """`64`, `1_000`, `0.5`, `5e-4`."""

    __slots__ = ("value",)

    def __init__(self, span: Span, value: int | float) -> None:
        self.span, self.value, self.grouped = span, value, False


class Text(Expr):
    """`"text"` without its quotes."""

    __slots__ = ("value",)

    def __init__(self, span: Span, value: str) -> None:
        self.span, self.value, self.grouped = span, value, False


class Switch(Expr):
    """`on` or `off`."""

    __slots__ = ("value",)

    def __init__(self, span: Span, value: bool) -> None:
        self.span, self.value, self.grouped = span, value, False


class Unknown(Expr):
    """`?` or `?H`: a size known only at run time."""

    __slots__ = ("name",)

    def __init__(self, span: Span, name: str | None) -> None:
        self.span, self.name, self.grouped = span, name, False


class Dims(Expr):
    """`3x224x224`, `3x?x?`: sizes joined by `x`; None for `?`."""

    __slots__ = ("sizes",)

    def __init__(self, span: Span, sizes: tuple[int | None, ...]) -> None:
        self.span, self.sizes, self.grouped = span, sizes, False


class Name(Expr):
    """A bare word."""

    __slots__ = ("text",)

    def __init__(self, span: Span, text: str) -> None:
        self.span, self.text, self.grouped = span, text, False


class Path(Expr):
    """A reference with dots or braces: `layer1.0.x`, `enc{i}`. Each segment has literal and interpolated parts."""

    __slots__ = ("segments",)

    def __init__(self, span: Span, segments: tuple[tuple[str | Expr, ...], ...]) -> None:
        self.span, self.segments, self.grouped = span, segments, False


class List(Expr):
    """`[1, 2]`."""

    __slots__ = ("items",)

    def __init__(self, span: Span, items: tuple[Expr, ...]) -> None:
        self.span, self.items, self.grouped = span, items, False


class Generator(Node):
    """`for a, b in LIST if condition` of a comprehension; the condition is None if there is none."""

    __slots__ = ("condition", "iterable", "names")

    def __init__(self, span: Span, names: tuple[Name, ...], iterable: Expr, condition: Expr | None) -> None:
        self.span, self.names, self.iterable, self.condition = span, names, iterable, condition


class Comprehension(Expr):
    """`[item for a in LIST if condition …]`."""

    __slots__ = ("generators", "item")

    def __init__(self, span: Span, item: Expr, generators: tuple[Generator, ...]) -> None:
        self.span, self.item, self.generators, self.grouped = span, item, generators, False


class Unary(Expr):
    """`-x` or `not x`."""

    __slots__ = ("op", "operand")

    def __init__(self, span: Span, op: str, operand: Expr) -> None:
        self.span, self.op, self.operand, self.grouped = span, op, operand, False


class Binary(Expr):
    """A chain of one precedence: `first op x op y …`.

    `+ - * / // %` associate to the left, a chain of comparisons means what it means in Python, `and` and `or` stop at
    the first that decides; `**` has exactly one step. A chain is flat, so that 100,000 terms are no deeper than two.
    """

    __slots__ = ("first", "steps")

    def __init__(self, span: Span, first: Expr, steps: tuple[tuple[str, Span, Expr], ...]) -> None:
        self.span, self.first, self.steps, self.grouped = span, first, steps, False


class Ternary(Expr):
    """`then if condition else otherwise`."""

    __slots__ = ("condition", "otherwise", "then")

    def __init__(self, span: Span, then: Expr, condition: Expr, otherwise: Expr) -> None:
        self.span, self.then, self.condition, self.otherwise, self.grouped = span, then, condition, otherwise, False


class Index(Expr):
    """`value[index]`."""

    __slots__ = ("index", "value")

    def __init__(self, span: Span, value: Expr, index: Expr) -> None:
        self.span, self.value, self.index, self.grouped = span, value, index, False


class Slice(Expr):
    """`value[start:stop]`; a bound is None if it is left out."""

    __slots__ = ("start", "stop", "value")

    def __init__(self, span: Span, value: Expr, start: Expr | None, stop: Expr | None) -> None:
        self.span, self.value, self.start, self.stop, self.grouped = span, value, start, stop, False


class Apply(Expr):
    """`function(arguments)`."""

    __slots__ = ("arguments", "function")

    def __init__(self, span: Span, function: Expr, arguments: tuple[Expr, ...]) -> None:
        self.span, self.function, self.arguments, self.grouped = span, function, arguments, False


class Match(Expr):
    """`match subject { pattern => value; _ => value }`; a pattern of None is `_`."""

    __slots__ = ("arms", "subject")

    def __init__(self, span: Span, subject: Expr, arms: tuple[tuple[Expr | None, Expr], ...]) -> None:
        self.span, self.subject, self.arms, self.grouped = span, subject, arms, False


# Statements ----------------------------------------------------------------------------------------------------------


class Stmt(Node):
    """A statement."""

    __slots__ = ()


class Body(Node):
    """`{ … }`; the span includes the braces."""

    __slots__ = ("statements",)

    def __init__(self, span: Span, statements: tuple[Stmt, ...]) -> None:
        self.span, self.statements = span, statements


class Broken(Stmt):
    """A statement that did not parse: the error has been reported, and names it may define are not reported as
    missing."""

    __slots__ = ()

    def __init__(self, span: Span) -> None:
        self.span = span


class Port(Node):
    """The name of an input or output; its parts are those of a Path segment."""

    __slots__ = ("parts",)

    def __init__(self, span: Span, parts: tuple[str | Expr, ...]) -> None:
        self.span, self.parts = span, parts


class Input(Stmt):
    """`input NAME DIMS keyword value…`; `arguments` is the raw sequence after the name, as in a call."""

    __slots__ = ("arguments", "cache", "name")

    def __init__(self, span: Span, name: Port, arguments: tuple[Expr, ...]) -> None:
        self.span, self.name, self.arguments = span, name, arguments
        self.cache: dict[object, Any] = {}


class Call(Stmt):
    """`HEAD args… OPERAND…`: the call of a layer or block with its raw arguments; `cache` belongs to the elaborator.

    `operands` begin with the first branch or `for`; labels before it are among the arguments.
    """

    __slots__ = ("arguments", "cache", "head", "operands")

    def __init__(self, span: Span, head: Name, arguments: tuple[Expr, ...], operands: tuple[Operand, ...] = ()) -> None:
        self.span, self.head, self.arguments, self.operands = span, head, arguments, operands
        self.cache: dict[object, Any] = {}


class Labelled(Stmt):
    """`LABEL: statement`, `LABEL: { … }`, `LABEL: seq { … }`; the parts of the label are those of a Path segment."""

    __slots__ = ("body", "label", "label_span", "seq")

    def __init__(
        self, span: Span, label: tuple[str | Expr, ...], label_span: Span, body: Stmt | Body, seq: bool
    ) -> None:
        self.span, self.label, self.label_span, self.body, self.seq = span, label, label_span, body, seq


class Sequence(Stmt):
    """`seq { … }` without a label, which the `seq` around it numbers."""

    __slots__ = ("body",)

    def __init__(self, span: Span, body: Body) -> None:
        self.span, self.body = span, body


class From(Stmt):
    """`from LABEL`."""

    __slots__ = ("target",)

    def __init__(self, span: Span, target: Name | Path) -> None:
        self.span, self.target = span, target


class Skip(Stmt):
    """`skip [if condition] { body } [project { projection }]`."""

    __slots__ = ("body", "condition", "projection")

    def __init__(self, span: Span, condition: Expr | None, body: Body, projection: Body | None) -> None:
        self.span, self.condition, self.body, self.projection = span, condition, body, projection


class For(Stmt):
    """`for a, b in LIST { … }`, as a statement and as an operand."""

    __slots__ = ("body", "iterable", "names")

    def __init__(self, span: Span, names: tuple[Name, ...], iterable: Expr, body: Body) -> None:
        self.span, self.names, self.iterable, self.body = span, names, iterable, body


class Merge(Stmt):
    """`add sub mul div max min concat` OPERAND…; an operand is a branch, a label, or a `for`. `option` is the value of
    concat's `axis`, or of the `spread` of others."""

    __slots__ = ("kind", "operands", "option")

    def __init__(self, span: Span, kind: Name, option: Expr | None, operands: tuple[Operand, ...]) -> None:
        self.span, self.kind, self.option, self.operands = span, kind, option, operands


class Repeat(Stmt):
    """`repeat N [as j] { … }`."""

    __slots__ = ("body", "count", "name")

    def __init__(self, span: Span, count: Expr, name: Name | None, body: Body) -> None:
        self.span, self.count, self.name, self.body = span, count, name, body


class If(Stmt):
    """`if c { … } else if d { … } else { … }`: the arms in order, flat."""

    __slots__ = ("arms", "otherwise")

    def __init__(self, span: Span, arms: tuple[tuple[Expr, Body], ...], otherwise: Body | None) -> None:
        self.span, self.arms, self.otherwise = span, arms, otherwise


class Let(Stmt):
    """`let NAME = expr`."""

    __slots__ = ("name", "value")

    def __init__(self, span: Span, name: Name, value: Expr) -> None:
        self.span, self.name, self.value = span, name, value


class Default(Stmt):
    """`default LAYER keyword value…`, with raw arguments."""

    __slots__ = ("arguments", "layer")

    def __init__(self, span: Span, layer: Name, arguments: tuple[Expr, ...]) -> None:
        self.span, self.layer, self.arguments = span, layer, arguments


class Reuse(Stmt):
    """`reuse LABEL`."""

    __slots__ = ("target",)

    def __init__(self, span: Span, target: Name | Path) -> None:
        self.span, self.target = span, target


class Output(Stmt):
    """`output NAME [training] [{ … }]`."""

    __slots__ = ("body", "name", "training")

    def __init__(self, span: Span, name: Port, training: bool, body: Body | None) -> None:
        self.span, self.name, self.training, self.body = span, name, training, body


class Expect(Stmt):
    """`expect DIMS`, `expect params N`, `expect macs N`: `what` is `shape`, `params` or `macs`."""

    __slots__ = ("value", "what")

    def __init__(self, span: Span, what: str, value: Expr) -> None:
        self.span, self.what, self.value = span, what, value


class Freeze(Stmt):
    """`freeze { … }`."""

    __slots__ = ("body",)

    def __init__(self, span: Span, body: Body) -> None:
        self.span, self.body = span, body


class Setting(Node):
    """A line of `about` and `train`: KEY values… [{ lines }]."""

    __slots__ = ("key", "lines", "values")

    def __init__(self, span: Span, key: Name, values: tuple[Expr, ...], lines: tuple[Setting, ...] | None) -> None:
        self.span, self.key, self.values, self.lines = span, key, values, lines


class About(Stmt):
    """`about { year 2012; paper "…" }`."""

    __slots__ = ("settings",)

    def __init__(self, span: Span, settings: tuple[Setting, ...]) -> None:
        self.span, self.settings = span, settings


# Items of a file -----------------------------------------------------------------------------------------------------


class Parameter(Node):
    """`name`, `name = default`, `name in domain = default`."""

    __slots__ = ("default", "domain", "name")

    def __init__(self, span: Span, name: Name, domain: Expr | None, default: Expr | None) -> None:
        self.span, self.name, self.domain, self.default = span, name, domain, default


class Use(Stmt):
    """`use "path.net"` (names is None) or `use a, b from "path.net"`."""

    __slots__ = ("names", "path")

    def __init__(self, span: Span, names: tuple[Name, ...] | None, path: Text) -> None:
        self.span, self.names, self.path = span, names, path


class Net(Stmt):
    """`net NAME(params) { … }`; `doc` is the comment directly above, without its `#`."""

    __slots__ = ("body", "doc", "name", "parameters")

    def __init__(self, span: Span, name: Name, parameters: tuple[Parameter, ...], body: Body, doc: str) -> None:
        self.span, self.name, self.parameters, self.body, self.doc = span, name, parameters, body, doc


class Alias(Stmt):
    """`net NAME = OTHER(name = value, …)`; a positional argument has None for its name."""

    __slots__ = ("arguments", "doc", "name", "target")

    def __init__(
        self, span: Span, name: Name, target: Name, arguments: tuple[tuple[Name | None, Expr], ...], doc: str
    ) -> None:
        self.span, self.name, self.target, self.arguments, self.doc = span, name, target, arguments, doc


class Block(Stmt):
    """`block NAME(params) [seq] { … }`; `cache` belongs to the elaborator."""

    __slots__ = ("body", "cache", "doc", "name", "parameters", "seq")

    def __init__(
        self, span: Span, name: Name, parameters: tuple[Parameter, ...], seq: bool, body: Body, doc: str
    ) -> None:
        self.span, self.name, self.parameters, self.seq, self.body, self.doc = span, name, parameters, seq, body, doc
        self.cache: dict[object, Any] = {}


class Function(Stmt):
    """`fn NAME(x, …) = expr`."""

    __slots__ = ("doc", "name", "parameters", "value")

    def __init__(self, span: Span, name: Name, parameters: tuple[Name, ...], value: Expr, doc: str) -> None:
        self.span, self.name, self.parameters, self.value, self.doc = span, name, parameters, value, doc


class Train(Stmt):
    """`train NET { … }`; a net has at most one."""

    __slots__ = ("name", "settings")

    def __init__(self, span: Span, name: Name, settings: tuple[Setting, ...]) -> None:
        self.span, self.name, self.settings = span, name, settings


class File:
    """A parsed file with its items in text order; `broken` if something in it did not parse."""

    __slots__ = ("broken", "items", "source")

    def __init__(self, source: Source, items: tuple[Stmt, ...], broken: bool) -> None:
        self.source, self.items, self.broken = source, items, broken


# Comparison ----------------------------------------------------------------------------------------------------------

_PLACES = ("span", "label_span", "cache", "source")
"""Attributes that do not belong to the meaning of a node."""


def same(one: File, other: File) -> bool:
    """Return whether two trees are equal, apart from locations."""
    todo: list[tuple[object, object]] = [(one, other)]
    while todo:
        a, b = todo.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, (Node, File)):
            names = [name for kind in type(a).__mro__ for name in getattr(kind, "__slots__", ()) if name not in _PLACES]
            todo += [(getattr(a, name), getattr(b, name)) for name in names]
        elif isinstance(a, tuple) and isinstance(b, tuple):
            if len(a) != len(b):
                return False
            todo += zip(a, b, strict=True)
        elif not isinstance(a, Span) and a != b:
            return False
    return True
