"""`netdsl fmt`: the canonical style, and that a formatted text says the same, with every comment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

import netdsl as api
from netdsl.app.init import TEMPLATE
from netdsl.base.text import Source
from netdsl.diagnostics.report import Report, Work
from netdsl.formatting.formatter import format_text
from netdsl.syntax.scan import Scan, Token
from tests.support.cli_tools import Commands, netdsl
from tests.support.fuzz_programs import program
from tests.support.paths import ROOT
from tests.support.syntax_tools import dump, read

__all__ = ["netdsl"]

BODIES = {
    "spaces": ("conv   3x3 8 stride  (2);relu ;  bn", "conv 3x3 8 stride (2); relu; bn"),
    "sums in arguments": ("conv 1x1 4 * width - 1 (a+b)*2", "conv 1x1 4*width-1 (a + b)*2"),
    "sums elsewhere": ("let x = a+b * -c**2 // d", "let x = a + b*-c**2//d"),
    "comparisons": ("f a>b\nif a>b and not(c) { f }", "f a>b\nif a > b and not (c) { f }"),
    "functions": (
        "let x = max( a,b )[ 1: ][i + 1]\nf max(a,b+1) [1 ,2]",
        "let x = max(a, b)[1:][i+1]\nf max(a, b + 1) [1, 2]",
    ),
    "labels": ("a{ i+1 }b :\nrelu\nfrom x.{i}\nc :seq{ f }", "a{i+1}b: relu\nfrom x.{i}\nc: seq { f }"),
    "holes": ("a{ i + 1 }_b: relu\nfrom x.{ i }", "a{i+1}_b: relu\nfrom x.{i}"),
    "numbers": ("f 1_000 5e-4 0.10 (-1)", "f 1_000 5e-4 0.10 (-1)"),
    "unknown sizes": ("f ?a1e + 3 8*?H", "f ?a1e + 3 8*?H"),
    "match": ("let a = match b { 1=>2 ;_ => c+1 }", "let a = match b { 1 => 2; _ => c + 1 }"),
    "lines stay": ("conv 3x3 8\nrelu; bn;\n\n\n\n;; f", "conv 3x3 8\nrelu; bn\n\nf"),
    "no blank line at a brace": ("repeat 2 {\n\n f\n\n}", "repeat 2 {\n  f\n}"),
    "one line": ("repeat 2 {f;g}", "repeat 2 { f; g }"),
    "a newline expands": ("repeat 2 { f; g\nh }", "repeat 2 {\n  f; g\n  h\n}"),
    "a newline before the end expands": ("repeat 2 { f; g\n}", "repeat 2 {\n  f; g\n}"),
    "a comment expands": ("repeat 2 { f # c\n}", "repeat 2 {\n  f  # c\n}"),
    "braces at the end": ("a: { b: repeat 2 {\nf\n} }", "a: { b: repeat 2 {\n  f\n} }"),
    "an empty body": ("a: {}\nb: {\n}\nc: { # c\n}", "a: { }\nb: { }\nc: {  # c\n}"),
    "else": ("if a {f} \n else {g}\nif a {\nf}\nelse {g}", "if a { f }\nelse { g }\nif a {\n  f\n} else { g }"),
    "operands": ("concat {f} {g}\nconcat\n{f}\n{g}", "concat { f } { g }\nconcat { f }\n       { g }"),
    "operands with labels": ("add x\n{f}\n{}", "add x\n    { f }\n    { }"),
    "an operand in lines": (
        "concat { f }\n { g; h\n f; g\n}\n{\ng\n}",
        "concat { f }\n       { g; h\n         f; g }\n       {\n         g\n       }",
    ),
    "operands in blocks": ("add {\nf\n} {\ng\n}", "add {\n  f\n} {\n  g\n}"),
    "operands that do not fit": (
        "concat { " + "; ".join(["conv 3x3 1000"] * 4) + " } { " + "; ".join(["conv 3x3 1000"] * 4) + " }",
        "concat { " + "; ".join(["conv 3x3 1000"] * 4) + " }\n       { " + "; ".join(["conv 3x3 1000"] * 4) + " }",
    ),
    "a long operand": (
        "add { " + "; ".join(["conv 3x3 1000"] * 9) + " } { }",
        "add { " + "; ".join(["conv 3x3 1000"] * 7) + "\n      " + "; ".join(["conv 3x3 1000"] * 2) + " }\n    { }",
    ),
    "a chain breaks at the last `;` that fits": (
        "; ".join(["conv 3x3 1000"] * 9),
        "; ".join(["conv 3x3 1000"] * 8) + "\n" + "conv 3x3 1000",
    ),
    "a long body": (
        "repeat 2 { " + "; ".join(["conv 3x3 1000"] * 9) + " }",
        "repeat 2 {\n  " + "; ".join(["conv 3x3 1000"] * 8) + "\n  conv 3x3 1000\n}",
    ),
    "what cannot break stays": ("f " + "12345 " * 30, ("f " + "12345 " * 30).rstrip()),
    "a list keeps its lines": ("f [1,\n2,3,\n\n4 ]\nf [\n1,\n2\n]", "f [1,\n   2, 3,\n\n   4]\nf [\n  1,\n  2\n]"),
    "a long list": (
        "f [" + "123456, " * 20 + "1] 2",
        "f [" + ", ".join(["123456"] * 14) + ",\n   " + ", ".join(["123456"] * 6) + ", 1] 2",
    ),
    "too far to the right to align": (
        f"f {'x' * 120} [1,\n2] {{ f }}\n{{ g\nh }}",
        f"f {'x' * 120} [1,\n  2] {{ f }}\n     {{ g\n       h }}",
    ),
    "a line behind an operator": ("let x =\n  a +\n  b", "let x = a + b"),
    "comments of consecutive lines": (
        "a: f # one\nlong: f# two\nf\nb: f    #three",
        "a: f     # one\nlong: f  # two\nf\nb: f  #three",
    ),
    "a comment that alignment would push too far": (
        f"f # {'x' * 110}\nconv 3x3 64; relu # y",
        f"f  # {'x' * 110}\nconv 3x3 64; relu  # y",
    ),
    "own comments": (
        "# a\n\n\n   # b\nrepeat 2 {\n# c\n\nf\n  # d\n}\n# e",
        "# a\n\n# b\nrepeat 2 {\n  # c\n\n  f\n  # d\n}\n# e",
    ),
    "columns behind `;`": (
        "a: f 1;    expect 2\nrelu\nbb: f 123; expect 3\nc;   relu",
        "a: f 1;    expect 2\nrelu\nbb: f 123; expect 3\nc; relu",
    ),
    "columns of a list": (
        "let t = [[1, 2],     [3, 4],\n         [100, 200], [300, 400]]\nlet u = [1,  2]",
        "let t = [[1, 2],     [3, 4],\n         [100, 200], [300, 400]]\nlet u = [1, 2]",
    ),
    "comments inside": (
        "add x # c\n{ f }\nlet x = ( # c\n1)\nf [1, # c\n2 # d\n]",
        "add x  # c\n    { f }\nlet x = (  # c\n  1)\nf [1,  # c\n   2  # d\n  ]",
    ),
    "a line that allows stays": (
        "repeat 2 { " + "; ".join(["conv 3x3 1000"] * 9) + " } # allow W0302",
        "repeat 2 { " + "; ".join(["conv 3x3 1000"] * 9) + " }  # allow W0302",
    ),
    "a part of a body that allows": (
        "repeat 2 { f; g # allow W0302\nh }",
        "repeat 2 { f; g  # allow W0302\n           h }",
    ),
    "settings": ('about { year 2015;paper "A"\ntop1 1+2 }', 'about {\n  year 2015; paper "A"\n  top1 1+2\n}'),
}
"""Statements before and after."""

FILES = {
    "definitions": (
        'use a,b from "x.net";let y=3\nnet n (a in [1,2]=1,b=(3)) {f}\nnet m=n (a=1)\n'
        "block b(x)seq{f}\nfn g (x)=(x+1)*2",
        'use a, b from "x.net"; let y = 3\nnet n(a in [1, 2] = 1, b = (3)) { f }\nnet m = n(a = 1)\n'
        "block b(x) seq { f }\nfn g(x) = (x + 1)*2\n",
    ),
    "a brace on its own line": ("net a\n{\nf }\ntrain a\n{ batch 2*4 }", "net a {\n  f\n}\ntrain a { batch 2*4 }\n"),
    "documentation": (
        "# doc\nnet a { f } # c\n; # none\nnet b { f }",
        "# doc\nnet a { f }  # c\n# none\n\nnet b { f }\n",
    ),
    "a comment before a `;`": ("net a { f }\n# c\n; net b { f }", "net a { f }\n# c\n\nnet b { f }\n"),
    "nothing": ("", ""),
    "a line that allows at the end": ("net a {f} # allow W0302", "net a { f }  # allow W0302\n"),
    "a comment alone": ("\n\n# c  ", "# c\n"),
    "a mark and line ends": ("\ufeffnet a{\r\nf}", "\ufeffnet a {\r\n  f\r\n}\r\n"),
}

TEXTS = sorted(
    {path.read_text("utf-8") for folder in ("specs", "examples", "tests") for path in (ROOT / folder).rglob("*.net")}
)

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
FENCE = re.compile(r"^```net\b([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BY_HAND = ("dense 64 - 1", "let width = 2 *\n")
"""Examples in the documentation whose point is another layout."""


def tokens(text: str) -> list[Token]:
    return [token for token in Scan(Source("", text), Work()).tokens if token.type != "SEP"]


def comments(text: str) -> list[str]:
    return [text[start:end].rstrip(" \t") for start, end in Scan(Source("", text), Work()).comments]


def says_the_same(text: str) -> str | None:
    """The formatted text; None if the text does not parse. The comparison is one of the tests alone."""
    file, _ = read(text)
    done = format_text(text, "test.net", Report())
    assert (done is None) == file.broken
    if done is None:
        return None
    source = Source("", text).text
    assert [token.text for token in tokens(done)] == [token.text for token in tokens(source)]
    assert comments(done) == comments(source)
    assert [dump(item) for item in read(done)[0].items] == [dump(item) for item in file.items]
    assert format_text(done, "test.net", Report()) == done
    assert re.search(r"[ \t]$|\n\n\n|\A\n|\n\n\Z", done, re.MULTILINE) is None
    return done


@pytest.mark.parametrize("what", BODIES)
def test_statements(what: str) -> None:
    before, after = BODIES[what]
    assert format_text(before, "test.net", Report(), body=True) == f"{after}\n"
    assert format_text(f"{after}\n", "test.net", Report(), body=True) == f"{after}\n"


@pytest.mark.parametrize("what", FILES)
def test_files(what: str) -> None:
    before, after = FILES[what]
    assert format_text(before, "test.net", Report()) == after


def test_the_texts_of_the_tests_say_the_same() -> None:
    texts = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.net")]
    assert sum(says_the_same(text) is not None for text in texts) > 100


def test_the_repository_is_formatted(netdsl: Commands) -> None:
    """Here and in the documentation; `netdsl fmt FILE` does it."""
    ran = netdsl("fmt", ROOT / "specs", ROOT / "examples", "--check")
    assert (ran.code, ran.out) == (0, "")
    assert format_text(TEMPLATE, "init", Report()) == TEMPLATE
    ugly = []
    for page in PAGES:
        for words, text in FENCE.findall(page.read_text("utf-8")):
            done = format_text(text, page.name, Report(), body=words.split()[:1] == ["body"])
            if done not in (None, text) and not any(words in text for words in BY_HAND):
                ugly.append(f"{page.relative_to(ROOT)}:\n{text}")
    assert ugly == []


def gaps(text: str) -> list[str]:
    """A program with a comment in each gap between two tokens, or before the first, one after another."""
    places = [0, *(token.end for token, _ in pairwise(tokens(text)))]
    return [f"{text[:place]} # between\n{text[place:]}" for place in places]


EVERYTHING = """use a from "a.net"
fn f(x) = -x if x > 0 else g(x)[1:]
block b(n, m = [1, 2]) seq { conv 3x3 n; relu }
net c(n in [1, 2] = 1) {
  about { year 2015; paper "P" }
  default conv bias off
  input image 3x8x8 mean [1, 2]
  a{n}: seq { skip if n > 1 { f } project { g } }
  concat axis 1 a { f; g }
                  { repeat 2 as j { h } }
  let k = match n { 1 => [i for i in r if i]; _ => "x" }
  if k { f 2*(n + 1) } else { output o training { g } }
  expect params 3
}
train c { loss mse; lr 1e-3 }
"""
"""Each construct of the language."""


def test_a_comment_in_every_gap_stays() -> None:
    """It stays where it is, by the order of tokens and comments: a gap has one comment."""
    assert says_the_same(EVERYTHING) == EVERYTHING
    found = [done for text in gaps(EVERYTHING)[::8] if (done := says_the_same(text)) is not None]
    assert len(found) > 15
    assert all(done.count("# between\n") == 1 for done in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "inception_v3", "swin", ""])
def test_a_comment_in_every_gap_of_a_spec_stays(name: str) -> None:
    for text in gaps((ROOT / "specs" / f"{name}.net").read_text("utf-8") if name else EVERYTHING):
        says_the_same(text)


PIECES = [
    " # c\n",
    "\n",
    "   ",
    "\n\n\n",
    "\n# own\n",
    " # allow W0301: x\n",
    ";",
    "; ",
    "",
    "\n\n# d\n\n",
    f" # {'long ' * 30}\n",
]


def disturbed(random: Random) -> str:
    """A program with other spaces, newlines and comments, wherever it still parses."""
    text = random.choice(TEXTS) if random.random() < 0.7 else program(random)
    for _ in range(random.choice([1, 3, 8, 20])):
        place = random.choice([0, *(token.end for token in tokens(text))])
        gap = re.compile(r"[ \t\n]*").match(text, place)
        assert gap is not None
        changed = text[:place] + random.choice(PIECES) + text[random.choice([place, gap.end()]) :]
        text = changed if not read(changed)[0].broken else text
    return text


REMEMBERED = (694, 1140)
"""Seeds of an empty body that does not fit beside its `else`, and of a newline in a statement that a line then has."""


@pytest.mark.parametrize("seeds", [(*range(15), *REMEMBERED), pytest.param(range(2000), marks=pytest.mark.slow)])
def test_disturbed_programs_say_the_same(seeds: Iterable[int]) -> None:
    for seed in seeds:
        says_the_same(disturbed(Random(seed)))


def test_allowed_warnings_stay(tmp_path: Path) -> None:
    """Those of a spec whose lines allow some, and others of long lines that break."""
    text = (ROOT / "specs" / "pointnet.net").read_text("utf-8").replace("  # allow", " # allow").replace("; bn", ";bn")
    (tmp_path / "n.net").write_text(says_the_same(text) or "", "utf-8")
    assert len(api.check(tmp_path / "n.net")) == 0


@pytest.mark.parametrize("name", ["lenet5", "nin_bn", "xor"])
def test_models_are_equal_except_for_their_source(name: str, tmp_path: Path) -> None:
    from onnx import ModelProto

    text = (ROOT / "specs" / f"{name}.net").read_text("utf-8").replace("; ", ";").replace("\n  ", "\n    ")
    models = []
    for number, each in enumerate((text, says_the_same(text))):
        api.parse(each or "").save(tmp_path / f"{number}.onnx", seed=3)
        model = ModelProto.FromString((tmp_path / f"{number}.onnx").read_bytes())
        kept = [entry for entry in model.metadata_props if entry.key not in ("netdsl.source", "netdsl.source_sha256")]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        for node in model.graph.node:
            node.doc_string = ""
            props = [entry for entry in node.metadata_props if entry.key != "netdsl.source"]
            del node.metadata_props[:]
            node.metadata_props.extend(props)
        models.append(model.SerializeToString(deterministic=True))
    assert models[0] == models[1]
    assert text != says_the_same(text)


def test_the_command(netdsl: Commands, tmp_path: Path) -> None:
    ugly, clean = "net a{input x 4;dense 2}\r\n", "net a { input x 4; dense 2 }\r\n"
    inner, hidden = tmp_path / "n" / "deep", tmp_path / "n" / ".hidden"
    for folder in (inner, hidden):
        folder.mkdir(parents=True)
        (folder / "a.net").write_bytes(ugly.encode())
    (tmp_path / "n" / "b.net").write_bytes(clean.encode())
    (inner / "a.net").chmod(0o640)
    ran = netdsl("fmt", "n", "--check")
    assert (ran.code, ran.out) == (1, "n/deep/a.net\n")
    assert "1 file would be formatted, 1 file unchanged" in ran.err
    ran = netdsl("fmt", "n", "--diff")
    assert ran.code == 1
    assert ran.out.splitlines()[3:] == ["-net a{input x 4;dense 2}", "+net a { input x 4; dense 2 }"]
    assert (inner / "a.net").read_bytes() == ugly.encode()
    ran = netdsl("fmt", "n")
    assert (ran.code, ran.out) == (0, "")
    assert (inner / "a.net").read_bytes() == clean.encode()
    assert (inner / "a.net").stat().st_mode & 0o777 == 0o640
    assert (hidden / "a.net").read_bytes() == ugly.encode()
    assert netdsl("fmt", "n", "--check").code == 0


@pytest.mark.parametrize(
    ("before", "changes"),
    [
        ("relu", ["-relu", "\\ No newline at end of file", "+relu"]),
        ("relu\r\nbn\n", ["-bn", "+bn\\r"]),
        ("relu\nbn\r\n", ["-bn\\r", "+bn"]),
        ("relu  ;bn\r\n", ["-relu  ;bn", "+relu; bn"]),
        ("relu  ;bn\r", ["-relu  ;bn", "+relu; bn"]),
        ("\trelu  # a\fb\u2028c\td\n", ["-\trelu  # a\\x0cb\\u2028c\td", "+relu  # a\\x0cb\\u2028c\td"]),
    ],
)
def test_each_change_is_in_the_diff(netdsl: Commands, tmp_path: Path, before: str, changes: list[str]) -> None:
    (tmp_path / "a.net").write_bytes(before.encode())
    ran = netdsl("fmt", "--body", "--diff", "a.net")
    assert ran.code == 1
    assert [line for line in ran.out.split("\n")[3:] if line and line[0] in "-+\\"] == changes


def test_files_of_folders(netdsl: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    ran = netdsl("fmt", "empty")
    assert (ran.code, ran.out) == (0, "")
    assert "there are no files that end in .net or .netdsl" in ran.err
    for name in ("a.netdsl", ".b.net"):
        (tmp_path / "empty" / name).write_text("net a{input x 4}")
    assert netdsl("fmt", "empty", "--check").out.split() == ["empty/a.netdsl"]
    scan = os.scandir

    def refuse(path: str) -> object:
        if path == "empty":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    ran = netdsl("fmt", "empty", "--check")
    assert ran.code == 2
    assert "empty may not be read: permission denied" in ran.err


def test_an_edit_of_another_program_is_not_lost(
    netdsl: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.net"
    path.write_text("net a{input x 4}")

    def format_slowly(text: str, *_: object, **__: object) -> str:
        path.write_text("net edited { input x 4 }")
        return text.replace("{", " { ")

    monkeypatch.setattr("netdsl.app.format.format_text", format_slowly)
    ran = netdsl("fmt", "a.net")
    assert ran.code == 2
    assert "it has changed since it was read" in ran.err
    assert path.read_text() == "net edited { input x 4 }"


def test_a_file_that_does_not_parse_stays(netdsl: Commands, tmp_path: Path) -> None:
    (tmp_path / "bad.net").write_text("net a { conv 3x3 + }")
    (tmp_path / "wrong.net").write_text("net a{nolayer}")
    ran = netdsl("fmt", "bad.net", "nofile.net", "wrong.net")
    assert ran.code == 2
    assert "E0101" in ran.err
    assert "there is no file nofile.net" in ran.err
    assert "1 file formatted, 0 files unchanged, 2 files with errors" in ran.err
    assert (tmp_path / "bad.net").read_text() == "net a { conv 3x3 + }"
    assert (tmp_path / "wrong.net").read_text() == "net a { nolayer }\n"


def test_python() -> None:
    assert api.format("net a{input x 4}") == "net a { input x 4 }\n"
    assert api.format("dense  4;relu", body=True) == "dense 4; relu\n"
    with pytest.raises(api.NetError, match="E0101") as caught:
        api.format("\ndense 4 +", body=True)
    assert "<string>:2:10" in str(caught.value)
    with pytest.raises(api.NetError, match="E0103") as caught:
        api.format("relu }\nnet b { relu", body=True)
    assert "<string>:1:6" in str(caught.value)
