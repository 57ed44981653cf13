"""The names of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.terminal import escape
from netdsl.diagnostics.user_error import UserError
from netdsl.files import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping


class BadLabels(UserError, code="E0623"):
    """A file of labels is text with a name in each line, or a JSON list of names; there is one for each class."""


def read_labels(path: str) -> list[str]:
    """The names in a file, in the order of the classes. Raises UserError."""
    text = read_text(path).removeprefix("\ufeff")
    names = _from_json(text, path) if text.lstrip().startswith("[") else [line.strip() for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise BadLabels(f"{escape(path)} holds no labels")
    return names


def _from_json(text: str, path: str) -> list[str]:
    from json import loads

    try:
        names = loads(text)
    except (ValueError, RecursionError) as error:
        raise BadLabels(f"{escape(path)} begins like a JSON list, and is none: {escape(str(error))}") from None
    odd = next((at for at, name in enumerate(names) if not isinstance(name, str)), None)
    if odd is not None:
        raise BadLabels(f"{escape(path)} is a list whose entry {odd} is no name")
    return [str(name) for name in names]


def check_labels(labels: list[str], path: str, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    """Raise BadLabels if no output, given by its shape without the batch, has as many classes as there are labels.

    Where a size is not known yet, nothing is said.
    """
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        sizes[name] = 1
        for size in shape:
            if size is None:
                return
            sizes[name] *= size
    if len(labels) not in sizes.values():
        found = ", ".join(f"`{escape(name)}` has {size:,}" for name, size in sizes.items())
        raise BadLabels(f"{escape(path)} holds {len(labels):,} labels, and the output {found}")
