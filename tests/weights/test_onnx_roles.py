"""ONNX models as weights, held against the models themselves in onnxruntime: what a weight is follows from its node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from netdsl.api import parse
from netdsl.base.user_error import UserError
from netdsl.weights.errors import UnclearUse, UnlikeLayer, WeightsDoNotFit
from netdsl.weights.file import open_weights

Arrays = dict[str, np.ndarray]
RANDOM = np.random.default_rng(7)


def w(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 0.5, shape).astype("f4")


def n(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, [each.strip(",") for each in inputs.split(" ")], [output], **attributes)


def model(
    path: Path, nodes: list[onnx.NodeProto], arrays: Arrays, x: np.ndarray, *, opset: int = 21, bare: bool = False
) -> bytes:
    """Write a model of one input `x` and one output `y`; `bare` leaves the ranks of all values unsaid."""
    kind = TensorProto.INT64 if x.dtype == np.int64 else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, None if bare else [None, *x.shape[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    path.write_bytes(made.SerializeToString())
    return path.read_bytes()


def run(data: bytes, x: np.ndarray) -> np.ndarray:
    """Compute without onnxruntime's own rewriting, which rounds a product of integers otherwise."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: x})[0]
    return found


def ours(text: str, path: Path, x: np.ndarray, **how: Any) -> np.ndarray:
    net = parse(text)
    return run(net.to_onnx(weights=path, **how).SerializeToString(), x)


def bn(name: str, count: int) -> Arrays:
    return {
        f"{name}.weight": w(count),
        f"{name}.bias": w(count),
        f"{name}.running_mean": w(count),
        f"{name}.running_var": np.abs(w(count)) + 0.5,
    }


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def quantized(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An array in int8, by an entry of an axis; its scales and zero points."""
    size = array.shape[axis]
    scale = np.linspace(0.01, 0.02, size).astype("f4")
    zero = np.arange(size, dtype="i1") - 1
    around = tuple(-1 if at == axis else 1 for at in range(array.ndim))
    q = np.clip(np.round(array / scale.reshape(around)) + zero.reshape(around), -128, 127).astype("i1")
    return q, scale, zero


FC = "net a { input x 4; fc: dense 4 }"
FC_WIDE = "net a { input x 4; fc: dense 3 }"
FC_BARE = "net a { input x 4; fc: dense 3 bias off }"
FLAT = w(5, 4)
MAP = w(2, 3, 5, 4)
Q = quantized(w(4, 3), 1)

CASES: dict[str, tuple[str, list[onnx.NodeProto], Arrays, np.ndarray]] = {
    "Gemm": (FC, [n("Gemm", "x fc.weight fc.bias", "y")], {"fc.weight": w(4, 4), "fc.bias": w(4)}, FLAT),
    "Gemm transB": (
        FC,
        [n("Gemm", "x fc.weight fc.bias", "y", transB=1)],
        {"fc.weight": w(4, 4), "fc.bias": w(4)},
        FLAT,
    ),
    "Gemm oblong": (FC_WIDE, [n("Gemm", "x fc.weight fc.bias", "y")], {"fc.weight": w(4, 3), "fc.bias": w(3)}, FLAT),
    "alpha and beta": (
        FC,
        [n("Gemm", "x fc.weight fc.bias", "y", alpha=0.5, beta=3.0)],
        {"fc.weight": w(4, 4), "fc.bias": w(4)},
        FLAT,
    ),
    "Gemm of a transposed input": (
        FC,
        [n("Transpose", "x", "t"), n("Gemm", "t fc.weight fc.bias", "y", transA=1)],
        {"fc.weight": w(4, 4), "fc.bias": w(4)},
        FLAT,
    ),
    "weight on the left": (
        FC,
        [n("Gemm", "fc.weight x fc.bias", "t", transB=1), n("Transpose", "t", "y")],
        {"fc.weight": w(4, 4), "fc.bias": w(4, 1)},
        FLAT,
    ),
    "weight on the left, transposed": (
        FC,
        [n("Gemm", "fc.weight x fc.bias", "t", transA=1, transB=1), n("Transpose", "t", "y")],
        {"fc.weight": w(4, 4), "fc.bias": w(4, 1)},
        FLAT,
    ),
    "MatMul": (FC_BARE, [n("MatMul", "x fc.weight", "y")], {"fc.weight": w(4, 3)}, FLAT),
    "MatMul, square": (
        FC.replace("dense 4", "dense 4 bias off"),
        [n("MatMul", "x fc.weight", "y")],
        {"fc.weight": w(4, 4)},
        FLAT,
    ),
    "MatMul from the left": (
        FC.replace("dense 4", "dense 4 bias off"),
        [n("Transpose", "x", "t"), n("MatMul", "fc.weight t", "u"), n("Transpose", "u", "y")],
        {"fc.weight": w(4, 4)},
        FLAT,
    ),
    "MatMul and Add": (
        FC,
        [n("MatMul", "x fc.weight", "t"), n("Add", "fc.bias t", "y")],
        {"fc.weight": w(4, 4), "fc.bias": w(1, 4)},
        FLAT,
    ),
    "Transpose before a Gemm": (
        FC,
        [n("Transpose", "fc.weight", "t", perm=[1, 0]), n("Gemm", "x t fc.bias", "y")],
        {"fc.weight": w(4, 4), "fc.bias": w(4)},
        FLAT,
    ),
    "Transpose before a Gemm with transB": (
        FC,
        [n("Transpose", "fc.weight", "t"), n("Gemm", "x t fc.bias", "y", transB=1)],
        {"fc.weight": w(4, 4), "fc.bias": w(4)},
        FLAT,
    ),
    "Identity and Cast": (
        FC,
        [n("Identity", "fc.weight", "t"), n("Cast", "t", "u", to=1), n("Gemm", "x u fc.bias", "y")],
        {"fc.weight": w(4, 4).astype("f2"), "fc.bias": w(4)},
        FLAT,
    ),
    "Reshape and Squeeze": (
        FC,
        [
            n("Reshape", "fc.weight shape", "t"),
            n("MatMul", "x t", "u"),
            n("Squeeze", "fc.bias axes", "v"),
            n("Add", "u v", "y"),
        ],
        {"fc.weight": w(4, 2, 2), "fc.bias": w(1, 4), "shape": ints(0, -1), "axes": ints(0)},
        FLAT,
    ),
    "Unsqueeze and Flatten": (
        FC,
        [
            n("Unsqueeze", "fc.weight axes", "s"),
            n("Flatten", "s", "t", axis=2),
            n("MatMul", "x t", "u"),
            n("Add", "u fc.bias", "y"),
        ],
        {"fc.weight": w(4, 4), "fc.bias": w(4), "axes": ints(0)},
        FLAT,
    ),
    "DequantizeLinear": (
        FC_BARE,
        [n("DequantizeLinear", "fc.weight scale zero", "t", axis=1), n("MatMul", "x t", "y")],
        {"fc.weight": Q[0], "scale": Q[1], "zero": Q[2]},
        FLAT,
    ),
    "DequantizeLinear of one scale": (
        FC_BARE,
        [n("DequantizeLinear", "fc.weight scale", "t"), n("Gemm", "x t", "y", transB=1)],
        {"fc.weight": Q[0].T.copy(), "scale": np.array(0.01, "f4")},
        FLAT,
    ),
    "grouped convolution": (
        "net a { input x 4x5x6; c: conv 3x3 6 groups 2 pad 1 }",
        [n("Conv", "x c.weight c.bias", "y", group=2, pads=[1, 1, 1, 1])],
        {"c.weight": w(6, 2, 3, 3), "c.bias": w(6)},
        w(2, 4, 5, 6),
    ),
    "grouped transposed convolution": (
        "net a { input x 4x5x6; c: deconv 3x3 6 groups 2 stride 2 pad valid }",
        [n("ConvTranspose", "x c.weight c.bias", "y", group=2, strides=[2, 2])],
        {"c.weight": w(4, 3, 3, 3), "c.bias": w(6)},
        w(2, 4, 5, 6),
    ),
    "bias of a convolution added": (
        "net a { input x 3x5x4; c: conv 3x3 2 pad 1 }",
        [n("Conv", "x c.weight", "t", pads=[1, 1, 1, 1]), n("Add", "t c.bias", "y")],
        {"c.weight": w(2, 3, 3, 3), "c.bias": w(2, 1, 1)},
        MAP,
    ),
    "batch norm": (
        "net a { input x 3x5x4; b: bn eps 1e-3 }",
        [n("BatchNormalization", "x b.weight b.bias b.running_mean b.running_var", "y", epsilon=1e-3)],
        bn("b", 3),
        MAP,
    ),
    "PRelu of channels": (
        "net a { input x 3x5x4; p: prelu }",
        [n("PRelu", "x p.weight", "y")],
        {"p.weight": w(3, 1, 1)},
        MAP,
    ),
    "PRelu of one slope": (
        "net a { input x 3x5x4; p: prelu shared on }",
        [n("PRelu", "x p.weight", "y")],
        {"p.weight": w(1, 1, 1)},
        MAP,
    ),
    "PRelu of features": (
        "net a { input x 4; p: prelu }",
        [n("PRelu", "x p.weight", "y")],
        {"p.weight": w(4)},
        FLAT,
    ),
    "LayerNormalization": (
        "net a { input x 4; l: layernorm eps 1e-4 }",
        [n("LayerNormalization", "x l.weight l.bias", "y", epsilon=1e-4)],
        {"l.weight": w(4), "l.bias": w(4)},
        FLAT,
    ),
    "layer normalization in pieces": (
        "net a { input x 4; fc: dense 3; l: layernorm eps 1e-4 }",
        [
            n("Gemm", "x fc.weight fc.bias", "h"),
            n("ReduceMean", "h axes", "m"),
            n("Sub", "h m", "d"),
            n("Mul", "d d", "d2"),
            n("ReduceMean", "d2 axes", "v"),
            n("Add", "v eps", "ve"),
            n("Sqrt", "ve", "s"),
            n("Div", "d s", "z"),
            n("Mul", "z l.weight", "zw"),
            n("Add", "zw l.bias", "y"),
        ],
        {
            "fc.weight": w(4, 3),
            "fc.bias": w(3),
            "axes": ints(-1),
            "eps": np.array(1e-4, "f4"),
            "l.weight": w(3),
            "l.bias": w(3),
        },
        FLAT,
    ),
    "InstanceNormalization": (
        "net a { input x 3x5x4; i: instancenorm }",
        [n("InstanceNormalization", "x i.weight i.bias", "y")],
        {"i.weight": w(3), "i.bias": w(3)},
        MAP,
    ),
    "group normalization in pieces": (
        "net a { input x 4x5x3; g: groupnorm 2 eps 1e-4 }",
        [
            n("Shape", "x", "shape"),
            n("Reshape", "x groups", "t"),
            n("InstanceNormalization", "t ones zeros", "u", epsilon=1e-4),
            n("Reshape", "u shape", "v"),
            n("Mul", "v g.weight", "z"),
            n("Add", "z g.bias", "y"),
        ],
        {
            "g.weight": w(4, 1, 1),
            "g.bias": w(4, 1, 1),
            "groups": ints(0, 2, -1),
            "ones": np.ones(2, "f4"),
            "zeros": np.zeros(2, "f4"),
        },
        w(2, 4, 5, 3),
    ),
    "embedding": (
        "net a { input x 6 dtype i64; e: embedding 7 3; fc: dense 2 }",
        [
            n("Gather", "e.weight x", "t"),
            n("Transpose", "t", "u", perm=[0, 2, 1]),
            n("Flatten", "u", "v"),
            n("Gemm", "v fc.weight fc.bias", "y"),
        ],
        {"e.weight": w(7, 3), "fc.weight": w(18, 2), "fc.bias": w(2)},
        np.arange(12).reshape(2, 6) % 7,
    ),
    "a map flattened channels last": (
        "net a { input x 3x5x4; c: conv 3x3 2 pad 1; relu; fc: dense 7 }",
        [
            n("Conv", "x c.weight c.bias", "t", pads=[1, 1, 1, 1]),
            n("Transpose", "t", "u", perm=[0, 2, 3, 1]),
            n("Relu", "u", "r"),
            n("Reshape", "r shape", "v"),
            n("MatMul", "v fc.weight", "z"),
            n("Add", "z fc.bias", "y"),
        ],
        {"c.weight": w(2, 3, 3, 3), "c.bias": w(2), "fc.weight": w(40, 7), "fc.bias": w(7), "shape": ints(-1, 40)},
        MAP,
    ),
    "an embedding flattened channels last": (
        "net a { input x 6 dtype i64; e: embedding 7 3; fc: dense 2 }",
        [n("Gather", "e.weight x", "t"), n("Flatten", "t", "v"), n("Gemm", "v fc.weight fc.bias", "y")],
        {"e.weight": w(7, 3), "fc.weight": w(18, 2), "fc.bias": w(2)},
        np.arange(12).reshape(2, 6) % 7,
    ),
    "a map transposed twice": (
        "net a { input x 3x5x4; c: conv 1x1 2 bias off; tanh; fc: dense 7 bias off }",
        [
            n("Conv", "x c.weight", "t"),
            n("Transpose", "t", "u", perm=[0, 2, 3, 1]),
            n("Tanh", "u", "r"),
            n("Transpose", "r", "s", perm=[0, 3, 1, 2]),
            n("Flatten", "s", "v"),
            n("Transpose", "v", "z"),
            n("MatMul", "fc.weight z", "q"),
            n("Transpose", "q", "y"),
        ],
        {"c.weight": w(2, 3, 1, 1), "fc.weight": w(7, 40)},
        MAP,
    ),
    "channels last, with the weight on the left": (
        "net a { input x 3x5x4; c: conv 1x1 2 bias off; fc: dense 7 bias off }",
        [
            n("Conv", "x c.weight", "t"),
            n("Transpose", "t", "u", perm=[0, 2, 3, 1]),
            n("Flatten", "u", "v"),
            n("Transpose", "v", "z"),
            n("MatMul", "fc.weight z", "q"),
            n("Transpose", "q", "y"),
        ],
        {"c.weight": w(2, 3, 1, 1), "fc.weight": w(7, 40)},
        MAP,
    ),
    "pooled, then flattened channels last": (
        "net a { input x 3x5x4; c: conv 3x3 2 pad 1; global_avgpool; fc: dense 7 }",
        [
            n("Conv", "x c.weight c.bias", "t", pads=[1, 1, 1, 1]),
            n("GlobalAveragePool", "t", "g"),
            n("Transpose", "g", "u", perm=[0, 2, 3, 1]),
            n("Flatten", "u", "v"),
            n("Gemm", "v fc.weight fc.bias", "y"),
        ],
        {"c.weight": w(2, 3, 3, 3), "c.bias": w(2), "fc.weight": w(2, 7), "fc.bias": w(7)},
        MAP,
    ),
    "one tensor under two names": (
        "net a { input x 4; one: dense 4 bias off; b1: bn; two: dense 4 bias off }",
        [
            n("MatMul", "x one.weight", "t"),
            n("Identity", "b1.running_mean", "b1.bias"),
            n("BatchNormalization", "t b1.weight b1.bias b1.running_mean b1.running_var", "u"),
            n("Identity", "one.weight", "two.weight"),
            n("Gemm", "u two.weight", "y", transB=1),
        ],
        {"one.weight": w(4, 4), **{name: each for name, each in bn("b1", 4).items() if name != "b1.bias"}},
        FLAT,
    ),
    "a tied table": (
        "net a { input x 6 dtype i64; e: embedding 7 3 }",
        [n("Gather", "e.weight x", "t"), n("Transpose", "t", "y", perm=[0, 2, 1])],
        {"e.weight": w(7, 3)},
        np.arange(12).reshape(2, 6) % 7,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_net_computes_what_the_model_does(tmp_path: Path, case: str) -> None:
    text, nodes, arrays, x = CASES[case]
    expected = run(model(tmp_path / "m.onnx", nodes, arrays, x), x)
    found = ours(text, tmp_path / "m.onnx", x)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5


# --- what is refused -----------------------------------------------------------------------------------------------

SPREAD = "net a { input x 4; fc: dense 24; reshape 3x2x4; c: conv 1x1 2 }"
CONV = "net a { input x 3x5x4; c: conv 1x1 3 }"

UNCLEAR: dict[str, tuple[str, list[onnx.NodeProto], Arrays, np.ndarray, str]] = {
    "two orientations": (
        FC.replace("dense 4", "dense 4 bias off"),
        [n("MatMul", "x fc.weight", "t"), n("Gemm", "t fc.weight", "y", transB=1)],
        {"fc.weight": w(4, 4)},
        FLAT,
        "`fc.weight` is unclear: it is used by several nodes, in different orientations",
    ),
    "two factors": (
        FC.replace("dense 4", "dense 4 bias off"),
        [n("Gemm", "x fc.weight", "t"), n("Gemm", "t fc.weight", "y", alpha=2.0)],
        {"fc.weight": w(4, 4)},
        FLAT,
        "in different orientations",
    ),
    "a bias along the width": (
        CONV,
        [n("Conv", "x c.weight", "t"), n("Add", "t c.bias", "y")],
        {"c.weight": w(3, 3, 1, 1), "c.bias": w(3)},
        w(2, 3, 5, 3),
        "`c.bias` is unclear: it does not run along the channels",
    ),
    "a bias of the batch": (
        FC_WIDE,
        [n("Gemm", "x fc.weight fc.bias", "y")],
        {"fc.weight": w(4, 3), "fc.bias": w(3, 1)},
        w(3, 4),
        "does not run along the channels",
    ),
    "a bias that is subtracted": (
        FC_WIDE,
        [n("Gemm", "x fc.weight", "t"), n("Sub", "t fc.bias", "y")],
        {"fc.weight": w(4, 3), "fc.bias": w(3)},
        FLAT,
        "`fc.bias` is unclear: it is used by a node Sub",
    ),
    "slopes along the width": (
        "net a { input x 3x5x3; p: prelu }",
        [n("PRelu", "x p.weight", "y")],
        {"p.weight": w(3)},
        w(2, 3, 5, 3),
        "does not run along the channels",
    ),
    "a matrix that is added": (
        FC.replace("dense 4", "dense 4 bias off"),
        [n("Add", "x fc.weight", "y")],
        {"fc.weight": w(4, 4)},
        w(4, 4),
        "has several axes that are broadcast",
    ),
    "a layer normalization along the width": (
        "net a { input x 3x5x4; c: conv 1x1 3; l: layernorm }",
        [n("Conv", "x c.weight c.bias", "t"), n("LayerNormalization", "t l.weight l.bias", "y")],
        {"c.weight": w(3, 3, 1, 1), "c.bias": w(3), "l.weight": w(3), "l.bias": w(3)},
        w(2, 3, 5, 3),
        "`l.weight` is unclear: it does not run along the channels",
    ),
    "a batch of matrices": (
        "net a { input x 4x3; c: conv 1 5 bias off }",
        [n("MatMul", "x c.weight", "y")],
        {"c.weight": w(5, 4, 1)},
        w(2, 4, 5),
        "is multiplied as 3-dimensional",
    ),
    "two constants": (
        FC.replace("dense 4", "dense 4 bias off"),
        [n("MatMul", "fc.weight other", "t"), n("MatMul", "x t", "y")],
        {"fc.weight": w(4, 4), "other": w(4, 4)},
        FLAT,
        "is multiplied by another constant",
    ),
    "no node": (
        FC_BARE,
        [n("MatMul", "x other", "y")],
        {"fc.weight": w(3, 4), "other": w(4, 3)},
        FLAT,
        "`fc.weight` is unclear: it is used by no node",
    ),
    "an operator of another domain": (
        FC_BARE,
        [helper.make_node("FusedMatMul", ["x", "fc.weight"], ["y"], domain="com.microsoft")],
        {"fc.weight": w(4, 3)},
        FLAT,
        "is used by a node com.microsoft.FusedMatMul",
    ),
    "rows that are transposed": (
        SPREAD,
        [
            n("Gemm", "x fc.weight fc.bias", "t"),
            n("Reshape", "t shape", "u"),
            n("Transpose", "u", "v", perm=[0, 3, 1, 2]),
            n("Conv", "v c.weight c.bias", "y"),
        ],
        {
            "fc.weight": w(4, 24),
            "fc.bias": w(24),
            "shape": ints(-1, 2, 4, 3),
            "c.weight": w(2, 3, 1, 1),
            "c.bias": w(2),
        },
        FLAT,
        "`fc.weight` is unclear: it has outputs that are reshaped and then transposed",
    ),
    "a map that is flattened otherwise": (
        "net a { input x 3x5x4; c: conv 1x1 2 bias off; fc: dense 7 bias off }",
        [
            n("Conv", "x c.weight", "t"),
            n("Transpose", "t", "u", perm=[0, 2, 1, 3]),
            n("Flatten", "u", "v"),
            n("Gemm", "v fc.weight", "y"),
        ],
        {"c.weight": w(2, 3, 1, 1), "fc.weight": w(40, 7)},
        MAP,
        "`fc.weight` is unclear: it reads a map that was transposed and flattened",
    ),
    "height and width that change places": (
        "net a { input x 3x4x4; c: conv 1x1 2 bias off; fc: dense 7 bias off }",
        [
            n("Conv", "x c.weight", "t"),
            n("Transpose", "t", "u", perm=[0, 3, 2, 1]),
            n("Flatten", "u", "v"),
            n("Transpose", "v", "z"),
            n("Gemm", "z fc.weight", "y", transA=1),
        ],
        {"c.weight": w(2, 3, 1, 1), "fc.weight": w(32, 7)},
        w(2, 3, 4, 4),
        "`fc.weight` is unclear: it reads a map that was transposed and flattened",
    ),
    "statistics of a map that was flattened channels last": (
        "net a { input x 3x5x4; c: conv 1x1 2 bias off; flatten; b: bn }",
        [
            n("Conv", "x c.weight", "t"),
            n("Transpose", "t", "u", perm=[0, 2, 3, 1]),
            n("Flatten", "u", "v"),
            n("BatchNormalization", "v b.weight b.bias b.running_mean b.running_var", "y"),
        ],
        {"c.weight": w(2, 3, 1, 1), **bn("b", 40)},
        MAP,
        "`b.weight` is unclear: it reads a map that was flattened with its channels last",
    ),
    "a table that is gathered along its rows": (
        "net a { input x 6 dtype i64; e: embedding 7 7 }",
        [n("Gather", "e.weight x", "y", axis=1)],
        {"e.weight": w(7, 7)},
        np.arange(12).reshape(2, 6) % 7,
        "is gathered along axis 1",
    ),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_is_not_clear_is_refused_by_name(tmp_path: Path, case: str) -> None:
    text, nodes, arrays, x, message = UNCLEAR[case]
    model(tmp_path / "m.onnx", nodes, arrays, x)
    with pytest.raises(UnclearUse) as caught:
        ours(text, tmp_path / "m.onnx", x)
    assert message in caught.value.message


def test_a_net_that_flattens_otherwise_is_refused(tmp_path: Path) -> None:
    """Which columns such a net wants cannot be known: here it permutes the map itself."""
    _, nodes, arrays, x = CASES["a map flattened channels last"]
    model(tmp_path / "m.onnx", nodes, arrays, x)
    for change in ("permute [1, 2, 0]", "permute [1, 2, 0]; relu", "reshape 40", "reshape 4x10; flatten"):
        with pytest.raises(UnclearUse, match=r"`fc.weight` reads a map that was flattened with its channels last"):
            ours(f"net a {{ input x 3x5x4; c: conv 3x3 2 pad 1; relu; {change}; fc: dense 7 }}", tmp_path / "m.onnx", x)


UNLIKE: dict[str, tuple[str, list[onnx.NodeProto], Arrays, str]] = {
    "epsilon": (
        "net a { input x 3x5x4; b: bn }",
        [n("BatchNormalization", "x b.weight b.bias b.running_mean b.running_var", "y", epsilon=1e-3)],
        bn("b", 3),
        "`b` has the epsilon 1e-05, but in",
    ),
    "epsilon of a group normalization": (
        "net a { input x 4x5x3; g: groupnorm 2 }",
        [
            n("Reshape", "x groups", "t"),
            n("InstanceNormalization", "t ones zeros", "u", epsilon=1e-2),
            n("Reshape", "u shape", "v"),
            n("Mul", "v g.weight", "z"),
            n("Add", "z g.bias", "y"),
        ],
        {
            "g.weight": w(4, 1, 1),
            "g.bias": w(4, 1, 1),
            "groups": ints(0, 2, -1),
            "shape": ints(-1, 4, 5, 3),
            "ones": np.ones(2, "f4"),
            "zeros": np.zeros(2, "f4"),
        },
        "`g` has the epsilon 1e-05",
    ),
    "a transposed convolution": (
        "net a { input x 3x5x4; c: conv 3x3 3 bias off }",
        [n("ConvTranspose", "x c.weight", "y")],
        {"c.weight": w(3, 3, 3, 3)},
        "`c.weight` is a weight of a node ConvTranspose",
    ),
    "a factor": (
        "net a { input x 3x5x4; p: prelu }",
        [n("Mul", "x p.weight", "y")],
        {"p.weight": w(3, 1, 1)},
        "`p.weight` is a weight of a node Mul",
    ),
    "another normalization": (
        "net a { input x 4; fc: groupnorm 2 }",
        [n("LayerNormalization", "x fc.weight fc.bias", "y")],
        {"fc.weight": w(4), "fc.bias": w(4)},
        "`fc.weight` is a weight of a node LayerNormalization",
    ),
    "mean and variance": (
        "net a { input x 3x5x4; b: bn }",
        [n("BatchNormalization", "x b.weight b.bias b.running_var b.running_mean", "y")],
        bn("b", 3),
        "`b.running_mean` is the running_var of a node BatchNormalization",
    ),
    "a table": (
        "net a { input x 4; fc: dense 3 bias off }",
        [n("Cast", "x", "i", to=7), n("Gather", "fc.weight i", "y")],
        {"fc.weight": w(3, 4)},
        "`fc.weight` is a weight of a node Gather",
    ),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_weights_of_another_kind_of_node_are_refused(tmp_path: Path, case: str) -> None:
    text, nodes, arrays, message = UNLIKE[case]
    model(tmp_path / "m.onnx", nodes, arrays, FLAT if "fc" in text else MAP)
    with pytest.raises(UnlikeLayer) as caught:
        ours(text, tmp_path / "m.onnx", MAP)
    assert message in caught.value.message


def test_constants_beside_the_weights_are_passed_over(tmp_path: Path) -> None:
    nodes = [
        n("Conv", "x c.weight", "t"),
        n("Resize", "t , scales", "u", mode="nearest"),
        n("Clip", "u low", "y"),
    ]
    arrays = {"c.weight": w(2, 3, 1, 1), "scales": np.array([1, 1, 2, 2], "f4"), "low": np.array(-0.5, "f4")}
    expected = run(model(tmp_path / "m.onnx", nodes, arrays, MAP), MAP)
    text = "net a { input x 3x5x4; c: conv 1x1 2 bias off; upsample 2x2; clip -0.5 9 }"
    assert np.array_equal(ours(text.replace("; clip -0.5 9", ""), tmp_path / "m.onnx", MAP).clip(-0.5), expected)


# --- Constant nodes and the graph's order --------------------------------------------------------------------------

TWICE = "net a { input x 4; one: dense 4; relu; two: dense 4 }"


def constant(name: str, value: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, f"of {name}"))


def test_weights_in_constant_nodes(tmp_path: Path) -> None:
    bias = w(4)
    nodes = [
        constant("fc.weight", w(4, 4)),
        helper.make_node("Constant", [], ["fc.bias"], value_floats=bias.tolist()),
        helper.make_node("Constant", [], ["shape"], value_ints=[-1, 4]),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Constant", [], ["ones"], value=numpy_helper.from_array(np.ones(1, "f4"))),
        n("Reshape", "x shape", "r"),
        n("Mul", "r ones", "s"),
        n("MatMul", "s fc.weight", "t"),
        n("Add", "t fc.bias", "u"),
        n("Mul", "u half", "y"),
    ]
    expected = run(model(tmp_path / "m.onnx", nodes, {}, FLAT), FLAT)
    assert np.abs(ours(FC + "", tmp_path / "m.onnx", FLAT) / 2 - expected).max() < 1e-6


def test_a_sparse_weight_is_refused(tmp_path: Path) -> None:
    values = numpy_helper.from_array(w(2), "fc.weight")
    indices = numpy_helper.from_array(np.array([1, 5]), "indices")
    sparse = helper.make_sparse_tensor(values, indices, [4, 3])
    path = tmp_path / "m.onnx"
    model(path, [n("MatMul", "x fc.weight", "y")], {}, FLAT)
    made = onnx.load(path)
    made.graph.sparse_initializer.append(sparse)
    path.write_bytes(made.SerializeToString())
    with pytest.raises(UnclearUse, match=r"`fc.weight` is unclear: it is sparse"):
        ours(FC_BARE, path, FLAT)
    node = helper.make_node("Constant", [], ["fc.weight"], sparse_value=sparse)
    model(path, [node, n("MatMul", "x fc.weight", "y")], {"other": w(3)}, FLAT)
    with pytest.raises(WeightsDoNotFit, match=r"1 missing:\n    fc.weight 3x4"):
        ours(FC_BARE, path, FLAT)


def test_the_order_is_that_of_use(tmp_path: Path) -> None:
    """Exporters put what they have folded last; and a bias may stand before its weight."""
    nodes = [
        n("Gemm", "x folded2 a", "t"),
        n("Relu", "t", "u"),
        n("MatMul", "u folded1", "v"),
        n("Add", "b v", "y"),
    ]
    arrays = {"b": w(4), "a": w(4), "folded1": w(4, 4), "folded2": w(4, 4)}
    expected = run(model(tmp_path / "m.onnx", nodes, arrays, FLAT), FLAT)
    assert np.abs(ours(TWICE, tmp_path / "m.onnx", FLAT, match="order") - expected).max() < 1e-5


@pytest.mark.parametrize("shared", [True, False])
def test_a_tensor_of_two_layers_is_paired_twice(tmp_path: Path, shared: bool) -> None:
    nodes = [n("Gemm", "x w b", "t"), n("Relu", "t", "u"), n("Gemm", "u w b", "y")]
    expected = run(model(tmp_path / "m.onnx", nodes, {"w": w(4, 4), "b": w(4)}, FLAT), FLAT)
    text = "net a { input x 4; one: dense 4; relu; reuse one }" if shared else TWICE
    assert np.abs(ours(text, tmp_path / "m.onnx", FLAT, match="order") - expected).max() < 1e-5


def test_batch_norm_by_order_and_a_layer_that_is_missing(tmp_path: Path) -> None:
    nodes = [
        n("Conv", "x k", "t"),
        n("BatchNormalization", "t s o m v", "u"),
        n("GlobalAveragePool", "u", "p"),
        n("Flatten", "p", "f"),
        n("Gemm", "f w c", "y"),
    ]
    arrays = {"v": np.abs(w(2)) + 1, "o": w(2), "m": w(2), "w": w(2, 5), "k": w(2, 3, 1, 1), "s": w(2), "c": w(5)}
    expected = run(model(tmp_path / "m.onnx", nodes, arrays, MAP), MAP)
    text = "net a { input x 3x5x4; conv 1x1 2 bias off; bn; global_avgpool; dense 5 }"
    found = ours(text, tmp_path / "m.onnx", MAP, match="order")
    assert np.abs(found - expected).max() < 1e-5
    with pytest.raises(WeightsDoNotFit, match="number 2 is different"):
        ours(text.replace("bn; ", ""), tmp_path / "m.onnx", MAP, match="order")
    with pytest.raises(WeightsDoNotFit, match="do not match by order"):
        ours(text.replace("bias off", ""), tmp_path / "m.onnx", MAP, match="order")


def test_damaged_nodes_end_in_words(tmp_path: Path) -> None:
    """Bytes of a graph changed one at a time give weights of their declared shape, or an error of ours."""
    nodes = [
        constant("k", w(2, 2)),
        n("Transpose", "fc.weight", "t", perm=[1, 0]),
        n("Unsqueeze", "k axes", "z"),
        n("DequantizeLinear", "q scale", "d", axis=0),
        n("Gemm", "x t fc.bias", "u", alpha=0.5, transB=1),
        n("MatMul", "u d", "y"),
    ]
    arrays = {"fc.weight": w(4, 3), "fc.bias": w(3), "q": Q[0], "scale": np.float32([1, 2, 3, 4]), "axes": ints(0)}
    data = bytearray(model(tmp_path / "m.onnx", nodes, arrays, FLAT))
    refused = 0
    for at in range(0, len(data), 3):
        for byte in (0, 255, data[at] ^ 1):
            changed = bytearray(data)
            changed[at] = byte
            (tmp_path / "m.onnx").write_bytes(changed)
            try:
                file = open_weights(str(tmp_path / "m.onnx"))
                for key, each in file.entries.items():
                    assert file.read(key).shape == each.shape
            except UserError:
                refused += 1
    assert refused > 100
