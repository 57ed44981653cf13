"""netdsl's side of the contest, run as a subprocess: `python -m benchmarks.netdsl_contestant NET BACKEND THREADS`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contest_nets import CONTESTS, DECAY, MOMENTUM, RATE, memory, serve

if TYPE_CHECKING:
    from netdsl.elaborate.recipe import LossLine, Recipe
    from netdsl.ir.graph import Graph
    from netdsl.ir.net import Net


def recipe(net: Net, batch: int, *, losses: tuple[LossLine, ...] = (), **changes: Any) -> Recipe:
    """Return the contest's recipe: SGD with momentum and weight decay on the cross-entropy, unless `losses` are
    given."""
    from netdsl.base.text import Source, Span
    from netdsl.elaborate.recipe import LossLine, Recipe
    from netdsl.losses.classification import CrossEntropy
    from netdsl.optimizers import Sgd

    span = Span(Source("contest", ""), 0, 0)
    if not losses:
        (output,) = (output.name for output in net.outputs.values() if not output.training)
        losses = (LossLine(output=output, loss=CrossEntropy(), span=span),)
    nothing: Any = None
    settings = {"momentum": MOMENTUM, "decay": DECAY, **changes}
    return Recipe(
        net=net,
        span=span,
        name=net.name,
        data=nothing,
        losses=losses,
        optimizer=Sgd(lr=RATE, **settings),
        schedule=nothing,
        metrics=(),
        batch=batch,
    )


def step_of(name: str, batch: int | None = None) -> Graph:
    """Return the training step of one of the CONTESTS, with macros not yet expanded."""
    from benchmarks.figures import load
    from netdsl.train.step import training_step

    contest = CONTESTS[name]
    net = load(contest.source)
    return training_step(net, recipe(net, batch or contest.batch))


def weights(graph: Graph, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Return netdsl's initial weights."""
    from netdsl.train.start import drawn_weights

    return drawn_weights([p.declaration for p in graph.parameters.values()], seed)


def main(name: str, step_backend: str, threads: str) -> None:
    imported = imports()
    from netdsl.train.prepare import prepare
    from netdsl.train.runner import Choices, initial_state

    graph = step_of(name)
    runner = prepare(graph, initial_state(graph, weights(graph)), Choices(step_backend, threads=int(threads)))
    (image,) = (x for x in graph.inputs if x not in ("target", "rate"))
    images, labels = CONTESTS[name].data()
    feeds = {image: images, "target": labels, "rate": np.array(RATE, np.float32)}

    def step() -> None:
        runner.step(feeds)
        runner.result("loss").item()

    serve(step, imported)


def imports() -> float:
    """Import the modules that training imports, and return the memory of this process in MB."""
    import onnx
    import onnxruntime

    assert onnx
    assert onnxruntime
    return memory()


if __name__ == "__main__":
    main(*sys.argv[1:])
