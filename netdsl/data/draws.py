"""Stateless random numbers for examples, each a hash of its purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array

MASK = 2**64 - 1


def permutation(n: int, seed: int, epoch: int) -> Array:
    """Return a permutation of 0 … n-1, int64, that depends on the seed and the epoch alone.

    It sorts n raw 64-bit numbers of Philox with the key (seed, epoch). Unlike NumPy's `permutation`, whose algorithm
    may change (NEP 19), these numbers are the same in every version. Source: Salmon et al. (2011), Parallel random
    numbers: as easy as 1, 2, 3.
    """
    draws = np.random.Philox(key=np.array([seed & MASK, epoch & MASK], np.uint64)).random_raw(n)
    order = np.argsort(draws)  # four times as fast as a stable sort, and the same unless two are equal
    ranked = draws[order]
    return np.argsort(draws, kind="stable") if (ranked[1:] == ranked[:-1]).any() else order


GOLDEN = 0x9E3779B97F4A7C15


class Draws:
    """The random numbers of one augmentation for the examples of a batch, [N] at a time.

    The next number of an example is a hash of the seed, the epoch, the index of the example, the augmentation and the
    number of previous draws: the finalizer of splitmix64, once for each. Source: Steele, Lea & Flood (2014), Fast
    splittable pseudorandom number generators, figure 13.
    """

    __slots__ = ("_count", "_state")

    def __init__(self, seed: int, epoch: int, positions: Array, step: int) -> None:
        state = np.zeros(len(positions), np.uint64)
        for part in (seed, epoch, step):
            state = _mixed(state, np.uint64(part & MASK))
        self._state = _mixed(state, positions.astype(np.uint64))
        self._count = 0

    def __len__(self) -> int:
        return len(self._state)

    def uniform(self) -> Array:
        """Return numbers in [0, 1), float64."""
        self._count += 1
        return (_mixed(self._state, np.uint64(self._count)) >> np.uint64(11)) * 2.0**-53

    def below(self, limits: Array | int) -> Array:
        """Return integers from 0 to `limits` - 1, int64; limits must be far below 2^53, and can differ."""
        return (self.uniform() * limits).astype(np.int64)


def _mixed(state: Array, value: Array | np.uint64) -> Array:
    with np.errstate(over="ignore"):
        z = (state ^ value) + np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
