"""Docstrings that pages are made of."""

from __future__ import annotations

from netdsl.base.user_error import USAGE_IS_WRONG, UserError


class NoDocstrings(UserError, code="E0655", exit_code=USAGE_IS_WRONG):
    """The pages of layers and of error codes are made of docstrings, which `python -OO` and `PYTHONOPTIMIZE=2` remove.
    Every other command works without them."""


def docstring(cls: type) -> str:
    """Return a class's docstring without its indentation. Raises NoDocstrings."""
    from inspect import cleandoc

    if cls.__doc__ is None:
        raise NoDocstrings("Python has removed the docstrings that this page is made of", "run Python without -OO")
    return cleandoc(cls.__doc__)
