"""Base class for named, configurable components other than layers: losses, optimizers, schedules, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from netdsl.layers.base import Argument

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.text import Span


class Declared:
    """A component with a name in the language and declared arguments. It receives converted values.

    A subclass's own arguments come before inherited ones.
    """

    kind: ClassVar[str] = ""
    arguments: ClassVar[dict[str, Argument]] = {}
    variadic: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in cls.__dict__.items() if isinstance(value, Argument)}
        for name, argument in own.items():
            argument.name = name
        new = {name: argument for name, argument in own.items() if name not in cls.arguments}
        cls.arguments = {**new, **cls.arguments, **own}

    def __init__(self, **values: Any) -> None:
        assert values.keys() <= self.arguments.keys(), values.keys() - self.arguments.keys()
        self.spans: dict[str, Span] = {}
        """The source spans of the arguments given, and of the name itself under ""."""
        for name, argument in self.arguments.items():
            assert name in values or not argument.required, f"{self.kind} without {name}"
            setattr(self, name, values.get(name, argument.default))

    def validate(self) -> None:
        """Raise Misfit if the arguments contradict each other."""


D = TypeVar("D", bound=Declared)


def registrar(table: dict[str, Any]) -> Callable[[str], Callable[[type[D]], type[D]]]:
    """Return a decorator that registers a class in `table` under a name of the language."""

    def named(name: str) -> Callable[[type[D]], type[D]]:
        def register(cls: type[D]) -> type[D]:
            known = table.setdefault(name, cls)
            assert known is cls, f"{name} is taken by {known.__name__}"
            cls.kind = name
            return cls

        return register

    return named
