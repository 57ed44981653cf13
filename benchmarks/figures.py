"""Benchmarks of netdsl's promised speed and size, each compared with a reference."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import TYPE_CHECKING, Any

from benchmarks import training
from benchmarks.measure import MAIN, ROOT, Figure, compare, in_turn, python, timed
from benchmarks.pth import pth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netdsl.data.reader import Array
    from netdsl.ir.net import Net

HEAVY = "numpy onnx onnxruntime PIL safetensors"

IMPORTED = f"""
import sys
from netdsl.cli import main
code = main()
print(*set("{HEAVY}".split()) & set(sys.modules))
raise SystemExit(code)
"""

DRAW = """
import os, sys
import numpy as np
generator = np.random.Generator(np.random.SFC64(0))
count, path = int(sys.argv[1]), sys.argv[2]
with open(path, "wb") as file:
    for begin in range(0, count, 2**20):
        file.write(generator.standard_normal(min(2**20, count - begin), np.float32))
    file.flush()
    os.fsync(file.fileno())
"""
"""A script that draws normals on one thread with NumPy's fastest generator, writes them in blocks, and syncs them."""


def check() -> Iterator[Figure]:
    """Compare a cold start, with bytecode cached, with importing the largest module it needs."""
    yield compare(
        "check specs/resnet.net, cold, against `import lark`",
        lambda: python("-c", MAIN, "check", "specs/resnet.net")[0],
        lambda: python("-c", "import lark")[0],
        1.5,
        rounds=20,
    )


def imports() -> Iterator[Figure]:
    """Count the heavy modules that `check` imports; it must import none."""
    command = [sys.executable, "-c", IMPORTED, "check", "specs/resnet.net"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found = done.stdout.split()
    yield Figure("heavy modules that check imports", len(found), "", 0, " ".join(found) or f"none of {HEAVY}")


def compile_resnet152() -> Iterator[Figure]:
    """Compare a whole `compile` process with one that draws, writes and syncs as many normals."""
    count = elements_of("resnet152")
    with TemporaryDirectory() as folder:
        path = Path(folder, "out")

        def seconds(*arguments: str | Path) -> float:
            path.unlink(missing_ok=True)
            return python("-c", *arguments)[0]

        yield compare(
            "compile resnet152 --seed 0, against numpy's normals, written and synced",
            partial(seconds, MAIN, "compile", "resnet152", "--seed", "0", "-o", path),
            partial(seconds, DRAW, str(count), path),
            1.0,
            rounds=6,
        )


def memory() -> Iterator[Figure]:
    """Measure the peak memory of `compile`, which must not depend on the model's size."""
    for name in ("resnet152", "vgg19"):
        size = 4 * elements_of(name) / 1e6
        with TemporaryDirectory() as folder:
            _, peak = python("-c", MAIN, "compile", name, "--seed", "0", "-o", Path(folder, "out.onnx"))
        yield Figure(f"compile {name} --seed 0, peak memory", peak, "MB", 150, f"the weights are {size:.0f} MB")


def structure() -> Iterator[Figure]:
    """Time a compilation without the weights: load, elaborate, lower, emit, check."""
    from netdsl.backend.compile import structure as emit_and_check
    from netdsl.lower import lower

    def run() -> None:
        emit_and_check(lower(load("resnet152")))

    (seconds,) = in_turn(10, timed(run))
    yield Figure("compile the structure of resnet152, warm, in process", median(seconds), "s", 0.5, "10 rounds")


def run_resnet50() -> Iterator[Figure]:
    """Measure throughput on a batch in memory that needs no preprocessing."""
    yield throughput("resnet50", 8, (3, 224, 224), rounds=30)


def run_lenet5() -> Iterator[Figure]:
    """Measure throughput of a small model, where the overhead per batch matters."""
    yield throughput("lenet5", 256, (1, 28, 28), rounds=600)


def chain() -> Iterator[Figure]:
    """Compile chains of layers to a model in memory; the time per layer must not grow with their number."""
    rarely_collect_garbage()
    from netdsl.backend.compile import compile_net

    def compile_chain(layers: int) -> None:
        text = f"net chain {{\n  input x 16\n  repeat {layers // 2} {{ dense 16; relu }}\n}}\n"
        compile_net(load_text(text, folder), io.BytesIO())

    lengths = (2_500, 5_000, 10_000)
    with TemporaryDirectory() as folder:
        found = in_turn(5, *(timed(partial(compile_chain, length), process_time) for length in lengths))
    seconds = dict(zip(lengths, map(median, found), strict=True))
    yield linear("compile a chain of 10,000 layers, per layer, against 2,500", seconds)


def lines() -> Iterator[Figure]:
    """Check files with one layer per line; the time per line must not grow with their number."""
    rarely_collect_garbage()
    from netdsl.app.analyse import check_file
    from netdsl.diagnostics.report import Report

    def check_lines(path: Path) -> None:
        report = Report()
        check_file(str(path), report)
        assert not report.errors

    lengths = (1_000, 10_000)
    with TemporaryDirectory() as folder:
        paths = [Path(folder, f"{length}.net") for length in lengths]
        for path, length in zip(paths, lengths, strict=True):
            path.write_text(long_net(length), "utf-8")
        found = in_turn(7, *(timed(partial(check_lines, path), process_time) for path in paths))
    seconds = dict(zip(lengths, map(median, found), strict=True))
    yield Figure("check a file of 1,000 lines, warm, in process", seconds[1_000], "s", 0.8, "7 rounds")
    yield linear("check a file of 10,000 lines, per line, against 1,000", seconds)


FIGURES = {
    figure.__name__: figure
    for figure in (check, imports, compile_resnet152, pth, memory, structure, run_resnet50, run_lenet5, chain, lines)
} | training.FIGURES


def measure(name: str) -> list[Figure]:
    """Measure one of the FIGURES in a new process: a large one would affect its children's peak memory, and the next
    figure's caches."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measure, name).result()


def _measure(name: str) -> list[Figure]:
    return list(FIGURES[name]())


def rarely_collect_garbage() -> None:
    """Set the GC threshold of the `netdsl` command. Python's default takes a third more time for 10,000 layers."""
    from netdsl.cli import OBJECTS

    gc.set_threshold(OBJECTS)


def load(file: str) -> Net:
    """Load a net that has no errors."""
    from netdsl.app.frontend import load_net
    from netdsl.diagnostics.report import Report

    report = Report()
    net = load_net(file, report)
    assert net is not None, report.errors
    return net


def load_text(text: str, folder: str) -> Net:
    path = Path(folder, "text.net")
    path.write_text(text, "utf-8")
    return load(str(path))


def elements_of(name: str) -> int:
    """Return the number of weight elements of a net."""
    from netdsl.base.shape import elements

    return sum(elements(parameter.shape) for parameter in load(name).parameters.values())


def long_net(lines: int) -> str:
    """Return a net with this many lines; all but three contain one layer."""
    layers = ("conv 3x3 16 stride 1 pad 1  # same size", "bn", "relu", "maxpool 3x3 stride 1 pad 1")
    body = (layers[number % len(layers)] for number in range(lines - 3))
    return "\n".join(["net long {", "  input x 16x32x32", *(f"  {line}" for line in body), "}", ""])


def linear(what: str, seconds: dict[int, float]) -> Figure:
    """Compare the time per item of the longest input with that of the shortest: 1 if the time is linear."""
    shortest, longest = min(seconds), max(seconds)
    ratio = (seconds[longest] / longest) / (seconds[shortest] / shortest)
    return Figure(what, ratio, "×", 1.25, ", ".join(f"{n:,}: {t:.2f} s" for n, t in seconds.items()))


def throughput(name: str, batch: int, shape: Sequence[int], *, rounds: int) -> Figure:
    """Compare `predict` on a batch in memory with onnxruntime alone."""
    import numpy as np
    import onnxruntime

    from netdsl.app.predict import predict
    from netdsl.backend.compile import compile_to_bytes
    from netdsl.backend.session import Session
    from netdsl.data.reader import Reader

    class InMemory(Reader):
        """One batch in memory."""

        def __len__(self) -> int:
            return batch

        def name(self, index: int) -> str:
            return str(index)

        def batches(self, size: int) -> Iterator[Array]:
            yield data

    data = np.random.default_rng(0).random((batch, *shape), np.float32)
    model = compile_to_bytes(load(name))
    ours, bare = Session(model), onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (feed,) = ours.inputs
    reader: Any = InMemory("memory", tuple(shape), "f32")

    def run() -> None:
        for _ in predict(ours, {feed: reader}, batch):
            pass

    def run_bare() -> None:
        bare.run(None, {feed: data})

    what = f"run {name}, batch {batch}, against onnxruntime alone: examples per second"
    return compare(what, timed(run), timed(run_bare), 0.97, rounds=rounds, throughput=True)
