"""Characters that the language does not have, and what was probably meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics import problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.base.text import Source

HIDDEN = "\0\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""NUL and bidirectional controls, not allowed even in comments, since they hide what a line says (CVE-2021-42574)."""

ASCII: dict[str, str] = dict(
    zip(
        "−‐‑‒–—×∗⋅·÷∕“”„‟″‘’‛′＝（）［］｛｝，；：．…авеорсухіјАВЕКМНОРСТХαονΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
        [*"------x***//", *'"""""', *'""""', *"=()[]{},;:.", "...", *"abeopcyxijABEKMHOPCTXaovABEZHIKMNOPTYX"],
        strict=True,
    )
)
"""Characters that look like those of the language: typographic signs, Cyrillic and Greek letters."""


_SIGNS = {"'": '"', "^": "**", "|": ";"}
DOUBLE = {"&&": "and", "||": "or"}
"""What signs of other languages mean here."""


def replacement(character: str) -> str | None:
    """Return the intended ASCII text, if it is clear."""
    if character < "\x80":
        return _SIGNS.get(character, None if character > " " else "")
    if character in HIDDEN or character in "\u200b\u200c\u200d\u2060\ufeff\u00ad":
        return ""
    if character.isspace():
        return " "
    if character in ASCII:
        return ASCII[character]
    from unicodedata import normalize

    plain: str = normalize("NFKC", character)
    return plain if len(plain) == 1 and "!" <= plain <= "~" else None


def character_problems(source: Source, offsets: list[int]) -> Iterator[problems.IllegalCharacter]:
    """Return one problem per line with illegal characters, at the first of them."""
    lines: dict[int, list[Span]] = {}
    for offset in offsets:
        lines.setdefault(source.position(offset)[0], []).append(Span(source, offset, offset + 1))
    for spans in lines.values():
        yield problems.IllegalCharacter(
            span=spans[0], replacements=tuple((span, _replacement(span, source.text)) for span in spans[:100])
        )


def _replacement(span: Span, text: str) -> str | None:
    """Return what was meant by a character, with its neighbors: `&&` is `and`, `!x` is `not x`."""
    at = span.start
    if text[at : at + 2] in DOUBLE:
        return DOUBLE[text[at : at + 2]]
    if text[at - 1 : at + 1] in DOUBLE:
        return ""
    return "not " if text[at] == "!" and text[at + 1 : at + 2].isidentifier() else replacement(text[at])
