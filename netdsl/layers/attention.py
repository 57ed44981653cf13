"""Attention, and products of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Dim, Shape
from netdsl.diagnostics.operand_problems import MatmulMismatch
from netdsl.diagnostics.problem import Misfit
from netdsl.layers.base import Layer, layer

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


@layer("matmul")
class MatmulLayer(Layer):
    """Product of matrices: y[…, i, j] = Σₖ a[…, i, k] b[…, k, j].

    Shapes: [*S, I, K], [*S, K, J] -> [*S, I, J], of the same rank; axes of size 1 in S are broadcast.
    Conventions: PyTorch's torch.matmul. With one operand, the current value is the first factor. A factor is transposed
    by `permute` in its branch.

    ```net
    input x 8x24
    matmul { permute [1, 0] } { relu }
    ```
    """

    operands = (1, 2)
    operand_usage = "[OPERAND] OPERAND"
    flow_first = True

    def shape(self, a: Shape, b: Shape) -> Shape:
        fits = len(a) == len(b) > 1 and a[-1] == b[-2]
        if not fits or any(n not in (m, 1) and m != 1 for n, m in zip(a[:-2], b[:-2], strict=True)):
            raise Misfit(MatmulMismatch)
        leading: list[Dim] = [m if n == 1 else n for n, m in zip(a[:-2], b[:-2], strict=True)]
        return (*leading, a[-2], b[-1])

    def body(self, a: Value, b: Value, w: Weights) -> Value:
        return ops.matmul(a, b)
