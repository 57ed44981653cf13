"""Shapes: one size per axis, an integer or a symbolic formula."""

from __future__ import annotations

from netdsl.base.size import Size, Undecidable

TYPE_CHECKING = False  # `netdsl zoo` starts without typing
if TYPE_CHECKING:
    from collections.abc import Sequence

Dim = int | Size
Shape = tuple[Dim, ...]
"""The sizes of a value, in Net without the batch axis, `(64, 56, 56)`, and in Graph with it, `(N, 64, 56, 56)`."""


def format_shape(shape: Sequence[Dim | str | None]) -> str:
    """Format a shape as `64x56x56`, with symbolic sizes as `[64, H, W//2]`, with `?` for any size (None), and without
    axes as `a single number`."""
    sizes = ["?" if size is None else str(size) for size in shape]
    if all(size is None or isinstance(size, int) for size in shape):
        return "x".join(sizes) or "a single number"
    return f"[{', '.join(sizes)}]"


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


__all__ = ["Dim", "Shape", "Size", "Undecidable", "elements", "format_shape", "product"]
