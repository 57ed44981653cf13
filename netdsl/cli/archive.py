"""Outputs as an .npz archive, written batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.session import Array

MADE = b"made by netdsl"
"""The comment at the archive's end, by which a later run knows that it may replace it."""


def write(file: BinaryIO, batches: Iterable[dict[str, Array]], names: list[str]) -> None:
    """Write the outputs of all batches, joined along the first axis, an array for each name."""
    import zipfile

    import numpy as np

    parts: dict[str, list[Any]] = {name: [] for name in names}
    for outputs in batches:
        for name in names:
            parts[name].append(outputs[name])
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = MADE
        for name in names:
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, so that equal outputs are equal bytes
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.concatenate(parts.pop(name)))
