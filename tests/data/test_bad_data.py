"""Bad weights, data and models as `netdsl run` meets them: what is wrong in a line, exit code 1, and nothing written.
The numbers are those of the list of bad inputs."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import TensorProto, helper
from PIL import Image

from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

DENSE = "net n { input x 3; fc: dense 2 }"
PICTURE = "net p { input x 3x4x6; identity }"
GOOD = {"fc.weight": np.ones((2, 3), np.float32), "fc.bias": np.zeros(2, np.float32)}


class Canary:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (Path("canary"),)  # type: ignore[return-value]


def npz(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return made.getvalue()


def npy(array: object) -> bytes:
    made = io.BytesIO()
    np.save(made, np.asarray(array))
    return made.getvalue()


def header(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def tensors(table: object, data: bytes = b"") -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + data


def saved(**changes: object) -> bytes:
    """Weights that fit, but for some that are changed, added, or gone (None)."""
    held = {key.replace("__", "."): value for key, value in changes.items()}
    all_of_it = {**GOOD, **{key: np.asarray(value) for key, value in held.items() if value is not None}}
    return bytes(safetensors.numpy.save({k: v for k, v in all_of_it.items() if k not in held or held[k] is not None}))


def bomb() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("fc.weight.npy", "w") as member:
        member.write(header("(8000000, 3)"))
        for _ in range(96):
            member.write(bytes(10**6))
    return made.getvalue()


WEIGHTS: dict[str, tuple[bytes, str]] = {
    "69 a pickle": (pickle.dumps(Canary()), "is a pickle, which is never loaded"),
    "69 a PyTorch checkpoint": (npz(**{"model/data.pkl": pickle.dumps(Canary())}), "refers to `"),
    "69 an array of objects": (npz(**{"fc.weight.npy": npy([Canary()])}), "pickled"),
    "70 a bomb": (bomb(), "fc.weight is 8000000x3, expected 2x3"),
    "70 10^12 elements": (
        npz(**{"fc.weight.npy": header("(1000000000000, 3)") + bytes(12)}),
        "declares 12,000,",
    ),
    "70 negative sizes": (
        npz(**{"fc.weight.npy": header("(-2, -3)") + bytes(24)}),
        "declares the impossible shape (-2, -3)",
    ),
    "71 a name that climbs": (npz(**{"../../x.npy": npy(1.0)}), "has a path that leads out of the archive"),
    "72 cut short": (saved()[:-1], "bytes"),
    "72 a header of 2^63": (struct.pack("<Q", 2**63) + b"{" * 100, "its header should be"),
    "72 no JSON": (tensors(b"{"), "its header is not JSON"),
    "72 a key twice": (tensors(b'{"a":{},"a":{}}'), "`a` occurs twice"),
    "72 an overlap": (
        tensors(
            {
                "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
            },
            bytes(12),
        ),
        "`b` begins at byte 4",
    ),
    "73 a key is missing": (saved(fc__bias=None), "fc.bias"),
    "73 a key too many": (saved(other=[1.0]), "other"),
    "73 a slip in a key": (saved(fc__bias=None, fc__bais=np.zeros(2, "f4")), "fc.bais"),
    "74 transposed": (saved(fc__weight=np.ones((3, 2), "f4")), "fc.weight"),
    "75 whole numbers": (saved(fc__weight=np.ones((2, 3), "i4")), "weights must be floating-point"),
    "76 NaN": (saved(fc__bias=np.float32([0, np.nan])), "1 of 2 values of `fc.bias` are NaN or infinite"),
    "76 infinite": (saved(fc__bias=np.float32([np.inf, -np.inf])), "2 of 2 values of `fc.bias` are NaN or infinite"),
    "78 nothing": (b"", "is empty"),
    "78 a web page": (b"<!DOCTYPE html><html></html>", "is a web page"),
    "78 a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "is a git-LFS pointer"),
}


def refused(netdsl: Commands, *line: object) -> str:
    """What a command says that must fail with 1, and write nothing."""
    before = sorted(Path().iterdir())
    ran = netdsl("run", *line, "-o", "out.npz")
    assert (ran.code, ran.out, sorted(Path().iterdir())) == (1, "", before), ran
    assert ran.err.startswith("error[E0")
    return ran.err


@pytest.mark.parametrize("case", WEIGHTS)
def test_bad_weights(netdsl: Commands, case: str) -> None:
    data, said = WEIGHTS[case]
    netdsl.write(n=DENSE)
    np.save("x.npy", np.ones((1, 3), np.float32))
    Path("w").write_bytes(data)
    assert said in refused(netdsl, "n.net", "x.npy", "--weights", "w")


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4", "fortran"])
def test_weights_of_another_width_or_order_are_converted(netdsl: Commands, kind: str) -> None:
    """Rows 75 and 77."""
    netdsl.write(n=DENSE)
    np.save("x.npy", np.float32([[1, 2, 4]]))
    weight = np.float32([[1, 0, 0.5], [0, 2, 0]])
    array = np.asfortranarray(weight) if kind == "fortran" else weight.astype(kind)
    np.savez("w.npz", **{"fc.weight": array, "fc.bias": np.zeros(2)})
    assert netdsl("run", "n.net", "x.npy", "--weights", "w.npz").out == "x.npy[0]  1: 4  0: 3\n"


def picture(mode: str = "RGB", size: tuple[int, int] = (6, 4), form: str = "png") -> bytes:
    made = io.BytesIO()
    Image.new(mode, size).save(made, form)
    return made.getvalue()


def animation() -> bytes:
    made = io.BytesIO()
    frames = [Image.new("L", (6, 4), color) for color in (0, 100, 200)]
    frames[0].save(made, "gif", save_all=True, append_images=frames[1:])
    return made.getvalue()


def huge() -> bytes:
    """A PNG that says that it is 50,000 pixels wide and high."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


DATA: dict[str, tuple[str, bytes, str]] = {
    "80 another rank": ("n", npy(np.ones((2, 2, 3), "f4")), "is 2x2x3, but the input takes examples of 3"),
    "80 another size": ("n", npy(np.ones((2, 4), "f4")), "is 2x4, but the input takes examples of 3"),
    "80 no pixels": (
        "q",
        npy(np.ones((2, 3, 0, 4), "f4")),
        "is 2x3x0x4, but an axis of an example cannot have length 0",
    ),
    "80 text": ("n", npy(np.array(["a", "b", "c"])), "but the input takes float32"),
    "80 channels last": ("p", npy(np.ones((1, 4, 6, 3), "f4")), "array.transpose(0, 3, 1, 2)"),
    "80 a picture for numbers": ("n", picture(), "is an image, but the input takes examples of 3"),
    "81 nothing": ("p", b"", "is empty"),
    "81 cut short": ("p", picture(form="jpeg")[:200], "is damaged"),
    "81 an animation": ("p", animation(), "is an animation, not a still image"),
    "82 a bomb": ("p", huge(), "has more pixels than the limit of 67,108,864"),
    "83 another size": ("p", picture(size=(7, 4)), "is 4x7 (height x width), but the input takes 4x6"),
    "84 no examples": ("n", npy(np.ones((0, 3), "f4")), "contains no examples"),
}


@pytest.mark.parametrize("case", DATA)
def test_bad_data(netdsl: Commands, case: str) -> None:
    net, data, said = DATA[case]
    netdsl.write(n=DENSE, p=PICTURE, q="net q { input x 3x?x?; identity }")
    Path("x").write_bytes(data)
    assert said in refused(netdsl, f"{net}.net", "x", *(["--seed", 1] if net == "n" else []), "-q")


def test_pictures_of_different_sizes_name_both(netdsl: Commands) -> None:
    """Row 83, where the net itself takes any size."""
    netdsl.write(p="net p { input x 3x?x?; identity }")
    Path("a.png").write_bytes(picture())
    Path("b.png").write_bytes(picture(size=(8, 8)))
    said = refused(netdsl, "p.net", "a.png", "b.png")
    assert "a.png is 4x6, b.png is 8x8 (height x width)" in said


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_picture_is_converted(netdsl: Commands, mode: str) -> None:
    """Row 81."""
    netdsl.write(p=PICTURE)
    Path("x.png").write_bytes(picture(mode, form="tiff" if mode == "CMYK" else "png"))
    assert netdsl("run", "p.net", "x.png").code == 0


def foreign(opset: int = 17, ir: int = 8, domain: str = "") -> bytes:
    made = helper.make_model(
        helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"], domain=domain)],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        ),
        opset_imports=[helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])],
    )
    made.ir_version = ir
    return bytes(onnx.ModelProto.SerializeToString(made))


MODELS = {
    "88 nothing": (b"", "m.onnx is empty"),
    "88 a source": (DENSE.encode(), "m.onnx is not an ONNX model, or is truncated"),
    "88 cut short": (foreign()[:40], "m.onnx is not an ONNX model, or is truncated"),
    "88 a newer opset": (foreign(opset=99), "m.onnx has opset 99"),
    "88 a newer IR": (foreign(ir=99), "m.onnx has IR version 99"),
    "88 another's operator": (foreign(domain="com.acme"), "m.onnx has the operator com.acme:Relu"),
}


@pytest.mark.parametrize("case", MODELS)
def test_bad_models(netdsl: Commands, case: str) -> None:
    data, said = MODELS[case]
    np.save("x.npy", np.ones((1, 3), np.float32))
    Path("m.onnx").write_bytes(data)
    assert said in refused(netdsl, "m.onnx", "x.npy")
