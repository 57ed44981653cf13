"""The version of the installed package."""

from __future__ import annotations


def version() -> str:
    """Such as `0.1.0`."""
    from importlib.metadata import version

    return version("netdsl")
