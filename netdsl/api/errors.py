"""The exception and the warning that the Python API raises for problems in a net."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.formats import summary
from netdsl.diagnostics.render import render

if TYPE_CHECKING:
    from collections.abc import Collection

    from netdsl.diagnostics.problem import Problem
    from netdsl.diagnostics.report import Report


class NetError(Exception):
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
        super().__init__("\n\n".join([*map(render, self.problems), summary(report)]))

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        from netdsl.api.notebook import bundle, preformatted

        return bundle(str(self), preformatted(str(self)), include, exclude)


class NetWarning(UserWarning):
    """Issued for warnings about a valid net: `file:line:column: warning[code]: message`."""

    __module__ = "netdsl"
