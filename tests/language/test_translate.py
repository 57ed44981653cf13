"""Calls of PyTorch and Keras, translated: the suggested line computes what the call does."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import onnxruntime
import pytest

from netdsl.app.analyse import check_file
from netdsl.backend.compile import compile_to_bytes
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.report import Report
from tests.support.paths import TESTS
from tests.support.programs import net_of

CALLS = json.loads((TESTS / "data/framework_calls.json").read_text("utf-8"))
X = ((np.arange(4 * 7 * 9) * 37 % 101) / 50 - 1).astype("f4").reshape(1, 4, 7, 9)


def suggested(call: str, shape: str = "4x7x9") -> str:
    """Return the program with the first suggested edit for a call."""
    text = f"net a {{\n  input x {shape}\n  {call}\n}}\n"
    report = Report()
    check_file("main.net", report, texts={"main.net": text})
    (problem,) = report
    return apply(text, next(help.edits for help in problem.all_suggestions() if help.edits))


@pytest.mark.parametrize("row", CALLS, ids=[row["call"] for row in CALLS])
def test_the_translation_computes_what_the_call_does(row: dict[str, Any]) -> None:
    net = net_of(suggested(row["call"]))
    learned = [each for each in net.parameters.values() if each.trainable]
    assert sum(math.prod(each.shape) for each in learned) == row["params"]
    session = onnxruntime.InferenceSession(compile_to_bytes(net), providers=["CPUExecutionProvider"])
    y = session.run(None, {"x": X})[0][0]
    if "GlobalAveragePooling" in row["call"]:
        y = y.reshape(-1)  # Keras drops the axes of size 1
    assert list(y.shape) == row["shape"]
    if row["values"] is not None:
        np.testing.assert_allclose(y.reshape(-1)[::3], row["values"], atol=2e-5)


def test_keras_defaults_of_batch_normalization() -> None:
    """Source: keras.layers.BatchNormalization of Keras 3, epsilon 0.001 and momentum 0.99."""
    assert "bn eps 1e-3 momentum 0.01\n" in suggested("BatchNormalization()")
    assert "bn momentum (1 - 0.9) eps 1e-3\n" in suggested("BatchNormalization(momentum=0.9)")


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("conv2d(32, 3, activation=relu)", "conv 3 32 pad 0; relu"),
        ('conv2d(32, 3, activation="relu")', "conv 3 32 pad 0; relu"),
        ("conv2d(32, 3, ReLU)", "conv 3 32 pad 0; relu"),
        ("conv2d(32, 3)", "conv 3 32 pad 0"),
        ("conv2d(4, 32, 3)", "conv 3 32 pad 0"),
        ("conv(3x3, 32, relu)", "conv 3x3 32; relu"),
        ("dense(10, softmax)", "dense 10; softmax"),
        ("nn.Conv2d(4, 6, 3, padding=1, padding_mode='replicate')", "conv 3 6 pad 1 pad_mode edge"),
        ("ZeroPadding2D(2)", "pad 2"),
        ("ZeroPadding2D((1, 2))", "pad [1, 2, 1, 2]"),
        ("ZeroPadding2D(((1, 0), (2, 3)))", "pad [1, 2, 0, 3]"),
        ("layers.ZeroPadding1D((1, 2))", "pad [1, 2]"),
        ("nn.ConstantPad3d((1, 2, 3, 4, 5, 6), value=-1)", "pad [5, 3, 1, 6, 4, 2] value (-1)"),
    ],
)
def test_calls_between_the_notations(call: str, line: str) -> None:
    assert suggested(call).splitlines()[2].strip() == line


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("nn.LSTM(input_size=8, hidden_size=64, num_layers=2, batch_first=True)", "lstm 64 layers 2"),
        (
            "nn.LSTM(8, 64, 2, True, True, 0.2, bidirectional=True)",
            "lstm 64 layers 2 bias on dropout 0.2 bidirectional on",
        ),
        ("nn.RNN(8, 64, nonlinearity='relu')", "rnn 64 act relu"),
        ("nn.RNN(8, 64, 3, 'tanh', False)", "rnn 64 layers 3 act tanh bias off"),
        ("nn.GRU(8, 64)", "gru 64"),
        ("LSTM(128, return_sequences=True)", "lstm 128"),
        ("nn.MultiheadAttention(512, 8)", "linear 3 * 512; attention 8; linear 512"),
        (
            "nn.MultiheadAttention(embed_dim=d, num_heads=4, dropout=0.1, batch_first=True)",
            "linear 3 * d; attention 4 dropout 0.1; linear d",
        ),
        ("LSTM(128, return_sequences=False)", "lstm 128 last on"),
        ("layers.LSTM(128)", "lstm 128 last on"),
        ("GRU(units=128, activation='tanh')", "gru 128 last on"),
        ("SimpleRNN(32)", "rnn 32 last on"),
        ("LSTM(128, dropout=0.2)", "dropout 0.2 spatial on; lstm 128 last on"),
        ("keras.layers.GRU(32, return_sequences=True, dropout=0.1)", "dropout 0.1 spatial on; gru 32"),
        ("lstm(64)", "lstm 64"),
    ],
)
def test_recurrent_layers(call: str, line: str) -> None:
    """Keras returns the last place by default, PyTorch all. Keras' dropout is of the inputs, with one mask for all
    places."""
    assert suggested(call, "8x20").splitlines()[2].strip() == line


@pytest.mark.parametrize(
    "call", ["LSTM(128, activation='relu')", "GRU(32, recurrent_dropout=0.1)", "GRU(32, 'relu', dropout=0.1)"]
)
def test_what_keras_means_otherwise_is_not_translated(call: str) -> None:
    report = Report()
    check_file("main.net", report, texts={"main.net": f"net a {{ input x 8x20; {call} }}"})
    (problem,) = report
    assert not any("write `" in help.text for help in problem.all_suggestions())
