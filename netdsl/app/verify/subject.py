"""What is verified: a net or a model, as files of ONNX, with inputs and the outputs that onnxruntime computes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.app.verify.child import Child, Failed
from netdsl.app.verify.outcome import Skip
from netdsl.app.verify.worker import read_arrays, write_arrays
from netdsl.backend.compile import OPSET, CompileOptions, compile_net, weights_size
from netdsl.backend.emit import OPSETS
from netdsl.backend.external_data import write_pair

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.names import Names
    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile

    Arrays = dict[str, Array]

EXAMPLES = 32
"""Largest number of examples of `--data` that are used."""

COARSE = 1e-2
"""Largest relative difference that is ever rounding."""

ROUNDINGS = 4
"""Larger differences than the tolerance are rounding up to this factor of the model's own: the change of its outputs
if all weights and inputs differ in their last bit."""


class VerifyOptions(NamedTuple):
    """What to verify and with which bounds; docs/verify.md has the reasons of the defaults."""

    against: Sequence[str] | None = None
    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    opsets: Sequence[int] = (OPSETS[0], OPSET, OPSETS[-1])
    tolerance: float = 1e-4
    gradient_tolerance: float = 1e-3
    f16_tolerance: float = 1e-2
    int8_tolerance: float = 0.2
    disagreement: float = 0.1
    samples: int = 2
    batch: int = 4
    seed: int = 0
    time_limit: float = 60.0
    memory_limit: float = 8.0


class Inputs(NamedTuple):
    """Inputs with a name, their file, and the outputs that onnxruntime computes for them by default."""

    name: str
    path: str
    outputs: Arrays


class Subject:
    """A net with its weights, or the model of a file. `folder` has all files that a verification makes."""

    def __init__(
        self,
        name: str,
        child: Child,
        folder: str,
        options: VerifyOptions,
        *,
        model: str | None = None,
        net: Net | None = None,
        weights: WeightFile | None = None,
        names: Names | None = None,
        recipe: Recipe | None = None,
        no_recipe: Skip | None = None,
    ) -> None:
        self.name = name
        self.child = child
        self.folder = folder
        self.options = options
        self.net = net
        self.weights = weights
        self.recipe = recipe
        self.no_recipe = no_recipe
        self.batched = False
        self.inputs: list[Inputs] = []
        self.rounding = 0.0
        self.problem: Failed | Skip | None = None
        self._names = names
        self._models: dict[tuple[int, str], str] = {}
        self._given = model
        self._count = 0

    @property
    def opset(self) -> int:
        """The opset by which the checks run the model: the default one if it is among them, or the first."""
        return OPSET if OPSET in self.options.opsets else self.options.opsets[0]

    def file(self, name: str) -> str:
        """Return the path of a new file."""
        self._count += 1
        return os.path.join(self.folder, f"{self._count}-{name}")

    def model(self, opset: int | None = None, dtype: str = "f32") -> str:
        """Return the path of the model, compiled at an opset if it is a net. Raises UserError."""
        if self._given is not None:
            return self._given
        assert self.net is not None
        key = opset or self.opset, dtype
        if key not in self._models:
            path = self.file(f"opset{key[0]}-{dtype}.onnx")
            options = CompileOptions(seed=self.options.seed, weights=self.weights, opset=key[0], dtype=dtype)
            if self._names is not None:
                options = options._replace(names=self._names)
            write_model(self.net, path, options)
            self._models[key] = path
        return self._models[key]

    def open(self) -> None:
        """Choose random inputs, and compute the outputs and their rounding. Raises Failed, Exceeded, and Skip if there
        are no random inputs."""
        path = self.file("random.npz")
        answer = self.child.call("feed", model=self.model(), batch=self.options.batch, out=path)
        if "missing" in answer:
            raise Skip(answer["missing"])
        self.batched = answer["batched"]
        self.inputs = [Inputs("random", path, self.run("onnxruntime", path))]
        nudged, feeds = self.file("nudged.onnx"), self.file("nudged.npz")
        self.child.call("nudge", model=self.model(), feeds=self.inputs[0].path, out=nudged, out_feeds=feeds)
        self.rounding = difference(self.run("onnxruntime", feeds, nudged), self.inputs[0].outputs)

    def add(self, data: Arrays) -> None:
        """Compute the outputs for data too. Raises Failed and Exceeded."""
        path = self.file("data.npz")
        write_arrays(path, data)
        self.inputs.append(Inputs("data", path, self.run("onnxruntime", path)))

    def run(self, tool: str, feeds: str, model: str | None = None) -> Arrays:
        """Return the outputs that a tool computes by name. Raises Failed and Exceeded."""
        out = self.file("outputs.npz")
        self.child.call("run", tool=tool, model=model or self.model(), feeds=feeds, out=out)
        found = read_arrays(out)
        os.unlink(out)
        return found

    def check_runs(self) -> None:
        """Raise Failed if onnxruntime does not run the model, and Skip if that exceeds a bound."""
        if self.problem is not None:
            raise self.problem

    def check_finite(self) -> None:
        """Raise Failed for outputs that are not finite, as no difference to them is a number."""
        for inputs in self.inputs:
            for name, array in inputs.outputs.items():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise Failed(f"the output `{name}` is not finite for {inputs.name} inputs")

    def bound(self) -> float:
        """Return the largest difference of outputs that is rounding. Raises Skip if outputs prove nothing, and Failed
        if they are not finite."""
        self.check_runs()
        self.check_finite()
        if self.rounding * ROUNDINGS > COARSE:
            raise Skip(f"rounding alone changes the outputs by {self.rounding:.1e}: compared, they prove nothing")
        if not any(tells(array, self.batched) for each in self.inputs for array in each.outputs.values()):
            raise Skip("the outputs are equal for all inputs: compared, they prove nothing")
        return max(self.options.tolerance, ROUNDINGS * self.rounding)


def write_model(net: Net, path: str, options: CompileOptions) -> None:
    """Write a compiled net, with external data above a size. Raises UserError."""
    from netdsl.backend.compile import ONE_FILE

    size = weights_size(net, options.dtype)
    if size > ONE_FILE:
        with write_pair(path, size) as (file, data):
            compile_net(net, file, options, data=data)
        return
    with open(path, "wb") as whole:
        compile_net(net, whole, options)


def difference(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> float:
    """Return the largest difference of an element, relative to the largest of its output; of integers, the largest
    share that is not equal. It is infinite for another name or shape, or a number that is not finite."""
    if found.keys() != wanted.keys():
        return float("inf")
    return max((_difference(found[name], wanted[name]) for name in wanted), default=0.0)


def _difference(found: Array, wanted: Array) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    if wanted.dtype.kind != "f":
        return float((found != wanted).mean()) if wanted.size else 0.0
    ours, theirs = found.astype(np.float64), wanted.astype(np.float64)
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return float("inf")
    largest = float(np.abs(theirs).max(initial=0))
    error = float(np.abs(ours - theirs).max(initial=0))
    return error / largest if largest else float("inf") if error else 0.0


def tells(array: Array, batched: bool) -> bool:
    """Return whether an output depends on the inputs: its examples, or else its elements, are not equal."""
    if not array.size:
        return False
    values = array.astype(np.float64)
    spread = float(np.ptp(values, axis=0).max(initial=0) if batched and len(values) > 1 else np.ptp(values))
    return spread > 1e-6 * float(np.abs(values).max())
