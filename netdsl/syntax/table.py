"""The parser's table, and the terminals of its grammar prepared for the lexer.

The table is prebuilt if it fits the grammar and Lark, otherwise built in memory. `python -m netdsl.syntax.table`
prebuilds it, after a change of the grammar or of Lark.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import sys
from functools import cache
from hashlib import sha256
from typing import Any

import lark
from lark.parsers.lalr_analysis import Shift

from netdsl.base.paths import data

TOUCHING = {"(": ("CALL", "GROUP"), "[": ("INDEX", "LIST"), "{": ("HOLE", "LBRACE")}
"""Terminals of opening brackets: directly after a word, and otherwise."""

PATTERNS = "NAME NUMBER DIMS UNKNOWN STRING FIELD DOT TAIL HOLE CALL INDEX SEP"
"""Terminals that are not lists of words or signs."""

UNLIMITED = 2**32 - 1
"""Width of a pattern without a limit."""

PREBUILT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "net.parser")


def grammar() -> str:
    """Return the text of the grammar."""
    with open(os.path.join(data("grammars"), "net.lark"), encoding="utf-8") as file:
        return file.read()


def key(text: str) -> bytes:
    """Return the identity of the sources of a prebuilt parser: the first line of its file."""
    return f"lark {lark.__version__} grammar {sha256(text.encode()).hexdigest()}\n".encode()


def build_parser(text: str) -> lark.Lark:
    """Build the parser from the grammar, which is slow. Lark's own lexer in it is not used."""
    parser = lark.Lark(text, parser="lalr", lexer="basic", keep_all_tokens=True, maybe_placeholders=False)
    _number_states(parser.parser.parser._parse_table)
    return parser


def _number_states(table: Any) -> None:
    """Number the states of a table in breadth-first order: Lark iterates over sets, whose order is not stable."""
    order = dict.fromkeys(table.start_states.values())
    todo = list(order)
    for state in todo:
        actions = table.states[state] = dict(sorted(table.states[state].items()))
        after = [target for action, target in actions.values() if action is Shift and target not in order]
        order.update(dict.fromkeys(after))
        todo += dict.fromkeys(after)
    numbers = {state: number for number, state in enumerate(order)}
    table.states = {
        numbers[state]: {
            word: (action, numbers[target] if action is Shift else target)
            for word, (action, target) in table.states[state].items()
        }
        for state in order
    }
    for ends in (table.start_states, table.end_states):
        ends.update({start: numbers[state] for start, state in ends.items()})


@cache
def load_parser() -> lark.Lark:
    text = grammar()
    try:
        with open(PREBUILT, "rb") as file:
            if file.readline() == key(text):
                return lark.Lark.load(file)
    except FileNotFoundError:
        pass
    return build_parser(text)


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
    return Lexicon({terminal.name: terminal.pattern.to_regexp() for terminal in load_parser().terminals})


def _normal(value: Any) -> Any:
    """Return data with equal strings as one object, and with one unlimited width, so that equal grammars have one
    pickle: releases of Python have different numbers for the width of a pattern without a limit."""
    if isinstance(value, dict):
        return {_normal(name): _normal(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_normal, value))
    if isinstance(value, int):
        return min(value, UNLIMITED)
    return sys.intern(value) if isinstance(value, str) else value


def prebuilt(text: str) -> bytes:
    """Return the contents of the prebuilt table, which depend on the grammar and on Lark alone."""
    saved = io.BytesIO()
    build_parser(text).save(saved)
    return key(text) + pickle.dumps(_normal(pickle.loads(saved.getvalue())), pickle.HIGHEST_PROTOCOL)


def main() -> None:
    """Write the prebuilt table."""
    contents = prebuilt(grammar())
    with open(PREBUILT, "wb") as file:
        file.write(contents)


if __name__ == "__main__":
    main()
