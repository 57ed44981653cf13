"""CIFAR in all versions that are in circulation, of tiny size, and files that only look like it."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netdsl.base.user_error import UserError
from netdsl.data.dataset import Dataset
from netdsl.data.errors import BadData, BadLabel, ClassesDiffer, Incomplete, OutsideData, WrongShape
from netdsl.data.kinds import KINDS
from netdsl.data.picture import Picture
from netdsl.data.reader import open_input
from netdsl.data.spec import Bounds, DataSpec, Target
from netdsl.ir.names import Names
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

Array = np.ndarray[Any, Any]
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
STEMS = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
FORMS = ["binary", "python2", 2, 3, 4, 5]


def examples(stem: str, count: int = 3) -> tuple[Array, list[int]]:
    rng = np.random.default_rng(STEMS.index(stem) if stem in STEMS else 99)
    return rng.integers(0, 256, (count, 3072)).astype(np.uint8), rng.integers(0, 10, count).tolist()


def python2(images: Array, labels: list[int]) -> bytes:
    """A batch as cPickle of Python 2 and NumPy 1 wrote the originals."""
    text = images.tobytes()
    parts = [
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x06labelsq\x04]q\x05(",
        *(b"K" + bytes([label]) for label in labels),
        b"eU\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09(K\x01",
        b"K" + bytes([len(images)]) + b"M\x00\x0c\x86cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNN",
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(text)) + text,
        b"tbU\tfilenamesq\x0c]q\x0dU\x05a.pngau.",
    ]
    return b"".join(parts)


def write(folder: Path, form: str | int, names: list[str] = NAMES) -> Path:
    place = folder / ("cifar-10-batches-bin" if form == "binary" else "cifar-10-batches-py")
    place.mkdir(parents=True)
    for stem in STEMS:
        images, labels = examples(stem)
        if form == "binary":
            records = [bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True)]
            (place / f"{stem}.bin").write_bytes(b"".join(records))
        elif form == "python2":
            (place / stem).write_bytes(python2(images, labels))
        else:
            batch = {"batch_label": stem, "labels": labels, "data": images, "filenames": ["a.png"] * 3}
            (place / stem).write_bytes(pickle.dumps(batch, protocol=int(form)))
    if form == "binary":
        (place / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    else:
        meta = {"num_cases_per_batch": 3, "label_names": names, "num_vis": 3072}
        (place / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return place


def opened(folder: Path, split: str = "train", kind: str = "cifar10", classes: int = 10, **more: Any) -> Dataset:
    wanted = DataSpec({"x": ((3, 32, 32), "f32")}, {"y": Target("y", "class", classes=classes)}, **more)
    return KINDS[kind](folder=str(folder), split=split).open(wanted)


def content(dataset: Dataset) -> tuple[Array, list[int]]:
    (batch,) = dataset.batches(len(dataset), seed=0, epoch=0, shuffle=False)
    return batch["x"], batch["y"].tolist()


def test_the_bytes_of_python_2_are_what_python_reads() -> None:
    images, labels = examples("data_batch_1")
    found = pickle.loads(python2(images, labels), encoding="latin1")
    assert found["labels"] == labels
    assert np.array_equal(found["data"], images)


@pytest.mark.parametrize("inner", [False, True], ids=["archive's folder", "its parent"])
@pytest.mark.parametrize("form", FORMS)
def test_all_versions_hold_the_same(tmp_path: Path, form: str | int, inner: bool) -> None:
    place = write(tmp_path, form)
    folder = tmp_path if inner else place
    for split, stems in (("train", STEMS[:5]), ("test", STEMS[5:])):
        x, y = content(dataset := opened(folder, split))
        assert np.array_equal(x, np.concatenate([examples(s)[0] for s in stems]).reshape(-1, 3, 32, 32))
        assert y == [label for stem in stems for label in examples(stem)[1]]
        assert dataset.names.classes == {"y": tuple(NAMES)}
    assert dataset.inputs["x"].dtype == np.float32
    train = opened(folder)
    assert train.targets["y"].name(4).endswith(("data_batch_2[1]", "data_batch_2.bin[1]"))
    scaled, _ = content(opened(folder, "test", pictures={"x": Picture(mean=(100,), std=(50,))}))
    np.testing.assert_allclose(scaled, (x - 100) / 50, atol=1e-6)


AS_DECLARED = [
    Picture(order="bgr", mean=(1, 2, 3), std=(4, 5, 6)),
    Picture(order="bgr"),
    Picture(resize=32),
    Picture(resize=(32, 32), letterbox=9, crop=32),
    Picture(resize=36, crop=32),
    Picture(resize=(32, 40), crop=32),
    Picture(resize=(40, 40), letterbox=0, crop=32),
]


@pytest.mark.parametrize("picture", AS_DECLARED, ids=str)
@pytest.mark.parametrize("form", ["binary", 4])
def test_examples_are_those_of_image_files_or_refused(tmp_path: Path, form: str | int, picture: Picture) -> None:
    write(tmp_path, form)
    images, _ = examples("test_batch")
    paths = [str(tmp_path / f"{at}.png") for at in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image.reshape(3, 32, 32).transpose(1, 2, 0)).save(path)
    if picture.resize in (None, 32, (32, 32)):
        x, _ = content(opened(tmp_path, "test", pictures={"x": picture}))
        np.testing.assert_array_equal(x, next(open_input(paths, (3, 32, 32), "f32", picture=picture).batches(9)))
    else:
        with pytest.raises(WrongShape, match=r"has images of 32x32 .* which are not resized, but .* declares `resize"):
            opened(tmp_path, "test", pictures={"x": picture})


@pytest.mark.parametrize("binary", [True, False])
def test_cifar_100_has_fine_labels(tmp_path: Path, binary: bool) -> None:
    names = [f"n{number:03}" for number in range(100)]
    images, labels = examples("train")
    for split in ("train", "test"):
        if binary:
            records = [bytes([7, label]) + image.tobytes() for image, label in zip(images, labels, strict=True)]
            (tmp_path / f"{split}.bin").write_bytes(b"".join(records))
        else:
            batch = {b"data": images, b"fine_labels": labels, b"coarse_labels": [7] * 3}
            (tmp_path / split).write_bytes(pickle.dumps(batch))
    (tmp_path / "fine_label_names.txt").write_text("\n".join(names))
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": names, "coarse_label_names": ["c"]}))
    x, y = content(dataset := opened(tmp_path, "test", "cifar100", 100))
    assert np.array_equal(x.reshape(3, -1), images)
    assert y == labels
    assert dataset.names.classes["y"][99] == "n099"


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    write(tmp_path, 4)
    turned = Names({"y": tuple(reversed(NAMES))})
    assert content(opened(tmp_path, "test", names=turned))[1] == [9 - label for label in examples("test_batch")[1]]
    assert content(opened(tmp_path, "test", names=Names()))[1] == examples("test_batch")[1]
    with pytest.raises(ClassesDiffer, match="has 10 classes, but the net has 12"):
        opened(tmp_path, classes=12)
    with pytest.raises(ClassesDiffer, match="`truck`, but the classes are a, b"):
        opened(tmp_path, "test", names=Names({"y": ("a", "b", *NAMES[:9])}), classes=11)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


def batch(**entries: object) -> bytes:
    images, labels = examples("test_batch")
    return pickle.dumps({"data": images, "labels": labels, **entries}, protocol=2)


BAD: dict[str, tuple[bytes, type[UserError], str]] = {
    "empty": (b"", BadData, "not a batch of CIFAR"),
    "text": (b"labels", BadData, "not a batch of CIFAR"),
    "code": (pickle.dumps({"data": Hostile()}), BadData, "refers to `(posix|nt).system`"),
    "no dictionary": (pickle.dumps([1]), BadData, "no dictionary"),
    "floats": (batch(data=np.zeros((3, 3072))), BadData, "not one of bytes"),
    "objects": (batch(data=np.array([None])), BadData, "not one of bytes"),
    "other sizes": (batch(data=np.zeros((3, 3071), np.uint8)), BadData, "no array `data` of n x 3,072 bytes"),
    "an axis": (batch(data=np.zeros(3072, np.uint8)), BadData, "does not have two axes"),
    "fortran": (batch(data=np.asfortranarray(np.zeros((3, 3072), np.uint8))), BadData, "C order"),
    "no data": (batch(data=None), BadData, "no array `data`"),
    "no labels": (batch(labels=None), BadData, "no list `labels`"),
    "words": (batch(labels=["cat"] * 3), BadData, "no list `labels`"),
    "fewer labels": (batch(labels=[1]), BadData, "3 images, but 1 labels"),
    "a label too large": (batch(labels=[1, 10, 2]), BadLabel, r"test_batch\[1\].* is 10"),
    "truncated": (batch()[:-2000], BadData, "truncated|invalid"),
    "shape of other bytes": (
        batch().replace(b"K\x03M\x00\x0c\x86", b"K\x04M\x00\x0c\x86"),
        BadData,
        "does not have the bytes of its shape",
    ),
}


ODD: list[object] = [
    5,
    1.5,
    True,
    None,
    "abcdefghij",
    b"abcdefghij",
    [],
    [[1]],
    {},
    (1,),
    [1] * 10,
    np.zeros((2, 3072), np.uint8),
]


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize(
    ("file", "key"), [("test_batch", "data"), ("test_batch", "labels"), ("batches.meta", "label_names")]
)
def test_an_entry_of_another_type_is_refused(tmp_path: Path, file: str, key: str, odd: object) -> None:
    place = write(tmp_path, 2)
    entries = pickle.loads((place / file).read_bytes())
    (place / file).write_bytes(pickle.dumps({**entries, key: odd}, protocol=2))
    with pytest.raises(BadData):
        opened(tmp_path, "test")


@pytest.mark.parametrize("what", BAD)
def test_a_bad_pickle_is_refused_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.chdir(tmp_path)
    data, error, message = BAD[what]
    (write(tmp_path, 2) / "test_batch").write_bytes(data)
    with pytest.raises(error, match=message):
        opened(tmp_path, "test")
    assert not Path("pwned").exists()


def test_a_pickle_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    place, whole = write(tmp_path, 2), python2(*examples("test_batch"))
    for end in [*range(300), *range(9000, len(whole), 97), len(whole) - 1]:
        (place / "test_batch").write_bytes(whole[:end])
        with pytest.raises(BadData, match="not a batch of CIFAR"):
            opened(tmp_path, "test")


def test_a_bad_binary_file(tmp_path: Path) -> None:
    place = write(tmp_path, "binary")
    for size in (0, 1, 3072, 3074):
        (place / "test_batch.bin").write_bytes(bytes(size))
        with pytest.raises(BadData, match="not a multiple of 3,073"):
            opened(tmp_path, "test")
    os.truncate(place / "test_batch.bin", 2**33)
    with pytest.raises(BadData, match="more than the limit"):
        opened(tmp_path, "test")
    (place / "data_batch_1.bin").write_bytes(b"\x0a" + bytes(3072))
    with pytest.raises(BadLabel, match=r"data_batch_1.bin\[0\].* is 10"):
        opened(tmp_path)
    for names, told in ((b"", "no names"), (b"a\na\n", "two classes of the same name"), (b"\xff", "not UTF-8")):
        (place / "batches.meta.txt").write_bytes(names)
        with pytest.raises(BadData, match=told):
            opened(tmp_path)


def test_missing_files_and_archives(tmp_path: Path) -> None:
    for name in ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(Incomplete, match="has only an archive") as caught:
            opened(tmp_path)
        assert f"tar -xzf {tmp_path / name}" in str(caught.value.helps)
        with pytest.raises(Incomplete, match="is a file"):
            opened(tmp_path / name)
        (tmp_path / name).unlink()
    with pytest.raises(Incomplete, match=r"missing file: .*data_batch_1 \(or data_batch_1.bin\)"):
        opened(tmp_path)
    place = write(tmp_path, 4)
    (place / "data_batch_4").unlink()
    with pytest.raises(Incomplete, match=r"missing file: .*data_batch_4"):
        opened(tmp_path)
    (place / "batches.meta").unlink()
    with pytest.raises(Incomplete, match=r"missing file: .*batches.meta"):
        opened(tmp_path, "test")


def test_no_link_leads_out_of_the_root(tmp_path: Path) -> None:
    write(tmp_path / "out", 4)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "data").symlink_to(tmp_path / "out")
    with pytest.raises(OutsideData):
        opened(tmp_path / "root" / "data", bounds=Bounds(str(tmp_path / "root")))


def test_it_is_trained_and_evaluated(netdsl: Commands) -> None:
    write(netdsl.folder / "cifar", "python2")
    netdsl.write(
        n="""net n { input image 3x32x32 mean 127 std 64; dense 10 }
train n {
  data cifar10 "cifar"; validate cifar10 "cifar" split test
  loss cross_entropy; optimizer sgd lr 0.01; batch 5; epochs 1
}""",
        m='net m { input image 1x32x32; dense 10 }\ntrain m { data cifar10 "cifar"; loss cross_entropy }',
    )
    assert netdsl("train", "n.net", "-q").code == 0
    ran = netdsl("eval", "runs/n/best.onnx", "--data", "cifar/cifar-10-batches-py")
    assert (ran.code, "airplane" in ran.out) == (0, True)
    assert "has images of 3x32x32, but the input is 1x32x32" in netdsl("check", "m.net").err
