"""Where a position is: in which braces, in which statement, behind which words. The line need not parse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netdsl.desk.analysis import DeskAnalysis
    from netdsl.elaborate.references import Reference
    from netdsl.syntax.scan import Token

OPENING, CLOSING = ("(", "[", "{"), (")", "]", "}")
WORD = re.compile(r"[A-Za-z_]\w*\Z")


class Place:
    """The surroundings of an offset.

    `prefix` is the word that is being typed. `openers` are the brackets around it, the outermost first. `words` are the
    texts of the statement before the prefix, without its label; a bracketed part is its opening bracket. `owner` is the
    first word of the statement whose braces are the innermost, empty at the level of the file; `owners` those of all.
    """

    __slots__ = ("in_expression", "is_quoted", "openers", "owner", "owners", "prefix", "quoted", "start", "words")

    def __init__(self, analysis: DeskAnalysis, offset: int) -> None:
        text = analysis.source.text
        line = text[text.rfind("\n", 0, offset) + 1 : offset]
        found = WORD.search(line)
        self.prefix = found[0] if found else ""
        self.start = offset - len(self.prefix)
        self.is_quoted = line.count('"') % 2 == 1
        self.quoted = line.rpartition('"')[2] if self.is_quoted else ""
        levels: list[tuple[Token | None, list[Token]]] = [(None, [])]
        for token in analysis.scan.tokens if analysis.scan else ():
            if token.start >= self.start or (token.end > self.start and token.type != "SEP"):
                break
            if token.type == "SEP":
                levels[-1][1].clear()
            elif token.text in CLOSING:
                if len(levels) > 1:
                    levels.pop()
            else:
                levels[-1][1].append(token)
                if token.text in OPENING:
                    levels.append((token, []))
        self.openers = [opener for opener, _ in levels if opener]
        braces = [at for at, (opener, _) in enumerate(levels) if opener is None or _is_block(opener)]
        self.in_expression = braces[-1] < len(levels) - 1
        self.words = _without_label([token.text for token in levels[braces[-1]][1]])
        heads = [_without_label([token.text for token in levels[at - 1][1]]) for at in braces if at]
        self.owners = [head[0] if head else "" for head in heads]
        self.owner = self.owners[-1] if self.owners else ""
        if any("match" in head for head in heads[-1:]):
            self.in_expression = True

    @property
    def is_file(self) -> bool:
        """Whether no braces are open."""
        return not self.owners

    def sees(self, reference: Reference, analysis: DeskAnalysis) -> bool:
        """Return whether the name that a definition binds is visible here."""
        tokens = analysis.scan.tokens if analysis.scan else []
        token = next((each for each in tokens if each.start <= reference.span.start < each.end), None)
        if token is None or reference.span.start >= self.start:
            return False
        if reference.kind in ("label", "input"):
            outer = token.outer
            while outer is not None and outer not in self.openers:
                if tokens[outer.index - 1].text in (":", "seq"):
                    return False  # only by its path
                outer = outer.outer
            return outer is not None
        before = tokens[token.index - 1].text if token.index else ""
        if before == "let" or (token.outer is not None and token.outer.text == "["):
            return token.outer in self.openers
        braces = (each for each in tokens[token.index :] if each.text == "{" and "HOLE" not in each.choices[:1])
        following = next(braces, None)
        return following in self.openers if following is not None else False


def _is_block(opener: Token) -> bool:
    """Return whether a bracket encloses statements or lines."""
    return opener.text == "{" and opener.type != "HOLE"


def _without_label(words: list[str]) -> list[str]:
    """Return the words of a statement behind its label."""
    return words[words.index(":") + 1 :] if ":" in words and words[0] != "match" else words
