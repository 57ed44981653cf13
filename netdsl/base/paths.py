"""Locations of the files shipped with the package, in a checkout, an editable install or a wheel; writing generated
pages."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing `typing` costs more than this module
if TYPE_CHECKING:
    from collections.abc import Mapping

NET_SUFFIXES = (".net", ".netdsl")
"""Endings of sources that are found in folders."""


def data(name: str) -> str:
    """Return the folder `grammars`, `specs` or `docs`: inside the package in a wheel, at the root in a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    shipped = os.path.join(package, "_data")
    root = shipped if os.path.isdir(shipped) else os.path.dirname(package)
    return os.path.join(root, name)


def replace_pages(folder: str, pages: Mapping[str, str]) -> None:
    """Write the generated pages of a folder, and remove pages that no longer exist."""
    for name in os.listdir(folder):
        if name.endswith(".md") and name not in pages:
            os.remove(os.path.join(folder, name))
    for name, content in pages.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
            file.write(content)
