"""Find the first layer with a non-finite output by rerunning the forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.backend.emit import emit
from netdsl.backend.session import Session
from netdsl.base.user_error import UserError
from netdsl.ir.graph import LOSS, STEP
from netdsl.passes.mixed import emulated, mixed
from netdsl.passes.rewrite import expand_macros, prune
from netdsl.passes.stages import alone
from netdsl.passes.watch import watch
from netdsl.train.step import forward

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from netdsl.base.dtypes import Array
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.graph import Graph
    from netdsl.ir.net import Node

LOWER = "lower the learning rate, such as with `--set train.lr={:g}`, or add `clip 1` to the optimizer's line"


MODERATE = 0.01
"""Maximum learning rate to suggest, however high the failed one was."""


class Diverged(UserError, code="E0862", title="a training run that diverged"):
    """A NaN or infinite loss would make all weights non-finite in the same step. Training stops before that, and the
    last checkpoint is finite. The most frequent cause is a learning rate that is too high.

    ```sh
    netdsl train net.net --set train.lr=1e-4
    ```
    """


def nonfinite_origin(
    recipe: Recipe,
    before: Mapping[str, Array],
    feeds: Mapping[str, Array],
    threads: int | None,
    name_of: Callable[[str, int], str],
) -> tuple[str, ...]:
    """Return sentences about the origin of a non-finite loss: where it arose, then possible fixes. In the first step,
    there is no advice about the learning rate, which has had no effect yet.

    `before` is the state at the beginning of the step; `name_of(input, row)` names an example of the batch.
    """
    lower = (lower_rate(float(feeds["rate"])),) if int(before[STEP]) else ()
    for key, array in feeds.items():
        if (row := _first_row(array)) is not None:
            return (f"the data are not finite: `{key}` of {name_of(key, row)}",)
    for node in recipe.net.nodes:
        for name in nonfinite_weights(node, before):
            where = f"the weight `{name}` of `{node.name}`, {node.span}, was no longer finite"
            return f"{where} after the update of the previous step", *lower
    found = first_nonfinite(recipe.net.nodes, _values(recipe, before, feeds, threads))
    if found is not None:
        return f"it first appears in `{found.name}`, {found.span}, whose inputs and weights are finite", *lower
    lines = ", ".join(f"`{line.loss.kind}`, {line.span}" for line in recipe.losses)
    return f"it first appears in the loss, {lines}: the outputs of the net are finite", *lower


def lower_rate(rate: float) -> str:
    """Return a suggestion against weights that grow without bound."""
    return LOWER.format(min(rate / 10, MODERATE))


def _first_row(array: Array) -> int | None:
    if array.dtype.kind != "f" or not array.ndim or np.isfinite(array).all():
        return None
    return int(np.nonzero(~np.isfinite(array))[0][0])


def first_nonfinite(nodes: Iterable[Node], finite: Mapping[Node, bool]) -> Node | None:
    """Return the first layer, in source order, whose output is not finite. The outputs of its inputs are, since a layer
    follows its inputs."""
    return next((node for node in nodes if not finite.get(node, True)), None)


def nonfinite_weights(node: Node, weights: Mapping[str, Array]) -> list[str]:
    """Return the names of a layer's weights that are not finite."""
    return [p.name for p in node.parameters.values() if not np.isfinite(weights[p.name]).all()]


def _values(
    recipe: Recipe, before: Mapping[str, Array], feeds: Mapping[str, Array], threads: int | None
) -> dict[Node, bool]:
    """Return whether the output of each layer is finite."""
    graph, watched = watching(recipe, len(next(array for array in feeds.values() if array.ndim)))
    model = emit(graph).model.SerializeToString()
    session = Session(model, threads=threads, name=graph.name).native
    known = {**before, **feeds}
    given = {x.name: known[x.name] for x in session.get_inputs()}
    arrays = session.run(list(watched.values()), given)
    return {node: bool(np.isfinite(array).all()) for node, array in zip(watched, arrays, strict=True)}


def watching(recipe: Recipe, rows: int) -> tuple[Graph, dict[Node, str]]:
    """Return the forward pass of a step, or of a part of this size, and the name of the graph's output that has
    the output of each layer."""
    part = None if rows == recipe.step_batch else rows
    graph = prune(forward(recipe.net, recipe, part)[0])
    if recipe.dtype != "f32":
        graph = mixed(graph, recipe.dtype)
    graph = emulated(alone(expand_macros(graph)))
    watched = watch(graph, ("f32",))
    assert LOSS in graph.outputs
    return graph, watched
