"""The report of the benchmarks, whose page says what the results beside it say, and contests."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import auto, contest, report
from benchmarks.contest_nets import CONTESTS
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


@pytest.mark.skipif(sys.platform != "linux", reason="contestants read their memory from /proc")
def test_contestants_take_turns() -> None:
    program = "import time; from benchmarks.contest_nets import serve; serve(lambda: time.sleep({}), 1.0)"
    commands = {name: [sys.executable, "-c", program.format(time)] for name, time in (("a", 1e-3), ("b", 0.5))}
    fast, slow = contest.compete(commands, rounds=1)
    assert fast.steps > 1 == slow.steps
    assert [len(each.seconds) for each in (fast, slow)] == [2, 2], "there and back"
    found = fast.end(), slow.end()
    assert found[0]["best"] <= found[0]["milliseconds"]
    assert found[1]["best"] >= 500


def test_a_contestant_that_ends_is_told_and_ends_the_others(tmp_path: Path) -> None:
    waits = f"import pathlib; print(flush=True); input(); pathlib.Path({str(tmp_path / 'went on')!r}).touch()"
    commands = {"a": [sys.executable, "-c", waits], "b": [sys.executable, "-c", "raise SystemExit(3)"]}
    with pytest.raises(SystemExit, match="b exited with 3"):
        contest.compete(commands, rounds=1)
    assert not list(tmp_path.iterdir())


def test_a_choice_is_compared_with_the_faster_backend() -> None:
    times = {"plain": {"best": 3.0}, "nchwc": {"best": 2.0}, "auto": {"best": 2.5}}
    figure = auto.figure("a", {"backend": "tuned", "batch": 8, "seconds": 4.4, "contestants": times})
    assert (figure.value, figure.reached) == (1.25, False)
    assert figure.detail == "tuned, chosen in 4 s; ms: plain 3.0, nchwc 2.0, auto 2.5"


def test_the_zoo_is_measured_once_from_small_nets_to_large_ones() -> None:
    nets = auto.zoo()
    assert CONTESTS.keys().isdisjoint(nets)
    assert nets.index("lenet5_1998") < nets.index("googlenet") < nets.index("sknet")
    graph = auto.step_of("neocognitron")
    (batch,) = {x.shape[0] for x in graph.inputs.values() if x.shape}
    assert batch == auto.BATCHES[1]
    feeds = auto.feeds_of(graph)
    assert {name: array.shape for name, array in feeds.items()} == {name: x.shape for name, x in graph.inputs.items()}
