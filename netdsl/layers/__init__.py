"""The layers of the language, one file per layer or tight family, each imported on first use."""

from __future__ import annotations

import os
import re
from importlib import import_module

from netdsl.layers.base import LAYERS, Layer

_index: dict[str, str] = {}


def index() -> dict[str, str]:
    """Every layer's name and the module that declares it, read off the declarations themselves."""
    if not _index:
        folder = os.path.dirname(__file__)
        for file in sorted(os.listdir(folder)):
            if file.endswith(".py"):
                with open(os.path.join(folder, file), encoding="utf-8") as text:
                    for name in re.findall(r'^@layer\("(\w+)"\)', text.read(), re.MULTILINE):
                        _index[name] = f"{__name__}.{file[:-3]}"
    return _index


def find(name: str) -> type[Layer] | None:
    """The layer of that name, or None."""
    if name not in LAYERS and name in index():
        import_module(_index[name])
    return LAYERS.get(name)
