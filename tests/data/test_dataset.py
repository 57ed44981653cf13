"""Data sets, held against plain NumPy: what comes in which order, from any position on, and what is told beforehand.

The numbers are those of the list of bad inputs.
"""

from __future__ import annotations

import gzip
import random
import threading
import zipfile
from collections.abc import Callable, Iterator
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from netdsl.base.user_error import UserError
from netdsl.data.augment import AUGMENTATIONS, Augment
from netdsl.data.column import ArrayColumn
from netdsl.data.dataset import Dataset
from netdsl.data.draws import permutation
from netdsl.data.errors import BadAugment, BadStream, BatchTooLarge, NoExamples
from netdsl.data.image_folder import ahead
from netdsl.data.iterable import Stream
from netdsl.data.kinds import KINDS
from netdsl.data.picture import Picture
from netdsl.data.reader import open_input
from netdsl.data.sources import from_arrays
from netdsl.data.spec import DataSpec, Target
from netdsl.ir.names import Names
from netdsl.train.open_data import subset
from tests.data.test_data import idx
from tests.support.paths import ROOT

Array = np.ndarray[Any, Any]
MNIST = str(ROOT / "examples" / "mnist")

FLIP = Augment([AUGMENTATIONS["flip"](), AUGMENTATIONS["crop"](pad=1)])


def wanted(*shape: int | None, classes: int = 10, dtype: str = "f32", **more: Any) -> DataSpec:
    return DataSpec({"x": (shape, dtype)}, {"y": Target("y", "class", classes=classes)}, **more)


def open_dataset(
    kind: str, paths: list[str], *, inputs: dict[str, Any], targets: dict[str, Target], **arguments: Any
) -> Dataset:
    source = KINDS[kind]
    named = dict(zip(source.paths(), paths, strict=True))
    return source(**named, **arguments).open(DataSpec(inputs, targets))


def saved(folder: Path, **arrays: object) -> list[str]:
    for name, array in arrays.items():
        np.save(folder / name, np.asarray(array))
    return [str(folder / f"{name}.npy") for name in arrays]


def digits(n: int = 23) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 1, 5, 4)).astype(np.uint8), rng.integers(0, 10, n)


def made(n: int = 23) -> Dataset:
    x, y = digits(n)
    return from_arrays({"x": x}, {"y": y}, wanted(1, 5, 4))


def drawn(folder: Path, sizes: dict[str, list[tuple[int, int]]]) -> str:
    """Pictures of these (height, width), in a folder for each class."""
    rng = np.random.default_rng(0)
    for label, found in sizes.items():
        (folder / label).mkdir(parents=True)
        for number, size in enumerate(found):
            Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(folder / label / f"{number}.png")
    return str(folder)


# Batches


def test_an_epoch_has_each_example_once_in_the_order_of_the_permutation() -> None:
    x, y = digits()
    order = permutation(23, 7, 3)
    batches = list(made().batches(5, seed=7, epoch=3))
    assert [sorted(b) for b in batches] == [["x", "y"]] * 4
    for number, batch in enumerate(batches):
        picked = order[5 * number : 5 * number + 5]
        np.testing.assert_array_equal(batch["x"], x[picked].astype(np.float32), strict=True)
        np.testing.assert_array_equal(batch["y"], y[picked], strict=True)
        assert all(array.flags.c_contiguous for array in batch.values())
        assert all((array if array.base is None else array.base).flags.owndata for array in batch.values())


def test_the_last_batch_is_dropped_or_smaller() -> None:
    dataset = made()
    assert dataset.steps(5) == 4
    assert dataset.steps(5, drop_last=False) == 5
    whole = list(dataset.batches(5, seed=0, epoch=0, drop_last=False, shuffle=False))
    assert [len(batch["y"]) for batch in whole] == [5, 5, 5, 5, 3]
    np.testing.assert_array_equal(np.concatenate([batch["y"] for batch in whole]), digits()[1])


@given(st.integers(1, 23), st.integers(0, 25), st.integers(0, 2**63), st.integers(0, 1000), st.booleans())
def test_a_run_that_goes_on_sees_what_an_unbroken_one_sees(
    batch: int, first: int, seed: int, epoch: int, drop: bool
) -> None:
    dataset = made()
    whole = list(dataset.batches(batch, seed=seed, epoch=epoch, augment=FLIP, drop_last=drop))
    rest = list(dataset.batches(batch, seed=seed, epoch=epoch, augment=FLIP, drop_last=drop, first=first))
    assert len(rest) == max(0, dataset.steps(batch, drop) - first)
    for one, other in zip(rest, whole[first:], strict=True):
        for name in ("x", "y"):
            np.testing.assert_array_equal(one[name], other[name], strict=True)


@given(st.integers(1, 300), st.integers(-(2**80), 2**80), st.integers(0, 2**40))
def test_a_permutation_is_one(n: int, seed: int, epoch: int) -> None:
    order = permutation(n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    np.testing.assert_array_equal(order, permutation(n, seed, epoch))


def test_equal_draws_stay_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    class Few:
        def __init__(self, key: object) -> None:
            pass

        def random_raw(self, n: int) -> Any:
            return np.arange(n, dtype=np.uint64)[::-1] // 8

    monkeypatch.setattr(np.random, "Philox", Few)
    order = permutation(1000, 0, 0)
    assert order.tolist() == sorted(range(1000), key=lambda i: (999 - i) // 8)


ROWS = np.random.default_rng(0).integers(0, 100, (7, 3, 2))
APART = np.frombuffer(b"." + ROWS.astype("<f4").tobytes(), np.uint8)[1:].view("<f4").reshape(7, 3, 2)


@pytest.mark.parametrize(
    "array",
    [ROWS, ROWS.astype(">i2"), ROWS[:, 0, 0].copy(), ROWS[::2], np.asfortranarray(ROWS), APART, ROWS > 50],
    ids=["plain", "big endian", "numbers", "strided", "fortran", "not aligned", "truth"],
)
def test_examples_are_taken_wherever_they_lie(array: Any) -> None:
    column = ArrayColumn("x", array, array.shape[1:], "float32")
    for indices in ([2, 0, 2, 1], [3], []):
        np.testing.assert_array_equal(column.take(np.array(indices, int)), array[np.array(indices, int)], strict=True)


def test_permutations_are_the_same_for_ever() -> None:
    assert permutation(10, 0, 0).tolist() == FIRST
    assert permutation(10, 0, 1).tolist() != FIRST
    assert permutation(10, 1, 0).tolist() != FIRST


FIRST = [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]


def test_permutations_are_uniform() -> None:
    where = np.array([permutation(6, 5, epoch) for epoch in range(6000)])
    counts = np.array([[(where[:, place] == one).sum() for one in range(6)] for place in range(6)])
    assert 850 < counts.min() <= counts.max() < 1150


# Sources


def test_mnist_is_read_by_its_names(tmp_path: Path) -> None:
    test = KINDS["mnist"](folder=MNIST, split="test").open(wanted(1, 28, 28))
    assert len(test) == 10_000
    raw = np.frombuffer(gzip.open(f"{MNIST}/t10k-images-idx3-ubyte.gz").read(), np.uint8, offset=16)
    batch = next(test.batches(10_000, seed=0, epoch=0, shuffle=False))
    np.testing.assert_array_equal(batch["x"].ravel(), raw.astype(np.float32))
    x, y = digits()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(x[:, 0]))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(y.astype(np.uint8)))
    train = KINDS["mnist"](folder=str(tmp_path)).open(wanted(1, 5, 4))
    np.testing.assert_array_equal(next(train.batches(23, seed=0, epoch=0, shuffle=False))["x"], x)


def _idx(folder: Path, x: Array, y: Array, pack: Callable[[bytes], bytes]) -> Dataset:
    (folder / "x").write_bytes(pack(idx(x)))
    (folder / "y").write_bytes(pack(idx(y.astype("u1"))))
    return open_dataset("idx", [str(folder / "x"), str(folder / "y")], **NET)


def _npy(folder: Path, x: Array, y: Array) -> Dataset:
    return open_dataset("npy", saved(folder, x=x, y=y), **NET)


def _npz(folder: Path, x: Array, y: Array, save: Any, *names: str) -> Dataset:
    save(folder / "all.npz", **dict(zip(names, (x, y), strict=True)))
    return open_dataset("npz", [str(folder / "all.npz")], **NET)


NET: dict[str, Any] = {"inputs": {"x": ((1, 5, 4), "f32")}, "targets": {"y": Target("y", "class", classes=10)}}

SOURCES: dict[str, Callable[[Path, Array, Array], Dataset]] = {
    "idx": lambda folder, x, y: _idx(folder, x, y, bytes),
    "idx, gzipped": lambda folder, x, y: _idx(folder, x, y, gzip.compress),
    "npy": _npy,
    "npy in Fortran order": lambda folder, x, y: _npy(folder, np.asfortranarray(x), y),
    "npy without the channel": lambda folder, x, y: _npy(folder, x[:, 0], y[:, None]),
    "npy, floats of the other endianness": lambda folder, x, y: _npy(folder, x.astype(">f8"), y.astype(">i2")),
    "npz": lambda folder, x, y: _npz(folder, x, y, np.savez, "x", "y"),
    "npz, compressed": lambda folder, x, y: _npz(folder, np.asfortranarray(x), y, np.savez_compressed, "x", "target"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_sources_hold_the_same(tmp_path: Path, name: str) -> None:
    x, y = digits()
    dataset = SOURCES[name](tmp_path, x, y)
    batch = next(dataset.batches(23, seed=0, epoch=0, shuffle=False))
    np.testing.assert_array_equal(batch["x"], x.astype(np.float32), strict=True)
    np.testing.assert_array_equal(batch["y"], y, strict=True)
    memory = dataset.inputs["x"].array  # type: ignore[attr-defined]
    while isinstance(memory, np.ndarray):
        memory = memory.base
    memory = memory.obj if isinstance(memory, memoryview) else memory
    assert isinstance(memory, mmap) == (name not in ("idx, gzipped", "npz, compressed"))


def test_several_inputs_and_targets_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "left": rng.normal(size=(6, 3)),
        "right": rng.integers(0, 9, (6, 2)),
        "main": rng.integers(0, 4, 6),
        "box": rng.normal(size=(6, 4)),
        "side": np.array([0, 1, 1, 0, 1, 0]),
    }
    np.savez(tmp_path / "all.npz", **arrays)  # type: ignore[arg-type]
    targets = [Target("main", "class", classes=4), Target("box", "value", shape=(4,)), Target("side", "sign")]
    net = DataSpec({"left": ((3,), "f32"), "right": ((2,), "i64")}, {target.name: target for target in targets})
    batch = next(KINDS["npz"](file=str(tmp_path / "all.npz")).open(net).batches(6, seed=0, epoch=0, shuffle=False))
    assert {name: str(array.dtype) for name, array in batch.items()} == {
        "left": "float32",
        "right": "int64",
        "main": "int64",
        "box": "float32",
        "side": "float32",
    }
    np.testing.assert_array_equal(batch["side"], [-1, 1, 1, -1, 1, -1])
    np.testing.assert_array_equal(batch["box"], arrays["box"].astype(np.float32))
    np.testing.assert_array_equal(batch["right"], arrays["right"])


def test_labels_may_have_a_shape() -> None:
    y = np.random.default_rng(0).integers(0, 3, (4, 2, 2)).astype(np.uint8)
    net = DataSpec({"x": ((1, 2, 2), "f32")}, {"y": Target("y", "class", classes=3, shape=(2, 2))})
    batch = next(from_arrays({"x": np.zeros((4, 1, 2, 2))}, {"y": y}, net).batches(4, seed=0, epoch=0, shuffle=False))
    np.testing.assert_array_equal(batch["y"], y.astype(np.int64), strict=True)


def test_arrays_say_themselves_what_they_are() -> None:
    dataset = from_arrays({"image": [[1, 2], [3, 4]]}, {"target": [0, 2], "other": [0.5, 1.5]})
    batch = next(dataset.batches(2, seed=0, epoch=0, shuffle=False))
    np.testing.assert_array_equal(batch["image"], np.array([[1, 2], [3, 4]], np.float32), strict=True)
    np.testing.assert_array_equal(batch["target"], np.array([0, 2]), strict=True)
    np.testing.assert_array_equal(batch["other"], np.array([0.5, 1.5], np.float32), strict=True)


def test_paths_of_a_kind_are_relative_to_the_file() -> None:
    source = KINDS["idx"](images="a", labels="/b").within("/home")
    assert (source.images, source.labels) == ("/home/a", "/b")  # type: ignore[attr-defined]


# Pictures


def test_a_folder_of_pictures_is_what_pillow_says(tmp_path: Path) -> None:
    folder = drawn(tmp_path, {"cat": [(6, 9), (8, 8)], "ant": [(7, 7)] * 3})
    (tmp_path / "cat" / "notes.txt").write_text("")
    (tmp_path / "cat" / ".hidden").write_text("")
    net = wanted(3, 4, 4, classes=2, pictures={"x": Picture(5, 4)})
    dataset = KINDS["folder"](folder=folder).open(net)
    assert dataset.names.classes == {"y": ("ant", "cat")}
    assert dataset.notes == [f"{folder}: skipped 1 file without the ending of an image"]
    batch = next(dataset.batches(5, seed=0, epoch=0, shuffle=False))
    assert batch["y"].tolist() == [0, 0, 0, 1, 1]
    with Image.open(tmp_path / "cat" / "0.png") as image:  # 9 wide and 6 high
        small = np.asarray(image.resize((7, 5), Image.Resampling.BILINEAR))[0:4, 2:6]
    np.testing.assert_array_equal(batch["x"][3], small.transpose(2, 0, 1).astype(np.float32))


@pytest.mark.parametrize("kind", ["folder", "idx"])
def test_pixels_are_normalized_behind_augmentations(tmp_path: Path, kind: str) -> None:
    x, y = digits(8)
    if kind == "folder":
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
        for at, pixels in enumerate(x):
            Image.fromarray(pixels[0]).save(tmp_path / "ab"[at // 4] / f"{at}.png")
        arguments = {"folder": str(tmp_path)}
    else:
        (tmp_path / "x").write_bytes(idx(x))
        (tmp_path / "y").write_bytes(idx((y > 4).astype(np.uint8)))
        arguments = {"images": str(tmp_path / "x"), "labels": str(tmp_path / "y")}
    erase = Augment([AUGMENTATIONS["erase"](p=1, value=7.0), AUGMENTATIONS["crop"](pad=1)])
    plain = KINDS[kind](**arguments).open(wanted(1, 5, 4, classes=2, augment=erase))
    how = {"x": Picture(mean=(30,), std=(50,))}
    scaled = KINDS[kind](**arguments).open(wanted(1, 5, 4, classes=2, augment=erase, pictures=how))
    for one, other in zip(plain.batches(4, seed=0, epoch=0), scaled.batches(4, seed=0, epoch=0), strict=True):
        np.testing.assert_allclose(other["x"], (one["x"] - 30) / 50, atol=1e-6)
    part = subset(scaled, np.arange(4))
    assert next(part.batches(4, seed=0, epoch=0))["x"].min() < 0
    fgsm = Augment([AUGMENTATIONS["fgsm"](epsilon=0.1)])
    with pytest.raises(BadAugment, match="`fgsm` changes inputs in pixels"):
        KINDS[kind](**arguments).open(wanted(1, 5, 4, classes=2, augment=fgsm, pictures=how))


@pytest.mark.parametrize("resize", [6, 7, (7, 9), None])
def test_the_center_crop_of_validation_is_that_of_a_run(tmp_path: Path, resize: int | tuple[int, int] | None) -> None:
    folder = drawn(tmp_path, {"a": [(8, side) for side in range(7, 14)], "b": [(side, 9) for side in range(7, 14)]})
    augment = Augment([AUGMENTATIONS["crop"](size=(5, 5)), AUGMENTATIONS["crop"](size=4)])
    picture = Picture(resize, 4, mean=(9.0,))
    spec = wanted(3, 4, 4, classes=2, pictures={"x": picture}, augment=augment.fixed)
    dataset = KINDS["folder"](folder=folder).open(spec)
    paths = [dataset.inputs["x"].name(at) for at in range(len(dataset))]
    run = next(open_input(paths, (3, 4, 4), "f32", picture=picture).batches(99))
    found = next(dataset.batches(len(paths), seed=0, epoch=0, shuffle=False))
    np.testing.assert_array_equal(found["x"], run)


@pytest.mark.parametrize("threads", [1, 3])
def test_pictures_go_on_where_they_stopped(tmp_path: Path, threads: int) -> None:
    folder = drawn(tmp_path, {"a": [(8, 8)] * 9, "b": [(9, 8)] * 8})
    augment = Augment([AUGMENTATIONS["crop"](size=4), AUGMENTATIONS["flip"]()])
    net = wanted(3, 4, 4, classes=2, pictures={"x": Picture(6, 4)}, augment=augment, threads=threads)
    dataset = KINDS["folder"](folder=folder).open(net)
    assert dataset.inputs["x"].shape == (3, None, None)
    whole = list(dataset.batches(4, seed=0, epoch=1, augment=augment))
    rest = list(dataset.batches(4, seed=0, epoch=1, augment=augment, first=2))
    assert len(whole) == 4
    for one, other in zip(rest, whole[2:], strict=True):
        assert one["x"].shape == (4, 3, 4, 4)
        np.testing.assert_array_equal(one["x"], other["x"])


def test_a_validation_set_keeps_the_classes_of_training(tmp_path: Path) -> None:
    folder = drawn(tmp_path, {"b": [(4, 4)]})
    dataset = KINDS["folder"](folder=folder).open(_with_classes())
    assert next(dataset.batches(1, seed=0, epoch=0))["y"].tolist() == [1]
    assert dataset.names.classes == {"y": ("a", "b")}


def _with_classes() -> DataSpec:
    target = Target("y", "class", classes=2)
    return DataSpec({"x": ((3, 4, 4), "f32")}, {"y": target}, names=Names({"y": ("a", "b")}))


def test_a_damaged_picture_is_told_where_it_comes_and_the_threads_end(tmp_path: Path) -> None:
    folder = drawn(tmp_path, {"a": [(32, 32)] * 6, "b": [(32, 32)] * 2})
    good = (tmp_path / "a" / "5.png").read_bytes()
    (tmp_path / "a" / "5.png").write_bytes(good[: len(good) // 2])
    dataset = KINDS["folder"](folder=folder).open(wanted(3, 32, 32, classes=2, threads=2))
    batches = dataset.batches(4, seed=0, epoch=0, shuffle=False)
    assert len(next(batches)["x"]) == 4
    with pytest.raises(UserError, match=r"5\.png is damaged"):
        next(batches)
    assert not _workers()


def _workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("netdsl-data")]


def test_threads_end_when_the_consumer_stops(tmp_path: Path) -> None:
    folder = drawn(tmp_path, {"a": [(4, 4)] * 30, "b": [(4, 4)] * 30})
    batches = KINDS["folder"](folder=folder).open(wanted(3, 4, 4, classes=2, threads=2)).batches(2, seed=0, epoch=0)
    next(batches)
    assert _workers()
    batches.close()  # type: ignore[attr-defined]
    assert not _workers()


def test_read_ahead_is_bounded_in_order_and_tells_what_went_wrong() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 20:
            raise ValueError("twenty")
        return item * item

    results = ahead(work, iter(range(100)), threads=3, most=5)
    got: list[int] = []
    with pytest.raises(ValueError, match="twenty"):
        for result in results:
            got.append(result)
            assert max(begun) < len(got) + 5
    assert got == [item * item for item in range(20)]
    assert list(ahead(work, iter(range(3)), threads=1, most=1)) == [0, 1, 4]


# What a program iterates over


def parts(*sizes: int) -> Iterator[tuple[Array, Array]]:
    x, y = digits(sum(sizes))
    at = 0
    for size in sizes:
        yield x[at : at + size], y[at : at + size]
        at += size


@pytest.mark.parametrize("sizes", [(23,), (1,) * 23, (4, 8, 2, 9), (10, 13)])
def test_batches_of_any_sizes_are_cut_to_one(sizes: tuple[int, ...]) -> None:
    x, y = digits()
    stream = Stream(lambda _: parts(*sizes), wanted(1, 5, 4))
    for first in range(7):
        batches = list(stream.batches(5, seed=0, epoch=0, first=min(first, 5), drop_last=False))
        kept = 5 * min(first, 5)
        np.testing.assert_array_equal(np.concatenate([np.zeros((0, 1, 5, 4)), *(b["x"] for b in batches)]), x[kept:])
        assert [label for b in batches for label in b["y"]] == y[kept:].tolist()
    assert len(list(stream.batches(5, seed=0, epoch=0))) == 4


@pytest.mark.parametrize("size", [2, 5, 10])
def test_a_source_may_fill_the_same_arrays_again(size: int) -> None:
    def refilled() -> Iterator[tuple[Array, Array]]:
        held = None
        for x, y in parts(*(size,) * (20 // size)):
            held = held or (np.empty_like(x), np.empty_like(y))
            held[0][:], held[1][:] = x, y
            yield held

    x, y = digits(20)
    batches = list(Stream(lambda _: refilled(), wanted(1, 5, 4)).batches(5, seed=0, epoch=0, shuffle=False))
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in batches]), x)
    assert [label for batch in batches for label in batch["y"]] == y.tolist()


def test_a_stream_is_augmented_alike_from_any_position() -> None:
    stream = Stream(list(parts(4, 8, 2, 9)), wanted(1, 5, 4))
    whole = list(stream.batches(3, seed=1, epoch=2, augment=FLIP))
    rest = list(stream.batches(3, seed=1, epoch=2, augment=FLIP, first=4))
    for one, other in zip(rest, whole[4:], strict=True):
        np.testing.assert_array_equal(one["x"], other["x"])


STREAMS: dict[str, tuple[list[object], type[UserError], str]] = {
    "empty": ([], NoExamples, "yields no batch of 5 examples in epoch 0"),
    "no pair": ([np.zeros(3)], BadStream, "item 0 must be a pair .* not ndarray"),
    "a label": ([next(parts(5)), (np.zeros((1, 1, 5, 4)), [10])], UserError, r"epoch 0, item 1: y\[0\] is 10"),
    "a name": ([({"z": 1}, [1])], BadStream, "has no `x`; it has z"),
    "counts": ([(np.zeros((2, 1, 5, 4)), [1])], UserError, "item 0: x has 2 examples, but epoch 0, item 0: y has 1"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_bad_streams(name: str) -> None:
    items, error, said = STREAMS[name]
    with pytest.raises(error, match=said):
        list(Stream(items, wanted(1, 5, 4)).batches(5, seed=0, epoch=0))


def test_a_stream_is_as_long_as_it_is() -> None:
    begun: list[int] = []

    def source(epoch: int) -> Iterator[tuple[Array, Array]]:
        begun.append(epoch)
        return parts(4, 8, 2, 9)

    stream = Stream(source, wanted(1, 5, 4))
    assert (len(stream), stream.steps(5), stream.steps(5, drop_last=False), stream.batch(50)) == (23, 4, 5, 23)
    assert begun == [0]
    assert len(Stream(source, wanted(1, 5, 4), length=7)) == 7
    assert begun == [0]


def test_a_generator_is_refused() -> None:
    with pytest.raises(BadStream, match="generator can be iterated only once"):
        Stream(parts(23), wanted(1, 5, 4))


def test_a_stream_that_ended_cannot_be_gone_on_with() -> None:
    with pytest.raises(BadStream, match="yields 4 batches in epoch 0, but the run is at 9"):
        list(Stream(list(parts(23)), wanted(1, 5, 4)).batches(5, seed=0, epoch=0, first=9))


# What is told before training


def arrays(folder: Path, x: object, y: object, net: DataSpec | None = None) -> Dataset:
    x_path, y_path = saved(folder, x=x, y=y)
    return KINDS["npy"](x=x_path, y=y_path).open(net or wanted(2, classes=3))


X = np.ones((4, 2), np.float32)


def changed(value: float, *place: int) -> Array:
    x = X.copy()
    x[place] = value
    return x


SIGN = DataSpec({"x": ((2,), "f32")}, {"y": Target("y", "sign")})
VALUE = DataSpec({"x": ((2,), "f32")}, {"y": Target("y", "value", shape=(1,))})

BAD: dict[str, tuple[Any, Any, DataSpec | None, str, str]] = {
    "84 empty": (np.zeros((0, 2)), [], None, "E0830", r"x\.npy contains no examples"),
    "85 -1": (X, [0, 1, -1, 2], None, "E0832", r"y\.npy\[2\] is -1, but a label must be an integer from 0 to 2"),
    "85 = classes": (X, [0, 3, 1, 2], None, "E0832", r"y\.npy\[1\] is 3, but a label must be an integer from 0 to 2"),
    "85 a float": (X, [0, 1, 2, 1.5], None, "E0832", r"y\.npy\[3\] is 1\.5, but a label must be an integer"),
    "85 NaN": (X, [0, np.nan, 2, 1.5], None, "E0832", r"y\.npy\[1\] is nan, but a label must be an integer"),
    "85 whole floats": (X, [0.0, 1, 2, 1], None, "E0803", r"y\.npy contains float64, but labels must be integers"),
    "85 texts": (X, ["a", "b", "c", "d"], None, "E0803", r"y\.npy contains <U1"),
    "85 counts": (X, [0, 1, 2], None, "E0831", r"x\.npy has 4 examples, .*y\.npy has 3"),
    "85 two columns": (X, np.zeros((4, 2), int), None, "E0802", r"y\.npy is 4x2"),
    "85 a sign of 2": (X, [0, 1, 1, 2], SIGN, "E0832", r"y\.npy\[3\] is 2, but a label must be -1 or 1 \(or 0 or 1\)"),
    "85 signs of both kinds": (X, [1, 0, 1, -1], SIGN, "E0832", r"y\.npy\[3\] is -1, .* but not both 0 and -1"),
    "86 NaN": (changed(np.nan, 2, 1), [0, 1, 2, 0], None, "E0833", r"x\.npy\[2\] contains nan, at \[1\]"),
    "86 Inf": (changed(-np.inf, 3, 0), [0, 1, 2, 0], None, "E0833", r"x\.npy\[3\] contains -inf, at \[0\]"),
    "86 a value": (X, [0, 1, np.nan, 0], VALUE, "E0833", r"y\.npy\[2\] contains nan"),
    "86 too large": (X.astype(float) * 1e39, [0, 1, 2, 0], None, "E0803", r"x\.npy\[0\] contains 1e\+39"),
    "80 another shape": (np.zeros((4, 3)), [0, 1, 2, 0], None, "E0802", r"x\.npy is 4x3"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("chunk", [2**24, 2])
def test_what_is_wrong_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, chunk: int
) -> None:
    monkeypatch.setattr("netdsl.data.column.CHUNK_ELEMENTS", chunk)
    x, y, net, code, said = BAD[name]
    with pytest.raises(UserError, match=said) as caught:
        arrays(tmp_path, x, y, net)
    assert caught.value.code == code
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("chunk", [2**24, 2])
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1, 2, 3, 1], "they count from 1: `array - 1`"),
        ([0, 2, 9, 1], "the net has 3 classes, and labels up to 9 need 10"),
        ([-1, 2, 9, 1], None),
        ([np.nan, 2, 9, 1], None),
    ],
)
def test_labels_beyond_the_classes_say_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: list[float], said: str | None, chunk: int
) -> None:
    monkeypatch.setattr("netdsl.data.column.CHUNK_ELEMENTS", chunk)
    with pytest.raises(UserError) as caught:
        arrays(tmp_path, X, labels)
    assert caught.value.code == "E0832"
    assert caught.value.helps == ((said,) if said else ())


def test_one_class_only_is_noted(tmp_path: Path) -> None:
    dataset = arrays(tmp_path, X, [2, 2, 2, 2])
    assert dataset.notes == ["all 4 examples have the same `y`, 2: there is nothing to distinguish"]
    assert len(list(dataset.batches(2, seed=0, epoch=0))) == 2


def test_a_batch_that_is_larger_than_the_data(tmp_path: Path) -> None:
    dataset = arrays(tmp_path, X, [0, 1, 2, 0])
    with pytest.raises(BatchTooLarge, match="the batch size is 128, but there are only 4 examples") as caught:
        next(dataset.batches(128, seed=0, epoch=0))
    assert caught.value.helps == ("use a batch size of at most 4",)
    assert dataset.batch(3) == 3
    assert not dataset.notes
    assert dataset.batch(128) == dataset.batch(128) == 4
    assert dataset.notes == ["there are fewer examples, 4, than the batch size, 128: each batch has all of them"]
    assert len(list(dataset.batches(dataset.batch(128), seed=0, epoch=0))) == 1


FILES: dict[str, tuple[str, dict[str, bytes], str, str]] = {
    "a missing file": ("mnist", {}, "E0837", "train-images-idx3-ubyte \\(or .gz\\)"),
    "idx cut short": ("idx", {"x": idx(digits()[0])[:-1], "y": b""}, "E0801", "is truncated: it declares 460 bytes"),
    "idx too long": ("idx", {"x": idx(digits()[0]) + b"1", "y": b""}, "E0801", "has more than the 460 bytes"),
    "gzip cut short": ("idx", {"x": gzip.compress(idx(digits()[0]))[:-20], "y": b""}, "E0801", "is damaged"),
    "gzip of too little": ("idx", {"x": gzip.compress(idx(digits()[0])[:-1]), "y": b""}, "E0801", "is truncated"),
    "gzip of too much": ("idx", {"x": gzip.compress(idx(digits()[0]) + b"1"), "y": b""}, "E0801", "has more"),
    "npy with a header of a byte": (
        "npy",
        {"x": b"\x93NUMPY\1\0\1\0{}\n", "y": b""},
        "E0801",
        "has a header that cannot",
    ),
    "idx of 70 axes": ("idx", {"x": b"\0\0\x08\x46" + b"\0\0\0\1" * 70 + b"1", "y": b""}, "E0801", "impossible shape"),
    "no npz": ("npz", {"x": b"PK\3\4"}, "E0801", "is damaged"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_files(tmp_path: Path, name: str) -> None:
    kind, files, code, said = FILES[name]
    for file, data in files.items():
        (tmp_path / file).write_bytes(data)
    with pytest.raises(UserError, match=said) as caught:
        open_dataset(kind, [str(tmp_path / file) for file in files] or [str(tmp_path)], **NET)
    assert caught.value.code == code


def test_a_folder_without_mnist_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        open_dataset("mnist", [str(tmp_path / "nowhere")], **NET)
    assert caught.value.helps == (
        "name the folder that contains the four files of MNIST; netdsl does not download data",
    )


def test_an_archive_lacks_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", x=digits()[0], labels=digits()[1])
    with pytest.raises(UserError, match=r"has no array `y` or `target` \(available: labels, x") as caught:
        open_dataset("npz", [str(tmp_path / "all.npz")], **NET)
    assert caught.value.code == "E0837"


def test_a_stored_member_that_reaches_beyond_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", x=digits()[0], y=digits()[1])
    with zipfile.ZipFile(tmp_path / "all.npz") as archive:
        at = archive.infolist()[0].header_offset
    data = bytearray((tmp_path / "all.npz").read_bytes())
    data[at + 28 : at + 30] = b"\xff\xff"  # a local header with an extra field that is not there
    (tmp_path / "all.npz").write_bytes(bytes(data))
    with pytest.raises(UserError):
        open_dataset("npz", [str(tmp_path / "all.npz")], **NET)


FOLDERS: dict[str, tuple[dict[str, list[tuple[int, int]]], str, str]] = {
    "no subfolders": ({}, "E0837", "has no subfolders"),
    "no pictures": ({"a": [], "b": []}, "E0830", "has no images"),
    "too many classes": (
        {"a": [(4, 4)], "b": [], "c": []},
        "E0836",
        r"has 3 classes \(a, b, c\), but the net has 2",
    ),
    "83 sizes": ({"a": [(4, 4)], "b": [(4, 4), (4, 5)]}, "E0802", r"b.1\.png is 4x5 .*but the input takes 4x4"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_bad_folders(tmp_path: Path, name: str) -> None:
    sizes, code, said = FOLDERS[name]
    with pytest.raises(UserError, match=said) as caught:
        KINDS["folder"](folder=drawn(tmp_path, sizes)).open(wanted(3, 4, 4, classes=2))
    assert caught.value.code == code


def test_pictures_for_a_random_crop_are_of_one_size(tmp_path: Path) -> None:
    folder = drawn(tmp_path, {"a": [(6, 6)], "b": [(6, 7)]})
    augment = Augment([AUGMENTATIONS["crop"](size=4)])
    with pytest.raises(UserError, match=r"differ in size: .*a.0\.png is 6x6, .*b.0\.png is 6x7"):
        KINDS["folder"](folder=folder).open(wanted(3, 4, 4, classes=2, augment=augment))


def test_classes_that_training_has_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has a class `c`, but the classes are a, b"):
        KINDS["folder"](folder=drawn(tmp_path, {"c": [(4, 4)]})).open(_with_classes())


def test_a_class_without_pictures_is_noted(tmp_path: Path) -> None:
    dataset = KINDS["folder"](folder=drawn(tmp_path, {"a": [(4, 4)], "b": []})).open(wanted(3, 4, 4, classes=2))
    assert dataset.notes == [f"{tmp_path / 'b'} has no images"]


def test_a_net_with_two_inputs_needs_names(tmp_path: Path) -> None:
    net = DataSpec({"x": ((2,), "f32"), "z": ((2,), "f32")}, {"y": Target("y", "sign")})
    with pytest.raises(UserError, match="has one input and one target, but the net has 2 and 1"):
        arrays(tmp_path, X, [1, 1, 1, 1], net)


def test_columns_are_readers_too() -> None:
    column = ArrayColumn("x", digits()[0], (1, 5, 4), "f32")
    np.testing.assert_array_equal(np.concatenate(list(column.batches(5, 3, 20))), digits()[0][3:20])
    assert column.name(3) == "x[3]"


def test_a_data_set_is_augmented_as_it_was_opened() -> None:
    x, y = digits()
    still = Augment([AUGMENTATIONS["crop"](size=3)]).fixed
    dataset = from_arrays({"x": x}, {"y": y}, wanted(1, 3, 3, augment=still))
    batch = next(dataset.batches(23, seed=0, epoch=0, shuffle=False))
    np.testing.assert_array_equal(batch["x"], x[:, :, 1:4, 0:3].astype(np.float32))


def _whole_files(folder: Path) -> dict[str, list[bytes]]:
    """Files of each kind that can be opened."""
    x, y = digits(6)
    np.savez(folder / "a.npz", x=x, y=y)
    np.savez_compressed(folder / "b.npz", x=x, y=y)
    names = saved(folder, x=x, y=y)
    rows = [",".join(f"a{i}" for i in range(20)) + ",c"]
    rows += [",".join(map(str, [*one.ravel(), label])) for one, label in zip(x, y, strict=True)]
    return {
        "idx": [idx(x), idx(y.astype("u1"))],
        "idx gz": [gzip.compress(idx(x)), gzip.compress(idx(y.astype("u1")))],
        "npy": [Path(name).read_bytes() for name in names],
        "npz stored": [(folder / "a.npz").read_bytes()],
        "npz packed": [(folder / "b.npz").read_bytes()],
        "csv": ["\n".join(rows).encode()],
    }


def _mutated(data: bytes, chance: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(chance.choice([len(made), min(len(made), 150)]) or 1)
        match chance.randrange(6):
            case 0:
                del made[at : at + chance.randint(1, 40)]
            case 1:
                made[at:at] = chance.randbytes(chance.randint(1, 10))
            case 2:
                del made[at:]
            case _:
                made[at : at + 1] = chance.choice([b"\0", b"\1", b"\xff", b"9", b",", b'"', b"\n", chance.randbytes(1)])
    return bytes(made)


@pytest.mark.parametrize("kind", ["idx", "idx gz", "npy", "npz stored", "npz packed", "csv"])
def test_damaged_files_end_in_a_user_error_or_are_read(tmp_path: Path, kind: str) -> None:
    chance = random.Random(kind)
    files = _whole_files(tmp_path)[kind]
    more: dict[str, Any] = {"target": ("c",)} if kind == "csv" else {}
    paths = [str(tmp_path / f"mutant{number}") for number in range(len(files))]
    told = 0
    for _ in range(100):
        damaged = chance.randrange(len(files))
        for number, data in enumerate(files):
            Path(paths[number]).write_bytes(_mutated(data, chance) if number == damaged else data)
        try:
            dataset = open_dataset(kind.split()[0], paths, **NET, **more)
            assert sum(len(b["y"]) for b in dataset.batches(2, seed=0, epoch=0, drop_last=False)) == len(dataset)
        except UserError:
            told += 1
    assert told > 60
