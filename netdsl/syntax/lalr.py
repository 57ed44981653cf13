"""An LALR parser that is fed one token at a time: its table, its stacks, and the tree that it makes."""

from __future__ import annotations

TYPE_CHECKING = False  # importing `typing` costs more than this module
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from netdsl.syntax.scan import Token

    Part: TypeAlias = "Token | Tree"
    Rule = tuple[str, str, int, Sequence[int], bool]
    """A rule of the grammar: the nonterminal that it makes, the name of its tree, how many parts it has, which of them
    are replaced by their own parts, and whether a single part stands for the tree."""

END = "$END"
"""The terminal behind the last token."""


class Tree:
    """A node of the parse tree."""

    __slots__ = ("children", "data")

    def __init__(self, data: str, children: list[Part]) -> None:
        self.data = data
        self.children = children


class Table:
    """What a parser does: `states` has, for each state, what follows each terminal and nonterminal: the next state, or
    ~n to apply rule n. `terminals` are the patterns of terminals by name."""

    __slots__ = ("end", "rules", "start", "states", "terminals")

    def __init__(
        self,
        *,
        start: int,
        end: int,
        states: Mapping[int, Mapping[str, int]],
        rules: Sequence[Rule],
        terminals: Mapping[str, str],
    ) -> None:
        self.start = start
        self.end = end
        self.states = states
        self.rules = rules
        self.terminals = terminals


class Parser:
    """A parser between two tokens: `states` is one longer than `values`, the trees and tokens of the text so far."""

    __slots__ = ("states", "table", "values")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.states = [table.start]
        self.values: list[Part] = []

    @property
    def actions(self) -> Mapping[str, int]:
        """What the table has for the current state."""
        return self.table.states[self.states[-1]]

    def feed(self, token: Token) -> bool:
        """Apply the rules that end before the token, and shift it. Return whether the grammar accepts it here; if not,
        the rules have been applied."""
        table, states, values = self.table.states, self.states, self.values
        kind = token.type
        while True:
            action = table[states[-1]].get(kind)
            if action is None:
                return False
            if action >= 0:
                states.append(action)
                values.append(token)
                return True
            self._apply(~action)

    def finish(self) -> Tree | None:
        """Return the tree of the whole text, or None if the text cannot end here."""
        while True:
            action = self.actions.get(END)
            if action is None:
                return None
            self._apply(~action)
            if self.states[-1] == self.table.end:
                tree = self.values[-1]
                assert isinstance(tree, Tree)
                return tree

    def _apply(self, number: int) -> None:
        """Replace the parts of a rule by its tree."""
        made, name, size, inlined, single = self.table.rules[number]
        states, values = self.states, self.values
        parts = values[len(values) - size :]
        if size:
            del states[-size:], values[-size:]
        if inlined:
            parts = _inline(parts, inlined)
        values.append(parts[0] if single and len(parts) == 1 else Tree(name, parts))
        states.append(self.table.states[states[-1]][made])

    def accepted(self) -> set[str]:
        """Return the terminals that the grammar accepts here."""
        return {kind for kind in self.actions if kind.isupper() and self._accepts(kind)}

    def _accepts(self, kind: str) -> bool:
        states = list(self.states)
        while states[-1] != self.table.end:
            action = self.table.states[states[-1]].get(kind)
            if action is None:
                return False
            if action >= 0:
                return True
            made, _, size, *_ = self.table.rules[~action]
            del states[len(states) - size :]
            states.append(self.table.states[states[-1]][made])
        return True


def _inline(parts: list[Part], inlined: Sequence[int]) -> list[Part]:
    """Replace the trees at `inlined` by their parts. A list that stands first is extended in place, so that a long
    repetition takes linear time."""
    made: list[Part] = []
    for index, part in enumerate(parts):
        if index not in inlined:
            made.append(part)
        else:
            assert isinstance(part, Tree)
            made = [*made, *part.children] if made else part.children
    return made
