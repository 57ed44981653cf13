"""The examples of one of several processes: the parts of each batch, and every n-th batch, make up those of one
process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netdsl
from netdsl.data.augment import AUGMENTATIONS, Augment
from netdsl.data.column import ArrayColumn
from netdsl.data.dataset import Dataset, Examples
from netdsl.data.errors import BadStream, NoExamples
from netdsl.data.iterable import Stream
from netdsl.data.kinds import KINDS
from netdsl.data.spec import DataSpec, Target
from netdsl.train import from_python
from tests.data.test_cifar import write as write_cifar
from tests.data.test_data import idx
from tests.data.test_dataset import digits, drawn, made, wanted
from tests.support.recipe_tools import recipe_with

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]

AUGMENT = Augment([AUGMENTATIONS[name](**how) for name, how in (("flip", {}), ("crop", {"pad": 1}), ("erase", {}))])
PARTS = (0, 4), (4, 5), (5, 7)
"""The rows of three ranks of each batch of 7."""


def _mnist(folder: Path) -> dict[str, Any]:
    x, y = digits()
    (folder / "train-images-idx3-ubyte").write_bytes(idx(x[:, 0]))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(y.astype(np.uint8)))
    return {"folder": str(folder)}


def _idx(folder: Path) -> dict[str, Any]:
    _mnist(folder)
    return {"images": f"{folder}/train-images-idx3-ubyte", "labels": f"{folder}/train-labels-idx1-ubyte"}


def _cifar10(folder: Path) -> dict[str, Any]:
    return {"folder": str(write_cifar(folder, "binary"))}


def _cifar100(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    (folder / "train.bin").write_bytes(b"".join(bytes([0, label]) + rng.bytes(3072) for label in range(23)))
    (folder / "fine_label_names.txt").write_text("\n".join(f"class{number}" for number in range(100)))
    return {"folder": str(folder)}


def _npz(folder: Path) -> dict[str, Any]:
    x, y = digits()
    np.savez(folder / "a.npz", x=x, y=y)
    return {"file": f"{folder}/a.npz"}


def _npy(folder: Path) -> dict[str, Any]:
    x, y = digits()
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return {"x": f"{folder}/x.npy", "y": f"{folder}/y.npy"}


def _csv(folder: Path) -> dict[str, Any]:
    rows = [f"{n},{n * n},{n % 3}" for n in range(23)]
    (folder / "t.csv").write_text("\n".join(["a,b,c", *rows]))
    return {"file": f"{folder}/t.csv", "target": ("c",)}


def _parquet(folder: Path) -> dict[str, Any]:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    numbers = list(range(23))
    parquet.write_table(pyarrow.table({"a": numbers, "b": numbers[::-1], "c": [n % 3 for n in numbers]}), folder / "t")
    return {"file": f"{folder}/t", "target": ("c",)}


def _folder(folder: Path) -> dict[str, Any]:
    return {"folder": drawn(folder, {"a": [(5, 4)] * 12, "b": [(5, 4)] * 11})}


def _text(folder: Path) -> dict[str, Any]:
    (folder / "a.txt").write_text("to be, or not to be: that is the question; " * 4)
    return {"file": f"{folder}/a.txt", "length": 6}


Writer = Callable[[Path], dict[str, Any]]
SETS: dict[str, tuple[Writer, tuple[int, ...], int]] = {
    "mnist": (_mnist, (1, 5, 4), 10),
    "idx": (_idx, (1, 5, 4), 10),
    "cifar10": (_cifar10, (3, 32, 32), 10),
    "cifar100": (_cifar100, (3, 32, 32), 100),
    "npz": (_npz, (1, 5, 4), 10),
    "npy": (_npy, (1, 5, 4), 10),
    "csv": (_csv, (2,), 3),
    "parquet": (_parquet, (2,), 3),
    "folder": (_folder, (3, 5, 4), 2),
    "text": (_text, (6,), 256),
    "xor": (lambda _: {"n": 23, "noise": 0.1}, (2,), 2),
    "clouds": (lambda _: {"n": 23}, (2,), 2),
    "connectedness": (lambda _: {"n": 24}, (1, 8, 8), 2),
    "shapes": (lambda _: {"n": 24}, (1, 12, 12), 3),
}
"""For each kind of data, what writes its files and returns its arguments, the shape of an example, the classes."""


def test_each_kind_of_data_is_cut() -> None:
    assert SETS.keys() == KINDS.keys()


def dataset_of(kind: str, folder: Path) -> Dataset:
    write, shape, classes = SETS[kind]
    dtype = "i64" if kind == "text" else "f32"
    spec = DataSpec({"x": (shape, dtype)}, {"y": Target("y", "class", classes=classes)})
    return KINDS[kind](**write(folder)).open(spec)


def assert_same(found: list[Feeds], expected: list[Feeds]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name], strict=True)
            assert array.flags.c_contiguous


def joined(parts: Iterable[list[Feeds]]) -> list[Feeds]:
    """The batches whose consecutive rows are those of these parts."""
    return [{name: np.concatenate([part[name] for part in each]) for name in each[0]} for each in zip(*parts)]  # noqa: B905


def assert_cut(parts: Iterable[Examples], whole: Examples, batch: int = 7, **how: Any) -> None:
    """Assert that the rows of each rank, with its own examples, are those of one process, in each epoch."""
    for epoch in range(2):
        for first in (0, 2):
            expected = list(whole.batches(batch, seed=3, epoch=epoch, **how))[first:]
            assert expected or first
            ranks = zip(parts, PARTS, strict=True)
            found = [list(x.batches(batch, seed=3, epoch=epoch, first=first, rows=rows, **how)) for x, rows in ranks]
            assert {len(each) for each in found} == {len(expected)}
            assert_same(joined(found), expected)


@pytest.mark.parametrize("kind", SETS)
def test_ranks_share_each_batch_of_one_process(kind: str, tmp_path: Path) -> None:
    dataset = dataset_of(kind, tmp_path)
    assert_cut([dataset] * 3, dataset, batch=7)
    if len(SETS[kind][1]) == 3:
        assert_cut([dataset] * 3, dataset, augment=AUGMENT)


@pytest.mark.parametrize("kind", SETS)
def test_ranks_share_the_batches_of_a_validation(kind: str, tmp_path: Path) -> None:
    assert_shared(dataset_of(kind, tmp_path))


def assert_shared(dataset: Examples) -> None:
    how: dict[str, Any] = {"seed": 0, "epoch": 0, "shuffle": False, "drop_last": False}
    whole = list(dataset.batches(4, **how))
    assert len(whole[-1]["y"]) < 4 or len(dataset) % 4 == 0
    for count in (1, 2, 3, len(whole) + 3):
        for rank in range(count):
            assert_same(list(dataset.batches(4, first=rank, every=count, **how)), whole[rank::count])


@given(st.integers(1, 23), st.data())
def test_any_rows_are_those_of_the_batch(batch: int, data: st.DataObject) -> None:
    low = data.draw(st.integers(0, batch - 1))
    high = data.draw(st.integers(low + 1, batch))
    first = data.draw(st.integers(0, 4))
    whole = list(made().batches(batch, seed=1, epoch=2, augment=AUGMENT, first=first))
    part = list(made().batches(batch, seed=1, epoch=2, augment=AUGMENT, first=first, rows=(low, high)))
    assert_same(part, [{name: array[low:high] for name, array in each.items()} for each in whole])


class Watched(ArrayColumn):
    """A column that keeps the examples that it was asked for."""

    def __init__(self, array: Array, dtype: str) -> None:
        super().__init__("watched", array, array.shape[1:], dtype)
        self.asked: list[int] = []

    def take(self, indices: Array) -> Array:
        self.asked += indices.tolist()
        return super().take(indices)


@pytest.mark.parametrize(
    ("how", "count"),
    [({"rows": (4, 6)}, 2 * 3), ({"rows": (0, 7)}, 21), ({"every": 2}, 14), ({"rows": (2, 3), "every": 3}, 1)],
)
def test_only_the_own_examples_are_read_and_the_same_of_each_column(how: dict[str, Any], count: int) -> None:
    x, y = digits()
    image, label = Watched(x.astype(np.float32), "f32"), Watched(y, "i64")
    dataset = Dataset({"x": image, "z": image}, {"y": label})
    label.asked.clear()
    image.asked.clear()
    batches = list(dataset.batches(7, seed=0, epoch=0, **how))
    assert sum(len(batch["y"]) for batch in batches) == len(set(label.asked)) == len(label.asked) == count
    assert sorted(image.asked) == sorted(label.asked * 2)
    for batch in batches:
        places = [int(np.flatnonzero((x == each).all((1, 2, 3)))[0]) for each in batch["x"]]
        assert y[places].tolist() == batch["y"].tolist()


# Iterables


def pairs(*sizes: int) -> list[tuple[Array, Array]]:
    x, y = digits(sum(sizes))
    ends = np.cumsum(sizes)[:-1]
    return list(zip(np.split(x, ends), np.split(y, ends), strict=True))


def of_rank(epoch: int, rank: int, size: int) -> Iterator[tuple[Array, Array]]:
    """The rows of a rank, in items of other sizes than its batches; all rows for one process."""
    x, y = digits(23)
    if size == 1:
        yield x, y
        return
    low, high = PARTS[rank]
    rows = np.concatenate([np.arange(at + low, at + high) for at in range(0, 21, 7)])
    for each in np.array_split(rows, 2 + epoch):
        yield x[each], y[each]


STREAMS: dict[str, Any] = {
    "items": pairs(4, 8, 2, 9),
    "function": lambda _: iter(pairs(1, 13, 9)),
    "function of the rank": of_rank,
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("augment", [None, AUGMENT])
def test_ranks_share_the_batches_of_an_iterable(name: str, augment: Augment | None) -> None:
    ranks = [Stream(STREAMS[name], wanted(1, 5, 4), part=(rank, 3)) for rank in range(3)]
    assert_cut(ranks, Stream(STREAMS["items"], wanted(1, 5, 4)), augment=augment)
    assert {len(stream) for stream in ranks} == {23}
    assert_shared(ranks[1])


def test_a_source_of_a_rank_is_called_with_it_and_has_no_digest() -> None:
    calls: list[tuple[int, ...]] = []

    def source(epoch: int, rank: int, size: int) -> Iterator[tuple[Array, Array]]:
        calls.append((epoch, rank, size))
        return of_rank(epoch, rank, size)

    stream = Stream(source, wanted(1, 5, 4), part=(2, 3))
    assert stream.digests() == {}
    assert calls == []
    list(stream.batches(7, seed=0, epoch=4, rows=PARTS[2]))
    list(stream.batches(7, seed=0, epoch=5))
    assert calls == [(4, 2, 3), (5, 0, 1)]


def optional(_epoch: int, rank: int = 0, size: int = 9) -> Iterator[tuple[Array, Array]]:
    assert (rank, size) == (0, 9)
    return iter(pairs(23))


class OneRequired:
    def __call__(self, epoch: int, /, *, seed: int = 0) -> Iterator[tuple[Array, Array]]:
        assert (epoch, seed) in ((0, 0), (1, 0))
        return iter(pairs(23))


@pytest.mark.parametrize("source", [optional, OneRequired(), {0: pairs(23), 1: pairs(23)}.get])
def test_a_function_with_one_required_parameter_yields_all_rows(source: Any) -> None:
    parts = [Stream(source, wanted(1, 5, 4), part=(rank, 3)) for rank in range(3)]
    assert_cut(parts, Stream(pairs(23), wanted(1, 5, 4)))


def nothing(_epoch: int, _rank: int, _size: int) -> list[tuple[Array, Array]]:
    return []


def test_a_source_that_ends_within_a_batch_of_its_rank() -> None:
    x, y = digits(23)
    stream = Stream(lambda _epoch, _rank, _size: [(x[:6], y[:6])], wanted(1, 5, 4), part=(1, 2))
    batches = stream.batches(7, seed=0, epoch=3, rows=(3, 7))
    assert len(next(batches)["y"]) == 4
    said = "in epoch 3, the source yields 6 examples for rank 1 of 2, which has 4 of each batch"
    with pytest.raises(BadStream, match=said):
        next(batches)
    with pytest.raises(NoExamples, match="no batch of 4 examples in epoch 0"):
        next(Stream(nothing, wanted(1, 5, 4), part=(1, 2)).batches(7, seed=0, epoch=0, rows=(3, 7)))


NET = "net n { input x 1x5x4; dense 10 }\n"


def test_the_batches_of_a_training_restart_on_all_ranks_alike() -> None:
    recipe = recipe_with("batch 7; steps 8", NET)
    parts = [from_python.given(of_rank, recipe, training=True, part=(rank, 3)) for rank in range(3)]
    whole = from_python.given(lambda _: pairs(23), recipe, training=True)
    for first in (0, 4):
        expected = [feeds for feeds, _ in zip(whole.batches(7, seed=0, epoch=0), range(8), strict=False)][first:]
        found = []
        for part, rows in zip(parts, PARTS, strict=True):
            batches = part.batches(7, seed=0, epoch=0, first=first, rows=rows)
            found.append([feeds for feeds, _ in zip(batches, range(8 - first), strict=False)])
            assert isinstance(part, from_python.Batches)
            assert part.restarts == [3, 6]
        assert_same(joined(found), expected)


def test_a_source_of_a_rank_trains_in_one_process_as_any(tmp_path: Path) -> None:
    file = tmp_path / "n.net"
    file.write_text(NET + "train n { data xor; loss cross_entropy; optimizer sgd lr 1e-4; batch 7; steps 8 }")
    how: dict[str, Any] = {"step_backend": "plain", "threads": 1}
    found = [netdsl.fit(file, data=data, validate=data, **how).history for data in (of_rank, lambda _: pairs(23))]
    assert found[0] == found[1]
    assert found[0][-1]["step"] == 8
