"""Problems of a text as data: codes, locations, causes and fixes. Only `render` knows how they look."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar

from netdsl.base.record import Record
from netdsl.base.text import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from netdsl.base.text import Frame

REGISTRY: dict[str, type[Problem]] = {}
"""Every problem by its code, once its module is imported; `netdsl.diagnostics.pages` imports them all."""


class Label:
    """Another location that contributes to the problem, with a text."""

    __slots__ = ("span", "text")

    def __init__(self, span: Span, text: str) -> None:
        self.span = span
        self.text = text


class Edit:
    """The replacement of a span by a text; an empty span inserts."""

    __slots__ = ("span", "text")

    def __init__(self, span: Span, text: str) -> None:
        self.span = span
        self.text = text


class Suggestion:
    """A way to fix a problem: a sentence, and the edits that carry it out where they are known.

    `safe` edits cannot change the meaning that the author had in mind; `check --fix` applies only these. All others,
    such as translations of another framework's names, may be wrong, and are applied by hand.
    """

    __slots__ = ("edits", "safe", "text")

    def __init__(self, text: str, *edits: Edit, safe: bool = False) -> None:
        self.text = text
        self.edits = edits
        self.safe = safe


class _Shown:
    """A value in a template, which looks up its attributes and entries and formats shapes and lists."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __getattr__(self, name: str) -> _Shown:
        return _Shown(getattr(self._value, name))

    def __getitem__(self, key: str | int) -> _Shown:
        if isinstance(key, str):
            return _Shown(getattr(self._value, key))
        assert isinstance(self._value, tuple)
        return _Shown(self._value[key])

    def __format__(self, spec: str) -> str:
        if not isinstance(self._value, tuple):
            return format(self._value, spec)
        if self._value and isinstance(self._value[0], str):
            return ", ".join(self._value)
        from netdsl.base.shape import format_shape

        return format_shape(self._value)


class Problem(Record):
    """A problem in a text. A subclass declares its data as annotations and its sentences as templates.

    Templates are format strings over the data: `{name}`, `{span.text}`, `{count:,}`. A shape is written as in the
    language, any other tuple as a list. A sentence that needs logic overrides the method that fills its template.

    The docstring is what `netdsl explain` prints: meaning and cause, with a failing example.
    """

    code: ClassVar[str] = ""
    title: ClassVar[str] = ""
    headline: ClassVar[str] = ""
    """What is wrong, with the names and numbers involved; by default the title."""
    caption: ClassVar[str] = ""
    """What is wrong at the primary span, shown beside its carets; can be empty."""
    related: ClassVar[tuple[str, str] | None] = None
    """The field with another location, a span or a node, and its caption; nothing is shown if the field is None."""
    hint: ClassVar[str] = ""
    """A suggestion without edits."""

    span: Span
    frame: Frame | None = None
    severity: str = "error"
    """`error` or `warning`; `--strict` turns warnings into errors."""
    verified_fixes: tuple[Suggestion, ...] = ()
    """The candidates that fix the problem; `netdsl.app.repair` tries them."""
    verified_suggestions: tuple[Suggestion, ...] | None = None
    """The suggestions without edits that do not fix the problem; None before `netdsl.app.repair` has tried them."""

    def message(self) -> str:
        """Return the headline: what is wrong, with the names and numbers involved."""
        return self.fill(self.headline or self.title)

    def label(self) -> str:
        """Return what is wrong at the primary span, shown beside its carets; can be empty."""
        return self.fill(self.caption)

    def labels(self) -> Iterable[Label]:
        """Yield the other locations involved."""
        if self.related is not None:
            place = getattr(self, self.related[0])
            if place is not None:
                yield Label(getattr(place, "span", place), self.fill(self.related[1]))

    def notes(self) -> Iterable[str]:
        """Yield facts without a location in the text."""
        return ()

    def suggestions(self) -> Iterable[Suggestion]:
        """Yield ways to fix it, best first."""
        if self.hint:
            yield Suggestion(self.fill(self.hint))

    def candidate_fixes(self) -> Iterable[Suggestion]:
        """Yield edits that may fix it, to be verified before they are shown."""
        return ()

    def all_suggestions(self) -> list[Suggestion]:
        """Return all suggestions, verified fixes first."""
        rest = self.suggestions() if self.verified_suggestions is None else self.verified_suggestions
        return [*self.verified_fixes, *rest]

    def fill(self, template: str) -> str:
        """Return a template with the problem's data."""
        return template.format_map(_Shown(self))


P = TypeVar("P", bound=Problem)


def problem(code: str, title: str) -> Callable[[type[P]], type[P]]:
    """Register a problem under its permanent code: `E….` for an error, `W….` for a warning."""

    def register(cls: type[P]) -> type[P]:
        known = REGISTRY.setdefault(code, cls)
        assert known is cls, f"{code} is taken by {known.__name__}"
        cls.code = code
        cls.title = title
        cls.severity = "warning" if code.startswith("W") else "error"
        return cls

    return register


class Rejected(Exception):
    """Carries a problem from inside a phase to the statement that can continue after it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message())
        self.problem = problem


class Misfit(Exception):
    """A layer that does not fit its input: the problem, the argument concerned, and the data of the problem.

    The elaborator adds the location: a layer has none, since equal calls share one layer.
    """

    def __init__(self, problem: type[Problem], at: str = "", **data: object) -> None:
        super().__init__(problem.title)
        self.problem = problem
        self.at = at
        self.data = data
