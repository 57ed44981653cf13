"""Repairs of shapes: worked out, tried, and offered only where they mend the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from netdsl.app.analyse import check_file
from netdsl.app.repair import MAX_FIXES_SHOWN, verify_suggestions
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.report import Report

CASES = {
    "a projection": (
        "skip { conv 3x3 16 stride 2; bn }",
        ["project { conv 1x1 16 stride 2 }"],
    ),
    "a stride too many": ("skip { conv 3x3 stride 2 }", ["skip { conv 3x3 }", "project { conv 1x1 8 stride 2 }"]),
    "padding": (
        "skip { conv 3x3 pad 0; relu; conv 5x5 8 pad valid }",
        ["conv 3x3 pad same; relu; conv 5x5 8 pad same"],
    ),
    "channels": ("add { conv 3x3 16 } { conv 1x1 12 }", ["conv 1x1 16", "conv 3x3 12"]),
    "channels and a size together": ("add { conv 3x3 16 } { conv 3x3 12 pad 0 }", ["conv 3x3 16 pad same"]),
    "a pool in a concat": ("concat { } { maxpool 3x3 stride 2 pad 1 }", ["maxpool 3x3 stride 1 pad 1"]),
    "a row in front": ("concat { param 8x1x10 } { }", ["concat axis 1 { param 8x1x10 } { }"]),
    "another axis": ("concat axis 0 { } { conv 3x1 pad 0 }", ["concat axis 1 { }"]),
    "a window": ("conv 11x11 4 pad 0", ["conv 11x11 4 pad same", "conv 9x9 4 pad 0", "input x 8x20x20"]),
    "groups": ("conv 3x3 12 groups 3", ["groups 2"]),
    "an even kernel": ("conv 4x4 8", ["conv 4x4 8 pad same_upper"]),
    "an expectation": ("conv 3x3 4; expect 5x10x10", ["expect 4x10x10", "conv 3x3 5"]),
    "a pool's padding": ("maxpool 3x3 pad 3", ["maxpool 3x3 pad 1"]),
}


def check(text: str) -> Report:
    Path("main.net").write_text(text, "utf-8")
    report = Report()
    check_file("main.net", report)
    return report


@pytest.mark.parametrize("case", CASES)
def test_the_repairs_that_mend_are_offered(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    statements, wanted = CASES[case]
    text = f"net main {{ input x 8x10x10; {statements} }}"
    (problem,) = [p for p in check(text) if p.severity == "error"]
    mended = [apply(text, help.edits) for help in problem.verified_fixes]
    assert bool(wanted) <= len(mended) <= MAX_FIXES_SHOWN * bool(wanted)
    for part in wanted:
        assert any(part in each for each in mended), mended
    for each in mended:
        assert not check(each).errors


def test_a_repair_that_spoils_another_call_is_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "block b { conv 3x3 16 }\nnet main { input x 8x10x10; skip { b }; b; expect 16x10x10; dense 1 }"
    (problem,) = check(text)
    assert problem.code == "E0310"
    offered = [apply(text, help.edits) for help in problem.verified_fixes]
    assert offered
    assert not any("conv 3x3 8" in each for each in offered)  # the second call is expected to make 16
    assert not any(check(each).errors for each in offered)


def test_a_multiple_makes_symbolic_sizes_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    unet = "maxpool 2x2; maxpool 2x2; upsample 4; add x"
    (problem,) = check(f"net main {{ input x [3, ?H, ?W]; {unet} }}")
    (help,) = problem.verified_fixes
    assert [edit.text for edit in help.edits] == ["[3, 4*?H, 4*?W]"]
    (problem,) = check(f"net main {{ input x 3x?x?; {unet} }}")
    assert [edit.text for help in problem.verified_fixes for edit in help.edits] == ["[3, 4*?, 4*?]"]
    arms = "add { mul a } { from x; mul a }"  # of the two inputs, only x has the sizes
    (problem,) = check(
        f"net main {{ input x [3, ?H, ?W]; input a 3x1x1; from x; {unet.removesuffix('; add x')}; {arms} }}"
    )
    assert [edit.text for help in problem.verified_fixes for edit in help.edits] == ["[3, 4*?H, 4*?W]"]


def test_an_odd_size_is_rounded_for_a_unet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (problem,) = check("net main { input x 3x50x50; maxpool 2x2; maxpool 2x2; upsample 4; add x }")
    assert problem.verified_fixes[0].edits[0].text in ("3x52x52", "3x48x48")


def test_both_origins_are_named_through_calls_and_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (
        "block half(n) { conv 3x3 n stride 2; relu }\n"
        "net main {\n  input x 3x64x64\n  repeat 2 as j { half 16*2**j }\n  kept: relu\n  half 32\n  add kept\n}"
    )
    (problem,) = check(text)
    labels = {label.span.text: label.text for label in problem.labels()}
    assert labels["stride 2"] in ("this produces 8x8 from 16x16", "this produces 16x16 from 32x32")
    notes = " ".join(problem.notes())
    assert "in block `half`, called at main.net:6:3" in notes
    assert "in block `half`, called at main.net:4:19, round j = 1" in notes


@pytest.mark.parametrize("tries", [1, 2, 3, 5])
def test_each_repair_that_is_tried_counts_once(tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "net main { input x 8x10x10; " + "; ".join(["skip { conv 3x3 16 stride 2; bn }"] * 4) + " }"
    Path("main.net").write_text(text, "utf-8")
    report = Report()
    check_file("main.net", report)
    (problem,) = [p for p in report if p.severity == "error"][:1]
    tried = []
    monkeypatch.setattr("netdsl.app.repair.TRIES", tries)
    monkeypatch.setattr("netdsl.app.repair.MAX_FIXES_SHOWN", 99)
    verify_suggestions(report, problem.span.source, lambda _, texts: tried.append(texts))
    assert len(tried) == min(tries, len({tuple(e.text for e in h.edits) for p in report for h in p.candidate_fixes()}))
