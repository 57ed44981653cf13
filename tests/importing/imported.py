"""Import a model and run it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import netdsl
from netdsl.app.import_model import Imported, ImportOptions, read
from netdsl.importing.proof_net import RunnableNet
from netdsl.importing.recompile import compared


def imported(path: Path, **options: Any) -> Imported:
    """Import a model, which is proved; its text is formatted."""
    found = read(str(path), ImportOptions(check=1, **options))
    assert netdsl.format(found.text) == found.text
    return found


def outputs(found: Imported, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what an imported net computes, by the names that the model has for its outputs."""
    nodes = compared(found.flat, found.net)
    wanted = [nodes[layer] for layer in found.flat.outputs.values()]
    assert list(feeds) == list(found.flat.inputs)
    with RunnableNet(found.net, wanted, found.weights) as ours:
        return dict(zip(found.flat.outputs, ours.run([feeds])[0], strict=True))


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-6) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * max(1.0, float(np.abs(wanted).max()))
