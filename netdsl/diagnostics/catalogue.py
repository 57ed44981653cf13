"""Every problem that there is, for the commands and tests that go through them all."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import REGISTRY

if TYPE_CHECKING:
    from netdsl.diagnostics.problem import Problem


def problems() -> dict[str, type[Problem]]:
    """All problems by their codes, in the order of the codes; imports every module of them."""
    for file in sorted(os.listdir(os.path.dirname(__file__))):
        if file.endswith("_problems.py"):
            import_module(f"netdsl.diagnostics.{file[:-3]}")
    return dict(sorted(REGISTRY.items()))
