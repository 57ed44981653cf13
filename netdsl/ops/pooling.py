"""Windows reduced to one value, and whole maps too.

Paddings are explicit. A window that ceil pooling adds at the end is padding that the caller puts into `extra`:
max(0, (out - 1)*stride + kernel - size - pads); onnxruntime and the checker disagree about `ceil_mode`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ops.base import Form, Op, apply
from netdsl.ops.convolution import windows
from netdsl.ops.indexing import pad
from netdsl.ops.reach import Reach, window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Value
    from netdsl.ir.shape import Shape


class Pool(Op):
    """[N, C, *S] -> [N, C, *P]; `pads` are all befores, then all afters, each smaller than the kernel."""

    __slots__ = ("kernel_shape", "pads", "strides")

    def __init__(self, kernel_shape: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...]) -> None:
        assert all(p < k for p, k in zip(pads, kernel_shape * 2, strict=True)), f"pads {pads}, kernel {kernel_shape}"
        self.kernel_shape = kernel_shape
        self.strides = strides
        self.pads = pads

    def infer(self, x: Shape) -> Shape:
        rank = len(self.kernel_shape)
        assert len(x) == rank + 2, f"{x} pooled over {rank} axes"
        pads = map(sum, zip(self.pads[:rank], self.pads[rank:], strict=True))
        return x[:2] + tuple(map(windows, x[2:], self.kernel_shape, self.strides, pads))

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if axis < 2:
            return Reach(axis)
        return window(axis, self.kernel_shape[axis - 2], self.strides[axis - 2], self.pads[axis - 2])

    @property
    def attributes(self) -> dict[str, object]:
        return {"kernel_shape": self.kernel_shape, "strides": self.strides, "pads": self.pads}


class MaxPool(Pool):
    """The largest of each window; padding is never it. ONNX MaxPool."""

    __slots__ = ()


class AveragePool(Pool):
    """The mean of each window, of its padding too where that counts. ONNX AveragePool."""

    __slots__ = ("count_include_pad",)

    def __init__(
        self, kernel_shape: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...], count_include_pad: bool
    ) -> None:
        super().__init__(kernel_shape, strides, pads)
        self.count_include_pad = count_include_pad

    def onnx(self, opset: int, *xs: Value) -> Form:
        return Form("AveragePool", self.attributes | {"count_include_pad": int(self.count_include_pad)})


class GlobalPool(Op):
    """[N, C, *S] -> [N, C, *1]."""

    def infer(self, x: Shape) -> Shape:
        return x[:2] + (1,) * (len(x) - 2)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return Reach(axis) if axis < 2 else None


class GlobalAveragePool(GlobalPool):
    """The mean of each map. ONNX GlobalAveragePool."""


class GlobalMaxPool(GlobalPool):
    """The largest of each map. ONNX GlobalMaxPool."""


def _joined(pads: Sequence[int] | None, extra: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Paddings with the extra ones added to the afters."""
    pads = pads or (0, 0) * rank
    extra = extra or (0,) * rank
    return *pads[:rank], *(p + e for p, e in zip(pads[rank:], extra, strict=True))


def max_pool(
    x: Value,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int] | None = None,
    *,
    extra: Sequence[int] | None = None,
) -> Value:
    """`extra` are the afters that ceil pooling adds, one an axis."""
    return apply(MaxPool(tuple(kernel), tuple(strides), _joined(pads, extra, len(kernel))), x)


def average_pool(
    x: Value,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int] | None = None,
    *,
    count_include_pad: bool = False,
    extra: Sequence[int] | None = None,
) -> Value:
    """As in PyTorch: `pads` count if `count_include_pad` says so, `extra` never does."""
    if count_include_pad and pads and any(pads) and extra and any(extra):
        x, pads, count_include_pad = pad(x, pads), None, False
    count_include_pad = count_include_pad and bool(pads) and not (extra and any(extra))
    return apply(AveragePool(tuple(kernel), tuple(strides), _joined(pads, extra, len(kernel)), count_include_pad), x)


def global_average_pool(x: Value) -> Value:
    return apply(GlobalAveragePool(), x)


def global_max_pool(x: Value) -> Value:
    return apply(GlobalMaxPool(), x)
