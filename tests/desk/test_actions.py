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

URI = "file:///work/n.net"


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
