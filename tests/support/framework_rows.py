"""Weights and outputs of expressions of PyTorch or Keras, as files.

Run as a subprocess by a Python that has the framework: `python framework_rows.py torch`, or `keras`. Each line of stdin
is a JSON object: `expression`, `shape` (channels first, without the batch), whether the values are `last`, with the
channels last, whether they are `words`, and the `folder` of `weights.*` and `run.npz`. Each is answered with a line,
`done` or the error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 2


def example(shape: list[int], words: bool) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(0)
    if words:
        return generator.integers(0, 1000, (BATCH, *shape))
    return generator.standard_normal((BATCH, *shape), dtype=np.float32)


def with_torch(expression: str, x: np.ndarray[Any, Any], last: bool, folder: Path) -> np.ndarray[Any, Any]:
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(0)
    given = torch.from_numpy(x)
    if last and x.ndim == 3:
        given = given.transpose(1, 2)
    found = eval(expression, {"nn": nn, "F": functional, "torch": torch, "x": given})
    if isinstance(found, nn.Module):
        for name, array in found.state_dict().items():
            if name.endswith(("running_mean", "running_var")):
                array.uniform_(0.5, 1.5)
        torch.save(found.state_dict(), folder / "weights.pth")
        with torch.no_grad():
            found = found.eval()(given)
    found = found[0] if isinstance(found, tuple) else found
    return found.transpose(1, 2).numpy() if last and found.ndim == 3 else found.numpy()


def with_keras(expression: str, x: np.ndarray[Any, Any], folder: Path) -> np.ndarray[Any, Any]:
    import keras
    from keras import Sequential, layers, ops

    keras.utils.set_random_seed(0)
    given = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    inputs = keras.Input(given.shape[1:], dtype=given.dtype)
    found = eval(expression, {"layers": layers, "ops": ops, "Sequential": Sequential, "x": inputs})
    model = keras.Model(inputs, found if isinstance(found, keras.KerasTensor) else found(inputs))
    generator = np.random.default_rng(1)
    model.set_weights([generator.uniform(0.5, 1.5, each.shape) / 4 for each in model.get_weights()])
    if model.weights:
        model.save(folder / "weights.keras")
    found = np.asarray(ops.convert_to_numpy(model(given, training=False)))
    return np.moveaxis(found, -1, 1) if found.ndim > 2 else found


def main() -> None:
    for line in sys.stdin:
        row = json.loads(line)
        folder = Path(row["folder"])
        try:
            x = example(row["shape"], row["words"])
            if sys.argv[1] == "torch":
                y = with_torch(row["expression"], x, row["last"], folder)
            else:
                y = with_keras(row["expression"], x, folder)
            np.savez(folder / "run.npz", x=x, y=y)
            print("done", flush=True)
        except Exception as error:
            print(repr(error).replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
