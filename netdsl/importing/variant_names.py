"""Names for several models in one text: the net, an alias for each, and the values of the parameter that chooses."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.importing.notation import clean
from netdsl.importing.text import net_name

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
SEPARATORS = "-_. "


class SameName(UserError, code="E0676", title="models that would have the same name", exit_code=USAGE_IS_WRONG):
    """Each of several models becomes a net that is named like its file, or like its folder if the files have the same
    name, and a file of weights of that name. Two of them cannot have the same, nor can one be the net that they share,
    and no model is imported twice.

    ```sh
    netdsl import resnet18/model.onnx resnet34/model.onnx -o resnet.net
    netdsl import small.onnx large.onnx --name mixer
    ```
    """


class VariantNames(NamedTuple):
    """The names of a net and of its aliases, and the value of its parameter for each."""

    net: str
    aliases: tuple[str, ...]
    values: tuple[object, ...]


def variant_names(files: Sequence[str], wanted: str | None = None) -> VariantNames:
    """Return names for models in these files; `wanted` is that of the net. Raises SameName."""
    real = [os.path.realpath(file) for file in files]
    for at, path in enumerate(real):
        if path in real[:at]:
            raise SameName(f"{files[at]} is given twice", "give each model once")
    stems = [os.path.splitext(os.path.basename(file))[0] for file in files]
    if len({*stems}) < len(stems):
        folders = [os.path.basename(os.path.dirname(path)) for path in real]
        stems = folders if len({*folders}) == len(folders) else stems
    aliases = tuple(map(net_name, stems))
    for at, alias in enumerate(aliases):
        if alias in aliases[:at]:
            first = files[aliases.index(alias)]
            raise SameName(f"{first} and {files[at]} would both be the net {alias}", "rename one of the files")
    shared, values = _split(stems)
    if wanted is None:
        wanted = clean(shared)
        wanted = "model" if not wanted or net_name(wanted) in aliases else wanted
    net = net_name(wanted)
    if net in aliases:
        same = files[aliases.index(net)]
        raise SameName(f"the net {net} would have the name of {same}", "name another: --name NAME")
    return VariantNames(net, aliases, values)


def _split(stems: Sequence[str]) -> tuple[str, tuple[object, ...]]:
    """Return what names have in common, and in what they differ: numbers, or else words."""
    start = _common(stems)
    end = _common([stem[len(start) :][::-1] for stem in stems])[::-1]
    middles = _middles(stems, re.sub(r"[\d.]+$", "", start), re.sub(r"^[\d.]+", "", end))
    first = min((at for each in SEPARATORS if (at := end.find(each)) >= 0), default=len(end))
    if all(map(NUMBER.fullmatch, middles)):
        whole = not any("." in middle for middle in middles)
        numbers = tuple(int(middle) if whole else float(middle) for middle in middles)
        if len({*numbers}) == len(numbers):
            return _joined(re.sub(r"[\d.]+$", "", start), end[first:]), numbers
    start, end = start[: max(map(start.rfind, SEPARATORS)) + 1], end[first:]
    words = [clean(middle) for middle in _middles(stems, start, end)]
    values = words if all(words) and len({*words}) == len(words) else map(net_name, stems)
    return _joined(start, end), tuple(values)


def _joined(start: str, end: str) -> str:
    return start.rstrip(SEPARATORS) + end if start else ""


def _common(words: Sequence[str]) -> str:
    """Return what all words begin with."""
    first, last = min(words), max(words)
    return first[: next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _middles(stems: Sequence[str], start: str, end: str) -> list[str]:
    return [stem[len(start) : len(stem) - len(end)] for stem in stems]
