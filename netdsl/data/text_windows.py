"""Texts as sequences of bytes or characters: windows, and the symbols that follow them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.files import open_file
from netdsl.base.shape import format_shape
from netdsl.base.user_error import UserError
from netdsl.data.dataset import Dataset
from netdsl.data.errors import ClassesDiffer, NoExamples, WrongShape, WrongType
from netdsl.data.labels import listed
from netdsl.data.sources import assembled, only
from netdsl.ir.names import Names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.dtypes import Array
    from netdsl.data.spec import DataSpec

BYTE_NAMES = tuple(chr(code) if 32 <= code < 127 else f"\\x{code:02x}" for code in range(256))
"""Names of the classes of a model of bytes: printable ASCII characters, and `\\x0a` for others."""

CODE_POINTS = 0x110000
"""Number of code points of Unicode."""

MAX_SHOWN = 8
"""Maximum number of characters listed in a message."""


class NotUtf8(UserError, code="E0888", title="a text that is not UTF-8"):
    """`data text … level character` reads a text in UTF-8. Texts in other encodings must be converted, or read as
    bytes.

    ```sh
    iconv -f latin1 -t utf-8 old.txt > new.txt
    ```
    """


def open_text(path: str, length: int | None, level: str, part: tuple[float, float], wanted: DataSpec) -> Dataset:
    """Return the windows of a text, one after the other, with the next symbol of each of their symbols, or of the last
    one. They are of the given length or of that of the net's input. Raises UserError if they do not fit the net."""
    name, target = only(wanted, "a text")
    (shape, dtype), after = wanted.inputs[name], wanted.targets[target]
    if dtype != "i64":
        raise WrongType(
            f"{path}: a text has numbers of symbols, but `{name}` takes {dtype}", "declare it with `dtype i64`"
        )
    if length is None:
        if len(shape) != 1 or not isinstance(shape[0], int):
            raise WrongShape(f"{path}: a window is a row of symbols, but `{name}` is {format_shape(shape)}")
        length = shape[0]
    if after.kind != "class" or after.shape not in ((), (length,)):
        raise WrongShape(
            f"{path}: a window of {length:,} symbols needs a class for each of them, or one for the symbol after it"
        )
    with open_file(path) as file:
        raw = file.read()
    classes = after.classes or 0
    known = wanted.names.classes.get(target) if wanted.names is not None else None
    if level == "byte":
        tokens, names = np.frombuffer(raw, np.uint8), BYTE_NAMES if classes == len(BYTE_NAMES) else None
    else:
        tokens, names = _characters(raw, path, classes, known)
    begin, end = (round(len(tokens) * each) for each in part)
    count = (end - begin - 1) // length
    if count < 1:
        raise NoExamples(
            f"{path}: {max(0, end - begin):,} symbols contain no window of {length:,} symbols and the symbol after it"
        )
    tokens = tokens[begin : begin + count * length + 1]
    x, following = tokens[:-1].reshape(count, length), tokens[1:].reshape(count, length)
    y = following if after.shape else following[:, -1]

    def where(index: int) -> str:
        return f"{path}, symbols {begin + index * length:,} to {begin + (index + 1) * length:,}"

    return assembled(
        {name: (path, x)},
        {target: (path, y)},
        wanted,
        Names({target: names}) if names is not None else None,
        {target: where},
    )


def _characters(raw: bytes, path: str, classes: int, known: Sequence[str] | None) -> tuple[Array, tuple[str, ...]]:
    """Return the number of each character, and the characters by number: the `known` ones, or those of the text in the
    order of their code points. Raises NotUtf8 and ClassesDiffer."""
    try:
        codes = np.frombuffer(raw.decode().encode("utf-32-le"), "<u4")
    except UnicodeDecodeError as error:
        raise NotUtf8(
            f"{path} is not UTF-8: byte {error.start:,} is 0x{raw[error.start]:02x}",
            "convert it, or read it as bytes: `level byte`",
        ) from None
    present = np.zeros(CODE_POINTS, bool)
    present[codes] = True
    names = tuple(map(chr, np.flatnonzero(present).tolist()))
    if known is None and len(names) != classes:
        raise ClassesDiffer(
            f"{path} has {len(names):,} different characters ({_shown(names)}), but the net has {classes:,} classes",
            f"give its output {len(names):,} channels, or read bytes, of which there are always 256: `level byte`",
        )
    places = {name: number for number, name in enumerate(known or names) if len(name) == 1}
    if missing := [name for name in names if name not in places]:
        raise ClassesDiffer(
            f"{path} has characters that the training text lacks: {_shown(missing)}",
            "take them from one file, with `part`, or read bytes: `level byte`",
        )
    table = np.zeros(CODE_POINTS, np.min_scalar_type(len(known or names)))
    table[[ord(name) for name in places]] = list(places.values())
    return table[codes], tuple(known or names)


def _shown(characters: Sequence[str]) -> str:
    return listed([repr(character) for character in characters], MAX_SHOWN)
