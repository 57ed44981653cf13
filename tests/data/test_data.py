"""Readers, held against numpy, Pillow, and files packed by hand."""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import struct
import sys
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as st
from PIL import Image, ImageOps

from netdsl.base.files import MissingFile, NotAFile
from netdsl.base.user_error import UserError
from netdsl.data.errors import BadData, BadPicture, MissingPackage, NoSuchMember, WrongShape, WrongType
from netdsl.data.images import PIXELS, ROWS, resized_size
from netdsl.data.npy import NpzArchive
from netdsl.data.picture import FILTERS, Picture
from netdsl.data.reader import Reader, match_shape, open_input
from netdsl.data.sources import from_arrays
from netdsl.data.spec import DataSpec, Target
from netdsl.weights.file import open_weights
from tests.support.paths import ROOT

MNIST = ROOT / "examples" / "mnist"
DIGITS = str(MNIST / "t10k-images-idx3-ubyte.gz")
CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray[Any, Any]) -> bytes:
    """An idx file by its description, with struct alone."""
    kind = array.dtype.str[1:]
    letter = {"u1": "B", "i1": "b", "i2": "h", "i4": "i", "f4": "f", "f8": "d"}[kind]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[kind], array.ndim, *array.shape)
    return head + struct.pack(f">{array.size}{letter}", *array.ravel().tolist())


def everything(reader: Reader, size: int = 3) -> np.ndarray[Any, Any]:
    batches = list(reader.batches(size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert all(batch.flags.c_contiguous and batch.dtype == reader.dtype for batch in batches)
    whole = np.concatenate(batches)
    assert len(whole) == len(reader)
    return whole


@pytest.mark.parametrize(
    ("found", "wanted", "count", "example"),
    [
        ((5, 3, 8, 9), (3, 8, 9), 5, (3, 8, 9)),
        ((3, 8, 9), (3, 8, 9), 1, (3, 8, 9)),
        ((5, 3, 8, 9), (3, None, None), 5, (3, 8, 9)),
        ((5, 28, 28), (1, 28, 28), 5, (1, 28, 28)),
        ((28, 28), (1, 28, 28), 1, (1, 28, 28)),
        ((28, 28, 28), (1, 28, 28), 28, (1, 28, 28)),
        ((1, 28, 28), (1, 28, 28), 1, (1, 28, 28)),
        ((7,), (1, 1), 7, (1, 1)),
        ((7,), (), 7, ()),
        ((), (), 1, ()),
        ((4, 9), (1, None, 1), 4, (1, 9, 1)),
        ((7,), (None,), 1, (7,)),
        ((1, 2, 3), (2, 3), 1, (2, 3)),
    ],
)
def test_shapes_that_fit(found: tuple[int, ...], wanted: Any, count: int, example: tuple[int, ...]) -> None:
    assert match_shape("x.npy", found, wanted) == (count, example)


@pytest.mark.parametrize(
    ("found", "wanted", "message", "advice"),
    [
        (
            (10, 28, 28, 1),
            (1, 28, 28),
            "x.npy is 10x28x28x1, but the input takes examples of 1x28x28",
            "(0, 3, 1, 2)",
        ),
        ((224, 224, 3), (3, 224, 224), "x.npy is 224x224x3, but the input takes examples of 3x224x224", "(2, 0, 1)"),
        ((10, 3, 8, 8), (3, 8, 9), "x.npy is 10x3x8x8, but the input takes examples of 3x8x9", ""),
        ((10, 784), (1, 28, 28), "x.npy is 10x784, but the input takes examples of 1x28x28", ""),
        ((10, 4, 8, 8), (3, None, None), "x.npy is 10x4x8x8, but the input takes examples of 3x?x?", ""),
        ((), (3,), "x.npy is a single number, but the input takes examples of 3", ""),
    ],
)
def test_shapes_that_do_not(found: tuple[int, ...], wanted: Any, message: str, advice: str) -> None:
    with pytest.raises(WrongShape) as caught:
        match_shape("x.npy", found, wanted)
    assert caught.value.message == message
    assert advice in "".join(caught.value.helps)
    assert bool(advice) == bool(caught.value.helps)


# --- idx -----------------------------------------------------------------------------------------------------------


def test_mnist_is_read_as_an_independent_reader_reads_it() -> None:
    raw = gzip.open(DIGITS).read()
    expected = np.frombuffer(raw, np.uint8, offset=16).reshape(10_000, 1, 28, 28)
    reader = open_input(DIGITS, (1, 28, 28), "f32")
    assert len(reader) == 10_000
    assert reader.name(17).endswith("t10k-images-idx3-ubyte.gz[17]")
    whole = everything(reader, 256)
    assert whole.dtype == np.float32
    assert np.array_equal(whole, expected)
    assert whole.max() == 255
    labels = everything(open_input(str(MNIST / "t10k-labels-idx1-ubyte.gz"), (), "i64"), 999)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("gzipped", [False, True])
def test_every_type_of_idx(tmp_path: Path, kind: str, gzipped: bool) -> None:
    array = (np.arange(7 * 2 * 3).reshape(7, 2, 3) * 3 - (0 if kind == "u1" else 50)).astype(kind)
    path = tmp_path / "data"
    path.write_bytes(gzip.compress(idx(array)) if gzipped else idx(array))
    reader = open_input(str(path), (2, 3), "f32")
    for size in (1, 3, 7, 100):
        assert np.array_equal(everything(reader, size), array.astype(np.float32))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.sampled_from(sorted(CODES)), st.integers(1, 5))
def test_idx_round_trip(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], kind: str, batch: int) -> None:
    array = np.random.default_rng(0).integers(0, 127, sizes).astype(kind)
    path = tmp_path_factory.mktemp("idx") / "x.idx"
    path.write_bytes(idx(array))
    assert np.array_equal(everything(open_input(str(path), tuple(sizes[1:]), "float32"), batch), array)


SMALL = idx(np.arange(24, dtype="u1").reshape(6, 2, 2))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SMALL[:-1], "is truncated: it declares 6 examples, but ends in number 5"),
        (SMALL[:16], "is truncated: it declares 6 examples, but ends in number 0"),
        (SMALL[:10], "is truncated in its header"),
        (SMALL + b"\0", "has more than the 6 examples that it declares"),
        (gzip.compress(SMALL, mtime=0)[:-10], "is damaged: "),
        (gzip.compress(SMALL, mtime=0)[:-8] + b"\0" * 8, "is damaged: "),
        (gzip.compress(SMALL[:-5], mtime=0), "is truncated: it declares 6 examples, but ends in number 4"),
        (gzip.compress(b"hello", mtime=0), "is not an idx file"),
        (b"\x1f\x8bgarbage!", "is damaged: "),
        (idx(np.zeros((0, 2, 2), "u1")), "contains no examples"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2, 2) + b"x" * 99, "is truncated"),
        (b"\0\0\x07\x01\0\0\0\1a", "has an unsupported format"),
        (b"", "is empty"),
        (b"<html>not found", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a git-LFS pointer"),
        (pickle.dumps([1]), "can run code"),
        (b"1,2,3\n4,5,6\n", "has an unsupported format"),
        (b"\x93NUMPY\x01\x00\xff", "has a header that cannot be read"),
        (b"PK\x03\x04garbage", "is damaged: "),
    ],
)
def test_damaged_files(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(data)
    with pytest.raises(BadData) as caught:
        everything(open_input(str(path), (2, 2), "u8"))
    assert message in caught.value.message
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_declared_sizes_are_not_believed(tmp_path: Path) -> None:
    lie = struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"x" * 99
    for data in (lie, gzip.compress(lie)):
        (tmp_path / "lie.idx").write_bytes(data)
        with pytest.raises(BadData, match="is truncated"):
            everything(open_input(str(tmp_path / "lie.idx"), (None, None), "u8"), 256)


def test_missing_files_and_devices(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        open_input(str(tmp_path / "no.npy"), (1,), "f32")
    with pytest.raises(NotAFile):
        open_input(str(tmp_path), (1,), "f32")


# --- npy -----------------------------------------------------------------------------------------------------------


ARRAYS = {
    "floats": np.linspace(-1, 1, 7 * 6, dtype="f4").reshape(7, 2, 3),
    "doubles": np.linspace(-1, 1, 7 * 6).reshape(7, 2, 3),
    "halves": np.linspace(-1, 1, 7 * 6).astype("f2").reshape(7, 2, 3),
    "big-endian": np.linspace(-1, 1, 7 * 6).astype(">f8").reshape(7, 2, 3),
    "fortran": np.asfortranarray(np.linspace(-1, 1, 7 * 6, dtype="f4").reshape(7, 2, 3)),
    "bytes": np.arange(42, dtype="u1").reshape(7, 2, 3),
    "booleans": (np.arange(42) % 3 == 0).reshape(7, 2, 3),
    "integers": np.arange(-21, 21).reshape(7, 2, 3),
    "one": np.arange(6.0).reshape(2, 3),
    "one-fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("form", ["npy", "npz", "npz packed"])
def test_arrays(tmp_path: Path, name: str, form: str) -> None:
    path, array = tmp_path / "data", ARRAYS[name]
    with open(path, "wb") as file:
        if form == "npy":
            np.save(file, array)
        else:
            (np.savez_compressed if "packed" in form else np.savez)(file, array)
    if form != "npy" and "fortran" in name:
        with pytest.raises(BadData, match="Fortran order"):
            open_input(str(path), (2, 3), "f32")
        return
    reader = open_input(str(path), (2, 3), "f32")
    expected = array.reshape(-1, 2, 3).astype("f4")
    assert np.array_equal(everything(reader), expected)
    assert np.array_equal(everything(reader, 100), expected)
    assert reader.name(4) == f"{path}[4]"


def test_axes_of_one_are_added_to_any_order(tmp_path: Path) -> None:
    array = np.arange(24.0).reshape(4, 2, 3)
    for made in (array, np.asfortranarray(array)):
        np.save(tmp_path / "x.npy", made)
        reader = open_input(str(tmp_path / "x.npy"), (1, 2, 3, 1), "f32")
        assert np.array_equal(everything(reader), array.reshape(4, 1, 2, 3, 1))


@pytest.mark.parametrize(
    ("array", "dtype", "message"),
    [
        (np.zeros((2, 3)), "u8", "contains float64, but the input takes uint8"),
        (np.zeros((2, 3), ">f4"), "i64", "contains float32, but the input takes int64"),
        (np.zeros((2, 3), complex), "f32", "contains complex128, but the input takes float32"),
        (np.zeros((2, 3), "U4"), "f32", "contains <U4, but the input takes float32"),
        (np.zeros((2, 3), "M8[s]"), "f32", "but the input takes float32"),
        (np.zeros((2, 3), [("a", "f4")]), "f32", "but the input takes float32"),
        (np.array([[1, 2, 3], [4, 5, 256]]), "u8", "x.npy[1] contains 256, which is out of range for uint8"),
        (np.array([[-1, 2, 3]]), "u8", "x.npy[0] contains -1, which is out of range for uint8"),
        (
            np.array([[2**64 - 1] * 3], "u8"),
            "i64",
            "[0] contains 18446744073709551615, which is out of range for int64",
        ),
        (np.array([[0, 1e300, 0]]), "f32", "x.npy[0] contains 1e+300, which is out of range for float32"),
        (np.array([[0, 0, 65536]]), "f16", "x.npy[0] contains 65536, which is out of range for float16"),
    ],
)
def test_types_that_do_not_fit(tmp_path: Path, array: np.ndarray[Any, Any], dtype: str, message: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(WrongType) as caught:
            everything(open_input(str(tmp_path / "x.npy"), (3,), dtype))
    assert message in caught.value.message


def test_numbers_that_are_not_finite_stay(tmp_path: Path) -> None:
    array = np.array([[np.inf, -np.inf, np.nan]])
    np.save(tmp_path / "x.npy", array)
    assert np.array_equal(everything(open_input(str(tmp_path / "x.npy"), (3,), "f32")), array, equal_nan=True)


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["npy", "npz", "pickle", "torch"])
def test_nothing_is_ever_unpickled(tmp_path: Path, form: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / "data"
    objects = np.array([Canary(canary)], object)
    with open(path, "wb") as file:
        if form == "npy":
            np.save(file, objects)
        elif form == "npz":
            np.savez(file, objects)
        elif form == "pickle":
            pickle.dump(Canary(canary), file)
        else:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("model/data.pkl", pickle.dumps(Canary(canary)))
    with pytest.raises(BadData, match="can run code"):
        open_input(str(path), (1,), "f32")
    assert not canary.exists()


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    width = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + version + struct.pack(width, len(text)) + text.encode("latin1")


@pytest.mark.parametrize(
    "data",
    [
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3)}\n") + b"1234" * 3,
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3)}\n") + b"1234" * 3,
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3)}\n") + b"1234" * 2,
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3)}\n") + b"1234" * 4,
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 3.0)}\n") + b"1234" * 3,
        header("{'descr': '<f4', 'fortran_order': False}\n") + b"1234" * 3,
        header("{'descr': 'rubbish', 'fortran_order': False, 'shape': (1, 3)}\n") + b"1234" * 3,
        header("__import__('os').system('touch canary')\n"),
        header("(" * 9000),
        header("[" * 60000, b"\x02\x00"),
        header("{", b"\x09\x00"),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 100,
        b"\x93NUMPY\x03\x00\x10\x00\x00\x00{'descr': '\xff\xff",
        b"\x93NUMPY",
    ],
)
@pytest.mark.parametrize("form", ["npy", "npz"])
def test_hostile_headers(tmp_path: Path, data: bytes, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("x." + form)
    if form == "npy":
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(BadData) as caught:
            open_input(str(path), (3,), "f32")
    assert "\n" not in caught.value.message
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x93NUMPY\x01\x00\x76\x00{", b"\0\0\x08\x01", b"\x1f\x8b\x08", b"PK\x03\x04"]),
)
def test_no_bytes_make_a_reader_fail_in_any_other_way(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "data"
    path.write_bytes(head + data)
    with contextlib.suppress(UserError):
        everything(open_input(str(path), (None,), "f32"))


# --- npz -----------------------------------------------------------------------------------------------------------


def test_a_member_is_found_by_the_inputs_name_or_by_being_alone(tmp_path: Path) -> None:
    a, b = np.zeros((2, 3), "f4"), np.ones((2, 3), "f4")
    np.savez(tmp_path / "two.npz", a=a, b=b)
    np.savez(tmp_path / "one.npz", b=b)
    assert everything(open_input(str(tmp_path / "two.npz"), (3,), "f32", name="a")).sum() == 0
    assert everything(open_input(str(tmp_path / "two.npz"), (3,), "f32", name="b")).sum() == 6
    assert everything(open_input(str(tmp_path / "one.npz"), (3,), "f32", name="a")).sum() == 6
    with pytest.raises(NoSuchMember, match=r"has no array `image` \(available: a, b"):
        open_input(str(tmp_path / "two.npz"), (3,), "f32", name="image")
    np.savez(tmp_path / "none.npz")
    with pytest.raises(NoSuchMember, match="available: none"):
        open_input(str(tmp_path / "none.npz"), (3,), "f32", name="image")


def npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


ONE = npy(np.zeros((2, 3), "f4"))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../../x.npy", ONE)], "leads out of the archive"),
        ([("/x.npy", ONE)], "leads out of the archive"),
        ([("..\\x.npy", ONE)], "leads out of the archive"),
        ([("C:/x.npy", ONE)], "leads out of the archive"),
        ([("x.npy", ONE), ("x.npy", ONE)], "occurs twice"),
        ([("x.txt", b"hello")], "is not an array"),
        ([("x.npy", ONE[:-1])], "declares 24 bytes of data, but has 23"),
        ([("x.npy", ONE + b"\0")], "declares 24 bytes of data, but has 25"),
        ([("x.npy", b"")], "is damaged, or not a NumPy array"),
    ],
)
def test_hostile_archives(tmp_path: Path, members: list[tuple[str, bytes]], message: str) -> None:
    path = tmp_path / "x.npz"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for name, data in members:
            archive.writestr(name, data)
    with pytest.raises(BadData) as caught:
        open_input(str(path), (3,), "f32")
    assert message in caught.value.message
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((b"PK\x01\x02", 10, 14), "unsupported compression method 14"),  # LZMA
        ((b"PK\x01\x02", 44, 200), "declares 160,128 bytes, which are missing"),
        ((b"PK\x03\x04", 30, ord("y")), "File name in directory 'x.npy' and header b'y.npy' differ."),
        ((b"\x93NUMPY", 100_000, 1), "its member x.npy has a wrong checksum"),
    ],
)
def test_a_mapped_archive_is_checked_as_weights_are(
    tmp_path: Path, change: tuple[bytes, int, int], message: str
) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.zeros((200, 200), "f4"))
    broken = bytearray(path.read_bytes())
    mark, offset, byte = change
    broken[broken.index(mark) + offset] = byte
    path.write_bytes(broken)
    with pytest.raises(UserError) as weights:
        open_weights(str(path)).read("x")
    with pytest.raises(BadData) as caught:
        NpzArchive(str(path)).load("x")
    assert caught.value.message.endswith(message)
    assert weights.value.message.partition(" is damaged: ")[2] == caught.value.message.partition(" is damaged: ")[2]


def test_a_wrong_checksum_and_an_encrypted_member(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.zeros((2, 3), "f4"))
    good = bytearray(path.read_bytes())
    data = good.index(b"\x93NUMPY")
    broken = bytearray(good)
    broken[data + 130] ^= 1
    path.write_bytes(broken)
    with pytest.raises(BadData, match="CRC"):
        everything(open_input(str(path), (3,), "f32"))
    central = good.index(b"PK\x01\x02")
    good[central + 8] |= 1
    path.write_bytes(good)
    with pytest.raises(BadData, match="is encrypted"):
        open_input(str(path), (3,), "f32")


def test_only_a_batch_is_in_memory(tmp_path: Path) -> None:
    size = 64 * 2**20
    zeros = zlib.compress(bytes(size), 1)
    assert len(zeros) < size // 100
    np.savez_compressed(tmp_path / "bomb.npz", np.zeros((size // 1024, 1024), "u1"))
    with gzip.open(tmp_path / "bomb.gz", "wb", 1) as file:
        file.write(struct.pack(">BBBB2I", 0, 0, 8, 2, size // 1024, 1024) + bytes(size))
    np.save(tmp_path / "large.npy", np.zeros((size // 1024, 1024), "u1"))
    for name in ("bomb.npz", "bomb.gz", "large.npy"):
        tracemalloc.start()
        total = sum(len(batch) for batch in open_input(str(tmp_path / name), (1024,), "u8").batches(256))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total == size // 1024
        assert peak < 4 * 2**20, name


# --- pictures ------------------------------------------------------------------------------------------------------


def picture(mode: str = "RGB", size: tuple[int, int] = (8, 6), seed: int = 0) -> Image.Image:
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels)).astype(np.uint8)
    return Image.fromarray(values[..., 0] if channels == 1 else values, mode)


def read_one(path: Path, channels: int = 3, framing: Picture | None = None) -> np.ndarray[Any, Any]:
    return everything(open_input(str(path), (channels, None, None), "u8", picture=framing))[0]


@pytest.mark.parametrize("extension", ["png", "bmp", "ppm", "tiff", "webp"])
def test_pictures_are_channels_first_and_keep_their_values(tmp_path: Path, extension: str) -> None:
    path, made = tmp_path / f"x.{extension}", picture()
    made.save(path, **({"lossless": True} if extension == "webp" else {}))
    pixels = read_one(path)
    assert pixels.shape == (3, 6, 8)
    for y, x in ((0, 0), (5, 7), (2, 3)):
        assert tuple(pixels[:, y, x]) == made.getpixel((x, y))
    floats = everything(open_input(str(path), (3, 6, 8), "f32"))[0]
    assert floats.dtype == np.float32
    assert np.array_equal(floats, pixels)


def test_jpeg_is_what_pillow_decodes(tmp_path: Path) -> None:
    picture().save(tmp_path / "x.jpg")
    assert np.array_equal(read_one(tmp_path / "x.jpg"), np.asarray(Image.open(tmp_path / "x.jpg")).transpose(2, 0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_cameras_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = picture("L")
    # the inverse of what each orientation asks for; source: EXIF 2.3, tag 274
    turns = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = upright
    for turn in turns.get(orientation, []):
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_one(tmp_path / "x.png", 1)[0], np.asarray(upright))


def test_modes_are_converted_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    rgb = picture()
    rgb.save(path)
    assert np.array_equal(read_one(path, 1)[0], np.asarray(rgb.convert("L")))
    grey = picture("L")
    grey.save(path)
    assert np.array_equal(read_one(path), np.stack([np.asarray(grey)] * 3))
    rgb.quantize(16).save(path)
    assert np.array_equal(read_one(path), np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1))
    Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16)).save(path)
    assert read_one(path, 1)[0].tolist() == [[0, 0, 1, 255]]
    Image.fromarray(np.array([[[9, 8, 7, 0], [9, 8, 7, 255]]], np.uint8), "RGBA").save(path)
    assert read_one(path).transpose(1, 2, 0).tolist() == [[[255, 255, 255], [9, 8, 7]]]
    Image.fromarray(np.array([[[9, 0], [9, 255]]], np.uint8), "LA").save(path)
    assert read_one(path, 1)[0].tolist() == [[255, 9]]
    Image.fromarray(np.array([[True, False]])).save(path)
    assert read_one(path, 1)[0].tolist() == [[255, 0]]
    picture("CMYK").save(tmp_path / "x.jpg")
    assert read_one(tmp_path / "x.jpg").shape == (3, 6, 8)


def test_pictures_are_framed_as_torchvision_does(tmp_path: Path) -> None:
    made = picture(size=(40, 31))
    made.save(tmp_path / "x.png")
    got = read_one(tmp_path / "x.png", framing=Picture(resize=16, crop=14, filter="bicubic", order="bgr"))
    resized = made.resize((20, 16), Image.Resampling.BICUBIC)  # int(16 * 40 / 31) = 20
    expected = np.asarray(resized)[1:15, 3:17, ::-1].transpose(2, 0, 1)
    assert np.array_equal(got, expected)
    with pytest.raises(WrongShape, match=r"is 31x40 \(height x width\), too small for a crop of 32x32"):
        read_one(tmp_path / "x.png", framing=Picture(crop=32))
    with pytest.raises(WrongShape, match="too small for a crop of 30x42"):
        read_one(tmp_path / "x.png", framing=Picture(crop=(30, 42)))


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000)])
@pytest.mark.parametrize("resize", [256, (2**13 + 1, 2**13)])
def test_a_picture_that_would_become_too_large_is_refused_before_it_is_decoded(
    tmp_path: Path, size: tuple[int, int], resize: int | tuple[int, int]
) -> None:
    picture("L", size=size).save(tmp_path / "x.png")
    with pytest.raises(BadPicture, match=r"would be resized to \d+x\d+, more than the limit of 67,108,864 pixels"):
        open_input(str(tmp_path / "x.png"), (1, 8, 8), "f32", picture=Picture(resize, 8))


@given(st.tuples(*[st.integers(1, 90)] * 4))
@example((15, 22, 8, 11))
def test_a_letterboxed_image_has_the_size_that_pillow_gives_it(sizes: tuple[int, int, int, int]) -> None:
    height, width, *made = sizes
    try:
        wide, tall = ImageOps.contain(Image.new("1", (width, height)), (made[1], made[0])).size
    except ValueError:  # of Pillow 11, if a side would be 0
        reject()
    assert resized_size(Picture(resize=(made[0], made[1]), letterbox=0), height, width) == (max(1, tall), max(1, wide))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kernel", FILTERS)
@pytest.mark.parametrize("size", [(40, 31), (7, 50), (16, 24), (3, 5), (1, 90)])
def test_resizing_to_a_size_and_letterboxing_are_pillows(
    tmp_path: Path, size: tuple[int, int], kernel: str, mode: str
) -> None:
    made = picture(mode, size=size)
    made.save(tmp_path / "x.png")
    channels, method = 1 if mode == "L" else 3, Image.Resampling[kernel.upper()]
    exact = read_one(tmp_path / "x.png", channels, Picture(resize=(16, 24), crop=(9, 24), filter=kernel))
    expected = np.asarray(made.resize((24, 16), method)).reshape(16, 24, channels)[4:13]  # round(3.5) = 4
    assert np.array_equal(exact, expected.transpose(2, 0, 1))
    boxed = read_one(tmp_path / "x.png", channels, Picture(resize=(16, 24), letterbox=114, filter=kernel))
    if size != (1, 90):  # of which Pillow leaves nothing
        fill = 114 if mode == "L" else (114, 114, 114)
        padded = ImageOps.pad(made, (24, 16), method, fill)
        assert np.array_equal(boxed, np.asarray(padded).reshape(16, 24, channels).transpose(2, 0, 1))
    assert (boxed != 114).any()


def _spec(how: Picture) -> DataSpec:
    return DataSpec({"x": ((3, 4, 5), "f32")}, {"y": Target("y", "class", classes=2)}, pictures={"x": how})


def test_pixels_are_normalized_and_arrays_are_not(tmp_path: Path) -> None:
    made = picture(size=(5, 4))
    made.save(tmp_path / "x.png")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    how = Picture(order="bgr", mean=tuple(255 * m for m in mean[::-1]), std=tuple(255 * s for s in std[::-1]))
    (got,) = everything(open_input(str(tmp_path / "x.png"), (3, 4, 5), "f32", picture=how))
    wanted = (np.asarray(made, np.float64) / 255 - mean) / std
    np.testing.assert_allclose(got, wanted.transpose(2, 0, 1)[::-1], atol=1e-6)
    data = from_arrays({"x": got}, {"y": [0]}, _spec(how))
    np.testing.assert_array_equal(next(data.batches(1, seed=0, epoch=0))["x"][0], got)
    assert data.notes == [f"x: arrays are used as they are, without `{how}`"]
    assert not from_arrays({"x": got}, {"y": [0]}, _spec(Picture())).notes
    half = everything(open_input(str(tmp_path / "x.png"), (3, 4, 5), "f16", picture=how))
    np.testing.assert_allclose(half[0], got, atol=2e-3)
    pixels = np.asarray(made).transpose(2, 0, 1)[None]
    np.save(tmp_path / "x.npy", pixels)
    assert np.array_equal(everything(open_input(str(tmp_path / "x.npy"), (3, 4, 5), "f32", picture=how)), pixels)
    one = everything(open_input(DIGITS, (1, 28, 28), "f32", picture=Picture(std=(255,))))
    assert np.array_equal(one, everything(open_input(DIGITS, (1, 28, 28), "f32")) / np.float32(255))


def test_several_pictures_are_one_stream(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{i}.png") for i in range(5)]
    for i, path in enumerate(paths):
        picture(seed=i).save(path)
    reader = open_input(paths, (3, 6, 8), "f32")
    whole = everything(reader, 2)
    assert len(whole) == 5
    assert reader.name(3) == paths[3]
    assert np.array_equal(whole[3], np.asarray(picture(seed=3)).transpose(2, 0, 1))
    np.save(tmp_path / "x.npy", whole)
    with pytest.raises(BadData, match=r"must all be images, but .*x.npy is not"):
        open_input([*paths, str(tmp_path / "x.npy")], (3, 6, 8), "f32")


def test_pictures_of_mixed_sizes(tmp_path: Path) -> None:
    a, b = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    picture(size=(8, 6)).save(a)
    picture(size=(9, 6)).save(b)
    reader = open_input([a, b], (3, None, None), "f32")
    assert [batch.shape for batch in reader.batches(1)] == [(1, 3, 6, 8), (1, 3, 6, 9)]
    with pytest.raises(WrongShape) as caught:
        list(reader.batches(2))
    assert all(part in caught.value.message for part in (a, "6x8", b, "6x9"))
    with pytest.raises(WrongShape, match=r"b.png is 6x9 \(height x width\), but the input takes 6x8"):
        list(open_input([a, b], (3, 6, 8), "f32").batches(2))
    with pytest.raises(WrongShape, match="is an image, but the input takes examples of 4x6x8"):
        open_input(a, (4, 6, 8), "f32")


def png(width: int, height: int, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", body or zlib.compress(b"\0")) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (10_000, 10_000), (PIXELS + 1, 1)])
def test_a_decompression_bomb_is_not_opened(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png(width, height))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadPicture, match="pixels"):
            open_input(str(tmp_path / "bomb.png"), (1, None, None), "f32")


def test_damaged_pictures(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for extension in ("png", "jpeg", "gif", "bmp", "tiff", "webp"):
        made = io.BytesIO()
        picture(size=(64, 64)).save(made, extension)
        for cut in (6, len(made.getvalue()) // 2):
            path.write_bytes(made.getvalue()[:cut])
            with pytest.raises(BadPicture) as caught:
                read_one(path)
            assert not {"\n", "<"} & {*caught.value.message}
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(BadData, match="has an unsupported format"):
        read_one(path)


def test_an_animation_and_deep_pixels_are_refused(tmp_path: Path) -> None:
    frames = [picture("L", seed=i) for i in range(3)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(BadPicture, match="is an animation, not a still image"):
        read_one(tmp_path / "x.gif")
    for kind in (np.int32, np.float32):
        Image.fromarray(np.zeros((4, 4), kind)).save(tmp_path / "x.tiff")
        with pytest.raises(BadPicture, match="pixels; only 8 and 16 bits are supported"):
            read_one(tmp_path / "x.tiff")


def test_without_pillow_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "x.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingPackage) as caught:
        open_input(str(tmp_path / "x.png"), (3, 6, 8), "f32")
    assert caught.value.helps == ("pip install 'netdsl[images]'",)
    assert caught.value.exit_code == 2


BOMBS = {
    "a PNG": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0u0\0\0u0\x08\0\0\0\0", 30_000),
    "a GIF": (b"GIF89a\x30\x75\x30\x75\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x30\x75\x30\x75\0\x02\x02L\x01\0;", 30_000),
    "a PGM": (b"P5 30000 30000 255\n" + bytes(100), 30_000),
    "a PGM of an allowed size": (b"P5 8000 8000 255\n" + bytes(100), 8_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_picture_s_size_is_checked_before_it_is_decoded(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, size = BOMBS[name]
    if data.startswith(b"\x89PNG"):
        data += zlib.crc32(data[12:]).to_bytes(4, "big") + b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")
    (tmp_path / "p").write_bytes(data)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("it is decoded"))
    with pytest.raises(
        (BadPicture, WrongShape), match=r"more pixels than the limit of 67,108,864|8000x8000 .* takes 8x8"
    ) as found:
        open_input(str(tmp_path / "p"), (1, 8, 8), "f32")
    assert (found.value.code == "E0805") == (size == 30_000)


def test_a_turned_picture_fits_as_it_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn clockwise
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(stored).save(tmp_path / "t.png", exif=exif)
    (batch,) = open_input(str(tmp_path / "t.png"), (1, 4, 3), "u8").batches(1)
    assert batch.tolist() == [[np.rot90(stored, -1).tolist()]]
    with pytest.raises(WrongShape, match=r"t\.png is 4x3 \(height x width\), but the input takes 3x4"):
        next(open_input(str(tmp_path / "t.png"), (1, 3, 4), "u8").batches(1))


def test_transparency_is_laid_over_white_in_every_row(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (2 * ROWS + 5, 7, 4), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "a.png")
    (batch,) = open_input(str(tmp_path / "a.png"), (3, *pixels.shape[:2]), "u8").batches(1)
    whole = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    np.testing.assert_array_equal(batch[0], np.asarray(whole).transpose(2, 0, 1))
