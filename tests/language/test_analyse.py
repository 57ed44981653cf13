"""Each level of an analysis finds what it says, and texts replace files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netdsl.app.analyse import Level, analyse
from netdsl.base.text import Source
from netdsl.diagnostics.report import Report
from netdsl.elaborate.context import Context
from netdsl.elaborate.module import Module
from netdsl.elaborate.net import Instance, instances
from netdsl.syntax import ast

TEXT = """net n(depth in [1, 2] = 1) {
  input x 4
  dense ((
}
net m(depth in [1, 2] = 1) {
  input x 4
  desne 4; from x
  dense 1 // (2 - depth)
}
let unused = 1
let wrong = 1 / 0
"""
SOUND = "net a { input x 3x8x8; conv 3x3 4; bn }"


@pytest.mark.parametrize(
    ("level", "codes"),
    [
        (Level.SYNTAX, ["E0102:3"]),
        (Level.SHAPES, ["E0102:3", "E0202:7", "E0409:11"]),
        (Level.ALL, ["E0102:3", "E0202:7", "E0409:8", "E0409:11"]),
        (Level.ADVICE, ["E0102:3", "E0202:7", "E0409:8", "E0409:11"]),
    ],
)
def test_a_level_finds_what_those_below_find_and_more(level: Level, codes: list[str]) -> None:
    seen = []

    def select(module: Module) -> Iterator[Instance]:
        yield next(each for each in instances(module) if each.name == "m")

    def observer(stmt: ast.Stmt, context: Context) -> None:
        seen.append((stmt.span.text, context.value))

    report = Report()
    found = analyse(Source("m.net", TEXT), report, level, select=select, observer=observer)
    assert [f"{p.code}:{p.span.source.position(p.span.start)[0]}" for p in report] == codes
    assert bool(found.attempts) == (level >= Level.SHAPES)
    assert len(seen) == (4 if level >= Level.SHAPES else 0)
    verified = [problem.verified_suggestions is not None for problem in report]
    assert set(verified) == {level == Level.ADVICE}


def test_only_advice_has_warnings() -> None:
    for level in Level:
        report = Report()
        analyse(Source("a.net", SOUND), report, level)
        assert [problem.code for problem in report] == (["W0302"] if level == Level.ADVICE else [])


def test_texts_replace_used_files_also_while_fixes_are_verified(tmp_path: Path) -> None:
    used = tmp_path / "b.net"
    used.write_text("block b { dense 3 }")
    source = Source(str(tmp_path / "a.net"), 'use "b.net"\nnet a { input x 4; b; expect 5; dnese 2 }')
    for texts, codes in ((None, ["E0307", "E0202"]), ({str(used): "block b { dense 5 }"}, ["E0202"])):
        report = Report()
        analyse(source, report, Level.ADVICE, texts=texts)
        assert [problem.code for problem in report] == codes
        edits = [edit.text for problem in report for each in problem.all_suggestions() for edit in each.edits]
        assert edits[-1] == "dense"
