"""Reserved words, and the names of terminals in messages."""

from __future__ import annotations

STATEMENTS = frozenset(
    (
        "let",
        "default",
        "input",
        "output",
        "expect",
        "about",
        "skip",
        "from",
        "reuse",
        "repeat",
        "for",
        "if",
        "freeze",
        "concat",
        "add",
        "sub",
        "mul",
        "div",
        "max",
        "min",
    )
)
"""Words that begin a statement in a body."""

ITEM_WORDS = ("net", "block", "fn", "let", "default", "train", "use")
"""Words that begin a definition in a file."""

FOREIGN = {
    **dict.fromkeys(("network", "model", "graph", "architecture"), "net"),
    **dict.fromkeys(("function", "func", "fun", "def"), "fn"),
    **dict.fromkeys(("import", "include", "require"), "use"),
    **dict.fromkeys(("const", "var", "val", "local", "set", "int", "float"), "let"),
    **dict.fromkeys(("module", "macro", "sub"), "block"),
    **dict.fromkeys(("training", "trainer", "fit"), "train"),
}
"""Words of other languages for our definitions."""

NO_VALUE = ("let", "default", "input", "output", "expect", "about")
"""Statements without a value that could have a label."""

RESERVED_WORDS = STATEMENTS | frozenset(
    ("net", "block", "fn", "train", "use", "else", "project", "as", "in", "and", "or", "not", "match", "on", "off")
)
"""Words that cannot name variables, functions or blocks; a label can be any word."""

_VALUES = frozenset(
    ("NAME", "NUMBER", "DIMS", "UNKNOWN", "STRING", "GROUP", "LIST", "MATCH", "NOT", "MINUS", "ON", "OFF")
)
_OPERATORS = frozenset(
    ("OR", "AND", "COMPARE", "PLUS", "TIMES", "POWER", "INDEX", "CALL", "FIELD", "DOT", "HOLE", "IF", "TAIL")
)

_TERMINALS = {
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "RPAR": "`)`",
    "RSQB": "`]`",
    "GROUP": "`(`",
    "COMMA": "`,`",
    "COLON": "`:`",
    "EQUAL": "`=`",
    "ARROW": "`=>`",
    "SEP": "the end of the statement",
    "$END": "the end of the file",
    "NAME": "a name",
    "STRING": "a string",
    "NUMBER": "a number",
}


def readable(accepted: set[str], most: int = 5) -> tuple[str, ...]:
    """Describe what is accepted at a position in at most five phrases, leaving out the least informative first."""
    rest = set(accepted) - {"BROKEN", "MERGE"}
    phrases: list[str] = []
    if {"SKIP", "REPEAT"} <= rest:
        rest -= {word.upper() for word in STATEMENTS} | {"NAME", "SEQ"}
        phrases.append("a statement")
    if {"NET", "BLOCK"} <= rest:
        rest -= {word.upper() for word in ITEM_WORDS}
        phrases.append("a definition")
    if {"NUMBER", "GROUP"} <= rest:
        rest -= _VALUES
        if "SEP" in rest:  # a call, whose operands are rarely what is missing
            rest -= {"FOR", "LBRACE"}
        phrases.append("a value")
    if "COMPARE" in rest:
        rest -= {"IN"}  # an operator, too
    if rest - _OPERATORS - {"SEP", "$END"} or not rest & _OPERATORS:
        rest -= _OPERATORS
    else:
        rest -= _OPERATORS
        phrases.append("an operator")
    if "SEP" in rest:
        rest -= {"RBRACE", "$END"}
    words = sorted(f"`{kind.lower()}`" for kind in rest if kind not in _TERMINALS)
    signs = [text for kind, text in _TERMINALS.items() if kind in rest]
    return tuple([*phrases, *words, *signs][:most])
