"""Measure how fast the machine multiplies matrices, convolves and copies in onnxruntime."""

from __future__ import annotations

from math import prod
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from netdsl.profiling.profile import Peaks

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx import ModelProto

SECONDS = 0.15
"""Time for each of the three measurements."""

MATRIX = 1024
"""Rows and columns of the matrices."""

IMAGE, CHANNELS = 56, 128
"""Height and width, and channels, of the convolution."""

T = TypeVar("T")

COPIED = 16 * 2**20
"""Elements that are copied: 64 MB, more than caches hold."""

VARIATION = 0.2
"""Relative difference of two measurements above which the machine is busy or its clock changes."""


class Machine:
    """Sessions that measure peaks; each measurement takes about half a second."""

    __slots__ = ("_copy", "_products")

    def __init__(self, threads: int | None = None) -> None:
        convolution = 2.0 * CHANNELS * CHANNELS * 9 * IMAGE * IMAGE
        matrix, image, kernel = [MATRIX, MATRIX], [1, CHANNELS, IMAGE, IMAGE], [CHANNELS, CHANNELS, 3, 3]
        self._products = [
            (_runner(_model("MatMul", matrix, matrix), threads), 2.0 * MATRIX**3),
            (_runner(_model("Conv", image, kernel, pads=[1, 1, 1, 1]), threads), convolution),
        ]
        self._copy = _runner(_model("Mul", [COPIED], []), threads)

    def peaks(self) -> Peaks:
        flops = max(work / _best(run) for run, work in self._products)
        return Peaks(flops, 8 * COPIED / _best(self._copy))


def _model(op: str, x: list[int], weight: list[int], **attributes: Any) -> ModelProto:
    """Return a model of one operator, whose weight is a constant of ones, as most weights are."""
    from onnx import TensorProto, helper

    tensor = helper.make_tensor("w", TensorProto.FLOAT, weight, bytes(_ones(prod(weight))), raw=True)
    node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "peak",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [tensor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def _ones(count: int) -> bytes:
    import numpy as np

    return np.ones(count, "<f4").tobytes()


def _runner(model: ModelProto, threads: int | None) -> Callable[[], object]:
    """Return a function that runs a model, with an output that is not allocated anew."""
    import numpy as np
    from onnxruntime import OrtValue

    from netdsl.backend.session import Session

    session = Session(model.SerializeToString(), threads=threads, name="the measurement of the machine")
    binding = session.native.io_binding()
    (x,) = session.inputs.values()
    (y,) = session.outputs
    feeds = {x.name: np.ones([size or 1 for size in x.shape], np.float32)}
    (result,) = session.run(feeds).values()
    binding.bind_ortvalue_input(x.name, OrtValue.ortvalue_from_numpy(feeds[x.name]))
    binding.bind_ortvalue_output(y, OrtValue.ortvalue_from_numpy(result))
    return lambda: (session.native.run_with_iobinding(binding), feeds, result)  # which must outlive the runs


def _best(run: Callable[[], object]) -> float:
    """Return the minimum time of a run in seconds; other load can only add to it."""
    run()
    found: list[float] = []
    while sum(found) < SECONDS or len(found) < 3:
        begin = perf_counter()
        run()
        found.append(perf_counter() - begin)
    return min(found)


def beside_peaks(machine: Machine | None, action: Callable[[], T]) -> tuple[T, Peaks | None, list[str]]:
    """Return the result of an action, the peaks measured before and after it, and a warning if they differ."""
    if machine is None:
        return action(), None, []
    first, result, second = machine.peaks(), action(), machine.peaks()
    varies = variation(first, second) > VARIATION
    peaks = Peaks(*map(max, zip(first, second, strict=True)))
    return result, peaks, ["the measured peaks vary: the machine is busy, or its clock changes"] if varies else []


def variation(first: Peaks, second: Peaks) -> float:
    """Return the largest relative difference of two measurements."""
    return max(abs(a - b) / max(a, b) for a, b in zip(first, second, strict=True))
