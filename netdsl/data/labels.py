"""Convert class names to class numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.data.errors import ClassesDiffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from netdsl.data.spec import DataSpec, Target

MAX_NAMES_SHOWN = 20
"""Maximum number of classes listed in a message."""


def numbered(
    found: Iterable[str], path: str, what: str, target: Target, wanted: DataSpec, where: Callable[[str], str]
) -> tuple[dict[str, int], tuple[str, ...] | None]:
    """Return the number of each class name in `found`, and the names of all classes, or None if they are only numbers.

    Training data define the classes of a net and must contain all of them; other data may contain some. `path` is the
    file of the data; `what` and `where(name)` are the beginnings of messages about all classes and about one. Raises
    ClassesDiffer.
    """
    names = sorted(set(found))
    quotes = wanted.bounds.quotes(path)

    def begin(name: str) -> str:
        return f"{where(name)} `{name}`" if quotes else f"{where(name)} of another name"

    if wanted.names is None:
        most = 2 if target.kind == "sign" else target.classes
        if target.blank is not None:
            names.insert(target.blank, "")
        if most is not None and len(names) != most:
            raise ClassesDiffer(f"{what} {_counted(names, target, quotes)}, but the net has {most}")
        return {name: number for number, name in enumerate(names)}, tuple(names)
    known = wanted.names.classes.get(target.name)
    if known is None:
        return {name: _number(name, target, begin) for name in names}, None
    return {name: _place(name, known, begin) for name in names}, known


def _counted(names: Sequence[str], target: Target, quotes: bool) -> str:
    """Return the number of classes, or of symbols with the blank, with their names if these may be quoted."""
    some = f" ({listed([*filter(None, names)], 8)})" if quotes else ""
    if target.blank is not None:
        return f"{len(names)} symbols{some} with the blank"
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'}{some}"


def listed(names: Sequence[str], most: int = MAX_NAMES_SHOWN) -> str:
    """Join names for a message, at most `most` of them."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _place(name: str, known: Sequence[str], begin: Callable[[str], str]) -> int:
    """Return the index of a class name in `known`. Raises ClassesDiffer; its message starts with `begin(name)`."""
    if known.count(name) == 1:
        return known.index(name)
    if name in known:
        raise ClassesDiffer(f"{begin(name)}, which is the name of several classes")
    raise ClassesDiffer(f"{begin(name)}, but the classes are {listed([*filter(None, known)])}")


def _number(name: str, target: Target, begin: Callable[[str], str]) -> int:
    """Return the number that a class name consists of, for a net whose classes have no names. Raises ClassesDiffer."""
    most = 2 if target.kind == "sign" else target.classes
    if name.isdecimal() and str(int(name[:20])) == name and (most is None or int(name) < most):
        return int(name)
    numbers = f"0 to {most - 1}" if most is not None else "from 0 on"
    raise ClassesDiffer(
        f"{begin(name)}, but the net's classes have no names, only numbers, {numbers}",
        "to name them, pass a file of names, in order: `--labels FILE`",
    )
