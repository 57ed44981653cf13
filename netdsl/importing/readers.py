"""The formats that can be imported, each with its reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.files import mistaken, open_file
from netdsl.importing.errors import UnknownModel

if TYPE_CHECKING:
    from netdsl.importing.flat import FlatNet

SUPPORTED = "models are ONNX files"

EXPORT = 'export it to ONNX: torch.onnx.export(model, example, "model.onnx")'

ELSEWHERE = {
    (".pt", ".pth", ".pt2", ".ckpt", ".bin", ".safetensors"): EXPORT,
    (".pb", ".tflite", ".h5", ".hdf5"): "convert it to ONNX by tf2onnx: https://github.com/onnx/tensorflow-onnx",
    (".pkl", ".joblib"): "convert it to ONNX by skl2onnx: skl2onnx.to_onnx(model, example)",
}
"""What to do with files of other formats, by their suffixes."""


def read_model(path: str, weights: str | None = None) -> FlatNet:
    """Return a model as a flat list. `weights` is the file of its weights, if they are apart. Raises UserError."""
    with open_file(path) as file:
        head = file.read(64)
    lower = path.lower()
    if what := mistaken(head):
        raise UnknownModel(f"{path} {what}", SUPPORTED)
    for suffixes, how in ELSEWHERE.items():
        if lower.endswith(suffixes):
            raise UnknownModel(f"{path} is of a format that netdsl cannot import", how)
    if lower.endswith(".onnx"):
        if weights is not None:
            raise UnknownModel(f"{path} has its weights in it, so there is nothing to read from {weights}")
        from netdsl.importing.onnx_reference import read

        return read(path)
    raise UnknownModel(f"{path} is of a format that netdsl cannot import", SUPPORTED)
