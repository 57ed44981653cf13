"""Problems of a text as data: codes, locations, causes and fixes. Only `render` knows how they look."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar

from netdsl.base.record import Record
from netdsl.base.text import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from netdsl.base.text import Frame

REGISTRY: dict[str, type[Problem]] = {}
"""Every problem by its code, once its module is imported; `netdsl.diagnostics.catalogue` imports them all."""


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


class Help:
    """A suggestion: a sentence, and the edits that carry it out where they are known.

    `safe` edits cannot change the meaning that the author had in mind; `check --fix` applies only these. All others,
    such as translations of another framework's names, may be wrong, and are applied by hand.
    """

    __slots__ = ("edits", "safe", "text")

    def __init__(self, text: str, *edits: Edit, safe: bool = False) -> None:
        self.text = text
        self.edits = edits
        self.safe = safe


class Problem(Record):
    """A problem in a text. A subclass declares its data as annotations, and methods for its messages.

    Its docstring is what `netdsl explain` prints: meaning and cause, with a failing example.
    """

    code: ClassVar[str] = ""
    title: ClassVar[str] = ""

    span: Span
    frame: Frame | None = None
    severity: str = "error"
    """`error` or `warning`; `--strict` turns warnings into errors."""
    mended: tuple[Help, ...] = ()
    """Those of its repairs that were tried and mend it; `netdsl.app.repair` finds them."""
    proved: tuple[Help, ...] | None = None
    """Its helps after `netdsl.app.repair` tried their edits, None before: edits that do not mend it are left out."""

    def message(self) -> str:
        """Return the headline: what is wrong, with the names and numbers involved."""
        return self.title

    def label(self) -> str:
        """Return what is wrong at the primary span, shown beside its carets; can be empty."""
        return ""

    def labels(self) -> Iterable[Label]:
        """Yield the other locations involved."""
        return ()

    def notes(self) -> Iterable[str]:
        """Yield facts without a location in the text."""
        return ()

    def helps(self) -> Iterable[Help]:
        """Yield ways to fix it, best first."""
        return ()

    def repairs(self) -> Iterable[Help]:
        """Yield edits that may fix it, to be verified before they are offered."""
        return ()

    def offers(self) -> list[Help]:
        """All suggestions, the repairs first."""
        return [*self.mended, *(self.helps() if self.proved is None else self.proved)]


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


def gap_before(span: Span) -> Span:
    """Return the blanks before a span."""
    start = span.start
    while start and span.source.text[start - 1] in " \t":
        start -= 1
    return Span(span.source, start, span.start)


def comment_before(span: Span) -> Iterable[Help]:
    """Yield the help that makes a comment of `// …`, if a span stands in one."""
    source, line = span.source, span.source.line_starts[span.source.position(span.start)[0] - 1]
    at = source.text.find("//", line, span.start)
    if at >= 0:
        yield Help("a comment begins with `#`", Edit(Span(source, at, at + 2), "#"))


def meant(span: Span, word: str, candidates: Iterable[str]) -> Iterable[Help]:
    """Yield `did you mean …?` with the nearest candidate; the edit is safe for a slip that only it explains."""
    from netdsl.base.suggest import is_slip, suggest
    from netdsl.diagnostics.foreign import ESTABLISHED, instead

    near = suggest(word, candidates)
    if near:
        safe = len(near) == 1 and is_slip(word, near[0]) and word not in ESTABLISHED and instead(word) is None
        yield Help(f"did you mean `{near[0]}`?", Edit(span, near[0]), safe=safe)


class Rejection(Exception):
    """A user's mistake that stops a phase: a problem, with or without its location."""


class Rejected(Rejection):
    """Carries a problem from inside a phase to the statement that can continue after it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message())
        self.problem = problem
