"""Batches produced by Python code as they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from inspect import Parameter, signature
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.data.checks import check_counts, check_finite, target_column
from netdsl.data.column import ArrayColumn, as_array, feed
from netdsl.data.dataset import Examples, check_rows
from netdsl.data.errors import BadStream, NoExamples
from netdsl.data.indices import refuse_negative
from netdsl.data.reader import type_of
from netdsl.ir.names import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from netdsl.base.dtypes import Array
    from netdsl.data.augment import Augment
    from netdsl.data.spec import DataSpec

    Source = Iterable[object] | Callable[[int], Iterable[object]] | Callable[[int, int, int], Iterable[object]]

Part = dict[str, "Array"]

WHOLE = 0, 1
"""Rank and size of a process that trains alone."""

ITEMS = 16
"""Number of items of a sequence that are hashed to identify it."""


class Stream(Examples):
    """Batches (x, y) of any sizes from an iterable, regrouped into batches of one size without keeping others.

    x and y are arrays, or mappings of arrays if there are several inputs or targets. `source` is an iterable that can
    be restarted each epoch, or a function from the epoch to an iterable. It must yield the same batches for the same
    epoch, because a run resumed in the middle of an epoch skips those already used, and each of several processes
    iterates over all and keeps its rows. A function with three required parameters, the epoch, the rank of the process
    and the number of processes, yields instead the rows of this process alone: of each complete batch in turn, those
    that it has. `part` is the rank and the number.

    Batches are not shuffled, and each is checked when it arrives. The source may reuse its arrays for the next batch.
    `length` is the number of examples per epoch; by default, epoch 0 is iterated over to count them when needed. Raises
    BadStream for a generator, which can be iterated only once.
    """

    __slots__ = ("_by_rank", "_length", "_part", "_source", "_wanted", "indices")

    def __init__(
        self, source: Source, wanted: DataSpec, *, length: int | None = None, part: tuple[int, int] = WHOLE
    ) -> None:
        if not callable(source) and iter(source) is source:
            raise BadStream(
                f"{type(source).__name__} can be iterated only once, but training iterates over the data in each epoch",
                "pass a list, or a function that takes the epoch and returns an iterable",
            )
        self._source = source
        self._by_rank = callable(source) and _required(source) == 3
        self._part = part
        self._wanted = wanted
        self._length = length
        self.indices: Collection[str] = ()
        """The inputs in which negative numbers are errors."""
        self.names = wanted.names or Names()
        self.notes = []

    def __len__(self) -> int:
        if self._length is None:
            self._length = sum(map(_count, self._parts(0)))
        return self._length

    def batch(self, wanted: int) -> int:
        return min(wanted, len(self))

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
        rows: tuple[int, int] | None = None,
        every: int = 1,
    ) -> Iterator[dict[str, Array]]:
        """Yield batches as described in `Examples`, but without shuffling. Raises BadStream, and the errors of invalid
        arrays."""
        augment = augment or self._wanted.augment
        low, high = check_rows(rows, batch, drop_last)
        own = self._by_rank and rows is not None
        size = high - low if own else batch
        parts = self._parts(epoch, self._part if own else WHOLE)
        number = -1
        for number, made in enumerate(_cut(parts, size, drop_last and not own)):
            if own and _count(made) < size:
                raise self._incomplete(epoch, number * size + _count(made), size)
            if number < first or (number - first) % every:
                continue
            if not own:
                made = {name: array[low:high] for name, array in made.items()}
            positions = np.arange(_count(made)) + (number * batch + low)
            for name, (_, dtype) in self._wanted.inputs.items():
                x = made[name] if augment is None else augment(made[name], seed=seed, epoch=epoch, positions=positions)
                made[name] = np.ascontiguousarray(x, type_of(dtype))
            yield made
        if number < 0:
            raise NoExamples(f"the iterable yields no batch of {size:,} examples in epoch {epoch}")
        if every == 1 and number + 1 < first:
            raise BadStream(f"the iterable yields {number + 1:,} batches in epoch {epoch}, but the run is at {first:,}")

    def name(self, key: str, position: int, *, seed: int, epoch: int) -> str:
        return f"example {position:,} of epoch {epoch}"

    def digests(self) -> dict[str, str]:
        """Return a digest per input and target of some items of epoch 0: up to ITEMS evenly spaced ones of a sequence,
        or the first one of an iterator returned by a function. Empty for a function that yields other rows on each
        rank, and for other iterables, such as a DataLoader, which may shuffle on their own or take long to start."""
        if self._by_rank or not (callable(self._source) or isinstance(self._source, Sequence)):
            return {}
        source = self._items(0)
        numbers: list[int] | None = None
        if isinstance(source, Sequence):
            numbers = sorted({len(source) * k // ITEMS for k in range(ITEMS)}) if source else []
            source = [source[at] for at in numbers]
        found = {name: sha256() for name in (*self._wanted.inputs, *self._wanted.targets)}
        for part in _parts(islice(source, ITEMS if numbers else 1), self._wanted, "epoch 0, item", (), numbers):
            for name, array in part.items():
                feed(found[name], len(array), array.__getitem__)
        return {name: hashed.hexdigest() for name, hashed in found.items()}

    def _parts(self, epoch: int, part: tuple[int, int] = WHOLE) -> Iterator[Part]:
        return _parts(self._items(epoch, part), self._wanted, f"epoch {epoch}, item", self.indices)

    def _items(self, epoch: int, part: tuple[int, int] = WHOLE) -> Iterable[object]:
        source: Any = self._source
        items: Iterable[object] = source
        if callable(source):
            items = source(epoch, *part) if self._by_rank else source(epoch)
        return items

    def _incomplete(self, epoch: int, count: int, size: int) -> BadStream:
        rank, ranks = self._part
        return BadStream(
            f"in epoch {epoch}, the source yields {count:,} examples for rank {rank} of {ranks}, which has {size:,} of "
            "each batch",
            f"yield the examples of complete batches only: on this rank, a multiple of {size:,}",
        )


def _required(function: Callable[..., object]) -> int:
    """Return the number of required positional parameters of a function; 1 if it is unknown, as for built-in ones."""
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD
    return sum(each.kind in positional and each.default is Parameter.empty for each in parameters)


def _count(part: Part) -> int:
    """Return the number of examples."""
    return len(next(iter(part.values())))


def _parts(
    source: Iterable[object],
    wanted: DataSpec,
    what: str,
    indices: Collection[str],
    numbers: Iterable[int] | None = None,
) -> Iterator[Part]:
    """Yield the items of an iterable as arrays by name, checked. Targets are converted to their types, inputs keep
    theirs. `indices` are inputs that must not be negative. `numbers` are those of the items in messages (default: 0, 1,
    …)."""
    for number, item in zip(count() if numbers is None else numbers, source, strict=False):
        where = f"{what} {number}"
        if isinstance(item, (tuple, list)) and len(item) == 1 and not wanted.targets:
            item = item[0], None  # as the batches of PyTorch's TensorDataset(x)
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise BadStream(
                f"{where} must be a pair (x, y) of arrays, not {type(item).__name__}",
                "return an iterable with one pair per batch; for a single batch, [(x, y)]",
            )
        xs = _by_name(item[0], wanted.inputs, where)
        ys = _by_name(item[1], wanted.targets, where) if wanted.targets else {}
        wanted.refuse_untargeted(item[1] if isinstance(item[1], Mapping) else (), where)
        columns = {}
        for name, (_, dtype) in wanted.inputs.items():
            path = f"{where}: {name}"
            columns[name] = ArrayColumn(path, as_array(xs[name], path), wanted.example(name), dtype)
            check_finite(columns[name])
            if name in indices:
                refuse_negative(columns[name].array, path)
        for name, target in wanted.targets.items():
            path = f"{where}: {name}"
            columns[name] = target_column(path, as_array(ys[name], path), target)
        check_counts(columns)
        yield {name: c.array.astype(c.dtype) if name in wanted.targets else c.array for name, c in columns.items()}


def _by_name(value: object, names: Mapping[str, object], where: str) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        if missing := [name for name in names if name not in value]:
            raise BadStream(f"{where} has no `{missing[0]}`; it has {', '.join(map(str, value)) or 'nothing'}")
        return value
    if len(names) != 1:
        raise BadStream(f"{where} is one array, but {len(names)} are needed: {', '.join(names)}", "give a dictionary")
    return dict.fromkeys(names, value)


def _cut(parts: Iterator[Part], batch: int, drop_last: bool) -> Iterator[Part]:
    """Regroup examples into batches of one size; a smaller one at the end is dropped or kept."""
    kept: list[Part] = []
    count = 0
    for part in parts:
        count += _count(part)
        if count < batch:
            kept.append(_copied(part))
            continue
        whole = _joined([*kept, part])
        for at in range(0, count - batch + 1, batch):
            yield {name: array[at : at + batch] for name, array in whole.items()}
        kept = [{name: array[count - count % batch :] for name, array in whole.items()}]
        count %= batch
    if count and not drop_last:
        yield _joined(kept)


def _copied(part: Part) -> Part:
    """Copy arrays, so that they stay valid if the source reuses its own."""
    return {name: array.copy() for name, array in part.items()}


def _joined(parts: list[Part]) -> Part:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
