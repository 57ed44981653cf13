"""Explain words that begin like a number."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.diagnostics import problems

if TYPE_CHECKING:
    from netdsl.base.text import Span
    from netdsl.diagnostics.problem import Problem
    from netdsl.syntax.table import Lexicon

MAX_DIGITS = 4300
"""Maximum number of digits of an integer that Python reads."""


def number_problem(span: Span, lexicon: Lexicon) -> Problem | None:
    """Return why a word is not a number, dims or an unknown size, and what may have been meant; None if it is one."""
    word = span.text
    if len(word) > MAX_DIGITS:
        return problems.MalformedNumber(span=span, reason=f"it has more than {MAX_DIGITS} characters")
    if lexicon.number.fullmatch(word):
        too_large = ("e" in word or "E" in word or "." in word) and float(word) == float("inf")
        return problems.MalformedNumber(span=span, reason="it is too large for a float") if too_large else None
    if lexicon.unknown.fullmatch(word) or lexicon.dims.fullmatch(word):
        return None
    return _diagnose(span, word)


def _diagnose(span: Span, word: str) -> Problem:
    if re.fullmatch(r"0[xXoObB]\w*", word) and not re.fullmatch(r"0x\d+(x\d+)*", word):
        return problems.MalformedNumber(span=span, reason="numbers are written in decimal digits")
    if re.fullmatch(r"\d+(x\d+)+", word):
        plain = "x".join(part.lstrip("0") or "0" for part in word.split("x"))
        return problems.MalformedNumber(span=span, reason="a size does not begin with 0", instead=plain)
    if match := re.fullmatch(r"(\d+)(\?[A-Za-z_]\w*)", word):
        return problems.TouchingNumber(span=span, instead=f"{match[1]}*{match[2]}")
    if re.fullmatch(r"[\d._]+([eE][+-]?[\d_]*)?", word):
        return problems.MalformedNumber(span=span, reason=_reason(word), instead=_repaired(word))
    parts = word.split("x")
    is_list = len(parts) > 1 and all(re.fullmatch(r"0|[1-9]\d*|\??[A-Za-z_]\w*|\?", part) for part in parts)
    return problems.TouchingNumber(span=span, instead=f"[{', '.join(parts)}]" if is_list else None)


def _reason(word: str) -> str:
    if word.count(".") > 1:
        return "it has more than one point"
    if re.search(r"[eE][+-]?$", word):
        return "its exponent has no digits"
    if re.search(r"\.($|[eE])", word):
        return "digits are missing after its point"
    if re.match(r"0\d", word):
        return "a number does not begin with 0"
    return "`_` is allowed only between digits"


def _repaired(word: str) -> str | None:
    if re.fullmatch(r"\d+\.", word):
        return f"{word}0"
    if re.fullmatch(r"0+\d+", word):
        return word.lstrip("0") or "0"
    if re.fullmatch(r"[1-9][\d_]*", word):
        return re.sub("_+", "_", word).strip("_")
    return None
