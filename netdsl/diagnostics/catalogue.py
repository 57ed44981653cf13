"""All problems and user errors, and the docstrings that document them."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

import netdsl.diagnostics
from netdsl.base.user_error import USAGE_IS_WRONG, USER_ERRORS, UserError
from netdsl.diagnostics.problem import REGISTRY
from netdsl.diagnostics.table import MODULES

if TYPE_CHECKING:
    from netdsl.diagnostics.problem import Problem


def problems() -> dict[str, type[Problem]]:
    """Return all problems, sorted by code; imports the modules that declare them."""
    for module in iter_modules(netdsl.diagnostics.__path__):
        if module.name.endswith("_problems"):
            import_module(f"netdsl.diagnostics.{module.name}")
    return dict(sorted(REGISTRY.items()))


def user_errors() -> dict[str, type[UserError]]:
    """Return all user errors, sorted by code; imports the modules that declare them."""
    for module in MODULES:
        import_module(f"netdsl.{module}")
    return dict(sorted(USER_ERRORS.items()))


class NoDocstrings(UserError, code="E0655", title="missing docstrings", exit_code=USAGE_IS_WRONG):
    """The pages of layers and error codes are docstrings, which `python -OO` and `PYTHONOPTIMIZE=2` remove. All other
    commands work without them.

    ```sh
    env -u PYTHONOPTIMIZE netdsl explain E0310
    ```
    """


def docstring(cls: type) -> str:
    """Return a class's docstring without its indentation. Raises NoDocstrings."""
    from inspect import cleandoc

    if cls.__doc__ is None:
        raise NoDocstrings("this page is a docstring, which Python has removed", "run Python without -OO")
    return cleandoc(cls.__doc__)
