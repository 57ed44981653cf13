"""The index of the shipped nets."""

from __future__ import annotations

import os

from netdsl.base.paths import data

TYPE_CHECKING = False  # `netdsl zoo` starts without typing
if TYPE_CHECKING:
    from typing import Any

INDEX = "index.json"
"""Facts about each net without reading its spec; `pytest tests/language/test_zoo.py --update-golden` writes it."""


def index() -> dict[str, dict[str, Any]]:
    """Each network by name, the oldest first: `file`, `year`, `params`, `macs` (None where a size is known at run time
    only), `paper` and `authors`. What is counted is inference on one example."""
    from json import load

    with open(os.path.join(data("specs"), INDEX), encoding="utf-8") as file:
        known: dict[str, dict[str, Any]] = load(file)
    return known
