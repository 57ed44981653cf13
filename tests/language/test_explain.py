"""`netdsl explain` and docs/errors: what a problem declares is what is said."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from netdsl.base.user_error import USER_ERRORS
from netdsl.cli import main
from netdsl.diagnostics import pages
from netdsl.diagnostics.catalogue import problems, user_errors
from tests.support.paths import ROOT

DOCS = ROOT / "docs" / "errors"
KNOWN = pages.pages()


def test_every_code_of_the_source_has_a_page() -> None:
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "netdsl").rglob("*.py"))
    declared = re.findall(r'^(?:@problem\("|(?:class .*|    UserError, )code=")([EW]\d{4})"', source, re.MULTILINE)
    assert sorted(declared) == list(KNOWN), "write the table anew with `python -m netdsl.diagnostics.pages`"
    assert user_errors().keys() == USER_ERRORS.keys()


def test_titles_are_unique() -> None:
    titles = Counter(page.title for page in KNOWN.values())
    assert [title for title, count in titles.items() if count > 1 or not title] == []


@pytest.mark.parametrize("code", KNOWN)
def test_a_page_says_what_it_means(code: str) -> None:
    page = KNOWN[code]
    assert page.title
    assert page.paragraphs
    assert all(text.endswith((".", ":")) for text in page.paragraphs)
    assert bool(page.failing) == (code in problems())
    assert page.fixed or code not in problems()
    assert "```" not in pages.text(page)
    written = re.sub(r"^    .*", "", pages.text(page), flags=re.MULTILINE)
    assert max(map(len, written.splitlines())) <= pages.WIDTH


def test_the_pages_are_fresh() -> None:
    written = {path.name: path.read_text("utf-8") for path in DOCS.glob("*.md")}
    assert written == pages.files(), "write them anew with `python -m netdsl.diagnostics.pages`"


def test_the_table_of_modules_is_fresh() -> None:
    written = (ROOT / "netdsl" / "diagnostics" / "table.py").read_text("utf-8")
    assert written == pages.table(), "write it anew with `python -m netdsl.diagnostics.pages`"


def test_writing_removes_pages_that_there_are_no_more(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("old")
    pages.main(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == pages.files().keys()


def test_explain_prints_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "E0310"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("E0310: branches of a skip with different shapes\n\nA `skip` adds")
    assert "\nExample with this error:\n\n    net bad {" in out
    assert "\nFixed:\n\n    net good {" in out


def test_explain_takes_several(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "w0302", "E0601"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("W0302: a bias before `bn`")
    assert "Example with this warning:" in out
    assert "\n\n\nE0601: a missing file\n\nThe file does not exist.\n" in out


def test_explain_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(KNOWN)
    assert "W0301  a window that never reads the last pixels" in lines


def test_explain_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "E0406", "--json"]) == 0
    (page,) = json.loads(capsys.readouterr().out)
    assert page["code"] == "E0406"
    assert page["severity"] == "error"
    assert page["failing"] == "net bad { input x 3x32x32; conv 3x3 64 stride }\n"
    assert page["mended"] == "net good { input x 3x32x32; conv 3x3 64 stride 2 }\n"
    assert main(["explain", "--json"]) == 0
    assert [page["code"] for page in json.loads(capsys.readouterr().out)] == list(KNOWN)


UNKNOWN = {"E0399": "did you mean `E03", "0310": "did you mean `E0310`?", "skip": "`netdsl explain` lists them"}


@pytest.mark.parametrize("code", UNKNOWN)
def test_an_unknown_code_is_wrong_usage(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", code]) == 2
    said = capsys.readouterr().err
    assert f"error[E0634]: there is no code `{code}`" in said
    assert UNKNOWN[code] in said


BAD = "net bad { input x 3; dens 2 }"


def test_a_run_ends_with_how_to_read_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.net").write_text(BAD)
    Path("b.net").write_text("net b { input x 3; dense 0; relu 3 }\nnet b { }\nnet c { }")
    Path("c.net").write_text("net c { input x 3; dense 3 }")
    assert main(["check", "a.net", "c.net"]) == 1
    assert capsys.readouterr().err.endswith("1 error\nc.net: ok (c)\nfor more: netdsl explain E0202\n")
    assert main(["check", "b.net", "a.net"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"for more: netdsl explain E\d{4} E\d{4} E\d{4}", last)
    assert main(["compile", "a.net"]) == 1
    assert capsys.readouterr().err.endswith("1 error\nfor more: netdsl explain E0202\n")
    assert main(["check", "c.net"]) == 0
    assert "for more" not in capsys.readouterr().err
    for form in ("short", "json", "github"):
        assert main(["check", "a.net", "--format", form]) == 1
        assert "for more" not in capsys.readouterr().err
