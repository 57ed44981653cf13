"""The prebuilt parser fits the grammar, and the grammar keeps its promises."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import lark
import pytest

from netdsl.syntax import table


def contents(parser: lark.Lark) -> tuple[list[str], list[str]]:
    return [f"{t.name} {t.pattern}" for t in parser.terminals], sorted(map(str, parser.rules))


def test_the_prebuilt_parser_is_fresh() -> None:
    """If not: python -m netdsl.syntax.table. Its bytes are those of any hash seed, as this run has a random one."""
    contents = Path(table.PREBUILT).read_bytes()
    assert contents.startswith(table.key(table.grammar()))
    assert contents == table.prebuilt(table.grammar())


def test_where_it_does_not_fit_it_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "net.parser"
    stale.write_bytes(b"lark 0.0 grammar 00\nnonsense")
    for path in (stale, tmp_path / "missing"):
        monkeypatch.setattr(table, "PREBUILT", str(path))
        assert contents(table.load_parser.__wrapped__()) == contents(table.build_parser(table.grammar()))


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
