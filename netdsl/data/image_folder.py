"""Data sets of images in one folder per class, decoded ahead by threads."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from netdsl.base.files import problem_of
from netdsl.base.terminal import plural
from netdsl.base.threads import thread_pool
from netdsl.data.checks import target_column
from netdsl.data.column import Column, Hash
from netdsl.data.dataset import Dataset
from netdsl.data.errors import Incomplete, NoExamples
from netdsl.data.images import ENDINGS, ImageReader, stacked
from netdsl.data.labels import numbered
from netdsl.data.picture import Picture
from netdsl.data.sources import only_input
from netdsl.ir.names import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from netdsl.base.dtypes import Array
    from netdsl.data.spec import DataSpec

_T = TypeVar("_T")
_U = TypeVar("_U")

BATCHES_AHEAD = 2
"""Number of batches decoded in advance."""


def ahead(work: Callable[[_T], _U], items: Iterable[_T], threads: int, most: int) -> Generator[_U, None, None]:
    """Yield `work(item)` for each item in order, with at most `most` started but not yet consumed.

    An exception is raised where its result would be. When the consumer stops, pending work is dropped, and the threads
    have ended when `close` returns.
    """
    pool = thread_pool(threads, "netdsl-data")
    waiting: deque[Future[_U]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class PictureColumn(Column):
    """Images that are decoded on access."""

    __slots__ = ("reader", "threads")

    def __init__(self, reader: ImageReader, threads: int) -> None:
        super().__init__(reader.path, reader.shape, str(reader.dtype))
        self.reader = reader
        self.threads = threads

    def __len__(self) -> int:
        return len(self.reader)

    def name(self, index: int) -> str:
        return self.reader.name(index)

    def batches(self, size: int, first: int = 0, stop: int | None = None) -> Iterator[Array]:
        return self.reader.batches(size, first, stop)

    def digest(self, hashed: Hash) -> None:
        """Update a hash with the paths of the images below their folder, and the sizes of their files."""
        paths = [os.path.abspath(self.name(index)) for index in range(len(self))]
        top = os.path.commonpath([os.path.dirname(path) for path in paths])
        for path in paths:
            with suppress(OSError):
                below = path.removeprefix(top).lstrip(os.sep)  # `relpath` takes most of the time for 100,000 images
                hashed.update(f"{below}\n{os.path.getsize(path)}\n".encode(errors="surrogateescape"))

    def take(self, indices: Array) -> Array:
        (taken,) = self.takes([indices])
        return taken

    def takes(self, picked: Sequence[Array]) -> Generator[Array, None, None]:
        """Yield the images of each batch, decoded ahead by threads."""
        largest = max(map(len, picked), default=1)
        places = (int(index) for indices in picked for index in indices)
        pictures = ahead(self.reader.read, places, self.threads, max(1, (BATCHES_AHEAD + 1) * largest))
        try:
            for indices in picked:
                batch = [next(pictures) for _ in indices]
                yield stacked(batch, [self.name(int(index)) for index in indices])
        finally:
            pictures.close()


def default_threads() -> int:
    """Return the number of processors available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def picture_column(paths: list[str], name: str, wanted: DataSpec) -> PictureColumn:
    """Return the images at these paths as the examples of an input, with their sizes checked."""
    reader = ImageReader(paths, wanted.example(name), wanted.inputs[name][1], _frame(wanted, name))
    _check_sizes(reader, paths)
    return PictureColumn(reader, wanted.threads or default_threads())


def open_folder(folder: str, wanted: DataSpec) -> Dataset:
    """Open the data of `kinds.Folder`."""
    name, target_name = only_input(wanted, folder)
    target = None if target_name is None else wanted.targets[target_name]
    has = f"{folder} has"
    numbers: dict[str, int] = dict.fromkeys(sorted(_classes(folder)), 0)
    classes = None
    if target is not None:
        numbers, classes = numbered(numbers, folder, has, target, wanted, lambda _: f"{has} a class")
    paths: list[str] = []
    labels: list[int] = []
    others = 0
    notes = []
    for label, number in numbers.items():
        found, left = _pictures(os.path.join(folder, label))
        paths += found
        labels += [number] * len(found)
        others += left
        if not found:
            notes.append(f"{os.path.join(folder, label)} has no images")
    if not paths:
        raise NoExamples(f"{folder} has no images in its subfolders", f"image names end in {' '.join(sorted(ENDINGS))}")
    for path in paths:
        wanted.bounds.check(path)
    pictures = picture_column(paths, name, wanted)
    columns = {}
    if target is not None:
        columns = {target.name: target_column(folder, np.array(labels), target, lambda index: paths[index])}
    if others:
        notes.insert(0, f"{folder}: skipped {plural(others, 'file')} without the ending of an image")
    names = wanted.names or (Names({target.name: classes}) if target is not None and classes else None)
    return Dataset(
        {name: pictures}, columns, names=names, notes=notes, augment=wanted.augment, pictures=wanted.pictures
    )


def _check_sizes(reader: ImageReader, paths: list[str]) -> None:
    """Raise WrongShape if images are smaller than the crop, or differ in size without being resized or cropped."""
    frame, sizes = reader.frame, reader.sizes
    first = reader.read(0)
    if frame.crop is not None or isinstance(frame.resize, tuple):
        return
    for index, size in enumerate(sizes):
        if size != sizes[0]:
            stacked([first, reader.read(index)], [paths[0], paths[index]])


def _classes(folder: str) -> list[str]:
    """Return the names of the subfolders."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except NotADirectoryError:
        raise Incomplete(f"{folder} is a file", "expected a folder of images for each class") from None
    except OSError as error:
        raise problem_of(error, folder) from None
    if not found:
        raise Incomplete(f"{folder} has no subfolders", "it must contain a folder of images for each class")
    return found


def _pictures(folder: str) -> tuple[list[str], int]:
    """Return the images in a folder and its subfolders, sorted, and the number of other files."""
    found, others = [], 0
    for at, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if os.path.splitext(file)[1].lower() in ENDINGS:
                found.append(os.path.join(at, file))
            else:
                others += not file.startswith(".")
    return found, others


def _frame(wanted: DataSpec, name: str) -> Picture:
    """Return the preprocessing of images. A random crop gets the whole center square of the resized image, and a center
    crop gets its result, if the input declares one."""
    picture = wanted.pictures.get(name) or Picture()
    still = wanted.augment is None or not any(step.random for step in wanted.augment.steps)
    if wanted.example(name) == wanted.inputs[name][0] or (still and picture.crop is not None):
        return picture
    whole = picture.resize if isinstance(picture.resize, int) else None
    return Picture(picture.resize, whole, picture.filter, picture.order, picture.letterbox, picture.mean, picture.std)
