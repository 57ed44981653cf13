"""What is wrong with a text: which problem, where, and that the rest is read all the same."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.diagnostics import call_problems, syntax_problems, text_problems
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.problem import REGISTRY
from netdsl.diagnostics.render import render
from netdsl.syntax import ast
from netdsl.syntax.table import load_table
from netdsl.syntax.words import readable
from tests.support.paths import TESTS
from tests.support.syntax_tools import dump, nodes, read, sound

FOLDER = TESTS / "golden/syntax"
GOLDEN = sorted(FOLDER.glob("*.net"))
EXAMPLES = [path.read_text("utf-8") for path in sorted((FOLDER / "examples").glob("*.net"))]
MODULES = (call_problems.__name__, syntax_problems.__name__, text_problems.__name__)
OURS = sorted(code for code, found in REGISTRY.items() if found.__module__ in MODULES)

TABLE = [
    ("let x = 3xk", "E0107 3xk"),
    ("let x = 64x", "E0107 64x"),
    ("let x = 3x?H", "E0107 3x?H"),
    ("let x = 16?H", "E0107 16?H"),
    ("let x = 3..5", "E0106 3..5"),
    ("let x = 1e", "E0106 1e"),
    ("let x = 1e+", "E0106 1e"),
    ("let x = 1_000_", "E0106 1_000_"),
    ("let x = 1__0", "E0106 1__0"),
    ("let x = 08", "E0106 08"),
    ("let x = 0x", "E0106 0x"),
    ("let x = 0x1F", "E0106 0x1F"),
    ("let x = 1e999", "E0106 1e999"),
    ("let x = .5", "E0106 .5"),
    ("let x = 5.", "E0106 5."),
    ("let x = " + "9" * 4301, "E0106 " + "9" * 4301),
    ('let x = "abc\nlet y = 1', 'E0105 "abc'),
    ("let x = 3 − 2", "E0104 −"),
    ("let x = ‘a’", "E0104 ‘"),
    ("let x = 'a'", "E0104 '"),
    ("let\u00a0x = 1", "E0104 \u00a0"),
    ("let х = 1", "E0104 х"),
    ("# \u202e\nlet x = 1", "E0104 \u202e"),
    ("let x = 1 \0", "E0104 \0"),
    ("let x = (1", "E0102 ("),
    ("let x = [1)", "E0102 [ | E0103 )"),
    ("net a { relu", "E0102 {"),
    ("net a { skip { relu }", "E0102 {"),
    ("let x = 1)", "E0103 )"),
    ("net a { relu } }", "E0103 }"),
    ("let x = " + "(" * 101 + "1" + ")" * 101, "E0109 ("),
    ("let x = " + "not " * 101 + "y", "E0109 not"),
    ("let x = y" + "[0]" * 101, "E0109 0"),
    ("net a { conv 64 -1 }", "E0108 -"),
    ("net a { conv 3x3 a*2 -b }", "E0108 -"),
    ("net a { scale -1 }", "E0108 -"),
    ("net a { default scale -1 }", "E0108 -"),
    ("train a { lr -1 }", "E0108 -"),
    ("net a { conv stride=2 }", "E0110 ="),
    ("net a { x = 2 }", "E0120 ="),
    ("train a { lr = 2; x 1 }", "E0110 ="),
    ("net a { conv stride: 2 }", "E0110 :"),
    ("net a { fc = dense 10 }", "E0120 ="),
    ("net a { c = conv(3x3, 64) }", "E0120 ="),
    ("net a { n = max(3, 4) }", "E0120 ="),
    ("net a { a: b: relu }", "E0121 b"),
    ("net a { conv 3x3 stride=2 pad=1 }", "E0110 ="),
    ("net a { conv 3x3, 64, stride=2 }", "E0111 , | E0110 ="),
    ("net a { conv 3x3, 64, 2; relu }", "E0111 ,"),
    ("net a { conv(3) }", "E0112 conv(3)"),
    ("net a { b: conv(3x3, 64) }", "E0112 conv(3x3, 64)"),
    ("net a { Dropout(0.5) }", "E0112 Dropout(0.5)"),
    ("net a { x = F.relu(x); relu }", "E0117 x = F.relu(x)"),
    ("net a { self.c = nn.Conv2d(3, 64) }", "E0117 self.c = nn.Conv2d(3, 64)"),
    ("net a { x = Conv2D(64, (3, 3))(x) }", "E0117 x = Conv2D(64, (3, 3))(x)"),
    ("net a { nn.ReLU() }", "E0117 nn.ReLU()"),
    ("net a { x = conv(x, 64) }", "E0117 x = conv(x, 64)"),
    ("let skip = 1", "E0113 skip"),
    ("block add { }", "E0113 add"),
    ("block b(input) { }", "E0113 input"),
    ("fn f(x, let) = x", "E0113 let"),
    ("netwrok a { relu }", "E0114 netwrok"),
    ("blok a { relu }", "E0114 blok"),
    ("lets a = 3", "E0114 lets"),
    ("relu\nconv 3x3 64\nbn", "E0115 relu"),
    ("skip { relu }", "E0115 skip"),
    ("input x 784", "E0115 input"),
    ("net a { block b { relu } }", "E0116 block"),
    ("net a { net b = c(1) }", "E0116 net"),
    ("net a { output }", "E0122 }"),
    ("net a { repeat { relu } }", "E0101 {"),
    ("net a { relu { } 3 }", "E0101 3"),
    ("net a { skip { } relu }", "E0101 relu"),
    ("net a { skip { } progect { relu } }", "E0101 progect"),
    ("net a { conv[3, 3] 64 }", "E0101 ["),
    ("net a { conv 3 if a else 4 }", "E0101 if"),
    ("net a { expect 3 4 }", "E0101 4"),
    ("net a { concat axis { } }", "E0101 {"),
    ("let x = (1, 2)", "E0101 ,"),
    ("let x = a if b", "E0101 "),
    ("net a { input 3x8x8 }", "E0122 3x8x8"),
    ("net { relu }", "E0122 {"),
    ("use zoo/xor.net", "E0123 zoo/xor.net"),
    ("use ../xor.net", "E0123 ../xor.net"),
    ("net a { if b { relu } elif c { tanh } }", "E0124 elif"),
    ("net a { if b: relu }", "E0124 :"),
    ("net a { add(b, c) }", "E0124 ("),
    ("net a { conv 3x3 8 -> relu }", "E0124 ->"),
    ("net a { var n = 3 }", "E0124 var"),
    ("// comment", "E0124 //"),
    ("fn f(x) { x + 1 }", "E0124 {"),
    ("net a { a: let w = 3 }", "E0125 a"),
    ("net a { a: input x 3 }", "E0125 a"),
    ("import torch\nclass Net(nn.Module):\n  pass", "E0126 import torch"),
    ('{ "layers": [] }', 'E0126 { "layers": [] }'),
    ("layers:\n  - conv: 3", "E0126 layers:"),
    ("net a { Conv2D(8, (3, 3), activation='relu') }", "E0112 Conv2D(8, (3, 3), activation='relu')"),
    ("let x = 1 +", "E0101 "),
    ("let x = not\nlet y = 1", "E0101 \n"),
    ("net a = b", "E0101 "),
    ("{ relu }", "E0101 {"),
    ("let x = match a { 1 => ; 2 3; 4 => 5 }", "E0101 ; | E0101 3"),
    ("train a { lr 1 + ; b ); c 3 }", "E0101 ; | E0103 )"),
]


def told(text: str) -> str:
    file, report = read(text)
    assert file.broken == bool(len(report))
    return " | ".join(f"{p.code} {p.span.text}" for p in report)


@pytest.mark.parametrize(("text", "expected"), TABLE, ids=[row[0][:40] for row in TABLE])
def test_each_mistake_is_told_once_and_where_it_is(text: str, expected: str) -> None:
    assert told(text) == expected


def test_all_our_problems_are_in_the_table() -> None:
    assert sorted({code for _, row in TABLE for code in re.findall(r"E01\d\d", row)}) == OURS


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_what_people_read(path: Path, golden: Callable[[str, str], None]) -> None:
    _, report = read(path.read_text("utf-8"))
    golden(f"syntax/{path.stem}.txt", "\n".join(render(problem).rstrip("\n") + "\n" for problem in report))


@pytest.mark.parametrize("code", OURS)
def test_the_documented_example_fails_so(code: str) -> None:
    example = re.search(r"```net fail\n(.*?)```", REGISTRY[code].__doc__ or "", re.DOTALL)
    assert example, "a problem shows how it comes about"
    assert {p.code for p in read(example[1])[1]} == {code}


REPAIRS = [
    ("net a { conv 3xk 64 }", "net a { conv [3, k] 64 }"),
    ("net a { conv 3x3 64 -1 }", "net a { conv 3x3 64-1 }"),
    ("net a { scale -1 }", "net a { scale (-1) }"),
    ("net a { conv stride=2 }", "net a { conv stride 2 }"),
    ("net a { conv stride = 2 }", "net a { conv stride 2 }"),
    ("net a { conv 3x3, 64 }", "net a { conv 3x3 64 }"),
    ("net a { conv(3x3, 64, stride=2) }", "net a { conv 3x3 64 stride 2 }"),
    ("net a { x = 2 }", "net a { let x = 2 }"),
    ("net a { x = max(2, 3) }", "net a { let x = max(2, 3) }"),
    ("net a { x = y if z else w }", "net a { let x = y if z else w }"),
    ("net a { x = relu }", "net a { let x = relu }"),
    ("net a { fc = dense 10 }", "net a { fc: dense 10 }"),
    ("net a { fc=dense 10 }", "net a { fc: dense 10 }"),
    ("net a { s = skip { relu } }", "net a { s: skip { relu } }"),
    ("net a { c = conv(3x3, 64) }", "net a { c: conv 3x3 64 }"),
    ("net a { conv 3x3 stride: 2 }", "net a { conv 3x3 stride 2 }"),
    ("net a { relu() }", "net a { relu }"),
    ("net a { ReLU() }", "net a { relu }"),
    ("net a { Conv2d(3x3, 64) }", "net a { conv 3x3 64 }"),
    ("net a { x = F.relu(x) }", "net a { relu }"),
    ("net a { x = nn.ReLU()(x) }", "net a { relu }"),
    ("net a { torch.flatten(x) }", "net a { flatten }"),
    ("net a { x = self.layer1(x) }", "net a { layer1 }"),
    ("netwrok a { relu }", "net a { relu }"),
    ("let x = “a”", 'let x = "a"'),
    ("let x = 3\u00a0− 2", "let x = 3 - 2"),
    ('let x = "a', 'let x = "a"'),
    ("let x = 08", "let x = 8"),
    ("let x = 1)", "let x = 1"),
    ("net a { if c{ relu } }", "net a { if c { relu } }"),
    ("net a { skip { } progect { } }", "net a { skip { } project { } }"),
]


@pytest.mark.parametrize(("text", "mended"), REPAIRS)
def test_the_first_help_mends_it(text: str, mended: str) -> None:
    (problem,) = read(text)[1]
    first = next(iter(problem.suggestions()))
    assert apply(text, first.edits) == mended
    sound(mended)


def test_six_faults_are_six_errors_and_the_rest_is_whole() -> None:
    file, report = read((FOLDER / "six_faults.net").read_text("utf-8"))
    assert [p.span.source.position(p.span.start)[0] for p in report] == [3, 5, 7, 10, 13, 16]
    assert [type(item).__name__ for item in file.items] == ["Net", "Broken", "Net"]
    net = file.items[0]
    assert isinstance(net, ast.Net)
    kinds = [type(statement).__name__ for statement in net.body.statements]
    assert kinds == ["Input", "Call", "Call", "Call", "Broken", "Call", "Skip", "Broken", "Call"]
    skip = net.body.statements[6]
    assert isinstance(skip, ast.Skip)
    assert skip.projection
    assert dump(skip.body) == "(Body [(Broken) (Call (Name bn) [] []) (Call (Name relu) [] [])])"
    assert dump(skip.projection) == "(Body [(Broken) (Call (Name bn) [] [])])"


@pytest.mark.parametrize("first", ["repeat 2 { relu }", "g: { relu }", "if on { relu }"])
def test_a_statement_directly_after_a_brace_breaks_neither(first: str) -> None:
    text = f"net a {{ input x 3; {first}; dense 2; relu }}"
    (sound,), (mistaken,) = read(text)[0].items, read(text.replace("};", "}"))[0].items
    assert dump(mistaken) == dump(sound)


def test_a_forgotten_brace_does_not_swallow_the_next_net() -> None:
    file, report = read("net a {\n  skip {\n    relu\n  bn\n}\nnet b { relu }\n# c\nnet c { relu }")
    assert [p.span.start for p in report] == [15]
    assert [type(item).__name__ for item in file.items] == ["Net", "Net", "Net"]


def test_a_broken_arm_breaks_its_statement_alone() -> None:
    file, _ = read("let x = match a { 1 => }\nlet y = 1\nnet b { let z = match a { 1 }; relu }")
    assert [type(item).__name__ for item in file.items] == ["Broken", "Let", "Net"]
    assert dump(file.items[2]).startswith("(Net (Name b) [] (Body [(Broken) (Call (Name relu) [] [])])")


PIECES = [
    "{", "}", "(", ")", "[", "]", ";", "\n", '"', "#", ",", "=", "=>", ":", ".", "-", " - ", "?", "x", "3x", "0", "−",
    "net ", "block b ", "match ", "else ", "project ", "skip ", "let ", "if ", "in ", "a{", "{i}", "\0", "\u202e",
]  # fmt: skip


def holds(text: str) -> None:
    """What is true of any text: no exception, spans within it, and each problem can be shown."""
    file, report = read(text)
    for node, _ in nodes(file.items):
        assert 0 <= node.span.start <= node.span.end <= len(file.source.text)
    for problem in report:
        assert 0 <= problem.span.start <= problem.span.end <= len(file.source.text)
        assert render(problem)
        for found in problem.suggestions():
            apply(file.source.text, found.edits)
    assert file.broken == bool(len(report))


@given(st.sampled_from(EXAMPLES), st.integers(0, 2**32))
def test_no_mutation_of_an_example_raises(text: str, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 6)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice([0, 0, 1, 2, 20, 200]))
        text = text[:start] + chance.choice(["", *PIECES]) + text[end:]
    holds(text)


@pytest.mark.parametrize(
    "text", ["block c{n\n}[\n", "block b{{}\n}-;", "block k{}3\nu\n", "block e{{}\n}?{", "net a { x\n"]
)
def test_what_once_raised_does_not(text: str) -> None:
    holds(text)


@given(st.lists(st.sampled_from([*PIECES, " ", "a", "1", "net a {", "+", "not "]), max_size=60).map("".join))
def test_no_soup_of_tokens_raises(text: str) -> None:
    holds(text)


@given(st.text(max_size=80))
def test_no_text_raises(text: str) -> None:
    holds(text)


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_beginning_of_an_example_is_survived(text: str) -> None:
    for end in range(0, len(text), 7):
        holds(text[:end])


@given(st.sets(st.sampled_from(sorted(load_table().terminals))))
def test_what_could_stand_at_a_place_is_said_in_five_phrases_at_most(accepted: set[str]) -> None:
    found = readable(accepted)
    assert len(found) <= 5
    assert len({*found}) == len(found)
    assert found == readable(accepted, most=99)[:5]
    assert bool(found) == bool(readable(accepted, most=99))
