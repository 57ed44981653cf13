"""The prebuilt table fits the grammar, and the grammar keeps its promises."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import lark
import pytest

from netdsl.base.text import Source
from netdsl.diagnostics.report import Report
from netdsl.syntax import table
from netdsl.syntax.lalr import END, Parser, Table, Tree
from netdsl.syntax.parse import parse_tokens
from netdsl.syntax.scan import Token
from tests.cli.test_house import imported
from tests.support.paths import ROOT

PARSER = table.build_parser(table.grammar())


def test_the_prebuilt_table_is_fresh() -> None:
    """If not: python -m netdsl.syntax.table. Its bytes are those of any hash seed, as this run has a random one."""
    assert Path(table.PREBUILT).read_text("utf-8") == table.prebuilt(table.grammar())


def test_where_it_does_not_fit_it_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = vars_of(table.load_table())
    stale, broken = tmp_path / "net.parser", tmp_path / "broken"
    stale.write_text(table.prebuilt("start: NAME\nNAME: /[a-z]+/\n"), "utf-8")
    broken.write_text("nonsense", "utf-8")
    for path in (stale, broken, tmp_path / "missing"):
        monkeypatch.setattr(table, "PREBUILT", str(path))
        assert vars_of(table.load_table.__wrapped__()) == expected


def vars_of(found: Table) -> list[object]:
    """Return the fields of a table, with all states."""
    states = [found.states[number] for number in range(len(table.build(table.grammar())["states"]))]
    rules = [(*rule[:3], [*rule[3]], rule[4]) for rule in found.rules]
    return [found.start, found.end, states, rules, dict(found.terminals)]


def test_lark_is_imported_only_to_build_the_table() -> None:
    assert "lark" not in imported("from netdsl.cli import main; main(['check', 'lenet5'])")


TEXTS = [path.read_text("utf-8") for path in sorted((ROOT / "specs").glob("*.net"))]


def shape(tree: object) -> object:
    """Return a tree of Lark or of ours as tuples of names and texts."""
    if isinstance(tree, (lark.Tree, Tree)):
        return (str(tree.data), *map(shape, tree.children))
    return tree.text  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", TEXTS)
def test_trees_are_those_of_lark(text: str) -> None:
    """Lark's parser, fed with the same tokens, accepts the same terminals in each state and makes the same tree."""
    report = Report()
    source = Source("text.net", text)
    tokens = [*parse_tokens(source, report).tokens][:-1]
    assert not report.errors
    cursor = PARSER.parse_interactive("")
    ours = Parser(table.load_table())
    for index, token in enumerate(tokens):
        if index % 50 == 0:
            assert ours.accepted() == cursor.accepts()
        assert ours.feed(token)
        cursor.parser_state.feed_token(token)
    end = Token((END,), "", len(text))
    assert shape(ours.finish()) == shape(cursor.parser_state.feed_token(end, is_end=True))


def test_a_text_that_cannot_go_on_is_refused() -> None:
    ours = Parser(table.load_table())
    assert ours.feed(Token(("NET",), "net", 0))
    assert ours.finish() is None
    assert ours.accepted() == {"NAME"}
    assert not ours.feed(Token(("RBRACE",), "}", 4))


def test_the_grammar_has_no_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    lark.logger.addHandler(caplog.handler)
    level = lark.logger.level
    lark.logger.setLevel(logging.DEBUG)
    try:
        lark.Lark(table.grammar(), parser="lalr", lexer="basic", keep_all_tokens=True, debug=True)
    finally:
        lark.logger.setLevel(level)
        lark.logger.removeHandler(caplog.handler)
    assert [record.message for record in caplog.records if "conflict" in record.message.lower()] == []


def test_the_grammar_holds_no_layer() -> None:
    words = set(re.findall(r'"([a-z_]+)"', table.grammar()))
    assert words
    assert not words & {"conv", "dense", "relu", "bn", "maxpool", "dropout", "scale", "flatten", "identity", "softmax"}
