"""Batches that a program makes as they are needed, in the place of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from netdsl.data.array import as_array
from netdsl.data.checks import check_counts, check_finite, target_column
from netdsl.data.column import ArrayColumn
from netdsl.data.errors import BadStream, NoExamples
from netdsl.data.reader import type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from netdsl.data.augment import Augment
    from netdsl.data.reader import Array
    from netdsl.data.wanted import Wanted

Part = dict[str, "Array"]


class Stream:
    """Batches (x, y) of any sizes from an iterable, cut into batches of one size; nothing but those is kept.

    x and y are arrays, or mappings of arrays where there are several inputs or targets. `source` is an iterable that
    can be begun again each epoch, or a function that takes the epoch and returns one. It is trusted to give the same
    for the same epoch: a run that goes on in the middle reads what was used already, and forgets it. The order is the
    source's own. Each part is checked as it comes, as data sets are before training.
    """

    __slots__ = ("_source", "_wanted", "classes", "notes")

    def __init__(self, source: Iterable[object] | Callable[[int], Iterable[object]], wanted: Wanted) -> None:
        self._source = source
        self._wanted = wanted
        self.classes: Sequence[str] | None = wanted.classes
        self.notes: list[str] = []

    def batch(self, wanted: int) -> int:
        """As of a data set; how many examples there are is not known."""
        return wanted

    def steps(self, batch: int, drop_last: bool = True) -> None:
        """How many batches an epoch has is not known."""

    def batches(
        self,
        batch: int,
        *,
        seed: int,
        epoch: int,
        first: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        augment: Augment | None = None,
    ) -> Iterator[dict[str, Array]]:
        """As of a data set, but that nothing is shuffled. Raises BadStream, and what is wrong with an array."""
        augment = augment or self._wanted.augment
        number = -1
        for number, made in enumerate(_cut(self._parts(epoch), batch, drop_last)):
            if number < first:
                continue
            positions = np.arange(number * batch, number * batch + len(next(iter(made.values()))))
            for name, (_, dtype) in self._wanted.inputs.items():
                x = made[name] if augment is None else augment(made[name], seed=seed, epoch=epoch, positions=positions)
                made[name] = np.ascontiguousarray(x, type_of(dtype))
            yield made
        if number < 0:
            raise NoExamples(f"the iterable gives no batch of {batch:,} examples in epoch {epoch}")
        if number + 1 < first:
            raise BadStream(f"the iterable gives {number + 1:,} batches in epoch {epoch}, and the run is at {first:,}")

    def _parts(self, epoch: int) -> Iterator[Part]:
        source = self._source(epoch) if callable(self._source) else self._source
        for number, item in enumerate(source):
            where = f"epoch {epoch}, item {number}"
            if not isinstance(item, (tuple, list)) or len(item) != 2:
                raise BadStream(f"{where} is {type(item).__name__}, and no pair (x, y) of arrays")
            yield self._checked(
                _by_name(item[0], self._wanted.inputs, where), _by_name(item[1], self._wanted.targets, where), where
            )

    def _checked(self, xs: Mapping[str, object], ys: Mapping[str, object], where: str) -> Part:
        columns = {}
        for name, (_, dtype) in self._wanted.inputs.items():
            path = f"{where}: {name}"
            columns[name] = ArrayColumn(path, as_array(xs[name], path), self._wanted.example(name), dtype)
            check_finite(columns[name])
        for name, target in self._wanted.targets.items():
            path = f"{where}: {name}"
            columns[name] = target_column(path, as_array(ys[name], path), target)
        check_counts(columns)
        targets = self._wanted.targets
        return {name: c.array.astype(c.dtype) if name in targets else c.array for name, c in columns.items()}


def _by_name(value: object, names: Mapping[str, object], where: str) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        if missing := [name for name in names if name not in value]:
            raise BadStream(f"{where} has no `{missing[0]}`; it has {', '.join(map(str, value)) or 'nothing'}")
        return value
    if len(names) != 1:
        raise BadStream(f"{where} is one array, and there are {len(names)}: {', '.join(names)}", "give a dictionary")
    return dict.fromkeys(names, value)


def _cut(parts: Iterator[Part], batch: int, drop_last: bool) -> Iterator[Part]:
    """The same examples in batches of one size; a smaller one at the end is dropped or comes as it is."""
    kept: list[Part] = []
    count = 0
    for part in parts:
        kept.append(part)
        count += len(next(iter(part.values())))
        if count < batch:
            continue
        whole = _joined(kept)
        for at in range(0, count - batch + 1, batch):
            yield {name: array[at : at + batch] for name, array in whole.items()}
        kept = [{name: array[count - count % batch :] for name, array in whole.items()}]
        count %= batch
    if count and not drop_last:
        yield _joined(kept)


def _joined(parts: list[Part]) -> Part:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
