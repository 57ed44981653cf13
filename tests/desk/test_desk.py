"""What the desk knows of open documents: problems, shapes, and what a name means; positions in an editor's units."""

from __future__ import annotations

from pathlib import Path

import pytest

from netdsl.app.analyse import Level
from netdsl.desk.analysis import DeskAnalysis
from netdsl.desk.diagnostics import diagnostics
from netdsl.desk.document import BOM, Document, path_of, uri_of
from netdsl.desk.hints import hints
from netdsl.desk.hover import hover
from netdsl.desk.session import Session
from netdsl.diagnostics.report import Cancelled
from tests.support.paths import ROOT

URI = "file:///nets/n.net"


def analysis_of(text: str, *, complete: bool = False) -> DeskAnalysis:
    session = Session()
    session.open(URI, text, 1)
    return session.complete(URI) if complete else session.analysis(URI)


def shown(text: str) -> dict[int, str]:
    """The hints of a text by line."""
    analysis = analysis_of(text)
    return {analysis.source.position(each.offset)[0]: each.text for each in hints(analysis)}


TEXT = """block unit(width, stride = 1) {
  skip {
    conv 3x3 width stride stride; bn     # twice
    conv 3x3 width
  } project { conv 1x1 width stride stride }
  relu
}
net n(depth in [1, 2] = 2) {
  input image 3x16x16
  for i in range(depth) { u{i}: unit 8*2**i stride i+1 }
  expect 16x8x8
  concat { conv 1x1 2; relu }
         { conv 1x1 4
           relu }
  flatten; dense 10
}
net other = n(depth = 1)
"""


def test_each_line_has_the_shapes_of_its_last_statement() -> None:
    assert shown(TEXT) == {
        3: "→ 8x16x16, 16x8x8",
        4: "→ 8x16x16, 16x8x8",
        5: "→ 8x16x16, 16x8x8",
        6: "→ 8x16x16, 16x8x8",
        10: "→ 16x8x8",
        12: "→ 2x8x8",
        13: "→ 4x8x8",
        14: "→ 6x8x8",
        15: "→ 10",
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("net n {\n input x 3x8x8\n repeat 3 { conv 3x3 4 }\n}", {3: "→ 4x8x8"}),
        ("net n {\n input x 3x8x8\n repeat 3 {\n relu\n }\n}", {4: "→ 3x8x8 ×3", 5: "→ 3x8x8"}),
        ("net n {\n input x 8\n for k in [1, 2, 3, 4] {\n dense k\n }\n}", {4: "→ 1 … 4 ×4", 5: "→ 4"}),
        ("net n {\n input x [3, ?H]\n conv 3 4\n}", {3: "→ [4, H]"}),
        ("net n {\n input x 8\n dense 4; expect 5\n relu\n}", {3: "→ 4", 4: "→ 4"}),  # only one that agrees says it
        ("net n {\n input x 8\n dense 4; expect params 36\n}", {3: "→ 4"}),
        ("net n {\n input x 8\n desne 4; relu\n a: tanh\n}", {}),
        ("net n {\n input x 8\n concat { dense 4 } { desne 4\n }\n}", {}),
        ("net n {\n input x 8\n if 1 > 2 {\n dense 3\n }\n tanh  # end\n}", {5: "→ 8", 6: "→ 8"}),
        ("block b {\n relu\n}", {}),
        ("default con stride 2\nnet n {\n input x 3x8x8\n conv 3x3 4\n}", {}),  # shapes may not be what is meant
        ("default conv (\nnet n {\n input x 3x8x8\n conv 3x3 4\n}", {}),
        ("net n {\n input x 3x8x8\n default con stride 2\n conv 3x3 4\n}", {}),
        ("net n {\n input x 3x8x8\n default conv (\n conv 3x3 4\n}", {}),
        ("net n {\n input x 8\n dense ((\n}", {}),
        ("net n {\n input x 4\n dense 3\n}\nnet m {\n input x 4\n dense 5\n}", {3: "→ 3", 7: "→ 5"}),
        ("net n {\n input x 4\n dense 3; output y\n}", {3: "→ 3"}),
    ],
)
def test_hints(text: str, found: dict[int, str]) -> None:
    assert shown(text) == found


def test_a_hint_stands_before_the_comment_and_names_the_calls() -> None:
    analysis = analysis_of(TEXT)
    hint = hints(analysis, 3, 3)[0]
    assert analysis.source.text[: hint.offset].endswith("; bn")
    assert hint.tooltip == "u0.bn1: 8x16x16 (i = 0, line 10)\nu1.bn1: 16x8x8 (i = 1, line 10)"


def test_another_variant_is_shown() -> None:
    session = Session()
    session.open(URI, TEXT.replace("  expect 16x8x8\n", "\n"), 1)
    before = session.analysis(URI)
    for key, value in (("depth", "1"), ("other", "")):
        session.show(URI, "n", key, value)
        assert [each.text for each in hints(session.analysis(URI), 10, 10)] == ["→ 8x16x16"]
    session.show(URI, "n", "depth", "nothing")
    assert [each.text for each in hints(session.analysis(URI))] == [each.text for each in hints(before)]


def found_in(analysis: DeskAnalysis) -> list[tuple[str, str, list[str]]]:
    return [
        (each.problem.code, each.span.text, [f"{span.text}: {text}" for span, text in each.related])
        for each in diagnostics(analysis)
    ]


def test_problems_have_places_reasons_and_help() -> None:
    (found,) = found_in(analysis_of("let a = 1\nnet n { input x 4; dense 2 }\nlet a = 2"))
    assert found == ("E0204", "a", ["a: first here"])
    text = "block b { dense 3; dnese 4 }\nnet n { input x 4; b }"
    (only,) = diagnostics(analysis_of(text, complete=True))
    assert only.message.splitlines()[0] == "unknown layer or block `dnese`"
    assert only.message.splitlines()[-1] == "help: did you mean `dense`?"
    assert [(span.text, said) for span, said in only.related] == [("b", "in this call of `b`")]


def test_warnings_are_advice() -> None:
    text = "net n { input x 4; let a = 3; dense 3 }"
    assert found_in(analysis_of(text)) == []
    (warning,) = diagnostics(analysis_of(text, complete=True))
    assert (warning.problem.code, warning.is_unused) == ("W0205", True)


def test_unsaved_and_saved_files_are_used(tmp_path: Path) -> None:
    used, uses = tmp_path / "b.net", tmp_path / "sub" / "a.net"
    uses.parent.mkdir()
    used.write_text("block b { dense 3 }")
    text = 'use "../b.net"\nnet a { input x 4; b }'
    session = Session(roots=(str(tmp_path),))
    assert session.open(uri_of(str(uses)), text, 1) == [uri_of(str(uses))]

    def shape() -> list[str]:
        return [each.text for each in hints(session.analysis(uri_of(str(uses))))]

    assert shape() == ["→ 3"]
    session.open(uri_of(str(used)), "block b { dense 5 }", 1)
    assert shape() == ["→ 5"]
    assert set(session.change(uri_of(str(used)), "block b { dense 6 }", 2)) == {uri_of(str(used)), uri_of(str(uses))}
    assert shape() == ["→ 6"]
    session.change(uri_of(str(used)), "block b { desne 6 }", 3)
    (problem,) = diagnostics(session.analysis(uri_of(str(uses))))
    assert problem.span.text == "b"
    assert problem.message.startswith(f"{uses.parent}/../b.net:1:11: unknown layer")
    session.change(uri_of(str(used)), "block b { dense (( }", 4)
    assert [each.span.text for each in diagnostics(session.analysis(uri_of(str(uses))))] == ['"../b.net"']
    assert session.close(uri_of(str(used))) == [uri_of(str(uses))]
    assert shape() == ["→ 3"]
    outside = Session(roots=(str(uses.parent),))
    outside.open(uri_of(str(uses)), text, 1)
    assert [each.problem.code for each in diagnostics(outside.analysis(uri_of(str(uses))))] == ["E0502"]


def test_a_text_that_is_too_large_for_an_edit_is_analyzed_later() -> None:
    text = "net n { input x 4; repeat 50000 { relu } }"
    session = Session()
    session.open(URI, text, 1)
    quick = session.analysis(URI)
    assert quick.is_too_large
    assert (hints(quick), quick.problems) == ([], [])
    assert [each.text for each in hints(session.complete(URI))] == ["→ 4"]
    session.change(URI, "net n { input x 4; repeat 10000000 { relu } }", 2)
    assert [problem.code for problem in session.complete(URI).problems] == ["E0314"]


def test_an_older_analysis_is_not_kept_and_a_needless_one_is_cancelled() -> None:
    session = Session()
    session.open(URI, TEXT, 1)
    work = session.advice(URI)
    session.change(URI, TEXT + "\n", 2)
    assert not session.keep(URI, work())
    assert session.analysis(URI).version == 2
    with pytest.raises(Cancelled):
        session.advice(URI, lambda: True)()
    assert not session.is_complete(URI)
    assert session.complete(URI) is session.analysis(URI)
    assert session.is_complete(URI)


@pytest.mark.parametrize(("level", "codes"), [("syntax", []), ("shapes", ["E0202"]), ("all", ["E0202"])])
def test_levels(level: str, codes: list[str]) -> None:
    session = Session(level=level)
    session.open(URI, "net n { input x 4; desne 2 }", 1)
    assert [problem.code for problem in session.analysis(URI).problems] == codes
    assert session.analysis(URI).level <= Level.SHAPES


WIDE = "a−𝒳é"
"""Four characters: 5 units in UTF-16, 10 bytes in UTF-8."""


@pytest.mark.parametrize(("encoding", "units"), [("utf-8", 10), ("utf-16", 5), ("utf-32", 4)])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", BOM])
def test_positions_are_in_the_units_of_the_editor(encoding: str, units: int, end: str, mark: str) -> None:
    raw = f"{mark}# {WIDE} x{end}net n {{{end}  input x 4 # {WIDE}{end}}}"
    document = Document(URI, raw, 1, encoding)
    text = document.source.text
    before = {"utf-8": 3}.get(encoding, 1) if mark else 0
    assert document.position(text.index("x")) == (0, before + 2 + units + 1)
    assert document.position(text.index("input")) == (2, 2)
    assert document.position(text.rindex(WIDE) + len(WIDE)) == (2, 14 + units)
    for offset in range(len(text) + 1):
        assert document.offset(document.position(offset)) == offset
    assert document.offset((2, 1000)) == text.index("\n}")
    assert document.offset((1000, 0)) == len(text)


def test_addresses_are_paths() -> None:
    assert path_of("file:///nets/a%20b/%C3%A9.net") == "/nets/a b/é.net"
    assert path_of(uri_of("/nets/a b/é#.net")) == "/nets/a b/é#.net"
    assert path_of("untitled:Untitled-1").endswith("/Untitled-1")
    assert uri_of("zoo/lenet5.net") == uri_of(str(ROOT / "specs" / "lenet5.net"))


@pytest.mark.parametrize(
    ("word", "at", "said"),
    [
        ("conv 3x3", 0, ["conv KERNEL", "| `u0.conv1` | 3x16x16 | 8x16x16 | 224 |", "docs/layers/conv.md"]),
        ("stride stride", 0, ["conv … stride 1", "Distance between"]),
        ("stride stride", 7, ["parameter `stride`: `1`, `2`", "stride = 1"]),
        ("width stride", 0, ["parameter `width`: `8`, `16`"]),
        ("u{i}", 0, ["label `u{i}`", "- `u0.relu1` 8x16x16\n- `u1.relu1` 16x8x8"]),
        ("i in range", 0, ["variable `i`: `0`, `1`"]),
        ("range", 0, ["built-in function"]),
        ("unit 8", 0, ["block unit(width, stride = 1)", "Two convolutions."]),
        ("n(depth in", 0, ["net n(depth in [1, 2] = 2)", "weights; `output` 10"]),
        ("n(depth = 1", 0, ["net n(depth in [1, 2] = 2)"]),
        ("image", 0, ["input `image`", "3x16x16"]),
        ("skip {", 0, ["skip [if c]", "add the value of a branch"]),
        ("concat", 0, ["concat", "6x8x8"]),
        ("for i", 0, ["for NAME in LIST"]),
    ],
)
def test_hover(word: str, at: int, said: list[str]) -> None:
    text = "# Two convolutions.\n" + TEXT
    found = hover(analysis_of(text), text.index(word) + at)
    assert found is not None
    for each in said:
        assert each in found.text, found.text


def test_hover_explains_a_problem_and_is_silent_elsewhere() -> None:
    text = "net n { input x 4; desne 2; relu }  # 1"
    found = hover(analysis_of(text), text.index("desne") + 2)
    assert found is not None
    assert found.text.startswith("**E0202** ")
    assert hover(analysis_of(text), text.index("# 1") + 2) is None
