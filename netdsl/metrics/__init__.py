"""The built-in metrics; numpy is imported only when one receives a batch."""

from __future__ import annotations

from netdsl.metrics import classification, regression  # noqa: F401 -- each declares its own
from netdsl.metrics.base import METRICS, Metric

__all__ = ["METRICS", "Metric"]
