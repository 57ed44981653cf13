"""Resizing of spatial axes, by factors and to sizes."""

from __future__ import annotations

from math import floor, prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.graph import Tensor
from netdsl.ir.op import OnnxNode, Op
from netdsl.ir.reach import UNKNOWN_REACH, Reach
from netdsl.ops.base import apply, as_values, constant, known
from netdsl.ops.indexing import Gathering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Dim, Shape
    from netdsl.ir.graph import Value

__all__ = ["depth_to_space", "grid_sample", "resize", "resize_to", "space_to_depth"]


class Resize(Op):
    """[N, C, *S] -> [N, C, *(factor*S)]: each element repeated, or interpolated between its neighbors. ONNX Resize.

    Interpolation treats elements as cells (half-pixel centers) or, with `corners`, as points whose corners are aligned.
    """

    __slots__ = ("corners", "factors", "linear")

    def __init__(self, factors: tuple[int, ...], linear: bool, corners: bool) -> None:
        self.factors = factors
        self.linear = linear
        self.corners = corners

    def infer(self, x: Shape) -> Shape:
        assert len(x) == len(self.factors) + 2, f"{x} resized by {self.factors}"
        return x[:2] + tuple(size * factor for size, factor in zip(x[2:], self.factors, strict=True))

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        factor = self.factors[axis - 2] if axis > 1 else 1
        if factor == 1 or not self.linear:
            return Reach(axis, up=factor)
        if self.corners:  # not the exact neighbors, which depend on the size, but as many
            return Reach(axis, last=factor, up=factor)
        return Reach(axis, stride=2, first=1 - factor, last=factor, up=2 * factor)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        attributes = {
            "mode": "linear" if self.linear else "nearest",
            "coordinate_transformation_mode": self._where if self.linear else "asymmetric",
            "nearest_mode": "floor",
        }
        scales = Tensor("f32", (len(self.factors) + 2,), (1.0, 1.0, *map(float, self.factors)))
        return OnnxNode("Resize", attributes, extra={"roi": None, "scales": scales})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """Repeated elements are summed; interpolation is a product with a matrix along each axis."""
        if not self.linear:
            return (ops.mul(ops.average_pool(dy, self.factors, self.factors), prod(self.factors)),)
        for axis, factor in enumerate(self.factors, 2):
            if factor > 1:
                dy = _gathered(dy, axis, interpolation(known(xs[0].shape)[axis], known(y.shape)[axis], self._where))
        return (dy,)

    @property
    def _where(self) -> str:
        return "align_corners" if self.corners else "half_pixel"


class Interpolate(Op):
    """[N, C, *S] -> [N, C, *sizes]: linear or cubic interpolation between the neighbors. ONNX Resize.

    The second input is the whole shape of the result, as integers. `where` is ONNX's coordinate_transformation_mode:
    `half_pixel`, `align_corners` or `asymmetric`. The cubic kernel has a = -0.75, as in PyTorch.
    """

    __slots__ = ("mode", "sizes", "where")

    def __init__(self, mode: str, where: str, sizes: Shape) -> None:
        self.mode = mode
        self.where = where
        self.sizes = sizes

    def infer(self, x: Shape, shape: Shape) -> Shape:
        assert shape == (len(x),) == (len(self.sizes) + 2,), f"{x} resized to {self.sizes}"
        return x[:2] + self.sizes

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if at or axis < 2 or xs[0][axis] == y[axis]:
            return None if at else Reach(axis)
        size, many = xs[0][axis], y[axis]
        if not isinstance(size, int) or not isinstance(many, int):
            return UNKNOWN_REACH
        stride, first, up = {
            "half_pixel": (2 * size, size - many, 2 * many),
            "align_corners": (size - 1, 0, max(1, many - 1)),
            "asymmetric": (size, 0, many),
        }[self.where]
        if self.mode == "cubic":
            return Reach(axis, stride=stride, first=first - up, last=first + 2 * up, up=up)
        return Reach(axis, stride=stride, first=first, last=first + up - 1, up=up)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        attributes: dict[str, object] = {"mode": self.mode, "coordinate_transformation_mode": self.where}
        if self.mode == "cubic":
            attributes["cubic_coeff_a"] = CUBIC
        return OnnxNode("Resize", attributes, order=(0, None, None, 1))

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        for axis, (size, many) in enumerate(zip(known(xs[0].shape)[2:], known(y.shape)[2:], strict=True), 2):
            if size != many:
                dy = _gathered(dy, axis, interpolation(size, many, self.where, cubic=self.mode == "cubic"))
        return dy, None


class Nearest(Gathering):
    """The nearest element along an axis, at floor(i S / P), or with `exact` at floor((i + 1/2) S / P). ONNX Gather.

    onnxruntime's Resize divides by P / S in single precision: of 14 elements, it repeats number 6 in place of number 7
    at the middle.
    """

    __slots__ = ("exact",)

    def __init__(self, axis: int, exact: bool) -> None:
        super().__init__(axis)
        self.exact = exact

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        size, many = xs[0][self.axis], y[self.axis]
        if at or axis != self.axis or not isinstance(size, int) or not isinstance(many, int):
            return super().reach(at, axis, y, *xs)
        return Reach(axis, stride=2 * size, first=size if self.exact else 0, up=2 * many)


def _gathered(dy: Value, axis: int, rows: list[list[float]]) -> Value:
    """Return the adjoint of the product with a matrix along an axis."""
    shape = known(dy.shape)
    before, long, after = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
    size = len(rows[0])
    matrix = constant(dy.graph, [w for row in zip(*rows, strict=True) for w in row], dy.dtype, (size, long))
    if after == 1:
        found = ops.gemm(ops.reshape(dy, (before, long), batch=False), matrix, trans_b=True)
    else:
        found = ops.matmul(matrix, ops.reshape(dy, (before, long, after), batch=False))
    return ops.reshape(found, (*shape[:axis], size, *shape[axis + 1 :]), batch=False)


class DepthToSpace(Op):
    """[N, C*b*b, H, W] -> [N, C, b*H, b*W]: y[c, b*h + i, b*w + j] = x[k, h, w]. ONNX DepthToSpace.

    k = (c*b + i)*b + j with the mode CRD, and (i*b + j)*C + c with DCR.
    """

    __slots__ = ("blocksize", "mode")

    def __init__(self, blocksize: int, mode: str = "CRD") -> None:
        self.blocksize = blocksize
        self.mode = mode

    def infer(self, x: Shape) -> Shape:
        n, channels, *sizes = x
        assert len(sizes) == 2, x
        assert isinstance(channels, int), x
        assert channels % self.blocksize**2 == 0, f"{x} in blocks of {self.blocksize}"
        return n, channels // self.blocksize**2, *(size * self.blocksize for size in sizes)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return Reach(axis, up=self.blocksize) if axis > 1 else UNKNOWN_REACH if axis else Reach(0)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("DepthToSpace", self.attributes)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        if self.mode == "DCR":
            return (space_to_depth(dy, self.blocksize),)
        n, channels, height, width = known(y.shape)
        b = self.blocksize
        blocks = ops.reshape(dy, (n, channels, height // b, b, width // b, b), batch=False)
        return (ops.reshape(ops.transpose(blocks, (0, 1, 3, 5, 2, 4)), xs[0].shape, batch=False),)


class SpaceToDepth(Op):
    """[N, C, b*H, b*W] -> [N, b*b*C, H, W]: y[(i*b + j)*C + c, h, w] = x[c, b*h + i, b*w + j]. ONNX SpaceToDepth."""

    __slots__ = ("blocksize",)

    def __init__(self, blocksize: int) -> None:
        self.blocksize = blocksize

    def infer(self, x: Shape) -> Shape:
        n, channels, *sizes = x
        assert len(sizes) == 2, x
        return n, channels * self.blocksize**2, *(size // self.blocksize for size in sizes)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if axis < 2:
            return UNKNOWN_REACH if axis else Reach(0)
        return Reach(axis, stride=self.blocksize, last=self.blocksize - 1)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (apply(DepthToSpace(self.blocksize, "DCR"), dy),)


class GridSample(Op):
    """Bilinear samples of x [N, C, H, W] at positions [N, *P, 2], x before y: [N, C, *P]. ONNX GridSample.

    -1 and 1 are the centers of the corner elements with `align_corners`, otherwise their outer corners. Outside, values
    are 0 with the padding mode `zeros`, and those of the border with `border`.
    """

    __slots__ = ("align_corners", "padding_mode")

    def __init__(self, padding_mode: str, align_corners: bool) -> None:
        self.padding_mode = padding_mode
        self.align_corners = align_corners

    def infer(self, x: Shape, grid: Shape) -> Shape:
        assert len(x) == len(grid) == 4, f"{x} sampled at {grid}"
        assert (x[0], 2) == (grid[0], grid[3]), f"{x} sampled at {grid}"
        return *x[:2], *grid[1:3]

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if at:
            return Reach((0, 2, 3)[axis]) if axis < 3 else None
        return UNKNOWN_REACH if axis > 1 else Reach(axis)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        attributes = {"padding_mode": self.padding_mode, "align_corners": int(self.align_corners)}
        return OnnxNode("GridSample", attributes | {"mode": "bilinear" if opset < 20 else "linear"})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """Each sample is a sum of four elements, weighted by the distances of the opposite corners."""
        x, grid = xs
        n, channels, height, width = known(x.shape)
        count = prod(known(y.shape)[2:])
        axes = [self._axis(grid, i, size, (n, count)) for i, size in enumerate((width, height))]
        rows = ops.reshape(ops.transpose(x, (0, 2, 3, 1)), (n, height * width, channels), batch=False)
        seen = ops.transpose(ops.reshape(dy, (n, channels, count), batch=False), (0, 2, 1))
        dx = ops.zeros(x.graph, (n, height * width, channels), x.dtype)
        slopes: list[list[Value]] = [[], []]
        for i, weight_x, slope_x in axes[0]:
            for j, weight_y, slope_y in axes[1]:
                at = ops.reshape(ops.add(ops.mul(j, width), i), (n, count, 1), batch=False)
                weight = ops.reshape(ops.mul(weight_x, weight_y), (n, count, 1), batch=False)
                dx = ops.batch_scatter_add(dx, at, ops.mul(seen, weight))
                found = ops.batch_gather(rows, ops.reshape(at, (n, count), batch=False))
                pulled = ops.reduce_sum(ops.mul(found, seen), (2,), False)
                slopes[0].append(ops.mul(pulled, slope_x, weight_y))
                slopes[1].append(ops.mul(pulled, slope_y, weight_x))
        dgrid = ops.concat([ops.reshape(ops.add(*each), (n, count, 1), batch=False) for each in slopes], 2)
        dx = ops.transpose(ops.reshape(dx, (n, height, width, channels), batch=False), (0, 3, 1, 2))
        return dx, ops.reshape(dgrid, grid.shape, batch=False)

    def _axis(self, grid: Value, axis: int, size: int, shape: tuple[int, int]) -> list[tuple[Value, Value, Value]]:
        """Return the neighbors of each position along an axis: the index, the weight, and the slope of the weight in
        the coordinate of the grid."""
        scale = (size - 1) / 2 if self.align_corners else size / 2
        raw = ops.reshape(ops.slice(grid, (3,), (axis,), (axis + 1,)), shape, batch=False)
        raw = ops.add(ops.mul(raw, scale), (size - 1) / 2)
        low, high = (0.0, size - 1.0) if self.padding_mode == "border" else (-1.0, float(size))
        place = ops.clip(raw, low, high)
        inside = ops.cast(ops.equal(place, raw), grid.dtype)
        first = ops.sub(ops.cast(ops.add(place, 1), "i64"), 1)  # the cast truncates, which is floor from 0 on
        part = ops.sub(place, ops.cast(first, grid.dtype))
        found = []
        for i, weight, sign in ((first, ops.sub(1, part), -scale), (ops.add(first, 1), part, scale)):
            index = ops.maximum(ops.minimum(i, size - 1), 0)
            exists = ops.cast(ops.equal(index, i), grid.dtype)
            found.append((index, ops.mul(weight, exists), ops.mul(ops.mul(inside, exists), sign)))
        return found


CUBIC = -0.75
"""Slope of the cubic kernel at a distance of 1, as in PyTorch and OpenCV; Pillow and Keys (1981) have -0.5."""


def interpolation(size: int, many: int, where: str, *, cubic: bool = False) -> list[list[float]]:
    """Return the matrix [many, size] of interpolation along an axis, in which the outermost elements continue beyond
    the border."""
    rows = []
    for place in range(many):
        if where == "align_corners":
            at = place * (size - 1) / max(1, many - 1)
        else:
            shift = 0.5 if where == "half_pixel" else 0.0
            at = (place + shift) / (many / size) - shift
        low = floor(at)
        t = at - low
        row = [0.0] * size
        for step, weight in zip(range(-1, 3), _cubic(t), strict=True) if cubic else ((0, 1 - t), (1, t)):
            row[min(max(low + step, 0), size - 1)] += weight
        rows.append(row)
    return rows


def _cubic(t: float) -> list[float]:
    """Return the weights of the four neighbors of a position t after the second one. Source: Keys (1981)."""
    near = (((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1 for d in (t, 1 - t))
    far = (((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC for d in (1 + t, 2 - t))
    return [next(far), *near, next(far)]


def resize(x: Value, factors: Sequence[int], *, linear: bool = False, corners: bool = False) -> Value:
    """Resize by a factor per spatial axis; `corners` is ignored where elements are repeated."""
    assert linear or not corners
    return apply(Resize(tuple(factors), linear, corners), x)


def resize_to(
    x: Value, sizes: Sequence[Dim], *, mode: str = "nearest", where: str = "half_pixel", like: Value | None = None
) -> Value:
    """Resize to a size per spatial axis; sizes known only at run time are those of `like`.

    `mode` is `nearest`, `nearest_exact`, `linear` or `cubic`; `where` is ignored by the first two.
    """
    sizes = tuple(sizes)
    if sizes == x.shape[2:]:
        return x
    if mode in ("linear", "cubic"):
        return apply(Interpolate(mode, where, sizes), x, _whole_shape(x, sizes, like))
    for axis, (size, many) in enumerate(zip(x.shape[2:], sizes, strict=True), 2):
        if size != many:
            x = apply(Nearest(axis, mode == "nearest_exact"), x, _nearest(x, axis, many, like, mode == "nearest_exact"))
    return x


def _whole_shape(x: Value, sizes: Shape, like: Value | None) -> Value:
    """Return x.shape[:2] + sizes as integers, read from x and `like` where it is known only at run time."""
    parts = []
    for value, start, shape in ((x, 0, x.shape[:2]), (like, 2, sizes)):
        if all(isinstance(size, int) for size in shape):
            parts.append(constant(x.graph, known(shape), "i64"))
        else:
            assert value is not None, f"{x.shape} resized to {sizes}"
            parts.append(ops.shape_of(value, start, start + len(shape)))
    return ops.concat(parts, 0)


def _nearest(x: Value, axis: int, many: Dim, like: Value | None, exact: bool) -> Value:
    """Return the indices of the nearest elements along an axis."""
    size = x.shape[axis]
    if isinstance(size, int) and isinstance(many, int):
        return constant(x.graph, [(2 * i + exact) * size // (2 * many) for i in range(many)], "i64")
    before = size if isinstance(size, int) else ops.shape_of(x, axis, axis + 1)
    if isinstance(many, int):
        after: Value | int = many
        places = ops.counter(x.graph, many)
    else:
        assert like is not None, f"{x.shape} resized to {many}"
        after = ops.shape_of(like, axis, axis + 1)
        places = ops.count_to(after, many)
    if exact:
        return ops.div(ops.mul(ops.add(ops.mul(places, 2), 1), before), ops.mul(as_values(places, after)[1], 2))
    return ops.div(ops.mul(places, before), after)


def grid_sample(x: Value, grid: Value, padding: str, corners: bool) -> Value:
    """Sample x [N, C, H, W] at the positions of a grid [N, *P, 2], like torch.nn.functional.grid_sample."""
    return apply(GridSample(padding, corners), x, grid)


def depth_to_space(x: Value, blocksize: int) -> Value:
    """Rearrange channels into space in the order of PyTorch's PixelShuffle."""
    return apply(DepthToSpace(blocksize), x)


def space_to_depth(x: Value, blocksize: int) -> Value:
    """Rearrange space into channels: the places in a block, of which each has all channels, as in TensorFlow."""
    return apply(SpaceToDepth(blocksize), x)
