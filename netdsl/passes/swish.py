"""Compute the gradient of x s(x), with a sigmoid s, in fewer passes over memory."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple

from netdsl import ops
from netdsl.ir.graph import Constant, Value
from netdsl.ops.arithmetic import Add, Mul, Sub
from netdsl.passes.rewrite import Copy, prune

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.ir.graph import Graph, Operation
    from netdsl.ir.op import Op

    Products = Mapping[frozenset[Value], Value]


def factored_gradients(graph: Graph) -> Graph:
    """Rewrite dy s + ((dy x) s) (1 - s) as dy (s + y (1 - s)), where y = x s.

    The sum is the gradient of SiLU as a product of its argument and a sigmoid.
    """
    products: dict[frozenset[Value], Value] = {}
    copy = Copy(graph)
    for operation in graph.operations:
        if isinstance(operation.op, Mul):
            products[frozenset(operation.inputs)] = operation.outputs[0]
        begin, found = len(copy.new.operations), _found(operation, products)
        if found is None:
            copy.keep(operation)
            continue
        dy, s, rest, y = (copy.value(each) for each in (found.dy, found.s, found.rest, found.y))
        dx = ops.mul(dy, ops.add(s, ops.mul(y, rest)))
        others = [copy.value(x) for x in operation.inputs if x not in found.terms]
        copy.replace(operation, [ops.add(dx, *others) if others else dx], begin)
    return prune(copy.finish())


class _Found(NamedTuple):
    """The two terms of a sum, and the factors of their sum; `rest` is 1 - s."""

    terms: tuple[Value, Value]
    dy: Value
    s: Value
    rest: Value
    y: Value


def _found(operation: Operation, products: Products) -> _Found | None:
    if not isinstance(operation.op, Add):
        return None
    for first, second in permutations(operation.inputs, 2):
        for scaled, rest in permutations(_operands(second, Mul), 2):
            for outer, s in permutations(_operands(scaled, Mul), 2):
                for dy, x in permutations(_operands(outer, Mul), 2):
                    y = products.get(frozenset((x, s)))
                    if y and _is_rest(rest, s) and {*_operands(first, Mul)} == {dy, s} and x.shape == s.shape:
                        return _Found((first, second), dy, s, rest, y)
    return None


def _is_rest(rest: Value, s: Value) -> bool:
    """Return whether a value is 1 - s."""
    match _operands(rest, Sub):
        case (Constant() as one, by):
            return one.tensor.data == (1,) and by is s
    return False


def _operands(x: Value, kind: type[Op]) -> tuple[Value, ...]:
    """Return the operands of the operation of a kind that computes a value, or none."""
    return x.producer.inputs if x.producer and isinstance(x.producer.op, kind) else ()
