"""Measuring in another process: what fails there or kills it is only not chosen."""

from __future__ import annotations

import subprocess
import sys
from math import inf, isfinite
from pathlib import Path

import pytest

from netdsl import ops
from netdsl.ir.graph import Graph
from netdsl.ir.op import OnnxNode
from netdsl.passes.gradient import gradients
from netdsl.train import stopwatch, tune
from netdsl.train.stopwatch import Stopwatch, timed


def graph(elements: int = 4) -> Graph:
    made = Graph("small")
    x = ops.add(made.input("x", (elements,)), made.input("number", ()))
    made.output("y", ops.relu(ops.add(x, made.input("w", (elements,)))))
    return made


def convolution(batch: int) -> Graph:
    """With its gradients, as a step has them."""
    made = Graph("conv")
    x, w = made.input("x", (batch, 3, 6, 6)), made.input("w", (8, 3, 3, 3))
    loss = ops.reduce_sum(ops.conv(x, w, pads=(1,) * 4), (0, 1, 2, 3), keepdims=False)
    for name, dx in zip("xw", gradients(loss, [x, w]), strict=True):
        assert dx is not None
        made.output(f"d{name}", dx)
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
        monkeypatch.setattr(type(bad.outputs["y"].producer.op), "onnx", lambda *_: OnnxNode("NoSuchOp"))  # type: ignore[union-attr]
        assert watch.seconds(bad, 0.01) == inf
        monkeypatch.undo()
        process = watch._process
        assert isfinite(watch.seconds(graph(), 0.01))
        assert watch._process is process, "it answered, and went on"


def test_no_process_at_all_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch.sys, "executable", "/nowhere/python")
    with Stopwatch(1) as watch:
        assert watch.seconds(graph(), 0.01) == inf


@pytest.mark.parametrize("reads", [True, False])
def test_who_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, reads: bool) -> None:
    """Whether it takes the request, of which a pipe has no room for all, or not."""
    program = f"import sys, time; {reads} and sys.stdin.buffer.read(2**21); time.sleep(1000)"

    def begin() -> subprocess.Popen[bytes]:
        begun.append(subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return begun[-1]

    begun: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(stopwatch, "_begin", begin)
    long = graph()
    monkeypatch.setattr(long, "name", "n" * 2**20)
    with Stopwatch(1, 0.2) as watch:
        assert watch.seconds(long, 0.01) == inf
        assert watch.hung
        assert watch.seconds(graph(), 0.01) == inf
    assert len(begun) == 1, "no other waits as long"
    assert begun[0].poll() is not None, "nothing is left behind"


def test_a_step_that_hangs_is_computed_plainly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NETDSL_CACHE", str(tmp_path))
    monkeypatch.setattr(tune, "TIME_LIMIT", 0.2)
    sleeper = [sys.executable, "-c", "import time; time.sleep(1000)"]
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    monkeypatch.setattr(stopwatch, "_begin", lambda: subprocess.Popen(sleeper, **how))  # type: ignore[call-overload]
    monkeypatch.setattr(tune, "kernel_choices", lambda *_: [])
    with pytest.warns(tune.MeasuringHangs, match="computed with `plain`"):
        assert tune.choose_backend(convolution(2), 8) == {"lowering": "std"}
    assert not list(tmp_path.iterdir()), "nothing was measured that could be remembered"


@pytest.mark.parametrize("batch", [10, 1000])
def test_the_limit_grows_with_the_work(batch: int) -> None:
    """The convolution and both of its gradients multiply alike; two runs."""
    work = 2 * 3 * batch * (8 * 6 * 6) * (3 * 3 * 3)
    assert tune.limit(convolution(batch)) - tune.TIME_LIMIT == pytest.approx(work / tune.MIN_MACS_PER_SECOND)


def test_a_slow_run_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "SLOW_RUN", 0.0)
    runs: list[int] = []
    timed(lambda: runs.append(1), 10.0)
    assert len(runs) == 1
    monkeypatch.undo()
    timed(lambda: runs.append(1), 0.0)
    assert len(runs) == 3
    assert tune.STEP_SECONDS > tune.KERNEL_SECONDS
