"""The parser's table, and the terminals of its grammar prepared for the lexer.

The table is prebuilt if it fits the grammar, otherwise built in memory by Lark, which is imported only then.
`python -m netdsl.syntax.table` prebuilds it, after a change of the grammar.
"""

from __future__ import annotations

import os
import re
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from netdsl.base.paths import data
from netdsl.syntax.lalr import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import lark

TOUCHING = {"(": ("CALL", "GROUP"), "[": ("INDEX", "LIST"), "{": ("HOLE", "LBRACE")}
"""Terminals of opening brackets: directly after a word, and otherwise."""

PATTERNS = "NAME NUMBER DIMS UNKNOWN STRING FIELD DOT TAIL HOLE CALL INDEX SEP"
"""Terminals that are not lists of words or signs."""

SECTION = "\n---\n"
"""What separates the sections of the prebuilt table."""

PREBUILT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "net.parser")


def grammar() -> str:
    """Return the text of the grammar."""
    with open(os.path.join(data("grammars"), "net.lark"), encoding="utf-8") as file:
        return file.read()


@cache
def load_table() -> Table:
    text = grammar()
    try:
        with open(PREBUILT, encoding="utf-8") as file:
            sections = file.read().split(SECTION, 4)
        if sections[-1] == text:
            return _read(*sections[:-1])
    except (FileNotFoundError, ValueError, TypeError):
        pass
    return Table(**build(text))


class _States(dict[int, "dict[str, int]"]):
    """The states of a prebuilt table, each read from its line when the parser first comes to it."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def __missing__(self, state: int) -> dict[str, int]:
        words = self.lines[state].split()
        found = self[state] = dict(zip(words[::2], map(int, words[1::2]), strict=True))
        return found


def _read(end: str, terminals: str, rules: str, states: str) -> Table:
    """Return a prebuilt table from its sections."""
    patterns = (line.split(" ", 1) for line in terminals.split("\n"))
    made = (line.split(" ") for line in rules.split("\n"))
    return Table(
        start=0,
        end=int(end),
        states=_States(states.split("\n")),
        rules=[
            (origin, name, int(size), [*map(int, inlined)], single == "1")
            for origin, name, size, single, *inlined in made
        ],
        terminals={name: pattern.encode().decode("unicode_escape") for name, pattern in patterns},
    )


def build_parser(text: str) -> lark.Lark:
    """Build Lark's parser from the grammar, which is slow. Its lexer is not used."""
    import lark

    return lark.Lark(text, parser="lalr", lexer="basic", keep_all_tokens=True, maybe_placeholders=False)


def build(text: str) -> dict[str, Any]:
    """Return the fields of the table of a grammar. They depend on the grammar alone: rules and states are numbered in
    breadth-first order, since Lark iterates over sets, whose order is not stable."""
    parser = build_parser(text)
    table: Any = parser.parser.parser._parse_table
    (start,), (end,) = table.start_states.values(), table.end_states.values()
    order: dict[Any, int] = {start: 0}
    rules: dict[Any, int] = {}
    todo = [start]
    for state in todo:
        for _, (action, target) in sorted(table.states[state].items()):
            if action.name != "Shift":
                rules.setdefault(target, len(rules))
            elif target not in order:
                order[target] = len(order)
                todo.append(target)
    states = {
        number: {
            symbol: order[target] if action.name == "Shift" else ~rules[target]
            for symbol, (action, target) in sorted(table.states[state].items())
        }
        for state, number in order.items()
    }
    terminals = {terminal.name: terminal.pattern.to_regexp() for terminal in parser.terminals}
    fields = {"start": 0, "end": order[end], "states": states, "rules": [*map(_rule, rules)]}
    return fields | {"terminals": terminals}


def _rule(rule: Any) -> tuple[str, str, int, list[int], bool]:
    """Return a rule as `lalr.Rule`."""
    parts = rule.expansion
    inlined = [index for index, part in enumerate(parts) if not part.is_term and part.name.startswith("_")]
    single = rule.options.expand1 and not rule.alias
    return rule.origin.name, rule.alias or rule.origin.name, len(parts), inlined, single


class Lexicon:
    """`pieces` splits a text; `literals` maps words and signs to their terminals, except NAME."""

    __slots__ = ("dims", "literals", "number", "pieces", "touching", "unknown")

    def __init__(self, terminals: Mapping[str, str]) -> None:
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
    return Lexicon(load_table().terminals)


def prebuilt(text: str) -> str:
    """Return the contents of the prebuilt table: the number of the last state, the terminals, the rules and the states,
    each on its line, and the grammar. This is faster to read than JSON."""
    fields = build(text)
    rules = [(made, name, size, int(single), *inlined) for made, name, size, inlined, single in fields["rules"]]
    tables = (
        [(name, pattern.encode("unicode_escape").decode()) for name, pattern in fields["terminals"].items()],
        rules,
        [chain.from_iterable(state.items()) for state in fields["states"].values()],
    )
    lines = ("\n".join(" ".join(map(str, row)) for row in rows) for rows in tables)
    return SECTION.join([str(fields["end"]), *lines, text])


def main() -> None:
    """Write the prebuilt table."""
    contents = prebuilt(grammar())
    with open(PREBUILT, "w", encoding="utf-8", newline="\n") as file:
        file.write(contents)


if __name__ == "__main__":
    main()
