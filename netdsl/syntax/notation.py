"""Explain notation of other languages around calls: missing names and quotes, colons, comments, misplaced labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.edits import gap_before
from netdsl.diagnostics.foreign import is_layer
from netdsl.diagnostics.problem import Edit
from netdsl.diagnostics.syntax_problems import (
    LabelledStatement,
    MissingName,
    OtherLanguage,
    OtherNotation,
    UnquotedText,
)
from netdsl.syntax.mistake import Found
from netdsl.syntax.translate import channels_first_dims
from netdsl.syntax.words import NO_VALUE

if TYPE_CHECKING:
    from netdsl.base.text import Source
    from netdsl.syntax.mistake import Mistake
    from netdsl.syntax.scan import Token

PATH = re.compile(r"[ \t]*(?:[A-Za-z_][\w, \t]*?[ \t]from[ \t]+)?(?P<path>[\w.~/\\\\-]+|'[^'\n]*')[ \t]*(?=[;\n#]|\Z)")
_DATA = re.compile(r"[ \t]*\w+[ \t]+(?P<path>[\w.~-]*[/.~][\w.~/-]*)(?![\w\"])")
MERGES = ("concat", "add", "sub", "mul", "div", "max", "min")
"""Statements with operands."""

BODIES = ("if", "for", "repeat", "skip", "net", "block", "freeze", "train", "else")
"""What has a body in braces."""


LANGUAGES = {
    "Python": re.compile(
        r"import +[A-Za-z_][\w.]*( +as +\w+)? *$|from +[\w.]+ +import\b|(class|def) +\w+ *(\(.*\))? *(->.*)?: *$|@\w"
    ),
    "JSON": re.compile(r'\{\s*(\}|"[^"\n]*" *:)|\[\s*[{\["]'),
    "YAML": re.compile(r"---|[A-Za-z_]\w*: *($|[\"'\[])"),
}
"""How the first line of a file in another language begins."""


def other_language(source: Source) -> OtherLanguage | None:
    """Return the problem of a file that is none of ours, by its first line that is no comment."""
    first = re.compile(r"(?:[ \t]*(?:#[^\n]*|\"\"\".*?\"\"\")?\n)*[ \t]*", re.DOTALL).match(source.text)
    start = first.end() if first else 0
    for language, begins in LANGUAGES.items():
        rest = source.text[start:] if language == "JSON" else source.text[start:].partition("\n")[0]
        if begins.match(rest):
            end = source.text.find("\n", start)
            span = Span(source, start, end if end >= 0 else len(source.text))
            return OtherLanguage(span=span, language=language)
    return None


def unquoted(mistake: Mistake) -> Found | None:
    """`use lib/good.net`."""
    text, start = mistake.source.text, mistake.tokens[mistake.head].end if mistake.word else 0
    if mistake.word in ("data", "validate") and "SKIP" not in mistake.level and "USE" not in mistake.level:
        found = _DATA.match(text, start)
        span = Span(mistake.source, found.start("path"), found.end("path")) if found else None
        return Found(UnquotedText(span=span, path=span.text), absorbs=True) if span else None
    if mistake.word != "use" or "USE" not in mistake.level:
        return None
    found = PATH.match(text, start)
    if not found or (path := found["path"].strip("'")) == "from":
        return None
    span = Span(mistake.source, found.start("path"), found.end("path"))
    path = path if path.endswith(".net") else f"{path}.net"
    return Found(UnquotedText(span=span, path=path), absorbs=True)


def labelled_statement(mistake: Mistake) -> Found | None:
    """`a: let w = 3`."""
    if mistake.head == mistake.start or mistake.word not in NO_VALUE or "SKIP" not in mistake.level:
        return None
    first, head = mistake.tokens[mistake.start], mistake.tokens[mistake.head]
    return Found(LabelledStatement(span=mistake.span(first), statement=head.text, end=head.start))


def unnamed(mistake: Mistake) -> Found | None:
    """`input 1x28x28`, `net { … }`."""
    word = mistake.word
    named = ("input", "output", "let", "net", "block", "fn", "train")
    if mistake.at_end or mistake.index != mistake.head + 1 or word not in named or mistake.start != mistake.head:
        return None
    text, token = mistake.source.text, mistake.token
    name = ""
    edits: tuple[Edit, ...] = ()
    if word == "input":
        line = text[token.start :].partition("\n")[0].partition(";")[0].rstrip(" }")
        shape = channels_first_dims(line.lstrip(": ="))
        if shape:
            name = "image" if shape.count("x") == 2 else "x"
            whole = Span(mistake.source, mistake.tokens[mistake.head].end, token.start + len(line))
            edits = (Edit(whole, f" {name} {shape}"),)
    elif token.text in ("{", "(") and word in ("net", "train"):
        net = re.search(r"^net +(\w+)", text, re.MULTILINE)
        name = "main" if word == "net" else net[1] if net else ""
        gap = Span(mistake.source, mistake.tokens[mistake.head].end, token.start)
        edits = (Edit(gap, f" {name}{' ' * (token.text == '{')}"),)
    return Found(MissingName(span=mistake.span(token), word=word, name=name, edits=edits))


def other_notation(mistake: Mistake) -> Found | None:
    """Report notation of other languages, such as `elif`, `if c: relu` and `// comment`."""
    if mistake.at_end:
        return None
    for attempt in (_else_if, _comment, _body, _operands, _argument_after_colon, _arrow, _definition):
        if problem := attempt(mistake):
            return Found(problem)
    return None


def _else_if(mistake: Mistake) -> OtherNotation | None:
    """`elif c { relu }` and `else: relu`."""
    span = mistake.span(mistake.token)
    following = mistake.tokens[mistake.index + 1 : mistake.index + 2]
    if span.text == "else" and following and following[0].text == ":":
        text = mistake.source.text
        end = min(i for i in (*(text.find(c, span.end) for c in "\n;}"), len(text)) if i >= 0)
        body = text[following[0].end : end].strip()
        edits = (Edit(Span(mistake.source, span.end, end), f" {{ {body} }}"),) if body and "{" not in body else ()
        return OtherNotation(span=mistake.span(following[0]), instead="put the body in braces, `{ … }`", edits=edits)
    if span.text not in ("elif", "elseif", "elsif"):
        return None
    return OtherNotation(span=span, instead="write `else if`", edits=(Edit(span, "else if"),))


def _comment(mistake: Mistake) -> OtherNotation | None:
    """`// comment`, `/* comment */` and `-- comment`."""
    text, token = mistake.source.text, mistake.token
    sign = re.compile(r"//+|/\*+|--+").match(text, token.start)
    if mistake.index != mistake.start or sign is None:
        return None
    end = text.find("\n", token.start)
    line = Span(mistake.source, token.start, end if end >= 0 else len(text))
    comment = "#" + line.text[sign.end() - token.start :].removesuffix("*/").rstrip()
    edits = () if sign[0].startswith("/*") and "*/" not in line.text else (Edit(line, comment),)
    span = Span(mistake.source, token.start, sign.end())
    return OtherNotation(span=span, instead="a comment begins with `#`", edits=edits)


def _body(mistake: Mistake) -> OtherNotation | None:
    """`if c: relu`, `if c then relu`, `repeat 3 times { relu }`."""
    text, token = mistake.source.text, mistake.token
    if (
        token.text not in (":", "then", "do", "times")
        or mistake.word not in BODIES
        or "LBRACE" not in mistake.accepted()
    ):
        return None
    last = mistake.tokens[mistake.index - 1]
    end = min(i for i in (*(text.find(c, token.end) for c in "\n;}"), len(text)) if i >= 0)
    rest = text[token.end : end].strip()
    edits: tuple[Edit, ...] = ()
    if text[token.end :].lstrip().startswith("{"):
        edits = (Edit(Span(mistake.source, last.end, token.end), ""),)
    elif rest and "{" not in rest:
        closing = " }" + " " * (text[end : end + 1] == "}")
        edits = (Edit(Span(mistake.source, last.end, end), f" {{ {rest}{closing}"),)
    return OtherNotation(span=mistake.span(token), instead="put the body in braces, `{ … }`", edits=edits)


def _operands(mistake: Mistake) -> OtherNotation | None:
    """`add(a, b)`, `concat [a, b]`, `concat a, b`, `add { } + { }`, `mul 2`."""
    head, token = _merge(mistake), mistake.token
    if head is None:
        return None
    if mistake.index == head.index + 1 and token.type == "NUMBER":
        with_number = {"max": "reduce max {}", "add": "shift {}", "mul": "scale {}", "div": "scale 1/{}"}
        written = with_number.get(head.text, "").format(token.text)
        edits = (Edit(Span(mistake.source, head.start, token.end), written),) if written else ()
        return OtherNotation(span=mistake.span(token), instead=f"`{head.text}` takes labels and branches", edits=edits)
    if token.text not in ("(", "[", ",", "+"):
        return None
    end = mistake.end_of(head)
    whole = Span(mistake.source, head.end, mistake.tokens[end - 1].end)
    written = whole.text
    for sign in reversed(mistake.tokens[head.index + 1 : end]):
        if sign.text in ("(", ")", "[", "]", ",", "+"):
            at = sign.start - whole.start
            written = f"{written[:at]} {written[at + 1 :]}"
    words = re.sub(" +", " ", f" {written.strip()}")
    return OtherNotation(span=mistake.span(token), instead="separate operands with spaces", edits=(Edit(whole, words),))


def _merge(mistake: Mistake) -> Token | None:
    """Return the merge whose operands end before the token."""
    at = mistake.index - 1
    while at >= 0:
        token = mistake.tokens[at]
        if token.text in MERGES and token.outer is mistake.token.outer:
            return token
        if token.opener is not None:
            at = token.opener.index - 1
        elif "NAME" in token.choices or token.text in (",", "+"):
            at -= 1
        else:
            return None
    return None


def _argument_after_colon(mistake: Mistake) -> OtherNotation | None:
    """`dense: 10`, `input: 1x28x28`, `net a(classes: 10)`, `concat axis=1`."""
    token, last = mistake.token, mistake.tokens[mistake.index - 1]
    if token.text == "=" and last.text == "axis":
        edit = Edit(Span(mistake.source, last.end, token.end), " ")
        return OtherNotation(span=mistake.span(token), instead="write the axis without `=`", edits=(edit,))
    if token.text == ":" and "EQUAL" in mistake.accepted():
        edit = Edit(Span(mistake.source, last.end, token.end), " =")
        return OtherNotation(span=mistake.span(token), instead="write `=`", edits=(edit,))
    if last.text != ":" or mistake.head != mistake.index or "SKIP" not in mistake.level:
        return None
    label = mistake.tokens[mistake.start]
    if not (is_layer(label.text) or label.text == "input") or mistake.index != mistake.start + 2:
        return None
    text, colon = mistake.source.text, mistake.span(last)
    edit = Edit(Span(mistake.source, label.end, token.start), " ")
    if label.text == "input" and (shape := channels_first_dims(re.split(r"[;\n}]", text[token.start :])[0].rstrip())):
        edit = Edit(Span(mistake.source, label.end, token.start), f" {'image' if shape.count('x') == 2 else 'x'} ")
    return OtherNotation(span=colon, instead="arguments follow the name without `:`", edits=(edit,))


def _arrow(mistake: Mistake) -> OtherNotation | None:
    """`conv 3x3 8 -> relu`."""
    token, last = mistake.token, mistake.tokens[mistake.index - 1]
    arrow = Span(mistake.source, last.start if last.text == "-" else token.start, token.end)
    if arrow.text not in ("->", "=>") or not mistake.in_call:
        return None
    gap = gap_before(arrow).to(arrow)
    return OtherNotation(span=arrow, instead="separate statements with `;`", edits=(Edit(gap, ";"),))


def _definition(mistake: Mistake) -> OtherNotation | None:
    """`n := 3`, `let n: int = 3`, `fn f(n) { n + 1 }`, `fn f(n): n + 1`."""
    source, text, token = mistake.source, mistake.source.text, mistake.token
    span = mistake.span(token)
    if token.text == "=" and mistake.index and mistake.tokens[mistake.index - 1].text == ":" and mistake.index >= 2:
        name, colon = mistake.tokens[mistake.index - 2 : mistake.index]
        edit = Edit(Span(source, name.start, token.end), f"let {name.text} =")
        return OtherNotation(span=mistake.span(colon).to(span), instead="`let` names a constant", edits=(edit,))
    if mistake.word != "fn" or "EQUAL" not in mistake.accepted() or token.text not in ("{", ":", "=>"):
        return None
    end = text.find("}" if token.text == "{" else "\n", token.end)
    end = len(text) if end < 0 else end
    value = text[token.end : end].strip().removeprefix("return ")
    edit = Edit(gap_before(span).to(Span(source, token.start, end + (token.text == "{"))), f" = {value}")
    return OtherNotation(
        span=span, instead="a function's value follows `=`", edits=(edit,) if "\n" not in value else ()
    )
