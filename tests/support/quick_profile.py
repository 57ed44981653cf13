"""Makes profiles short, for tests that do not look at times."""

from __future__ import annotations

import pytest


def make_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a model a few times, and measure the machine on small arrays."""
    for name, value in {
        "measure.MIN_SECONDS": 1e-9,
        "measure.MIN_RUNS": 2,
        "peaks.SECONDS": 0,
        "peaks.MATRIX": 16,
        "peaks.IMAGE": 4,
        "peaks.CHANNELS": 8,
        "peaks.COPIED": 64,
    }.items():
        monkeypatch.setattr(f"netdsl.profiling.{name}", value)
