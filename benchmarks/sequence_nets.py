"""Transformers and a recurrent language model for `benchmarks.sequences`. Both sides import this module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 0.01


class Sequences:
    """A net of `benchmarks/nets` with `settings`, a batch size, and the inputs by name: their shapes, which end with
    the number of words, or 0 for numbers. A training step is measured with `train`, else inference."""

    def __init__(
        self, source: str, batch: int, inputs: dict[str, tuple[int, ...]], *, train: bool = False, **settings: int
    ) -> None:
        self.source = f"benchmarks/nets/{source}.net"
        self.settings = settings
        self.batch = batch
        self.inputs = inputs
        self.train = train

    def feeds(self) -> dict[str, NDArray[Any]]:
        """Return a batch of random inputs; deterministic."""
        random = np.random.default_rng(0)
        found: dict[str, NDArray[Any]] = {}
        for name, (*shape, words) in self.inputs.items():
            full = (self.batch, *shape)
            found[name] = random.integers(0, words, full) if words else random.standard_normal(full, np.float32)
        return found

    def target(self, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Return random classes for an output [N, K, *S]."""
        return np.random.default_rng(1).integers(0, shape[1], (shape[0], *shape[2:]))


IMAGE = {"image": (3, 224, 224, 0)}
BERT = {"input_ids": (128, 30522), "token_type_ids": (128, 2), "attention_mask": (128, 2)}
SEQUENCES = {
    "vit_b": Sequences("vit", 1, IMAGE),
    "gpt2": Sequences("gpt", 1, {"tokens": (512, 50257)}),
    "bert": Sequences("bert", 8, BERT),
    "lstm_lm": Sequences("lstm_lm", 20, {"tokens": (35, 10_000)}),
    "vit_ti_step": Sequences("vit", 8, IMAGE, train=True, width=192, heads=3),
    "char_gpt_step": Sequences(
        "gpt", 8, {"tokens": (128, 256)}, train=True, layers=4, width=256, heads=4, words=256, length=128
    ),
    "lstm_lm_step": Sequences("lstm_lm", 20, {"tokens": (35, 10_000)}, train=True),
    "gru_lm_step": Sequences("gru_lm", 20, {"tokens": (35, 10_000)}, train=True),
    "encoder_step": Sequences("encoder", 8, {"tokens": (128, 5000)}, train=True),
}
"""The nets whose time and memory are compared: 4 at inference, and 5 training steps by SGD."""
