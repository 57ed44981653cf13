"""Keras's layout of the arrays of a layer, and its conversion to PyTorch's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array

    Shape = tuple[int, ...]

NORMALISING = ("layer_normalization", "group_normalization", "batch_normalization")


NEUTRAL = {"scale": ("gamma", 1.0), "center": ("beta", 0.0)}
"""The arguments that omit an array of a normalization, with the array and its neutral value."""


class Layout:
    """A permutation of axes and the resulting shape; `merged` joins the first two axes of the result."""

    __slots__ = ("axes", "shape")

    def __init__(self, axes: Shape | None, shape: Shape) -> None:
        self.axes = axes
        self.shape = shape

    def turn(self, array: Array) -> Array:
        return (array if self.axes is None else array.transpose(self.axes)).reshape(self.shape)


def layout(word: str, kind: str, shape: Shape, *, last: bool = True) -> Layout:
    """Return the layout of an array that Keras calls `word`, in a layer of a class such as `conv2d`, of a model whose
    channels come `last` or first."""
    rank = len(shape)
    space = tuple(range(rank - 2))
    if rank > 2 and (word == "depthwise_kernel" or (word == "kernel" and kind.startswith("depthwise_conv"))):
        # [H, W, C, multiplier] to [C * multiplier, 1, H, W]
        return Layout((rank - 2, rank - 1, *space), (shape[-2] * shape[-1], 1, *shape[:-2]))
    if word in ("kernel", "pointwise_kernel") and rank >= 2:
        # [in, out] to [out, in], [H, W, in, out] to [out, in, H, W], and [H, W, out, in] of a deconvolution likewise
        return Layout((rank - 1, rank - 2, *space), (shape[-1], shape[-2], *shape[:-2]))
    if word == "alpha" and set(shape[:-1] if last else shape[1:]) == {1}:
        return Layout(None, shape[-1:] if last else shape[:1])
    return _as_is(shape)


def _as_is(shape: Shape) -> Layout:
    return Layout(None, shape)


SEPARABLE = ["depthwise_kernel", "pointwise_kernel"]

WORDS = (
    (r"(depthwise_)?conv\dd(_transpose)?|dense", ["kernel"], ["kernel", "bias"]),
    (r"separable_conv\dd", SEPARABLE, [*SEPARABLE, "pointwise_bias"]),
    (r"embedding", ["embeddings"]),
    (r"p_re_lu", ["alpha"]),
)
"""Keras's words for the arrays of the layers whose class in snake case matches, by their number."""


def words_of(kind: str, count: int, about: dict[str, Any]) -> list[str] | None:
    """Return Keras's names of the arrays of a layer, which its files only number. `about` are the arguments of the
    layer, if the file has them; None if the names cannot be determined."""
    if kind in NORMALISING:
        moving = ["moving_mean", "moving_variance"] if kind == "batch_normalization" else []
        if not about and count == len(moving) + 1:
            return None
        told = [word for argument, (word, _) in NEUTRAL.items() if about.get(argument) is not False]
        known = [[*told, *moving], moving]
    else:
        known = next((words for pattern, *words in WORDS if re.fullmatch(pattern, kind)), [])
    return next((words for words in known if len(words) == count), [f"vars.{at}" for at in range(count)])
