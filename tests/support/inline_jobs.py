"""The jobs of a verification in the process of the tests, so that they take little time and can be replaced."""

from __future__ import annotations

from typing import Any

from netdsl.app.verify.child import Child, Failed
from netdsl.app.verify.worker import JOBS, described


class Inline(Child):
    """A child that is no process of its own."""

    def call(self, job: str, **arguments: Any) -> dict[str, Any]:
        try:
            return JOBS[job](**arguments)
        except Exception as error:
            raise Failed(described(error)) from None
