"""A schedule that watches how the training goes."""

from __future__ import annotations

from typing import Any

from netdsl.declare.arguments import Integer, Real
from netdsl.schedules.base import Schedule, keyword, schedule


@schedule("plateau")
class Plateau(Schedule):
    """A rate that falls where nothing gets better: r is multiplied by `factor` after more than `patience` epochs in a
    row in which the first metric, of the validation set if there is one, was not better than the best so far.

    Better is lower than best - threshold |best|, or higher than best + threshold |best|, by the metric.
    Conventions: as PyTorch's `ReduceLROnPlateau` with the relative threshold and no cooldown, where best is positive.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; validate 0.1; schedule plateau patience 3 }
    ```
    """

    watches = True
    factor: float = keyword(Real(above=0, below=1), 0.1, doc="what the rate is multiplied by")
    patience: int = keyword(Integer(0), 10, doc="epochs without improvement that are borne")
    threshold: float = keyword(Real(0, below=1), 1e-4, doc="the relative improvement that counts")
    to: float = keyword(Real(0), 0.0, doc="the rate below which it does not fall")

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._best: float | None = None
        self._bad = 0
        self._falls = 0

    def after(self, lr: float, epoch: float, epochs: float) -> float:
        return max(lr * self.factor**self._falls, min(self.to, lr))

    def observe(self, value: float, better: str) -> None:
        if self._best is None or self._improves(value, self._best, better):
            self._best, self._bad = value, 0
        else:
            self._bad += 1
        if self._bad > self.patience:
            self._bad = 0
            self._falls += 1

    def _improves(self, value: float, best: float, better: str) -> bool:
        least = self.threshold * abs(best)
        return value > best + least if better == "higher" else value < best - least

    def state(self) -> dict[str, float | int | None]:
        return {"best": self._best, "bad": self._bad, "falls": self._falls}

    def restore(self, state: dict[str, float | int | None]) -> None:
        self._best = state["best"]
        self._bad, self._falls = int(state["bad"] or 0), int(state["falls"] or 0)
