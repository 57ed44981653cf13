"""PyTorch's checkpoints, read without PyTorch: files that it wrote, ones that tests write, and hostile ones."""

from __future__ import annotations

import argparse
import itertools
import os
import pickle
import pickletools
import random
import struct
import threading
import tracemalloc
import zipfile
from collections import Counter, defaultdict, deque
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdsl.base.user_error import UserError
from netdsl.base.zip_archive import PIECE_BYTES
from netdsl.weights.check import checked_weights
from netdsl.weights.errors import BadWeightFile, BadWeightValues, WrongWeightType
from netdsl.weights.file import open_weights
from netdsl.weights.pickled import OPERATIONS, CallableGlobal, PickleRejected, unpickle
from netdsl.weights.pth import GLOBALS
from tests.support.paths import DATA
from tests.support.torch_zip import Pickler, Raw, View, write, write_members

if TYPE_CHECKING:
    from collections.abc import Iterator

A = np.linspace(-1, 1, 24, dtype="f4").reshape(2, 3, 4)


def read(path: str) -> dict[str, np.ndarray]:
    """All that a file holds, as it is used."""
    file = open_weights(path)
    return {key: np.array(file.read(key)) for key in file.entries}


def refusal(path: str) -> str:
    with pytest.raises(BadWeightFile) as caught:
        read(path)
    assert "\n" not in caught.value.message
    assert Path(path).name in caught.value.message
    return caught.value.message


# --- what PyTorch wrote --------------------------------------------------------------------------------------------

T = np.arange(24, dtype="f4").reshape(2, 3, 4)
TORCHS = {
    "turned": T.transpose(2, 0, 1),
    "sliced": T[1:, ::2],
    "halves": T.astype("f2"),
    "bfloat16": T,
    "number": np.array(2.5),
    "empty": np.zeros((0, 3)),
    "repeated": np.ones(5),
    "parameter": T,
    "doubles": T.astype("f8"),
    "counts": T.astype("i8"),
}


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_of_pytorchs_own(protocol: int) -> None:
    found = read(str(DATA / f"torch_protocol{protocol}.pth"))
    assert list(found) == list(TORCHS)
    for key, array in TORCHS.items():
        assert found[key].shape == array.shape, key
        assert np.array_equal(found[key], array), key


# --- what tests write ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "?"])
def test_types_and_orders(tmp_path: Path, dtype: str, order: str, packed: bool) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    path = write(tmp_path / "w.pth", {"a": array, "b": array}, packed=packed, order=order)
    file = open_weights(path)
    assert file.entries["a"].dtype == np.dtype(dtype).name
    assert np.array_equal(file.read("b"), array)


def test_strides_and_shared_storages(tmp_path: Path) -> None:
    flat = A.reshape(-1)
    views = {
        "whole": View(flat, 0, (24,), (1,)),
        "turned": View(flat, 0, (4, 3, 2), (1, 4, 12)),
        "corner": View(flat, 13, (2, 2), (4, 2)),
        "repeated": View(flat, 5, (7, 2), (0, 1)),
        "number": View(flat, 23, (), ()),
        "nothing": View(flat, 24, (0, 9), (9, 1)),
    }
    found = read(write(tmp_path / "w.pth", views))
    assert np.array_equal(found["whole"], flat)
    assert np.array_equal(found["turned"], A.transpose(2, 1, 0))
    assert np.array_equal(found["corner"], [[flat[13], flat[15]], [flat[17], flat[19]]])
    assert np.array_equal(found["repeated"], np.tile(flat[5:7], (7, 1)))
    assert found["number"] == flat[23]
    assert found["nothing"].shape == (0, 9)


@pytest.mark.parametrize(
    "around",
    [
        lambda w: w,
        lambda w: {"state_dict": w, "epoch": 90},
        lambda w: {"epoch": 90, "best": np.ones(()), "state_dict": w},
        lambda w: {"model": w, "optimizer": {"state": {0: {"exp_avg": A}}, "param_groups": [{"lr": 0.1}]}},
        lambda w: {"run": {"model_state_dict": w}, "args": ["a", 1, 2.5, None, True, (1, 2)]},
        lambda w: {"my_net": w, "optimizer": {"exp_avg": A}},
        lambda w: {"model": {"state_dict": w}},
        lambda w: {**w, "version": 3, "classes": ["cat", "dog"]},
    ],
)
def test_the_weights_are_found_in_a_checkpoint(tmp_path: Path, around: Any) -> None:
    assert list(read(write(tmp_path / "w.pth", around({"a": A, "b": A})))) == ["a", "b"]


def test_what_cannot_be_found(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    assert refusal(write(path, {"g": {"a": A}, "d": {"a": A}})).endswith("contains 2 sets of weights: g, d")
    assert refusal(write(path, {"epoch": 3})).endswith("contains no named tensors")
    assert refusal(write(path, [A, A])).endswith("contains no named tensors")
    assert refusal(write(path, A)).endswith("is a single tensor without a name")


# --- refused -------------------------------------------------------------------------------------------------------


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def attacks(canary: Path) -> dict[str, bytes]:
    """Pickles that make a file where they are run."""
    command = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    text = b"X" + struct.pack("<I", len(command)) + command.encode()
    name = lambda word: b"\x8c" + bytes([len(word)]) + word.encode()  # noqa: E731
    return {
        **{f"reduce, protocol {version}": pickle.dumps(Canary(canary), version) for version in range(6)},
        "GLOBAL": b"\x80\x02cbuiltins\nexec\n" + text + b"\x85R.",
        "STACK_GLOBAL": b"\x80\x04" + name("builtins") + name("exec") + b"\x93" + text + b"\x85R.",
        "INST": b"(" + text + b"ibuiltins\nexec\n.",
        "OBJ": b"\x80\x02(cbuiltins\nexec\n" + text + b"o.",
        "NEWOBJ": b"\x80\x02cbuiltins\nexec\n" + text + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04cbuiltins\nexec\n" + text + b"\x85}\x92.",
        "EXT1": b"\x80\x02\x82\x01.",
        "PERSID": b"Pbuiltins.exec\n.",
        "in the middle": Pickler().dump({"a": 1, "b": Raw(b"cos\nsystem\n" + text + b"\x85R")}),
        "hidden in a memo": b"\x80\x02}q\x00cposix\nsystem\nq\x010h\x01" + text + b"\x85R.",
        "an attribute of what is allowed": b"\x80\x04" + name("torch._utils") + name("sys.modules") + b"\x93.",
        "torch's own loader": b"\x80\x02ctorch.storage\n_load_from_bytes\nU\x00\x85R.",
        "a module": b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81}b.",
        "getattr": b"\x80\x02cbuiltins\ngetattr\n.",
    }


@pytest.mark.parametrize("attack", attacks(Path("canary")))
def test_nothing_is_run(tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = attacks(tmp_path / "canary")[attack]
    said = refusal(write(tmp_path / "w.pth", {"a": A}, pickle=hostile))
    (tmp_path / "bare.pkl").write_bytes(hostile)
    refusal(str(tmp_path / "bare.pkl"))
    assert os.listdir(tmp_path) != []
    assert not (tmp_path / "canary").exists()
    if b"c" in hostile and "EXT" not in attack and "PERSID" not in attack and "protocol 0" not in attack:
        assert "refers to `" in said or "operation 0x" in said


@pytest.mark.parametrize("attack", ["GLOBAL", "STACK_GLOBAL"])
def test_the_attacks_are_attacks(tmp_path: Path, attack: str) -> None:
    """Python's own machine runs them."""
    pickle.loads(attacks(tmp_path / "canary")[attack])
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["builtins.exec", "numpy.matrix", "argparse.ArgumentParser", "a.b.Net"])
def test_a_name_is_refused_by_name(tmp_path: Path, name: str) -> None:
    module, _, word = name.rpartition(".")
    hostile = Pickler().dump({"a": A, "x": Raw(f"c{module}\n{word}\n".encode())})
    assert f"refers to `{name}`, and is not read" in refusal(write(tmp_path / "w.pth", {"a": A}, pickle=hostile))


@pytest.mark.parametrize("name", ["torch._utils._rebuild_qtensor", "torch.ComplexFloatStorage"])
def test_tensors_of_other_kinds_are_refused_as_such(tmp_path: Path, name: str) -> None:
    module, _, word = name.rpartition(".")
    other = Pickler().dump({"a": A, "x": Raw(f"c{module}\n{word}\n".encode())})
    told = refusal(write(tmp_path / "w.pth", {"a": A}, pickle=other))
    assert f"refers to `{name}`" in told
    assert "sparse, quantized or complex" in told


BESIDE = {
    "epoch": np.int64(90),
    "best": {"top1": np.float32(76.1), "ok": np.bool_(1), "day": np.datetime64("2020-01-01"), "name": np.str_("r50")},
    "type": np.dtype(">f4"),
    "args": argparse.Namespace(lr=0.1, arch="resnet", path=Path("a/b"), seeds={1, 2}, state_dict={"b": 1}),
    "log": defaultdict(list, {"loss": [1.0, np.float64(0.5)]}),
    "count": defaultdict(None),
    "paths": [Path("/a"), PurePosixPath("b"), PureWindowsPath("c:/d")],
    "raw": b"\xff\x00",
    "kinds": {"a", 1},
    "milestones": Counter({30: 1, 60: 1}),
    "generators": [np.arange(5), np.array(["a", "b"]), bytearray(b"ab"), 1 + 2j],
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("key", BESIDE)
def test_plain_objects_beside_the_tensors_are_passed_over(tmp_path: Path, key: str, protocol: int) -> None:
    """As Python's and NumPy's own writers write them."""
    beside = pickle.dumps(BESIDE[key], protocol)
    code = b"".join(_without_frames(beside))
    data = Pickler().dump({"state_dict": {"a": A}, "beside": Raw(code), "b": Raw(NAMES_OF_TORCH)})
    assert list(read(write(tmp_path / "w.pth", {"a": A}, pickle=data))) == ["a"]


NAMES_OF_TORCH = b"](ctorch\ndevice\nX\x04\x00\x00\x00cudaK\x00\x86Rctorch\nfloat16\nctorch\nSize\n(K\x01K\x02t\x85Re"


def _without_frames(data: bytes) -> Iterator[bytes]:
    """The operations of a pickle but for its head and its end, to stand within another."""
    places = [(each.name, at) for each, _, at in pickletools.genops(data)]
    for (name, begin), (_, end) in itertools.pairwise(places):
        if name not in ("PROTO", "FRAME"):
            yield data[begin:end]


def test_what_is_beside_the_tensors_is_not_looked_into(tmp_path: Path) -> None:
    """A namespace whose attributes would be another set of weights, and a state that Python would not take."""
    hidden = b"cargparse\nNamespace\n)\x81" + Pickler().code({"state_dict": {"x": [1]}}) + b"b(K\x01Ntb"
    data = Pickler().dump({"model": {"a": A}, "args": Raw(hidden)})
    assert list(read(write(tmp_path / "w.pth", {"a": A}, pickle=data))) == ["a"]


def test_nothing_that_is_called_makes_more_than_the_pickle_is_long() -> None:
    """A long text and a long list, of which every call would make a copy."""
    text = b"X" + struct.pack("<I", 2**16) + b"a" * 2**16 + b"q\x000"
    calls = b"c_codecs\nencode\nq\x010X\x06\x00\x00\x00latin1q\x020" + b"h\x01h\x00h\x02\x86R" * 2**11
    sets = b"](" + b"K\x01" * 2**16 + b"eq\x000c__builtin__\nset\nq\x010" + b"h\x01h\x00\x85R" * 2**11
    for code in (text + b"](" + calls, b"](" + sets):
        tracemalloc.start()
        with suppress(PickleRejected):
            unpickle(b"\x80\x02" + code + b"e.", GLOBALS, lambda x: x)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**22


def test_dictionaries_within_each_other(tmp_path: Path) -> None:
    deep = b"X\x01\x00\x00\x00a}" * 30_000 + b"s" * 30_000
    path = write(tmp_path / "w.pth", {"a": A}, pickle=b"\x80\x02}" + deep + b".")
    tracemalloc.start()
    assert refusal(path).endswith("contains no named tensors")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_values_that_are_other_than_stored(tmp_path: Path) -> None:
    """`x.conj().imag` is a tensor that PyTorch marks, and stores with the sign of `x.imag`."""

    def tensor(marks: bytes) -> bytes:
        return b"\x80\x02}X\x01\x00\x00\x00a" + REBUILD + STORAGE + b"K\x00K\x18\x85K\x01\x85\x89N" + marks + b"tRs."

    neg = tensor(b"}X\x03\x00\x00\x00neg\x88s")
    assert "is a conjugate or negative view" in refusal(write(tmp_path / "w.pth", {"a": A}, pickle=neg))
    assert np.array_equal(read(write(tmp_path / "w.pth", {"a": A}, pickle=tensor(b"}")))["a"], A.reshape(-1))


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x18tQ"
BOMB = b")" + b"2\x86" * 60
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n("

SCALAR = b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX%s\x89\x88\x87RC\x08abcdefgh\x86R."

DAMAGED = {
    "empty": b"",
    "cut short": b"\x80\x02}X\xff\xff\xff\x7fabc",
    "no end": b"\x80\x02}",
    "nothing on the stack": b"\x80\x02.",
    "two things on the stack": b"\x80\x02NN.",
    "a mark as a value": b"\x80\x02(.",
    "no mark": b"\x80\x02Nt.",
    "an unknown memo": b"\x80\x02h\x05.",
    "a text of a negative length": b"\x80\x02T\xfb\xff\xff\xff",
    "a text that is none": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "a dictionary with half an item": b"\x80\x02}(Nu.",
    "items for what is no dictionary": b"\x80\x02](K\x01K\x02u.",
    "a key twice": b"\x80\x02}(K\x01NK\x01Nu.",
    "a key of nested tuples": b"\x80\x02}" + BOMB + b"Ns.",
    "a set of nested tuples": b"\x80\x04\x8f(" + BOMB + b"\x90.",
    "a call of a text": b"\x80\x02X\x01\x00\x00\x00a)R.",
    "a call of a type": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "a call with a list": b"\x80\x02ctorch\nSize\n]R.",
    "too few arguments": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "no storage": b"\x80\x02" + REBUILD + b"NK\x00K\x01\x85K\x01\x85tR.",
    "a shape of nested tuples": b"\x80\x02" + REBUILD + STORAGE + b"K\x00" + BOMB + BOMB + b"tR.",
    "a negative size": b"\x80\x02" + REBUILD + STORAGE + b"K\x00J\xff\xff\xff\xff\x85K\x01\x85tR.",
    "a size that is True": b"\x80\x02" + REBUILD + STORAGE + b"K\x00\x88\x85K\x01\x85tR.",
    "an unknown storage": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "protocol 9": b"\x80\x09}.",
    "attributes of a list": b"\x80\x02]}b.",
    "a long number of 255 bytes": b"\x80\x02}\x8a\xff" + b"\x7f" * 255 + b"Ns.",
    "a size of many": b"\x80\x02ctorch\nSize\n](" + b"K\x01" * 33 + b"e\x85R.",
    "an object of a value": b"\x80\x02ctorch\nfloat32\n)\x81.",
    "a call of a default's type": b"\x80\x02c__builtin__\nlist\n)R.",
    "an attribute of a number": b"\x80\x02K\x01}b.",
    "items for a namespace": b"\x80\x02cargparse\nNamespace\n)\x81(K\x01K\x02u.",
    "a namespace as a key": b"\x80\x02}cargparse\nNamespace\n)\x81Ns.",
    "a type of objects": b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R.",
    "a type with fields": b"\x80\x02cnumpy\ndtype\nX\x03\x00\x00\x00V16\x89\x88\x87R.",
    "a type of nested tuples": b"\x80\x02cnumpy\ndtype\n" + BOMB + b"\x85R.",
    "a number of a terabyte": SCALAR % b"\x0e\x00\x00\x00S1000000000000",
    "a number of a gigabyte": SCALAR % b"\x0a\x00\x00\x00S999999999",
    "a number that is short": SCALAR % b"\x02\x00\x00\x00f4",
    "a number of no type": b"\x80\x02cnumpy.core.multiarray\nscalar\nK\x01C\x01a\x86R.",
    "bytes in another encoding": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.",
    "an ordered dictionary of arguments": b"\x80\x02ccollections\nOrderedDict\n](]e\x85R.",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_pickles(tmp_path: Path, case: str) -> None:
    refusal(write(tmp_path / "w.pth", {"a": A}, pickle=DAMAGED[case]))


@pytest.mark.parametrize(
    ("view", "told"),
    [
        (View(A.reshape(-1), 1, (24,), (1,)), "reaches to element 25 of a storage of 24"),
        (View(A.reshape(-1), 0, (2, 3), (24, 1)), "reaches to element 27 of a storage of 24"),
        (View(A.reshape(-1), 2**62, (1,), (1,)), "reaches to element 4,611,686,018,427,387,905"),
        (View(A.reshape(-1), 0, (2**40, 2**40), (0, 0)), "impossible shape"),
        (View(A.reshape(-1), 0, (4,), (-1,)), "invalid shape or invalid strides"),
        (View(A.reshape(-1), -4, (4,), (1,)), "a tensor has no storage"),
        (View(A.reshape(-1), 0, (4, 1), (1,)), "invalid shape or invalid strides"),
        (View(A.reshape(-1), 0, (1,) * 33, (1,) * 33), "invalid shape or invalid strides"),
        (View(A.reshape(-1), 0, (4.0,), (1,)), "invalid shape or invalid strides"),
    ],
)
def test_tensors_that_reach_beyond_their_storage(tmp_path: Path, view: View, told: str) -> None:
    assert told in refusal(write(tmp_path / "w.pth", {"a": view}))


def test_a_tensor_that_repeats_one_number_for_ever_is_never_made(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pth", {"a": View(A.reshape(-1), 0, (10**12,), (0,))})
    with pytest.raises(UserError, match="a is 1000000000000, expected 4"):
        checked_weights({"a": (4,)}, open_weights(path))


def test_storages_that_are_not_what_is_said(tmp_path: Path) -> None:
    pickler = Pickler()
    data = pickler.dump({"a": A})
    good = {"data.pkl": data, "data/0": A.tobytes(), "version": b"3"}
    path = tmp_path / "w.pth"
    assert np.array_equal(read(write_members(path, good))["a"], A)
    assert "has 95 bytes, expected 24 numbers of float32" in refusal(
        write_members(path, {**good, "data/0": A.tobytes()[1:]})
    )
    assert "member archive/data/0 is missing" in refusal(write_members(path, {"data.pkl": data}))
    assert "its byte order is unknown" in refusal(write_members(path, {**good, "byteorder": b"middle"}))
    assert "has 0 members named data.pkl" in refusal(write_members(path, {"data/0": b""}))
    assert "has 2 members named data.pkl" in refusal(
        write_members(path, {"a/data.pkl": data, "b/data.pkl": data}, root="")
    )
    assert "is a TorchScript program" in refusal(write_members(path, {**good, "code/__torch__.py": b"", "x": b""}))
    assert np.array_equal(read(write_members(path, good, root="a b/"))["a"], A)


# --- hostile zip files ---------------------------------------------------------------------------------------------


def test_hostile_members(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    good = {"data.pkl": Pickler().dump({"a": A}), "data/0": A.tobytes()}
    for name in ("../../x", "/etc/x", "..\\x", "C:/x"):
        with zipfile.ZipFile(write_members(path, good), "a") as archive:
            archive.writestr(name, b"1")
        assert "leads out of the archive" in refusal(str(path))
    with zipfile.ZipFile(write_members(path, good), "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", A.tobytes())
    assert "its member archive/data/0 occurs twice" in refusal(str(path))


def changed(path: str, find: bytes, at: int, new: bytes, last: bool = False) -> str:
    """The file, with bytes changed some way behind the first or last place where something stands."""
    data = bytearray(Path(path).read_bytes())
    place = (data.rindex(find) if last else data.index(find)) + at
    data[place : place + len(new)] = new
    Path(path).write_bytes(data)
    return path


def test_damaged_members(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    fresh = lambda packed=False: write(path, {"a": A}, packed=packed)  # noqa: E731
    assert "archive/data/0 has a wrong checksum" in refusal(changed(fresh(), A.tobytes(), 5, b"\x55"))
    assert "is encrypted" in refusal(changed(fresh(), b"PK\x01\x02", 8, b"\x01"))
    assert "unsupported compression method 97" in refusal(changed(fresh(), b"PK\x01\x02", 10, b"\x61"))
    assert "is not where the directory of the archive says" in refusal(
        changed(fresh(), b"archive/data/0", -30, b"XXXX")
    )
    assert "is not where the directory of the archive says" in refusal(changed(fresh(), b"archive/data/0", 13, b"9"))
    assert "declares 4,294,967,040 bytes, which are missing" in refusal(
        changed(fresh(), b"PK\x01\x02", 20, struct.pack("<II", 2**32 - 256, 2**32 - 256), last=True)
    )
    assert "bytes, which are missing" in refusal(changed(fresh(), b"PK\x05\x06", 16, struct.pack("<I", 2**24)))
    for cut in (1, 30, 200, 400):
        data = Path(fresh()).read_bytes()
        path.write_bytes(data[:-cut])
        refusal(str(path))


LARGE = np.linspace(-1, 1, PIECE_BYTES // 4 * 2 + 100, dtype="f4")
STREAMED = {
    "small": A,
    "large": LARGE,
    "one piece": LARGE[: PIECE_BYTES // 4],
    "turned": View(A.reshape(-1), 0, (4, 3, 2), (1, 4, 12)),
    "part": View(A.reshape(-1), 2, (4,), (1,)),
    "ones": View(A.reshape(-1), 0, (1, 24, 1), (7, 1, 9)),
    "halves": LARGE.astype("f2"),
    "doubles": LARGE[: PIECE_BYTES // 4].astype("f8"),
    "nothing": np.zeros((0, 3), "f4"),
    "number": np.array(2.5, "f4"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["little", "big"])
def test_parts_of_a_stream_make_what_is_read_at_once(tmp_path: Path, order: str, packed: bool) -> None:
    file = open_weights(write(tmp_path / "w.pth", STREAMED, packed=packed, order=order))
    weights = checked_weights({key: entry.shape for key, entry in file.entries.items()}, file)
    parts: dict[str, list[np.ndarray]] = {}
    for key, part in weights.stream():
        parts.setdefault(key, []).append(part.reshape(-1).copy())
    assert list(parts) == list(STREAMED)
    assert packed or len(parts["large"]) == 3
    for key, found in parts.items():
        assert np.array_equal(np.concatenate(found), weights[key].reshape(-1)), key
        assert found[0].dtype == np.float32


def test_bfloat16_is_widened_in_parts(tmp_path: Path) -> None:
    bits = (LARGE.view("u4") >> 16).astype("u2")
    file = open_weights(write(tmp_path / "w.pth", {"a": View(bits, 0, bits.shape, (1,), "bfloat16")}))
    found = np.concatenate([part.copy() for _, part in checked_weights({"a": bits.shape}, file).stream()])
    assert np.array_equal(found, (bits.astype("u4") << 16).view("f4"))


@pytest.mark.parametrize("name", ["small", "large", "one piece", "halves"])
@pytest.mark.parametrize("place", [3, -3])
def test_no_stream_of_a_damaged_member_ends(tmp_path: Path, name: str, place: int) -> None:
    arrays = {key: value for key, value in STREAMED.items() if isinstance(value, np.ndarray)}
    path = write(tmp_path / "w.pth", arrays)
    data = arrays[name].tobytes()
    changed(path, data, place % len(data), b"\x11")
    weights = checked_weights({key: value.shape for key, value in arrays.items()}, open_weights(path))
    with pytest.raises(BadWeightFile, match="wrong checksum"):
        deque(weights.stream(), 0)
    assert np.array_equal(weights["doubles"], LARGE[: PIECE_BYTES // 4])


def test_damage_is_told_before_what_it_makes_of_the_numbers(tmp_path: Path) -> None:
    """A damaged member that now holds an infinity, small and large; and one that is whole and holds it."""
    for array in (A, LARGE):
        path = write(tmp_path / "w.pth", {"a": array})
        changed(path, array.tobytes()[-4:], 0, np.float32(np.inf).tobytes())
        with pytest.raises(BadWeightFile, match="wrong checksum"):
            deque(checked_weights({"a": array.shape}, open_weights(path)).stream(), 0)
    wrong = np.where(np.arange(LARGE.size) % 100_000 == 7, np.float32(np.nan), LARGE)
    with pytest.raises(BadWeightValues, match=r"3 of 262,244 values of `a` are NaN"):
        deque(checked_weights({"a": wrong.shape}, open_weights(write(tmp_path / "w.pth", {"a": wrong}))).stream(), 0)


def test_a_stream_that_is_given_up_leaves_no_thread(tmp_path: Path) -> None:
    file = open_weights(write(tmp_path / "w.pth", {f"w{at}": LARGE + at for at in range(8)}))
    stream = file.stream(list(file.entries))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not any(thread.name.startswith("netdsl-weights") for thread in threading.enumerate())


@pytest.mark.skipif(os.name != "posix", reason="a file that is open cannot be cut elsewhere")
def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pth", {"a": A, "b": A + 1})
    file = open_weights(path)
    Path(path).write_bytes(Path(path).read_bytes()[:300])
    with pytest.raises(BadWeightFile, match="not where the directory of the archive says"):
        file.read("b")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """64 MB of zeros in 64 KB, as a pickle and as a tensor, which is not the network's."""
    zeros = bytes(2**26 + 1)
    path = write_members(tmp_path / "w.pth", {"data.pkl": zeros}, packed=True)
    assert os.path.getsize(path) < 2**17
    assert "declares 67,108,865 bytes; the limit is 67,108,864" in refusal(path)
    members = {"data.pkl": Pickler().dump({"a": np.zeros(2**24, "f4")}), "data/0": zeros[1:]}
    path = write_members(tmp_path / "v.pth", members, packed=True)
    del members, zeros
    tracemalloc.start()
    with pytest.raises(UserError, match="expected 3"):
        checked_weights({"a": (3,)}, open_weights(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_integers_are_no_weights(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pth", {"a": A.astype("i4"), "bn.num_batches_tracked": np.array(7)})
    with pytest.raises(WrongWeightType, match="`a` is int32, but weights must be floating-point"):
        checked_weights({"a": A.shape}, open_weights(path))


# --- fuzz ----------------------------------------------------------------------------------------------------------

WHOLE = Pickler().dump({"state_dict": {"a": A, "b": [1, 2.5, "x", None, (True,)]}, "n": 2**40})


def is_refused(path: str) -> bool:
    """Whether a file is refused, in words."""
    try:
        read(path)
    except BadWeightFile:
        return True
    return False


def test_every_cut_of_a_pickle_is_refused(tmp_path: Path) -> None:
    assert not is_refused(write(tmp_path / "w.pth", {"a": A}, pickle=WHOLE))
    for end in range(len(WHOLE)):
        assert is_refused(write(tmp_path / "w.pth", {"a": A}, pickle=WHOLE[:end])), end


def test_mutants_of_a_pickle_fail_in_words(tmp_path: Path) -> None:
    """Few changes leave a program that ends with the dictionary of a network."""
    chance = random.Random(0)
    refused = 0
    for _ in range(400):
        data = bytearray(WHOLE)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        refused += is_refused(write(tmp_path / "w.pth", {"a": A}, pickle=bytes(data)))
    assert 300 < refused < 400


@pytest.mark.parametrize("packed", [False, True])
def test_every_cut_of_a_file_is_refused(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "w.pth"
    data = Path(write(path, {"a": A, "b": A}, packed=packed)).read_bytes()
    for end in [*range(0, len(data), 7), len(data) - 1]:
        path.write_bytes(data[:end])
        assert is_refused(str(path)), end


@pytest.mark.parametrize("packed", [False, True])
def test_a_changed_byte_is_refused_or_changes_nothing(tmp_path: Path, packed: bool) -> None:
    """A zip file has checksums of all that is read, and fields that nobody reads."""
    path = tmp_path / "w.pth"
    data = Path(write(path, {"a": A, "b": A}, packed=packed)).read_bytes()
    refused = 0
    places = range(0, len(data), 3)
    for at in places:
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        if is_refused(str(path)):
            refused += 1
        else:
            found = read(str(path))
            assert list(found) == ["a", "b"]
            assert all(np.array_equal(array, A) for array in found.values()), at
    assert len(places) / 2 < refused < len(places)


CODES = [bytes([code]) for code in OPERATIONS]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(st.sampled_from(CODES), st.binary(max_size=3)), max_size=40))
def test_random_programs_end(pieces: list[bytes]) -> None:
    with suppress(PickleRejected):
        unpickle(b"".join(pieces) + b".", {"a.b": CallableGlobal(lambda *x: x)}, lambda x: x)


def test_every_operation_is_known_to_python_and_none_imports() -> None:
    known = {ord(each.code): each.name for each in pickletools.opcodes}
    names = {known[code] for code in OPERATIONS}
    assert names & {"INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER"} == set()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.lists(inner).map(tuple) | st.sets(st.text()),
    max_leaves=30,
)


@settings(deadline=None)
@given(PLAIN, st.sampled_from([2, 3, 4, 5]))
def test_plain_values_are_what_pythons_machine_makes(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    unknown = {each.name for each, _, _ in pickletools.genops(data)} & {"GLOBAL", "REDUCE", "FROZENSET"}
    if unknown:  # sets and bytes of the oldest protocol are calls
        return
    assert unpickle(data, {}, lambda x: x) == value
