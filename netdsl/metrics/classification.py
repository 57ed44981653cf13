"""Classification metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.declare.arguments import Integer
from netdsl.metrics.base import Mean, Metric, metric, positional

if TYPE_CHECKING:
    from netdsl.losses import Target
    from netdsl.metrics.base import Array


def right(outputs: Array, targets: Array) -> Array:
    """Return whether the largest output at each position is the true class; ties go to the first class. For a single
    output, return whether its sign is correct; 0 is wrong."""
    if outputs.shape[1] == 1:
        return outputs[:, 0] * targets.reshape(outputs[:, 0].shape) > 0
    return outputs.argmax(1) == targets.reshape(outputs[:, 0].shape)  # type: ignore[no-any-return]


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
        counts = np.bincount(wanted.ravel() * size + found.ravel(), minlength=size * size).reshape(size, size)
        self._counts = counts if self._counts is None else self._counts + counts

    def state(self) -> dict[str, Any]:
        return {"counts": None if self._counts is None else self._counts.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        import numpy as np

        self._counts = None if state["counts"] is None else np.array(state["counts"], "i8")

    def value(self) -> Any:
        """Return the counts, an integer array [K, K], or None if there were no batches."""
        return self._counts
