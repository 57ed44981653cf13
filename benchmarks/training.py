"""Benchmarks against PyTorch by net, and of training: the loop, building the graph."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from benchmarks.auto import zoo
from benchmarks.contest_nets import CONTESTS
from benchmarks.inference_nets import NETS
from benchmarks.measure import Figure, in_turn, timed
from benchmarks.sequence_nets import SEQUENCES
from netdsl.train.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.train.loop import Trainer

LOOP = """
net small {{
  input image 1x28x28
  scale 1/255
  {layers}
}}
train small {{ data mnist "mnist"; loss cross_entropy; optimizer sgd lr 0.001 momentum 0.9; batch {batch}; epochs 6 }}
"""
SMALL = {
    "mlp, batch 128": ("repeat 2 { dense 512; relu }; dense 10", 128),
    "lenet5, batch 64": (
        "conv 5x5 6 pad 2; tanh; avgpool 2x2; conv 5x5 16 pad 0; tanh; avgpool 2x2; "
        "dense 120; tanh; dense 84; tanh; dense 10",
        64,
    ),
}
"""Layers and batch size of nets with short steps, for which the overhead of the loop matters."""

EXAMPLES = 60_000
"""Number of examples, as in MNIST: a realistic number of steps per epoch and per checkpoint."""

STRETCH = 50
"""Number of steps of the loop, and then of steps alone, that are timed in turn, so that a change in the machine's speed
affects both."""


def train(net: str) -> Iterator[Figure]:
    """Run the contest of a net, for minutes; `python -m benchmarks.contest` has more choices."""
    from benchmarks import contest

    yield from contest.figures(net, contest.contest(net))


def gradients(net: str) -> Iterator[Figure]:
    """Compare the gradients of a net with PyTorch's, with both step backends."""
    from benchmarks import gradients

    for backend in ("plain", "nchwc"):
        yield from gradients.figures(net, backend)


def sequences(net: str) -> Iterator[Figure]:
    """Run the contest of a Transformer or a recurrent net; `python -m benchmarks.sequences` has more choices."""
    from benchmarks import sequences

    yield from sequences.figures(net, sequences.contest(net))


def inference(net: str) -> Iterator[Figure]:
    """Compare inference with onnxruntime on PyTorch's exports; `python -m benchmarks.inference` has more choices."""
    from benchmarks import inference

    with TemporaryDirectory() as folder:
        for batch in (1, 8):
            yield from inference.figures(net, batch, inference.contest(net, batch, Path(folder)))


def train_loop() -> Iterator[Figure]:
    """Compare the training loop (data, steps, metrics, logs, checkpoints) with the steps alone, on 60,000 images of
    MNIST's size."""
    import numpy as np

    for name, (layers, batch) in SMALL.items():
        with TemporaryDirectory() as folder:
            random = np.random.default_rng(0)
            images = random.integers(0, 256, (EXAMPLES, 28, 28), np.uint8)
            _write_idx(Path(folder, "mnist", "train-images-idx3-ubyte"), images)
            _write_idx(Path(folder, "mnist", "train-labels-idx1-ubyte"), random.integers(0, 10, EXAMPLES, np.uint8))
            path = Path(folder, "small.net")
            path.write_text(LOOP.format(layers=layers, batch=batch), "utf-8")
            feed = images[:batch, None].astype(np.float32)
            shares = [_overhead(path, Path(folder, f"run{i}"), feed) for i in range(3)]
        yield Figure(f"train {name}: overhead of the loop", 100 * median(shares), "%", 5, "3 runs of 6 epochs")


def _write_idx(path: Path, array: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


class InTurn(Progress):
    """Alternate between stretches of the loop and of steps alone, and sum the seconds of each."""

    def __init__(self, feeds: dict[str, Any]) -> None:
        super().__init__()
        self.loop = self.alone = 0.0
        self._feeds = feeds
        self._began = 0.0

    def begin(self, trainer: Trainer) -> None:
        super().begin(trainer)
        self._began = perf_counter()

    def step(self, trainer: Trainer, loss: float) -> None:
        if trainer.position.step % STRETCH == 0:
            assert trainer.checkpoint_writer is not None
            trainer.checkpoint_writer.folder.writer.wait()
            ended = perf_counter()
            for _ in range(STRETCH):
                trainer.runner.step(self._feeds)
            now = perf_counter()
            self.loop += ended - self._began
            self.alone += now - ended
            self._began = now


def _overhead(path: Path, folder: Path, images: Any) -> float:
    """Return the loop's overhead as a fraction of the time of the steps."""
    import numpy as np

    feeds = {"image": images, "target": np.zeros(len(images), np.int64), "rate": np.array(0, np.float32)}
    watch = InTurn(feeds)
    trainer = _trainer(path, folder, watch)
    for _ in range(STRETCH):
        trainer.runner.step(feeds)
    trainer.run()
    return watch.loop / watch.alone - 1


def _trainer(path: Path, folder: Path, progress: Progress) -> Trainer:
    from netdsl.app.frontend import load_training
    from netdsl.diagnostics.report import Report
    from netdsl.train.open_data import open_data
    from netdsl.train.run import attach, folder_of
    from netdsl.train.runner import Choices
    from netdsl.train.start import start

    report = Report()
    recipe, module = load_training(str(path), report)
    assert recipe is not None, [problem.message() for problem in report]
    assert module is not None
    choices = Choices("plain", threads=2)
    trainer = start(recipe, *open_data(recipe), choices, progress=progress)
    run = folder_of(recipe, str(folder), recipe.validate is not None)
    run.is_resumed(resume=False, force=False)
    attach(trainer, run, module, choices, resume=False, checkpoint=None, more={})
    return trainer


def train_graph() -> Iterator[Figure]:
    """Time the compilation of a checked net to its training step, without tuning."""
    from benchmarks.figures import load, rarely_collect_garbage
    from benchmarks.netdsl_contestant import recipe
    from netdsl.backend.emit import emit
    from netdsl.ir.graph import LOSS
    from netdsl.passes.finish import finish
    from netdsl.train.step import portable, training_step

    rarely_collect_garbage()
    net = load("resnet152")
    nodes = []

    def build() -> None:
        graph = finish(portable(training_step(net, recipe(net, 8))), LOSS).graph
        emit(graph).model.SerializeToString()
        nodes.append(len(graph.operations))

    (seconds,) = in_turn(3, timed(build, process_time))
    yield Figure("build the training step of resnet152, in process", median(seconds), "s", 3, f"{nodes[-1]:,} nodes")


def auto(net: str) -> Iterator[Figure]:
    """Compare the step backend that is chosen for a net with both."""
    from benchmarks import auto

    yield auto.figure(net, auto.compare(net))


GROUPS = {train: CONTESTS, gradients: CONTESTS, sequences: SEQUENCES, auto: [*CONTESTS, *zoo()], inference: NETS}
FIGURES = {figure.__name__: figure for figure in (train_loop, train_graph)} | {
    f"{figure.__name__}.{net}": partial(figure, net) for figure, nets in GROUPS.items() for net in nets
}
