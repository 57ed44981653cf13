"""Operations: what each computes, costs and reads, its ONNX form and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.ir.reach import Reach, aligned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.formula import Count
    from netdsl.ir.graph import Tensor, Value


class OnnxNode:
    """How an op is spelled in ONNX at one opset.

    `attributes` by ONNX's names for them, an int, a float, a string or a tuple of ints; `types` those whose value is an
    element type; `extra` are inputs behind the op's own, small constants by the name of ONNX's input, or None where an
    optional one is left out. `order` says which of the op's inputs stands where, with None in the same sense.
    """

    __slots__ = ("attributes", "domain", "extra", "op_type", "order", "types")

    def __init__(
        self,
        op_type: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        extra: Mapping[str, Tensor | None] | None = None,
        types: Mapping[str, str] | None = None,
        domain: str = "",
        order: Sequence[int | None] | None = None,
    ) -> None:
        self.op_type = op_type
        self.attributes = attributes or {}
        self.extra = extra or {}
        self.types = types or {}
        self.domain = domain
        self.order = order


class Op:
    """A kind of computation with its attributes; it owns all that is known about it.

    - `infer`: the result's shape from the inputs'; an op with several results gives `shapes` and `dtypes` instead.
    - `macs`: its cost, as language.md defines it.
    - `reach`: what it reads, from which receptive fields follow; by default each place reads its like.
    - `onnx`: its form at an opset. By default the operator of the class's name, the slots being its attributes.
    - `vjp`: its gradient; given that of its result, those of its inputs, None for an input that has none (indices). An
      op with several results gives `vjps`, and gets None for a result that nothing used.

    Shapes begin with the batch, and axes are counted with it. Sizes may be formulas, so arithmetic on them is generic.
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
        """Multiply-accumulates for a batch of one, from the shapes of the result and of the inputs."""
        return 0

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        """What a place of the result reads along an axis of the operand `at`; None is all of it."""
        return aligned(axis, xs[at], y)

    def vjp(self, dy: Value, y: Value, *xs: Any) -> tuple[Value | None, ...]:
        """The vector-Jacobian products: dx = dy^T (dy/dx) for each x, of its shape. All sizes are numbers here."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def vjps(
        self, dys: tuple[Value | None, ...], ys: tuple[Value, ...], xs: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        (dy,), (y,) = dys, ys
        assert dy is not None
        return self.vjp(dy, y, *xs)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        """The form at an opset from 17 to 26, for these inputs."""
        return OnnxNode(type(self).__name__, self.attributes)

    @property
    def attributes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Macro(Op):
    """An op that ONNX does not have, and that a pass replaces by others before emission: `expand` writes it in them.

    It stands in the graph as one as long as there is a choice of how it is computed.
    """

    __slots__ = ()

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        raise NotImplementedError

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        raise AssertionError(f"{type(self).__name__} is expanded before emission")


class SameShape(Op):
    """An op whose result has its first input's shape."""

    __slots__ = ()

    def infer(self, x: Shape, *_: Shape) -> Shape:
        return x
