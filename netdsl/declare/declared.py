"""Named things with declared arguments: layers, losses, optimizers, schedules, metrics, kinds of data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from netdsl.declare.arguments import Operand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.base.text import Span
    from netdsl.declare.arguments import Kind

REQUIRED = object()
"""Default of an argument that must be given."""
NO_SPANS: Mapping[str, Span] = {}


class Argument:
    """A declared argument, either positional only or keyword only, as in language.md."""

    __slots__ = ("default", "doc", "keyword", "kind", "name")

    def __init__(self, kind: Kind[object], default: object, doc: str, keyword: bool) -> None:
        self.name = ""
        self.kind = kind
        self.default = default
        self.doc = doc
        self.keyword = keyword

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


def positional(kind: Kind[object], default: object = REQUIRED, *, doc: str = "") -> Any:
    """Declare a positional argument."""
    return Argument(kind, default, doc, keyword=False)


def keyword(kind: Kind[object], default: object = REQUIRED, *, doc: str = "") -> Any:
    """Declare a keyword argument."""
    return Argument(kind, default, doc, keyword=True)


class Declared:
    """A component with a name in the language and declared arguments. It receives converted values."""

    kind: ClassVar[str] = ""
    arguments: ClassVar[dict[str, Argument]] = {}
    values: ClassVar[tuple[str, ...]] = ()
    """The keywords that take a label's value, in the order of declaration."""
    own_first: ClassVar[bool] = True
    """Whether a subclass's own arguments precede inherited ones."""

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in cls.__dict__.items() if isinstance(value, Argument)}
        for name, argument in own.items():
            argument.name = name
        new = {name: argument for name, argument in own.items() if name not in cls.arguments}
        cls.arguments = {**new, **cls.arguments, **own} if cls.own_first else {**cls.arguments, **own}
        cls.values = tuple(name for name, argument in cls.arguments.items() if isinstance(argument.kind, Operand))

    def __init__(self, **values: object) -> None:
        assert values.keys() <= self.arguments.keys(), values.keys() - self.arguments.keys()
        self.spans = NO_SPANS
        """Locations of the arguments given in a text, and of the name itself under ""."""
        for name, argument in self.arguments.items():
            assert name in values or not argument.required, f"{self.kind} without {name}"
            setattr(self, name, values.get(name, argument.default))

    def validate(self) -> None:
        """Raise Misfit where the arguments contradict each other."""


_D = TypeVar("_D", bound=Declared)


def registrar(table: dict[str, type[_D]]) -> Callable[[str], Callable[[type[_D]], type[_D]]]:
    """Return a decorator that gives a class its name in the language and adds it to a table."""

    def named(name: str) -> Callable[[type[_D]], type[_D]]:
        def register(cls: type[_D]) -> type[_D]:
            known = table.setdefault(name, cls)
            assert known is cls, f"{name} is taken by {known.__name__}"
            cls.kind = name
            return cls

        return register

    return named
