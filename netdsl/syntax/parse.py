"""Parse tokens with the grammar's LALR table, recovering at the next statement, and build the AST."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Rejected
from netdsl.syntax import ast
from netdsl.syntax.build import Builder
from netdsl.syntax.lalr import END, Parser, Tree
from netdsl.syntax.mistake import Mistake
from netdsl.syntax.scan import MOST_PROBLEMS, SEPARATOR, Scan, Token
from netdsl.syntax.table import load_table
from netdsl.syntax.words import ITEM_WORDS, STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.text import Source
    from netdsl.diagnostics.report import Report


class Parsed:
    """The tree of a text, with the tokens that the grammar took, up to `$END`, and the comments as (start, end)."""

    __slots__ = ("comments", "file", "tokens")

    def __init__(self, file: ast.File, tokens: Sequence[Token] = (), comments: Sequence[tuple[int, int]] = ()) -> None:
        self.file = file
        self.tokens = tokens
        self.comments = comments


def parse(source: Source, report: Report) -> ast.File:
    """Return the tree of a text. Errors go to the report, and are `Broken` in the tree."""
    return parse_tokens(source, report).file


def parse_tokens(source: Source, report: Report) -> Parsed:
    """Parse a text like `parse`. The tokens are complete if the tree is not broken."""
    try:
        scan = Scan(source, report.work)
    except Rejected as rejected:
        report.add(rejected.problem)
        return Parsed(ast.File(source, (), True))
    for problem in scan.problems[:MOST_PROBLEMS]:
        report.add(problem)
    if scan.too_deep:
        return Parsed(ast.File(source, (), True))
    parser = _Parser(scan, report)
    tree = parser.run()
    if (parser.broken or scan.problems) and _is_foreign(source, report):
        return Parsed(ast.File(source, (), True))
    items, sound = Builder(scan, report).build(tree)
    file = ast.File(source, items, parser.broken or bool(scan.problems) or not sound)
    return Parsed(file, parser.taken, scan.comments)


def _is_foreign(source: Source, report: Report) -> bool:
    """Return whether a text is in another language, after replacing all of its problems by that one."""
    from netdsl.syntax.notation import other_language

    foreign = other_language(source)
    if foreign is None:
        return False
    for problem in [problem for problem in report if problem.span.source is source]:
        report.discard(problem)
    report.add(foreign)
    return True


class _Parser:
    """One run over the tokens.

    `faults` are the offsets of what has been reported: a statement is blamed once. `outside` is the token after the
    last statement outside of a net: of several in a row, only the first is reported. `signs` are the statements and
    kinds of harmless mistakes that have been reported, each kind once. `taken` are the tokens that were shifted.
    """

    def __init__(self, scan: Scan, report: Report) -> None:
        self.source = scan.source
        self.tokens = scan.tokens
        self.taken: list[Token] = []
        self.report = report
        self.faults = sorted(problem.span.start for problem in scan.problems)
        self.scan_problems = scan.problems
        self.mistakes = 0
        self.broken = False
        self.last_error = -1
        self.outside = -1
        self.ignored = -1
        self.signs: set[tuple[int, type] | None] = set()
        self.parser = Parser(load_table())

    def run(self) -> Tree:
        index, count = 0, len(self.tokens)
        while True:
            while index < count:
                token = self.tokens[index]
                if self._feed(token):
                    index += 1
                elif self._is_ignored(token):
                    self.ignored = index
                    index += 1
                else:
                    index = self._recover(index)
            tree = self.parser.finish()
            if tree is not None:
                self.taken.append(Token((END,), "", len(self.source.text)))
                return tree
            index = self._recover(count)

    def _feed(self, token: Token) -> bool:
        """Resolve the type of the token, and shift it if the grammar accepts it."""
        actions = self.parser.actions
        if len(token.choices) > 1:
            token.type = next((choice for choice in token.choices if choice in actions), token.choices[0])
        accepted = self.parser.feed(token)
        if accepted:
            self.taken.append(token)
        return accepted

    def _is_ignored(self, token: Token) -> bool:
        """Return whether a newline has no effect: where no separator is allowed, unless a statement follows."""
        if not token.is_newline:
            return False
        first, *rest = (*self.tokens[token.index + 1 : token.index + 3], token)
        keyword = first.text in STATEMENTS.union(ITEM_WORDS) and "NAME" in first.choices[1:]
        is_function = rest and rest[0].choices[0] == "CALL"
        return not keyword or is_function or first.choices[0] in self.parser.actions

    def _recover(self, index: int) -> int:
        """Report the error, replace the statement by Broken, and return the index of the token to continue with."""
        self.broken = True
        if self.ignored == index - 1 >= 0:
            index, self.ignored = index - 1, -1  # the statement ended with its line after all
        height = self._height(index)
        if not height:
            return index + 1
        start = self._start(height, index)
        if self.mistakes < MOST_PROBLEMS and index != self.last_error:
            self.mistakes += 1
            level = self.parser.table.states[self.parser.states[height - 1]]
            from netdsl.syntax.mistakes import explain

            found = explain(Mistake(self.source, self.tokens, start, index, level, self.parser))
            run_on = isinstance(found.problem, problems.StatementOutside) and start == self.outside
            if isinstance(found.problem, problems.StatementOutside):
                self.outside = self._stop(start, index) + 1
            sign = (start, type(found.problem)) if found.harmless else None
            if found.absorbs:
                self._absorb(start, index)
            blamed = sign in self.signs if sign else self._is_blamed(start, index)
            if found.problem and not run_on and not blamed:
                self.report.add(found.problem)
                insort(self.faults, found.problem.span.start)
                self.signs.add(sign)
            if found.harmless:
                return index + 1
            if found.separate and self._feed(Token(SEPARATOR, "", self.tokens[index].start)):
                return index
        self.last_error = index
        stop = self._stop(start, index)
        self._cut(height, start, stop)
        return stop

    def _height(self, index: int) -> int:
        """Return the height of the stack up to where Broken is accepted; 0 if it is nowhere.

        A second error at one token means that the cut was too small: then the statement around it is cut.
        """
        states, values = self.parser.states, self.parser.values
        height = len(states)
        if index == self.last_error:
            is_open = (n for n in range(len(values), 0, -1) if getattr(values[n - 1], "type", "") == "LBRACE")
            height = next(is_open, 0)
        while height and "BROKEN" not in self.parser.table.states[states[height - 1]]:
            height -= 1
        return height

    def _start(self, height: int, index: int) -> int:
        """Return the index of the first token above this height of the stack."""
        values = self.parser.values
        if height > len(values):
            return index
        value = values[height - 1]
        while isinstance(value, Tree):
            value = value.children[0]
        return value.index if value.index >= 0 else index

    def _stop(self, start: int, index: int) -> int:
        """Return the index of the token that ends the statement: its separator, or the bracket that closes the
        enclosing braces."""
        if start >= len(self.tokens):
            return start
        outer = self.tokens[start].outer
        for stop in range(index, len(self.tokens)):
            token = self.tokens[stop]
            if (token.type == "SEP" and token.outer is outer) or (outer and token.opener is outer):
                return stop
        return len(self.tokens)

    def _cut(self, height: int, start: int, stop: int) -> None:
        del self.parser.states[height:], self.parser.values[height - 1 :]
        offset = self.tokens[start].start if start < len(self.tokens) else len(self.source.text)
        broken = Token(("BROKEN",), "", offset)
        broken.index = start
        if stop > start:
            broken.end = self.tokens[stop - 1].end
        taken = self._feed(broken)
        assert taken, "Broken is accepted where the stack was cut"

    def _absorb(self, start: int, index: int) -> None:
        """Withdraw what the lexer has reported of a statement."""
        begin, end = self.tokens[start].start, self.tokens[self._stop(start, index) - 1].end
        for problem in self.scan_problems:
            if begin <= problem.span.start < end:
                self.report.discard(problem)
                self.faults.remove(problem.span.start)
        self.scan_problems = [p for p in self.scan_problems if not begin <= p.span.start < end]

    def _is_blamed(self, start: int, index: int) -> bool:
        """Return whether something between these tokens has been reported already."""
        if start >= len(self.tokens):
            return bool(self.faults)
        first = bisect_left(self.faults, self.tokens[start].start)
        last = self.tokens[min(index, len(self.tokens) - 1)]
        return first < len(self.faults) and self.faults[first] < max(last.end, last.start + 1)
