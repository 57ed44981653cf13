"""What stops a command and is the fault of no text: memory, the stack, a disk, a package that is missing."""

from __future__ import annotations

from netdsl.data.errors import MissingPackage
from netdsl.diagnostics.terminal import escape
from netdsl.diagnostics.user_error import USAGE_IS_WRONG, UserError


class NotEnoughMemory(UserError, code="E0615"):
    """The machine has too little memory for this network, these weights or this batch."""


class TooDeep(UserError, code="E0616"):
    """Something is nested deeper than Python can follow."""


class SystemFailed(UserError, code="E0617", exit_code=USAGE_IS_WRONG):
    """The system refused something that has no other code: most often the standard output's disk is full."""


def machine_failed(error: MemoryError | RecursionError | ModuleNotFoundError) -> UserError | None:
    """The problem in words, or None where the fault is our own."""
    if isinstance(error, MemoryError):
        return NotEnoughMemory("there is not enough memory", "a smaller --batch takes less")
    if isinstance(error, RecursionError):
        return TooDeep("the input is nested too deeply")
    package = (error.name or "netdsl").partition(".")[0]
    if package == "netdsl":
        return None
    return MissingPackage(f"this needs the package {package}, which is not installed", f"pip install {package}")


def system_failed(error: OSError) -> SystemFailed:
    """The system's reason, and the file that it names."""
    place = f"{escape(str(error.filename))}: " if error.filename is not None else "the standard output: "
    return SystemFailed(place + (error.strerror or str(error)).lower())
