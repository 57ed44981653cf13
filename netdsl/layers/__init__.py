"""The built-in layers, one module per layer or small family, imported on first use."""

from __future__ import annotations

from importlib import import_module

from netdsl.layers.base import LAYER_CLASSES, Layer
from netdsl.layers.table import LAYER_MODULES


def layer_modules() -> dict[str, str]:
    """Return the full name of the module that declares each layer."""
    return {name: f"{__name__}.{module}" for name, module in LAYER_MODULES.items()}


def find_layer(name: str) -> type[Layer] | None:
    """Return the layer with this name, or None."""
    if name not in LAYER_CLASSES and name in LAYER_MODULES:
        import_module(f"{__name__}.{LAYER_MODULES[name]}")
    return LAYER_CLASSES.get(name)
