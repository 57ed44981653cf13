"""Calls as other languages write them: parentheses, commas, `=`, dots, and values that are passed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.call_problems import CommaInCall, EqualsInCall, ParenthesesInCall, PythonCall
from netdsl.diagnostics.problem import Edit
from netdsl.syntax.mistake import Found
from netdsl.text import Span

if TYPE_CHECKING:
    from netdsl.syntax.mistake import Mistake
    from netdsl.syntax.tokens import Token
    from netdsl.text import Source

FUNCTIONS = ("len", "range", "zip", "enumerate", "sum", "min", "max", "round", "floor", "ceil", "sqrt", "log2")
"""What expressions call with parentheses."""

INFIX = ("if", "else", "and", "or", "not", "in")
"""Words that go on with an expression."""


def in_parentheses(mistake: Mistake) -> Found | None:
    """`conv(3x3, 64)`."""
    behind = mistake.tokens[mistake.head + 1 : mistake.head + 2]
    if not behind or "SKIP" not in mistake.level or mistake.index <= mistake.head + 1:
        return None
    head = mistake.tokens[mistake.head]
    if head.type != "NAME" or behind[0].text != "(" or behind[0].start != head.end:
        return None
    return Found(parentheses_in_call(mistake.source, mistake.span(head), mistake.tokens, behind[0]))


def parentheses_in_call(source: Source, head: Span, tokens: list[Token], opening: Token) -> ParenthesesInCall:
    """The problem, with the edits that take the parentheses and their commas away."""
    edits: list[Edit] = []
    for token in tokens[opening.index + 1 :]:
        if token.opener is opening:
            span = Span(source, opening.start, token.end)
            last = Span(source, token.start, token.end)
            space = " " if token.index > opening.index + 1 else ""
            edits = [Edit(Span(source, opening.start, opening.end), space), *edits, Edit(last, "")]
            return ParenthesesInCall(span=head.to(span), name=head.text, edits=tuple(edits))
        if token.type == "SEP":
            break
        if token.outer is opening and token.text in (",", "="):
            follows = source.text[token.end : token.end + 1]
            edits.append(Edit(Span(source, token.start, token.end), "" if follows in (" ", "\n") else " "))
    return ParenthesesInCall(span=head, name=head.text)


def punctuation(mistake: Mistake) -> Found | None:
    """A comma, a `=`, or a `:` among arguments."""
    if mistake.at_end or mistake.token.text not in (",", "=", ":") or not mistake.in_call:
        return None
    token, last = mistake.token, mistake.tokens[mistake.index - 1]
    text = mistake.source.text
    end = token.end + (text[token.end : token.end + 1] == " ")
    gap = Span(mistake.source, last.end, end)
    if token.text == ",":
        return Found(CommaInCall(span=mistake.span(token), gap=gap), harmless=True)
    if "NAME" not in last.choices:
        return None
    assignment = mistake.index == mistake.head + 1 and "SKIP" in mistake.level
    problem = EqualsInCall(
        span=mistake.span(token),
        name=mistake.span(last),
        gap=gap,
        assignment=assignment,
        result=_label(mistake, gap) if assignment else (),
    )
    return Found(problem, harmless=not assignment)


def _label(mistake: Mistake, gap: Span) -> tuple[Edit, ...]:
    """The edits that make `fc: dense 10` of `fc = dense 10`; none where an expression may follow."""
    from netdsl.diagnostics.foreign import is_layer

    head, behind, *_ = (*mistake.tokens[mistake.index + 1 : mistake.index + 3], None, None)
    if head is None or behind is None or "NAME" not in head.choices or behind.type == "SEP":
        return ()
    named = Edit(gap, ": ")
    if behind.text == "(" and behind.start == head.end and head.text not in FUNCTIONS and is_layer(head.text):
        called = parentheses_in_call(mistake.source, mistake.span(head), mistake.tokens, behind)
        return (named, *called.edits) if called.edits else ()
    begins_value = behind.text in ("{", "(", "[") or {"NAME", "NUMBER", "DIMS", "STRING"} & {*behind.choices}
    return (named,) if begins_value and behind.start > head.end and behind.text not in INFIX else ()


def in_python(mistake: Mistake) -> Found | None:
    """`x = F.relu(x)`, `self.conv1 = nn.Conv2d(3, 64, 3)`, `nn.ReLU()`."""
    tokens = mistake.tokens
    if mistake.at_end or "SKIP" not in mistake.level:
        return None
    name, at = _dotted(tokens, mistake.head)
    called, assigned = name, at < len(tokens) and tokens[at].text == "="
    if assigned:
        called, at = _dotted(tokens, at + 1)
    if not called or at >= len(tokens) or tokens[at].text != "(" or tokens[at].start != tokens[at - 1].end:
        return None
    given, end = _groups(tokens, at)
    passes = [name] if assigned else None
    is_passed = bool(passes) and any(group[:1] == passes for group in given)
    if not given or called in FUNCTIONS or ("." not in called and not is_passed):
        return None
    span = Span(mistake.source, tokens[mistake.head].start, end)
    return Found(_python_call(span, called, given, passes))


def _python_call(span: Span, called: str, given: list[list[str]], passes: list[str] | None) -> PythonCall:
    """The problem; where nothing but the value is passed on, what to write is certain."""
    from netdsl.diagnostics import foreign

    last = called.rpartition(".")[2]
    ours = foreign.called(last, foreign.OURS)
    certain = foreign.instead(last) is None and all(
        not group or group == passes or (passes is None and len(group) == 1 and group[0].isidentifier())
        for group in given
    )
    return PythonCall(span=span, name=called, ours=ours, statement=(ours or last) if certain else "")


def _dotted(tokens: list[Token], at: int) -> tuple[str, int]:
    """A name with its dots, `nn.Conv2d`, and the number of the token behind it; empty where there is none."""
    if at >= len(tokens) or "NAME" not in tokens[at].choices:
        return "", at
    text = tokens[at].text
    while at + 1 < len(tokens) and tokens[at + 1].start == tokens[at].end and tokens[at + 1].text.startswith("."):
        at += 1
        text += tokens[at].text
    return text, at + 1


def _groups(tokens: list[Token], at: int) -> tuple[list[list[str]], int]:
    """The texts in each of `(…)(…)`, and where the last ends; none where one is not closed."""
    groups: list[list[str]] = []
    end = 0
    while at < len(tokens) and tokens[at].text == "(" and (not groups or tokens[at].start == end):
        opening, texts = tokens[at], []
        while at + 1 < len(tokens) and tokens[at + 1].opener is not opening:
            at += 1
            texts.append(tokens[at].text)
        if at + 1 >= len(tokens):
            return [], 0
        end = tokens[at + 1].end
        groups.append(texts)
        at += 2
    return groups, end
