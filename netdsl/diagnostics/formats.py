"""Problems for other programs: one line each, for editors, scripts and GitHub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.terminal import brief, escape

if TYPE_CHECKING:
    from netdsl.base.text import Frame, Span
    from netdsl.base.user_error import UserError
    from netdsl.diagnostics.problem import Edit, Problem
    from netdsl.diagnostics.report import Report


def short(problem: Problem) -> str:
    """`file:line:col: error[E0310]: message`."""
    return escape(f"{problem.span}: {problem.severity}[{problem.code}]: {brief(problem.message())}")


def summary(report: Report) -> str:
    """Format the totals: `2 errors, 1 warning`, `no problems`; `100 errors, and more` if not all are kept."""
    counts = (report.errors, "error"), (report.warnings, "warning")
    found = ", ".join(f"{n} {kind}{'s' * (n > 1)}" for n, kind in counts if n) or "no problems"
    return f"{found}, and more" if report.more else found


def json_line(problem: Problem) -> str:
    """Format `to_dict` as one line of ASCII."""
    from json import dumps

    return dumps(to_dict(problem))


def error_json_line(error: UserError) -> str:
    """Format an error without a location like `json_line`, with those fields that it has."""
    from json import dumps

    helps = [{"message": brief(text), "edits": [], "safe": False} for text in error.helps]
    return dumps({"code": error.code, "severity": "error", "message": brief(error.message), "help": helps})


def error_github(error: UserError) -> str:
    """Format an error without a location like `github`."""
    said = [*error.message.splitlines(), *(f"help: {text}" for text in error.helps)]
    return annotation(f"error[{error.code}]", "\n".join(map(brief, said)))


def annotation(title: str, text: str) -> str:
    """Format an error as a workflow command without a location: `::error title=…::text`."""
    return f"::error title={_data(title, ':,')}::{_data(text)}"


def to_dict(problem: Problem) -> dict[str, object]:
    """Return the problem as plain data. Lines and columns count from 1, a column is a character, an end is
    exclusive."""
    return {
        "code": problem.code,
        "severity": problem.severity,
        "message": brief(problem.message()),
        **_place(problem.span),
        "label": brief(problem.label()),
        "labels": [{"message": brief(label.text), **_place(label.span)} for label in problem.labels()],
        "frames": _frames(problem.frame),
        "notes": [brief(note) for note in problem.notes()],
        "help": [
            {"message": brief(found.text), "edits": [_edit(edit) for edit in found.edits], "safe": found.safe}
            for found in problem.all_suggestions()
        ],
    }


def _place(span: Span) -> dict[str, object]:
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    return {
        "file": span.source.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
    }


def _edit(edit: Edit) -> dict[str, object]:
    place = _place(edit.span)
    return {
        "file": place["file"],
        "start": {"line": place["line"], "column": place["column"]},
        "end": {"line": place["end_line"], "column": place["end_column"]},
        "text": edit.text,
    }


def _frames(frame: Frame | None) -> list[dict[str, object]]:
    """Return the frames from the inside out: a call by its `name`, a round by its `variable` and `value`, an import by
    neither."""
    found: list[dict[str, object]] = []
    while frame is not None:
        said: dict[str, object] = {"name": frame.name} if frame.name else {}
        if frame.variable or frame.value is not None:
            plain = frame.value is None or isinstance(frame.value, bool | int | str)
            said = {"variable": frame.variable, "value": frame.value if plain else str(frame.value)}
        found.append(said | _place(frame.span))
        frame = frame.parent
    return found


def github(problem: Problem) -> str:
    """Format a workflow command that GitHub shows beside the line: `::error file=…,line=…,col=…::message`.

    Source: actions/toolkit, packages/core/src/command.ts, for the escaping.
    """
    place = _place(problem.span)
    properties = {
        "file": place["file"],
        "line": place["line"],
        "col": place["column"],
        "endLine": place["end_line"],
        "endColumn": place["end_column"],
        "title": f"{problem.severity}[{problem.code}]",
    }
    said = [
        problem.message(),
        problem.label(),
        *problem.notes(),
        *(f"help: {found.text}" for found in problem.all_suggestions()),
    ]
    listed = ",".join(f"{name}={_data(escape(str(value)), ':,')}" for name, value in properties.items())
    return f"::{problem.severity} {listed}::{_data(chr(10).join(escape(brief(text)) for text in said if text))}"


def _data(text: str, also: str = "") -> str:
    """Percent-encode the syntax of GitHub's runner."""
    return "".join(f"%{ord(char):02X}" if char in "%\r\n" + also else char for char in text)
