"""Small nets of Caffe and Darknet, and files of random weights for them.

`python -m tests.support.foreign_models` computes what OpenCV makes of them, and writes tests/data/opencv.npz. It needs
opencv-python-headless<5.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from netdsl.importing import caffe, darknet
from netdsl.importing.caffe_model import CaffeModel
from netdsl.importing.darknet_cfg import read_cfg
from netdsl.importing.darknet_weights import DarknetWeights
from netdsl.importing.flat import FlatWeight
from tests.support.paths import TESTS

Array = np.ndarray
REFERENCES = TESTS / "data/opencv.npz"
MTCNN = TESTS / "data/mtcnn_det1.prototxt"


def layer(name: str, kind: str, bottom: str, top: str, more: str = "") -> str:
    """Return a layer of a prototxt; `bottom` and `top` can be several names."""
    ends = [f'bottom: "{each}"' for each in bottom.split()] + [f'top: "{each}"' for each in top.split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(ends)} {more} }}\n'


def v1(name: str, kind: str, bottom: str, top: str, more: str = "") -> str:
    return layer(name, kind, bottom, top, more).replace("layer {", "layers {").replace(f'"{kind}"', kind)


def conv(name: str, bottom: str, top: str, outputs: int, more: str = "kernel_size: 3 pad: 1") -> str:
    return layer(name, "Convolution", bottom, top, f"convolution_param {{ num_output: {outputs} {more} }}")


def image(*sizes: int) -> str:
    return 'input: "data" ' + " ".join(f"input_dim: {size}" for size in (1, *sizes)) + "\n"


CAFFE = {
    "classifier": image(3, 13, 11)
    + conv("c1", "data", "c1", 6, "kernel_size: 3 stride: 2 bias_term: false")
    + layer("b1", "BatchNorm", "c1", "c1", "batch_norm_param { eps: 0.001 }")
    + layer("s1", "Scale", "c1", "c1", "scale_param { bias_term: true }")
    + layer("r1", "ReLU", "c1", "c1", "relu_param { negative_slope: 0.2 }")
    + conv("c2", "c1", "c2", 6, "kernel_h: 1 kernel_w: 3 pad_h: 0 pad_w: 1 group: 2")
    + layer("n2", "LRN", "c2", "n2", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 }")
    + layer("p2", "Pooling", "n2", "p2", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    + layer("d2", "Dropout", "p2", "p2", "dropout_param { dropout_ratio: 0.4 }")
    + layer("fc", "InnerProduct", "p2", "fc", "inner_product_param { num_output: 5 }")
    + layer("prob", "Softmax", "fc", "prob"),
    "average with padding": image(4, 7, 8)
    + layer("p", "Pooling", "data", "p", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }")
    + layer("s", "Scale", "p", "s", "scale_param { bias_term: true }"),
    "maximum with padding": image(4, 8, 9)
    + layer("p", "Pooling", "data", "p", "pooling_param { kernel_size: 3 stride: 2 pad: 1 }")
    + layer("q", "Pooling", "p", "q", "pooling_param { kernel_size: 2 stride: 2 }")
    + layer("g", "Pooling", "q", "g", "pooling_param { pool: AVE global_pooling: true }"),
    "version 1": image(2, 9, 9)
    + v1("c", "CONVOLUTION", "data", "c", "convolution_param { num_output: 3 kernel_size: 2 stride: 2 }")
    + v1("r", "RELU", "c", "c")
    + v1("p", "POOLING", "c", "p", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
    + v1("i", "INNER_PRODUCT", "p", "i", "inner_product_param { num_output: 4 }")
    + v1("s", "SIGMOID", "i", "s"),
    "sums": image(4, 6, 6)
    + conv("a", "data", "a", 4)
    + conv("b", "data", "b", 4, "kernel_size: 3 pad: 2 dilation: 2")
    + layer("e", "Eltwise", "a b data", "e", "eltwise_param { operation: SUM coeff: 1 coeff: -0.5 coeff: 2 }")
    + layer("m", "Eltwise", "e a", "m", "eltwise_param { operation: MAX }")
    + layer("f", "Eltwise", "m b", "f", "eltwise_param { operation: PROD }")
    + layer("c", "Concat", "f a", "c"),
    "upsampled": image(3, 8, 6)
    + conv("a", "data", "a", 4, "kernel_size: 3 stride: 2 pad: 1")
    + layer("r", "PReLU", "a", "r")
    + layer(
        "up",
        "Deconvolution",
        "r",
        "up",
        "convolution_param { num_output: 3 kernel_size: 4 stride: 2 bias_term: false }",
    )
    + layer("cut", "Crop", "up data", "cut", "crop_param { axis: 2 offset: 1 }")
    + layer("sum", "Eltwise", "cut data", "sum"),
    "head": image(3, 4, 5)
    + conv("c", "data", "c", 6, "kernel_size: 1")
    + layer("perm", "Permute", "c", "perm", "permute_param { order: 0 order: 2 order: 3 order: 1 }")
    + layer("flat", "Flatten", "perm", "flat", "flatten_param { axis: 1 }")
    + layer("shape", "Reshape", "flat", "shape", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }")
    + layer("soft", "Softmax", "shape", "soft", "softmax_param { axis: 2 }"),
    "normalized": image(5, 4, 4)
    + layer("n", "Normalize", "data", "n", "norm_param { across_spatial: false channel_shared: false }"),
    "parts": image(6, 3, 4)
    + layer("s", "Slice", "data", "x y z", "slice_param { axis: 1 slice_point: 1 slice_point: 3 }")
    + layer("t", "TanH", "x", "t")
    + layer("a", "AbsVal", "y", "a")
    + layer("p", "Power", "z", "p", "power_param { power: 2 scale: 0.5 shift: 1 }")
    + layer("c", "Concat", "t a p", "c", "concat_param { axis: 1 }"),
}
"""Nets that OpenCV reads, too."""


def net(height: int, width: int, channels: int = 3) -> str:
    return f"[net]\nheight={height}\nwidth={width}\nchannels={channels}\n"


def section(name: str, **options: object) -> str:
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in options.items())


def filters(count: int, size: int = 3, activation: str = "leaky", **options: object) -> str:
    more = {"batch_normalize": 1, "filters": count, "size": size, "stride": 1, "pad": 1, **options}
    return section("convolutional", **more, activation=activation)


DARKNET = {
    "pools": net(11, 9)
    + filters(6, stride=2)
    + section("maxpool", size=2, stride=1)
    + filters(4, activation="mish")
    + section("maxpool", size=3, stride=2)
    + section("maxpool", size=2, stride=2, padding=0),
    "routes": net(8, 8)
    + filters(8)
    + section("route", layers="-1", groups=2, group_id=1)
    + filters(4, activation="swish")
    + section("route", layers="-1,-3,0")
    + section("maxpool", size=2, stride=2)
    + section("upsample", stride=2)
    + section("route", layers="-1, 2"),
    "residual": net(6, 7)
    + filters(4, activation="relu")
    + filters(4, 1, "linear", groups=2)
    + section("shortcut", **{"from": -2}, activation="leaky")
    + filters(5, 1, "linear", batch_normalize=0)
    + section("avgpool")
    + section("softmax"),
    "gate": net(6, 6)
    + filters(4)
    + section("avgpool")
    + filters(4, 1, "logistic", batch_normalize=0)
    + section("scale_channels", **{"from": -3})
    + filters(3, 2, "leaky", stride=2, pad=0),
    "connected": net(5, 4)
    + filters(3)
    + section("connected", output=8, activation="leaky")
    + section("dropout", probability=".5")
    + section("connected", output=6, activation="linear")
    + section("softmax", groups=1),
    "reorganized": net(8, 8) + filters(8, 1) + section("reorg", stride=2) + filters(4, 1, "linear"),
    "boxes": net(8, 8)
    + filters(6)
    + filters(14, 1, "linear", batch_normalize=0)
    + section("yolo", mask="1,2", anchors="10,14, 23,27, 37,58", classes=2, num=3),
}
"""Nets that OpenCV reads, too. The last one has a head, in front of which a net ends."""


def numbers(key: str, shape: Sequence[int], role: str) -> Array:
    """Return random weights of a role; `scale` and `variance` are positive."""
    generator = np.random.default_rng(list(key.encode()))
    if role in ("scale", "variance"):
        return generator.uniform(0.5, 1.5, shape).astype("f4")
    return (generator.normal(0, 0.5, shape) / max(1, np.prod(shape[1:])) ** 0.5).astype("f4")


class Asked(caffe.StoredBlobs):
    """The arrays that a net needs."""

    def __init__(self) -> None:
        super().__init__({}, "")
        self.shapes: dict[str, dict[int, Array]] = {}

    def get(self, layer: str, at: int, shape: tuple[int, ...], role: str) -> None:
        self.shapes.setdefault(layer, {})[at] = numbers(f"{layer} {at}", shape, role)


def caffe_weights(prototxt: Path) -> dict[str, list[Array]]:
    """Return random weights of a net by its layers."""
    asked = Asked()
    caffe.Conversion(CaffeModel(str(prototxt)), asked, {})
    return {name: [arrays[at] for at in sorted(arrays)] for name, arrays in asked.shapes.items()}


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(array: Array, *, form: str = "f4", packed: bool = True, legacy: bool = False) -> bytes:
    """Return an array as a BlobProto: float or double, packed or not, with a shape or four old sizes."""
    number, kind = (5, 5) if form == "f4" else (8, 1)
    data = array.astype(f"<{form}")
    if legacy:
        sizes = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(varint(at << 3) + varint(size) for at, size in enumerate(sizes, 1))
    else:
        shape = field(7, field(1, b"".join(map(varint, array.shape))))
    if packed:
        return shape + field(number, data.tobytes())
    return shape + b"".join(varint(number << 3 | kind) + each.tobytes() for each in data.reshape(-1))


def caffemodel(weights: Mapping[str, Sequence[Array]], *, version: int = 2, **forms: bool | str) -> bytes:
    """Return a .caffemodel."""
    outer, name_field, blobs_field = (100, 1, 7) if version == 2 else (2, 4, 6)
    found = field(1, b"net")
    for name, arrays in weights.items():
        blobs = b"".join(field(blobs_field, blob(each, **forms)) for each in arrays)  # type: ignore[arg-type]
        found += field(outer, field(name_field, name.encode()) + blobs)
    return found


class Written(DarknetWeights):
    """Random arrays, which are kept in the order of a .weights file."""

    def __init__(self) -> None:
        super().__init__()
        self.arrays: list[Array] = []

    def take(self, shape: tuple[int, ...], role: str) -> FlatWeight:
        found = numbers(f"{len(self.arrays)}", shape, role)
        self.arrays.append(found)
        return FlatWeight(shape, lambda: found)


def darknet_weights(cfg: Path, version: int = 2) -> bytes:
    """Return a .weights file for a net."""
    written = Written()
    darknet.Conversion(str(cfg), read_cfg(str(cfg)), written, 1e-5, None)
    seen = struct.pack("<q" if version >= 2 else "<i", 64)
    return struct.pack("<iii", 0, version, 0) + seen + b"".join(each.tobytes() for each in written.arrays)


def pixels(name: str, shape: Sequence[int]) -> Array:
    return np.random.default_rng(list(name.encode())).uniform(-1, 1, (1, *shape)).astype("f4")


def main() -> None:
    import cv2

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in CAFFE.items():
            path = Path(folder, "net.prototxt")
            path.write_text(text)
            Path(folder, "net.caffemodel").write_bytes(caffemodel(caffe_weights(path)))
            program = cv2.dnn.readNetFromCaffe(str(path), str(path.with_suffix(".caffemodel")))
            (shape,) = (each.sizes for each in CaffeModel(str(path)).inputs.values())
            assert shape is not None
            program.setInput(pixels(name, shape[1:]), "data")
            program.enableWinograd(False)
            found[f"caffe {name}"] = program.forward()
        for name, text in DARKNET.items():
            path = Path(folder, "net.cfg")
            path.write_text(text)
            path.with_suffix(".weights").write_bytes(darknet_weights(path))
            program = cv2.dnn.readNetFromDarknet(str(path), str(path.with_suffix(".weights")))
            first = read_cfg(str(path))[0]
            program.setInput(pixels(name, [first.integer(key, 0) for key in ("channels", "height", "width")]))
            program.enableWinograd(False)
            names = [each for each in program.getLayerNames() if not each.startswith(("permute", "yolo"))]
            found[f"darknet {name}"] = program.forward(names[-1])
    program = cv2.dnn.readNetFromCaffe(str(MTCNN), str(MTCNN.with_suffix(".caffemodel")))
    program.setInput(pixels("mtcnn", (3, 12, 12)), "data")
    program.enableWinograd(False)
    found |= {f"mtcnn {name}": program.forward(name) for name in ("conv4-2", "prob1")}
    np.savez_compressed(REFERENCES, **found)
    for name, array in found.items():
        print(name, array.shape, float(np.abs(array).max()))


if __name__ == "__main__":
    main()
