"""Data sets of arrays, in files or in memory: idx, npy, npz."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netdsl.data.checks import check_finite, target_column
from netdsl.data.column import ArrayColumn, as_array
from netdsl.data.dataset import Dataset
from netdsl.data.errors import ClassesDiffer, Incomplete, WrongType
from netdsl.data.idx import load_idx
from netdsl.data.labels import listed
from netdsl.data.npy import NpzArchive, map_npy
from netdsl.data.picture import Picture
from netdsl.data.reader import match_shape
from netdsl.data.spec import DataSpec, Target
from netdsl.ir.names import Names, with_blank

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.data.column import Column

MNIST = {"train": "train", "test": "t10k"}


def from_arrays(inputs: Mapping[str, object], targets: Mapping[str, object], wanted: DataSpec | None = None) -> Dataset:
    """Return a data set of arrays, or of values that NumPy converts, by the names of inputs and targets.

    Without `wanted`, the arrays determine their types: integer targets are classes from 0 to their maximum, others are
    values; inputs keep their shapes and become float32.
    """
    xs = {name: as_array(value, name) for name, value in inputs.items()}
    ys = {name: as_array(value, name) for name, value in targets.items()}
    wanted = wanted or _guessed(xs, ys)
    return assembled({n: (n, x) for n, x in xs.items()}, {n: (n, y) for n, y in ys.items()}, wanted)


def _guessed(xs: Mapping[str, Array], ys: Mapping[str, Array]) -> DataSpec:
    targets = {}
    for name, y in ys.items():
        if y.dtype.kind in "biu" and y.ndim == 1:
            targets[name] = Target(name, "class", classes=max(1, int(y.max(initial=0)) + 1))
        else:
            targets[name] = Target(name, "value", shape=y.shape[1:])
    return DataSpec({name: (x.shape[1:], "float32") for name, x in xs.items()}, targets)


Named = tuple[str, "Array"]
"""An array with its name in messages."""


def assembled(
    xs: Mapping[str, Named],
    ys: Mapping[str, Named],
    wanted: DataSpec,
    found: Names | None = None,
    where: Mapping[str, Callable[[int], str]] | None = None,
    pixels: bool = False,
) -> Dataset:
    """Return the data set of these arrays, checked. `found` are names that came with them, `where` names the examples
    of a target in messages, and `pixels` are normalized as the inputs declare."""
    inputs: dict[str, Column] = {}
    for name, (_, dtype) in wanted.inputs.items():
        path, array = _of(xs, name, "input")
        if pixels and name in wanted.pictures:
            wanted.pictures[name].check_array(path, array.shape)
        inputs[name] = column = ArrayColumn(path, array, wanted.example(name), dtype)
        check_finite(column)
    names = where or {}
    targets = {
        name: target_column(*_of(ys, name, "target"), target, names.get(name))
        for name, target in wanted.targets.items()
    }
    pictures = {name: Picture(mean=p.mean, std=p.std) for name, p in wanted.pictures.items()} if pixels else {}
    notes = [] if pixels else [picture.note_array(inputs[name].path) for name, picture in wanted.pictures.items()]
    return Dataset(
        inputs,
        targets,
        names=found or wanted.names,
        notes=[*filter(None, notes)],
        augment=wanted.augment,
        pictures=pictures,
    )


def _of(arrays: Mapping[str, Named], name: str, what: str) -> Named:
    if name not in arrays:
        held = ", ".join(f"`{other}`" for other in arrays) or "none"
        raise Incomplete(f"no array for the {what} `{name}` (available: {held})")
    return arrays[name]


def only_input(wanted: DataSpec, what: str) -> tuple[str, str | None]:
    """Return the only input, and the only target or None without one. Raises Incomplete if there are more."""
    return only(wanted, what) if wanted.targets or len(wanted.inputs) != 1 else (next(iter(wanted.inputs)), None)


def only(wanted: DataSpec, what: str) -> tuple[str, str]:
    """Return the only input and the only target. Raises Incomplete unless there is one of each."""
    if not wanted.targets and len(wanted.inputs) == 1:
        raise Incomplete(
            f"{what} has a target, which no loss of the net reads", "an .npz file can have the inputs alone"
        )
    if len(wanted.inputs) != 1 or len(wanted.targets) != 1:
        raise Incomplete(
            f"{what} has one input and one target, but the net has {len(wanted.inputs)} and {len(wanted.targets)}",
            "an .npz file can contain any number of arrays, by name",
        )
    return next(iter(wanted.inputs)), next(iter(wanted.targets))


def open_mnist(folder: str, split: str, wanted: DataSpec) -> Dataset:
    """Open the data of `kinds.Mnist`, whose classes are called by their numbers."""
    _, target = only_input(wanted, folder)
    paths = _mnist(folder, split, "images", 3), _mnist(folder, split, "labels", 1) if target is not None else ""
    for path in filter(None, paths):
        wanted.bounds.check(path)
    count = wanted.targets[target].classes or 0 if target is not None else 0
    names = {target: [str(number) for number in range(count)]} if target is not None and count else None
    return open_idx_pair(*paths, wanted, Names(names))


def _mnist(folder: str, split: str, what: str, rank: int) -> str:
    stem = f"{MNIST[split]}-{what}"
    names = [f"{stem}{dot}idx{rank}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for name in names:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return path
    raise Incomplete(
        f"missing file: {os.path.join(folder, names[0])} (or .gz)",
        "name the folder that contains the four files of MNIST; netdsl does not download data",
    )


def open_idx_pair(images: str, labels: str, wanted: DataSpec, found: Names | None = None) -> Dataset:
    """Open the data of `kinds.Idx`; `found` are names of their classes."""
    x, y = only_input(wanted, images)
    xs, ys = {x: (images, load_idx(images))}, {} if y is None else {y: (labels, load_idx(labels))}
    return assembled(xs, ys, wanted, wanted.names or found, pixels=True)


def open_npy_pair(x_path: str, y_path: str, wanted: DataSpec) -> Dataset:
    """Open the data of `kinds.Npy`."""
    x, y = only(wanted, x_path)
    return assembled({x: (x_path, map_npy(x_path))}, {y: (y_path, map_npy(y_path))}, wanted)


def open_npz_set(path: str, wanted: DataSpec) -> Dataset:
    """Open the data of `kinds.Npz`."""
    archive = NpzArchive(path)
    wanted.refuse_untargeted(archive.names, path)
    one_x, one_y = len(wanted.inputs) == 1, len(wanted.targets) == 1
    x = {name: _member(archive, wanted, name, *(["x"] if one_x else [])) for name in wanted.inputs}
    y = {name: _member(archive, wanted, name, *(["target", "y"] if one_y else [])) for name in wanted.targets}
    for name, key in x.items():  # before anything is decompressed
        match_shape(f"{path}: {key}", archive.header(key).shape, wanted.example(name))
    classes = {name: _class_names(archive, key, name, wanted) for name, key in y.items()}
    found = Names({name: names for name, names in classes.items() if names is not None})
    xs, ys = ({name: (f"{path}: {key}", archive.load(key)) for name, key in part.items()} for part in (x, y))
    return assembled(xs, ys, wanted, wanted.names or found)


def _class_names(archive: NpzArchive, key: str, name: str, wanted: DataSpec) -> Sequence[str] | None:
    """Return the names of a target's classes, None if the archive has none. Raises WrongType and ClassesDiffer."""
    member, target = f"{key}_names", wanted.targets[name]
    if member not in archive.names or target.kind == "value":
        return None
    where, header = f"{archive.path}: {member}", archive.header(member)
    if header.dtype.kind != "U" or len(header.shape) != 1:
        raise WrongType(f"{where} has shape {list(header.shape)} and type {header.dtype}, but must be a row of strings")
    count = 2 if target.kind == "sign" else target.classes
    fits = (count,) if target.blank is None or count is None else (count - 1, count)
    if header.shape[0] not in fits:
        raise ClassesDiffer(f"{where} has {header.shape[0]:,} names, but the net has {count} classes")
    names: list[str] = archive.load(member).tolist()
    if len({*names}) < len(names) or ("" in names and len(names) != count):
        raise ClassesDiffer(f"{where} has a name twice, or an empty one")
    found = names if target.blank is None else with_blank(names, target.blank, count)
    known = wanted.names.classes.get(name) if wanted.names is not None else None
    if known is not None and tuple(found) != tuple(known):
        what = f"is {listed(found)}" if wanted.bounds.quotes(archive.path) else "has other names"
        raise ClassesDiffer(f"{where} {what}, but the classes are {listed(known)}, in this order")
    return found


def _member(archive: NpzArchive, wanted: DataSpec, *names: str) -> str:
    """Return the name of the array for an input or a target, the first of `names` that is there. Raises Incomplete."""
    keys = tuple(dict.fromkeys(names))
    for key in keys:
        if key in archive.names:
            return key
    held = ", ".join(sorted(archive.names)[:10]) or "none"
    told = f" (available: {held})" if wanted.bounds.quotes(archive.path) else ""
    called = " or ".join(f"`{key}`" for key in keys)
    raise Incomplete(f"{archive.path} has no array {called}{told}")
