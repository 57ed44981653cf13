"""What a run leaves: weights alone, and models for inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.compile import ONE_FILE, compile_net, weights_size
from netdsl.files import write_atomically
from netdsl.pair import DataFile, write_pair
from netdsl.weights.file import open_weights
from netdsl.weights.store import write_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.ir.names import Names
    from netdsl.ir.net import Net
    from netdsl.train.runner import Array


def write_weights(path: str, weights: Mapping[str, Array], names: Names) -> None:
    """Write a safetensors file for `--weights`, with the names of classes and columns as metadata. Raises
    CannotWrite."""
    with write_atomically(path) as file:
        write_tensors(file, weights, {"format": "pt", **names.metadata})


def write_model(path: str, net: Net, weights: str) -> None:
    """Write a net as an ONNX model, with the weights of a file and the names in it. Raises CannotWrite."""
    size = weights_size(net)
    if size <= ONE_FILE:
        with write_atomically(path, size) as file:
            compile_net(net, file, weights=open_weights(weights))
        return
    with write_pair(path, size) as (file, data):
        compile_net(net, file, weights=open_weights(weights), data=DataFile(data.file, data.name))
