"""Compare compiling ResNet-152 from a PyTorch checkpoint of 230 MB with copying the file."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

from benchmarks.measure import MAIN, Figure, compare, python, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Action

NET = "resnet152"
PIECE = 2**20


def pth() -> Iterator[Figure]:
    """Measure a compilation without Python's startup, and the peak memory of the command including startup.

    Both sides read from the system's file cache and write like `netdsl compile`: to a new file that is synced to disk
    and renamed. The second figure excludes the disk, whose time is the same for both and hides the difference.
    """
    from benchmarks.figures import load

    net = load(NET)
    with TemporaryDirectory() as folder:
        weights, out = Path(folder, "weights.pth"), Path(folder, "out.onnx")
        # In a subprocess: a large process would distort the peak memory of its children.
        python("-c", f"from benchmarks.pth import write; write({NET!r}, {str(weights)!r})")

        def ours(file: BinaryIO) -> None:
            from netdsl.backend.compile import CompileOptions, compile_net
            from netdsl.weights.file import open_weights

            compile_net(net, file, CompileOptions(weights=open_weights(str(weights))))

        def copy(file: BinaryIO) -> None:
            with open(weights, "rb") as source:
                while piece := source.read(PIECE):
                    file.write(piece)

        size = os.path.getsize(weights) / 1e6
        what = f"{NET} from a .pth of {size:.0f} MB to ONNX, warm, against copying it"
        yield compare(what, timed(partial(_kept, ours, out)), timed(partial(_kept, copy, out)), 2.0, rounds=8)
        yield compare("  not waiting for the disk", _anew(ours, out), _anew(copy, out), 2.0, rounds=12)
        out.unlink()
        _, peak = python("-c", MAIN, "compile", NET, "--weights", weights, "-o", out)
        yield Figure(f"compile {NET} --weights, a .pth: peak memory", peak, "MB", 200, f"the file has {size:.0f} MB")


def _kept(fill: Callable[[BinaryIO], None], path: Path) -> None:
    from netdsl.base.files import write_atomically

    with write_atomically(str(path)) as file:
        fill(file)


def _anew(fill: Callable[[BinaryIO], None], path: Path) -> Action:
    """Return an action that writes a new file; deleting the old one is not timed."""

    def write() -> None:
        with open(path, "xb") as file:
            fill(file)

    def action() -> float:
        path.unlink(missing_ok=True)
        return timed(write)()

    return action


def write(name: str, path: str) -> None:
    """Write a checkpoint of a net in `torch.save`'s format: ones for variances, otherwise normal values."""
    import numpy as np

    from benchmarks.figures import load
    from tests.support.torch_zip import write as write_zip

    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for key, parameter in load(name).parameters.items():
        arrays[key] = generator.standard_normal(parameter.shape, np.float32) * np.float32(0.02)
        if key.endswith("running_var"):
            arrays[key] = np.ones(parameter.shape, np.float32)
            arrays[key.replace("running_var", "num_batches_tracked")] = np.array(5)
    write_zip(Path(path), arrays)
