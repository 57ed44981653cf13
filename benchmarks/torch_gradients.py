"""PyTorch's side of the gradients: `python torch_gradients.py NET FILE` prints the errors of a file's gradients."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from contest_nets import CONTESTS
from torch import nn
from torch_nets import NETS


class Decider:
    """Decisions of ReLUs and max pools: imposed from `given` in order, or free, with a count of the differences."""

    def __init__(self, given: list[torch.Tensor]) -> None:
        self.given = given
        self.impose = False
        self.turn = 0
        self.flips = 0
        self.decisions = 0
        self.farthest = 0.0

    def next(self) -> torch.Tensor:
        self.turn += 1
        return self.given[self.turn - 1]

    def count(self, others: torch.Tensor, distances: torch.Tensor, scale: torch.Tensor) -> None:
        self.decisions += others.numel()
        self.flips += int(others.sum())
        if others.any():
            self.farthest = max(self.farthest, float(distances[others].abs().max() / scale))


class Rectifier(nn.Module):
    """ReLU, or ReLU6 with an upper bound."""

    def __init__(self, decider: Decider, top: float) -> None:
        super().__init__()
        self.decider = decider
        self.top = top

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = self.decider.next().reshape(x.shape)
        if self.decider.impose:
            above = (x > self.top / 2) & ~mask
            return torch.where(mask, x, torch.where(above, self.top, 0.0).to(x)) if self.top < 1e9 else x * mask
        free = (x > 0) & (x < self.top)
        distances = torch.minimum(x.abs(), (x - self.top).abs())
        self.decider.count(free != mask, distances.detach(), x.detach().std())
        return x.clamp(0, self.top)


class Pool(nn.Module):
    """Max pooling; the given decision is the other side's input of the pooling."""

    def __init__(self, decider: Decider, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.decider = decider
        self.pool = nn.MaxPool2d(
            pool.kernel_size, pool.stride, pool.padding, return_indices=True, ceil_mode=pool.ceil_mode
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, places = self.pool(self.decider.next())
        y, free = self.pool(x)
        picked = x.flatten(2).gather(2, places.flatten(2)).reshape(y.shape)
        if self.decider.impose:
            return picked
        self.decider.count(free != places, (y - picked).detach(), x.detach().std())
        return y


def decided(module: nn.Module, decider: Decider) -> nn.Module:
    """Let a decider make the decisions of a net, and move each ReLU before a max pool after it, as netdsl does."""
    children = list(module.named_children())
    for name, child in children:
        if isinstance(child, nn.ReLU | nn.ReLU6):
            setattr(module, name, Rectifier(decider, 6.0 if isinstance(child, nn.ReLU6) else 1e9))
        elif isinstance(child, nn.MaxPool2d):
            setattr(module, name, Pool(decider, child))
        else:
            decided(child, decider)
    for (name, before), (following, pool) in pairwise(list(module.named_children())):
        if isinstance(pool, Pool):
            if isinstance(before, nn.Sequential) and isinstance(before[-1], Rectifier):  # the ReLU of `unit`
                setattr(module, following, nn.Sequential(pool, before[-1]))
                before[-1] = nn.Identity()
            elif isinstance(before, Rectifier):
                setattr(module, name, pool)
                setattr(module, following, before)
    relu = getattr(module, "relu", False)
    if relu is True:
        module.relu = Rectifier(decider, 1e9)
    return module


def relative(found: list[torch.Tensor], exact: list[torch.Tensor]) -> list[float]:
    """Return each gradient's maximum error relative to its largest element.

    A gradient that is 0 except for rounding, such as that of a bias before a batch norm, is scaled by the largest
    element of all gradients.
    """
    largest = max(float(e.abs().max()) for e in exact)
    scales = [float(e.abs().max()) for e in exact]
    scales = [scale if scale > 1e-9 * largest else largest for scale in scales]
    return [float((g - e).abs().max()) / scale for g, e, scale in zip(found, exact, scales, strict=True)]


def whole(found: list[torch.Tensor], exact: list[torch.Tensor]) -> float:
    """Return the relative error of all gradients as one vector."""
    wrong = sum(float((g - e).square().sum()) for g, e in zip(found, exact, strict=True))
    return (wrong / sum(float(e.square().sum()) for e in exact)) ** 0.5


def main(name: str, path: str) -> None:
    arrays = np.load(path)

    def numbered(kind: str) -> list[torch.Tensor]:
        count = sum(key.startswith(f"{kind}/") for key in arrays.files)
        return [torch.from_numpy(arrays[f"{kind}/{i}"]) for i in range(count)]

    decider = Decider([d if d.dtype == torch.bool else d.double() for d in numbered("decision")])
    make: Any = NETS[name]
    net = decided(
        make(p=0.0) if "p" in make.__code__.co_varnames[: make.__code__.co_argcount] else make(), decider
    ).double()
    torch.nn.functional.relu = lambda x, **_: Rectifier(decider, 1e9)(x)  # of DenseNet's last layer
    weights, gradients = numbered("weight"), numbered("gradient")
    parameters = list(net.parameters())
    assert [p.shape for p in parameters] == [w.shape for w in weights], "the nets differ"
    with torch.no_grad():
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.copy_(weight)
    images, labels = map(torch.from_numpy, CONTESTS[name].data())
    errors: dict[str, float] = {}
    exact: list[torch.Tensor] = []
    for way in ("free", "same"):
        decider.impose, decider.turn = way == "same", 0
        net.zero_grad()
        torch.nn.functional.cross_entropy(net(images.double()), labels).backward()
        assert decider.turn == len(decider.given), f"{decider.turn} decisions, {len(decider.given)} given"
        exact = [parameter.grad for parameter in parameters if parameter.grad is not None]
        each = relative(gradients, exact)
        errors[way], errors["worst"] = max(each), max(range(len(each)), key=each.__getitem__)
        errors["whole"] = whole(gradients, exact)
    net.float()
    decider.turn = 0
    decider.given = [d if d.dtype == torch.bool else d.float() for d in decider.given]
    net.zero_grad()
    torch.nn.functional.cross_entropy(net(images), labels).backward()
    single = [p.grad for p in parameters if p.grad is not None]
    errors["torch"], errors["torch_whole"] = max(relative(single, exact)), whole(single, exact)
    counts = {"flips": decider.flips, "decisions": decider.decisions, "farthest": decider.farthest}
    print(json.dumps({**errors, **counts}))


if __name__ == "__main__":
    main(*sys.argv[1:])
