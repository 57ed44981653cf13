"""Protobuf's text format without a schema."""

from __future__ import annotations

import pytest

from netdsl.importing.prototxt import MAX_DEPTH, Message, parse


class Bad(Exception):
    pass


def bad(line: int, reason: str) -> Bad:
    return Bad(f"{line}: {reason}")


def plain(message: Message) -> list[object]:
    return [(str(name), plain(value) if isinstance(value, Message) else str(value)) for name, value in message.fields]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a: 1", [("a", "1")]),
        ("a:1 a:2", [("a", "1"), ("a", "2")]),
        ("a { b: x } c <d: y>", [("a", [("b", "x")]), ("c", [("d", "y")])]),
        ("a: { b: -1.5e-3 }, e: MAX;", [("a", [("b", "-1.5e-3")]), ("e", "MAX")]),
        ("a: [1, 2] b: [{ c: 1 }, { c: 2 }]", [("a", "1"), ("a", "2"), ("b", [("c", "1")]), ("b", [("c", "2")])]),
        ("# all\na: 'it\\'s' \"\\x41\\102\\n\" # end", [("a", "it'sAB\n")]),
        ('a: "} {" ', [("a", "} {")]),
        ("", []),
    ],
)
def test_fields(text: str, fields: list[object]) -> None:
    assert plain(parse(text, bad)) == fields


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb {\n", "3: the end of the file is in place of the name of a field"),
        ("a: 1\n}", "2: `}` is in place of the name of a field"),
        ("a {}\nb: ,", "2: the end of the file is in place of a value"),
        ("a: {\n>", "2: `>` is in place of the name of a field"),
        ("\n\n€", "3: '€' is not a part of a prototxt file"),
        ("a { " * (MAX_DEPTH + 1), f"1: its messages are nested more than {MAX_DEPTH} deep"),
        ("a { " * 100_000, f"1: its messages are nested more than {MAX_DEPTH} deep"),
    ],
)
def test_mistakes_have_their_line(text: str, reason: str) -> None:
    with pytest.raises(Bad) as caught:
        parse(text, bad)
    assert str(caught.value) == reason


def test_values_have_types() -> None:
    fields = parse('n: 3 x: 1.5f t: true w: word m { n: 4 } m { n: 5 } n: 7 s: ""', bad)
    assert (fields.integer("n", 0), fields.integers("n"), fields.integer("missing", 9)) == (7, [3, 7], 9)
    assert (fields.number("x", 0.0), fields.flag("t", False), fields.flag("f", True)) == (1.5, True, True)
    assert fields.message("m").integer("n", 0) == 5
    assert fields.unread == ["w", "s"]
    for name, call in {"w": fields.integer, "m": fields.word, "n": fields.message, "x": fields.flag}.items():
        with pytest.raises(Bad, match="in place of"):
            call(name, 0) if call in (fields.integer, fields.word, fields.flag) else call(name)  # type: ignore[operator, arg-type]


@pytest.mark.parametrize("number", ["1.5", "x", "9" * 5000, "inf", "nan"])
def test_numbers_are_finite(number: str) -> None:
    with pytest.raises(Bad, match="an integer"):
        parse(f"a: {number}", bad).integer("a", 0)
    if number != "1.5":
        with pytest.raises(Bad, match="a finite number"):
            parse(f"a: {number}", bad).number("a", 0.0)
