"""What a metric is: figures collected over batches, with numpy, outside of the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from netdsl.declare.declared import Declared, positional, registrar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from netdsl.losses import Target

    Array = NDArray[Any]

METRICS: dict[str, type[Metric]] = {}
"""The metrics by their names in the language."""

metric = registrar(METRICS)

WORDS = {"class": "a class", "sign": "a sign", "value": "numbers"}
"""Targets in words."""


class Metric(Declared):
    """A metric with its arguments, and what it has seen since the last `reset`.

    `targets` are the kinds of target that it is for, as in `netdsl.losses.base.Target`; `better` is `higher`, `lower`,
    or nothing where it is no single number; `counts` tells that all sums are of whole numbers, which are the same
    however the batches are parted.
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
        """What its figure is called in logs."""
        return self.kind

    def misfit(self, target: Target) -> str:
        """The target that it takes, in words, if this one does not fit; else empty."""
        takes = " or ".join(WORDS[kind] for kind in self.targets)
        return "" if target.kind in self.targets else f"{takes} as the target"

    def reset(self) -> None:
        """Forget what was seen."""
        raise NotImplementedError

    def update(self, outputs: Array, targets: Array) -> None:
        """See a batch: outputs [N, K, *S] of the net, targets [N, *S] of classes or signs, or of the outputs' shape."""
        raise NotImplementedError

    def value(self) -> Any:
        """The figure of all that was seen since the last `reset`; NaN where that is nothing."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What was seen, as JSON can hold it."""
        raise NotImplementedError

    def restore(self, state: dict[str, Any]) -> None:
        """Have seen what a state says."""
        raise NotImplementedError


class Mean(Metric):
    """A mean, whose terms are summed in double precision, so that the batches' sizes do not matter."""

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
