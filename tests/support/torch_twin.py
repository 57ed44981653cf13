"""A model of torchvision, timm or transformers with random weights: its weights, examples and outputs, as files.

Run as a subprocess by a Python that has PyTorch: `python torch_twin.py`. Each line of stdin is a JSON object: `model`,
a Python expression of packages, torch_models.py, `perturbed`, `Heads` and `Sequences`; `shapes`, those of its inputs
without the batch; and the `folder` of the results, `weights.safetensors` and `run.npz` (`input0`, … and `output0`, …).
With `exporter`, `legacy` or `dynamo`, the result is `model.onnx` instead, with the names `inputs` and `outputs`: as the
model stands, or with `optimized` as the exporter does by default; for batches of any size, or of the size `batch`.
Each is answered with a line, `done` or the error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

BATCH = 2


class Packages(dict):
    """The names of an expression: packages, imported when they are used."""

    def __missing__(self, name: str) -> ModuleType:
        return importlib.import_module(name)


class Heads(torch.nn.Module):
    """A detector of torchvision without its anchors: the raw outputs of its heads."""

    def __init__(self, detector: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.head

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.head([*self.backbone(x).values()])


class Sequences(torch.nn.Module):
    """A model of transformers with inputs by name, whose sequences have their channels first."""

    def __init__(self, model: torch.nn.Module, inputs: str = "input_ids", outputs: str = "logits") -> None:
        super().__init__()
        self.model = model
        self.inputs = inputs.split()
        self.outputs = outputs.split()

    def examples(self, *shapes: list[int]) -> list[torch.Tensor]:
        words = self.model.config.vocab_size
        counts = [2 if name.endswith(("mask", "type_ids")) else words for name in self.inputs]
        return [torch.randint(count, [BATCH, *shape]) for count, shape in zip(counts, shapes, strict=True)]

    def forward(self, *xs: torch.Tensor) -> list[torch.Tensor]:
        results = self.model(**dict(zip(self.inputs, xs, strict=True)))
        found = [results[name] for name in self.outputs]
        return [each if each.ndim == 2 else each.transpose(1, 2) for each in found]  # the older exporter lacks `mT`

    def state_dict(self, *args: Any, **keywords: Any) -> dict[str, torch.Tensor]:
        weights = self.model.state_dict(*args, **keywords)
        weights.pop("final_logits_bias", None)  # Marian's, and 0 in new models; the paper's Transformer has none
        return weights


def examples(shape: list[int]) -> torch.Tensor:
    """Noise around that of a coarse grid: a pooling leaves something of it, so that examples differ after that, too."""
    noise = torch.randn([BATCH, *shape])
    if len(shape) == 1:
        return noise
    coarse = torch.randn([BATCH, shape[0], *[3] * (len(shape) - 1)])
    return torch.nn.functional.interpolate(2 * coarse, shape[1:]) + noise


def perturbed(model: torch.nn.Module, inputs: list[torch.Tensor]) -> torch.nn.Module:
    """Move whatever is constant away from it, and set running statistics near those of the examples.

    Signals then neither explode nor fade. Batch norms' biases are positive, so that activations are mostly in their
    linear part: a layer magnifies rounding by 1.06 and not by 1.2, which is ten thousand times after fifty layers.
    """
    norms = [each for each in model.modules() if isinstance(each, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, 0.5, 1.5)
    for weight in model.parameters():
        if weight.numel() and weight.min() == weight.max():  # layer scales, biases, other norms
            weight.copy_(torch.rand_like(weight) + 0.5 if weight.max() > 0 else 0.1 * torch.randn_like(weight))
    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    model.eval()(*inputs)
    for hook in hooks:
        hook.remove()
    return model


def settle(norm: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
    values = given[0].transpose(0, 1).flatten(1)
    spread = values.var(1).mean()  # of all channels: one that hardly varies would be magnified
    norm.running_mean.copy_(values.mean(1) + 0.1 * spread.sqrt() * torch.randn_like(norm.running_mean))
    norm.running_var.copy_(spread * (torch.rand_like(norm.running_var) + 0.5))


def tensors(result: Any) -> Iterator[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        yield result
    else:
        for each in result.values() if isinstance(result, dict) else result:
            yield from tensors(each)


@torch.no_grad()
def answer(
    model: str,
    shapes: list[list[int]],
    folder: str,
    exporter: str = "",
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    optimized: bool = False,
    batch: int = 0,
) -> None:
    torch.manual_seed(zlib.crc32(model.encode()))
    given = [examples(shape) for shape in shapes]
    names = Packages(perturbed=lambda model: perturbed(model, given), Heads=Heads, Sequences=Sequences)
    net = eval(model, names)
    if hasattr(net, "examples"):
        given = net.examples(*shapes)
    net = perturbed(net, given)
    if exporter:
        given = [each[:batch] for each in given] if batch else given
        named = {"input_names": [*inputs], "output_names": [*outputs]}
        return export(net, given, str(Path(folder) / "model.onnx"), exporter, named, optimized, not batch)
    save_file({name: each.clone() for name, each in net.state_dict().items()}, Path(folder) / "weights.safetensors")
    arrays = {f"input{i}": each.numpy() for i, each in enumerate(given)}
    arrays |= {f"output{i}": each.numpy() for i, each in enumerate(tensors(net(*given)))}
    np.savez(Path(folder) / "run.npz", **arrays)
    return None


def export(
    net: torch.nn.Module,
    given: list[torch.Tensor],
    path: str,
    exporter: str,
    named: dict[str, list[str]],
    optimized: bool,
    any_batch: bool,
) -> None:
    """Write a model. Unless it is optimized, batch norms are not folded."""
    if exporter == "legacy":
        axes = {name: {0: "N"} for names in named.values() for name in names} if any_batch else None
        kept = {} if optimized else {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}
        torch.onnx.export(net, tuple(given), path, dynamo=False, dynamic_axes=axes, **named, **kept)
    else:
        shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in given) if any_batch else None
        kept = {"optimize": optimized, "external_data": False}
        torch.onnx.export(net, tuple(given), path, dynamo=True, dynamic_shapes=shapes, **named, **kept)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # for what packages print, in C++ too
    for line in sys.stdin:
        try:
            answer(**json.loads(line))
            reply = "done"
        except Exception as error:
            reply = repr(error).replace("\n", " ")
        print(reply, file=answers, flush=True)


if __name__ == "__main__":
    main()
