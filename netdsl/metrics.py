"""Metrics, which accumulate values over batches with NumPy, outside the graph.

NumPy is imported only when a metric receives a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from netdsl.declare.arguments import Integer
from netdsl.declare.declared import Declared, keyword, positional, registrar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from netdsl.losses import Target

    Array = NDArray[Any]

METRICS: dict[str, type[Metric]] = {}
"""Metrics by name."""

metric = registrar(METRICS)

TARGET_WORDS = {"class": "a class", "sign": "a sign", "value": "numbers", "sequence": "a sequence of symbols"}
"""Kinds of targets in words."""


class Metric(Declared):
    """A metric with its arguments and the values accumulated since the last `reset`.

    `targets` are the supported kinds of target, as in `netdsl.losses.Target`; `better` is `higher`, `lower`, or
    empty if the metric is not a single number; `counts` means that all sums are of integers, so that the result does
    not depend on the batch size.
    """

    kind: ClassVar[str] = ""
    targets: ClassVar[tuple[str, ...]] = ("class", "sign")
    better: ClassVar[str] = ""
    counts: ClassVar[bool] = False

    def __init__(self, **values: object) -> None:
        super().__init__(**values)
        self.reset()

    @property
    def name(self) -> str:
        """The metric's name in logs."""
        return self.kind

    def misfit(self, target: Target) -> str:
        """Describe the supported target in words if this one does not fit; otherwise return an empty string."""
        takes = " or ".join(TARGET_WORDS[kind] for kind in self.targets)
        return "" if target.kind in self.targets else f"{takes} as the target"

    def reset(self) -> None:
        """Discard the accumulated values."""
        raise NotImplementedError

    def update(self, outputs: Array, targets: Array) -> None:
        """Add a batch: outputs [N, K, *S], and targets [N, *S] (classes or signs), [N, U] (sequences), or of the
        outputs' shape."""
        raise NotImplementedError

    def value(self) -> Any:
        """Return the metric since the last `reset`, or NaN if there were no batches."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return the accumulated values as JSON data."""
        raise NotImplementedError

    def merge(self, state: dict[str, Any]) -> None:
        """Add the accumulated values of another metric with the same arguments, given as its state."""
        raise NotImplementedError

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the accumulated values from a state."""
        self.reset()
        self.merge(state)


class Mean(Metric):
    """Mean of terms summed in double precision, so that batch sizes do not matter."""

    def reset(self) -> None:
        self._total, self._count = 0.0, 0

    def value(self) -> float:
        return self._total / self._count if self._count else float("nan")

    def state(self) -> dict[str, Any]:
        return {"total": self._total, "count": self._count}

    def merge(self, state: dict[str, Any]) -> None:
        self._total += state["total"]
        self._count += state["count"]

    def add(self, terms: Array) -> None:
        import numpy as np

        self._total += float(np.count_nonzero(terms) if terms.dtype == bool else terms.sum(dtype="f8"))
        self._count += terms.size


def right(outputs: Array, targets: Array) -> Array:
    """Return whether the largest output at each position is the true class; ties go to the first class. For a single
    output, return whether its sign is correct; 0 is wrong."""
    if outputs.shape[1] == 1:
        return outputs[:, 0] * targets.reshape(outputs[:, 0].shape) > 0
    return outputs.argmax(1) == targets.reshape(outputs[:, 0].shape)  # type: ignore[no-any-return]


def without_ignored(outputs: Array, targets: Array, ignore: int | None) -> tuple[Array, Array]:
    """Return outputs [M, K] and targets [M] of the positions that count, from [N, K, *S] and [N, *S]; a batch without
    an ignored class as it is."""
    if ignore is None:
        return outputs, targets
    kept = targets != ignore
    return outputs.swapaxes(0, 1)[:, kept].T, targets[kept]


@metric("accuracy")
class Accuracy(Mean):
    """Fraction classified correctly, from 0 to 1. In a tie, the first class wins; an output sign of 0 is wrong."""

    better = "higher"
    counts = True

    def update(self, outputs: Array, targets: Array) -> None:
        self.add(right(outputs, targets))


@metric("error")
class Error(Mean):
    """Fraction classified incorrectly: 1 - accuracy."""

    better = "lower"
    counts = True

    def update(self, outputs: Array, targets: Array) -> None:
        self.add(~right(outputs, targets))


@metric("top")
class Top(Mean):
    """Top-k accuracy: the fraction whose class is among the `k` largest outputs. In a tie, the true class ranks last.

    Source: Russakovsky et al. (2015), section 4.1; their top-5 error is 1 - `top 5`.
    """

    targets = ("class",)
    better = "higher"
    counts = True
    k: int = positional(Integer(1), doc="number of largest outputs to consider")

    @property
    def name(self) -> str:
        return f"top{self.k}"

    def misfit(self, target: Target) -> str:
        few = isinstance(target.classes, int) and target.classes <= self.k
        return f"more than {self.k} classes" if few else super().misfit(target)

    def update(self, outputs: Array, targets: Array) -> None:
        import numpy as np

        place = targets.reshape(outputs[:, :1].shape).astype("i8")
        before = (outputs >= np.take_along_axis(outputs, place, 1)).sum(1)
        self.add(before <= self.k)


@metric("confusion")
class Confusion(Metric):
    """Confusion matrix: counts by true class (row) and predicted class (column); for signs, -1 comes first.

    It is not a single number, so it has no curve.
    """

    counts = True

    def reset(self) -> None:
        self._counts: Array | None = None

    def update(self, outputs: Array, targets: Array) -> None:
        import numpy as np

        signs = outputs.shape[1] == 1
        found = (outputs[:, 0] > 0).astype("i8") if signs else outputs.argmax(1)
        wanted = (targets > 0).astype("i8") if signs else targets.astype("i8")
        size = 2 if signs else outputs.shape[1]
        self._add(np.bincount(wanted.ravel() * size + found.ravel(), minlength=size * size).reshape(size, size))

    def _add(self, counts: Array) -> None:
        self._counts = counts if self._counts is None else self._counts + counts

    def state(self) -> dict[str, Any]:
        return {"counts": None if self._counts is None else self._counts.tolist()}

    def merge(self, state: dict[str, Any]) -> None:
        import numpy as np

        if state["counts"] is not None:
            self._add(np.array(state["counts"], "i8"))

    def value(self) -> Any:
        """Return the counts, an integer array [K, K], or None if there were no batches."""
        return self._counts


@metric("mse")
class MeanSquaredError(Mean):
    """Mean squared error: the mean of (y - t)^2 over all examples and elements."""

    targets = ("value",)
    better = "lower"

    def update(self, outputs: Array, targets: Array) -> None:
        self.add((outputs.astype("f8") - targets.reshape(outputs.shape)) ** 2)


@metric("mae")
class MeanAbsoluteError(Mean):
    """Mean absolute error: the mean of |y - t| over all examples and elements."""

    targets = ("value",)
    better = "lower"

    def update(self, outputs: Array, targets: Array) -> None:
        self.add(abs(outputs.astype("f8") - targets.reshape(outputs.shape)))


@metric("edit")
class EditDistance(Mean):
    """Edit distance per symbol between the greedy reading of the output and the target: the character error rate.

    The greedy reading takes the best symbol at each place, up to `lengths` of the loss, merges repetitions, and removes
    blanks. The distance to the target is the smallest number of symbols to insert, delete or replace. The result is the
    sum of the distances divided by the number of symbols of all targets, and can exceed 1.
    Source: Levenshtein (1966); Graves et al. (2006), section 3.2, for the reading.
    """

    targets = ("sequence",)
    better = "lower"
    counts = True
    blank: int | None = keyword(Integer(0), None, doc="symbol that stands for none (default: that of the loss)")

    def update(self, outputs: Array, targets: Array) -> None:
        self._total += float(edit_distances(greedy(outputs, self.blank or 0), targets).sum())
        self._count += int((targets >= 0).sum())


def ended(outputs: Array, lengths: Array, blank: int) -> Array:
    """Return outputs [N, K, T] whose best symbol is the blank at all places behind the lengths [N, 1]."""
    import numpy as np

    outputs = outputs.copy()
    behind = np.arange(outputs.shape[2]) >= lengths.reshape(-1, 1)
    outputs.swapaxes(1, 2)[behind] = 0
    outputs[:, blank][behind] = 1
    return outputs


def greedy(outputs: Array, blank: int) -> Array:
    """Return the greedy readings of outputs [N, K, T], [N, T], padded with -1: the best symbol at each place, with
    repetitions merged and blanks removed. In a tie, the first symbol wins."""
    import numpy as np

    path = outputs.argmax(1)
    read = path != blank
    read[:, 1:] &= path[:, 1:] != path[:, :-1]
    order = np.argsort(~read, axis=1, kind="stable")
    return np.take_along_axis(np.where(read, path, -1), order, 1)


def edit_distances(a: Array, b: Array) -> Array:
    """Return the edit distance between the rows of a [N, A] and b [N, B], padded with -1, [N].

    Source: Wagner & Fischer (1974). One row of the table at a time, for all pairs; insertions are a running minimum.
    """
    import numpy as np

    places = np.arange(b.shape[1] + 1)
    row = np.broadcast_to(places, (len(b), len(places)))
    for symbol in a.T[: int((a >= 0).sum(1).max(initial=0)), :, None]:
        after = row + 1
        after[:, 1:] = np.minimum(after[:, 1:], row[:, :-1] + (b != symbol))
        after = np.minimum.accumulate(after - places, axis=1) + places
        row = np.where(symbol >= 0, after, row)
    found: Array = np.take_along_axis(row, (b >= 0).sum(1, keepdims=True), 1)[:, 0]
    return found
