"""A contestant of `benchmarks.inference`: `python -m benchmarks.inference_contestant NET BATCH THREADS WHO FOLDER`.

`netdsl` and `again` compile the net for the batch, with PyTorch's weights, and run it in a session of netdsl;
`legacy` and `dynamo` run the model of PyTorch's exporter in onnxruntime with its defaults.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contest_nets import memory, serve
from benchmarks.inference_nets import NETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.ir.net import Net


def main(name: str, batch: str, threads: str, who: str, folder: str) -> None:
    import onnxruntime

    assert onnxruntime
    imported = memory()
    make = _netdsl if who in ("netdsl", "again") else _bare
    run = make(name, int(batch), int(threads), who, Path(folder))
    np.savez(Path(folder, f"{who}{batch}.npz"), *run())
    serve(run, imported)


def _netdsl(name: str, batch: int, threads: int, who: str, folder: Path) -> Callable[[], list[Any]]:
    from benchmarks.figures import load
    from netdsl.backend.compile import CompileOptions, compile_net
    from netdsl.backend.session import Session
    from netdsl.weights.file import open_weights

    net = load(NETS[name].source)
    path = folder / f"{who}{batch}.onnx"
    weights = open_weights(str(_renamed(net, folder, batch, who)))
    with path.open("wb") as file:
        compile_net(net, file, CompileOptions(weights=weights, batch=batch))
    session = Session(str(path), threads=threads)
    (input,) = session.inputs
    feeds = {input: NETS[name].data(batch)}
    return lambda: list(session.run(feeds).values())


def _renamed(net: Net, folder: Path, batch: int, who: str) -> Path:
    """Write PyTorch's weights by netdsl's names, which are the same or in the same order."""
    path = folder / f"{who}{batch}.weights.npz"
    with np.load(folder / f"weights{batch}.npz") as theirs:
        same = net.parameters.keys() <= set(theirs.files)
        names = net.parameters if same else theirs.files
        np.savez(path, **{ours: theirs[name] for ours, name in zip(net.parameters, names, strict=not same)})
    return path


def _bare(name: str, batch: int, threads: int, who: str, folder: Path) -> Callable[[], list[Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / f"{who}{batch}.onnx"), options)
    feeds = {"x": NETS[name].data(batch)}
    return lambda: session.run(None, feeds)


if __name__ == "__main__":
    main(*sys.argv[1:])
