"""Problems as one line for other programs."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.base.text import Frame, Source, Span
from netdsl.diagnostics.formats import github, json_line, short, summary, to_dict
from netdsl.diagnostics.problem import Edit, Label, Problem, Suggestion
from netdsl.diagnostics.report import Report

TEXT = Source("a.net", "net a {\n  cnov 3x3 64\n}\n")
WORD = Span(TEXT, 10, 14)


class Unknown(Problem):
    """Made up here, and kept out of the registry."""

    code = "E9911"
    says: str = "no layer is called `cnov`"

    def message(self) -> str:
        return self.says

    def label(self) -> str:
        return "not a layer"

    def labels(self) -> list[Label]:
        return [Label(Span(TEXT, 0, 21), "in this net")]

    def notes(self) -> list[str]:
        return ["100% sure"]

    def suggestions(self) -> list[Suggestion]:
        return [Suggestion("did you mean `conv`?", Edit(WORD, "conv"))]


class Unused(Unknown):
    code = "W9912"
    severity = "warning"


def test_short() -> None:
    assert short(Unknown(span=WORD)) == "a.net:2:3: error[E9911]: no layer is called `cnov`"
    assert short(Unused(span=WORD, says="\x1b[2J\nx")) == "a.net:2:3: warning[W9912]: \\x1b[2J\\nx"


def test_json_has_all_there_is() -> None:
    frame = Frame(Frame(None, WORD, variable="i", value=3), WORD, name="basic")
    here = {"file": "a.net", "line": 2, "column": 3, "end_line": 2, "end_column": 7}
    found = to_dict(Unknown(span=WORD, frame=frame))
    assert found == {
        "code": "E9911",
        "severity": "error",
        "message": "no layer is called `cnov`",
        **here,
        "label": "not a layer",
        "labels": [
            {"message": "in this net", "file": "a.net", "line": 1, "column": 1, "end_line": 2, "end_column": 14}
        ],
        "frames": [{"name": "basic", **here}, {"variable": "i", "value": 3, **here}],
        "notes": ["100% sure"],
        "help": [
            {
                "message": "did you mean `conv`?",
                "edits": [
                    {
                        "file": "a.net",
                        "start": {"line": 2, "column": 3},
                        "end": {"line": 2, "column": 7},
                        "text": "conv",
                    }
                ],
                "safe": False,
            }
        ],
    }
    assert json.loads(json_line(Unknown(span=WORD, frame=frame))) == found


def test_a_value_that_json_does_not_know_is_written_out() -> None:
    frame = Frame(None, WORD, variable="x", value=float("nan"))
    assert to_dict(Unknown(span=WORD, frame=frame))["frames"][0]["value"] == "nan"


def test_github() -> None:
    assert github(Unknown(span=WORD)) == (
        "::error file=a.net,line=2,col=3,endLine=2,endColumn=7,title=error[E9911]::"
        "no layer is called `cnov`%0Anot a layer%0A100%25 sure%0Ahelp: did you mean `conv`?"
    )


def test_github_takes_nothing_in_a_name_for_its_own_syntax() -> None:
    source = Source("C:\\a,b%0A::error::.net", "x")
    line = github(Unused(span=Span(source, 0, 1), says="a::b, c\r\n%"))
    assert line.startswith("::warning file=C%3A\\a%2Cb%250A%3A%3Aerror%3A%3A.net,line=1,")
    assert "::a::b, c\\r\\n%25%0Anot a layer" in line


@given(st.text() | st.text("\x00\x1b\u2028\ud800\r\n%:,"), st.text())
def test_each_is_one_printable_line(says: str, name: str) -> None:
    problem = Unknown(span=Span(Source(name, "x"), 0, 1), says=says)
    for line in (short(problem), json_line(problem), github(problem)):
        assert line.isprintable()
    assert json.loads(json_line(problem))["message"] == says
    assert re.fullmatch("::error file=[^:,]*,line=1,col=1,endLine=1,endColumn=2,title=[^:,]*::.*", github(problem))


@pytest.mark.parametrize(
    ("errors", "warnings", "said"),
    [
        (0, 0, "no problems"),
        (1, 0, "1 error"),
        (0, 1, "1 warning"),
        (2, 1, "2 errors, 1 warning"),
        (1, 12, "1 error, 12 warnings"),
    ],
)
def test_summary(errors: int, warnings: int, said: str) -> None:
    report = Report()
    for n in range(errors):
        report.add(Unknown(span=Span(TEXT, n, n)))
    for n in range(warnings):
        report.add(Unused(span=Span(TEXT, n, n)))
    assert summary(report) == said
