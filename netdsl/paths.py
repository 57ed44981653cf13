"""Where the files that come with the package are, in a checkout, an editable install and a wheel alike."""

from __future__ import annotations

import os


def data(name: str) -> str:
    """The folder `grammars` or `specs`: beside the package's modules in a wheel, at the root of a checkout."""
    package = os.path.dirname(os.path.abspath(__file__))
    shipped = os.path.join(package, "_data")
    root = shipped if os.path.isdir(shipped) else os.path.dirname(package)
    return os.path.join(root, name)
