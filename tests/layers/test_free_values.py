"""Learned values and constants: their names, their batch of 1, and how files may have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import netdsl
from netdsl.lower import lower
from tests.support.programs import flow

TEXT = """
net vit(free = 4) {
  input x 4x3
  concat axis 1 { cls_token: param [4, 1] } { }
  add { } { pos_embed: param [free, 4] init zeros; permute [1, 0] }
  blocks: repeat 2 { mul { } { gamma: param [4, 1] init constant(0.5) } }
  mul { } { param [1, 4] init ones }
}
"""


def test_the_name_is_the_label_alone() -> None:
    net = netdsl.parse(TEXT)
    assert list(net.parameters) == ["cls_token", "pos_embed", "blocks.0.gamma", "blocks.1.gamma", "param1"]
    assert "weights  32" in str(net.summary())


@pytest.mark.parametrize("axes", [(4, 1), (1, 1, 4), (4,), (1, 4, 1, 1)])
def test_a_file_may_have_other_axes_of_1(axes: tuple[int, ...]) -> None:
    net = netdsl.parse("net n { input x 4x3; concat axis 1 { cls_token: param [4, 1] } { } }")
    token, x = np.arange(4, dtype="f4"), np.ones((2, 4, 3), "f4")
    (y,) = net.session(weights={"cls_token": token.reshape(axes)})(x=x).values()
    assert np.array_equal(y, np.concatenate([np.tile(token[:, None], (2, 1, 1)), x], 2))


@pytest.mark.parametrize("axes", [(2, 2), (3,), (2, 1, 2)])
def test_other_sizes_are_refused(axes: tuple[int, ...]) -> None:
    net = netdsl.parse("net n { input x 4x3; concat axis 1 { cls_token: param [4, 1] } { } }")
    with pytest.raises(netdsl.UserError, match="cls_token"):
        net.session(weights={"cls_token": np.zeros(axes, "f4")})


def test_what_depends_on_no_input_is_computed_once() -> None:
    """A table for 8 heads of 49 x 49 must not be copied for each of the examples."""
    net = flow("input x 8x2x2\nb: { param 4x8; permute [1, 0]; reshape 8x2x2; relu }\nadd x b")
    graph = lower(net)
    shapes = [operation.outputs[0].shape for operation in graph.operations]
    assert shapes == [(1, 4, 8), (1, 8, 4), (1, 8, 2, 2), (1, 8, 2, 2), graph.outputs["output"].shape]


def test_a_constant_output_has_the_batch_of_the_input() -> None:
    net = netdsl.parse("net n { input x [2, ?L]; output y; values [3, 4]; output z; param 1x2 init ones; output p }")
    for opset in (17, 21, 26):
        y, z, p = net.session(opset=opset)(x=np.zeros((3, 2, 5), "f4")).values()
        assert y.shape == (3, 2, 5)
        assert z.tolist() == [[3, 4]] * 3
        assert p.tolist() == [[[1, 1]]] * 3


def test_integers_are_constants_of_their_type() -> None:
    net = netdsl.parse("net n { input x 3; add { } { values [2, 0, 2] dtype i64; embedding 3 1 init ones; flatten } }")
    (y,) = net.session()(x=np.zeros((2, 3), "f4")).values()
    assert y.tolist() == [[1, 1, 1]] * 2
    constants: list[Any] = list(net.to_onnx().graph.initializer)
    assert [list(c.int64_data) or c.raw_data for c in constants if c.data_type == onnx.TensorProto.INT64]


@pytest.mark.parametrize(
    "text",
    [
        "input p 7 dtype i64; param [24, 7]; rope 3 at p",
        "input m 7 dtype i64; param [24, 7]; attention 4 mask m",
        "input b 4x7x7; param [24, 7]; attention 4 bias b",
        "input g 2x4x4; param [3, 8, 8]; grid_sample g",
        "input x 3x8x8; grid_sample { param [2, 4, 4] }",
        "input i 4 dtype i64; param [3, 8]; gather axis 1 i",
        "input x 3x8; gather axis 1 { values [7, 0] dtype i64 }",
        "input h 10; param [3, 8]; lstm 5 initial h",
        "input h 1 dtype i64; param [3, 8]; gru 5 lengths h",
        "input like 3x4x4; param [3, 8, 8]; resize like like",
    ],
)
def test_a_free_value_meets_values_of_each_example(text: str) -> None:
    """The result for each example is what it is alone."""
    net = netdsl.parse(f"net n {{ {text} }}")
    session = net.session(opset=23)
    ((name, x),) = session.inputs.items()
    numbers = np.random.default_rng(0).random((2, *x.shape))
    feeds = (numbers * 3).astype(x.dtype)
    (y,) = session(**{name: feeds}).values()
    alone = [session(**{name: feeds[i : i + 1]}) for i in range(2)]
    np.testing.assert_allclose(y, np.concatenate([next(iter(each.values())) for each in alone]), atol=1e-6)
    assert len(y) == 2
