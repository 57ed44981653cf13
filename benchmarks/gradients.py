"""Compare gradients with PyTorch's in double precision: `python -m benchmarks.gradients [NET …] [--step-backend B]`.

If the input of a ReLU is within rounding error of 0, its sign may differ between single and double precision, which
changes a whole path of the gradient. To exclude such ties, and those of max pools, the double-precision net is computed
a second time with the decisions of the single-precision net. The output also shows the number of different decisions,
and their maximum distance from a tie.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contest import torch_python
from benchmarks.contest_nets import CONTESTS
from benchmarks.measure import ROOT, Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.graph import Graph

    Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


def decisions(graph: Graph) -> dict[str, str]:
    """Make the outputs of ReLUs and the inputs of max pools outputs of a step; return their names by numbered kind."""
    from netdsl.ops.activations import Clip, Relu
    from netdsl.ops.pooling import MaxPool

    kinds = {Relu: "relu", Clip: "clip", MaxPool: "pool"}
    found: dict[str, str] = {}
    known = {y: name for name, y in graph.outputs.items()}
    for operation in graph.operations:
        kind = kinds.get(type(operation.op))
        if kind:
            value = operation.inputs[0] if kind == "pool" else operation.outputs[0]
            if value not in known:
                known[value] = f"{len(found)}.{kind}"
                graph.output(known[value], value)
            found[f"{len(found)}.{kind}"] = known[value]
    return found


def ours(net: str, step_backend: str, threads: int = 2) -> Arrays:
    """Return the gradients of a net's first step, its weights and its decisions, as `gradient/0`, `weight/0`, …."""
    from benchmarks.figures import load
    from benchmarks.netdsl_contestant import recipe, weights
    from netdsl.train.prepare import prepare
    from netdsl.train.runner import Choices, initial_state
    from netdsl.train.step import training_step

    contest = CONTESTS[net]
    loaded = load(contest.source)
    for node in loaded.nodes:
        if node.layer.kind in ("dropout", "drop_path"):
            node.layer.p = 0.0  # random masks of different generators cannot be compared
    graph = training_step(loaded, recipe(loaded, contest.batch, decay=0.0))
    found = decisions(graph)
    drawn = weights(graph)
    moved(drawn)
    runner = prepare(graph, initial_state(graph, drawn), Choices(step_backend, threads=threads))
    (image,) = (x for x in graph.inputs if x not in ("target", "rate"))
    images, labels = contest.data()
    runner.step({image: images, "target": labels, "rate": np.array(0, np.float32)})
    after = runner.state()
    trained = [name for name in graph.parameters if f"{name}.velocity" in after]
    arrays = {"names": np.array(trained)}
    for i, name in enumerate(trained):
        arrays[f"weight/{i}"] = drawn[name]
        arrays[f"gradient/{i}"] = after[f"{name}.velocity"]  # the gradient of the first step, as the velocity was 0
    for i, (key, name) in enumerate(found.items()):
        value = runner.result(name)
        arrays[f"decision/{i}"] = (
            value if key.endswith("pool") else (value > 0) & (value < (6 if "clip" in key else np.inf))
        )
    return arrays


def moved(weights: Arrays) -> None:
    """Add random values of at most 0.5 to constant weights: biases and the scales of batch norms.

    If a batch norm's bias is 0 and its ReLU's output is normalized again per channel (as after MobileNet's depthwise
    convolutions), the result does not depend on the scale, so the gradient would be only rounding error.
    """
    random = np.random.default_rng(1)
    for array in weights.values():
        if array.ndim == 1 and np.ptp(array) == 0:
            array += random.uniform(-0.5, 0.5, array.shape).astype(array.dtype)


def compared(net: str, step_backend: str) -> dict[str, Any]:
    """Return the errors of the gradients that PyTorch computes in `torch_gradients.py`."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "gradients.npz")
        arrays = ours(net, step_backend)
        np.savez(path, **arrays)
        script = str(ROOT / "benchmarks" / "torch_gradients.py")
        done = subprocess.run([torch_python(), script, net, path], check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    return {**found, "worst": str(arrays["names"][found["worst"]])}


def figures(net: str, step_backend: str) -> Iterator[Figure]:
    found = compared(net, step_backend)
    detail = (
        f"worst `{found['worst']}`; PyTorch's in float32: {found['torch']:.1e}; free: {found['free']:.1e}; "
        f"{found['flips']} of {found['decisions']:,} decisions differ, "
        f"at most {found['farthest']:.1e} of their layer's scale from a tie"
    )
    what = f"{net}, {step_backend}: gradients against float64, relative, ×1e5"
    yield Figure(f"{what}, worst weight", found["same"] * 1e5, "", 1, detail)
    yield Figure(f"{what}, all", found["whole"] * 1e5, "", 1, f"PyTorch's in float32: {found['torch_whole']:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradients")
    parser.add_argument("nets", nargs="*", metavar="NET")
    parser.add_argument("--step-backend", action="append", choices=("plain", "nchwc"))
    given = parser.parse_args()
    for net in given.nets or CONTESTS:
        for step_backend in given.step_backend or ("plain", "nchwc"):
            print("\n".join(map(str, figures(net, step_backend))), flush=True)


if __name__ == "__main__":
    main()
