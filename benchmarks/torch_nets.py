"""The nets of the contest in PyTorch, with their weights in netdsl's order."""

from __future__ import annotations

import torch
from torch import nn


class Residual(nn.Module):
    """y = relu(f(x) + g(x)), where g is the identity by default; without `relu`, y = f(x) + g(x)."""

    def __init__(self, f: nn.Module, g: nn.Module | None = None, *, relu: bool = True) -> None:
        super().__init__()
        self.f = f
        self.g = g
        self.relu: bool | nn.Module = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.f(x) + (self.g(x) if self.g else x)
        if isinstance(self.relu, nn.Module):
            return self.relu(y)
        return y.relu_() if self.relu else y


def unit(
    i: int, o: int, kernel: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.ReLU
) -> nn.Module:
    """Convolution, batch norm and an in-place activation."""
    conv = nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(o), *([act(inplace=True)] if act else []))


def basic(i: int, o: int, stride: int) -> nn.Module:
    f = nn.Sequential(unit(i, o, 3, stride), unit(o, o, 3, act=None))
    return Residual(f, unit(i, o, 1, stride, act=None) if stride > 1 or i != o else None)


def stages(widths: list[int], repeat: int) -> list[nn.Module]:
    """Return basic blocks of these widths; every stage except the first halves the maps."""
    blocks, channels = [], widths[0]
    for width in widths:
        for j in range(repeat):
            blocks.append(basic(channels, width, 2 if j == 0 and width != widths[0] else 1))
            channels = width
    return blocks


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(inplace=True), nn.Linear(512, 512), nn.ReLU(inplace=True), nn.Linear(512, 10)
    )


class Standardize(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x / 255 - 0.1307) / 0.3081


def lenet5() -> nn.Module:
    return nn.Sequential(
        Standardize(),
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )


def resnet20() -> nn.Module:
    end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    return nn.Sequential(unit(3, 16, 3), *stages([16, 32, 64], 3), *end)


def resnet18() -> nn.Module:
    end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)
    return nn.Sequential(unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), *stages([64, 128, 256, 512], 2), *end)


def alexnet(p: float = 0.5) -> nn.Module:
    def conv(i: int, o: int, *window: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, *window), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *(*conv(3, 64, 11, 4, 2), nn.MaxPool2d(3, 2), *conv(64, 192, 5, 1, 2), nn.MaxPool2d(3, 2)),
        *(*conv(192, 384, 3, 1, 1), *conv(384, 256, 3, 1, 1), *conv(256, 256, 3, 1, 1), nn.MaxPool2d(3, 2)),
        *(nn.Flatten(), nn.Dropout(p), nn.Linear(9216, 4096), nn.ReLU(inplace=True)),
        *(nn.Dropout(p), nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 1000)),
    )


def inverted(i: int, o: int, t: int, stride: int) -> nn.Module:
    hidden = t * i
    expand = [unit(i, hidden, 1, act=nn.ReLU6)] if t != 1 else []
    f = nn.Sequential(*expand, unit(hidden, hidden, 3, stride, hidden, nn.ReLU6), unit(hidden, o, 1, act=None))
    return Residual(f, relu=False) if stride == 1 and i == o else f


def mobilenet_v2(p: float = 0.2) -> nn.Module:
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    layers, channels = [unit(3, 32, 3, 2, act=nn.ReLU6)], 32
    for t, c, n, s in table:
        for j in range(n):
            layers.append(inverted(channels, c, t, s if j == 0 else 1))
            channels = c
    end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(p), nn.Linear(1280, 1000)
    return nn.Sequential(*layers, unit(320, 1280, 1, act=nn.ReLU6), *end)


def torchvision(name: str, **options: float) -> nn.Module:
    """Return a net of torchvision, which is imported here because it takes memory that no other net needs."""
    from torchvision import models

    return getattr(models, name)(**options)


def densenet121() -> nn.Module:
    return torchvision("densenet121")


def shufflenet_v2() -> nn.Module:
    return torchvision("shufflenet_v2_x1_0")


def resnet50() -> nn.Module:
    return torchvision("resnet50")


def squeezenet(p: float = 0.5) -> nn.Module:
    return torchvision("squeezenet1_1", dropout=p)


def efficientnet_b0(p: float = 0.2) -> nn.Module:
    return torchvision("efficientnet_b0", dropout=p, stochastic_depth_prob=p)


def vgg11(p: float = 0.5) -> nn.Module:
    return torchvision("vgg11", dropout=p)


OWN = mlp, lenet5, resnet20, resnet18, alexnet, mobilenet_v2
IMPORTED = densenet121, shufflenet_v2, resnet50, squeezenet, efficientnet_b0, vgg11
NETS = {net.__name__: net for net in (*OWN, *IMPORTED)}
