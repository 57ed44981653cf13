"""Ops, one file per family of ONNX operators. Layer bodies call functions such as `ops.relu(x)`.

Ops are imported on first use: checking a text needs the shapes of layers but not their bodies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netdsl.ops.api import *  # noqa: F403


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    import netdsl.ops.api as api  # `from netdsl.ops` would ask this function for it

    globals().update({each: value for each, value in vars(api).items() if not each.startswith("_")})
    return getattr(api, name)
