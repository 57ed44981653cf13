"""Base class of metrics, which accumulate values over batches with numpy, outside the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from netdsl.declare.declared import Declared, positional, registrar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from netdsl.losses import Target

    Array = NDArray[Any]

METRICS: dict[str, type[Metric]] = {}
"""Metrics by name."""

metric = registrar(METRICS)

WORDS = {"class": "a class", "sign": "a sign", "value": "numbers"}
"""Kinds of targets in words."""


class Metric(Declared):
    """A metric with its arguments and the values accumulated since the last `reset`.

    `targets` are the supported kinds of target, as in `netdsl.losses.base.Target`; `better` is `higher`, `lower`, or
    empty if the metric is not a single number; `counts` means that all sums are of integers, so that the result does
    not depend on the batch size.
    """

    kind: ClassVar[str] = ""
    targets: ClassVar[tuple[str, ...]] = ("class", "sign")
    better: ClassVar[str] = ""
    counts: ClassVar[bool] = False

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.reset()

    @property
    def name(self) -> str:
        """The metric's name in logs."""
        return self.kind

    def misfit(self, target: Target) -> str:
        """Describe the supported target in words if this one does not fit; otherwise return an empty string."""
        takes = " or ".join(WORDS[kind] for kind in self.targets)
        return "" if target.kind in self.targets else f"{takes} as the target"

    def reset(self) -> None:
        """Discard the accumulated values."""
        raise NotImplementedError

    def update(self, outputs: Array, targets: Array) -> None:
        """Add a batch: outputs [N, K, *S], and targets [N, *S] (classes or signs) or of the outputs' shape."""
        raise NotImplementedError

    def value(self) -> Any:
        """Return the metric since the last `reset`, or NaN if there were no batches."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return the accumulated values as JSON data."""
        raise NotImplementedError

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the accumulated values from a state."""
        raise NotImplementedError


class Mean(Metric):
    """Mean of terms summed in double precision, so that batch sizes do not matter."""

    def reset(self) -> None:
        self._total, self._count = 0.0, 0

    def value(self) -> float:
        return self._total / self._count if self._count else float("nan")

    def state(self) -> dict[str, Any]:
        return {"total": self._total, "count": self._count}

    def restore(self, state: dict[str, Any]) -> None:
        self._total, self._count = state["total"], state["count"]

    def add(self, terms: Array) -> None:
        import numpy as np

        self._total += float(np.count_nonzero(terms) if terms.dtype == bool else terms.sum(dtype="f8"))
        self._count += terms.size


__all__ = ["METRICS", "WORDS", "Mean", "Metric", "metric", "positional"]
