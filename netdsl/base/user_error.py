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


class Error(Exception):
    """Base class of the exceptions for mistakes of the user: `NetError` and `UserError`. `code` is that of
    `netdsl explain`."""

    __module__ = "netdsl"
    code: str = ""

    def colored(self) -> str:
        """Return the message with colors for a terminal."""
        return str(self)

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows in place of a traceback: the message, and where the program got it."""
        from traceback import extract_tb

        own = __file__.removesuffix("base/user_error.py").removesuffix("base\\user_error.py")
        frames = [frame for frame in extract_tb(self.__traceback__) if not frame.filename.startswith(own)]
        return [self.colored(), *(f"  at line {frame.lineno}: {frame.line}" for frame in frames[-1:])]


class UserError(Error):
    """An error without a location in a text.

    A subclass is one kind: a stable code, a title, an explanation in its docstring, and the exit code of the command:
    1 for a fault in an input, 2 for wrong usage or a missing file.
    """

    __module__ = "netdsl"
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

    def colored(self) -> str:
        from netdsl.base.terminal import paint

        title = f"error[{self.code}]"
        return paint(title, "error", True) + str(self).removeprefix(title)


class NotEnoughMemory(UserError, MemoryError, code="E0615", title="not enough memory"):
    """The machine does not have enough memory for this network, these weights or this batch, or `ulimit -v` limits it.
    A smaller `--batch` needs less memory. The exception is a `MemoryError` too.

    ```sh
    netdsl run net.net images --batch 1
    ```
    """


class OptionsClash(UserError, code="E0641", title="options that contradict each other", exit_code=USAGE_IS_WRONG):
    """Two options contradict each other, or one requires another."""


class WrongArgumentType(UserError, TypeError, code="E0650", title="wrong argument type", exit_code=USAGE_IS_WRONG):
    """A function of the Python API got an argument of a type that it does not accept. The exception is a `TypeError`
    too."""


class WrongArgumentValue(UserError, ValueError, code="E0651", title="wrong argument value", exit_code=USAGE_IS_WRONG):
    """A function of the Python API got an argument that is out of range, unknown, or contradicts another. The exception
    is a `ValueError` too."""


def escape(text: str) -> str:
    r"""Return a text as one line that cannot control a terminal, with control, bidi and invisible characters as in
    `\x1b`, `\u202e`. Escaping twice changes nothing."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
