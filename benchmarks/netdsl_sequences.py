"""netdsl's side of `benchmarks.sequences`: `python -m benchmarks.netdsl_sequences NET FOLDER THREADS [OPSET]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contest_nets import serve
from benchmarks.netdsl_contestant import imports, recipe, weights
from benchmarks.sequence_nets import RATE, SEQUENCES, Sequences

if TYPE_CHECKING:
    from netdsl.ir.net import Net


def net_of(contest: Sequences) -> Net:
    from netdsl.app.frontend import load_net
    from netdsl.diagnostics.report import Report

    report = Report()
    net = load_net(contest.source, report, settings=contest.settings)
    assert net is not None, report.errors
    return net


def main(name: str, folder: str, threads: str, opset: str = "21") -> None:
    imported = imports()
    contest = SEQUENCES[name]
    feeds = contest.feeds()
    if contest.train:
        action = _trainer(contest, feeds, int(threads))
    else:
        action = _inference(contest, feeds, int(threads), int(opset), Path(folder, f"net{opset}.onnx"))
    np.savez(Path(folder, f"netdsl{opset}.npz"), *action())
    serve(action, imported)


def draw(name: str, folder: str) -> None:
    """Write the initial weights, for PyTorch."""
    from netdsl.lower import lower

    np.savez(Path(folder, "weights.npz"), **weights(lower(net_of(SEQUENCES[name]))))


def _inference(contest: Sequences, feeds: dict[str, Any], threads: int, opset: int, path: Path) -> Any:
    from netdsl.backend.compile import CompileOptions, compile_net
    from netdsl.backend.session import Session

    with path.open("wb") as file:
        compile_net(net_of(contest), file, CompileOptions(opset=opset))
    session = Session(str(path), threads=threads)
    return lambda: list(session.run(feeds).values())


def _trainer(contest: Sequences, feeds: dict[str, Any], threads: int) -> Any:
    from netdsl.train.prepare import prepare
    from netdsl.train.runner import Choices, initial_state
    from netdsl.train.step import training_step

    net = net_of(contest)
    graph = training_step(net, recipe(net, contest.batch, momentum=0.0, decay=0.0))
    (output,) = net.outputs.values()
    target = contest.target((contest.batch, *output.maker.shape))
    runner = prepare(graph, initial_state(graph, weights(graph)), Choices("plain", threads=threads))
    fed = {**feeds, "target": target, "rate": np.array(RATE, np.float32)}

    def step() -> list[Any]:
        runner.step(fed)
        return [runner.result("loss")]

    return step


if __name__ == "__main__":
    draw(*sys.argv[2:]) if sys.argv[1] == "weights" else main(*sys.argv[1:])
