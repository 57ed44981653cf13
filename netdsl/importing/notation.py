"""Notation: arguments, words and lines as the language writes them."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

from netdsl.base.size import Size
from netdsl.declare.arguments import BARE_WORDS, Dims, LayerLabel, Operand, Padding, Sides, Sizes, Text, Texts
from netdsl.layers.table import LAYER_MODULES
from netdsl.syntax.words import RESERVED_WORDS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from netdsl.declare.arguments import Kind
    from netdsl.importing.flat import FlatLayer
    from netdsl.layers.base import Layer

WIDTH = 100
"""Columns of a line before its last statement moves to the next one."""

MAX_LABEL = 60
"""Maximum number of characters of a label that is made of another tool's name."""

SAME_IN_A_ROW = 4
"""Number of equal entries of a list from which on they are written as `[0] * 4`."""


def head(layer: Layer, texts: Mapping[str, str]) -> str:
    """Return the call of a layer with the arguments that differ from their defaults. `texts` are those of keywords that
    take a label, and of arguments with another text than their value's; an empty one is left out."""
    words = [layer.kind]
    arguments = layer.arguments.values()
    places = [each for each in arguments if not each.keyword]
    while places and places[-1].name not in texts and getattr(layer, places[-1].name) == places[-1].default:
        places.pop()
    for each in places:
        words.append(texts.get(each.name) or written(getattr(layer, each.name), each.kind))
    for argument in arguments:
        value = getattr(layer, argument.name)
        if not argument.keyword:
            continue
        if argument.name in texts:
            words += [f"{argument.name} {texts[argument.name]}"] if texts[argument.name] else []
        elif value != argument.default and not isinstance(argument.kind, (Operand, LayerLabel)):
            words.append(f"{argument.name} {written(value, argument.kind)}")
    return " ".join(words)


def written(value: object, kind: Kind[object] | None = None) -> str:
    """Return a value as an argument."""
    match value:
        case bool():
            return "on" if value else "off"
        case int() | float():
            text = _number(value)
            return f"({text})" if text.startswith("-") else text
        case Size():
            return _size(value)
        case tuple() | list():
            entries = tuple(value)
            if (
                all(type(each) is int and each > 0 for each in entries)
                and len(entries) > 1
                and _is_shape(entries, kind)
            ):
                return "x".join(map(str, entries))
            return _list(entries) if len(entries) != 1 or not isinstance(kind, Dims) else written(entries[0])
        case _:
            text = str(value)
            return f'"{text}"' if kind is None or isinstance(kind, (Text, Texts)) else text


def _is_shape(entries: tuple[int, ...], kind: Kind[object] | None) -> bool:
    return isinstance(kind, (Dims, Sizes)) and not isinstance(kind, (Padding, Sides)) and len(entries) <= 4


def _number(value: float) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    text = repr(value)
    return re.sub(r"e([+-]?)0*", r"e\1", text).replace("e+", "e")


def _size(size: Size) -> str:
    return re.sub(r"[A-Za-z_]\w*", r"?\g<0>", str(size))


def _list(entries: tuple[object, ...]) -> str:
    """Return a list, with runs of equal entries as products: `[0] * 196 + [1]`; so are equal parts."""
    texts = [
        _number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else written(value)
        for value in entries
    ]
    plain = _runs(texts)
    period = _period(texts)
    times, rest = divmod(len(texts), period or 1)
    if times < 2 or period < 2:
        return plain
    unit = _runs(texts[:period])
    repeated = f"({unit}) * {times}" if " + " in unit or " * " in unit else f"{unit} * {times}"
    repeated += f" + {_runs(texts[-rest:])}" if rest else ""
    return min(plain, repeated, key=len)


def _runs(texts: list[str]) -> str:
    """Return a list with runs of equal entries as products."""
    parts: list[str] = []
    singles: list[str] = []
    for text, run in groupby(texts):
        count = len(list(run))
        if count < SAME_IN_A_ROW:
            singles += [text] * count
            continue
        if singles:
            parts.append(f"[{', '.join(singles)}]")
        parts.append(f"[{text}] * {count}")
        singles = []
    if singles or not parts:
        parts.append(f"[{', '.join(singles)}]")
    return " + ".join(parts)


def _period(texts: list[str]) -> int:
    """Return the least distance at which all entries are equal, by the failure function of Knuth, Morris and Pratt."""
    border = [0] * (len(texts) + 1)
    length = 0
    for at in range(1, len(texts)):
        while length and texts[at] != texts[length]:
            length = border[length]
        length += texts[at] == texts[length]
        border[at + 1] = length
    return len(texts) - border[-1]


class Labels:
    """Unique labels for layers, from their paths or else from their kinds."""

    __slots__ = ("_given", "_taken")

    def __init__(self, avoid: Collection[str] = ()) -> None:
        self._given: dict[FlatLayer, str] = {}
        self._taken = {*RESERVED_WORDS, *LAYER_MODULES, *BARE_WORDS, *avoid, "seq", "input", "output"}

    def of(self, layer: FlatLayer, path: str | None = None) -> str:
        """Return the label of a layer, always the same, from its path or another one."""
        if layer not in self._given:
            word = layer.path if path is None else path
            known = layer.kind == "input" and word.isidentifier() and word not in RESERVED_WORDS
            free = known and word not in {*self._given.values(), *BARE_WORDS} and word.isascii()
            self._given[layer] = word if free else self.take(word, layer.kind)
        return self._given[layer]

    def take(self, path: str, kind: str) -> str:
        """Return a word made of a path that is no other label, no word of the language, and no automatic name."""
        word = clean(path) or f"{kind}_1"
        automatic = re.fullmatch(r"([a-z_]+?)\d+", word)
        if automatic and automatic[1] in LAYER_MODULES:
            word += "_"
        stem, count, found = word.removesuffix("_1"), 1, word
        while found in self._taken:
            count += 1
            found = f"{stem}_{count}"
        self._taken.add(found)
        return found


def clean(path: str) -> str:
    """Return a name of another tool as a word, or an empty text if nothing is left of it."""
    word = re.sub(r"\W+", "_", path, flags=re.ASCII).strip("_")[-MAX_LABEL:].strip("_")
    return f"_{word}" if word[:1].isdigit() else word


def fold(statements: list[tuple[str, bool]], indent: str = "  ") -> list[str]:
    """Return statements as lines; each says whether it begins a line."""
    lines: list[str] = []
    for text, begins in statements:
        if begins or not lines or len(lines[-1]) + len(text) + 2 > WIDTH:
            lines.append(indent + text)
        else:
            lines[-1] += f"; {text}"
    return lines
