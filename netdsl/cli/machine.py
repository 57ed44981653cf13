"""Failures of the machine: memory, the stack, a disk, a missing package."""

from __future__ import annotations

import re
from errno import ENOMEM
from math import inf
from typing import TYPE_CHECKING

from netdsl.base.user_error import USAGE_IS_WRONG, NotEnoughMemory, UserError
from netdsl.data.errors import MissingPackage

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT = re.compile(
    r"memory|failed to map|zero-fill|bad_alloc|start new thread|Couldn't (build|parse) .*file", re.IGNORECASE
)
"""Messages about a lack of memory, of the library loader, C++, thread creation and protobuf."""

ROOM = 1 << 28
"""Bytes of address space with which every package that netdsl imports can be loaded."""


class TooDeep(UserError, code="E0616", title="input nested too deeply"):
    """The input is nested too deeply for Python."""


class SystemFailed(UserError, code="E0617", title="a failed system call", exit_code=USAGE_IS_WRONG):
    """The operating system refused an operation that has no more specific code, often because the disk of the standard
    output is full.

    ```sh
    df -h .
    ```
    """


class CannotLoad(UserError, code="E0657", title="a package that cannot be loaded", exit_code=USAGE_IS_WRONG):
    """A package is installed but cannot be loaded: a library that it needs is missing, or it was built for another
    machine or Python version.

    ```sh
    python -m pip install --force-reinstall onnxruntime
    ```
    """


def machine_failed(error: Exception) -> UserError | None:
    """Return the problem for an exception, or None for a bug of netdsl."""
    if any(map(_is_out_of_memory, _chain(error))):
        return NotEnoughMemory("there is not enough memory", *_limit())
    if isinstance(error, RecursionError):
        return TooDeep("the input is nested too deeply")
    if not isinstance(error, ImportError):
        return None
    package = (error.name or "").partition(".")[0] or "a package"
    if package == "netdsl":
        return None
    if isinstance(error, ModuleNotFoundError):
        return MissingPackage(f"this needs the package {package}, which is not installed", f"pip install {package}")
    *_, said = filter(None, map(str.strip, str(error).splitlines()))
    return CannotLoad(f"this needs the package {package}, which cannot be loaded: {said}")


def was_interrupted(error: Exception) -> bool:
    """Return whether Ctrl-C led to an exception, such as when a package was being loaded."""
    return any(isinstance(each, KeyboardInterrupt) for each in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that led to it: packages raise others while they handle a lack of memory."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception reports a lack of memory, of Python, the library loader, C++ or the system."""
    if isinstance(error, SystemError):  # a C function failed without an exception, as happens when memory is short
        return bool(_limit())
    if isinstance(error, OSError) and error.errno == ENOMEM:
        return True
    if isinstance(error, ImportError | RuntimeError | TypeError) and SHORT.search(str(error)):
        return True
    return isinstance(error, MemoryError) or (_stopped_an_import(error) and _room() < ROOM)


def _stopped_an_import(error: BaseException) -> bool:
    """Return whether an exception, of any kind, was raised while an installed package was imported.

    An extension in C that cannot get memory there raises whatever its author chose.
    """
    trace = None if isinstance(error, ModuleNotFoundError) else error.__traceback__
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and package not in ("netdsl", "__main__"):
            return True
    return False


def _room() -> float:
    """Return how far, in bytes, the largest size of this process was below the limit of its memory."""
    limit = _limit_in_bytes()
    if limit is None:
        return inf
    try:
        with open("/proc/self/status", "rb") as file:
            (peak,) = (int(line.split()[1]) << 10 for line in file if line.startswith(b"VmPeak:"))
    except (OSError, ValueError):  # a system that does not say so
        return 0
    return limit - peak


def _limit() -> list[str]:
    """Return a line that names the limit of this process's memory, if there is one."""
    limit = _limit_in_bytes()
    return [] if limit is None else [f"`ulimit -v` limits this process to {limit // 1024:,} KB"]


def _limit_in_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def system_failed(error: OSError) -> UserError:
    """Return the problem for an error of the system, with its reason and the file."""
    if _is_out_of_memory(error):
        return NotEnoughMemory("there is not enough memory", *_limit())
    place = f"{error.filename}: " if error.filename is not None else "the standard output: "
    return SystemFailed(place + (error.strerror or str(error)).lower())
