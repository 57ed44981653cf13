"""Load the prebuilt parser if it fits the grammar and Lark, otherwise build it in memory."""

from __future__ import annotations

import os
from functools import cache
from hashlib import sha256

import lark

from netdsl.base.paths import data

PREBUILT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "net.parser")


def grammar() -> str:
    """Return the text of the grammar."""
    with open(os.path.join(data("grammars"), "net.lark"), encoding="utf-8") as file:
        return file.read()


def key(text: str) -> bytes:
    """Return the identity of the sources of a prebuilt parser: the first line of its file."""
    return f"lark {lark.__version__} grammar {sha256(text.encode()).hexdigest()}\n".encode()


def make(text: str) -> lark.Lark:
    """Build the parser from the grammar, which is slow. Lark's own lexer in it is not used."""
    return lark.Lark(text, parser="lalr", lexer="basic", keep_all_tokens=True, maybe_placeholders=False)


@cache
def load() -> lark.Lark:
    text = grammar()
    try:
        with open(PREBUILT, "rb") as file:
            if file.readline() == key(text):
                return lark.Lark.load(file)
    except FileNotFoundError:
        pass
    return make(text)
