"""Names that a model shares with its data: those of its classes, of the columns of tables that feed it, and of the
losses that it was trained with, with what they say about reading its outputs."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from netdsl.base.limits import SIZE
from netdsl.base.user_error import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    Lists = Mapping[str, Sequence[str]]
    Shapes = Mapping[str, Sequence[object]]

T = TypeVar("T")

METADATA_PREFIX = "netdsl."
"""Prefix of all metadata keys of ours."""

CLASSES, COLUMNS, TARGETS = "netdsl.classes.", "netdsl.columns.", "netdsl.targets."
"""Prefixes of metadata keys, before the name of an output or input; the value is a JSON list of names."""

LOSS, BLANK, LENGTHS = "netdsl.loss.", "netdsl.blank.", "netdsl.lengths."
"""Prefixes of metadata keys, before the name of an output; the values are those of `OutputLoss`."""

WRITER = f"{METADATA_PREFIX}version"
"""Metadata key whose value is the version of netdsl that wrote the model."""

LEAST = f"{METADATA_PREFIX}least."
"""Prefix of metadata keys, before the name of a size that is known at run time; the value is the smallest for which no
layer has an empty result."""


class BadNames(UserError, code="E0872", title="names that do not match the net"):
    """The metadata of a model or weight file names its classes, columns or losses (`netdsl.classes.OUTPUT`,
    `netdsl.columns.INPUT`, `netdsl.targets.OUTPUT`, `netdsl.loss.OUTPUT`, `netdsl.blank.OUTPUT`,
    `netdsl.lengths.OUTPUT`), but the names do not fit: they are not a JSON list of distinct texts, their number differs
    from the number of classes or columns, the blank is not one of the symbols, or the net has no such output or
    input."""


class OutputLoss(NamedTuple):
    """The loss that an output was trained with; of `ctc`, the blank, and the input with the number of places of each
    example, if there is one."""

    name: str
    blank: int | None = None
    lengths: str | None = None

    @property
    def line(self) -> str:
        """The line of a `train` block, without the arguments that are not known."""
        known = {"blank": self.blank, "lengths": self.lengths}
        return " ".join([f"loss {self.name}", *(f"{key} {value}" for key, value in known.items() if value is not None)])


class Names:
    """Names by output or input.

    `classes` are an output's class names, in the order of the classes; without them classes are called by their
    numbers. `columns` are the columns of a table that fill an input, `targets` those that an output is held against;
    without them columns are taken in their order. `losses` are those that outputs were trained with, which say how to
    read their scores; names without any list are false.
    """

    __slots__ = ("classes", "columns", "losses", "targets")

    def __init__(
        self,
        classes: Lists | None = None,
        columns: Lists | None = None,
        targets: Lists | None = None,
        losses: Mapping[str, OutputLoss] | None = None,
    ) -> None:
        self.classes = _tuples(classes)
        self.columns = _tuples(columns)
        self.targets = _tuples(targets)
        self.losses = dict(losses or {})

    def __bool__(self) -> bool:
        return bool(self.classes or self.columns or self.targets)

    def __repr__(self) -> str:
        return f"<names {self.metadata}>"

    @property
    def metadata(self) -> dict[str, str]:
        """The names as metadata of a model or a safetensors file; ASCII, whatever is in them."""
        parts = {CLASSES: self.classes, COLUMNS: self.columns, TARGETS: self.targets}
        lists = {prefix + key: json.dumps(names) for prefix, part in parts.items() for key, names in part.items()}
        losses = {LOSS + key: loss.name for key, loss in self.losses.items()}
        blanks = {BLANK + key: f"{loss.blank}" for key, loss in self.losses.items() if loss.blank is not None}
        lengths = {LENGTHS + key: loss.lengths for key, loss in self.losses.items() if loss.lengths is not None}
        return {**lists, **losses, **blanks, **lengths}

    def of(self, outputs: Mapping[str, str]) -> Names:
        """Return the names with the keys of outputs changed; those that are not mapped are left out."""
        classes, targets = (
            {new: part[old] for old, new in outputs.items() if old in part} for part in (self.classes, self.targets)
        )
        losses = {new: self.losses[old] for old, new in outputs.items() if old in self.losses}
        return Names(classes, self.columns, targets, losses)

    def or_else(self, other: Names) -> Names:
        """Return these names, or the `other` ones if there are none; and these losses, or the other ones."""
        lists = self or other
        return Names(lists.classes, lists.columns, lists.targets, self.losses or other.losses)

    def without_losses(self, outputs: Collection[str]) -> Names:
        """Return the names without the losses of these outputs."""
        losses = {output: loss for output, loss in self.losses.items() if output not in outputs}
        return Names(self.classes, self.columns, self.targets, losses)


def _tuples(lists: Lists | None) -> dict[str, tuple[str, ...]]:
    return {key: tuple(names) for key, names in (lists or {}).items()}


def read_names(metadata: Mapping[str, str], path: str, inputs: Shapes, outputs: Shapes) -> Names:
    """Return the names in the metadata of a model or weight file. `inputs` and `outputs` are the net's shapes without
    the batch; the only names of a kind belong to the net's only input or output, whatever it was called. Raises
    BadNames."""
    classes = _read(CLASSES, metadata, path, outputs)
    columns = _read(COLUMNS, metadata, path, inputs)
    for key, names in classes.items():
        size = outputs[key][0] if outputs[key] else 1
        if isinstance(size, int) and len(names) != size and not (size == 1 < len(names)):  # the sign of a score
            raise _misfit(path, len(names), "classes", f"the output `{key}`", size)
    for key, names in columns.items():
        sizes = [size for size in inputs[key] if isinstance(size, int)]
        if len(sizes) == len(inputs[key]) and prod(sizes) != len(names):
            raise _misfit(path, len(names), "columns", f"the input `{key}`", prod(sizes))
    targets = _read(TARGETS, metadata, path, outputs)
    return Names(classes, columns, targets, _losses(metadata, path, outputs))


def _losses(metadata: Mapping[str, str], path: str, outputs: Shapes) -> dict[str, OutputLoss]:
    """Return the losses by the net's outputs. Raises BadNames."""
    names, blanks, lengths = (_by_own_names(prefix, metadata, path, outputs) for prefix in (LOSS, BLANK, LENGTHS))
    for key, text in blanks.items():
        symbols = outputs[key][0] if outputs[key] else 1
        symbols = symbols if isinstance(symbols, int) else SIZE
        if not (text.isdecimal() and text.isascii()) or int(text[:20]) >= symbols:
            raise BadNames(f"{path}: the blank of the output `{key}` is `{text}`, which is not one of its symbols")
    return {
        key: OutputLoss(name, int(blanks[key]) if key in blanks else None, lengths.get(key))
        for key, name in names.items()
    }


def with_blank(names: Sequence[str], blank: int, symbols: object) -> Sequence[str]:
    """Return the names of `symbols` symbols: those of all but the blank get an empty one for it, others stay."""
    return [*names[:blank], "", *names[blank:]] if len(names) + 1 == symbols else names


def _read(prefix: str, metadata: Mapping[str, str], path: str, shapes: Shapes) -> dict[str, list[str]]:
    """Return the lists of a prefix by the net's own names. Raises BadNames."""
    texts = {key: text for key, text in metadata.items() if key.startswith(prefix)}
    lists = {key: _list(text, key, path) for key, text in texts.items()}
    return _by_own_names(prefix, lists, path, shapes)


def _by_own_names(prefix: str, metadata: Mapping[str, T], path: str, shapes: Shapes) -> dict[str, T]:
    """Return the values of a prefix by the net's own names. Raises BadNames."""
    found = {key[len(prefix) :]: value for key, value in metadata.items() if key.startswith(prefix)}
    if len(found) == len(shapes) == 1:
        return dict(zip(shapes, found.values(), strict=True))
    for key in found:
        if key not in shapes:
            held = ", ".join(f"`{name}`" for name in shapes)
            raise BadNames(f"{path} has names for `{key}` (`{prefix}…`), but the net has {held}")
    return found


def _list(text: str, key: str, path: str) -> list[str]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    texts = isinstance(names, list) and bool(names) and all(isinstance(name, str) for name in names)
    if not texts or len(set(names)) < len(names):
        raise BadNames(f"{path}: the metadata `{key}` are not a JSON list of different names")
    found: list[str] = names
    return found


def _misfit(path: str, count: int, what: str, where: str, size: int) -> BadNames:
    return BadNames(
        f"{path} names {count:,} {what}, but {where} has {size:,}",
        "are these the model or the weights of another net?",
    )
