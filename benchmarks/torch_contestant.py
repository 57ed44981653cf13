"""PyTorch's side of the contest, run as a subprocess: `python torch_contestant.py NET RIVAL THREADS`.

The optimizer is the fused one. By default, SGD computes `gradient + decay * weight` in a new tensor for each weight,
which takes a quarter of VGG-11's step.
"""

from __future__ import annotations

import sys

import torch
from contest_nets import CONTESTS, DECAY, MOMENTUM, RATE, memory, serve
from torch_nets import NETS


def main(name: str, rival: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    imported = memory()
    net = NETS[name]().train()
    images, labels = map(torch.from_numpy, CONTESTS[name].data())
    if images.dim() == 4 and rival == "channels_last":
        net = net.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY, fused=True)
    if rival == "compiled":
        net.compile()

    def step() -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    serve(step, imported)


if __name__ == "__main__":
    main(*sys.argv[1:])
