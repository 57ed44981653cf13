"""The report of the benchmarks: its page says what the results beside it say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.figures import FIGURES
from benchmarks.measure import Figure

PAGE = Path(report.PAGE)


def result(*figures: Figure, machine: str = "a processor") -> dict[str, object]:
    return {"environment": machine, "date": "2026-01-02", "load": 0.5, "figures": [each.data() for each in figures]}


def test_the_page_is_that_of_its_results() -> None:
    results = json.loads(PAGE.with_suffix(".json").read_text("utf-8"))
    assert list(results) == [name for name in FIGURES if name in results]
    assert report.page(results) == PAGE.read_text("utf-8")
    assert report.chart(results) == PAGE.with_suffix(".svg").read_bytes()


def test_missed_targets_are_told() -> None:
    slow = Figure("a net: time", 1.25, "×", 1.0, "ms: a 5, b 4")
    fast = Figure("a net: throughput", 1.25, "×", 1.0, "", least=True)
    text = report.page({"train.a": result(slow), "check": result(fast, machine="another")})
    assert "1 of 2 targets are reached. Missed:\n\n- a net: time: 1.25 ×, target ≤ 1 ×\n" in text
    assert "| a net: time | 1.25 × | ≤ 1 × | **no** | 1 | ms: a 5, b 4 |" in text
    assert "| a net: throughput | 1.25 × | ≥ 1 × | yes | 2 |  |" in text


def test_figures_are_selected_by_name_and_group() -> None:
    assert report.selected([]) == list(FIGURES)
    assert report.selected(["train", "check"]) == [
        "check",
        *(name for name in FIGURES if name.startswith("train.")),
    ]
    with pytest.raises(SystemExit, match=r"unknown: nothing \(available: check"):
        report.selected(["nothing"])


def test_figures_that_are_not_named_keep_their_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "measure", lambda name: [Figure(f"the figure {name}", 1, "s", 2)])
    page = tmp_path / "page.md"
    report.main(["check", "-o", str(page)])
    report.main(["lines", "-o", str(page)])
    assert "| the figure check | 1.00 s | ≤ 2 s | yes |" in page.read_text("utf-8")
    assert "| the figure lines | 1.00 s | ≤ 2 s | yes |" in page.read_text("utf-8")
