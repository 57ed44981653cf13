"""The examples on which a net is traced: files, a data set, arrays, or random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from netdsl.app.feeds import open_feeds, report_preprocessing
from netdsl.app.predict import RUN_BATCH, check_lengths
from netdsl.base.dtypes import NUMPY_NAMES
from netdsl.base.shape import format_shape
from netdsl.base.size import Size
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.data.column import ArrayReader
from netdsl.data.indices import index_inputs
from netdsl.data.random_inputs import known_sizes, random_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from netdsl.app.reporter import Reporter
    from netdsl.backend.session import Session
    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Dataset
    from netdsl.data.kinds import DataKind
    from netdsl.data.reader import Reader
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.net import Net, Node

RANDOM_SIZE = 64
"""Size of axes of random inputs that are known only at run time, if the net accepts it."""


class NothingToTrace(UserError, code="E0928", title="nothing to trace", exit_code=USAGE_IS_WRONG):
    """`netdsl trace` takes its examples from one source: INPUT, as `run` does; `--data`; `--random`; or else the first
    batch of the `train` block. A net without a `train` block needs one of the others, and targets for `--gradients`.

    ```sh
    netdsl trace net.net images.npy
    netdsl trace net.net --random --examples 8
    netdsl trace net.net images.npy target=labels.npy --gradients
    ```
    """


class TraceData(NamedTuple):
    """The source of the examples: paths, as those of `run`; arrays by input; data; or random numbers. Without any, the
    first batch of the net's training. `examples` is the number that is used."""

    paths: Sequence[str] = ()
    arrays: Mapping[str, Array] | None = None
    data: DataKind | None = None
    random: bool = False
    examples: int | None = None

    def check(self) -> None:
        """Raise NothingToTrace if there are several sources."""
        given = [bool(self.paths), self.arrays is not None, self.data is not None, self.random]
        if sum(given) > 1:
            raise NothingToTrace("INPUT, --data and --random are alternatives", "choose one of them")

    @property
    def needs_recipe(self) -> bool:
        """Whether the examples are those of a data set, which the recipe of the net's training describes."""
        return not self.paths and self.arrays is None and not self.random


def open_examples(
    source: TraceData, net: Net, recipe: Recipe | None, session: Session, seed: int, reporter: Reporter
) -> dict[str, Reader]:
    """Return a reader for each input of a session, and report what is read. Raises UserError."""
    if source.random:
        return _random(net, recipe, session, source.examples or _default(recipe), seed, reporter)
    if source.needs_recipe:
        assert recipe is not None
        return _of_data(source, recipe, session, reporter)
    if source.arrays is not None:
        session.check_names(source.arrays)
        types = {name: tensor.dtype for name, tensor in session.inputs.items()}
        return {name: ArrayReader(name, array, types[name]) for name, array in source.arrays.items()}
    return open_feeds([*source.paths], session, reporter)


def count_of(source: TraceData, readers: Mapping[str, Reader]) -> int:
    """Return the number of examples to trace. Raises WrongFeed if the inputs differ in length."""
    (count,) = {*check_lengths(readers).values()}
    return min(count, source.examples or count)


def batch_from(readers: Mapping[str, Reader], first: int, stop: int) -> dict[str, Array]:
    """Return some of the examples."""
    return {name: next(reader.batches(stop - first, first, stop)) for name, reader in readers.items()}


def _default(recipe: Recipe | None) -> int:
    return RUN_BATCH if recipe is None else recipe.batch


def _of_data(source: TraceData, recipe: Recipe, session: Session, reporter: Reporter) -> dict[str, Reader]:
    """Return the first examples of the first epoch, as training reads them: shuffled, and augmented if they are those
    of the `train` block."""
    from netdsl.ir.names import Names
    from netdsl.train.open_data import open_argument, open_data

    dataset: Dataset = open_data(recipe)[0] if source.data is None else open_argument(source.data, recipe, Names())
    for picture in dataset.pictures.values():
        report_preprocessing(recipe.net.name, picture, reporter)
    count = min(source.examples or recipe.batch, len(dataset))
    batches: Iterator[dict[str, Array]] = dataset.batches(count, seed=recipe.seed, epoch=0)
    arrays = next(batches)
    return {name: ArrayReader(name, arrays[name], tensor.dtype) for name, tensor in session.inputs.items()}


def _random(
    net: Net, recipe: Recipe | None, session: Session, count: int, seed: int, reporter: Reporter
) -> dict[str, Reader]:
    """Return random numbers, and random classes as targets. Raises NothingToTrace for other targets."""
    from netdsl.ir.names import LEAST

    generator = np.random.default_rng(seed)
    least = {key.removeprefix(LEAST): int(text) for key, text in session.metadata.items() if key.startswith(LEAST)}
    symbols = {
        symbol: max(RANDOM_SIZE // size.terms[0][1], least.get(symbol, 1))
        for node in net.inputs
        for size in node.shape
        if isinstance(size, Size)
        for symbol in size.symbols
    }
    if symbols:
        chosen = ", ".join(f"{symbol} = {size}" for symbol, size in symbols.items())
        reporter.note(f"{net.name}: random inputs with {chosen}, since these sizes are known only at run time")
    found: dict[str, Array] = {}
    for node in net.inputs:
        shape = count, *known_sizes(node.shape, symbols)
        dtype = getattr(node.layer, "dtype", node.dtype)
        found[node.name] = random_array(dtype, shape, _vocabulary(net, node), generator)
    for name, target in (recipe.targets if recipe else {}).items():
        if target.kind != "class":
            raise NothingToTrace(
                f"the target of `{net.name}` is {target.kind}s of {format_shape(target.shape)}, and random ones are "
                "for classes only",
                "pass examples instead of --random",
            )
        shape = count, *known_sizes(target.shape, symbols)
        found[name] = generator.integers(0, cast("int", target.classes), shape)
    return {
        name: ArrayReader(name, found[name].astype(NUMPY_NAMES.get(tensor.dtype, tensor.dtype)), tensor.dtype)
        for name, tensor in session.inputs.items()
        if name in found
    }


def _vocabulary(net: Net, source: Node) -> int:
    """Return the least number of indices of the embeddings that read an input; 2 if there is none."""
    if source.name not in index_inputs(net):
        return 2
    reached = {source}
    sizes: list[int] = []
    for node in net.nodes:
        if reached.intersection(node.inputs) and node.layer.dtype_transparent:
            reached.add(node)
        if node.layer.kind == "embedding" and node.inputs[0] in reached:
            sizes.append(node.layer.vocabulary)  # type: ignore[attr-defined]
    return min(sizes)
