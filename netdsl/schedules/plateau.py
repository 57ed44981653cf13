"""Schedules that depend on a metric."""

from __future__ import annotations

from typing import Any

from netdsl.declare.arguments import Integer, Real
from netdsl.schedules.base import Schedule, keyword, schedule


@schedule("plateau")
class Plateau(Schedule):
    """Decay on plateau: r is multiplied by `factor` when the first metric (on the validation set, if there is one) has
    not improved on the best so far for more than `patience` epochs in a row.

    An improvement is a value below best - threshold |best|, or above best + threshold |best|, depending on the metric.
    Conventions: for positive metrics, as PyTorch's `ReduceLROnPlateau` with a relative threshold and no cooldown.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; validate 0.1; schedule plateau patience 3 }
    ```
    """

    watches = True
    factor: float = keyword(Real(above=0, below=1), 0.1, doc="factor that multiplies the learning rate")
    patience: int = keyword(Integer(0), 10, doc="number of epochs without improvement to tolerate")
    threshold: float = keyword(Real(0, below=1), 1e-4, doc="minimum relative improvement")
    to: float = keyword(Real(0), 0.0, doc="minimum learning rate")

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
