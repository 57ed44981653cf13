"""Operators of ONNX, each in small models of several opsets: the text that they become, and its results against
onnxruntime's for the model itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import netdsl
from tests.support.onnx_models import RANDOM, Arrays, ints, model, n, positive, run, w

Case = tuple[list[Any], Arrays, tuple[int, ...], str]


def flat(scale: float, *shape: int) -> np.ndarray[Any, Any]:
    return np.full(shape, scale, "f4")


def bn(count: int) -> Arrays:
    return {"s": w(count), "b": w(count), "m": w(count), "v": positive(count)}


IMAGE = (6, 8, 10)

CASES: dict[str, Case] = {
    "conv": ([n("Conv", "x w b", "y", pads=[1, 1, 1, 1])], {"w": w(4, 6, 3, 3), "b": w(4)}, IMAGE, "conv 3x3 4"),
    "conv without padding": (
        [n("Conv", "x w", "y", strides=[2, 1], kernel_shape=[3, 2])],
        {"w": w(4, 6, 3, 2)},
        IMAGE,
        "conv 3x2 4 stride 2x1 pad 0 bias off",
    ),
    "conv with unequal padding": (
        [n("Conv", "x w", "y", pads=[0, 1, 2, 1])],
        {"w": w(4, 6, 3, 3)},
        IMAGE,
        "conv 3x3 4 pad [0, 1, 2, 1] bias off",
    ),
    "conv of groups": (
        [n("Conv", "x w", "y", group=2, dilations=[2, 2], pads=[2, 2, 2, 2])],
        {"w": w(4, 3, 3, 3)},
        IMAGE,
        "conv 3x3 4 dilation 2 bias off groups 2",
    ),
    "depthwise": (
        [n("Conv", "x w b", "y", group=6, pads=[2, 2, 2, 2])],
        {"w": w(12, 1, 5, 5), "b": w(12)},
        IMAGE,
        "dwconv 5x5 multiplier 2",
    ),
    "auto_pad": (
        [n("Conv", "x w", "y", auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": w(4, 6, 3, 3)},
        IMAGE,
        "conv 3x3 4 stride 2 pad [0, 0, 1, 1] bias off",
    ),
    "conv on one axis": ([n("Conv", "x w", "y", pads=[1, 1])], {"w": w(4, 6, 3)}, (6, 9), "conv 3 4 bias off"),
    "conv on three axes": (
        [n("Conv", "x w", "y")],
        {"w": w(4, 2, 2, 2, 2)},
        (2, 4, 5, 6),
        "conv 2x2x2 4 pad 0 bias off",
    ),
    "transposed": (
        [n("ConvTranspose", "x w b", "y", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])],
        {"w": w(6, 4, 3, 3), "b": w(4)},
        IMAGE,
        "deconv 3x3 4 stride 2 pad 1 output_pad 1",
    ),
    "pools": (
        [
            n("MaxPool", "x", "a", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            n("AveragePool", "a", "y", kernel_shape=[2, 2], strides=[1, 1], pads=[1, 1, 0, 0]),
        ],
        {},
        IMAGE,
        "maxpool 3x3 stride 2 pad 1\navgpool 2x2 stride 1 pad [1, 1, 0, 0]",
    ),
    "global pools": (
        [n("GlobalAveragePool", "x", "a"), n("GlobalMaxPool", "x", "b"), n("Add", "a b", "y")],
        {},
        IMAGE,
        "global_avgpool_1: global_avgpool\nfrom x; global_maxpool\nadd global_avgpool_1 { }",
    ),
    "lrn": ([n("LRN", "x", "y", size=5, alpha=0.01)], {}, IMAGE, "lrn 5 alpha 0.01 k 1 mean on"),
    "flattened": (
        [n("Flatten", "x", "a"), n("Gemm", "a w b", "y", transB=1)],
        {"w": w(3, 480), "b": w(3)},
        IMAGE,
        "dense 3",
    ),
    "gemm with factors": (
        [n("Gemm", "x w b", "y", alpha=0.5, beta=2.0)],
        {"w": w(7, 3), "b": w(1, 3)},
        (7,),
        "dense 3",
    ),
    "matmul and add": ([n("MatMul", "x w", "a"), n("Add", "b a", "y")], {"w": w(7, 3), "b": w(3)}, (7,), "dense 3"),
    "tokens": (
        [n("MatMul", "x w", "a"), n("Add", "a b", "c"), n("Relu", "c", "y")],
        {"w": w(7, 3), "b": w(3)},
        (5, 7),
        "permute [1, 0]\nlinear 3; relu\npermute [1, 0]",
    ),
    "channels last": (
        [
            n("Transpose", "x", "a", perm=[0, 3, 1, 2]),
            n("Conv", "a w", "c"),
            n("Relu", "c", "d"),
            n("Transpose", "d", "e", perm=[0, 2, 3, 1]),
            n("Reshape", "e shape", "f"),
            n("MatMul", "f v", "y"),
        ],
        {"w": w(4, 6, 1, 1), "shape": ints(-1, 320), "v": w(320, 3)},
        (8, 10, 6),
        "permute [2, 0, 1]\nconv 1x1 4 bias off; relu\ndense 3 bias off",
    ),
    "pad and conv": (
        [n("Pad", "x p", "a"), n("Conv", "a w", "y", strides=[2, 2])],
        {"p": ints(0, 0, 0, 1, 0, 0, 1, 2), "w": w(4, 6, 3, 3)},
        IMAGE,
        "conv 3x3 4 stride 2 pad [0, 1, 1, 2] bias off",
    ),
    "pads": (
        [n("Pad", "x p v", "a"), n("Pad", "a q", "b", mode="reflect"), n("Pad", "b r", "y")],
        {
            "p": ints(0, 0, 1, 1, 0, 0, 1, 1),
            "v": np.array(0.5, "f4"),
            "q": ints(0, 0, 2, 0, 0, 0, 0, 1),
            "r": ints(0, 1, 0, 0, 0, 2, 0, 0),
        },
        IMAGE,
        "pad 1 value 0.5\npad [2, 0, 0, 1] mode reflect\npad_channels 1 2",
    ),
    "bn with a scale": (
        [n("BatchNormalization", "x s b m v", "a"), n("Mul", "a c", "d"), n("Add", "d e", "y")],
        {**bn(6), "c": w(6, 1, 1), "e": w(1, 6, 1, 1)},
        IMAGE,
        "bn",
    ),
    "sums": (
        [*(n(op, "x", op) for op in ("Relu", "Tanh", "Sin")), n("Add", "Relu Tanh", "a"), n("Add", "a Sin", "y")],
        {},
        IMAGE,
        "tanh_1: tanh\nfrom x; sin\nadd relu_1 tanh_1 { }",
    ),
    "a scale alone": (
        [n("Mul", "x c", "d"), n("Add", "d e", "y")],
        {"c": w(6, 1, 1), "e": w(6, 1, 1)},
        IMAGE,
        "dwconv 1x1",
    ),
    "normalized pixels": (
        [n("Sub", "x m", "a"), n("Div", "a s", "y")],
        {"m": w(3, 1, 1), "s": positive(3, 1, 1)},
        (3, 4, 4),
        "normalize mean",
    ),
    "numbers": (
        [n("Mul", "x a", "b"), n("Sub", "b c", "d"), n("Div", "d e", "f"), n("Sub", "c f", "y")],
        {"a": np.array(2, "f4"), "c": np.array([0.5], "f4"), "e": np.array(3, "f4")},
        IMAGE,
        "scale 2; shift (-0.5); scale",
    ),
    "residual": ([n("Relu", "x", "a"), n("Add", "a x", "y")], {}, IMAGE, "relu\nadd x"),
    "spread": (
        [n("GlobalAveragePool", "x", "a"), n("Sub", "x a", "y")],
        {},
        IMAGE,
        "global_avgpool\nsub spread on x { }",
    ),
    "silu": ([n("Sigmoid", "x", "a"), n("Mul", "x a", "y")], {}, IMAGE, "silu"),
    "hard swish": (
        [n("Add", "x c", "a"), n("Clip", "a l h", "b"), n("Mul", "x b", "d"), n("Div", "d s", "y")],
        {k: np.array(v, "f4") for k, v in {"c": 3, "l": 0, "h": 6, "s": 6}.items()},
        IMAGE,
        "hard_swish",
    ),
    "clip below": ([n("Clip", "x c", "y")], {"c": np.array(0.25, "f4")}, IMAGE, "clip 0.25 3.4028234e38"),
    "clip above": ([n("Clip", "x - c", "y")], {"c": np.array(0.25, "f4")}, IMAGE, "clip (-3.4028234e38) 0.25"),
    "integers are divided towards zero": (
        [n("Div", "a b", "q"), n("Cast", "q", "f", to=1), n("Mul", "x f", "y")],
        {"a": ints(-7, 7, -8, 9, 6, -1), "b": ints(2, 2, 3, -4, -3, 5)},
        (6,),
        "mul { f: param 6 }",
    ),
    "remainders with the sign of the dividend": (
        [n("Mod", "a b", "q", fmod=1), n("Cast", "q", "f", to=1), n("Mul", "x f", "y")],
        {"a": ints(-7, 7, -8, 9, 6, -1), "b": ints(2, 2, 3, -4, -3, 5)},
        (6,),
        "mul { f: param 6 }",
    ),
    "zeros minus": (
        [n("Sub", "c x", "y")],
        {"c": flat(0, 8, 10)},
        IMAGE,
        "sub spread on { c: param 1x8x10 } { }",
    ),
    "zeros that repeat": (
        [n("GlobalAveragePool", "x", "a"), n("Add", "a c", "y")],
        {"c": flat(0, 8, 10)},
        IMAGE,
        "global_avgpool\nadd spread on { c: param 1x8x10 }",
    ),
    "hard sigmoid of Keras": ([n("HardSigmoid", "x", "y")], {}, IMAGE, "scale 0.2; shift 0.5; clip 0 1"),
    "gelu": (
        [n("Div", "x r", "a"), n("Erf", "a", "b"), n("Add", "b one", "c"), n("Mul", "x c", "d"), n("Mul", "d h", "y")],
        {"r": np.array(2**0.5, "f4"), "one": np.array(1, "f4"), "h": np.array(0.5, "f4")},
        (5, 7),
        "gelu",
    ),
    "gelu, halved first": (
        [n("Mul", "x h", "e"), n("Mul", "x r", "a"), n("Erf", "a", "b"), n("Add", "one b", "c"), n("Mul", "e c", "y")],
        {"r": np.array(0.5**0.5, "f4"), "one": np.array(1, "f4"), "h": np.array(0.5, "f4")},
        (5, 7),
        "gelu",
    ),
    "layer norm": (
        [
            n("MatMul", "x w", "l"),
            n("ReduceMean", "l last", "m"),
            n("Sub", "l m", "d"),
            n("Pow", "d two", "q"),
            n("ReduceMean", "q last", "v"),
            n("Add", "v eps", "e"),
            n("Sqrt", "e", "r"),
            n("Div", "d r", "z"),
            n("Mul", "z s", "g"),
            n("Add", "g b", "y"),
        ],
        {"last": ints(-1), "two": np.array(2, "f4"), "eps": np.array(1e-5, "f4"), "s": w(4), "b": w(4), "w": w(7, 4)},
        (5, 7),
        "linear 4 bias off; layernorm",
    ),
    "shuffled channels": (
        [n("Reshape", "x a", "b"), n("Transpose", "b", "c", perm=[0, 2, 1, 3, 4]), n("Reshape", "c d", "y")],
        {"a": ints(-1, 2, 3, 8, 10), "d": ints(-1, 6, 8, 10)},
        IMAGE,
        "channel_shuffle 2",
    ),
    "shuffled channels that are split": (
        [
            n("Reshape", "x a", "b"),
            n("Transpose", "b", "c", perm=[0, 2, 1, 3, 4]),
            n("Reshape", "c d", "e"),
            n("Split", "e", "f g", axis=1, num_outputs=2),
            n("Sub", "f g", "y"),
        ],
        {"a": ints(-1, 2, 3, 8, 10), "d": ints(-1, 6, 8, 10)},
        IMAGE,
        "channel_shuffle_1: channel_shuffle 2\nslice_1: slice 0 0 3\nfrom channel_shuffle_1; slice 0 3\n",
    ),
    "parts": (
        [n("Split", "x s", "a b", axis=1), n("Slice", "b from to axes", "c"), n("Concat", "c a", "y", axis=1)],
        {"s": ints(2, 4), "from": ints(1), "to": ints(-1), "axes": ints(1)},
        IMAGE,
        "slice_1: slice 0 0 2\nfrom x; slice 0 2\nslice 0 1 3\nconcat slice_1",
    ),
    "selected": ([n("Gather", "x i", "y", axis=1)], {"i": ints(5, 0, 3)}, IMAGE, "select [5, 0, 3]"),
    "selected in a row": ([n("Gather", "x i", "y", axis=-3)], {"i": ints(1, 2, 3)}, IMAGE, "select [1, 2, 3]"),
    "one position": ([n("Gather", "x i", "y", axis=2)], {"i": np.array(1)}, IMAGE, "slice 1 1 2\nreshape 6x10"),
    "class token": (
        [n("Concat", "t x", "a", axis=1), n("Add", "a p", "y")],
        {"t": w(1, 1, 7), "p": w(1, 6, 7)},
        (5, 7),
        "concat { t: param 1x7 } { }\nadd { p: param 6x7 }",
    ),
    "reductions": (
        [n("ReduceMean", "x hw", "a", keepdims=0), n("ReduceMax", "a c", "y", keepdims=1)],
        {"hw": ints(2, 3), "c": ints(1)},
        IMAGE,
        "global_avgpool\nflatten\nreduce max 0",
    ),
    "squeezed": (
        [n("GlobalAveragePool", "x", "a"), n("Squeeze", "a ax", "b"), n("Unsqueeze", "b ax", "y")],
        {"ax": ints(2, 3)},
        IMAGE,
        "global_avgpool\n}",
    ),
    "matrices": (
        [n("Transpose", "x", "t", perm=[0, 2, 1]), n("MatMul", "x t", "a"), n("Softmax", "a", "y")],
        {},
        (5, 7),
        "permute [1, 0]\nmatmul x { }; softmax axis 1",
    ),
    "slopes": (
        [
            n("PRelu", "x s", "a"),
            n("LeakyRelu", "a", "b", alpha=0.1),
            n("Elu", "b", "c"),
            n("Celu", "c", "d", alpha=0.5),
            n("Softplus", "d", "y"),
        ],
        {"s": w(6, 1, 1)},
        IMAGE,
        "prelu; leaky_relu 0.1; elu; celu 0.5; softplus",
    ),
    "shapes that are computed": (
        [
            n("Shape", "x", "s"),
            n("Gather", "s zero", "batch"),
            n("Unsqueeze", "batch zeros", "b1"),
            n("Concat", "b1 rest", "t", axis=0),
            n("Reshape", "x t", "a"),
            n("MatMul", "a w", "y"),
        ],
        {"zero": np.array(0), "zeros": ints(0), "rest": ints(-1), "w": w(480, 3)},
        IMAGE,
        "dense 3 bias off",
    ),
    "depth": (
        [n("DepthToSpace", "x", "a", blocksize=1), n("SpaceToDepth", "a", "y", blocksize=2)],
        {},
        IMAGE,
        "pixel_shuffle 1 order dcr",
    ),
}


def check(path: Path, feeds: Arrays, names: list[str] | None = None) -> netdsl.Result:
    """Import a model as a flat text, and compare the net with onnxruntime's results for the model."""
    found = netdsl.import_model(path, flat=True)
    assert found["proved"]
    session = found.net.session(weights=found.weights)
    inputs = dict(zip(session.inputs, feeds.values(), strict=True))
    for wanted, name in zip(run(path, feeds), names or session.outputs, strict=True):
        ours = session(**inputs)[name]
        assert ours.shape == wanted.shape
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-5 * max(1, float(np.abs(wanted).max())))
    return found


@pytest.mark.parametrize("case", CASES)
def test_nodes_become_layers(case: str, tmp_path: Path) -> None:
    nodes, arrays, shape, text = CASES[case]
    path = model(tmp_path / "m.onnx", nodes, arrays, *shape)
    batch = 1 if case == "class token" else 3  # which this model has among its constants
    found = check(path, {"x": RANDOM.normal(0, 1, (batch, *shape)).astype("f4")})
    lines = "\n".join(line.strip() for line in found.text.splitlines())
    assert text in lines, lines


OLD: dict[str, tuple[range, list[Any], Arrays, tuple[int, ...], str]] = {
    "broadcast by an attribute": (
        range(1, 7),
        [n("Add", "x c", "a", broadcast=1, axis=1), n("Mul", "a x", "y")],
        {"c": w(6)},
        IMAGE,
        "add spread on { c: param 6x1x1 }",
    ),
    "reshape by an attribute": (
        range(1, 5),
        [n("Reshape", "x", "a", shape=[0, -1]), n("Gemm", "a w b", "y", broadcast=1)],
        {"w": w(480, 3), "b": w(3)},
        IMAGE,
        "dense 3",
    ),
    "batch norm that says that it is a test": (
        range(1, 7),
        [
            n("BatchNormalization", "x s b m v", "a", is_test=1, consumed_inputs=[0, 0, 0, 1, 1]),
            n("Dropout", "a", "c", is_test=1),
            n("Relu", "c", "y"),
        ],
        bn(6),
        IMAGE,
        "bn; relu",
    ),
    "clip, squeeze, slice and pad by attributes": (
        range(2, 10),
        [
            n("Pad", "x", "a", pads=[0, 0, 1, 1, 0, 0, 1, 1]),
            n("Clip", "a", "b", min=0.0, max=6.0),
            n("Slice", "b", "c", axes=[2, 3], starts=[0, 1], ends=[1000, -1]),
            n("ReduceMean", "c", "d", axes=[2, 3], keepdims=1),
            n("Squeeze", "d", "e", axes=[2, 3]),
            n("Unsqueeze", "e", "y", axes=[2]),
        ],
        {},
        IMAGE,
        "pad 1; relu6",
    ),
    "softmax of a matrix": (
        range(1, 13),
        [n("Flatten", "x", "a"), n("Softmax", "a", "y")],
        {},
        (6, 1, 1),
        "flatten; softmax",
    ),
    "softmax of the last axis": (range(13, 24), [n("Softmax", "x", "y")], {}, (6, 5), "softmax axis 1"),
    "split by an attribute": (
        range(2, 13),
        [n("Split", "x", "a b", axis=1, split=[2, 4]), n("Concat", "b a", "y", axis=1)],
        {},
        IMAGE,
        "slice 0 2",
    ),
    "dropout with a mask": (range(7, 24), [n("Dropout", "x", "a mask"), n("Relu", "a", "y")], {}, IMAGE, "relu"),
    "upsample": (
        range(7, 9),
        [n("Upsample", "x", "y", scales=[1.0, 1.0, 2.0, 3.0])],
        {},
        IMAGE,
        "upsample 2x3",
    ),
    "upsample by an input": (
        range(9, 10),
        [n("Upsample", "x s", "y")],
        {"s": np.array([1, 1, 2, 2], "f4")},
        IMAGE,
        "upsample 2",
    ),
    "activations": (
        range(6, 24),
        [
            n("Elu", "x", "a", alpha=0.5),
            n("HardSigmoid", "a", "b", alpha=1 / 6),
            n("Selu", "b", "c"),
            n("Tanh", "c", "y"),
        ],
        {},
        IMAGE,
        "elu 0.5; hard_sigmoid; selu; tanh",
    ),
}
"""Forms of operators with the range of opsets that have them."""


REWRITTEN = {
    "broadcast by an attribute": (7, "Add, Mul"),
    "reshape by an attribute": (5, "Gemm, Reshape"),
}
"""Forms that neither onnxruntime nor onnx's converter knows before an opset, and the operators that netdsl rewrites."""


@pytest.mark.parametrize("case", OLD)
def test_every_opset_is_read(case: str, tmp_path: Path) -> None:
    opsets, nodes, arrays, shape, text = OLD[case]
    for opset in opsets:
        made = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        for node in made if opset > 5 else ():
            kept = [each for each in node.attribute if each.name != "consumed_inputs"]
            del node.attribute[:]
            node.attribute.extend(kept)
        path = model(tmp_path / "m.onnx", made, arrays, *shape, opset=opset)
        found = netdsl.import_model(path)
        assert found["proved"], opset
        rewritten = REWRITTEN.get(case, (0, ""))
        assert [note.rpartition(": ")[2] for note in found["notes"]] == [rewritten[1]] * (opset < rewritten[0]), opset
        lines = "\n".join(line.strip() for line in found.text.splitlines())
        assert text in lines, (opset, lines)
