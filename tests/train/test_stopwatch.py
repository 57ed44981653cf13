"""Measuring in another process: what fails there or kills it is only not chosen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from math import inf, isfinite
from pathlib import Path

import numpy as np
import pytest

from netdsl import ops
from netdsl.backend.emit import emit
from netdsl.ir.graph import Graph
from netdsl.ir.op import OnnxNode
from netdsl.passes.finish import Finished
from netdsl.passes.gradient import gradients
from netdsl.train import stopwatch, tune
from netdsl.train.stopwatch import Arrays, Stopwatch, race, runnable


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


def unfinished(graph: Graph) -> Finished:
    """Without states that are updated in place."""
    return Finished(graph, {}, frozenset())


def one(watch: Stopwatch, graph: Graph) -> float:
    (time,) = watch.race([unfinished(graph)], 0.01)
    return time


def peak() -> int:
    """Kilobytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.skipif(sys.platform != "linux", reason="others count memory otherwise")
def test_a_run_takes_time_and_the_memory_of_another_process() -> None:
    before = peak()
    with Stopwatch(1) as watch:
        assert 0 < one(watch, graph(50_000_000)) < inf
    assert peak() - before < 100_000, "kilobytes; the arrays are 200 megabytes each"


def test_after_a_death_the_next_is_measured() -> None:
    with Stopwatch(1) as watch:
        assert isfinite(one(watch, graph()))
        assert watch._process is not None
        watch._process.kill()
        assert one(watch, graph()) == inf
        assert isfinite(one(watch, graph()))
        process = watch._process
    assert process is not None
    assert process.poll() is not None, "nothing is left behind"


def test_those_that_die_together_are_measured_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Stopwatch._ask

    def ask(watch: Stopwatch, rivals: list[Finished], seconds: float) -> list[float] | None:
        return alone(watch, rivals, seconds) if len(rivals) == 1 else None

    monkeypatch.setattr(Stopwatch, "_ask", ask)
    with Stopwatch(1) as watch:
        found = watch.race([unfinished(graph()), unfinished(graph(100))], 0.01)
    assert len(found) == 2
    assert all(map(isfinite, found))


def test_what_cannot_be_loaded_takes_infinitely_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with Stopwatch(1) as watch:
        bad, good = graph(), unfinished(graph(8))
        monkeypatch.setattr(type(bad.outputs["y"].producer.op), "onnx", lambda *_: OnnxNode("NoSuchOp"))  # type: ignore[union-attr]
        assert one(watch, bad) == inf
        monkeypatch.undo()
        process = watch._process
        out_of_range = Graph("gather")
        index = out_of_range.input("number", (1,), "i64")
        out_of_range.output("y", ops.gather(out_of_range.input("x", (4,)), ops.add(index, 9), 0))
        found = watch.race([good, unfinished(out_of_range)], 0.01)
        assert isfinite(found[0])
        assert found[1] == inf, "it loads, and fails"
        assert watch._process is process, "it answered, and went on"


def test_no_process_at_all_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch.sys, "executable", "/nowhere/python")
    with Stopwatch(1) as watch:
        assert one(watch, graph()) == inf


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
        assert watch.race([unfinished(long), unfinished(graph())], 0.01) == [inf, inf]
        assert watch.hung
        assert one(watch, graph()) == inf
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
    """The convolution and both of its gradients multiply alike; two runs of each of three steps."""
    work = 6 * 3 * batch * (8 * 6 * 6) * (3 * 3 * 3)
    assert tune.limit(convolution(batch)) - tune.TIME_LIMIT == pytest.approx(work / tune.MIN_MACS_PER_SECOND)
    assert stopwatch.OVERTIME * tune.STEP_SECONDS < tune.TIME_LIMIT / 2


def test_states_are_updated_in_place_or_not() -> None:
    made = Graph("counters")
    for name in ("here", "there"):
        count = made.state_input(name, (3,))
        made.update(count, ops.add(count, 1.0), 5.0)
    arrays, model = Arrays(), emit(made).model.SerializeToString()
    for runs in (3, 4):  # the second model continues with the arrays of the first
        run = runnable(model, arrays, name="", threads=1, fills={"here": 5.0, "there": 5.0}, overwritten=["here"])
        for _ in range(runs):
            run()
    (here, there), (copy,) = arrays._kept[(3,), "float32", 5.0], arrays._kept[(3,), "float32", 0]
    np.testing.assert_array_equal([here, there, copy], [[12.0] * 3, [5.0] * 3, [6.0] * 3])


class Clock:
    """A clock that only runs advance, each by its next time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.order: list[str] = []
        monkeypatch.setattr(stopwatch, "perf_counter", lambda: self.now)

    def run(self, name: str, time: Callable[[float], float]) -> Callable[[], None]:
        """Return a run whose time depends on when it begins."""

        def run() -> None:
            self.order.append(name)
            self.now += time(self.now)

        return run


def test_rivals_take_turns_in_alternating_order(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert race([clock.run(name, lambda _: 1.0) for name in "abc"], 6.0) == pytest.approx([1.0] * 3)
    assert "".join(clock.order) == "abc" + "cba" + "abc" + "cba"


def test_the_slower_drop_out_the_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    times = {"a": 1.0, "b": 1.05, "c": 1.5}
    found = race([clock.run(name, lambda _, time=time: time) for name, time in times.items()], 100.0)  # type: ignore[misc]
    assert found == pytest.approx([*times.values()])
    counts = {name: clock.order.count(name) for name in times}
    assert counts["c"] < counts["b"] <= counts["a"] < 1 + stopwatch.ROUNDS[1]


def test_long_runs_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert race([clock.run(name, lambda _: 100.0) for name in "ab"], 6.0) == [100.0] * 2
    assert len(clock.order) == 4, "the first of each is a warm-up"


def test_failures_take_infinitely_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def fail() -> None:
        clock.now += 0.1
        if clock.now > 2.0:
            raise RuntimeError("not for long")

    assert race([None, clock.run("a", lambda _: 1.0), fail], 6.0) == pytest.approx([inf, 1.0, inf])
    assert race([None], 6.0) == [inf]


@pytest.mark.parametrize("seed", range(20))
def test_bursts_of_other_load_do_not_mislead(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Other load takes half of the time, in bursts of a second on average that double the time of a run."""
    clock, random = Clock(monkeypatch), np.random.default_rng(seed)
    ends = np.cumsum(random.exponential(1.0, 10_000))
    times = [0.3, 0.33, 0.36]

    def loaded(time: float) -> Callable[[float], float]:
        return lambda now: time * (1 + np.searchsorted(ends, now) % 2)

    found = race([clock.run(str(time), loaded(time)) for time in times], 6.0)
    assert min(found) == found[0] == pytest.approx(times[0])
    assert clock.now < stopwatch.OVERTIME * 6.0 + 3
