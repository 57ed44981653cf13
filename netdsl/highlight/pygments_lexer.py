"""The lexer of Pygments, which `pygmentize`, Sphinx and notebooks find by its entry point."""

from __future__ import annotations

import re
from typing import ClassVar

from pygments.lexer import RegexLexer, bygroups
from pygments.token import Error, Whitespace, string_to_tokentype

from netdsl.highlight.rules import CLASSES, RULES


def _tokens(groups: tuple[str | None, ...]) -> object:
    return bygroups(*(Whitespace if each is None else string_to_tokentype(CLASSES[each].token) for each in groups))


class NetLexer(RegexLexer):  # type: ignore[misc]  # which has no types
    """Lexer of `.net` files."""

    name = "netdsl"
    aliases: ClassVar = ["netdsl", "net"]
    filenames: ClassVar = ["*.net", "*.netdsl"]
    flags = re.MULTILINE | re.ASCII
    tokens: ClassVar = {
        "root": [
            *((pattern, _tokens(groups)) for pattern, groups in RULES),
            (r"[ \t]+|\s", Whitespace),
            (r".", Error),
        ]
    }
