"""Nets of the zoo in PyTorch, written from their papers and the authors' code; their layers have the names of ours.

`tests/support/torch_twin.py` imports them for tests/compiler/test_twins.py, in a Python that has PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


class Twin(nn.Module):
    """Layers by their paths: `twin["value.dense1"]`."""

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for path, layer in layers.items():
            *outer, name = path.split(".")
            place: nn.Module = self
            for each in outer:
                if not hasattr(place, each):
                    place.add_module(each, nn.Module())
                place = getattr(place, each)
            place.add_module(name, layer)

    def __getitem__(self, path: str) -> nn.Module:
        return self.get_submodule(path)


FRAMES = {
    "frames1.conv1": lambda: nn.Conv2d(4, 32, 8, 4),
    "frames1.conv2": lambda: nn.Conv2d(32, 64, 4, 2),
    "frames1.conv3": lambda: nn.Conv2d(64, 64, 3, 1),
}


def frames(net: Twin, x: torch.Tensor) -> torch.Tensor:
    """Return the features of the last four frames, [N, 3136]."""
    x = x / 255
    for path in FRAMES:
        x = net[path](x).relu()
    return x.flatten(1)


class Dqn(Twin):
    """Mnih et al. (2015), Methods."""

    def __init__(self) -> None:
        heads = {"dense1": nn.Linear(3136, 512), "dense2": nn.Linear(512, 18)}
        super().__init__({path: make() for path, make in FRAMES.items()} | heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self["dense2"](self["dense1"](frames(self, x)).relu())


class DuelingDqn(Twin):
    """Wang et al. (2016), equation 9."""

    def __init__(self) -> None:
        heads = {f"{head}.dense1": nn.Linear(3136, 512) for head in ("value", "advantage")}
        heads |= {"value.dense2": nn.Linear(512, 1), "advantage.dense2": nn.Linear(512, 18)}
        super().__init__({path: make() for path, make in FRAMES.items()} | heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = frames(self, x)
        value = self["value.dense2"](self["value.dense1"](x).relu())
        advantage = self["advantage.dense2"](self["advantage.dense1"](x).relu())
        return value + advantage - advantage.mean(1, keepdim=True)


class Main(Twin):
    """A sequence called `main`, or otherwise."""

    def __init__(self, layers: nn.Module, name: str = "main") -> None:
        super().__init__({name: layers})
        self.only = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self[self.only](x)


class DcganGenerator(Main):
    """PyTorch's examples/dcgan/main.py."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, width, stride in ((100, 512, 1), (512, 256, 2), (256, 128, 2), (128, 64, 2)):
            enlarging = nn.ConvTranspose2d(before, width, 4, stride, stride - 1, bias=False)
            layers += [enlarging, nn.BatchNorm2d(width), nn.ReLU()]
        super().__init__(nn.Sequential(*layers, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh()))


class DcganDiscriminator(Main):
    """PyTorch's examples/dcgan/main.py, before its sigmoid."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
        for width in (128, 256, 512):
            convolution = nn.Conv2d(width // 2, width, 4, 2, 1, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
        super().__init__(nn.Sequential(*layers, nn.Conv2d(512, 1, 4, 1, 0, bias=False)))


class Srcnn(Twin):
    """Dong et al. (2014), 9-1-5."""

    def __init__(self) -> None:
        sizes = ((1, 64, 9), (64, 32, 1), (32, 1, 5))
        super().__init__({f"conv{i + 1}": nn.Conv2d(a, b, k, padding=k // 2) for i, (a, b, k) in enumerate(sizes)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self["conv3"](self["conv2"](self["conv1"](x).relu()).relu())


class Espcn(Twin):
    """Shi et al. (2016), section 3.2."""

    def __init__(self) -> None:
        sizes = ((1, 64, 5), (64, 32, 3), (32, 9, 3))
        super().__init__({f"conv{i + 1}": nn.Conv2d(a, b, k, padding=k // 2) for i, (a, b, k) in enumerate(sizes)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pixel_shuffle(self["conv3"](self["conv2"](self["conv1"](x).tanh()).tanh()), 3)


class Residual(nn.Module):
    """A residual block of EDSR."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Edsr(nn.Module):
    """The authors' src/model/edsr.py: its baseline for a scale of 4."""

    def __init__(self, width: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1))
        self.body = nn.Sequential(*(Residual(width) for _ in range(blocks)), nn.Conv2d(width, width, 3, 1, 1))
        enlarged = [nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2)]
        enlarged += [nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2)]
        self.tail = nn.Sequential(nn.Sequential(*enlarged), nn.Conv2d(width, 3, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040]).reshape(3, 1, 1)
        x = self.head(x - mean)
        return self.tail(x + self.body(x)) + mean


class Unet(Twin):
    """Ronneberger et al. (2015), Figure 1, without padding, or with padding and batch norm."""

    def __init__(self, padded: bool = False) -> None:
        layers: dict[str, nn.Module] = {}
        before, pad = (3 if padded else 1), int(padded)
        for i, width in enumerate((64, 128, 256, 512, 1024)):
            layers |= self._double(pad, f"enc{i}" if i < 4 else "double1", before, width)
            before = width
        for i, width in enumerate((512, 256, 128, 64)):
            layers[f"up{3 - i}"] = nn.ConvTranspose2d(2 * width, width, 2, 2)
            layers |= self._double(pad, f"double{i + 2}", 2 * width, width)
        super().__init__(layers | {"conv1": nn.Conv2d(64, 2, 1)})
        self.pad = int(padded)

    @staticmethod
    def _double(pad: int, name: str, before: int, width: int) -> dict[str, nn.Module]:
        found: dict[str, nn.Module] = {}
        for i, inputs in ((1, before), (2, width)):
            found[f"{name}.conv{i}"] = nn.Conv2d(inputs, width, 3, padding=pad, bias=not pad)
            if pad:
                found[f"{name}.bn{i}"] = nn.BatchNorm2d(width)
        return found

    def _twice(self, name: str, x: torch.Tensor) -> torch.Tensor:
        for i in (1, 2):
            x = self[f"{name}.conv{i}"](x)
            x = (self[f"{name}.bn{i}"](x) if self.pad else x).relu()
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for i in range(4):
            kept.append(self._twice(f"enc{i}", x))
            x = nn.functional.max_pool2d(kept[-1], 2)
        x = self._twice("double1", x)
        for i in range(4):
            x = self[f"up{3 - i}"](x)
            whole = kept.pop()
            top, left = ((a - b) // 2 for a, b in zip(whole.shape[2:], x.shape[2:], strict=True))
            x = torch.cat([whole[:, :, top : top + x.shape[2], left : left + x.shape[3]], x], 1)
            x = self._twice(f"double{i + 2}", x)
        return self["conv1"](x)


class Wavenet(Twin):
    """Van den Oord et al. (2016), Figure 4."""

    def __init__(self, width: int = 32, skips: int = 256, layers: int = 10, stacks: int = 3) -> None:
        self.count = n = layers * stacks
        found: dict[str, nn.Module] = {"conv1": nn.Conv1d(256, width, 2)}
        for i in range(n):
            found[f"gate{i}.conv1"] = nn.Conv1d(width, width, 2, dilation=2 ** (i % layers))
            found[f"gate{i}.conv2"] = nn.Conv1d(width, width, 2, dilation=2 ** (i % layers))
        found |= {f"conv{i + 2}": nn.Conv1d(width, width, 1) for i in range(n - 1)}
        found |= {f"conv{i + n + 1}": nn.Conv1d(width, skips, 1) for i in range(n)}
        found |= {f"conv{2 * n + 1}": nn.Conv1d(skips, skips, 1), f"conv{2 * n + 2}": nn.Conv1d(skips, 256, 1)}
        super().__init__(found)
        self.count = n

    def _past(self, path: str, x: torch.Tensor) -> torch.Tensor:
        return self[path](nn.functional.pad(x, (self[path].dilation[0], 0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = self.count
        x = self._past("conv1", x)
        total = torch.zeros(())
        for i in range(n):
            gated = self._past(f"gate{i}.conv1", x).tanh() * self._past(f"gate{i}.conv2", x).sigmoid()
            total = total + self[f"conv{i + n + 1}"](gated)
            x = x + self[f"conv{i + 2}"](gated) if i < n - 1 else x
        return self[f"conv{2 * n + 2}"](self[f"conv{2 * n + 1}"](total.relu()).relu())


class Tcn(Twin):
    """The authors' TCN/tcn.py and TCN/mnist_pixel/model.py, with their weights' norms folded in."""

    def __init__(self, levels: int = 8, width: int = 25, kernel: int = 7) -> None:
        found: dict[str, nn.Module] = {}
        for i in range(levels):
            past = {"padding": (kernel - 1) * 2**i, "dilation": 2**i}
            found[f"tcn.network.{i}.conv1"] = nn.Conv1d(width if i else 1, width, kernel, **past)
            found[f"tcn.network.{i}.conv2"] = nn.Conv1d(width, width, kernel, **past)
        found["tcn.network.0.downsample.0"] = nn.Conv1d(1, width, 1)
        super().__init__(found | {"linear": nn.Linear(width, 10)})
        self.levels = levels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x / 255
        for i in range(self.levels):
            y = x
            for name in ("conv1", "conv2"):
                y = self[f"tcn.network.{i}.{name}"](y)[:, :, : x.shape[2]].relu()  # what the authors chomp
            x = (y + (x if i else self["tcn.network.0.downsample.0"](x))).relu()
        return self["linear"](x[:, :, -1])


class Vae(nn.Module):
    """PyTorch's examples/vae/main.py at inference, where the code is the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden = self.fc1(x.flatten(1) / 255).relu()
        mean, log_variance = self.fc21(hidden), self.fc22(hidden)
        return mean, log_variance, self.fc4(self.fc3(mean).relu()).sigmoid().reshape(x.shape)


class Nerf(Twin):
    """The authors' run_nerf_helpers.py, and nerf-pytorch's."""

    def __init__(self, width: int = 256) -> None:
        sizes = [63, *[width] * 4, width + 63, width, width]
        found: dict[str, nn.Module] = {f"pts_linears_{i}": nn.Linear(size, width) for i, size in enumerate(sizes)}
        found |= {"density.alpha_linear": nn.Linear(width, 1), "feature_linear": nn.Linear(width, width)}
        found |= {"views_linears_0": nn.Linear(width + 27, width // 2), "color.rgb_linear": nn.Linear(width // 2, 3)}
        super().__init__(found)

    @staticmethod
    def _encoded(x: torch.Tensor, frequencies: int) -> torch.Tensor:
        return torch.cat([x, *(f(2.0**k * x) for k in range(frequencies) for f in (torch.sin, torch.cos))], -1)

    def forward(self, direction: torch.Tensor, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        point = x = self._encoded(position, 10)
        for i in range(8):
            x = self[f"pts_linears_{i}"](x if i != 5 else torch.cat([point, x], -1)).relu()
        density, feature = self["density.alpha_linear"](x), self["feature_linear"](x)
        x = self["views_linears_0"](torch.cat([feature, self._encoded(direction, 4)], -1)).relu()
        return density, self["color.rgb_linear"](x)


class Alphazero(Twin):
    """Silver et al. (2017), Methods, with the policy of Silver et al. (2018) for chess."""

    def __init__(self, blocks: int = 19, width: int = 256) -> None:
        found: dict[str, nn.Module] = {}
        for i in range(1, 2 * blocks + 2):
            found[f"conv{i}"] = nn.Conv2d(119 if i == 1 else width, width, 3, padding=1, bias=False)
            found[f"bn{i}"] = nn.BatchNorm2d(width)
        found |= {
            "policy.conv1": nn.Conv2d(width, width, 3, padding=1, bias=False),
            "policy.bn1": nn.BatchNorm2d(width),
        }
        found |= {"policy.conv2": nn.Conv2d(width, 73, 3, padding=1)}
        found |= {"value.conv1": nn.Conv2d(width, 1, 1, bias=False), "value.bn1": nn.BatchNorm2d(1)}
        found |= {"value.dense1": nn.Linear(64, 256), "value.dense2": nn.Linear(256, 1)}
        super().__init__(found)
        self.blocks = blocks

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self["bn1"](self["conv1"](x)).relu()
        for i in range(2, 2 * self.blocks + 2, 2):
            y = self[f"bn{i}"](self[f"conv{i}"](x)).relu()
            x = (x + self[f"bn{i + 1}"](self[f"conv{i + 1}"](y))).relu()
        policy = self["policy.conv2"](self["policy.bn1"](self["policy.conv1"](x)).relu())
        value = self["value.bn1"](self["value.conv1"](x)).relu().flatten(1)
        return policy, self["value.dense2"](self["value.dense1"](value).relu()).tanh()


class _Block(nn.Module):
    """A residual block of CycleGAN."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for activation in (nn.ReLU(), nn.Identity()):
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width), activation]
        self.conv_block = nn.Sequential(*layers[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


class CycleganGenerator(Main):
    """The authors' models/networks.py: ResnetGenerator with instance norm."""

    def __init__(self, blocks: int = 9, width: int = 64) -> None:
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width), nn.ReLU()]
        for i in (1, 2):
            convolution = nn.Conv2d(i * width, 2 * i * width, 3, 2, 1)
            layers += [convolution, nn.InstanceNorm2d(2 * i * width), nn.ReLU()]
        layers += [_Block(4 * width) for _ in range(blocks)]
        for i in (2, 1):
            enlarging = nn.ConvTranspose2d(2 * i * width, i * width, 3, 2, 1, output_padding=1)
            layers += [enlarging, nn.InstanceNorm2d(i * width), nn.ReLU()]
        super().__init__(nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()), "model")


class CycleganDiscriminator(Main):
    """The authors' models/networks.py: NLayerDiscriminator with instance norm."""

    def __init__(self, width: int = 64) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i, stride in ((2, 2), (4, 2), (8, 1)):
            convolution = nn.Conv2d(i * width // 2, i * width, 4, stride, 1)
            layers += [convolution, nn.InstanceNorm2d(i * width), nn.LeakyReLU(0.2)]
        super().__init__(nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1)), "model")
