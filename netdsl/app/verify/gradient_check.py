"""Check the gradients of a training step, as onnxruntime computes them, against differences in double precision."""

from __future__ import annotations

import warnings
from copy import copy
from functools import partial
from math import isclose, isfinite
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from netdsl.app.verify.child import Failed
from netdsl.app.verify.outcome import SKIPPED, Inapplicable, Outcome, Skip, judged
from netdsl.app.verify.subject import ROUNDINGS
from netdsl.app.verify.worker import read_arrays, write_arrays
from netdsl.base.terminal import plural
from netdsl.ir.graph import LOSS, RATE

if TYPE_CHECKING:
    from netdsl.app.verify.model_checks import Work
    from netdsl.app.verify.subject import Arrays, Subject
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.graph import Graph
    from netdsl.losses import Target

BATCH = 4
"""Largest number of examples of a step; a small one takes less time, and a normalization needs several."""

COARSE = 5e-2
"""Largest relative error of a gradient that is ever rounding."""

TINY = 1e-30
"""Smallest bound that an error is divided by."""

SHARE = 0.8
"""The part of the time limit that differences take; the rest is for the first of them."""

NUDGES = 4
"""How often the weights are rounded otherwise. Where an input of a ReLU is 0 but for rounding, its gradient passes it
or not: rounding changes gradients in jumps, which one trial can miss."""

BACKENDS = ("plain", "nchwc")


def gradients(subject: Subject) -> Work:
    """Compare the gradients of each step backend with differences of the loss."""
    if subject.recipe is None:
        yield "gradients", "all", partial(_skip, subject.no_recipe or Inapplicable("a model has no loss"))
        return
    trial = _Trial(subject, subject.recipe)
    for backend in BACKENDS:
        yield "gradients", backend, partial(trial.outcome, backend)
    yield "gradients", "other tensors", trial.others


class _Trial:
    """A step with random data, whose gradients of all backends are compared with the same differences."""

    def __init__(self, subject: Subject, recipe: Recipe) -> None:
        self.subject = subject
        self.recipe = recipe
        self.backends: list[str] = []
        self.answer: dict[str, Any] | None = None
        self.problem: Exception | None = None
        self.tensors = 0
        self.unclear: list[str] = []

    def outcome(self, backend: str) -> Outcome:
        """Judge the largest error of a backend. Raises Skip and Failed."""
        if self.problem is not None:
            raise self.problem
        if self.answer is None:
            try:
                self.answer = self._compare()
            except Exception as problem:
                self.problem = problem
                raise
        if backend not in self.backends:
            raise Inapplicable(
                "the net has no convolutions" if self._is_plain() else "this processor does not support it"
            )
        at, worst, told = self.backends.index(backend), -1.0, ("", 0.0, 0.0)
        tensors: dict[str, dict[str, Any]] = self.answer["tensors"]
        self.unclear = [name for name, each in tensors.items() if ROUNDINGS * each["rounding"] > COARSE]
        for name, each in tensors.items():
            bound = max(self.subject.options.gradient_tolerance, ROUNDINGS * each["rounding"])
            error = each["errors"][at]
            excess = error / max(bound, TINY)
            if name not in self.unclear and excess > worst:
                worst, told = excess, (name, error, bound)
        if not told[0]:
            raise Skip("the gradients of all weights are rounding alone")
        count = sum(each["count"] for name, each in tensors.items() if name not in self.unclear)
        compared = len(tensors) - len(self.unclear)
        note = f"in {told[0]}; {plural(compared, 'tensor')}, {plural(count, 'difference')}"
        return judged("gradients", backend, told[1], told[2], note)

    def others(self) -> Outcome:
        """Report the tensors that were not compared."""
        if self.answer is None:
            return _NONE
        late = self.tensors - len(self.answer["tensors"]) - len(self.answer["unmeasured"])
        vague = len(self.answer["unmeasured"]) + len(self.unclear)
        reasons = [f"{plural(late, 'tensor')}: no time (--time-limit)"] * (late > 0)
        reasons += [f"{plural(vague, 'tensor')}: the gradient is rounding alone"] * (vague > 0)
        note = "; ".join(reasons)
        return Outcome("gradients", "other tensors", SKIPPED, note=note, applies=late > 0) if reasons else _NONE

    def _is_plain(self) -> bool:
        from netdsl.ops.convolution_gradients import ConvDw

        return not any(isinstance(operation.op, ConvDw) for operation in self.graph.operations)

    def _compare(self) -> dict[str, Any]:
        """Return the answer of `differences` for all backends. Raises Skip, Failed and Exceeded."""
        from netdsl.importing.proof_net import rounded_otherwise
        from netdsl.train.start import initial_weights
        from netdsl.train.step import training_step

        subject = self.subject
        self.backends = ["plain"]
        small = small_recipe(self.recipe)
        net, training = small.net, [line.output for line in small.losses]
        weights = initial_weights(net, subject.options.seed, subject.weights, training)
        self.graph = training_step(net, small)
        feeds = self._feeds(small)
        found, loss = step_gradients(self.graph, weights, feeds, "plain")
        assert found is not None
        nudged = []
        for seed in range(NUDGES):
            others = {name: rounded_otherwise(array, seed) for name, array in weights.items()}
            nudged.append(step_gradients(self.graph, others, feeds, "plain")[0] or {})
        sets = [found]
        other, _ = (None, 0.0) if self._is_plain() else step_gradients(self.graph, weights, feeds, "nchwc")
        if other is not None:
            sets.append(other)
            self.backends.append("nchwc")
        self.tensors = len(found)
        if not found:
            raise Inapplicable("the loss trains no weight")
        return self._difference(small, weights, feeds, (sets, nudged), loss)

    def _difference(
        self, recipe: Recipe, weights: Arrays, feeds: Arrays, sets: tuple[list[Arrays], list[Arrays]], loss: float
    ) -> dict[str, Any]:
        """Compute the differences for gradients, and those of other roundings, and compare the loss in both precisions.
        Raises Failed."""
        subject = self.subject
        model, given = subject.file("loss.onnx"), subject.file("loss.npz")
        write_arrays(given, write_loss(recipe, model, weights, feeds))
        gradients, nudged = ([self._written(each) for each in some] for some in sets)
        answer = subject.child.call(
            "differences",
            model=model,
            feeds=given,
            gradients=gradients,
            nudged=nudged,
            samples=subject.options.samples,
            seed=subject.options.seed,
            seconds=SHARE * subject.options.time_limit,
        )
        if not isclose(answer["loss"], loss, rel_tol=1e-2, abs_tol=1e-4):
            raise Failed(f"the loss is {loss:g}, and in double precision {answer['loss']:g}")
        return answer

    def _written(self, arrays: Arrays) -> str:
        """Write arrays to a file, and return its path."""
        path = self.subject.file("gradients.npz")
        write_arrays(path, arrays)
        return path

    def _feeds(self, recipe: Recipe) -> Arrays:
        """Return random inputs of the net, in the range that the inference model has them, and random targets."""
        known = read_arrays(self.subject.inputs[0].path) if self.subject.inputs else {}
        targets = recipe.targets
        random = np.random.default_rng(self.subject.options.seed)
        feeds: Arrays = {RATE: np.zeros((), np.float32)}
        for name, x in self.graph.inputs.items():
            shape = cast("tuple[int, ...]", x.shape)
            if name in targets:
                feeds[name] = random_target(targets[name], shape, random)
            elif name in known and known[name].shape[1:] == shape[1:]:
                feeds[name] = np.resize(known[name], shape)
            elif name != RATE:
                integers = x.dtype in ("i64", "u8")
                feeds[name] = random.integers(0, 2, shape) if integers else random.standard_normal(shape, np.float32)
        return feeds


def _skip(why: Skip) -> Outcome:
    raise why


_NONE = Outcome("gradients", "other tensors", "")
"""That no tensor is left over is no outcome."""


def small_recipe(recipe: Recipe) -> Recipe:
    """Return a recipe of one small batch, whose optimizer keeps the gradient as its state. Raises Skip for losses that
    depend on the training data."""
    from netdsl.optimizers import OPTIMIZERS
    from netdsl.train.alignment import needs_longest
    from netdsl.train.class_weights import is_balanced

    if any(map(is_balanced, recipe.losses)):
        raise Skip("`class_weights balanced` depends on the training data")
    if any(map(needs_longest, recipe.losses)):
        raise Skip("the training data determine the size of a target")
    small = copy(recipe)
    small.batch, small.accumulate, small.shards, small.sync_bn = min(recipe.batch, BATCH), 1, 1, False
    small.average, small.optimizer = 0.0, OPTIMIZERS["sgd"](lr=1.0, momentum=0.5)
    return small


def step_gradients(graph: Graph, weights: Arrays, feeds: Arrays, backend: str) -> tuple[Arrays | None, float]:
    """Return the gradients of the first step by the names of weights, and the loss. They are the velocities of SGD,
    which begin as 0. None for a backend that this processor does not support. Raises Failed if the loss or a
    gradient is not finite."""
    from netdsl.train.prepare import prepare
    from netdsl.train.runner import Choices, initial_state

    choices = Choices(backend)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = prepare(graph, initial_state(graph, {name: weights[name] for name in graph.parameters}), choices)
    if choices.step_backend != backend:
        return None, 0.0
    runner.step(feeds)
    loss = float(runner.result(LOSS))
    if not isfinite(loss):
        raise Failed("the loss is not finite for random inputs")
    suffix = ".velocity"
    found = {name.removesuffix(suffix): array for name, array in runner.state().items() if name.endswith(suffix)}
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise Failed(f"the gradient of {name} is not finite for random inputs, with the step backend `{backend}`")
    return found, loss


def write_loss(recipe: Recipe, path: str, weights: Arrays, feeds: Arrays) -> Arrays:
    """Write the loss in double precision as a model, and return all that it takes."""
    from netdsl.backend.compile import OPSET
    from netdsl.backend.emit import ELEMENT_TYPES, emit
    from netdsl.train.step import forward, portable

    graph, _ = forward(recipe.net, recipe)
    for name in [name for name in graph.outputs if name != LOSS]:
        del graph.outputs[name]
    graph = portable(graph)
    with open(path, "wb") as file:
        file.write(emit(graph, opset=OPSET, float_type="f64").model.SerializeToString())
    given: Arrays = {name: feeds[name] for name in graph.inputs}
    for name, state in graph.state.items():
        if name not in graph.parameters:
            shape = cast("tuple[int, ...]", state.before.shape)
            given[name] = np.full(shape, state.initial or 0, ELEMENT_TYPES[state.before.dtype][1])
    given.update({name: weights[name] for name in graph.parameters})
    return {name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in given.items()}


def random_target(target: Target, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return random targets of a loss."""
    if target.kind == "sign":
        return random.choice(np.array((-1, 1), np.float32), shape)
    if target.kind == "value":
        return random.uniform(0.1, 0.9, shape).astype(np.float32)
    classes = cast("int", target.classes)
    if target.kind == "class":
        return random.integers(0, classes, shape)
    symbols = np.array([each for each in range(classes) if each != target.blank])
    found = random.choice(symbols, shape)
    found[..., (shape[-1] + 1) // 2 :] = -1
    return found
