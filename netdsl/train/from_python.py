"""Training data passed from Python instead of the data of a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from itertools import count
from typing import TYPE_CHECKING, Any

from netdsl.data.augment import Augment
from netdsl.data.errors import BadStream
from netdsl.data.given import Pair
from netdsl.data.iterable import WHOLE, Stream
from netdsl.train.open_data import data_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Examples
    from netdsl.data.iterable import Source
    from netdsl.data.spec import DataSpec
    from netdsl.elaborate.recipe import Recipe


class Batches(Stream):
    """A stream of `steps` batches per epoch. Unless these are the `whole` source, the training is a single epoch, in
    which the source restarts as often as needed; `restarts` are the numbers of the batches before each, which must be
    the same on all ranks."""

    __slots__ = ("_batch", "_steps", "_whole", "restarts")

    def __init__(
        self, source: Source, needed: DataSpec, batch: int, steps: int, whole: bool, part: tuple[int, int] = WHOLE
    ) -> None:
        super().__init__(source, needed, part=part)
        self.restarts: list[int] = []
        self._batch = batch
        self._steps = steps
        self._whole = whole

    def __len__(self) -> int:
        return self._steps * self._batch

    def steps(self, batch: int, drop_last: bool = True) -> int:
        return self._steps

    def batches(self, batch: int, *, epoch: int, first: int = 0, **how: Any) -> Iterator[dict[str, Array]]:
        if self._whole:
            yield from super().batches(batch, epoch=epoch, first=first, **how)
            return
        number = 0
        self.restarts.clear()
        for passed in count():
            if passed:
                self.restarts.append(number)
            for feeds in super().batches(batch, epoch=passed, **how):
                number += 1
                if number > first:
                    yield feeds


def given(data: object, recipe: Recipe, *, training: bool, part: tuple[int, int] = WHOLE) -> Examples:
    """Return a pair (x, y) of arrays, or of mappings of arrays, as a data set in memory; and an iterable of such pairs,
    one per batch, or a function from the epoch to one, as a stream. `part` is the rank of this process and the number
    of processes, for training with a function of these too. Raises BadStream, or the error of invalid arrays."""
    augment = Augment(recipe.augment)
    augment = augment if training else augment.fixed
    needed = data_spec(recipe, augment if augment.steps else None)
    if isinstance(data, tuple) and len(data) == 2:
        return Pair(*data).open(needed)
    if not callable(data) and not isinstance(data, Iterable):
        raise BadStream(f"data must be a pair (x, y) or an iterable of such pairs, not {type(data).__name__}")
    if not training and not isinstance(data, Sized):
        return Stream(data, needed)
    known = _steps(data, recipe)
    return Batches(data, needed, recipe.step_batch, known or recipe.steps or 0, known is not None, part)


def _steps(data: Source, recipe: Recipe) -> int | None:
    """Return the number of steps per epoch, or None if unknown. A last batch of unknown size does not count. Raises
    BadStream if nothing determines the length of the training."""
    if isinstance(data, (list, tuple)):
        return max(1, sum(_length(item) for item in data) // recipe.step_batch)
    if isinstance(data, Sized) and isinstance(data, Iterable):
        first = next(iter(data), None)
        return max(1, max(1, len(data) - 1) * _length(first) // recipe.step_batch)
    if recipe.steps is None:
        raise BadStream("the number of batches per epoch is unknown", "add a line `steps` to the `train` block")
    return None


def _length(item: object) -> int:
    """Return the number of examples of a pair (x, y)."""
    part = item[0] if isinstance(item, (list, tuple)) and item else item
    part = next(iter(part.values()), ()) if isinstance(part, Mapping) else part
    return len(part) if isinstance(part, Sized) else 0
