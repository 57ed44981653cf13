"""Whatever `check` accepts loads and runs: random calls of every layer over the ranges of its arguments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnxruntime
import pytest

from netdsl.layers import layer_modules
from tests.support.argument_sweep import HOW, called, programs


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Silence onnxruntime: its calibration leaves an initializer unused, and warns about it."""
    onnxruntime.set_default_logger_severity(4)
    yield
    onnxruntime.set_default_logger_severity(2)


def swept(how: str, seed: int, count: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for text, opset in programs(seed, count):
        try:
            found[HOW[how](text, opset)] += 1
        except Exception as error:
            raise AssertionError(f"{text} at opset {opset}") from error
    return found


@pytest.mark.parametrize(("how", "count"), [("plain", 250), ("trained", 80), ("other_forms", 60)])
def test_what_is_accepted_runs(how: str, count: int) -> None:
    assert swept(how, 0, count)["ran"] > count / 3


@pytest.mark.slow
@pytest.mark.parametrize(("how", "count"), [("plain", 20_000), ("trained", 8000), ("other_forms", 3000)])
@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_accepted_runs_in_large(how: str, seed: int, count: int) -> None:
    assert swept(how, seed, count)["ran"] > count / 3


def test_the_sweep_calls_every_layer() -> None:
    layers = {called(text) for text, _ in programs(0, len(layer_modules()))}
    assert layers >= set(layer_modules()) - {"input"}
