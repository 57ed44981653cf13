"""The last passes together: what our session runs computes what the portable step does."""

from __future__ import annotations

import numpy as np
import pytest

from netdsl import ops
from netdsl.backend.emit import NEXT
from netdsl.base.shape import elements
from netdsl.ir.graph import LOSS, Constant, Graph
from netdsl.ops.arithmetic import Add, Mul
from netdsl.ops.convolution import Conv
from netdsl.ops.linear import Gemm
from netdsl.ops.reduction import ReduceSum
from netdsl.ops.shaping import Expand, Transpose
from netdsl.passes.affine_convolutions import MIN_MAP, affine_convolutions
from netdsl.passes.broadcast import full_ranks
from netdsl.passes.finish import LONG, MIN_COLUMNS, Finished, binary_sums, column_sums, finish, transposed_operands
from netdsl.train.step import training_step
from netdsl.train.step_backend import lower_step, run_graph
from tests.compiler.test_in_place import RECIPES, program
from tests.train.test_step import NETS, Doubles, feeds_of, read, step_of


def joined(finished: Finished, feeds: dict) -> dict:
    """The joined states, whose parts begin at multiples of 16 elements."""
    return {
        name: np.concatenate([np.append(feeds[each], np.zeros(-feeds[each].size % 16)) for each in members])
        for name, members in finished.joined.items()
    }


def stepped(finished: Finished, feeds: dict) -> dict:
    """What a finished step computes, and the parts of its joined states by their names."""
    found = Doubles(finished.graph)(feeds)
    for name, members in finished.joined.items():
        begin = 0
        for each in members:
            shape, size = feeds[each].shape, feeds[each].size
            found[each + NEXT] = found[name + NEXT][begin : begin + size].reshape(shape)
            begin += size + -size % 16
    return found


@pytest.mark.parametrize("name", NETS)
def test_a_finished_step_computes_the_same(name: str) -> None:
    graph = step_of(program(NETS[name], RECIPES["momentum"]))
    feeds = feeds_of(graph)
    finished = finish(graph, LOSS)
    expected, found = Doubles(graph)(feeds), stepped(finished, {**feeds, **joined(finished, feeds)})
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-12, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("backend", ["plain", "nchwc"])
@pytest.mark.parametrize("name", NETS)
def test_results_are_declared_as_their_ops_infer_them(name: str, backend: str) -> None:
    """Copied operations are not inferred again."""
    found = read(program(NETS[name], RECIPES["momentum"]))
    lowered = lower_step(training_step(found.net, found), backend).graph
    for graph in (lowered, finish(lowered, LOSS, fused=True).graph):
        for operation in graph.operations:
            assert all(x.graph is graph for x in operation.inputs)
            op, inputs, declared = operation.op, operation.inputs, operation.outputs
            assert op.shapes(*(x.shape for x in inputs)) == tuple(y.shape for y in declared), op
            assert op.dtypes(*(x.dtype for x in inputs)) == tuple(y.dtype for y in declared), op


def test_sums_are_of_two() -> None:
    graph = step_of(program(NETS["dense"], RECIPES["momentum"]))
    assert max(len(each.inputs) for each in graph.operations if isinstance(each.op, Add)) == 3
    assert {len(each.inputs) for each in binary_sums(graph).operations if isinstance(each.op, Add)} == {2}


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_the_gradient_of_a_sum_is_read_as_a_number(loss: str) -> None:
    """Nothing of the size of an output repeats a number, and nothing is multiplied by 1."""
    graph = step_of(f"net t {{ input x 1x50; conv 3 4 }}\ntrain t {{ data xor; loss {loss} }}")
    (y,) = (y for name, y in graph.outputs.items() if name != LOSS)
    repeated = [each.outputs[0].shape for each in graph.operations if isinstance(each.op, Expand)]
    assert all(elements(shape) < elements(y.shape) for shape in repeated)
    factors = [x for each in graph.operations if isinstance(each.op, Mul) for x in each.inputs]
    assert (1.0,) not in [x.tensor.data for x in factors if isinstance(x, Constant)]


def test_numbers_have_the_rank_of_pointwise_weights() -> None:
    """onnxruntime reads a number once per element if the last axes of the result, which the number lacks, have one."""
    graph = Graph("ranks")
    w, v, r = graph.input("w", (6, 4, 1, 1)), graph.input("v", (4, 1, 1)), graph.input("r", ())
    graph.output("y", ops.sub(ops.mul(w, 0.5), ops.mul(w, r)))
    graph.output("z", ops.mul(v, w))  # ends with an axis of more
    graph.output("t", ops.where(ops.greater(r, 0.0), w, 0.25))
    found = full_ranks(graph)
    ranks = {y: [len(x.shape) for x in found.outputs[y].producer.inputs] for y in found.outputs}
    assert ranks == {"y": [4, 4], "z": [3, 4], "t": [4, 4, 4]}
    random = np.random.default_rng(0)
    feeds = {name: random.standard_normal(x.shape).astype(np.float32) for name, x in graph.inputs.items()}
    for array, same in zip(run_graph(graph, feeds), run_graph(found, feeds), strict=True):
        np.testing.assert_array_equal(array, same)


def test_the_update_of_a_pointwise_convolution_broadcasts_whole_ranks() -> None:
    step = step_of(program("input x 3x4x4; conv 1x1 5; dense 3", RECIPES["momentum"]))
    graph = finish(step, LOSS, join=False).graph
    weight = [each for each in graph.operations if each.outputs[0].shape == (5, 3, 1, 1) and len(each.inputs) == 2]
    assert {len(x.shape) for each in weight for x in each.inputs if isinstance(each.op, Mul)} == {4}


def test_long_products_have_their_smaller_operand_transposed() -> None:
    graph = Graph("products")
    x, w = graph.input("x", (LONG, 3)), graph.input("w", (LONG, 4))
    short = ops.slice(x, (0,), (0,), (LONG - 1,)), ops.slice(w, (0,), (0,), (LONG - 1,))
    graph.output("y", ops.gemm(x, w, trans_a=True))
    graph.output("z", ops.gemm(*short, trans_a=True))
    graph.output("v", ops.gemm(w, x, trans_a=True))
    found = transposed_operands(graph)
    assert [each.op.trans_a for each in found.operations if isinstance(each.op, Gemm)] == [False, True, False]
    assert (LONG, 4) not in [each.inputs[0].shape for each in found.operations if isinstance(each.op, Transpose)]
    random = np.random.default_rng(0)
    a, b = random.standard_normal((LONG, 3), np.float32), random.standard_normal((LONG, 4), np.float32)
    y, z, v = run_graph(found, {"x": a, "w": b})
    np.testing.assert_allclose(y, a.T @ b, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(z, a[:-1].T @ b[:-1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(v, b.T @ a, rtol=1e-4, atol=1e-4)


def test_columns_are_summed_by_a_product() -> None:
    graph = Graph("sums")
    x = graph.input("x", (5, 7, MIN_COLUMNS))
    for name, axes, keepdims in (
        ("a", (0, 1), False),
        ("b", (1, 0), True),
        ("c", (-3, -2), False),
        ("d", (1, 2), False),
    ):
        graph.output(name, ops.reduce_sum(x, axes, keepdims=keepdims))
    found = column_sums(graph)
    assert sum(isinstance(each.op, ReduceSum) for each in found.operations) == 1
    array = np.random.default_rng(0).standard_normal(x.shape, np.float32)
    for axes, y in zip([(0, 1), (0, 1), (0, 1), (1, 2)], run_graph(found, {"x": array}), strict=True):
        expected = array.sum(axes).reshape(y.shape)
        np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize("size", [3, 16])
def test_channels_of_large_maps_are_multiplied_by_convolutions(size: int) -> None:
    graph = Graph("affine")
    x, a, b = graph.input("x", (2, 5, size, size)), graph.input("a", (5,)), graph.input("b", (5,))
    graph.output("both", ops.affine(x, a, b))
    graph.output("scale", ops.affine(x, a))
    graph.output("activated", ops.relu(ops.affine(x, b, a)))
    graph.output("bounded", ops.clip(ops.affine(x, b, a), -0.5, 1.0))
    graph.output("sum", ops.add(ops.affine(x, b, a), ops.affine(ops.mul(x, x), b)))
    graph.output("normalized", ops.batch_norm(x, a, b, b, ops.mul(a, a)))
    found = affine_convolutions(graph)
    convolutions = [len(each.inputs) for each in found.operations if isinstance(each.op, Conv)]
    assert convolutions == ([3, 2, 3, 3, 2, 4] if size * size >= MIN_MAP else [])
    assert bool({"Relu", "Clip"} & {type(each.op).__name__ for each in found.operations}) == (not convolutions)
    random = np.random.default_rng(0)
    feeds = {name: random.standard_normal(x.shape).astype(np.float32) for name, x in graph.inputs.items()}
    for array, same in zip(run_graph(graph, feeds), run_graph(found, feeds), strict=True):
        np.testing.assert_allclose(array, same, rtol=1e-6, atol=1e-6)
