"""Regression metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.metrics.base import Mean, metric

if TYPE_CHECKING:
    from netdsl.metrics.base import Array


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
