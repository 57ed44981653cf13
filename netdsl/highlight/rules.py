"""The rules of highlighting: patterns without states, the same for Pygments, TextMate and CodeMirror."""

from __future__ import annotations

from typing import NamedTuple

from netdsl.highlight import words


class Highlight(NamedTuple):
    """Names of a class of text: TextMate's scope, the token of Pygments, and the tag of CodeMirror."""

    scope: str
    token: str
    tag: str


CLASSES = {
    "comment": Highlight("comment.line.number-sign", "Comment.Single", "comment"),
    "string": Highlight("string.quoted.double", "Literal.String.Double", "string"),
    "number": Highlight("constant.numeric", "Literal.Number", "number"),
    "constant": Highlight("constant.language", "Keyword.Constant", "bool"),
    "keyword": Highlight("keyword.control", "Keyword", "keyword"),
    "definition": Highlight("storage.type", "Keyword.Declaration", "definitionKeyword"),
    "operator": Highlight("keyword.operator", "Operator", "operator"),
    "operator_word": Highlight("keyword.operator.word", "Operator.Word", "operatorKeyword"),
    "defined": Highlight("entity.name.type", "Name.Class", "className"),
    "label": Highlight("entity.name.label", "Name.Label", "labelName"),
    "layer": Highlight("support.function", "Name.Builtin", "standard"),
    "call": Highlight("entity.name.function", "Name.Function", "function"),
    "argument": Highlight("variable.parameter", "Name.Attribute", "attributeName"),
    "name": Highlight("variable.other", "Name", "variableName"),
    "punctuation": Highlight("punctuation", "Punctuation", "punctuation"),
}


def _any(members: tuple[str, ...]) -> str:
    return rf"(?:{'|'.join(members)})\b"


NAME = r"[A-Za-z_]\w*"
START = r"(?:^|(?<=[;{}:]))([ \t]*)"
"""Begin of a statement. Patterns have no states, so that the start of each line counts as one."""

HOLES = r"(?:\{[^{}\n;]*\}\w*){0,16}"
"""Of a label, not without a limit: each brace of a long line is tried as the beginning of one."""

VALUE = r"(?=[ \t]+(?:[\w\"?\[(-]))"

RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"(#[^\n]*)", ("comment",)),
    (r'("[^"\n]*")', ("string",)),
    (rf"\b({_any(words.DEFINITIONS)})([ \t]+)({NAME})", ("definition", None, "defined")),
    (rf"{START}({_any(('default',))})([ \t]+)({_any(words.LAYERS)})", (None, "keyword", None, "layer")),
    (rf"{START}({NAME}{HOLES})(:)", (None, "label", "punctuation")),
    (rf"{START}({_any(words.KEYWORDS)})", (None, "keyword")),
    (rf"{START}({_any(words.LAYERS)})(?![ \t]*(?:=|,|\)|\]))", (None, "layer")),
    (rf"{START}({_any(words.SETTINGS)}){VALUE}", (None, "argument")),
    (rf"{START}({NAME})(?=[ \t]*(?:$|[;}}#]|[ \t][\w\"?\[({{]))", (None, "call")),
    (r"(?<![\w.])((?:\d+|\?)(?:x(?:\d+|\?))+)(?!\w)", ("number",)),
    (r"(?<![\w.])(\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)?|\?[A-Za-z_]\w*|\?)", ("number",)),
    (r"(?<=\.)(\w+)", ("name",)),
    (rf"\b({NAME})(?=\()", ("call",)),
    (rf"\b({_any(words.CONSTANTS)})", ("constant",)),
    (rf"\b({_any(words.OPERATORS)})", ("operator_word",)),
    (rf"\b({_any(words.DEFINITIONS)})", ("definition",)),
    (rf"(?<![.\w}}])({_any(words.ARGUMENTS)}){VALUE}", ("argument",)),
    (rf"(?<![.\w}}])({_any(words.KEYWORDS)})", ("keyword",)),
    (rf"({NAME})", ("name",)),
    (r"(=>|==|!=|<=|>=|\*\*|//|[-+*/%<>=])", ("operator",)),
    (r"([{}()\[\],;:.])", ("punctuation",)),
)
"""Patterns in the order in which they are tried, with the class of each group."""
