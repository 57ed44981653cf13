"""The terminals of the grammar, prepared for the lexer."""

from __future__ import annotations

import re
from functools import cache

from netdsl.syntax.table import load

TOUCHING = {"(": ("CALL", "GROUP"), "[": ("INDEX", "LIST"), "{": ("HOLE", "LBRACE")}
"""Terminals of opening brackets: directly after a word, and otherwise."""

PATTERNS = "NAME NUMBER DIMS UNKNOWN STRING FIELD DOT TAIL HOLE CALL INDEX SEP"
"""Terminals that are not lists of words or signs."""


class Lexicon:
    """`pieces` splits a text; `literals` maps words and signs to their terminals, except NAME."""

    __slots__ = ("dims", "literals", "number", "pieces", "touching", "unknown")

    def __init__(self, terminals: dict[str, str]) -> None:
        self.literals: dict[str, tuple[str, ...]] = {}
        for name, pattern in terminals.items():
            if name not in PATTERNS.split() and not name.startswith("__IGNORE"):
                for literal in _alternatives(pattern):
                    self.literals[literal] = (*self.literals.get(literal, ()), name)
        self.number = re.compile(terminals["NUMBER"])
        self.dims = re.compile(terminals["DIMS"])
        self.unknown = re.compile(terminals["UNKNOWN"])
        self.touching = {sign: re.compile(terminals[near]) for sign, (near, _) in TOUCHING.items()}
        self.pieces = re.compile(
            rf"(?P<space>[ \t]+)|(?P<tail>{terminals['TAIL']})|(?P<word>{terminals['NAME']})|(?P<newline>\n+|;+)"
            r"|(?P<number>[0-9?][A-Za-z0-9_.?]*(?:(?<=[0-9][eE])[+-](?=[0-9])[A-Za-z0-9_.?]+)*)"
            r"|(?P<bracket>[(\[{])|(?P<sign>=>|==|!=|<=|>=|\*\*|//|[-+*/%<>=)}\],:])"
            rf"|(?P<text>{terminals['STRING']})|(?P<comment>#[^\n]*)|(?P<open>\"[^\n]*?(?=[ \t;)\]}}]*(?:\n|\Z)))"
            r"|(?P<quoted>'[^'\n]*')"
            rf"|(?P<field>(?<=[A-Za-z0-9_}}]){terminals['FIELD']})|(?P<dot>{terminals['DOT']})|(?P<point>\.[0-9]+)"
            r"|(?P<illegal>.)"
        )


def _alternatives(pattern: str) -> list[str]:
    if pattern.startswith("(?:"):
        pattern = pattern[3:-1]
    return pattern.replace("\\", "").split("|")


@cache
def lexicon() -> Lexicon:
    return Lexicon({terminal.name: terminal.pattern.to_regexp() for terminal in load().terminals})
