"""The rules of highlighting for the page."""

from __future__ import annotations

from netdsl.highlight.rules import CLASSES, RULES


def highlighting() -> dict[str, object]:
    """Return the patterns in order, each with the class of its groups, and CodeMirror's tag of each class."""
    return {
        "rules": [[pattern, list(groups)] for pattern, groups in RULES],
        "tags": {name: each.tag for name, each in CLASSES.items()},
    }
