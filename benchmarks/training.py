"""What is promised of training, but for the contest with PyTorch: its loop, its graphs, its gradients."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from benchmarks.contest_nets import CONTESTS
from benchmarks.measure import Figure, in_turn, timed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.train.loop import Trainer

LOOP = """
net small {{
  input image {shape}
  {layers}
}}
train small {{ data npz "data.npz"; loss cross_entropy; optimizer sgd lr 0.001 momentum 0.9; batch {batch}; epochs 4 }}
"""
SMALL = {
    "mlp, batch 128": ("784", "repeat 2 { dense 512; relu }; dense 10", 128),
    "lenet5, batch 64": (
        "1x28x28",
        "conv 5x5 6 pad 2; tanh; avgpool 2x2; conv 5x5 16 pad 0; tanh; avgpool 2x2; "
        "dense 120; tanh; dense 84; tanh; dense 10",
        64,
    ),
}
"""Nets whose steps are short, so that what surrounds them counts: shape, layers, batch."""


def train() -> Iterator[Figure]:
    """The whole contest, for an hour of a quiet machine; `python -m benchmarks.contest` measures a part of it."""
    from benchmarks import contest

    for net in CONTESTS:
        yield from contest.figures(net, contest.contest(net))


def gradients() -> Iterator[Figure]:
    """Of all nets of the contest, both lowerings."""
    from benchmarks import gradients

    for net in CONTESTS:
        for lowering in ("std", "blk"):
            yield from gradients.figures(net, lowering)


def train_loop() -> Iterator[Figure]:
    """Batches read and shuffled, steps, logs and checkpoints, against the steps alone."""
    import numpy as np

    for name, (shape, layers, batch) in SMALL.items():
        with TemporaryDirectory() as folder:
            random, sizes = np.random.default_rng(0), [int(size) for size in shape.split("x")]
            images = random.standard_normal((100 * batch, *sizes), np.float32)
            np.savez(Path(folder, "data.npz"), x=images, y=random.integers(0, 10, len(images)))
            path = Path(folder, "small.net")
            path.write_text(LOOP.format(shape=shape, layers=layers, batch=batch), "utf-8")
            shares = [_overhead(path, Path(folder, f"run{i}"), images[:batch]) for i in range(3)]
        yield Figure(f"train {name}: the loop beyond its steps", 100 * median(shares), "%", 5, "3 runs of 4 epochs")


def _overhead(path: Path, folder: Path, images: Any) -> float:
    """What the loop takes beyond the steps, as a part of these: their time alone is measured before and after."""
    import numpy as np

    trainer = _trainer(path, folder)
    feeds = {"image": images, "target": np.zeros(len(images), np.int64), "rate": np.array(0, np.float32)}

    def alone() -> float:
        begin = perf_counter()
        for _ in range(200):
            trainer.runner.step(feeds)
        return (perf_counter() - begin) / 200

    alone()
    before = alone()
    begin = perf_counter()
    trainer.run()
    seconds = (perf_counter() - begin) / trainer.position.step
    return seconds / ((before + alone()) / 2) - 1


def _trainer(path: Path, folder: Path) -> Trainer:
    from netdsl.diagnostics.report import Report
    from netdsl.frontend import load_training
    from netdsl.train.material import open_data
    from netdsl.train.run import attach, folder_of
    from netdsl.train.session import Choices
    from netdsl.train.start import start

    report = Report()
    recipe, module = load_training(str(path), report)
    assert recipe is not None, [problem.message() for problem in report]
    assert module is not None
    choices = Choices("std", threads=2)
    trainer = start(recipe, *open_data(recipe), choices)
    run = folder_of(recipe, str(folder), recipe.validate is not None)
    run.judge(resume=False, force=False)
    attach(trainer, run, module, choices, goes_on=False, checkpoint=None, more={})
    return trainer


def train_graph() -> Iterator[Figure]:
    """From a checked net to the model of its training step, without the tuning."""
    from benchmarks.figures import load, rarely_collect_garbage
    from benchmarks.netdsl_contestant import recipe
    from netdsl.emit import emit
    from netdsl.passes.finish import finish
    from netdsl.step import LOSS, portable, training_step

    rarely_collect_garbage()
    net = load("resnet152")
    nodes = []

    def build() -> None:
        graph = finish(portable(training_step(net, recipe(net, 8))), LOSS).graph
        emit(graph).model.SerializeToString()
        nodes.append(len(graph.operations))

    (seconds,) = in_turn(3, timed(build, process_time))
    yield Figure("build the training step of resnet152, in process", median(seconds), "s", 3, f"{nodes[-1]:,} nodes")


FIGURES = {figure.__name__: figure for figure in (train, gradients, train_loop, train_graph)}
