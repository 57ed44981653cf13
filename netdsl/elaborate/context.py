"""The state of the elaborator: variables, naming scopes, defaults, and the current value."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

from netdsl.base.limits import NAME
from netdsl.base.record import Record
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Problem, Rejected
from netdsl.diagnostics.report import PROBLEM

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from netdsl.base.shape import Size
    from netdsl.base.text import Frame, Span
    from netdsl.declare.arguments import Number
    from netdsl.elaborate.builder import NetBuilder
    from netdsl.elaborate.module import Module
    from netdsl.ir.init import Init
    from netdsl.ir.net import Node
    from netdsl.syntax import ast

    ExprValue: TypeAlias = (
        "Number | str | Size | Init | tuple[ExprValue, ...] | BlockValue | LayerValue | NetValue | LabelValue"
    )
    """The value of an expression: numbers and booleans, texts and words, sizes, initializers, lists, and the blocks,
    layers, nets and labels that a name can mean."""

    Defaults = Mapping[str, tuple[tuple[str, object], ...] | None]
    """Changed keyword defaults by layer, None where a `default` statement went wrong."""

_T = TypeVar("_T")


class Poisoned(Exception):
    """A reported problem makes the result unavailable; what depends on it is not reported."""


class NameTooLong(Exception):
    """A scope, or a layer in it, whose name with those of all scopes around it is beyond the limit."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class Poison(Enum):
    """The value of a failed statement; using it is not an error."""

    POISON = "POISON"


POISON: Final = Poison.POISON


class LabelValue(Record):
    """A labeled result: its value, the scope that the label opened, and how to apply it again."""

    name: str
    node: Node | Poison
    span: Span
    scope: Scope | None
    statement: ast.Labelled | None = None
    context: Context | None = None

    def __str__(self) -> str:
        return f"the label `{self.name}`"


class BlockValue:
    """A block as a value: its declaration and the file that it sees."""

    __slots__ = ("block", "module")

    def __init__(self, block: ast.Block, module: Module) -> None:
        self.block = block
        self.module = module

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlockValue) and self.block is other.block

    def __hash__(self) -> int:
        return id(self.block)

    def __str__(self) -> str:
        return f"the block `{self.block.name.text}`"


class NetValue:
    """A net as a value: its declaration and the file that it sees."""

    __slots__ = ("definition", "module")

    def __init__(self, definition: ast.Net | ast.Alias, module: Module) -> None:
        self.definition = definition
        self.module = module

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NetValue) and self.definition is other.definition

    def __hash__(self) -> int:
        return id(self.definition)

    @property
    def name(self) -> str:
        return self.definition.name.text

    def __str__(self) -> str:
        return f"the net `{self.name}`"


class LayerValue:
    """A built-in layer as a value."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LayerValue) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return f"the layer `{self.name}`"


CALLABLE = (BlockValue, LayerValue, NetValue)
"""Values that can begin a call."""


class Namespace(Generic[_T]):
    """The names of one pair of braces, inside those of the enclosing ones."""

    __slots__ = ("names", "outer")

    def __init__(self, outer: Namespace[_T] | None) -> None:
        self.outer = outer
        self.names: dict[str, _T] = {}

    def find(self, name: str) -> _T | None:
        """Return what a name means here or in the enclosing braces."""
        scope: Namespace[_T] | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return None

    def visible(self) -> list[str]:
        """Return all names, the innermost first."""
        found: list[str] = []
        scope: Namespace[_T] | None = self
        while scope is not None:
            found += scope.names
            scope = scope.outer
        return found


class Variables(Namespace[tuple["ExprValue | Poison", "Span"]]):
    """Variables: their values, and where they were bound."""

    __slots__ = ()

    def copy(self) -> Variables:
        """Return a copy of the current names."""
        copied = Variables(self.outer)
        copied.names = dict(self.names)
        return copied


class Scope(Namespace[LabelValue]):
    """The labels of a scope, whose `path` prefixes the names of layers and weights; it ends in a dot, or is empty for
    the net's own scope.

    `outer` is where labels are looked up next: None for a block, which does not see its caller's. `weights` is the
    prefix of the weights if it is that of another scope, as for `reuse`.
    """

    __slots__ = ("counters", "path", "seq", "weights")

    def __init__(self, path: str, outer: Scope | None, seq: bool = False, weights: str | None = None) -> None:
        super().__init__(outer)
        self.path = path
        self.weights = weights
        self.seq = seq
        self.counters: dict[str, int] = {}

    def open(self, name: str, seq: bool = False) -> Scope:
        """Return the scope of a label, a block call, or a numbered round in this one. Raises NameTooLong."""
        if len(self.path) + len(name) > NAME:
            raise NameTooLong(f"{self.path}{name}")
        weights = None if self.weights is None else f"{self.weights}{name}."
        return Scope(f"{self.path}{name}.", self, seq, weights)

    def ordinal(self, kind: str, start: int = 1) -> int:
        count = self.counters[kind] = self.counters.get(kind, start - 1) + 1
        return count

    def name(self, kind: str, *, counts: bool = True) -> str:
        """Return the name of the next unlabeled layer or call. Merges do not count in a `seq`."""
        return str(self.ordinal("", 0)) if self.seq and counts else f"{kind}{self.ordinal(kind)}"


class PartSizes:
    """The values of named sizes in a net that is part of another; `prefix` tells names without a value apart from those
    of the other net."""

    __slots__ = ("prefix", "values")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.values: dict[str, Size | int] = {}


class Context:
    """The state inside one pair of braces. `value` is the current value, None before the first input.

    `defaults` maps a layer to its changed keyword defaults, and is copied on change. `start` has the numbers of nodes
    and weights where the net or the block call began, from which `expect` counts. `depth` counts enclosing braces and
    calls, `rounds` is the product of the enclosing loops, `calls` are the functions being called. `sizes` are the named
    sizes of a net in another net, None for the net itself.
    """

    __slots__ = (
        "builder",
        "calls",
        "defaults",
        "depth",
        "frame",
        "frozen",
        "module",
        "rounds",
        "scope",
        "sizes",
        "start",
        "training",
        "value",
        "variables",
    )

    def __init__(
        self,
        builder: NetBuilder,
        module: Module,
        variables: Variables,
        scope: Scope,
        defaults: Defaults,
    ) -> None:
        self.builder = builder
        self.module = module
        self.variables = variables
        self.scope = scope
        self.defaults = defaults
        self.frame: Frame | None = None
        self.value: Node | Poison | None = None
        self.frozen = False
        self.training = False
        self.start = (len(builder.nodes), builder.counted)
        self.depth = 0
        self.rounds = 1
        self.calls: tuple[str, ...] = ()
        self.sizes: PartSizes | None = None

    def inside(self, scope: Scope | None = None, frame: Frame | None = None) -> Context:
        """Return the context of inner braces, with the current value."""
        inner = Context(self.builder, self.module, Variables(self.variables), scope or self.scope, self.defaults)
        inner.frame = frame or self.frame
        inner.value = self.value
        inner.frozen = self.frozen
        inner.training = self.training
        inner.start = self.start
        inner.depth = self.depth + 1
        inner.rounds = self.rounds
        inner.sizes = self.sizes
        return inner

    def names(self) -> tuple[str, ...]:
        """Return what a bare word can mean here: variables, labels, and definitions of the file."""
        found = (*self.variables.visible(), *self.module.names(), *self.scope.visible())
        self.module.work.left -= len(found) // 8
        return found

    def define(self, name: ast.Name, value: ExprValue | Poison) -> None:
        """Bind a variable of these braces, once."""
        earlier = self.variables.names.get(name.text)
        if earlier is not None:
            self.reject(problems.DefinedTwice, name.span, name=name.text, earlier=earlier[1])
        self.variables.names[name.text] = (value, name.span)

    def reject(self, problem: type[Problem], span: Span, **data: Any) -> NoReturn:
        """Raise a problem at a location, with the frame that led here."""
        self.module.work.left -= PROBLEM
        raise Rejected(problem(span=span, frame=self.frame, **data))
