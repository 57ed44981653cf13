"""`netdsl weights`: what a file of weights holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy

from netdsl.weights.file import Entry
from tests.support.cli_tools import MNIST, Commands, netdsl
from tests.support.paths import DATA
from tests.support.torch_zip import View, write

__all__ = ["netdsl"]


def test_a_table(netdsl: Commands) -> None:
    safetensors.numpy.save_file({"a.weight": np.zeros((20, 3, 5, 5), "f4"), "b\x1b": np.zeros((), "f8")}, "w")
    ran = netdsl("weights", "w")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "TENSOR    TYPE     SHAPE     NUMBERS  BYTES\n"
        "b\\x1b     float64  -               1      8\n"
        "a.weight  float32  20x3x5x5    1,500  6,000\n"
        "\n"
        "2 tensors, 1,501 numbers, 6,008 bytes\n"
    )


def test_one_of_each_is_no_plural(netdsl: Commands) -> None:
    safetensors.numpy.save_file({"a": np.zeros((), "f4")}, "w")
    assert netdsl("weights", "w").out.endswith("\n1 tensor, 1 number, 4 bytes\n")


def test_json(netdsl: Commands) -> None:
    path = write(Path("w.pth"), {"state_dict": {"a": np.zeros((2, 3), "f2")}, "epoch": 3})
    found = json.loads(netdsl("weights", path, "--json").out)
    assert found == {
        "file": "w.pth",
        "tensors": [{"name": "a", "dtype": "float16", "shape": [2, 3], "numbers": 6, "bytes": 12}],
        "totals": {"numbers": 6, "bytes": 12},
    }


@pytest.mark.parametrize(
    "path", [*DATA.glob("keras*.keras"), *DATA.glob("*.h5"), *DATA.glob("torch*.pth"), MNIST / "lenet5.safetensors"]
)
def test_every_format_is_listed(netdsl: Commands, path: Path) -> None:
    if path.suffix in (".keras", ".h5"):
        pytest.importorskip("h5py")
    ran = netdsl("weights", path)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("\n") >= 9


def test_no_number_is_read(netdsl: Commands) -> None:
    """A tensor of 4 TB is listed as soon as any."""
    write(Path("w.pth"), {"a": View(np.zeros(1, "f4"), 0, (10**12,), (0,))})
    assert "1,000,000,000,000  4,000,000,000,000\n" in netdsl("weights", "w.pth").out


@pytest.mark.parametrize(("path", "code"), [("none.pth", 2), ("bad.pth", 1)])
def test_files_that_are_none(netdsl: Commands, path: str, code: int) -> None:
    Path("bad.pth").write_bytes(b"PK\x03\x04 and no more")
    ran = netdsl("weights", path)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error[E0")


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        *(("float32", 32), ("float64", 64), ("bfloat16", 16), ("int8", 8), ("bool", 8), ("uint16", 16)),
        *(("float8_e4m3", 8), ("float6_e2m3", 6), ("float4_e2m1", 4), ("complex64", 64)),
    ],
)
def test_the_size_of_a_tensor(dtype: str, bits: int) -> None:
    assert Entry(dtype, (3, 8)).size == 3 * bits
    assert Entry(dtype, ()).size == (bits + 7) // 8
    assert Entry(dtype, (0, 5)).size == 0


@pytest.mark.parametrize("size", [8, 400])
@pytest.mark.parametrize("how", [[], ["--external-data"]])
def test_no_model_is_left_of_a_damaged_archive(netdsl: Commands, size: int, how: list[str]) -> None:
    """The last member is the damaged one, which is found out when all before are written."""
    Path("a.net").write_text(f"net a {{ input x {size}; first: dense {size}; last: dense {size} }}")
    arrays = {}
    for layer in ("first", "last"):
        arrays |= {f"{layer}.weight": np.ones((size, size), "f4"), f"{layer}.bias": np.ones(size, "f4")}
    path = Path(write(Path("w.pth"), arrays))
    assert netdsl("compile", "a.net", "--weights", path, "-o", "a.onnx", *how).code == 0
    before = {file.name: file.read_bytes() for file in Path().iterdir()}
    data = bytearray(path.read_bytes())
    data[data.rindex(arrays["last.weight"].tobytes()) + 5] ^= 1
    path.write_bytes(data)
    ran = netdsl("compile", "a.net", "--weights", path, "-o", "a.onnx", *how)
    assert (ran.code, "wrong checksum" in ran.err) == (1, True)
    assert {file.name: file.read_bytes() for file in Path().iterdir()} == {**before, "w.pth": bytes(data)}


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "squeezenet1_1"])
def test_the_tensors_of_a_net_are_those_that_its_file_must_have(netdsl: Commands, name: str) -> None:
    """As onnx reads the compiled model; and a file of those shapes fits."""
    found = json.loads(netdsl("weights", name, "--json").out)
    netdsl("compile", name, "-o", "n.onnx")
    stored = {tensor.name: tensor for tensor in onnx.load("n.onnx").graph.initializer}
    for each in found["tensors"]:
        values = onnx.numpy_helper.to_array(stored[each["name"]])
        assert (each["dtype"], tuple(each["shape"])) == (str(values.dtype), values.shape)
        assert (each["numbers"], each["bytes"]) == (values.size, values.nbytes)
        assert each["init"] not in ("zeros", "ones") or np.unique(values).tolist() == [each["init"] == "ones"]
    zeros = {each["name"]: np.ones(each["shape"], each["dtype"]) for each in found["tensors"]}
    np.savez("w.npz", **zeros)
    assert netdsl("compile", name, "-o", "n.onnx", "--weights", "w.npz").code == 0


def test_a_net_has_options(netdsl: Commands) -> None:
    netdsl.write(n="net n(k = 2) { input x 3; dense k }\nnet m { input x 3; bn }", bad="net n { desne 3 }")
    listed = netdsl("weights", "n.net:n", "--set", "k=5").out.splitlines()
    assert listed[1].split() == ["dense1.weight", "float32", "5x3", "15", "60", "he_normal"]
    assert netdsl("weights", "n.net:m").out.splitlines()[3].split()[-1] == "zeros"
    bad = netdsl("weights", "bad.net")
    assert (bad.code, bad.out) == (1, "")
    assert "E0202" in bad.err
    assert netdsl("weights", "missing.npz").err == "error[E0601]: there is no file missing.npz\n"
