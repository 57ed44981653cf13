"""Cropping, resampling and normalization of ONNX, as exporters write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.importing.test_onnx import IMAGE, Case, check
from tests.support.onnx_models import RANDOM, ints, model, n, w

CASES: dict[str, Case] = {
    "biases that are made up": (
        [
            n("Conv", "x v val_0", "a"),
            n("Conv", "a w b", "c"),
            n("Flatten", "c", "d"),
            n("Gemm", "d u onnx::Gemm_1", "y"),
        ],
        {"v": w(4, 6, 1, 1), "w": w(4, 4, 1, 1), "b": np.zeros(4, "f4"), "u": w(320, 3)}
        | {"val_0": np.zeros(4, "f4"), "onnx::Gemm_1": np.zeros(3, "f4")},
        IMAGE,
        "conv 1x1 4 bias off\nconv 1x1 4\ndense 3 bias off",
    ),
    "pools of one element": (
        [
            n("AveragePool", "x", "a", kernel_shape=[1, 1]),
            n("MaxPool", "a", "b", kernel_shape=[1, 1], strides=[2, 2]),
            n("Relu", "b", "y"),
        ],
        {},
        IMAGE,
        "input x 6x8x10\nmaxpool 1x1 stride 2; relu",
    ),
    "parts of a sequence": (
        [
            n("SplitToSequence", "x two", "p", axis=1),
            n("SequenceAt", "p one", "a"),
            n("SequenceAt", "p last", "b"),
            n("Sub", "b a", "y"),
        ],
        {"two": np.array(2), "one": np.array(1), "last": np.array(-1)},
        IMAGE,
        "slice_1: slice 0 2 4\nfrom x; slice 0 4\nsub slice_1",
    ),
    "a causal convolution": (
        [
            n("Conv", "x w", "a", pads=[1, 2, 1, 2]),
            n("Slice", "a zero last rows", "b"),
            n("Slice", "b one last columns", "y"),
        ],
        {
            "w": w(4, 6, 3, 5),
            **{k: ints(v) for k, v in {"zero": 0, "one": 1, "last": -1, "rows": 2, "columns": 3}.items()},
        },
        IMAGE,
        "conv 3x5 4 pad [1, 1, 0, 1] bias off",
    ),
    "nearest neighbors": (
        [n("Gather", "x i", "a", axis=2), n("Gather", "a j", "b", axis=3), n("Gather", "b k", "y", axis=2)],
        {"i": ints(0, 1, 3, 4, 6), "j": ints(0, *range(10)), "k": ints(0, 2, 4)},
        IMAGE,
        "resize 5x11\nresize 3x11 mode nearest_exact",
    ),
    "the last channels": (
        [n("Slice", "x from to axes", "y")],
        {"from": ints(-2), "to": ints(2**63 - 1), "axes": ints(1)},
        IMAGE,
        "slice 0 (-2)",
    ),
    "cropped": (
        [n("Slice", "x from to axes", "y")],
        {"from": ints(1, 2), "to": ints(-3, 2**63 - 1), "axes": ints(2, 3)},
        IMAGE,
        "crop [1, 2, 3, 0]",
    ),
    "cropped axis by axis": (
        [n("Slice", "x from to last", "a"), n("Slice", "a from to high", "b"), n("Slice", "b from to wide", "y")],
        {"from": ints(1), "to": ints(-1), "last": ints(-1), "high": ints(2), "wide": ints(3)},
        (2, 4, 5, 6),
        "crop 1",
    ),
    "upsampled": (
        [n("Resize", "x - s", "y", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
        {"s": np.array([1, 1, 2, 2], "f4")},
        IMAGE,
        "upsample 2",
    ),
    "upsampled along a line": (
        [n("Resize", "x - s", "y", mode="linear")],
        {"s": np.array([1, 1, 2], "f4")},
        (6, 8),
        "upsample 2 bilinear",
    ),
    "scaled, to a whole size in float32": (
        [n("Resize", "x - s", "y", mode="linear")],
        {"s": np.array([1, 1, 0.5, 0.7], "f4")},
        IMAGE,
        "resize 4x7 mode bilinear",
    ),
    "scaled, but to the same neighbors": (
        [n("Resize", "x - s", "y", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
        {"s": np.array([1, 1, 0.5, 0.5], "f4")},
        (6, 7, 10),
        "resize 3x5",
    ),
    "resized": (
        [n("Resize", "x - - s", "y", mode="linear", coordinate_transformation_mode="align_corners")],
        {"s": ints(1, 6, 5, 13)},
        IMAGE,
        "resize 5x13 mode bilinear align_corners on",
    ),
    "resized by a whole factor": (
        [n("Resize", "x - - s", "y", mode="linear")],
        {"s": ints(1, 6, 16, 20)},
        IMAGE,
        "resize 16x20 mode bilinear",
    ),
    "group norm": (
        [
            n("Reshape", "x groups", "a"),
            n("CastLike", "/zero a", "/z"),
            n("InstanceNormalization", "a /one /z", "b"),
            n("Shape", "x", "sizes"),
            n("Reshape", "b sizes", "c"),
            n("Mul", "c s", "d"),
            n("Add", "d t", "y"),
        ],
        {"groups": ints(0, 3, -1), "/one": np.ones(3, "f4"), "/zero": np.zeros(3), "s": w(6, 1, 1), "t": w(6, 1, 1)},
        IMAGE,
        "groupnorm 3\n",
    ),
    "a constant of another type": (
        [n("CastLike", "c x", "d"), n("InstanceNormalization", "x s d", "y")],
        {"c": np.zeros(6), "s": w(6)},
        IMAGE,
        "instancenorm\n",
    ),
    "norms without a scale": (
        [
            n("InstanceNormalization", "x /one /zero", "a"),
            n("BatchNormalization", "a /one /zero m v", "b"),
            n("InstanceNormalization", "b /one zero", "c"),
            n("Transpose", "c", "d", perm=[0, 2, 3, 1]),
            n("LayerNormalization", "d /one", "e"),
            n("Transpose", "e", "y", perm=[0, 3, 1, 2]),
        ],
        {"/one": np.ones(6, "f4"), "/zero": np.zeros(6, "f4"), "zero": np.zeros(6, "f4"), "m": w(6), "v": w(6) ** 2},
        IMAGE,
        "instancenorm affine off; bn affine off; instancenorm; layernorm affine off\n",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_windows_and_norms_are_recognized(case: str, tmp_path: Path) -> None:
    nodes, arrays, shape, text = CASES[case]
    path = model(tmp_path / "m.onnx", nodes, arrays, *shape)
    batch = 1 if case.startswith("resized") else 3  # the sizes of the results have that of the batch
    found = check(path, {"x": RANDOM.normal(0, 1, (batch, *shape)).astype("f4")})
    lines = "\n".join(line.strip() for line in found.text.splitlines())
    assert text in lines, lines
