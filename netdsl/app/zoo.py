"""The index of the shipped nets."""

from __future__ import annotations

import os

from netdsl.base.paths import data

TYPE_CHECKING = False  # `netdsl zoo` starts without typing
if TYPE_CHECKING:
    from typing import Any

INDEX = "index.json"
"""What is known of each network without reading its spec; written by `pytest tests/test_zoo.py --update-golden`."""


def index() -> dict[str, dict[str, Any]]:
    """Each network by name, the oldest first: `file`, `year`, `params`, `macs` (None where a size is known at run time
    only), `paper` and `authors`. What is counted is inference on one example."""
    from json import load

    with open(os.path.join(data("specs"), INDEX), encoding="utf-8") as file:
        known: dict[str, dict[str, Any]] = load(file)
    return known
