"""Gradients of all ops: in float64 on onnx's reference against central differences, in float32 on onnxruntime too."""

from __future__ import annotations

from functools import cache
from math import erf

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from netdsl import ops
from netdsl.emit import check, emit
from netdsl.ir.graph import Graph
from netdsl.ops.base import Macro, Op
from netdsl.passes.gradient import gradients
from netdsl.passes.rewrite import expand, prune
from netdsl.wire import to_bytes

X = (2, 3, 4, 5)

# name: inputs' shapes, the op, and where onnx's reference is wrong the op in numpy.
CASES = {
    **{
        name: ([X], function)
        for name, function in [
            ("identity", ops.identity),
            ("abs", ops.abs),
            ("neg", ops.neg),
            ("sign", lambda x: ops.add(ops.sign(x), x)),
            ("exp", ops.exp),
            ("sin", ops.sin),
            ("cos", ops.cos),
            ("sqrt", lambda x: ops.sqrt(ops.abs(x))),
            ("log", lambda x: ops.log(ops.abs(x))),
            ("reciprocal", ops.reciprocal),
            ("power", lambda x: ops.power(ops.abs(x), 1.7)),
            ("power_of_three", lambda x: ops.power(x, 3)),
            ("square", lambda x: ops.power(x, 2)),
            ("relu", ops.relu),
            ("sigmoid", ops.sigmoid),
            ("tanh", ops.tanh),
            ("softplus", ops.softplus),
            ("leaky_relu", lambda x: ops.leaky_relu(x, 0.2)),
            ("leaky_relu_falls", lambda x: ops.leaky_relu(x, -0.2)),
            ("elu", lambda x: ops.elu(x, 0.7)),
            ("elu_falls", lambda x: ops.elu(x, -0.7)),
            ("selu", ops.selu),
            ("hard_sigmoid", lambda x: ops.hard_sigmoid(x, 0.7, 0.4)),
            ("clip", lambda x: ops.clip(x, -1, 0.7)),
            ("clip_relu6", lambda x: ops.clip(x, 0, 1.3)),
            ("clip_below", lambda x: ops.clip(x, low=0.3)),
            ("clip_above", lambda x: ops.clip(x, high=0.3)),
            ("clip_not", ops.clip),
            ("softmax", ops.softmax),
            ("softmax_last", lambda x: ops.softmax(x, -1)),
            ("log_softmax", ops.log_softmax),
            ("cast", lambda x: ops.cast(ops.cast(x, "f64"), "f32")),
            ("cast_of_integers", lambda x: ops.mul(x, ops.cast(ops.cast(x, "i64"), "f32"))),
            ("numbers", lambda x: ops.div(1, ops.add(ops.mul(ops.sub(x, 2), x), 3))),
            ("add_of_one_twice", lambda x: ops.add(x, x, ops.mul(x, x))),
            ("maximum_number", lambda x: ops.maximum(x, 0.5)),
            ("reduce_mean", lambda x: ops.reduce_mean(x, (1, -1))),
            ("reduce_mean_gone", lambda x: ops.reduce_mean(x, (-1,), False)),
            ("reduce_max", lambda x: ops.reduce_max(x, (2, -1))),
            ("reduce_max_gone", lambda x: ops.reduce_max(x, (1,), False)),
            ("reduce_sum", lambda x: ops.reduce_sum(x, (1, 2))),
            ("reduce_sum_gone", lambda x: ops.reduce_sum(x, (1, -1), False)),
            ("flatten", ops.flatten),
            ("reshape", lambda x: ops.reshape(x, (10, 6))),
            ("transpose", lambda x: ops.transpose(x, (2, 0, 3, 1))),
            ("expand", lambda x: ops.expand(ops.reduce_sum(x, (1, 3)), (3, 2, 3, 4, 5))),
            ("where", lambda x: ops.where(ops.greater(x, 0.4), ops.mul(x, 2), ops.neg(x))),
        ]
    },
    "erf": ([X], ops.erf, np.vectorize(erf)),
    "add": ([X, (3, 1, 5), (1,)], ops.add),
    "sub": ([X, (2, 1, 4, 1), ()], ops.sub),
    "mul": ([(4, 5), X, (2, 3, 1, 1)], ops.mul),
    "div": ([(3, 4, 1), X], ops.div),
    "maximum": ([X, X, (3, 1, 5)], ops.maximum),
    "minimum": ([X, (2, 1, 4, 1)], ops.minimum),
    "where_spreads": ([X, (4, 1)], lambda x, a: ops.where(ops.greater(x, a), x, a)),
    "prelu": ([X, (3, 1, 1)], ops.prelu),
    "prelu_of_one": ([X, (1,)], ops.prelu),
    "gemm": ([(2, 3), (3, 4), (4,)], ops.gemm),
    "gemm_trans_a": ([(3, 2), (3, 4)], lambda a, b: ops.gemm(a, b, trans_a=True)),
    "gemm_trans_b": ([(2, 3), (4, 3), (4,)], lambda a, b, c: ops.gemm(a, b, c, trans_b=True)),
    "gemm_trans_both": ([(3, 2), (4, 3), (2, 4)], lambda a, b, c: ops.gemm(a, b, c, trans_a=True, trans_b=True)),
    "matmul": ([(2, 4), (4, 3)], ops.matmul),
    "matmul_spreads": ([(2, 1, 3, 4), (5, 4, 2)], ops.matmul),
}

NO_GRADIENTS = {
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "And",
    "Or",
    "Not",
    "IsNaN",
    "IsInf",
    "BitwiseXor",
    "ShiftRight",
    "ArgMax",
}


def numbers(rng, shape, shift):
    """No two are closer than a hundredth, and none so close to 0 or to another bend in the cases."""
    count = int(np.prod(shape))
    spaced = (rng.permutation(count) - count // 2) * max(0.02, 3 / count)
    return (spaced + shift).reshape(shape)


@cache
def differentiated(name):
    """The graph of a case: what goes into it, the sum of its result times `r`, and the gradients of that."""
    shapes, function, *_ = CASES[name]
    graph = Graph(name)
    xs = [graph.input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    y = function(*xs)
    loss = ops.mul(y, graph.input("r", y.shape))
    if y.shape:
        loss = ops.reduce_sum(loss, range(len(y.shape)), keepdims=False)
    graph.output("y", y)
    graph.output("loss", loss)
    for i, dx in enumerate(gradients(loss, xs)):
        assert dx is not None
        graph.output(f"d{i}", ops.identity(dx))
    return prune(expand(graph))


@cache
def evaluator(name):
    return ReferenceEvaluator(onnx.load_from_string(to_bytes(emit(differentiated(name), float_type="f64"), ())))


@cache
def feeds(name):
    rng = np.random.default_rng(sum(map(ord, name)))
    inputs = differentiated(name).inputs.items()
    return {x: numbers(rng, value.shape, 0.0113 - i * 0.0037) for i, (x, value) in enumerate(inputs)}


def y(name, fed):
    *_, oracle = CASES[name]
    if len(CASES[name]) > 2:
        return oracle(*(fed[x] for x in fed if x != "r"))
    return evaluator(name).run(["y"], fed)[0]


@cache
def in_double_precision(name):
    names = [each for each in differentiated(name).outputs if each.startswith("d")]
    return evaluator(name).run(names, feeds(name))


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_limits_of_differences(name):
    fed, h = feeds(name), 1e-6
    rng = np.random.default_rng(1)
    for i, dx in enumerate(in_double_precision(name)):
        x = f"x{i}"
        assert dx.shape == fed[x].shape
        for _ in range(3):
            direction = rng.standard_normal(dx.shape)
            ahead, behind = (y(name, fed | {x: fed[x] + step * direction}) for step in (h, -h))
            difference = np.sum((ahead - behind) * fed["r"]) / (2 * h)
            scale = np.linalg.norm(dx) * np.linalg.norm(direction)
            assert abs(difference - np.sum(dx * direction)) <= 1e-6 * scale + 1e-9, (
                x,
                difference,
                np.sum(dx * direction),
            )


@pytest.mark.parametrize("name", CASES)
def test_gradients_in_single_precision(name):
    from onnxruntime import InferenceSession

    emitted = emit(differentiated(name))
    check(emitted)
    session = InferenceSession(to_bytes(emitted, ()), providers=["CPUExecutionProvider"])
    fed = {x: v.astype(np.float32) for x, v in feeds(name).items()}
    names = [f"d{i}" for i in range(len(CASES[name][0]))]
    for dx, exact in zip(session.run(names, fed), in_double_precision(name), strict=True):
        np.testing.assert_allclose(dx, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


def ops_of(cls):
    return {cls} | {each for sub in cls.__subclasses__() for each in ops_of(sub)}


def test_every_op_has_a_gradient_that_is_tested():
    leaves = {cls for cls in ops_of(Op) if not cls.__subclasses__() and cls.__module__.startswith("netdsl.")}
    used = {type(operation.op) for name in CASES for operation in differentiated(name).operations}
    assert {cls.__name__ for cls in leaves - used if not issubclass(cls, Macro)} <= NO_GRADIENTS
