"""Class weights of losses, computed from the classes of the training data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.user_error import UserError
from netdsl.data.dataset import Dataset
from netdsl.data.labels import listed
from netdsl.elaborate.recipe import LossLine, target_name
from netdsl.losses.classification import BALANCED, CrossEntropy

if TYPE_CHECKING:
    from netdsl.data.dataset import Examples
    from netdsl.elaborate.recipe import Recipe


class NoBalance(UserError, code="E0866", title="class weights that the data do not determine"):
    """`class_weights balanced` weights each class inversely to its number of examples in the training data. All of
    these must be available before the first step, and each class must occur."""


def is_balanced(line: LossLine) -> bool:
    """Return whether the weights of a loss depend on the training data."""
    return isinstance(line.loss, CrossEntropy) and line.loss.class_weights == BALANCED


def without_class_weights(line: LossLine) -> LossLine:
    return _replaced(line, None) if is_balanced(line) else line


def with_class_weights(line: LossLine, recipe: Recipe, training: Examples) -> LossLine:
    """Return the line of a loss with its weights if they depend on the training data, which a note says. Raises
    NoBalance."""
    if not is_balanced(line):
        return line
    name = target_name(recipe.net, line.output)
    classes, ignore = recipe.targets[name].classes, recipe.targets[name].ignore
    assert isinstance(classes, int)
    if not isinstance(training, Dataset):
        raise NoBalance(
            f"`class_weights {BALANCED}` counts all targets before training, but an iterable provides them batch by "
            "batch",
            "pass arrays, or list the weights: `class_weights [1, 5]`",
        )
    counts = np.zeros(classes, np.int64)
    counted = np.arange(classes) != ignore
    for batch in training.targets[name].batches(2**16):
        counts += np.bincount(batch[batch != ignore].ravel(), minlength=classes)
    names = training.names.classes.get(name) or [f"{number}" for number in range(classes)]
    missing = [each for each, is_missing in zip(names, counted & (counts == 0), strict=True) if is_missing]
    if missing:
        raise NoBalance(
            f"`class_weights {BALANCED}` needs examples of each class, but the training data have none of "
            f"{listed(missing)}",
            "list the weights: `class_weights [1, 5]`",
        )
    weights = np.zeros(classes)  # of the ignored class, too
    weights[counted] = counts.sum() / (counted.sum() * counts[counted])
    text = listed([f"{each} {weight:.4g}" for each, weight in zip(names, weights, strict=True)])
    training.notes.append(f"class weights of `{line.output}`: {text}")
    return _replaced(line, tuple(map(float, weights)))


def _replaced(line: LossLine, weights: tuple[float, ...] | None) -> LossLine:
    given = {name: getattr(line.loss, name) for name in line.loss.arguments}
    loss = type(line.loss)(**given | {"class_weights": weights})
    loss.spans = line.loss.spans
    return LossLine(output=line.output, loss=loss, span=line.span)
