"""What must hold for every text, however bad: the rules that fuzzing holds random programs to."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from netdsl.app.analyse import check_file
from netdsl.app.frontend import open_module
from netdsl.base.user_error import UserError
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.formats import github, json_line, short, summary
from netdsl.diagnostics.render import render
from netdsl.diagnostics.report import Report
from netdsl.elaborate.net import elaborate, instances
from netdsl.ir.net import Net

CHECK_SECONDS = 2.0
"""Of one core's time, for a check, on an idle machine; the rules of bad inputs want it."""

COMPILE_SECONDS = 10.0
COMPILED = 300
"""So many layers make a net too large to be compiled for every random program."""


class TooSlow(BaseException):
    """A bound on time is crossed. No handler of errors in between may hold it up."""


@contextmanager
def seconds_of_work(limit: float) -> Iterator[None]:
    """Raise TooSlow where the block takes more of the processor's time; where the system cannot tell, never."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(_: int, frame: FrameType | None) -> None:
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "?"
        raise TooSlow(f"more than {limit} s of work, at {place}")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def told(text: str, settings: Sequence[str] = ()) -> tuple[str, Report | None]:
    """All that a check of a text says, in every form, and its report unless it is no text. Writes main.net here."""
    Path("main.net").write_text(text, "utf-8", newline="")
    report = Report()
    try:
        names = check_file("main.net", report, settings=settings)
    except UserError as error:
        return str(error), None
    said = [f"{names}"]
    for problem in report:
        said += [render(problem), render(problem, color=True), short(problem), json_line(problem), github(problem)]
    return "\n".join([*said, summary(report)]), report


def obeys(text: str, settings: Sequence[str] = (), *, patience: float = 1.0) -> int:
    """Hold a text to the rules; how many nets of it were compiled. Raises AssertionError, or what should not be raised.

    `patience` multiplies the bounds on time.
    """
    with seconds_of_work(CHECK_SECONDS * patience):
        first, report = told(text, settings)
    with seconds_of_work(CHECK_SECONDS * patience):
        second, _ = told(text, settings)
    assert first == second, "the same text is told otherwise the second time"
    assert not any(ord(char) < 32 and char not in "\n\x1b" for char in first), "a control character is let through"
    for problem in report or ():
        for found in problem.all_suggestions():
            _can_be_made(found.edits)
    if report is None or report.errors or settings:
        return 0
    with seconds_of_work(COMPILE_SECONDS * patience):
        return sum(map(_compiles, _nets()))


def _can_be_made(edits: Sequence[object]) -> None:
    """Apply the edits of one help, in each text that they are about."""
    sources = {id(edit.span.source): edit.span.source for edit in edits}  # type: ignore[attr-defined]
    for key, source in sources.items():
        apply(source.text, [edit for edit in edits if id(edit.span.source) == key])  # type: ignore[attr-defined, misc]


def _nets() -> list[Net]:
    """The nets of main.net, which is right."""
    report = Report()
    module, _ = open_module("main.net", report)
    nets = [elaborate(instance) for instance in instances(module)]
    assert not report.errors, "a second look finds an error"
    assert None not in nets
    return [net for net in nets if net is not None]


def _compiles(net: Net) -> bool:
    """Whether a net is small enough; then it must become a model that ONNX's checker takes."""
    if len(net.nodes) > COMPILED:
        return False
    from netdsl.backend.compile import structure
    from netdsl.lower import lower

    with suppress(UserError):
        structure(lower(net))
    return True
