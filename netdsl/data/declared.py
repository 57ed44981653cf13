"""What is declared as layers are, with arguments and a name, and is none: kinds of data, augmentations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

from netdsl.layers.arguments import Kind, Unfit, Word
from netdsl.layers.base import Argument, keyword, positional

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass_transform(kw_only_default=True, field_specifiers=(positional, keyword))
class Declared:
    """A thing with a name in the language and declared arguments. The values that it gets are converted ones."""

    kind: ClassVar[str] = ""
    arguments: ClassVar[dict[str, Argument]] = {}

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in cls.__dict__.items() if isinstance(value, Argument)}
        for name, argument in own.items():
            argument.name = name
        cls.arguments = {**cls.arguments, **own}

    def __init__(self, **values: Any) -> None:
        assert values.keys() <= self.arguments.keys(), values.keys() - self.arguments.keys()
        for name, argument in self.arguments.items():
            assert name in values or not argument.required, f"{self.kind} without {name}"
            setattr(self, name, values.get(name, argument.default))


D = TypeVar("D", bound=Declared)


def registrar(table: dict[str, Any]) -> Callable[[str], Callable[[type[D]], type[D]]]:
    """A decorator that gives a class its name and puts it into a table."""

    def named(name: str) -> Callable[[type[D]], type[D]]:
        def register(cls: type[D]) -> type[D]:
            assert table.setdefault(name, cls) is cls, f"two are called {name}"
            cls.kind = name
            return cls

        return register

    return named


class Text(Kind):
    """A text in quotes."""

    expected = 'a text, such as `"iris.csv"`'

    def convert(self, value: Any) -> str:
        if not isinstance(value, str) or isinstance(value, Word) or not value:
            raise self._unfit()
        return str(value)


class Path(Text):
    """The name of a file or a folder, relative to the file that it is written in."""

    expected = 'a path in quotes, such as `"datasets/mnist"`'


class Texts(Kind):
    """A text in quotes, or a list of them."""

    expected = 'a text, such as `"species"`, or a list of them'

    def convert(self, value: Any) -> tuple[str, ...]:
        entries = value if isinstance(value, tuple) else (value,)
        try:
            texts = tuple(Text().convert(entry) for entry in entries)
        except Unfit:
            raise self._unfit() from None
        if not texts:
            raise self._unfit()
        return texts
