"""Explain calls in the notation of other languages: parentheses, commas, `=`, dots, and values that are passed on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.base.text import Span
from netdsl.diagnostics.call_problems import (
    AssignmentInBody,
    CommaInCall,
    EqualsInCall,
    ParenthesesInCall,
    PythonCall,
    TwoLabels,
)
from netdsl.diagnostics.problem import Edit
from netdsl.diagnostics.syntax_problems import OtherNotation
from netdsl.syntax.mistake import Found
from netdsl.syntax.translate import KEYWORDS, PLACES, channels_first_dims, paddings, statement
from netdsl.syntax.words import FOREIGN

if TYPE_CHECKING:
    from netdsl.base.text import Source
    from netdsl.syntax.mistake import Mistake
    from netdsl.syntax.scan import Token
    from netdsl.syntax.translate import Given

FUNCTION_NAMES = (
    "len",
    "range",
    "zip",
    "enumerate",
    "reversed",
    "sorted",
    "min",
    "max",
    "abs",
    "round",
    "floor",
    "ceil",
    "sqrt",
    "log2",
    "sum",
    "prod",
)
"""Functions that expressions call with parentheses."""

_OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", ">", "<=", ">=", "[", "if", "and", "or")
"""What can follow the first operand of an expression."""

INFIX = ("if", "else", "and", "or", "not", "in")
"""Words that continue an expression."""


def in_parentheses(mistake: Mistake) -> Found | None:
    """`conv(3x3, 64)`."""
    following = mistake.tokens[mistake.head + 1 : mistake.head + 2]
    if not following or "SKIP" not in mistake.level or mistake.index <= mistake.head + 1:
        return None
    head = mistake.tokens[mistake.head]
    if head.type != "NAME" or following[0].text != "(" or following[0].start != head.end:
        return None
    problem = parentheses_in_call(mistake.source, mistake.span(head), mistake.tokens, following[0])
    return Found(problem, absorbs=bool(problem.statement))


def parentheses_in_call(source: Source, head: Span, tokens: list[Token], opening: Token) -> ParenthesesInCall:
    """Return the problem, with the statement that was meant."""
    group = call_arguments(source, tokens, opening)
    if group is None:
        return ParenthesesInCall(span=head, name=head.text)
    given, closing = group
    side_by_side = " ".join([head.text, *(part for each in given for part in each if part)])
    meant = statement(head.text, given)
    if meant is None and given and given[0][1].isidentifier():
        meant = statement(head.text, given[1:])  # the value that is passed on
    certain = not any(_joins_numbers(tokens, token) for token in tokens[opening.index : closing.index])
    return ParenthesesInCall(
        span=Span(source, head.start, closing.end),
        name=head.text,
        statement=meant or side_by_side,
        translated=meant not in (None, side_by_side),
        certain=certain and meant in (None, side_by_side) and "#" not in source.text[head.start : closing.end],
    )


def call_arguments(source: Source, tokens: list[Token], opening: Token) -> tuple[Given, Token] | None:
    """Return the arguments in parentheses, each with its keyword or an empty text, and what closes them."""
    given: list[tuple[str, str]] = []
    part: list[Token] = []
    for token in tokens[opening.index + 1 :]:
        if token.opener is not opening and not (token.text == "," and token.outer is opening):
            part.append(token)
            continue
        if part:
            named = len(part) > 2 and part[1].text == "="
            begin = part[2] if named else part[0]
            given.append((part[0].text if named else "", source.text[begin.start : part[-1].end]))
        part = []
        if token.opener is opening:
            return given, token
    return None


def _is_sign(token: Token, outer: Token | None) -> bool:
    return token.outer is outer and token.text in (",", "=", ":")


def _spaced(source: Source, token: Token) -> Edit:
    """Return the edit that puts one space in place of a sign and the blanks around it."""
    text, start, end = source.text, token.start, token.end
    while text[start - 1] == " ":
        start -= 1
    while text[end : end + 1] == " ":
        end += 1
    return Edit(Span(source, start, end), "" if text[end : end + 1] in ("\n", "") else " ")


def _joins_numbers(tokens: list[Token], token: Token) -> bool:
    """Return whether a comma is between two numbers, where it may also be part of a number or a tuple."""
    around = tokens[token.index - 1 : token.index + 2 : 2]
    if token.text != "," or len(around) < 2:
        return False
    before, after = around
    touching = before.end == token.start and token.end == after.start and after.text[:1].isdecimal()
    return before.type == "NUMBER" and (after.type == "NUMBER" or touching)


def punctuation(mistake: Mistake) -> Found | None:
    """Explain commas, `=` and `:` among arguments: all of a statement at once."""
    if mistake.at_end or mistake.token.text not in (",", "=", ":") or not mistake.in_call:
        return None
    token, last = mistake.token, mistake.tokens[mistake.index - 1]
    if token.text != "," and "NAME" not in last.choices:
        return None
    if token.text == "=" and mistake.index == mistake.head + 2 and FOREIGN.get(mistake.word) == "let":
        word = mistake.span(mistake.tokens[mistake.head])
        return Found(OtherNotation(span=word, instead="`let` names a constant", edits=(Edit(word, "let"),)))
    if mistake.index == mistake.head + 1 and token.text != "," and "SKIP" in mistake.level:
        return _assigned(mistake)
    head, end = mistake.tokens[mistake.head], mistake.tokens[mistake.statement_end - 1]
    signs = [each for each in mistake.tokens[mistake.head + 1 : end.index + 1] if _is_sign(each, token.outer)]
    alike = tuple(mistake.span(each) for each in signs if (each.text == ",") == (token.text == ","))
    whole = Span(mistake.source, head.start, end.end)
    meant = _side_by_side(mistake) if "SKIP" in mistake.level else ""
    certain = not any(_joins_numbers(mistake.tokens, each) or _before_layer(mistake.tokens, each) for each in signs)
    if head.text == "bn" and any(each.text == "momentum" for each in mistake.tokens[head.index : end.index]):
        certain = False  # Keras' is 1 minus ours
    data: dict[str, Any] = {
        "span": mistake.span(token),
        "others": alike[1:],
        "whole": whole,
        "statement": meant,
        "edits": _apart([_removed(mistake, each) for each in signs]),
        "certain": certain,
    }
    going_on = {"harmless": certain and not meant, "absorbs": bool(meant)}
    if token.text == ",":
        return Found(CommaInCall(**data), **going_on)
    return Found(EqualsInCall(name=mistake.span(last), **data), **going_on)


def _apart(edits: list[Edit]) -> tuple[Edit, ...]:
    """Return the edits without those that touch the one before, as of two signs in a row."""
    found: list[Edit] = []
    for edit in edits:
        if not found or found[-1].span.end <= edit.span.start:
            found.append(edit)
        else:
            found[-1] = Edit(found[-1].span.to(edit.span), " ")
    return tuple(found)


def _removed(mistake: Mistake, sign: Token) -> Edit:
    """Return the edit that removes a sign, turns `3,3` into dims, or `conv 3x3 8, relu` into statements."""
    edit = _spaced(mistake.source, sign)
    if _joins_numbers(mistake.tokens, sign) and edit.span.text == ",":
        return Edit(edit.span, "x")
    return Edit(edit.span, "; ") if _before_layer(mistake.tokens, sign) else edit


def _before_layer(tokens: list[Token], sign: Token) -> bool:
    """Return whether a comma is between two layers."""
    from netdsl.diagnostics.foreign import is_layer

    following = tokens[sign.index + 1 : sign.index + 2]
    if sign.text != "," or not following or following[0].text in KEYWORDS:
        return False
    return "NAME" in following[0].choices and is_layer(following[0].text)


def _side_by_side(mistake: Mistake) -> str:
    """Return the statement that a call with another framework's keywords means; empty where only signs are wrong."""
    from netdsl.diagnostics import foreign

    head = mistake.tokens[mistake.head]
    given: list[tuple[str, str]] = []
    if head.type == "INPUT":
        name = mistake.tokens[mistake.head + 1]
        shape = channels_first_dims(
            mistake.source.text[name.end : mistake.tokens[mistake.statement_end - 1].end].strip()
        )
        return f"input {name.text} {shape}" if shape and mistake.token.text == "," else ""
    at, end = mistake.head + 1, mistake.statement_end
    while at < end:
        keyword = ""
        if at + 2 < end and mistake.tokens[at + 1].text == "=":
            keyword, at = mistake.tokens[at].text, at + 2
        first = mistake.tokens[at]
        while at + 1 < end and mistake.tokens[at + 1].outer is not head.outer:
            at += 1
        last = mistake.tokens[min(at + 1, end - 1)] if first.text in ("(", "[") else mistake.tokens[at]
        at = last.index + 1
        if first.text != ",":
            given.append((keyword, mistake.source.text[first.start : last.end]))
    words = [keyword for keyword, _ in given if keyword]
    named = {*foreign.ARGUMENTS, *foreign.NEEDLESS, *PLACES.get(head.text, ())}
    others = any(word in named for word in words)
    quoted = any(text[:1] in ("'", '"', "(") for _, text in given)
    return (statement(head.text, given) or "") if others or quoted else ""


def _assigned(mistake: Mistake) -> Found:
    """Explain `n = 2`, `fc = dense 10`, `x = Input(shape=(1, 28, 28))` and `a: b: relu`."""
    from netdsl.diagnostics.foreign import called, is_layer

    token, last = mistake.token, mistake.tokens[mistake.index - 1]
    if token.text == ":":
        label = mistake.tokens[mistake.start]
        return Found(TwoLabels(span=mistake.span(last), first=mistake.span(label)))
    value = mistake.tokens[mistake.index + 1 : mistake.index + 3]
    if len(value) == 2 and value[1].text == "(" and called(value[0].text, ("input",)) == "input":
        group = call_arguments(mistake.source, mistake.tokens, value[1])
        written = statement("Input", group[0], label=last.text) if group else None
        if group and written:
            span = Span(mistake.source, last.start, group[1].end)
            return Found(PythonCall(span=span, name=value[0].text, ours="input", statement=written), absorbs=True)
    gap = _spaced(mistake.source, token).span
    result = _label(mistake, gap)
    bare = bool(value) and "NAME" in value[0].choices and (len(value) == 1 or value[1].text not in ("(", *_OPERATORS))
    problem = AssignmentInBody(
        span=mistake.span(token),
        name=mistake.span(last),
        result=result,
        sum=_sum(mistake, gap),
        certain=not bare and not is_layer(last.text),
    )
    return Found(problem)


def _sum(mistake: Mistake, gap: Span) -> tuple[Edit, ...]:
    """Return the edits from `c = a + b` to `c: add a b`."""
    first, sign, second, *end = (*mistake.tokens[mistake.index + 1 : mistake.index + 5], None, None, None)
    if first is None or sign is None or second is None or (end[0] is not None and end[0].type not in ("SEP", "RBRACE")):
        return ()
    merge = {"+": "add", "-": "sub", "*": "mul", "/": "div"}.get(sign.text)
    if merge is None or "NAME" not in first.choices or "NAME" not in second.choices:
        return ()
    whole = Span(mistake.source, gap.start, second.end)
    return (Edit(whole, f": {merge} {first.text} {second.text}"),)


def _label(mistake: Mistake, gap: Span) -> tuple[Edit, ...]:
    """Return the edits from `fc = dense 10` to `fc: dense 10`; none if an expression may follow."""
    from netdsl.diagnostics.foreign import is_layer

    head, following, *_ = (*mistake.tokens[mistake.index + 1 : mistake.index + 3], None, None)
    if head is None or following is None or "NAME" not in head.choices or following.type == "SEP":
        return ()
    named = Edit(gap, ": ")
    if (
        following.text == "("
        and following.start == head.end
        and head.text not in FUNCTION_NAMES
        and is_layer(head.text)
    ):
        called = parentheses_in_call(mistake.source, mistake.span(head), mistake.tokens, following)
        return (Edit(gap.to(called.span), f": {called.statement}"),) if called.statement else ()
    begins_value = following.text in ("{", "(", "[") or {"NAME", "NUMBER", "DIMS", "STRING"} & {*following.choices}
    return (named,) if begins_value and following.start > head.end and following.text not in INFIX else ()


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
    whole = call_arguments(mistake.source, tokens, tokens[at])
    if called.endswith(".add"):  # model.add(Dense(10))
        inner, after_inner = _dotted(tokens, at + 1)
        if inner and tokens[after_inner].text == "(":
            called, at = inner, after_inner
    group = call_arguments(mistake.source, tokens, tokens[at])
    if group is None or whole is None:
        return None
    given, closing = group[0], whole[1]
    end, passed = closing.end, ""
    following = tokens[closing.index + 1] if closing.index + 1 < len(tokens) else None
    if following is not None and following.text == "(" and following.start == end:
        value = call_arguments(mistake.source, tokens, following)
        if value is None or len(value[0]) != 1:
            return None
        passed, end = value[0][0][1], value[1].end
    is_passed = passed or (assigned and given[:1] == [("", name)])
    if called in FUNCTION_NAMES or ("." not in name and "." not in called and not is_passed):
        return None
    span = Span(mistake.source, tokens[mistake.head].start, end)
    problem = _python_call(span, called, given, name if assigned else "", passed)
    return Found(problem, absorbs=True)


def component_call(mistake: Mistake) -> Found | None:
    """`optimizer Adam(lr=0.001)`."""
    tokens = mistake.tokens
    if mistake.at_end or "SKIP" in mistake.level or "USE" in mistake.level or mistake.index <= mistake.head + 1:
        return None
    name, at = _dotted(tokens, mistake.head + 1)
    if not name or at >= len(tokens) or tokens[at].text != "(" or tokens[at].start != tokens[at - 1].end:
        return None
    group = call_arguments(mistake.source, tokens, tokens[at])
    if group is None:
        return None
    given, closing = group
    span = Span(mistake.source, tokens[mistake.head + 1].start, closing.end)
    written = statement(name, given, choice=True)
    return Found(PythonCall(span=span, name=name, ours=None, statement=written or ""), absorbs=True)


def _python_call(span: Span, called: str, given: Given, name: str, passed: str) -> PythonCall:
    """Return the problem, with the statement that is meant where that is clear."""
    from netdsl.diagnostics import foreign

    last = called.rpartition(".")[2]
    before = called.rpartition(".")[0]
    method = bool(before) and before.split(".")[0] in ("self", "x") and before not in foreign.MODULES
    if given[:1] == [("", name)] and before not in ("F", "torch", "nn.functional"):
        given = given[1:]
    written = None if method and before != "self" else statement(called, given)
    ours = foreign.called(last, foreign.OURS)
    if written is None and before == "self" and len(given) < 2 and not foreign.is_layer(last):
        written = last  # a block of one's own
    label = name.rpartition(".")[2]
    if ours == "input":
        written = statement(called, given, label=label)
        return PythonCall(span=span, name=called, ours=ours, statement=written or "")
    ways = [written] if written else paddings(called, given)
    if label and label not in (passed, span.text.partition("(")[2].partition(",")[0].strip(" )")):
        ways = [f"from {passed}; " * bool(passed) + (way if ";" in way else f"{label}: {way}") for way in ways]
    return PythonCall(span=span, name=called, ours=ours, statement=(ways or [""])[0], others=tuple(ways[1:]))


def _dotted(tokens: list[Token], at: int) -> tuple[str, int]:
    """Return a name with its dots, `nn.Conv2d`, and the next token's number; an empty text if there is no name."""
    if at >= len(tokens) or "NAME" not in tokens[at].choices:
        return "", at
    text = tokens[at].text
    while at + 1 < len(tokens) and tokens[at + 1].start == tokens[at].end and tokens[at + 1].text.startswith("."):
        at += 1
        text += tokens[at].text
    return text, at + 1
