"""Every problem that there is, for the commands and tests that go through them all."""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import REGISTRY
from netdsl.diagnostics.user_error import USER_ERRORS

if TYPE_CHECKING:
    from netdsl.diagnostics.problem import Problem
    from netdsl.diagnostics.user_error import UserError

DECLARED = re.compile(r'^class \w+\(\w+, code="', re.MULTILINE)


def problems() -> dict[str, type[Problem]]:
    """All problems by their codes, in the order of the codes; imports every module of them."""
    for file in sorted(os.listdir(os.path.dirname(__file__))):
        if file.endswith("_problems.py"):
            import_module(f"netdsl.diagnostics.{file[:-3]}")
    return dict(sorted(REGISTRY.items()))


def user_errors() -> dict[str, type[UserError]]:
    """All kinds of errors outside of texts by their codes; imports the modules that declare them, wherever they are."""
    package = os.path.dirname(os.path.dirname(__file__))
    for folder, _, files in os.walk(package):
        for file in sorted(files):
            path = os.path.join(folder, file)
            if file.endswith(".py") and DECLARED.search(_read(path)):
                parts = os.path.relpath(path, package)[: -len(".py")].split(os.sep)
                import_module(".".join(["netdsl", *parts]).removesuffix(".__init__"))
    return dict(sorted(USER_ERRORS.items()))


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()
