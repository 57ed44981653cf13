"""Ops: one file per family of ONNX operators. `ops.relu(x)` and its like are what layers' bodies are written in.

They are imported when the first one is asked for: checking a text needs layers' shapes but none of their bodies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netdsl.ops.api import *  # noqa: F403


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    import netdsl.ops.api as api  # `from netdsl.ops` would ask this function for it

    globals().update({each: getattr(api, each) for each in api.__all__})
    return getattr(api, name)
