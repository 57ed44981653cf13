"""Statements of a text, and how they are laid out in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netdsl.importing.notation import WIDTH, head, written
from netdsl.layers.table import LAYER_MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from netdsl.declare.arguments import Kind
    from netdsl.layers.base import Layer

FOLLOWING = frozenset(["activation", "affine", "elementary", "norm", "shrinkage"])
"""Modules of layers that stand behind another on its line."""


ALONE = frozenset(["input", "repeat", "for", "seq", "skip"])
"""Statements that stand on a line of their own."""


class Parameter(NamedTuple):
    """A parameter of a block, with its default, if it has one."""

    name: str
    kind: Kind[object]
    default: object = None


class Block:
    """A block: what it is called with, and its statements."""

    __slots__ = ("body", "name", "parameters", "seq")

    def __init__(self, name: str, parameters: Sequence[Parameter], body: list[Statement], seq: bool) -> None:
        self.name = name
        self.parameters = tuple(parameters)
        self.body = body
        self.seq = seq

    def call(self, values: Mapping[str, object]) -> str:
        """Return a call with these values."""
        words = [self.name]
        for each in self.parameters:
            value = values[each.name]
            text = value if isinstance(value, Expression) else written(value, each.kind)
            if each.default is None:
                words.append(text)
            elif value != each.default:
                words.append(f"{each.name} {text}")
        return " ".join(words)

    def lines(self) -> list[str]:
        """Return its definition."""
        given = [
            each.name if each.default is None else f"{each.name} = {written(each.default, each.kind)}"
            for each in self.parameters
        ]
        declared = f"({', '.join(given)})" if given else ""
        head = f"block {self.name}{declared}{' seq' if self.seq else ''}"
        whole = f"{head} {braces(self.body)}"
        nested = any(inner.lists() for each in self.body for part in each.lists() for inner in part)
        single = len(whole) <= WIDTH - 10 * any(each.lists() for each in self.body) and not nested
        return [whole] if single else [f"{head} {{", *layout(self.body), "}"]


class Expression(str):
    """An argument that is not a value but the text of one, such as `4*width`."""

    __slots__ = ()


class Statement:
    """A statement: `LABEL: HEAD ARGUMENTS OPERANDS`. It is not changed once it is in a list.

    `head` is the word that it begins with: a layer, `skip`, `seq`, the name of a block, or with its argument `from x`
    or `repeat 3`; it is empty for braces without a word. `layer` is that of a call, with `values` as the texts of
    arguments that are not those of the layer. `operands` are labels, branches and loops; `project` is a second branch.
    `block` is the one that it calls, with `given` as the values of its parameters.
    `number` is set if the label is a number, as the names of what is in a `seq` are. `wide` is the number of channels
    before it, `known` the label of the value before a merge, if it has one, and `origin` the full name of a group.
    """

    __slots__ = (
        "_text",
        "block",
        "given",
        "head",
        "known",
        "label",
        "layer",
        "number",
        "operands",
        "origin",
        "project",
        "values",
        "wide",
    )

    def __init__(
        self,
        head: str,
        *,
        label: str = "",
        layer: Layer | None = None,
        values: Mapping[str, str] | None = None,
        operands: Sequence[Operand] = (),
        project: list[Statement] | None = None,
        number: bool = False,
        wide: int = 0,
        block: Block | None = None,
        given: Mapping[str, object] | None = None,
        origin: str = "",
        known: str = "",
    ) -> None:
        self.head = head
        self.label = label
        self.layer = layer
        self.values = dict(values or {})
        self.operands = tuple(operands)
        self.project = project
        self.number = number
        self.wide = wide
        self.block = block
        self.given = dict(given or {})
        self.origin = origin
        self.known = known
        self._text = ""

    def lists(self) -> list[list[Statement]]:
        """Return the statements in its braces."""
        inner = []
        for operand in self.operands:
            if isinstance(operand, Statement):
                inner += operand.lists()
            elif not isinstance(operand, str):
                inner.append(operand)
        return inner if self.project is None else [*inner, self.project]

    def changed(self, **new: object) -> Statement:
        """Return a statement with other attributes."""
        found = Statement.__new__(Statement)
        for name in Statement.__slots__:
            setattr(found, name, new.get(name, getattr(self, name)))
        found._text = ""
        return found

    def mapped(self, lists: Iterator[list[Statement]]) -> Statement:
        """Return a statement with others in its braces, in the order of `lists`."""
        operands = tuple(
            operand
            if isinstance(operand, str)
            else operand.mapped(lists)
            if isinstance(operand, Statement)
            else next(lists)
            for operand in self.operands
        )
        return self.changed(operands=operands, project=None if self.project is None else next(lists))

    @property
    def begins(self) -> bool:
        """Whether it begins a line."""
        plain = not self.operands and not self.head.startswith("from ")
        following = self.layer is not None and LAYER_MODULES[self.layer.kind] in FOLLOWING
        return not (plain and (following or self.head == "identity" or self.head.startswith("output ")))

    @property
    def start(self) -> str:
        """The text before its operands."""
        words = self.head
        if self.block is not None:
            words = self.block.call(self.given)
        elif self.layer is not None:
            words = head(self.layer, self.values).replace(self.layer.kind, self.head, 1)
        return f"{self.label}: {words}".rstrip() if self.label and not self.number else words

    @property
    def text(self) -> str:
        """The whole statement in a line."""
        if not self._text:
            parts = [self.start, *map(operand_text, self.operands)]
            if self.project is not None:
                parts += ["project", braces(self.project)]
            self._text = " ".join(filter(None, parts))
        return self._text

    def __repr__(self) -> str:
        return self.text


def braces(body: Sequence[Statement]) -> str:
    inner = "; ".join(each.text for each in body)
    return f"{{ {inner} }}" if inner else "{ }"


Operand = str | list[Statement] | Statement
"""A label, a branch, or a `for` with a branch for each iteration."""


def operand_text(operand: Operand) -> str:
    if isinstance(operand, str):
        return operand
    return operand.text if isinstance(operand, Statement) else braces(operand)


def layout(statements: Sequence[Statement], indent: str = "  ") -> list[str]:
    """Return statements as lines of at most WIDTH columns."""
    lines: list[str] = []
    joined = False
    behind: Statement | None = None
    for each in statements:
        text = each.text
        fits = len(indent) + len(text) <= WIDTH
        follows = not each.begins or (behind is not None and behind.head.startswith("from "))
        room = joined and not lines[-1].lstrip().startswith("}") and len(lines[-1]) + len(text) + 2 <= WIDTH
        if room and follows:
            lines[-1] += f"; {text}"
        elif fits:
            lines.append(indent + text)
        else:
            lines += _spread(each, indent)
        joined, behind = each.head != "" and each.block is None and each.head.split(" ")[0] not in ALONE, each
    return lines


def _spread(statement: Statement, indent: str) -> list[str]:
    """Return the lines of a statement that does not fit in one."""
    parts: list[Operand] = [*statement.operands]
    if statement.project is not None:
        parts += ["project", statement.project]
    texts = [operand_text(part) for part in parts]
    column = " " * (len(indent) + len(statement.start) + 1)
    rows = [indent + statement.start]
    for part, text in zip(parts, texts, strict=True):
        if isinstance(part, str) or "{" not in rows[-1]:  # no line begins with a label
            rows[-1] += f" {text}"
        else:
            rows.append(column + text)
    aligned = len(parts) > 1 and not any(isinstance(part, Statement) for part in parts)
    if aligned and statement.project is None and all(len(row) <= WIDTH for row in rows):
        return rows
    lines = _broken(indent + statement.start) if statement.head.startswith("for ") else [indent + statement.start]
    for part, short in zip(parts, texts, strict=True):
        room = WIDTH - len(lines[-1]) - 1
        whole = part is statement.project or (part is parts[-1] and isinstance(part, Statement))
        if isinstance(part, str) or not part or (whole and len(short) <= room):
            lines[-1] = f"{lines[-1]} {short}" if lines[-1].strip() else lines[-1] + short
            continue
        head = f"{part.start} {{" if isinstance(part, Statement) else "{"
        line = f"{lines[-1]} {head}" if lines[-1].strip() else lines[-1] + head
        (body,) = part.lists() if isinstance(part, Statement) else (part,)
        lines[-1:] = [*(_broken(line) if head != "{" else [line]), *layout(body, indent + "  "), indent + "}"]
    return lines


def _broken(line: str) -> list[str]:
    """Return the head of a loop as lines that break behind the commas of its lists, where it is too long."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    lines = [line]
    while len(lines[-1]) > WIDTH and (at := lines[-1].rfind(", ", len(indent), WIDTH)) > 0:
        lines[-1:] = [lines[-1][: at + 1], indent + lines[-1][at + 2 :]]
    return lines
