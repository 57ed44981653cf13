"""Shapes: one size per axis, an integer or a symbolic formula."""

from __future__ import annotations

from netdsl.base.size import Size, Undecidable

TYPE_CHECKING = False  # `netdsl zoo` starts without typing
if TYPE_CHECKING:
    from collections.abc import Sequence

Dim = int | Size
Shape = tuple[Dim, ...]
"""The sizes of a value, in Net without the batch axis, `(64, 56, 56)`, and in Graph with it, `(N, 64, 56, 56)`."""


def text(shape: Shape) -> str:
    """Format a shape as `64x56x56`, or with symbolic sizes as `[64, H, W//2]`."""
    if all(isinstance(d, int) for d in shape):
        return "x".join(map(str, shape))
    return f"[{', '.join(map(str, shape))}]"


def spell_shape(shape: Sequence[int | None]) -> str:
    """Format the shape of an example as `3x224x224`, with `?` for any size, or as `a single number`."""
    return "x".join("?" if size is None else str(size) for size in shape) or "a single number"


def elements(shape: Shape) -> int:
    """Return the product of known sizes. Raises Undecidable if one is symbolic."""
    product = 1
    for size in shape:
        if not isinstance(size, int):
            raise Undecidable
        product *= size
    return product


def product(shape: Shape) -> Dim:
    """Return the product of sizes, at most one of them symbolic. Raises Undecidable otherwise."""
    total: Dim = 1
    for size in shape:
        total = total * size
    return total


__all__ = ["Dim", "Shape", "Size", "Undecidable", "elements", "product", "spell_shape", "text"]
