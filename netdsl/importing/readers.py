"""The formats that can be imported, each with its reader."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from netdsl.base.files import mistaken, open_file
from netdsl.importing.errors import UnknownModel

if TYPE_CHECKING:
    from netdsl.importing.flat import FlatNet

SUPPORTED = "models are ONNX (.onnx), Caffe (.prototxt), Darknet (.cfg) and Keras (.keras, .h5) files"

EXPORT = 'export it to ONNX: torch.onnx.export(model, example, "model.onnx")'

ELSEWHERE = {
    (".pt", ".pth", ".pt2", ".ckpt", ".bin", ".safetensors"): EXPORT,
    (".pb", ".tflite"): "convert it to ONNX by tf2onnx: https://github.com/onnx/tensorflow-onnx",
    (".pkl", ".joblib"): "convert it to ONNX by skl2onnx: skl2onnx.to_onnx(model, example)",
    (".caffemodel",): "import its prototxt: netdsl import deploy.prototxt --weights net.caffemodel",
    (".weights",): "import its cfg: netdsl import net.cfg --weights net.weights",
}
"""What to do with files of other formats, by their suffixes."""

WITH_WEIGHTS = (".onnx", ".keras", ".h5", ".hdf5")
"""Suffixes of formats that contain their weights."""


class SourceOptions(NamedTuple):
    """How to read a model: the file of its weights, if they are apart; the epsilon of Darknet's normalizations, a
    number or `cpu`; and the shapes of inputs that the file does not state, without the batch, or the value of an input
    without axes."""

    weights: str | None = None
    eps: str | None = None
    inputs: Mapping[str, tuple[int, ...]] = MappingProxyType({})


PROTOTXT = (b"name:", b"layer", b"input", b"#")
"""How a prototxt begins, which some repositories name .pt."""

STATED = SourceOptions()


def read_model(path: str, options: SourceOptions = STATED) -> FlatNet:
    """Return a model as a flat list. Raises UserError."""
    net = _read(path, options)
    net.bytes = max(net.bytes, os.path.getsize(path) + (os.path.getsize(options.weights) if options.weights else 0))
    return net


def _read(path: str, options: SourceOptions) -> FlatNet:
    with open_file(path) as file:
        head = file.read(64)
    suffix = f".{path.lower().rpartition('.')[2]}"
    if what := mistaken(head):
        raise UnknownModel(f"{path} {what}", SUPPORTED)
    if suffix == ".pt" and head.lstrip().startswith(PROTOTXT):
        suffix = ".prototxt"
    if suffix in WITH_WEIGHTS and options.weights is not None:
        raise UnknownModel(f"{path} has its weights in it, so there is nothing to read from {options.weights}")
    if suffix in WITH_WEIGHTS and options.eps is not None:
        raise UnknownModel(f"{path} states its own epsilons; --eps is for a Darknet net")
    for suffixes, how in ELSEWHERE.items():
        if suffix in suffixes:
            raise UnknownModel(f"{path} is of a format that netdsl cannot import", how)
    match suffix:
        case ".onnx":
            from netdsl.importing.onnx_reference import read as read_onnx

            return read_onnx(path, options.inputs)
        case ".prototxt":
            from netdsl.importing.caffe import read as read_caffe

            return read_caffe(path, options)
        case ".cfg":
            from netdsl.importing.darknet import read as read_darknet

            return read_darknet(path, options)
        case ".keras" | ".h5" | ".hdf5":
            from netdsl.importing.keras import read as read_keras

            return read_keras(path, options)
    raise UnknownModel(f"{path} is of a format that netdsl cannot import", SUPPORTED)
