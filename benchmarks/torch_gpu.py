"""PyTorch's side of `benchmarks.gpu`: `python torch_gpu.py NET RIVAL MODE TYPE DEVICE [smoke]`.

Batches come from NumPy and results return to it, as in netdsl's side. With a TYPE of `mixed`, the net runs under
autocast, and steps in f16 have a GradScaler.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from contest_nets import memory, serve
from gpu_nets import MOMENTUM, NETS, RATE, SMOKE

HALVES = {"f16": torch.float16, "bf16": torch.bfloat16}


def net_of(name: str, smoke: bool) -> torch.nn.Module:
    """Return a net with random weights."""
    if name == "resnet50":
        from torch_nets import resnet20, resnet50

        return resnet20() if smoke else resnet50()
    from torch_sequences import GPT, ViT

    sizes = (SMOKE if smoke else NETS)[name].settings
    if name == "vit_b16":
        return ViT(sizes["width"], sizes["heads"], sizes["depth"])
    return GPT(sizes["layers"], sizes["width"], sizes["heads"], sizes["words"], sizes["length"])


def main(name: str, rival: str, mode: str, kind: str, device: str, *options: str) -> None:
    torch.manual_seed(0)
    imported = memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as in netdsl
    contest = (SMOKE if options else NETS)[name]
    x, target = map(torch.from_numpy, contest.data())
    layout = torch.channels_last if rival == "channels_last" else torch.contiguous_format
    net: Any = net_of(name, bool(options)).to(device).train(mode == "training")
    if rival == "channels_last":
        net = net.to(memory_format=layout)
    run = torch.compile(net) if rival == "compiled" else net
    dtype = HALVES[contest.half if mode == "training" else "f16"]
    scaler = torch.amp.GradScaler(device, enabled=kind == "mixed" and contest.half == "f16")
    optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=MOMENTUM, fused=True)

    def given() -> torch.Tensor:
        return x.to(device, memory_format=layout)

    def infer() -> None:
        with torch.inference_mode(), torch.autocast(device, dtype, enabled=kind == "mixed"):
            run(given()).float().cpu()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, dtype, enabled=kind == "mixed"):
            loss = torch.nn.functional.cross_entropy(run(given()), target.to(device))
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        loss.item()

    serve(step if mode == "training" else infer, imported)


if __name__ == "__main__":
    main(*sys.argv[1:])
