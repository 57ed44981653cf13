"""PyTorch's side of the contest, run as a subprocess: `python torch_contestant.py NET LAYOUT THREADS`."""

from __future__ import annotations

import sys

import torch
from contest_nets import CONTESTS, DECAY, MOMENTUM, RATE, memory, serve
from torch_nets import NETS

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def main(name: str, layout: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    imported = memory()
    net = NETS[name]().train()
    images, labels = map(torch.from_numpy, CONTESTS[name].data())
    if images.dim() == 4:
        net = net.to(memory_format=LAYOUTS[layout])
        images = images.contiguous(memory_format=LAYOUTS[layout])
    optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY)

    def step() -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    serve(step, imported)


if __name__ == "__main__":
    main(*sys.argv[1:])
