"""Shapes: a size for each axis, an integer where it is known and a formula where it is not."""

from __future__ import annotations

from netdsl.base.size import Size, Undecidable

Dim = int | Size
Shape = tuple[Dim, ...]
"""The sizes of a value. In Net without the batch, `(64, 56, 56)`; in Graph with it, `(N, 64, 56, 56)`."""


def text(shape: Shape) -> str:
    """`64x56x56`; with sizes in it that are not known `[64, H, W//2]`."""
    if all(isinstance(d, int) for d in shape):
        return "x".join(map(str, shape))
    return f"[{', '.join(map(str, shape))}]"


def elements(shape: Shape) -> int:
    """The product of known sizes. Raises Undecidable where one is symbolic."""
    product = 1
    for size in shape:
        if not isinstance(size, int):
            raise Undecidable
        product *= size
    return product


def product(shape: Shape) -> Dim:
    """The product of sizes, of which one may be symbolic. Raises Undecidable where more are."""
    total: Dim = 1
    for size in shape:
        total = total * size
    return total


__all__ = ["Dim", "Shape", "Size", "Undecidable", "elements", "product", "text"]
