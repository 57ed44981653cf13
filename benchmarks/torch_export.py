"""PyTorch's side of `benchmarks.inference`: `python torch_export.py NET BATCH EXPORTER FOLDER`.

It writes the model as an exporter, `legacy` or `dynamo`, does by default, with random weights, and these as an archive
in the order of PyTorch.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from inference_nets import NETS


class Packages(dict):  # type: ignore[type-arg]
    """The names of an expression: packages, imported when they are used."""

    def __missing__(self, name: str) -> ModuleType:
        return importlib.import_module(name)


@torch.no_grad()
def main(name: str, batch: str, exporter: str, folder: str) -> None:
    os.dup2(2, 1)  # for what PyTorch prints
    torch.manual_seed(0)
    contest = NETS[name]
    net = eval(contest.twin, Packages()).eval()
    given = torch.from_numpy(contest.data(int(batch)))
    settle(net, given)
    path = Path(folder, f"{exporter}{batch}.onnx")
    kept = {} if exporter == "legacy" else {"external_data": False}
    torch.onnx.export(net, (given,), path, dynamo=exporter == "dynamo", input_names=["x"], **kept)
    state = {key: each.numpy() for key, each in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    np.savez(Path(folder, f"weights{batch}.npz"), **state)


def settle(net: torch.nn.Module, given: torch.Tensor) -> None:
    """Set the running statistics of batch norms to those of the examples, so that signals neither explode nor fade."""

    def hook(norm: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        values = inputs[0].transpose(0, 1).flatten(1)
        norm.running_mean.copy_(values.mean(1))
        norm.running_var.copy_(values.var(1) + 0.1)

    norms = [each for each in net.modules() if isinstance(each, torch.nn.modules.batchnorm._BatchNorm)]
    hooks = [norm.register_forward_pre_hook(hook) for norm in norms]
    net(given)
    for each in hooks:
        each.remove()


if __name__ == "__main__":
    main(*sys.argv[1:])
