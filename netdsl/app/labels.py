"""Read and check class names, from `--labels` or a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.files import read_text
from netdsl.base.user_error import UserError
from netdsl.ir.names import Names, with_blank

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BadLabels(UserError, code="E0623", title="an invalid label file"):
    r"""A label file contains one name per class: text with one name per line, or a JSON list of names.

    ```sh
    printf 'cat\ndog\n' > names.txt
    netdsl run net.net images --labels names.txt
    ```
    """


def read_labels(path: str) -> list[str]:
    """Read the class names in a file, in order. Raises UserError."""
    text = read_text(path).removeprefix("\ufeff")
    names = from_json(text, path) if text.lstrip().startswith("[") else [line.strip() for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise BadLabels(f"{path} contains no labels")
    return names


def from_json(text: str, path: str) -> list[str]:
    """Return a JSON list of strings. Raises BadLabels."""
    from json import loads

    try:
        names = loads(text)
    except (ValueError, RecursionError) as error:
        raise BadLabels(f"{path} begins like a JSON list, but is not valid JSON: {error!s}") from None
    odd = next((at for at, name in enumerate(names) if not isinstance(name, str)), None)
    if odd is not None:
        raise BadLabels(f"entry {odd} of the list in {path} is not a string")
    return [str(name) for name in names]


def check_labels(
    labels: list[str], path: str, counts: Mapping[str, int | None], blanks: Mapping[str, int] | None = None
) -> None:
    """Raise BadLabels if no output has as many classes, or symbols without its blank, as there are labels. An unknown
    number matches any."""
    if None not in counts.values() and not _fitting(labels, counts, blanks or {}):
        found = ", ".join(f"`{name}` has {count:,}" for name, count in counts.items())
        raise BadLabels(f"{path} has {len(labels):,} labels, but the output {found} classes")


def shown_names(
    labels: list[str] | None,
    names: Names,
    counts: Mapping[str, int | None],
    blanks: Mapping[str, int] | None = None,
) -> dict[str, Sequence[str]]:
    """Return the class names to print, by output: the labels if their number matches or the number of classes is
    unknown, otherwise the model's names. An output with a blank can have labels for its other symbols."""
    return {**names.classes, **_fitting(labels or [], counts, blanks or {})}


def _fitting(
    labels: list[str], counts: Mapping[str, int | None], blanks: Mapping[str, int]
) -> dict[str, Sequence[str]]:
    """Return the labels by the outputs that they fit."""
    found = {
        name: with_blank(labels, blanks[name], count) if name in blanks else labels for name, count in counts.items()
    }
    return {name: each for name, each in found.items() if each and counts[name] in (None, len(each))}


def known_names(
    labels: list[str] | None,
    names: Names,
    counts: Mapping[str, int | None],
    blanks: Mapping[str, int] | None = None,
) -> Names:
    """Return the names to match data with: the model's, or without any the labels as class names."""
    return Names(names.classes or shown_names(labels, names, counts, blanks), names.columns, names.targets)
