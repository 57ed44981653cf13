"""Random weights in place of those of a file, which could hide a mistake: equal ones, or none at all."""

from __future__ import annotations

from functools import partial
from math import prod
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from netdsl.importing.flat import FlatWeight

Array = NDArray[np.float32]

RANGES = {"bias": (-0.2, 0.2), "mean": (-0.5, 0.5), "variance": (0.5, 1.5), "scale": (0.3, 1.2), "slope": (0.05, 0.4)}
"""Ranges of the roles of weights that are not factors of a product."""


SEEDS = (1, 2, 3)
"""Seeds of random weights, with which products grow by GAINS."""

GAINS = (1.5, 1.5, 3.0, 6.0)
"""Variance of a product by the seed, if that of its inputs is 1. A small one lets a deep net forget its inputs; with
a large one, its values overflow."""


def random_weight(seed: int, key: str, shape: tuple[int, ...], role: str) -> FlatWeight:
    """Return a weight whose numbers depend on the seed and its key."""
    return FlatWeight(shape, partial(_drawn, (seed, crc32(key.encode())), shape, role))


def _drawn(seed: tuple[int, int], shape: tuple[int, ...], role: str) -> Array:
    generator = np.random.default_rng(seed)
    if role in RANGES:
        return generator.uniform(*RANGES[role], shape).astype(np.float32)
    fan_in = max(1, prod(shape[1:]))
    drawn: Array = generator.standard_normal(shape, np.float32)
    drawn *= np.float32((GAINS[seed[0]] / fan_in) ** 0.5)
    return drawn
