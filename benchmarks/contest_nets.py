"""The nets of the contest and their inputs. Both sides import this module, so it uses neither netdsl nor PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE, MOMENTUM, DECAY = 0.001, 0.9, 5e-4


class Contest:
    """A net (`source` as for netdsl), its batch size, the shape of an example, the number of classes, and the maximum
    ratio of a step's time to PyTorch's that is to be reached."""

    def __init__(self, source: str, batch: int, shape: tuple[int, ...], classes: int, reach: float = 0.8) -> None:
        self.source = source
        self.batch = batch
        self.shape = shape
        self.classes = classes
        self.reach = reach

    def data(self, batch: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return a batch of normal values with random labels; deterministic."""
        generator = np.random.default_rng(0)
        x = generator.standard_normal((batch or self.batch, *self.shape), np.float32)
        return x, generator.integers(0, self.classes, batch or self.batch)


CONTESTS = {
    "mlp": Contest("benchmarks/nets/mlp.net", 128, (784,), 10),
    "lenet5": Contest("lenet5", 64, (1, 28, 28), 10),
    "resnet20": Contest("benchmarks/nets/resnet20.net", 64, (3, 32, 32), 10),
    "resnet18": Contest("resnet18", 4, (3, 224, 224), 1000),
    "alexnet": Contest("alexnet_torchvision", 8, (3, 224, 224), 1000),
    "mobilenet_v2": Contest("mobilenet_v2", 8, (3, 224, 224), 1000),
    "densenet121": Contest("densenet121", 4, (3, 224, 224), 1000, 0.9),
    "shufflenet_v2": Contest("shufflenet_v2", 8, (3, 224, 224), 1000, 0.9),
    "resnet50": Contest("resnet50", 4, (3, 224, 224), 1000, 0.9),
    "squeezenet": Contest("squeezenet1_1", 8, (3, 224, 224), 1000, 0.9),
    "efficientnet_b0": Contest("efficientnet_b0", 4, (3, 224, 224), 1000, 0.9),
    "vgg11": Contest("vgg11", 2, (3, 224, 224), 1000, 0.9),
}


def serve(step: Any, imported: float) -> None:
    """Run a step, then the number of steps on each line of stdin, and print their times in seconds and the memory use
    in MB; before the first line, print an empty line when ready."""
    import json
    import sys
    from time import perf_counter, process_time

    step()
    print(flush=True)
    for line in sys.stdin:
        seconds, busy = [], []
        for _ in range(int(line)):
            begin, spent = perf_counter(), process_time()
            step()
            seconds.append(perf_counter() - begin)
            busy.append(process_time() - spent)
        found = {"seconds": seconds, "busy": busy, "peak": memory("VmHWM"), "imported": imported}
        print(json.dumps(found), flush=True)


def memory(field: str = "VmRSS") -> float:
    """Return this process's memory in MB by its Linux field: `VmRSS` (current resident set) or `VmHWM` (its peak)."""
    with open("/proc/self/status", encoding="ascii") as status:
        (line,) = (line for line in status if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6
