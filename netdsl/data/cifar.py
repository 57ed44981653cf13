"""CIFAR-10 and CIFAR-100, in the binary version and in the version for Python, which is pickled.

Source: Krizhevsky (2009), Learning multiple layers of features from tiny images;
https://www.cs.toronto.edu/~kriz/cifar.html, "Dataset layout".
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from netdsl.base.files import open_file
from netdsl.data.errors import BadData, ClassesDiffer, Incomplete
from netdsl.data.labels import numbered
from netdsl.data.sources import assembled, only_input
from netdsl.ir.names import Names
from netdsl.weights.pickled import Buildable, CallableGlobal, Ignored, PickleRejected, encoded, unpickle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Dataset
    from netdsl.data.spec import DataSpec

PIXELS = 3 * 32 * 32

MAX_BYTES = 2**28
"""Maximum size of a file in bytes; the largest of the originals, of CIFAR-100, has 156 million."""


class Version(NamedTuple):
    """Names in a data set: its archives and their folders (Python, binary), its files, and the entries of a pickle. A
    record of the binary version has `label_bytes` labels, of which the last one counts, and the pixels."""

    archives: tuple[str, str]
    folders: tuple[str, str]
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: tuple[str, str]
    labels: str
    names: str
    label_bytes: int


VERSIONS = {
    "cifar10": Version(
        archives=("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"),
        folders=("cifar-10-batches-py", "cifar-10-batches-bin"),
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test=("test_batch",),
        meta=("batches.meta", "batches.meta.txt"),
        labels="labels",
        names="label_names",
        label_bytes=1,
    ),
    "cifar100": Version(
        archives=("cifar-100-python.tar.gz", "cifar-100-binary.tar.gz"),
        folders=("cifar-100-python", "cifar-100-binary"),
        train=("train",),
        test=("test",),
        meta=("meta", "fine_label_names.txt"),
        labels="fine_labels",
        names="fine_label_names",
        label_bytes=2,
    ),
}


def open_cifar(folder: str, split: str, version: Version, wanted: DataSpec) -> Dataset:
    """Open the data of `kinds.Cifar`."""
    name, target = only_input(wanted, folder)
    stems = version.train if split == "train" else version.test
    place, binary = _find(folder, version, stems)
    paths = [os.path.join(place, f"{stem}.bin" if binary else stem) for stem in stems]
    meta = os.path.join(place, version.meta[binary])
    for path in (*paths, meta):
        wanted.bounds.check(path)
    if missing := [path for path in (*paths, meta) if not os.path.exists(path)]:
        raise Incomplete(f"missing file: {missing[0]}", f"unpack the archive again: {version.archives[binary]}")
    read = _read_binary if binary else _read_pickle
    images, labels = zip(*(read(path, version) for path in paths), strict=True)
    pixels = np.concatenate(images).reshape(-1, 3, 32, 32)
    if name in wanted.pictures and wanted.pictures[name].order == "bgr":
        pixels = pixels[:, ::-1]
    xs = {name: (place, pixels)}
    if target is None:
        return assembled(xs, {}, wanted, pixels=True)
    classes = _class_names(meta, version, binary)
    numbers, names = _matched(np.concatenate(labels), classes, meta, target, wanted)
    where = _Places(paths, [len(part) for part in labels])
    return assembled(xs, {target: (place, numbers)}, wanted, names, {target: where}, pixels=True)


class _Places:
    """The names of examples in messages: `data_batch_2[17]`."""

    __slots__ = ("_counts", "_paths")

    def __init__(self, paths: list[str], counts: list[int]) -> None:
        self._paths = paths
        self._counts = counts

    def __call__(self, index: int) -> str:
        for path, count in zip(self._paths, self._counts, strict=True):
            if index < count:
                return f"{path}[{index}]"
            index -= count
        raise AssertionError("no such example")


def _find(folder: str, version: Version, stems: tuple[str, ...]) -> tuple[str, bool]:
    """Return the folder with the files, `folder` or that of an archive in it, and whether they are binary."""
    for binary, name in enumerate(version.folders):
        for place in (folder, os.path.join(folder, name)):
            if any(os.path.isfile(os.path.join(place, f"{stem}.bin" if binary else stem)) for stem in stems):
                return place, bool(binary)
    if os.path.isfile(folder):
        raise Incomplete(f"{folder} is a file", f"expected a folder; unpack an archive with `tar -xzf {folder}`")
    if found := [path for name in version.archives if os.path.isfile(path := os.path.join(folder, name))]:
        raise Incomplete(f"{folder} has only an archive", f"unpack it: `tar -xzf {found[0]} -C {folder}`")
    raise Incomplete(
        f"missing file: {os.path.join(folder, stems[0])} (or {stems[0]}.bin)",
        f"name the folder with the files of {' or '.join(version.archives)}; netdsl does not download data",
    )


def _read(path: str) -> bytes:
    with open_file(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > MAX_BYTES:
            raise BadData(f"{path} has {size:,} bytes, more than the limit of {MAX_BYTES:,}")
        return file.read()


def _read_binary(path: str, version: Version) -> tuple[Array, Array]:
    """Return images [n, 3072] and labels [n], uint8."""
    data, record = _read(path), version.label_bytes + PIXELS
    if len(data) % record or not data:
        raise BadData(f"{path} has {len(data):,} bytes, which is not a multiple of {record:,}, the size of a record")
    records = np.frombuffer(data, np.uint8).reshape(-1, record)
    return records[:, version.label_bytes :], records[:, version.label_bytes - 1]


def _read_pickle(path: str, version: Version) -> tuple[Array, Array]:
    """Return images [n, 3072], uint8, and labels [n], int64."""
    entries = _entries(path)
    images, labels = entries.get("data"), entries.get(version.labels)
    if not isinstance(images, _PickledArray) or images.array is None or images.array.shape[1:] != (PIXELS,):
        raise BadData(f"{path} has no array `data` of n x {PIXELS:,} bytes")
    if type(labels) is not list or any(type(label) is not int or not 0 <= label < 2**31 for label in labels):
        raise BadData(f"{path} has no list `{version.labels}` of class numbers")
    if len(labels) != len(images.array):
        raise BadData(f"{path} has {len(images.array):,} images, but {len(labels):,} labels")
    return images.array, np.array(labels, np.int64)


def _class_names(path: str, version: Version, binary: bool) -> tuple[str, ...]:
    """Return the names of the classes, in order."""
    if binary:
        try:
            names: Any = [line.strip() for line in _read(path).decode("utf-8").splitlines() if line.strip()]
        except UnicodeDecodeError:
            raise BadData(f"{path} is not UTF-8") from None
    else:
        found = _entries(path).get(version.names)
        listed = found if isinstance(found, list) else []
        names = [each.decode("latin-1") if isinstance(each, bytes) else each for each in listed]
    if not names or not all(isinstance(each, str) and 0 < len(each) < 100 for each in names):
        raise BadData(f"{path} has no names of classes")
    if len(set(names)) < len(names):
        raise BadData(f"{path} has two classes of the same name")
    return tuple(names)


def _matched(
    labels: Array, classes: tuple[str, ...], path: str, target: str, wanted: DataSpec
) -> tuple[Array, Names | None]:
    """Return the numbers of the examples' classes, and the names of all classes. Training data define the classes;
    other data are matched by name if those of the net have names. Raises ClassesDiffer."""
    if wanted.names is None:
        count = wanted.targets[target].classes
        if count is not None and count != len(classes):
            raise ClassesDiffer(f"{path} has {len(classes)} classes, but the net has {count}")
        return labels, Names({target: classes})
    if target not in wanted.names.classes or labels.max(initial=0) >= len(classes):
        return labels, wanted.names
    begin = f"{path} has a class"
    numbers, _ = numbered(classes, path, begin, wanted.targets[target], wanted, lambda _: begin)
    return np.array([numbers[name] for name in classes])[labels], wanted.names


class _PickledArray(Buildable):
    """An array of bytes in a pickle: NumPy makes an empty one, whose shape and content follow as its state."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: Array | None = None

    def build(self, state: object) -> None:
        if type(state) is not tuple or len(state) != 5:
            raise PickleRejected("an array has an unknown form")
        _, shape, dtype, fortran, content = state
        self.fill(content, dtype, shape, "F" if fortran else "C")

    def fill(self, content: object, dtype: object, shape: object, order: object) -> None:
        """Set the content, which Python 2 wrote as text."""
        data = content.encode("latin-1") if isinstance(content, str) else content
        if not isinstance(dtype, _Byte) or not isinstance(data, bytes) or order != "C":
            raise PickleRejected("an array is not one of bytes in C order")
        if type(shape) is not tuple or len(shape) != 2 or any(type(size) is not int or size < 1 for size in shape):
            raise PickleRejected("an array does not have two axes")
        if math.prod(shape) != len(data):
            raise PickleRejected("an array does not have the bytes of its shape")
        self.array = np.frombuffer(data, np.uint8).reshape(shape)


class _Byte(Ignored):
    """NumPy's type uint8."""


def _dtype(code: object, *_: object) -> _Byte:
    if code not in ("u1", b"u1"):
        raise PickleRejected("an array is not one of bytes")
    return _Byte()


def _from_buffer(content: object, dtype: object, shape: object, order: object) -> _PickledArray:
    made = _PickledArray()
    made.fill(content, dtype, shape, order)
    return made


def _globals() -> Iterator[tuple[str, object]]:
    for core in ("numpy.core", "numpy._core"):
        yield f"{core}.multiarray._reconstruct", CallableGlobal(lambda *_: _PickledArray())
        yield f"{core}.numeric._frombuffer", CallableGlobal(_from_buffer)
    yield "numpy.ndarray", Ignored()
    yield "numpy.dtype", CallableGlobal(_dtype)
    yield "_codecs.encode", CallableGlobal(encoded)


GLOBALS = dict(_globals())
"""The globals that a batch may name: those of NumPy's arrays of bytes. None of them runs what the file says."""


def _entries(path: str) -> dict[str, Any]:
    """Return the entries of a pickled dictionary. Raises BadData; nothing in the pickle is run."""

    def persistent(_: object) -> object:
        raise PickleRejected("it refers to data stored elsewhere")

    try:
        found = unpickle(_read(path), GLOBALS, persistent)
    except PickleRejected as error:
        raise BadData(f"{path} is not a batch of CIFAR: {error}") from None
    if type(found) is not dict:
        raise BadData(f"{path} is not a batch of CIFAR: it contains no dictionary")
    return {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in found.items()}
