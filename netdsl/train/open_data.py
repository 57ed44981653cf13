"""Open the data that a net and its losses require, split into training and validation sets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.user_error import UserError
from netdsl.data.augment import Augment
from netdsl.data.column import ArrayColumn, Column
from netdsl.data.dataset import Dataset
from netdsl.data.draws import permutation
from netdsl.data.errors import BadStream
from netdsl.data.picture import declared_picture
from netdsl.data.spec import Bounds, DataSpec, Target
from netdsl.elaborate.recipe import target_name
from netdsl.ir.names import Names, OutputLoss
from netdsl.ops.base import known

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.data.column import Hash
    from netdsl.data.dataset import Examples
    from netdsl.data.kinds import DataKind
    from netdsl.data.reader import Dims
    from netdsl.elaborate.recipe import Recipe

SPLIT_EPOCH = 2**63
"""Epoch whose order determines the held-out part; no training reaches it."""


NAMED = ("cifar10", "cifar100", "csv", "folder", "parquet", "text")
"""The kinds of data that define names of classes or columns."""


class TooFew(UserError, code="E0865", title="too few examples to split"):
    """`validate 0.1` holds out a tenth of the examples. Training and validation need at least one example each.

    ```sh
    netdsl train net.net --set train.validate=0.2
    ```
    """


def data_spec(
    recipe: Recipe, augment: Augment | None = None, names: Names | None = None, bounds: Bounds | None = None
) -> DataSpec:
    """Return the requirements of a recipe on its data. `names` are those of a model; see `DataSpec`."""
    net = recipe.net
    inputs: dict[str, tuple[Dims, str]] = {}
    for node in net.inputs:
        inputs[node.name] = known(node.shape), getattr(node.layer, "dtype", "f32")
    pictures = {node.name: declared_picture(node) for node in net.inputs}
    targets = {
        name: Target(
            name,
            found.kind,
            classes=found.classes,  # type: ignore[arg-type]
            shape=found.shape,  # type: ignore[arg-type]
            ignore=found.ignore,
            blank=found.blank,
        )
        for name, found in recipe.targets.items()
    }
    named = None if names is None else names.of(_targets(recipe))
    return DataSpec(
        inputs,
        targets,
        pictures=pictures,
        names=named,
        augment=augment,
        bounds=bounds,
        untargeted=recipe.untargeted,
    )


def _targets(recipe: Recipe) -> dict[str, str]:
    """Return the target of each output of a model."""
    return {name: target_name(recipe.net, name) for name in recipe.net.inference_outputs}


def names_of(dataset: Examples, recipe: Recipe) -> Names:
    """Return the names of a data set for a model, those of targets by output, with the model's losses."""
    names = dataset.names.of({target: output for output, target in _targets(recipe).items()})
    return Names(names.classes, names.columns, names.targets, _single_losses(recipe))


def _single_losses(recipe: Recipe) -> dict[str, OutputLoss]:
    """Return the loss of each output of a model; an output with several has none that says how to read it."""
    found: dict[str, set[OutputLoss]] = {}
    for line in recipe.losses:
        if not recipe.net.outputs[line.output].training:
            loss = OutputLoss(line.loss.kind, *(getattr(line.loss, name, None) for name in ("blank", "lengths")))
            found.setdefault(line.output, set()).add(loss)
    return {output: losses.pop() for output, losses in found.items() if len(losses) == 1}


def training_names(recipe: Recipe) -> Names:
    """Return the names that the training data define. Raises UserError where these cannot be opened."""
    if recipe.data.kind not in NAMED:
        return Names()
    return names_of(_open(recipe.data, recipe, Augment(recipe.augment) if recipe.augment else None, None), recipe)


def open_data(recipe: Recipe, names: Names | None = None) -> tuple[Dataset, Dataset | None]:
    """Return the examples for training, and those for validation where the recipe has any. Classes and columns are
    matched with the `names` of a model; by default the training data define them. Raises UserError."""
    augment = Augment(recipe.augment) if recipe.augment else None
    training = _open(recipe.data, recipe, augment, names)
    if recipe.validate is None:
        return training, None
    found = names_of(training, recipe) if names is None else names
    if not isinstance(recipe.validate, float):
        return training, open_validation(recipe.validate, recipe, found)
    same = augment is None or not any(step.random for step in recipe.augment)
    whole = training if same else open_validation(recipe.data, recipe, found)
    return split_validation(training, whole, recipe)


def open_validation(data: DataKind, recipe: Recipe, names: Names) -> Dataset:
    """Return examples for evaluation, without random augmentation. Classes and columns are matched with `names`."""
    fixed = Augment(recipe.augment).fixed
    return _open(data, recipe, fixed if fixed.steps else None, names)


def open_argument(data: DataKind, recipe: Recipe, names: Names) -> Dataset:
    """Return the examples of data given on the command line, whose paths are relative to the working folder."""
    fixed = Augment(recipe.augment).fixed
    return data.open(data_spec(recipe, fixed if fixed.steps else None, names))


def _open(data: DataKind, recipe: Recipe, augment: Augment | None, names: Names | None) -> Dataset:
    """Open data of a recipe. Relative paths start at the folder of its file."""
    folder = os.path.dirname(recipe.span.source.name)
    bounds = Bounds(recipe.root, recipe.root or folder or os.curdir)
    placed = data.within(folder)
    for name in placed.paths():
        bounds.check(getattr(placed, name))
    return placed.open(data_spec(recipe, augment, names, bounds))


def split_validation(training: Examples, whole: Examples, recipe: Recipe) -> tuple[Dataset, Dataset]:
    """Split a data set in two, with a random fraction of the examples in the second part, determined by the seed and,
    if it is stratified, by the classes. Raises TooFew, and BadStream if the examples are not in memory."""
    fraction = recipe.validate
    assert isinstance(fraction, float)
    if not isinstance(training, Dataset) or not isinstance(whole, Dataset):
        raise BadStream(
            f"`validate {fraction:g}` holds out examples, but an iterable provides them one batch at a time",
            "pass separate validation data as `validate=`, or pass arrays",
        )
    count = round(len(training) * fraction)
    if not 0 < count < len(training):
        raise TooFew(f"of {len(training):,} examples, `validate {fraction:g}` holds out {count:,}")
    order = permutation(len(training), recipe.seed, SPLIT_EPOCH)
    if recipe.stratified:
        order = stratified(order, [training.targets[name].take(order) for name in recipe.classes], count)
    part = subset(training, np.sort(order[count:]))
    part.notes = training.notes or part.notes
    return part, subset(whole, np.sort(order[:count]))


def stratified(order: Array, targets: Sequence[Array], count: int) -> Array:
    """Return an order whose first `count` examples have the same share of each class, or of each combination of the
    classes of several targets, and come in the given order otherwise.

    A share that is no whole number of examples is rounded by the method of the largest remainder. `targets` are the
    classes of the examples in the given order.
    """
    labels = np.unique(np.stack(targets, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(labels)
    quotas, remainders = np.divmod(sizes * count, len(order))
    quotas[np.argsort(-remainders, kind="stable")[: count - quotas.sum()]] += 1
    by_class = np.argsort(labels, kind="stable")
    rank = np.empty_like(order)
    rank[by_class] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.concatenate([order[rank < quotas[labels]], order[rank >= quotas[labels]]])


def subset(dataset: Dataset, indices: Array) -> Dataset:
    """Return a subset of a data set."""
    inputs: dict[str, Column] = {name: SubsetColumn(column, indices) for name, column in dataset.inputs.items()}
    targets = {name: _picked(column, indices) for name, column in dataset.targets.items()}
    return Dataset(inputs, targets, names=dataset.names, augment=dataset.augment, pictures=dataset.pictures)


def _picked(column: ArrayColumn, indices: Array) -> ArrayColumn:
    def where(index: int) -> str:
        return column.name(int(indices[index]))

    return ArrayColumn(column.path, column.array[indices], column.shape, str(column.dtype), where)


class SubsetColumn(Column):
    """A subset of a column's examples, in an order of its own."""

    __slots__ = ("_column", "_indices")

    def __init__(self, column: Column, indices: Array) -> None:
        super().__init__(column.path, column.shape, str(column.dtype))
        self._column = column
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def name(self, index: int) -> str:
        return self._column.name(int(self._indices[index]))

    def batches(self, size: int, first: int = 0, stop: int | None = None) -> Iterator[Array]:
        for at, end in self.spans(size, first, stop):
            yield self._column.take(self._indices[at:end]).astype(self.dtype)

    def digest(self, hashed: Hash) -> None:
        self._column.digest(hashed)
        hashed.update(self._indices.astype("<i8").data)

    def take(self, indices: Array) -> Array:
        return self._column.take(self._indices[indices])

    def takes(self, picked: Sequence[Array]) -> Generator[Array, None, None]:
        return self._column.takes([self._indices[indices] for indices in picked])
