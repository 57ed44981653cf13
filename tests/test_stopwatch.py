"""Measuring in another process: what fails there or kills it is only not chosen."""

from __future__ import annotations

import sys
from math import inf, isfinite

import pytest

from netdsl import ops, stopwatch, tune
from netdsl.ir.graph import Graph
from netdsl.stopwatch import Stopwatch, timed


def graph(elements: int = 4) -> Graph:
    made = Graph("small")
    x = ops.add(made.input("x", (elements,)), made.input("number", ()))
    made.output("y", ops.relu(ops.add(x, made.input("w", (elements,)))))
    return made


def peak() -> int:
    """Kilobytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.skipif(sys.platform != "linux", reason="others count memory otherwise")
def test_a_run_takes_time_and_the_memory_of_another_process() -> None:
    before = peak()
    with Stopwatch(1) as watch:
        assert 0 < watch.seconds(graph(50_000_000), 0.01) < inf
    assert peak() - before < 100_000, "kilobytes; the arrays are 200 megabytes each"


def test_after_a_death_the_next_is_measured() -> None:
    with Stopwatch(1) as watch:
        assert isfinite(watch.seconds(graph(), 0.01))
        assert watch._process is not None
        watch._process.kill()
        assert watch.seconds(graph(), 0.01) == inf
        assert isfinite(watch.seconds(graph(), 0.01))
        process = watch._process
    assert process is not None
    assert process.poll() is not None, "nothing is left behind"


def test_what_cannot_be_loaded_takes_infinitely_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with Stopwatch(1) as watch:
        bad = graph()
        monkeypatch.setattr(type(bad.outputs["y"].producer.op), "onnx", lambda *_: ops.base.Form("NoSuchOp"))  # type: ignore[union-attr]
        assert watch.seconds(bad, 0.01) == inf
        monkeypatch.undo()
        process = watch._process
        assert isfinite(watch.seconds(graph(), 0.01))
        assert watch._process is process, "it answered, and went on"


def test_no_process_at_all_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch.sys, "executable", "/nowhere/python")
    with Stopwatch(1) as watch:
        assert watch.seconds(graph(), 0.01) == inf


def test_a_slow_run_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "ENOUGH", 0.0)
    runs: list[int] = []
    timed(lambda: runs.append(1), 10.0)
    assert len(runs) == 1
    monkeypatch.undo()
    timed(lambda: runs.append(1), 0.0)
    assert len(runs) == 3
    assert tune.SECONDS > tune.MOMENT
