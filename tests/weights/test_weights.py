"""Files of weights, held against the stock writers, and their matching to names and shapes."""

from __future__ import annotations

import json
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from netdsl.base.files import MissingFile
from netdsl.base.user_error import UserError
from netdsl.weights.check import alike, checked_weights
from netdsl.weights.errors import BadWeightFile, BadWeightValues, WeightsDoNotFit, WrongWeightType
from netdsl.weights.file import open_weights
from tests.support.paths import ROOT

LENET5 = ROOT / "examples" / "mnist" / "lenet5.safetensors"
SHAPES = {
    "conv1.weight": (6, 1, 5, 5),
    "conv1.bias": (6,),
    "conv2.weight": (16, 6, 5, 5),
    "conv2.bias": (16,),
    "dense1.weight": (120, 400),
    "dense1.bias": (120,),
    "dense2.weight": (84, 120),
    "dense2.bias": (84,),
    "dense3.weight": (10, 84),
    "dense3.bias": (10,),
}

TENSORS = {
    "float32": np.linspace(-1, 1, 6, dtype="f4").reshape(2, 3),
    "float64": np.linspace(-1, 1, 6).reshape(2, 3),
    "float16": np.linspace(-1, 1, 6).astype("f2").reshape(2, 3),
    "scalar": np.array(3.5, "f4"),
    "empty": np.zeros((0, 3), "f4"),
}


def test_lenet5_is_read_as_the_stock_reader_reads_it() -> None:
    stock = safetensors.numpy.load_file(LENET5)
    weights = checked_weights(SHAPES, open_weights(str(LENET5)))
    assert list(weights) == list(SHAPES)
    assert len(weights) == 10
    assert sum(weights[key].size for key in weights) == 61_706
    for key, values in stock.items():
        assert key in weights
        assert weights[key].dtype == np.float32
        assert weights[key].flags.c_contiguous
        assert np.array_equal(weights[key], values)
    with pytest.raises(KeyError):
        weights["conv9.weight"]


@pytest.mark.parametrize("form", ["safetensors", "npz", "npz packed"])
def test_floats_become_float32(tmp_path: Path, form: str) -> None:
    path = str(tmp_path / "weights")
    if form == "safetensors":
        safetensors.numpy.save_file(TENSORS, path)
    else:
        with open(path, "wb") as file:
            (np.savez_compressed if "packed" in form else np.savez)(file, **TENSORS)
    weights = checked_weights({key: array.shape for key, array in TENSORS.items()}, open_weights(path))
    for key, array in TENSORS.items():
        assert weights[key].dtype == np.float32
        assert weights[key].shape == array.shape
        assert np.array_equal(weights[key], array.astype("f4"))


def test_either_order_of_axes_and_bytes(tmp_path: Path) -> None:
    array = np.linspace(0, 1, 24, dtype="f4").reshape(2, 3, 4)
    np.savez(tmp_path / "w.npz", fortran=np.asfortranarray(array), big=array.astype(">f4"))
    weights = checked_weights({"fortran": (2, 3, 4), "big": (2, 3, 4)}, open_weights(str(tmp_path / "w.npz")))
    for key in weights:
        assert np.array_equal(weights[key], array)
        assert weights[key].flags.c_contiguous
        assert weights[key].dtype.isnative


def tensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file by its description."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str, shape: list[Any], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize("value", [1.0, -2.5, 0.15625, 3.0e38, 1e-40])
def test_bfloat16_is_the_upper_half_of_a_float32(tmp_path: Path, value: float) -> None:
    high = struct.pack("<f", value)[2:]
    path = tmp_path / "w.safetensors"
    path.write_bytes(tensors({"a": entry("BF16", [1], 0, 2)}, high))
    (expected,) = struct.unpack("<f", b"\0\0" + high)
    assert checked_weights({"a": (1,)}, open_weights(str(path)))["a"].tolist() == [expected]


def test_metadata_is_no_tensor(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": np.ones(3, "f4")}, tmp_path / "w", {"format": "pt"})
    assert list(open_weights(str(tmp_path / "w")).entries) == ["a"]


TWO = {"a": entry("F32", [2], 0, 8), "b": entry("F32", [1], 8, 12)}

BROKEN = {
    "cut short in the data": (tensors(TWO, bytes(11)), "its tensors take 12 bytes, but it has 11"),
    "more data than tensors": (tensors(TWO, bytes(13)), "its tensors take 12 bytes, but it has 13"),
    "cut short in the header": (tensors(TWO)[:40], "its header should be 123 bytes long, but the whole file has 40"),
    "length 2^63": (tensors(TWO, length=2**63), "its header should be 9,223,372,036,854,775,808 bytes long"),
    "not JSON": (tensors(b'{"a":'), "its header is not JSON"),
    "not UTF-8": (tensors(b'{"\xff": 1}'), "its header is not JSON"),
    "nested for ever": (tensors(b'{"a":' + b"[" * 200_000), "its header is not JSON"),
    "a number of 10,000 digits": (tensors(b'{"a":' + b"1" * 10_000 + b"}"), "its header is not JSON"),
    "twice": (tensors(b'{"a":{},"a":{}}'), "`a` occurs twice"),
    "twice inside": (tensors(b'{"a":{"dtype":"F32","dtype":"F32"}}'), "`dtype` occurs twice"),
    "no tensor": (tensors({"a": 3}), "the entry of `a` does not describe a tensor"),
    "a field too few": (tensors({"a": {"dtype": "F32", "shape": []}}), "the entry of `a` does not describe a tensor"),
    "a field too many": (tensors({"a": {**entry("F32", [], 0, 4), "x": 1}}, bytes(4)), "does not describe a tensor"),
    "unknown type": (tensors({"a": entry("F128", [1], 0, 16)}, bytes(16)), "`a` has the unknown type F128"),
    "negative size": (tensors({"a": entry("F32", [-1], 0, 4)}, bytes(4)), "`a` has an invalid shape: [-1]"),
    "fractional size": (tensors({"a": entry("F32", [1.0], 0, 4)}, bytes(4)), "`a` has an invalid shape"),
    "too many axes": (tensors({"a": entry("F32", [2**62] * 99_999, 0, 4)}, bytes(4)), "`a` has an invalid shape"),
    "bytes for another shape": (
        tensors({"a": entry("F32", [2], 0, 4)}, bytes(4)),
        "`a` is F32 of shape [2], but has 4",
    ),
    "10^12 elements": (tensors({"a": entry("F32", [10**12], 0, 4)}, bytes(4)), "`a` is F32 of shape [1000000000000]"),
    "overlap": (
        tensors({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, bytes(12)),
        "`b` begins at byte 4 of the data, where 8 was expected",
    ),
    "gap": (
        tensors({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 8, 12)}, bytes(12)),
        "`b` begins at byte 8 of the data, where 4 was expected",
    ),
    "beyond the end": (tensors({"a": entry("F32", [1], 100, 104)}, bytes(4)), "`a` begins at byte 100"),
    "before the beginning": (tensors({"a": entry("F32", [1], -4, 0)}, bytes(4)), "`a` begins at byte -4"),
    "escapes in a name": (tensors({"\x1b[31m\n": 3}), "the entry of `\\x1b[31m\\n` does not"),
    "empty": (b"", "is empty"),
    "web page": (b"<!DOCTYPE html><html>", "is a web page"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "is a git-LFS pointer"),
    "pickle": (pickle.dumps({"a": 1}), "is a pickle, which is never loaded"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "it cannot be read as HDF5"),
    "one array": (b"\x93NUMPY\x01\x00", "is a single array without a name"),
    "noise": (b"\x12\x34\x56\x78" * 8, "is damaged, or has an unsupported format"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(tmp_path: Path, case: str) -> None:
    data, message = BROKEN[case]
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(BadWeightFile) as caught:
        open_weights(str(path))
    assert message in caught.value.message
    assert "w.safetensors" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 1


def test_a_missing_file() -> None:
    with pytest.raises(MissingFile):
        open_weights("no/such.safetensors")


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(canary))
        archive.writestr("model/data/0", b"1234")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(canary))
    np.savez(tmp_path / "o.npz", a=np.array([canary], object))
    for name in ("model.pt", "old.pt", "o.npz"):
        with pytest.raises(UserError, match="can run code"):
            open_weights(str(tmp_path / name))
    assert not canary.path.exists()


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_fail_in_any_other_way(tmp_path_factory: pytest.TempPathFactory, data: bytes, framed: bool) -> None:
    path = tmp_path_factory.mktemp("any") / "w"
    path.write_bytes(tensors(b"{" + data, b"12345678") if framed else data)
    with pytest.raises(UserError):
        checked_weights({"a": (2,)}, open_weights(str(path)))


JUNK = st.one_of(
    st.none(), st.integers(-9, 99), st.floats(), st.text(max_size=5), st.lists(st.integers(-3, 9), max_size=3)
)


@given(
    st.fixed_dictionaries(
        {"a": st.fixed_dictionaries({"dtype": st.sampled_from(["F32", "U8", 1]), "shape": JUNK, "data_offsets": JUNK})}
    )
)
def test_the_stock_reader_never_refuses_what_we_take(tmp_path_factory: pytest.TempPathFactory, header: Any) -> None:
    path = tmp_path_factory.mktemp("junk") / "w"
    data = tensors(header, bytes(8))
    path.write_bytes(data)
    try:
        ours = open_weights(str(path))
    except UserError:
        return
    stock = safetensors.numpy.load(data)
    assert {key: value.shape for key, value in stock.items()} == {
        key: value.shape for key, value in ours.entries.items()
    }


# --- matching ------------------------------------------------------------------------------------------------------


def save(path: Path, **arrays: Any) -> str:
    safetensors.numpy.save_file({key.replace("__", "."): array for key, array in arrays.items()}, path)
    return str(path)


def test_all_that_does_not_fit_is_told_at_once(tmp_path: Path) -> None:
    path = save(
        tmp_path / "w",
        conv1__weigth=np.zeros((6, 1, 5, 5), "f4"),
        dense1__weight=np.zeros((400, 120), "f4"),
        dense1__bias=np.zeros((12,), "f4"),
        surplus=np.zeros((), "f4"),
    )
    wanted = {k: s for k, s in SHAPES.items() if k.startswith(("conv1", "dense1"))}
    with pytest.raises(WeightsDoNotFit) as caught:
        checked_weights(wanted, open_weights(path))
    assert caught.value.message == (
        f"the weights in {path} do not match the net\n"
        "  2 missing:\n"
        "    conv1.weight 6x1x5x5\n"
        "    conv1.bias 6\n"
        "  2 unexpected:\n"
        "    conv1.weigth 6x1x5x5; did you mean `conv1.weight`?\n"
        "    surplus a single number\n"
        "  2 with the wrong shape:\n"
        "    dense1.weight is 400x120 (transposed), expected 120x400\n"
        "    dense1.bias is 12, expected 120"
    )


def test_long_lists_are_counted(tmp_path: Path) -> None:
    path = save(tmp_path / "w", **{f"x{i:02}": np.zeros(1, "f4") for i in range(25)})
    with pytest.raises(WeightsDoNotFit) as caught:
        checked_weights({}, open_weights(path))
    assert "  25 unexpected:\n    x00 1\n" in caught.value.message
    assert caught.value.message.endswith("    x09 1\n    and 15 more")


def test_what_may_be_in_the_file_or_not(tmp_path: Path) -> None:
    array = np.zeros(3, "f4")
    path = save(tmp_path / "w", a=array, bn1__num_batches_tracked=np.array(7), aux1__weight=array)
    assert list(checked_weights({"a": (3,)}, open_weights(path), optional={"aux1.weight", "aux2.weight"})) == ["a"]
    with pytest.raises(WeightsDoNotFit, match=r"1 unexpected:\n    aux1.weight"):
        checked_weights({"a": (3,)}, open_weights(path))


@pytest.mark.parametrize("kind", ["int8", "int64", "uint8", "bool"])
def test_integers_are_no_weights(tmp_path: Path, kind: str) -> None:
    array = np.zeros(3, kind)
    np.savez(tmp_path / "w.npz", a=array)
    for path in (save(tmp_path / "w", a=array), str(tmp_path / "w.npz")):
        with pytest.raises(WrongWeightType, match=f"`a` is {kind}, but weights must be floating-point"):
            checked_weights({"a": (3,)}, open_weights(path))


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("conv1.weight", [1, np.nan, np.inf, -np.inf], "3 of 4 values of `conv1.weight` are NaN or infinite"),
        ("bn1.running_var", [1, -1e-9, 0, -2], "2 of 4 variances of `bn1.running_var` are negative"),
        ("a", np.array([1e300, 0, 0, 0]), "1 of 4 values of `a` are too large for float32"),
        ("a", np.array([1e-300, 0, 0, -1e-200]), "all 4 values of `a` are too small for float32"),
    ],
)
def test_values_that_compute_nothing(tmp_path: Path, key: str, values: Any, message: str) -> None:
    array = values if isinstance(values, np.ndarray) else np.array(values, "f4")
    safetensors.numpy.save_file({key: array}, tmp_path / "w")
    weights = checked_weights({key: (4,)}, open_weights(str(tmp_path / "w")))
    with pytest.raises(BadWeightValues) as caught:
        weights[key]
    assert message in caught.value.message
    assert "--allow-nonfinite" in caught.value.helps[0]
    with pytest.raises(BadWeightValues, match=message):
        list(weights.stream())


def test_doubles_of_which_some_are_zero_as_float32(tmp_path: Path) -> None:
    for name, array in {"some": np.array([1e-300, 1, 0, 0]), "zeros": np.zeros(4)}.items():
        safetensors.numpy.save_file({"a": array}, tmp_path / name)
        weights = checked_weights({"a": (4,)}, open_weights(str(tmp_path / name)))
        assert weights["a"].tolist() == [0, array[1], 0, 0]
        assert [part.tolist() for _, part in weights.stream()] == [[0, array[1], 0, 0]]


def test_negative_means_zero_variances_and_denormals_are_fine(tmp_path: Path) -> None:
    array = np.array([0, 1e-45, 1], "f4")
    path = save(tmp_path / "w", bn1__running_var=array, bn1__running_mean=-array)
    weights = checked_weights({"bn1.running_var": (3,), "bn1.running_mean": (3,)}, open_weights(path))
    assert np.array_equal(weights["bn1.running_var"], array)
    assert np.array_equal(weights["bn1.running_mean"], -array)


@pytest.mark.parametrize("form", ["safetensors", "npz"])
def test_only_one_weight_is_in_memory(tmp_path: Path, form: str) -> None:
    arrays = {f"w{i}": np.zeros(2**20, "f4") for i in range(16)}
    path = str(tmp_path / "w.npz")
    if form == "npz":
        np.savez_compressed(path, **arrays)
    else:
        safetensors.numpy.save_file(arrays, path)
    del arrays
    tracemalloc.start()
    weights = checked_weights({f"w{i}": (2**20,) for i in range(16)}, open_weights(path))
    total = sum(weights[key].nbytes for key in weights)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 2**26
    assert peak < 2**24


@pytest.mark.parametrize(
    ("lost", "spare", "found"),
    [
        ({"a.weight": (3, 2)}, {"x": (3, 2)}, "x"),
        ({"a.weight": (3, 2)}, {"x": (2, 3)}, None),
        ({"a.weight": (3, 2)}, {"x": (3, 2), "y": (3, 2)}, None),
        ({"a.weight": (3, 2), "b.weight": (3, 2)}, {"x": (3, 2)}, None),
        ({"a.weight": (3, 2), "b.weight": (5,)}, {"x": (3, 2), "y": (5,)}, "x"),
        ({"a.weight": (3, 2)}, {"a.weigt": (3, 2)}, None),
    ],
)
def test_an_unexpected_weight_is_the_missing_one_where_no_other_can_be(
    lost: dict[str, tuple[int, ...]], spare: dict[str, tuple[int, ...]], found: str | None
) -> None:
    """The last one is told as a slip of the pen."""
    assert alike("a.weight", lost, spare) == found
