"""The nets of `benchmarks.inference` and their inputs. Both sides import this module, so it uses neither netdsl nor
PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE = (3, 224, 224)


class Inference:
    """A net: its `source` for netdsl, its `twin` as an expression over PyTorch's packages and the modules of this
    folder, and its only input: the shape of an example, and the number of words, or 0 for numbers."""

    def __init__(self, source: str, twin: str, shape: tuple[int, ...] = IMAGE, words: int = 0) -> None:
        self.source = source
        self.twin = twin
        self.shape = shape
        self.words = words

    def data(self, batch: int) -> NDArray[Any]:
        """Return a random batch; deterministic."""
        random = np.random.default_rng(0)
        if self.words:
            return random.integers(0, self.words, (batch, *self.shape))
        return random.standard_normal((batch, *self.shape), np.float32)


TORCHVISION = """
resnet18 resnet50 mobilenet_v2 densenet121 shufflenet_v2_x1_0 squeezenet1_1 efficientnet_b0 vgg11
"""
"""Classifiers that the zoo has by torchvision's names."""

NETS = {
    "mlp": Inference("benchmarks/nets/mlp.net", "torch_nets.mlp()", (784,)),
    "lenet5": Inference("lenet5", "torch_nets.lenet5()", (1, 28, 28)),
    "resnet20": Inference("benchmarks/nets/resnet20.net", "torch_nets.resnet20()", (3, 32, 32)),
    "alexnet": Inference("alexnet_torchvision", "torchvision.models.alexnet()"),
    **{name: Inference(name, f"torchvision.models.{name}()") for name in TORCHVISION.split()},
    "vit_b": Inference("benchmarks/nets/vit.net", "torch_sequences.NETS['vit_b']()"),
    "gpt2": Inference("benchmarks/nets/gpt.net", "torch_sequences.NETS['gpt2']()", (512,), 50257),
}
