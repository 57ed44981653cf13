"""Choose a reader by the first bytes of a file, not by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.files import mistaken, open_file
from netdsl.data.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.data.images import Picture
    from netdsl.data.reader import Dims, Reader


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
    `f32`). `name` selects the array of an archive, `picture` determines how images are framed. Several paths are
    images, one per example.
    """
    paths = (path,) if isinstance(path, str) else tuple(path)
    assert paths
    kinds = {one: kind_of(one) for one in paths}
    if all(kind == "picture" for kind in kinds.values()):
        from netdsl.data.images import ImageReader

        return ImageReader(paths, shape, dtype, picture)
    if len(paths) > 1:
        odd = next(one for one, kind in kinds.items() if kind != "picture")
        raise BadData(f"of several files for one input each must be a picture, and {odd} is not")
    return _open_array(paths[0], kinds[paths[0]], shape, dtype, name)


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
    if head.startswith(b"\x80"):
        raise BadData(f"{path} is pickled, and never read: a pickle can run programs", "save it with `numpy.save`")
    raise BadData(f"{path} has an unsupported format (supported: .npy, .npz, idx, and images such as PNG or JPEG)")
