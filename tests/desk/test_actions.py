"""Fixes as code actions: each offered one removes its problem; allowed warnings, expected shapes, formatting."""

from __future__ import annotations

from pathlib import Path

import pytest

from netdsl.desk.actions import Action, actions, formatted, safe_fixes
from netdsl.desk.analysis import DeskAnalysis
from netdsl.desk.session import Session
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.report import Report
from netdsl.formatting.formatter import format_text
from tests.language.test_problems import GOLDEN
from tests.support.paths import ROOT

URI = "file:///nets/n.net"


def opened(text: str) -> tuple[Session, DeskAnalysis]:
    session = Session()
    session.open(URI, text, 1)
    return session, session.complete(URI)


def offered(text: str, word: str) -> dict[str, str]:
    """The actions at a word: their titles, and the texts after them."""
    _, analysis = opened(text)
    start = text.index(word)
    return {each.title: apply(text, each.edits) for each in actions(analysis, start, start + len(word))}


def test_fixes_are_offered_at_their_problem() -> None:
    text = "net n {\n  input x 3x8x8\n  desne 4\n  expect 5\n}"
    assert offered(text, "desne")["did you mean `dense`?"] == text.replace("desne", "dense")
    fixed = text.replace("desne", "dense")
    assert fixed.replace("expect 5", "expect 4") in offered(fixed, "expect 5").values()
    assert offered(text, "input") == {}
    session = Session()
    session.open(URI, text, 1)
    assert list(actions(session.analysis(URI), 0, len(text))) == []  # not verified yet


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("conv 3x3 4; bn", "conv 3x3 4; bn  # allow W0302"),
        ("conv 3x3 4; bn  # stem", "conv 3x3 4; bn  # allow W0302: stem"),
        ("conv 3x3 4; bn  # allow W0301: why", "conv 3x3 4; bn  # allow W0301 W0302: why"),
    ],
)
def test_a_warning_can_be_allowed_on_its_line(line: str, after: str) -> None:
    text = f"net n {{\n  input x 3x8x8\n  {line}\n}}"
    changed = offered(text, "conv")["allow W0302 here"]
    assert changed == text.replace(line, after)
    assert [problem.code for problem in opened(changed)[1].problems] == []


def test_the_shape_can_be_expected() -> None:
    text = "net n { input x 3x8x8; a: conv 3x3 4; repeat 2 { conv 3x3 5 }; relu }"
    assert offered(text, "conv 3x3 4")["insert `expect 4x8x8`"] == text.replace("3x3 4;", "3x3 4; expect 4x8x8;")
    assert offered(text, "relu")["insert `expect 5x8x8`"] == text.replace("relu", "relu; expect 5x8x8")
    assert opened(offered(text, "relu")["insert `expect 5x8x8`"])[1].problems == []


def test_defaults_are_written_out() -> None:
    text = (
        "block conv2(c) { conv 3x3 c }\nnet n {\n  input x 3x8x8\n  default conv bias off\n  s: conv 3x3 4 stride 2\n"
    )
    text += "  conv2 4\n  for k in [1, 2] { maxpool 2 stride k }\n  dense 10 init normal(0.01)  # head\n}\n"
    written = "pad same pad_mode zeros dilation 1 bias off init he_normal bias_init zeros groups 1"
    after = offered(text, "conv 3x3 4")[f"write out the defaults: `{written}`"]
    assert after == text.replace("stride 2", f"stride 2 {written}")
    assert layers(after) == layers(text)
    assert not any(title.startswith("write") for title in [*offered(text, "conv2 4"), *offered(after, "conv 3x3 4")])
    (title,) = (title for title in offered(text, "maxpool") if title.startswith("write"))
    assert "stride" not in title
    assert offered(text, "dense")["write out the defaults: `bias on bias_init zeros`"].count("bias on") == 1


def layers(text: str) -> list[str]:
    """The layers of a text with all their arguments."""
    nodes = [node for values in opened(text)[1].values.values() for node in values.nodes]
    return [repr([(name, getattr(node.layer, name)) for name in node.layer.arguments]) for node in nodes]


def test_all_safe_fixes_at_once() -> None:
    text = "net n { input x 3x8x8; conv 3x3 4 strid 2; conv 3x3 4 padd same; dense (( }"
    session, analysis = opened(text)
    edits = safe_fixes(session, URI)
    assert apply(text, edits) == text.replace("strid ", "stride ").replace("padd", "pad")
    assert analysis.source.text == text
    session, _ = opened("net n { input x 4; dense 2 }")
    assert safe_fixes(session, URI) == []


def key(analysis: DeskAnalysis) -> list[tuple[str, str]]:
    return [(problem.code, problem.message()) for problem in analysis.problems]


def check_all(text: str) -> int:
    """Apply each offered fix of a text by itself; its problem must be gone. Return their number."""
    session, before = opened(text)
    found: list[Action] = [
        each
        for each in actions(before, 0, len(before.source.text))
        if each.problem is not None and all(edit.span.source is before.source for edit in each.edits)
    ]
    for action in found:
        assert action.problem is not None
        after = session.trial(URI, apply(before.source.text, action.edits))
        said = action.problem.code, action.problem.message()
        if action.problem.severity == "error":
            assert key(after).count(said) < key(before).count(said), action.title
    return len(found)


def test_each_offered_fix_removes_its_problem() -> None:
    assert sum(check_all(path.read_text("utf-8")) for path in GOLDEN[::12]) > 5


@pytest.mark.slow
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_each_offered_fix_removes_its_problem_everywhere(path: Path) -> None:
    check_all(path.read_text("utf-8"))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_formatting_changes_only_the_lines_that_differ(end: str) -> None:
    text = "net n {\n    input x 3x8x8\n  conv 3x3   4\n  relu\n}\n".replace("\n", end)
    _, analysis = opened(text)
    edits = formatted(analysis)
    done = apply(analysis.source.text, edits)
    assert done == (format_text(text, "n.net", Report()) or "").replace("\r\n", "\n")
    assert "relu" not in "".join(edit.span.text for edit in edits)
    assert formatted(opened(done)[1]) == []
    assert formatted(opened("net n { dense (( }")[1]) == []


UGLY = "net n {\n    input x 3x8x8\n  conv 3x3   4\n  relu\n  repeat 2 {bn;\n   relu}\n  # end\n   dense   10}"


@pytest.mark.parametrize(
    ("lines", "after"),
    [
        ((3, 3), UGLY),
        ((2, 2), UGLY.replace("   4", " 4")),
        ((2, 3), UGLY.replace("   4", " 4")),
        ((4, 4), UGLY.replace("{bn;\n   relu}", "{\n    bn\n    relu\n  }")),
        ((7, 900), UGLY.replace("   dense   10}", "  dense 10\n}\n")),
        ((0, 7), format_text(UGLY, "n.net", Report())),
        ((900, 900), UGLY.replace("   dense   10}", "  dense 10\n}\n")),
    ],
)
def test_lines_are_formatted(lines: tuple[int, int], after: str) -> None:
    _, analysis = opened(UGLY)
    assert apply(UGLY, formatted(analysis, lines)) == after


def test_formatted_lines_say_the_same() -> None:
    text = "\n".join(
        line.replace(" ", "  ") for line in (ROOT / "specs" / "googlenet.net").read_text("utf-8").split("\n")
    )
    _, analysis = opened(text)
    whole = format_text(text, "n.net", Report())
    parts = [apply(text, formatted(analysis, (line, line + 2))) for line in range(0, text.count("\n"), 7)]
    assert {format_text(part, "n.net", Report()) for part in parts} == {whole}
    assert len(set(parts)) > len(parts) / 2
