"""A large step is compiled in a child process, and trains to the same bits."""

from __future__ import annotations

import sys
import threading

import pytest

from netdsl.base.child import in_child
from netdsl.ir.graph import Graph
from netdsl.train import prepare
from netdsl.train.prepare import Compiled, compile_step
from netdsl.train.runner import Choices, Runner, initial_state
from netdsl.train.step import training_step
from tests.train.test_joined_states import same
from tests.train.test_step import feeds_of, read

NET = "input x 3x8x8; conv 3x3 16; bn; relu; conv 1x1 16; relu; dense 1024; relu; dense 3"
RECIPES = ["optimizer sgd lr 0.1 momentum 0.9", "optimizer adam lr 0.01; freeze conv1; average 0.9"]

needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="no child process")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a child start beside threads that other tests left behind, which wait."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)


@needs_fork
@pytest.mark.usefixtures("alone")
def test_a_child_answers() -> None:
    assert in_child(lambda: b"x" * 2**20) == b"x" * 2**20  # more than a pipe holds


@needs_fork
@pytest.mark.usefixtures("alone")
def test_a_child_that_fails_has_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    assert in_child(lambda: bytes(-1)) is None
    assert in_child(lambda: sys.exit(0)) is None
    assert capfd.readouterr() == ("", "")


def test_no_child_beside_other_threads() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert in_child(lambda: b"") is None
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("backend", ["plain", "nchwc"])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.usefixtures("alone")
def test_steps_compiled_in_a_child_have_the_same_bits(
    recipe: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, feeds = step_of(recipe)
    steps = []
    for limit in (0, 10**9):
        monkeypatch.setattr(prepare, "LARGE_GRAPH", limit)
        choices = Choices(backend, threads=1)
        steps.append((compile_step(graph, choices), choices))
    (found, choices), (expected, others) = steps
    assert not found.finished.graph.operations or sys.platform != "linux"
    assert expected.finished.graph.operations
    assert (found.model, found.layouts, choices.kept()) == (expected.model, expected.layouts, others.kept())
    assert found.finished.parts  # dense1 is in slabs
    same(*(trained(graph, done, feeds) for done, _ in steps))


def step_of(recipe: str) -> tuple[Graph, dict]:
    """A step, and numbers for everything that it takes."""
    found = read(f"net t {{ {NET} }}\ntrain t {{ data xor; loss cross_entropy; {recipe}; batch 4 }}")
    graph = training_step(found.net, found)
    return graph, {name: x.astype(x.dtype.str.replace("f8", "f4")) for name, x in feeds_of(graph).items()}


def trained(graph: Graph, done: Compiled, feeds: dict) -> dict:
    """The state after three steps."""
    state = initial_state(graph, {name: feeds[name] / 8 for name in graph.parameters})
    runner = Runner(graph, done.model, state, finished=done.finished, layouts=done.layouts, threads=1)
    for _ in range(3):
        runner.step({name: feeds[name] for name in graph.inputs})
    return runner.state()
