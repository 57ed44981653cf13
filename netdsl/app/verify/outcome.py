"""The outcome of each check of a verification, and the report of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netdsl.base.record import Record
from netdsl.base.terminal import escape
from netdsl.report.table import aligned

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

OK, FAILED, SKIPPED = "ok", "failed", "skipped"
VERDICTS = (OK, FAILED, SKIPPED)

SCHEMA = "netdsl.verify/1"
"""The format of the report, whose number changes with every change that a reader could notice."""


class Skip(Exception):
    """A check that could not be done, or from which nothing can be learned; the text says why."""


class Inapplicable(Skip):
    """A check that has nothing to check in this net or model; the text says why."""


class Outcome(NamedTuple):
    """What a check found about its subject, such as an opset or a runtime: the measured figure, the bound that it must
    not exceed, and a note, which is the reason of all but `ok`. A skipped one `applies` unless there is nothing to
    check."""

    check: str
    subject: str
    verdict: str
    measured: float | None = None
    bound: float | None = None
    note: str = ""
    seconds: float = 0.0
    applies: bool = True

    def data(self) -> dict[str, object]:
        """Return the data of the report."""
        return {**self._asdict(), "seconds": round(self.seconds, 3)}

    def columns(self) -> list[str]:
        return [self.check, self.subject, self.verdict, _figure(self.measured), _bound(self.bound), self.note]

    def text(self) -> str:
        """Return the outcome as a line."""
        return " ".join(filter(None, self.columns()))


def judged(check: str, subject: str, measured: float, bound: float, note: str = "") -> Outcome:
    """Return the outcome of a check with a figure."""
    return Outcome(check, subject, OK if measured <= bound else FAILED, measured, bound, note)


class Verified(Record):
    """The outcomes of all checks of a net or a model. `file` is what was verified, and `weights` the file of them."""

    name: str
    file: str
    weights: str | None
    outcomes: Sequence[Outcome]
    versions: Mapping[str, str]

    @property
    def counts(self) -> dict[str, int]:
        """The number of outcomes by verdict."""
        return {verdict: sum(each.verdict == verdict for each in self.outcomes) for verdict in VERDICTS}

    @property
    def verdict(self) -> str:
        """`failed` if a check failed, `skipped` if none was done, otherwise `ok`."""
        counts = self.counts
        return next((each for each in (FAILED, OK) if counts[each]), SKIPPED)

    def missed(self, named: Collection[str]) -> list[Outcome]:
        """Return what was skipped although it applies, and what does not apply of the checks that are named, or of all
        if nothing was checked."""
        done = {each.check for each in self.outcomes if each.verdict != SKIPPED}
        skipped = [each for each in self.outcomes if each.verdict == SKIPPED]
        return [each for each in skipped if each.applies or not done or each.check in {*named} - done]

    def data(self) -> dict[str, object]:
        """Return the data that `verify --format json` prints; docs/verify.md describes it."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "file": self.file,
            "weights": self.weights,
            "verdict": self.verdict,
            "counts": self.counts,
            "checks": [each.data() for each in self.outcomes],
            "versions": dict(self.versions),
        }

    def text(self) -> str:
        """Return a line for each outcome, below one with their counts."""
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts.items())
        rows = [["", *each.columns()] for each in self.outcomes]
        return "\n".join([f"{escape(self.name)}: {counts}", *(aligned(rows) if rows else ())])


def _figure(number: float | None) -> str:
    return "" if number is None else f"{number:.1e}" if number else "0"


def _bound(number: float | None) -> str:
    return "" if number is None else f"<= {number:.1e}" if number else "<= 0"
