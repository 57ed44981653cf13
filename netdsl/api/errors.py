"""The exception and the warning that the Python API raises for problems in a net."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from netdsl.base.user_error import Error, UserError
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
        from netdsl.api.notebook import bundle, preformatted

        return bundle(str(self), preformatted(str(self)), include, exclude)


class NetWarning(UserWarning):
    """Issued for warnings about a valid net: `file:line:column: warning[code]: message`."""

    __module__ = "netdsl"


OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)")
NAMES = {"except": "exclude"}
"""Keyword arguments that have another name than the option of the command line."""
SWITCHES = ("force", "partial", "allow-nonfinite", "allow-fallback")


@contextmanager
def in_python() -> Iterator[None]:
    """Name keyword arguments instead of options of the command line in errors."""

    def keyword(found: re.Match[str]) -> str:
        name = NAMES.get(found[1], found[1].replace("-", "_"))
        return f"{name}=True" if found[1] in SWITCHES else name

    try:
        yield
    except UserError as error:
        texts = (error.message, *error.helps)
        error.message, *helps = [text if "in Python" in text else OPTION.sub(keyword, text) for text in texts]
        error.helps = tuple(helps)
        raise
