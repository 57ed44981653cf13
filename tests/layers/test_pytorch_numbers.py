"""Layers without weights, by the numbers of PyTorch 2.13: torch.nn.functional's function of each name."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from netdsl.backend.compile import CompileOptions, compile_to_bytes
from tests.support.programs import flow

X = [-3.0, -1.5, -0.5, -0.2, 0.2, 0.4, 1.0, 2.0]

NUMBERS = {
    "gelu tanh on": [-0.00363743, -0.100428, -0.154286, -0.0841486, 0.115851, 0.262161, 0.841192, 1.9546],
    "gelu": [-0.00404987, -0.100211, -0.154269, -0.084148, 0.115852, 0.262169, 0.841345, 1.9545],
    "mish": [-0.145647, -0.2981, -0.220744, -0.107145, 0.132599, 0.289031, 0.865098, 1.94396],
    "celu": [-0.950213, -0.77687, -0.393469, -0.181269, 0.2, 0.4, 1, 2],
    "scale 50; celu 2e-38": [0, 0, 0, 0, 10, 20, 50, 100],
    "celu 0.5": [-0.498761, -0.475106, -0.31606, -0.16484, 0.2, 0.4, 1, 2],
    "hard_tanh": [-1, -1, -0.5, -0.2, 0.2, 0.4, 1, 1],
    "softsign": [-0.75, -0.6, -0.333333, -0.166667, 0.166667, 0.285714, 0.5, 0.666667],
    "log_sigmoid": [-3.04859, -1.70141, -0.974077, -0.798139, -0.598139, -0.513015, -0.313262, -0.126928],
    "hard_shrink": [-3, -1.5, 0, 0, 0, 0, 1, 2],
    "soft_shrink 0.3": [-2.7, -1.2, -0.2, -0, 0, 0.1, 0.7, 1.7],
    "tanh_shrink": [-2.00495, -0.594852, -0.0378828, -0.00262468, 0.00262468, 0.020051, 0.238406, 1.03597],
    "threshold 0.2 value 20": [20, 20, 20, 20, 20, 0.4, 1, 2],
    "glu": [-1.6495, -0.898031, -0.365529, -0.176159],
    "rmsnorm": [-2.0739, -1.03695, -0.34565, -0.13826, 0.13826, 0.27652, 0.691301, 1.3826],
    "l2norm": [-0.733236, -0.366618, -0.122206, -0.0488824, 0.0488824, 0.0977647, 0.244412, 0.488824],
    "reshape 2x4; softmax axis 1": [0.0293179, 0.131394, 0.357165, 0.482123, 0.095269, 0.116362, 0.212025, 0.576344],
    "reshape 2x4; log_softmax axis (-1)": [
        -3.52956,
        -2.02956,
        -1.02956,
        -0.729556,
        -2.35105,
        -2.15105,
        -1.55105,
        -0.551051,
    ],
    "reshape 2x4; l2norm": [-0.997785, -0.966235, -0.447214, -0.0995037, 0.066519, 0.257663, 0.894427, 0.995037],
    "reshape 2x4; rmsnorm eps 1e-5": [-1.41108, -1.36646, -0.63245, -0.140719, 0.094072, 0.364389, 1.2649, 1.40719],
    "reshape 4x2; glu": [-1.6495, -0.898031, -0.365529, -0.176159],
}
"""Results for X, row by row; `rmsnorm` is rms_norm and `l2norm` normalize, along the channels."""


@pytest.mark.parametrize("opset", [17, 21, 26])
@pytest.mark.parametrize("call", NUMBERS)
def test_the_numbers_of_pytorch(call: str, opset: int) -> None:
    model = compile_to_bytes(flow(f"input x 8; {call}"), CompileOptions(opset=opset))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.array([X], np.float32)})
    np.testing.assert_allclose(y.reshape(-1), NUMBERS[call], rtol=1e-5, atol=1e-6)
