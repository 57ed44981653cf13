"""Where the files that come with the package are, in a checkout, an editable install and a wheel alike, and how folders
of generated pages are written."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # the module behind it costs more than this one
if TYPE_CHECKING:
    from collections.abc import Mapping


def data(name: str) -> str:
    """The folder `grammars` or `specs`: beside the package's modules in a wheel, at the root of a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    shipped = os.path.join(package, "_data")
    root = shipped if os.path.isdir(shipped) else os.path.dirname(package)
    return os.path.join(root, name)


def replace_pages(folder: str, pages: Mapping[str, str]) -> None:
    """Write generated pages into a folder of them, and remove those that there are no more."""
    for name in os.listdir(folder):
        if name.endswith(".md") and name not in pages:
            os.remove(os.path.join(folder, name))
    for name, content in pages.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
            file.write(content)
