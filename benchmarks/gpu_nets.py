"""The nets of `benchmarks.gpu` and their inputs. Both sides import this module, which uses neither of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE, MOMENTUM = 0.001, 0.9


class GpuNet:
    """A net (`source` and `settings` as for netdsl), a batch size, the shape of an example, the number of its words or
    0 for numbers, the number of classes, and the type of half precision to train in; inference is in f16."""

    def __init__(
        self,
        source: str,
        batch: int,
        shape: tuple[int, ...],
        words: int,
        classes: int,
        half: str,
        settings: dict[str, int] | None = None,
    ) -> None:
        self.source = source
        self.batch = batch
        self.shape = shape
        self.words = words
        self.classes = classes
        self.half = half
        self.settings = settings or {}

    def data(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return a batch of random examples and classes, one for each word of a text; deterministic."""
        random, shape = np.random.default_rng(0), (self.batch, *self.shape)
        x = random.integers(0, self.words, shape) if self.words else random.standard_normal(shape, np.float32)
        return x, random.integers(0, self.classes, shape if self.words else self.batch)


def gpt(batch: int, layers: int, width: int, length: int) -> GpuNet:
    """Return a GPT of characters, with heads of 64 channels."""
    sizes = {"layers": layers, "width": width, "heads": width // 64, "words": 256, "length": length}
    return GpuNet("benchmarks/nets/gpt.net", batch, (length,), 256, 256, "bf16", sizes)


IMAGE = (3, 224, 224)
NETS = {
    "resnet50": GpuNet("resnet50", 64, IMAGE, 0, 1000, "f16"),
    "vit_b16": GpuNet("benchmarks/nets/vit.net", 64, IMAGE, 0, 1000, "f16", {"depth": 12, "width": 768, "heads": 12}),
    "char_gpt": gpt(64, 6, 384, 256),
}
SMOKE = {
    "resnet50": GpuNet("benchmarks/nets/resnet20.net", 2, (3, 32, 32), 0, 10, "f16"),
    "vit_b16": GpuNet("benchmarks/nets/vit.net", 1, IMAGE, 0, 1000, "f16", {"depth": 1, "width": 64, "heads": 1}),
    "char_gpt": gpt(2, 1, 64, 16),
}
"""Small nets under the same names, to try the script itself."""

MODES = ("inference", "training")
TYPES = ("f32", "mixed")
