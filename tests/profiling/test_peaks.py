"""The measurement of the machine's peaks."""

from __future__ import annotations

from typing import Any, cast

from netdsl.profiling.peaks import _model, _runner


def test_a_run_keeps_the_memory_that_it_reads_and_writes() -> None:
    """Arrays are bound by address: if they were freed, a run would write to the memory of others."""
    run = _runner(_model("Mul", [2, 3], []), 1)
    _, feeds, result = cast("tuple[Any, ...]", run())
    feeds["x"][...] = 7
    run()
    assert (result == 7).all()
