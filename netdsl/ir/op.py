"""Operations: what each computes, costs and reads, its ONNX form and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.ir.reach import Reach, aligned_reach

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.formula import Count
    from netdsl.ir.graph import Graph, Tensor, Value


class OnnxNode:
    """The ONNX form of an op at one opset.

    `attributes` are ints, floats, strings or tuples of ints, by their ONNX names; `types` are the attributes whose
    value is an element type. `extra` are inputs that follow the op's own: small constants by the ONNX name of the
    input, or None for an omitted optional input. `order` permutes the op's inputs, with None for an omitted one.
    `body` is the graph of the attribute of this name, whose last inputs, `captured` in number, are the op's own last
    inputs: the body refers to them by name.
    """

    __slots__ = ("attributes", "body", "captured", "domain", "extra", "op_type", "order", "types")

    def __init__(
        self,
        op_type: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        extra: Mapping[str, Tensor | None] | None = None,
        types: Mapping[str, str] | None = None,
        domain: str = "",
        order: Sequence[int | None] | None = None,
        body: Graph | None = None,
        captured: int = 0,
    ) -> None:
        self.op_type = op_type
        self.attributes = attributes or {}
        self.extra = extra or {}
        self.types = types or {}
        self.domain = domain
        self.order = order
        self.body = body
        self.captured = captured


class Op:
    """A kind of computation with its attributes, and everything known about it.

    - `infer`: the shape of the result; an op with several results overrides `shapes` and `dtypes` instead.
    - `macs`: its cost, as defined in language.md.
    - `reach`: what it reads, which determines receptive fields; by default each position reads the same position.
    - `onnx`: its form at an opset; by default the operator of the class's name, with the slots as attributes.
    - `vjp`: the gradients of its inputs, given that of its result; None for an input without one (indices). An op with
      several results overrides `vjps`, and gets None for an unused result.

    Shapes include the batch axis, and axes are counted with it. Sizes can be formulas, so arithmetic on them is
    generic.
    """

    __slots__: tuple[str, ...] = ()

    def infer(self, *xs: Any, **_: Any) -> Shape:
        raise NotImplementedError

    def dtype(self, *xs: str) -> str:
        return xs[0]

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        return (self.infer(*xs),)

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return (self.dtype(*xs),)

    def macs(self, y: Shape, *xs: Shape) -> Count:
        """Return the multiply-accumulates for a batch of one."""
        return 0

    def scratch(self, y: Shape, *xs: Shape) -> Count:
        """Return the elements of a large value that exists only while it runs, for a batch of one."""
        return 0

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        """Return what a position of the result reads along an axis of the operand `at`, or None for all of it."""
        return aligned_reach(axis, xs[at], y)

    def vjp(self, dy: Value, y: Value, *xs: Any) -> tuple[Value | None, ...]:
        """Return the vector-Jacobian product dx = dy^T (dy/dx) for each x. All sizes are numbers."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def vjps(
        self, dys: tuple[Value | None, ...], ys: tuple[Value, ...], xs: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        (dy,), (y,) = dys, ys
        assert dy is not None
        return self.vjp(dy, y, *xs)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        """Return the form at an opset from 17 to 26, for these inputs."""
        return OnnxNode(type(self).__name__, self.attributes)

    @property
    def attributes(self) -> dict[str, Any]:
        """Return the values of all slots, those of base classes first."""
        slots = (name for cls in reversed(type(self).__mro__) for name in vars(cls).get("__slots__", ()))
        return {name: getattr(self, name) for name in slots}


class Macro(Op):
    """An op without an ONNX counterpart, or with one only from the opset `since`; `expand` rewrites it in other ops
    before emission.

    It stays one operation in the graph while there is a choice of how to compute it.
    """

    __slots__ = ()
    since = 99

    def native(self, opset: int) -> bool:
        """Return whether ONNX has it at this opset."""
        return opset >= self.since

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        raise NotImplementedError

    def expand_at(self, opset: int, *xs: Value) -> tuple[Value, ...]:
        """Return its results in ops that an opset has, if these are others than those of `expand`."""
        return self.expand(*xs)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        assert self.native(opset), f"{type(self).__name__} is expanded before emission"
        return super().onnx(opset, *xs)


class SameShape(Op):
    """An op whose result has the shape of its first input."""

    __slots__ = ()

    def infer(self, x: Shape, *_: Shape) -> Shape:
        return x


class Pointwise(SameShape):
    """A function of each element of one value, whatever its position."""

    __slots__ = ()
