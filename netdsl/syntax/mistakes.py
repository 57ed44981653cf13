"""Find the most likely mistake that explains a token that does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.suggest import suggest
from netdsl.base.terminal import shortened
from netdsl.base.text import Span
from netdsl.diagnostics.edits import before
from netdsl.diagnostics.problem import Edit, Suggestion
from netdsl.diagnostics.syntax_problems import ItemInside, StatementOutside, UnexpectedToken, UnknownItem
from netdsl.syntax.call_mistakes import component_call, in_parentheses, in_python, punctuation
from netdsl.syntax.mistake import Found
from netdsl.syntax.notation import labelled_statement, other_notation, unnamed, unquoted
from netdsl.syntax.translate import channels_first_dims
from netdsl.syntax.words import FOREIGN, ITEM_WORDS, STATEMENTS, readable

if TYPE_CHECKING:
    from netdsl.syntax.mistake import Mistake
    from netdsl.syntax.scan import Token


def explain(mistake: Mistake) -> Found:
    """Return the problem that fits best."""
    if found := unquoted(mistake) or labelled_statement(mistake):
        return found
    for attempt in (in_python, in_parentheses, component_call):
        if (found := attempt(mistake)) and found.absorbs:
            return found
    if not mistake.at_end and mistake.token.type == "BAD":
        return Found(None)
    for attempt in (_outside, _inside, in_python, in_parentheses, punctuation, unnamed, other_notation, _unseparated):
        if found := attempt(mistake):
            return found
    return Found(_unexpected(mistake))


def _outside(mistake: Mistake) -> Found | None:
    """Explain a word at file level that begins no definition."""
    if "USE" not in mistake.level or mistake.index != mistake.start or mistake.at_end:
        return None
    token = mistake.token
    span = mistake.span(token)
    if "NAME" not in token.choices:
        return None
    following = mistake.tokens[mistake.index + 1 : mistake.index + 2]
    named = bool(following) and ("NAME" in following[0].choices or following[0].type == "STRING")
    if token.text not in STATEMENTS and named:
        near = [token.text.lower()] if token.text.lower() in FOREIGN else suggest(token.text, (*ITEM_WORDS, *FOREIGN))
        if near:
            return Found(UnknownItem(span=span, candidate=_item(near[0], mistake)))
    return Found(StatementOutside(span=span))


def _item(word: str, mistake: Mistake) -> str:
    """Return the definition that another language's word means: a function with braces is a block."""
    ours = FOREIGN.get(word, word)
    line = mistake.source.text[mistake.token.start :].partition("\n")[0]
    return "block" if ours == "fn" and "{" in line and "=" not in line.partition("{")[0] else ours


def _inside(mistake: Mistake) -> Found | None:
    """Explain a definition among statements."""
    if "SKIP" not in mistake.level or mistake.at_end or mistake.word not in ("net", "block", "fn", "train", "use"):
        return None
    head = mistake.tokens[mistake.head]
    return Found(ItemInside(span=mistake.span(head))) if mistake.index > mistake.head else None


def _unseparated(mistake: Mistake) -> Found | None:
    """Explain a statement directly after the `}` of another."""
    if mistake.at_end or mistake.index == 0 or mistake.index == mistake.start:
        return None
    last = mistake.tokens[mistake.index - 1]
    if last.text != "}" or "NAME" not in mistake.token.choices or "SEP" not in mistake.accepted():
        return None
    return Found(_unexpected(mistake), separate=True)


def _unexpected(mistake: Mistake) -> UnexpectedToken:
    accepted = mistake.accepted()
    if mistake.at_end:
        end = len(mistake.source.text)
        return UnexpectedToken(
            span=Span(mistake.source, end, end), found="end of the file", expected=readable(accepted)
        )
    token = mistake.token
    return UnexpectedToken(
        span=mistake.span(token), found=_called(token), expected=readable(accepted), advice=_advice(mistake, accepted)
    )


def _called(token: Token) -> str:
    if token.type == "SEP":
        return "end of the line" if token.is_newline else "`;`"
    return f"`{shortened(token.text)}`" if token.text else "end of the file"


def _advice(mistake: Mistake, accepted: set[str]) -> Suggestion | None:
    """Return a hint for frequent mistakes."""
    token = mistake.token
    if token.type == "IF" and mistake.in_call:
        return Suggestion("put a value with `if` into parentheses: `conv 3x3 (64 if wide else 32)`")
    if mistake.index and mistake.tokens[mistake.index - 1].type == "SPREAD":
        return Suggestion("write `spread on`", before(mistake.span(token), "on "))
    inside = token.outer and token.outer.type == "HOLE"
    hole = token.outer if inside else mistake.tokens[mistake.index - 1].opener
    if hole and hole.type == "HOLE" and (inside or "LBRACE" in accepted):
        return Suggestion("a `{` that touches a word interpolates a label", before(mistake.span(hole), " "))
    if "NAME" in token.choices:
        words = [kind.lower() for kind in accepted if kind.isalpha() and len(kind) > 1]
        if near := suggest(token.text, words):
            return Suggestion(f"did you mean `{near[0]}`?", Edit(mistake.span(token), near[0]))
    if token.text == "," and "RPAR" in accepted and (opening := token.outer):
        closing = next(t for t in mistake.tokens[mistake.index :] if t.opener is opening)
        whole = Span(mistake.source, opening.start, closing.end)
        values = channels_first_dims(whole.text) if whole.text.count(",") else ""
        return Suggestion("several values are a list, `[a, b]`", Edit(whole, values or f"[{whole.text[1:-1]}]"))
    return None
