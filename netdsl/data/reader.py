"""The interface of all readers of input files: opening by first bytes, matching of shapes, conversion of numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.dtypes import NUMPY_NAMES
from netdsl.base.files import mistaken, open_file
from netdsl.base.shape import format_shape
from netdsl.data.errors import BadData, WrongShape, WrongType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netdsl.base.dtypes import Array, DType
    from netdsl.data.picture import Picture

Dims = tuple[int | None, ...]
"""The shape of one example, without the batch; None for any size."""


def type_of(name: str) -> DType:
    """Return NumPy's type for a name, `f32` or `float32`."""
    return np.dtype(NUMPY_NAMES.get(name, name))


class Reader(ABC):
    """Examples for one input, in order. Reading twice gives the same; only one batch is in memory."""

    __slots__ = ("dtype", "path", "picture", "shape")

    def __init__(self, path: str, shape: Dims, dtype: str) -> None:
        self.path = path
        self.shape = shape
        self.dtype = type_of(dtype)
        self.picture: Picture | None = None
        """How pixels are normalized; None if the examples are not pixels."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of examples, at least one."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the name of an example in messages: `t10k-images-idx3-ubyte.gz[17]`, or the image file."""

    @abstractmethod
    def batches(self, size: int, first: int = 0, stop: int | None = None) -> Iterator[Array]:
        """Yield the examples from `first` to `stop`, or to the last, as [n, *shape] of the input's type, contiguous; n
        is `size`, or less at the end."""

    def spans(self, size: int, first: int, stop: int | None) -> Iterator[tuple[int, int]]:
        """Yield the first index of each batch of `batches`, and the index after its last."""
        last = len(self) if stop is None else stop
        return ((at, min(at + size, last)) for at in range(first, last, size))


def match_shape(
    path: str, found: tuple[int, ...], wanted: Dims, taker: str = "the input"
) -> tuple[int, tuple[int, ...]]:
    """Return the number of examples in an array of a shape, and the shape that each gets.

    The first axis counts the examples; an array with the shape of one example is one. Axes of size 1 can be omitted,
    all at once: 28x28 is read as 1x28x28.
    """
    for target in (wanted, tuple(size for size in wanted if size != 1)):
        if found and _matches(found[1:], target):
            count, example = found[0], found[1:]
        elif _matches(found, target):
            count, example = 1, found
        else:
            continue
        if not count:
            raise BadData(f"{path} contains no examples: its shape is {format_shape(found)}")
        if 0 in example:
            raise WrongShape(f"{path} is {format_shape(found)}, but an axis of an example cannot have length 0")
        if len(target) < len(wanted):
            sizes = iter(example)
            example = tuple(1 if size == 1 else next(sizes) for size in wanted)
        return count, example
    raise WrongShape(
        f"{path} is {format_shape(found)}, but {taker} takes examples of {format_shape(wanted)}",
        *_advice(found, wanted),
    )


def _matches(example: tuple[int, ...], target: Dims) -> bool:
    return len(example) == len(target) and all(want in (None, size) for size, want in zip(example, target, strict=True))


def _advice(found: tuple[int, ...], wanted: Dims) -> Iterator[str]:
    """Yield a hint if the shape looks like another framework's layout, or lacks the batch axis."""
    if len(wanted) == 3 and len(found) in (3, 4) and wanted[0] == found[-1]:
        axes = "0, 3, 1, 2" if len(found) == 4 else "2, 0, 1"
        yield f"channels come first here: `array.transpose({axes})`"
    elif len(found) == len(wanted) + 1 and found[0] == 1 and len(wanted) > 2:
        yield "the first axis counts the examples"


def check_types(path: str, found: DType, wanted: DType, taker: str = "the input") -> None:
    """Check that numbers can be converted without loss: any to a float, an integer to another that holds its value,
    never a float to an integer."""
    if found.kind not in "biuf":
        kind = "Python objects" if found.hasobject else str(found)
        raise WrongType(f"{path} contains {kind}, but {taker} takes {wanted}")
    if found.kind == "f" and wanted.kind in "iu":
        raise WrongType(
            f"{path} contains {found.newbyteorder('=')}, but {taker} takes {wanted}",
            f"if all values are integers, convert them: `array.astype({str(wanted)!r})`",
        )


def convert(reader: Reader, batch: Array, first: int) -> Array:
    """Convert a batch to the input's type, preserving values, with floats rounded to nearest. Pixels are normalized
    first. `first` is the index of the first example."""
    wanted = reader.dtype
    if reader.picture is not None:
        batch = reader.picture.normalized(batch)
    if batch.dtype == wanted:
        return np.ascontiguousarray(batch)
    with np.errstate(over="ignore"):
        out = batch.astype(wanted, order="C")
    if wanted.kind == "f":
        fits = np.isfinite(out) | ~np.isfinite(batch) if float(np.finfo(wanted).max) < _largest(batch.dtype) else None
    else:
        fits = None if np.can_cast(batch.dtype, wanted, "safe") else out == batch
    if fits is not None and not fits.all():
        at = tuple(int(i[0]) for i in np.nonzero(~fits))
        raise WrongType(f"{reader.name(first + at[0])} contains {batch[at]}, which is out of range for {wanted}")
    return out


def _largest(dtype: DType) -> float:
    return float(np.finfo(dtype).max) if dtype.kind == "f" else 1.0 if dtype.kind == "b" else float(np.iinfo(dtype).max)


def open_input(
    path: str | Sequence[str],
    shape: Dims,
    dtype: str,
    *,
    name: str | None = None,
    picture: Picture | None = None,
) -> Reader:
    """Return a reader of `.npy`, `.npz`, idx (optionally gzipped) or image files for an input.

    `shape` is that of one example, without the batch, None for any size; `dtype` is that of the input (`float32` or
    `f32`). `name` selects the array of an archive, `picture` is the preprocessing of images and of the pixels in idx
    files. Several paths are images, one per example.
    """
    paths = (path,) if isinstance(path, str) else tuple(path)
    assert paths
    kinds = {one: kind_of(one) for one in paths}
    if all(kind == "picture" for kind in kinds.values()):
        from netdsl.data.images import ImageReader

        return ImageReader(paths, shape, dtype, picture)
    if len(paths) > 1:
        odd = next(one for one, kind in kinds.items() if kind != "picture")
        raise BadData(f"several files for one input must all be images, but {odd} is not")
    reader = _open_array(paths[0], kinds[paths[0]], shape, dtype, name)
    if picture is not None and kinds[paths[0]] == "idx":
        picture.check_array(reader.path, reader.shape)
        reader.picture = picture
    return reader


def _open_array(path: str, kind: str, shape: Dims, dtype: str, name: str | None) -> Reader:
    if kind == "npy":
        from netdsl.data.npy import NpyReader

        return NpyReader(path, shape, dtype)
    if kind == "npz":
        from netdsl.data.npy import open_npz

        return open_npz(path, shape, dtype, name)
    from netdsl.data.idx import open_idx

    return open_idx(path, shape, dtype)


def kind_of(path: str) -> str:
    """Return `npy`, `npz`, `idx` or `picture`."""
    from netdsl.data.idx import is_idx
    from netdsl.data.images import format_of

    with open_file(path) as file:
        head = file.read(64)
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "npz"
    if head.startswith(b"\x1f\x8b") or is_idx(head):
        return "idx"
    if format_of(head):
        return "picture"
    if what := mistaken(head):
        raise BadData(f"{path} {what}")
    if head.startswith(b"PAR1"):
        raise BadData(f"{path} is a Parquet file, whose name must end with .parquet")
    if head.startswith(b"\x80"):
        raise BadData(f"{path} is a pickle, which is never loaded, since it can run code", "save it with `numpy.save`")
    raise BadData(f"{path} has an unsupported format (supported: .npy, .npz, idx, and images such as PNG or JPEG)")
