"""All problems, for the commands and tests that enumerate them."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

import netdsl.diagnostics
from netdsl.base.user_error import USER_ERRORS
from netdsl.diagnostics.problem import REGISTRY
from netdsl.diagnostics.table import MODULES

if TYPE_CHECKING:
    from netdsl.base.user_error import UserError
    from netdsl.diagnostics.problem import Problem


def problems() -> dict[str, type[Problem]]:
    """Return all problems by their codes, in the order of the codes; imports every module of them."""
    for module in iter_modules(netdsl.diagnostics.__path__):
        if module.name.endswith("_problems"):
            import_module(f"netdsl.diagnostics.{module.name}")
    return dict(sorted(REGISTRY.items()))


def user_errors() -> dict[str, type[UserError]]:
    """Return all kinds of errors outside of texts by their codes; imports the modules that declare them."""
    for module in MODULES:
        import_module(f"netdsl.{module}")
    return dict(sorted(USER_ERRORS.items()))
