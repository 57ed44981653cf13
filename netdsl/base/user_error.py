"""Errors without a location in a text: files, weights, data, the machine. A command prints one and ends."""

from __future__ import annotations

TYPE_CHECKING = False  # `netdsl zoo` starts without typing
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import ClassVar

USER_ERRORS: dict[str, type[UserError]] = {}
"""Every kind by its code, once its module is imported; codes are shared with those of `Problem`."""

INPUT_IS_WRONG = 1
USAGE_IS_WRONG = 2


class UserError(Exception):
    """An error without a location in a text.

    A subclass is one kind: a stable code, a title, an explanation in its docstring, and the exit code of the command:
    1 for a fault in an input, 2 for wrong usage or a missing file.
    """

    code: ClassVar[str] = ""
    title: ClassVar[str] = ""
    exit_code: ClassVar[int] = INPUT_IS_WRONG

    def __init_subclass__(cls, code: str = "", title: str = "", exit_code: int | None = None) -> None:
        if exit_code is not None:
            cls.exit_code = exit_code
        if code:
            known = USER_ERRORS.setdefault(code, cls)
            assert known is cls, f"{code} is taken by {known.__name__}"
            cls.code = code
            cls.title = title

    def __init__(self, message: str, *helps: str, details: Iterable[str] = ()) -> None:
        """`details` are further lines of the message. All texts are escaped here: callers insert names as they are."""
        super().__init__(message)
        self.message = "\n".join(map(escape, (message, *details)))
        self.helps = tuple(map(escape, helps))

    def __str__(self) -> str:
        """Format as `error[E0601]: …`, followed by a line per help."""
        return "\n".join([f"error[{self.code}]: {self.message}", *(f"  = help: {text}" for text in self.helps)])


class OptionsClash(UserError, code="E0641", title="options that contradict each other", exit_code=USAGE_IS_WRONG):
    """Two options contradict each other, or one requires another."""


def escape(text: str) -> str:
    r"""Return a text as one line that cannot control a terminal, with control, bidi and invisible characters as in
    `\x1b`, `\u202e`. Escaping twice changes nothing."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
