"""Random arrays for the inputs of a net."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.size import Size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Shape


def known_sizes(shape: Shape, symbols: Mapping[str, int]) -> list[int]:
    """Return the sizes of a shape with values for its symbols."""
    return [size.substitute({**symbols}) if isinstance(size, Size) else size for size in shape]  # type: ignore[misc]


def random_array(dtype: str, shape: Sequence[int], vocabulary: int, generator: np.random.Generator) -> Array:
    """Return random numbers of a type of the language: standard normal ones, bytes, or numbers of a vocabulary."""
    if dtype == "i64":
        return generator.integers(0, vocabulary, shape)
    if dtype == "u8":
        return generator.integers(0, 256, shape, np.uint8)
    array = generator.standard_normal(tuple(shape), np.float32)
    return array.astype(np.float16) if dtype == "f16" else array
