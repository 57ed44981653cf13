"""Run an imported net in onnxruntime, node by node, or in other orders of its sums."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.backend.compile import CompileOptions, compile_net
from netdsl.base.files import CannotWrite, reason
from netdsl.ir.net import Net, Output
from netdsl.weights.file import Entry, WeightFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.importing.flat import FlatWeight
    from netdsl.ir.net import Node


class NamedWeights(WeightFile):
    """Weights of an imported model by their names in the net."""

    __slots__ = ("change", "weights")

    def __init__(self, weights: Mapping[str, FlatWeight], change: Callable[[Array], Array]) -> None:
        self.path = "the imported weights"
        self.weights = weights
        self.change = change
        self.entries = {name: Entry("float32", weight.shape) for name, weight in weights.items()}

    @property
    def allow_nonfinite(self) -> bool:
        return True

    def read(self, key: str) -> Array:
        return self.change(self.weights[key].read())


class RunnableNet:
    """The values of some nodes of a net, as onnxruntime computes them, with weights that are changed. A context, since
    its model is a file."""

    def __init__(
        self,
        net: Net,
        nodes: Sequence[Node],
        weights: Mapping[str, FlatWeight],
        change: Callable[[Array], Array] = lambda array: array,
    ) -> None:
        self._names = [f"observed{at}" for at in range(len(nodes))]
        outputs = {name: Output(name, node, node.span) for name, node in zip(self._names, nodes, strict=True)}
        self._net = Net(net.name, net.source, inputs=net.inputs, outputs=outputs, nodes=net.nodes)
        self._weights = NamedWeights(weights, change)
        self._folder = tempfile.TemporaryDirectory()
        self._path = os.path.join(self._folder.name, "imported.onnx")

    def __enter__(self) -> RunnableNet:
        try:
            with open(self._path, "wb") as file:
                compile_net(self._net, file, CompileOptions(weights=self._weights))
        except BaseException as error:
            self._folder.cleanup()
            if isinstance(error, OSError):
                raise CannotWrite(f"cannot write {self._path}: {reason(error)}") from None
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def run(self, feeds: Sequence[Mapping[str, Array]], *, optimized: bool = False) -> list[list[Array]]:
        """Return the values of the nodes for each batch of inputs. With optimizations, sums have another order."""
        session = session_of(self._path, optimized=optimized)
        inputs = [node.name for node in self._net.inputs]
        return [session.run(self._names, dict(zip(inputs, feed.values(), strict=True))) for feed in feeds]


def rounded_otherwise(array: Array, seed: int = 0) -> Array:
    """Return numbers that differ in their last bit, at random."""
    if array.dtype.kind != "f":
        return array
    eps = np.finfo(array.dtype).eps
    signs = np.random.default_rng(seed).integers(0, 2, array.shape, np.int8) * 2 - 1
    return np.asarray(array * (1 + signs * eps), array.dtype)


def session_of(model: str | bytes, folder: str = "", *, optimized: bool = False) -> Any:
    """Return a session of onnxruntime that computes each node as it stands, unless it is optimized."""
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    options.log_severity_level = 4
    if folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
