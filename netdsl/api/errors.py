"""The exception and the warning that the Python API raises for problems in a net."""

from __future__ import annotations

import re
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from netdsl.app.reporter import Reporter
from netdsl.base.user_error import Error, UserError, escape
from netdsl.diagnostics.formats import summary
from netdsl.diagnostics.render import render

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from netdsl.diagnostics.problem import Problem
    from netdsl.diagnostics.report import Report


class NetError(Error):
    """Raised for a net with errors.

    `problems` lists all errors and warnings; `str(error)` is the output of `netdsl check`.

    ```python
    >>> try:
    ...     netdsl.parse("net tiny { input x 4; desne 2 }")
    ... except netdsl.NetError as error:
    ...     for problem in error.problems:
    ...         print(problem.code, problem.span, problem.message())
    E0202 <string>:1:23 unknown layer or block `desne`

    ```
    """

    __module__ = "netdsl"

    def __init__(self, report: Report) -> None:
        self.problems: tuple[Problem, ...] = tuple(report)
        self.code = next((problem.code for problem in report if problem.severity == "error"), "")
        self._summary = summary(report)
        super().__init__("\n\n".join([*map(render, self.problems), self._summary]))

    def colored(self) -> str:
        return "\n\n".join([*(render(problem, color=True) for problem in self.problems), self._summary])

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        from netdsl.api.notebook import ansi_html, bundle

        return bundle(str(self), ansi_html(self.colored()), include, exclude)


class NetWarning(UserWarning):
    """Issued for warnings about a valid net: `file:line:column: warning[code]: message`."""

    __module__ = "netdsl"


OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)(?: [A-Z]+\b)?")
PARAMETER = re.compile(r"--set (?=[A-Za-z_]\w*=)")
"""An option for a parameter of a net, which is itself a keyword argument."""
NAMES = {"except": "exclude"}
"""Keyword arguments that have another name than the option of the command line."""
SWITCHES = ("force", "resume", "partial", "allow-nonfinite", "allow-fallback")

SHAPE = re.compile(r"--input (\S+?)=(\d+(?:x\d+)*)")
"""The option with the shape of an input, which is the keyword argument `shapes`."""


def worded(text: str) -> str:
    """Return a message with keyword arguments in place of options of the command line."""

    def keyword(found: re.Match[str]) -> str:
        name = NAMES.get(found[1], found[1].replace("-", "_"))
        return f"{name}=True" if found[1] in SWITCHES else name

    def shape(found: re.Match[str]) -> str:
        return f'shapes={{"{found[1]}": [{", ".join(found[2].split("x"))}]}}'

    return text if "in Python" in text else OPTION.sub(keyword, SHAPE.sub(shape, PARAMETER.sub("", text)))


@contextmanager
def in_python() -> Iterator[None]:
    """Name keyword arguments instead of options of the command line in errors."""
    try:
        yield
    except UserError as error:
        error.message = worded(error.message)
        error.helps = tuple(map(worded, error.helps))
        raise


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points at the line of the program that called this package."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("netdsl."):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


class PythonReporter(Reporter):
    """Issues notes and warnings as Python warnings."""

    __slots__ = ()

    def note(self, text: str) -> None:
        warn(worded(escape(text)))

    def warn(self, *lines: str) -> None:
        warn("\n".join(map(escape, lines)))
