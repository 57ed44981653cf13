"""Random numbers for all inputs of a training step, for measurements: they have the shapes and types of data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.data.random_inputs import random_array
from netdsl.ir.graph import RATE
from netdsl.ops.base import known
from netdsl.train.alignment import needs_longest, with_longest
from netdsl.train.class_weights import without_class_weights

if TYPE_CHECKING:
    from numpy.random import Generator

    from netdsl.base.dtypes import Array
    from netdsl.elaborate.recipe import LossLine, Recipe
    from netdsl.ir.graph import Graph
    from netdsl.losses import Target

FIRST = 1
"""The size of a vocabulary whose only number is in every other one."""

PLACES_PER_SYMBOL = 4
"""Places of an output per symbol of a sequence, where only data determine the length of the longest."""


def without_data(line: LossLine, recipe: Recipe) -> LossLine:
    """Return the line of a loss without what data determine: class weights, and the length of the longest sequence."""
    if needs_longest(line):
        places = recipe.net.outputs[line.output].node.shape[1]
        assert isinstance(places, int)
        return with_longest(line, max(1, places // PLACES_PER_SYMBOL))
    return without_class_weights(line)


def random_batch(recipe: Recipe, graph: Graph) -> dict[str, Array]:
    """Return the inputs of a step: numbers of a normal distribution, pixels, zeros for indices, targets that its
    losses accept, and a learning rate of 0, so that weights stay finite for any number of steps."""
    random = np.random.default_rng(recipe.seed)
    targets = recipe.targets
    lengths = {getattr(line.loss, "lengths", None): line.output for line in recipe.losses}
    feeds: dict[str, Array] = {}
    for name, x in graph.inputs.items():
        if name == RATE:
            feeds[name] = np.zeros((), np.float32)
        elif name in targets:
            feeds[name] = _target(targets[name], known(x.shape), random)
        elif name in lengths:
            feeds[name] = np.full(known(x.shape), recipe.net.outputs[lengths[name]].node.shape[1], np.int64)
        else:
            feeds[name] = random_array(x.dtype, known(x.shape), FIRST, random)
    return feeds


def _target(target: Target, shape: tuple[int, ...], random: Generator) -> Array:
    if target.kind == "sign":
        return random.choice(np.array([-1, 1], np.float32), shape)
    if target.kind == "value":
        return random.random(shape, np.float32)
    assert isinstance(target.classes, int)
    symbols = [number for number in range(target.classes) if number not in (target.ignore, target.blank)]
    return random.choice(np.array(symbols, np.int64), shape)
