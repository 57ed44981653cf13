"""Weights that need no file: each is a function of its name and shape, so that two implementations can share them.

A tensor's stream is PCG64 seeded with its name's CRC-32, in C order, float32:
weights of two and more axes have the deviation sqrt(2/fan_in), biases and running means 0.1; running variances and
batch norms' weights are uniform in (0.5, 1.5), the latter 0.3 times that in the last batch norm of a residual branch.
"""

from __future__ import annotations

import re
import zlib
from math import prod

import numpy as np

from netdsl.ir.net import Net
from netdsl.weights.file import Entry, WeightFile

LAST_NORM = re.compile(r"layer\d+\.\d+\.bn3|features\.\d+\.conv\.[23]")
LAST_NORM_OF_TWO = re.compile(r"layer\d+\.\d+\.bn2")


class RuleWeights(WeightFile):
    """A file of such weights for all of a net's names."""

    __slots__ = ()

    def __init__(self, net: Net) -> None:
        self.path = "the rule"
        self.entries = {p.name: Entry("float32", p.shape) for p in net.parameters.values()}

    def read(self, key: str) -> np.ndarray:
        layer, _, word = key.rpartition(".")
        shape = self.entries[key].shape
        numbers = _stream(key)
        if word == "running_var":
            return numbers.random(shape, np.float32) + np.float32(0.5)
        if word == "weight" and len(shape) == 1:
            return (numbers.random(shape, np.float32) + np.float32(0.5)) * np.float32(self._gain(layer))
        deviation = np.float32(np.sqrt(2 / prod(shape[1:])) if word == "weight" else 0.1)
        return numbers.standard_normal(shape, np.float32) * deviation

    def _gain(self, layer: str) -> float:
        of_two = LAST_NORM_OF_TWO.fullmatch(layer) and f"{layer[:-1]}3.weight" not in self.entries
        return 0.3 if of_two or LAST_NORM.fullmatch(layer) else 1.0


def rule_input(network: str, shape: tuple[int, ...], batch: int = 2) -> np.ndarray:
    """[batch, C, S, S], float32: 8x8 blocks of noise, so that pooling leaves something of them, plus half the noise."""
    channels, size, _ = shape
    numbers = _stream(f"input:{network}")
    coarse = numbers.standard_normal((batch, channels, 8, 8), np.float32)
    noise = numbers.standard_normal((batch, channels, size, size), np.float32)
    times = -(-size // 8)
    return coarse.repeat(times, axis=2).repeat(times, axis=3)[:, :, :size, :size] + np.float32(0.5) * noise


def _stream(key: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
