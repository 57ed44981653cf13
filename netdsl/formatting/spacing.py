"""The space between two tokens of a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netdsl.formatting.structure import Piece

_TOUCHING = frozenset(("FIELD", "DOT", "TAIL", "HOLE", "CALL", "INDEX", "COMMA", "COLON", "RPAR", "RSQB"))
"""Terminals that follow without a space."""

_INSIDE = frozenset(("HOLE", "CALL", "GROUP", "LIST", "INDEX", "DOT", "MINUS"))
"""Terminals that are followed without a space."""

_ALWAYS_TIGHT = frozenset(("TIMES", "POWER"))
_TIGHT = _ALWAYS_TIGHT | {"PLUS", "COMPARE", "COLON"}


def separation(before: Piece, piece: Piece, *, tight: bool) -> str:
    """Return the space between two tokens: none, or one. Sums and comparisons in a `tight` context have none."""
    if piece.type in _TOUCHING or before.type in _INSIDE or (piece.type == "RBRACE" and tight):
        return ""
    if piece.type in _ALWAYS_TIGHT or before.type in _ALWAYS_TIGHT:
        return ""
    if tight and piece.type in _TIGHT:
        return " " if before.type == "UNKNOWN" and before.text[-1] in "eE" else ""  # `?1e+3` would be one number
    return before.space if tight and before.type in _TIGHT else " "
