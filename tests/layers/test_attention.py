"""Attention: numbers of a formula and of PyTorch, at opsets with and without ONNX's operator."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

import netdsl
from netdsl.backend.compile import CompileOptions, compile_to_bytes
from netdsl.backend.quantize import quantize
from netdsl.base.paths import data
from netdsl.lower import lower, macs
from netdsl.passes.rewrite import expand_macros
from netdsl.report.figures import Figures
from netdsl.train.step_backend import run_graph
from tests.support.programs import net_of

OPSETS = (17, 21, 23, 24, 26)


def expected(
    q: Any,
    k: Any,
    v: Any,
    heads: int,
    *,
    causal: bool = False,
    mask: Any = None,
    segments: Any = None,
    bias: Any = None,
) -> Any:
    """Attention of [N, heads*d, *S, I] and so on, one query after another."""
    d = q.shape[1] // heads
    kv = k.shape[1] // d
    e = v.shape[1] // kv
    y = np.zeros((len(q), heads * e, *q.shape[2:]))
    for n, h, *s, i in np.ndindex(len(q), heads, *q.shape[2:]):
        g, at = h // (heads // kv), tuple(s)
        query = q[(n, slice(h * d, h * d + d), *at, i)]
        keys, values = k[(n, slice(g * d, g * d + d), *at)], v[(n, slice(g * e, g * e + e), *at)]
        scores = np.exp(query @ keys / d**0.5 + (0 if bias is None else bias[(n, h)][(*at, i) if bias.ndim > 4 else i]))
        if causal:
            scores[i + 1 :] = 0
        if mask is not None:
            scores *= mask[n][at if mask.ndim > 2 else ...] != 0
        if segments is not None:
            own = segments[n][at if segments.ndim > 2 else ...]
            scores *= own == own[i]
        y[(n, slice(h * e, h * e + e), *at, i)] = values @ scores / (scores.sum() or 1)
    return y


@cache
def array(*shape: int) -> Any:
    return np.random.default_rng(shape).standard_normal(shape).astype("f4")


X, Z = array(2, 24, 5), array(2, 24, 3, 5)
M = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0]])
G = np.array([[0, 0, 1, 1, 2], [3, 3, 3, 1, 1]])
MS = np.array([[[1, 0, 0, 1, 1]] * 2 + [[0] * 5], [[0, 0, 1, 1, 1]] * 3])
B, BS = array(2, 4, 5, 5), array(2, 4, 3, 5, 5)
QKV = X[:, :8], X[:, 8:16], X[:, 16:]
GROUPED = X[:, :12], X[:, 12:18], X[:, 18:]
ZS = Z[:, :8], Z[:, 8:16], Z[:, 16:]

CASES: list[tuple[str, dict[str, Any], tuple[Any, Any, Any], dict[str, Any], bool]] = [
    ("input x 24x5; attention 4", {"x": X}, QKV, {}, True),
    ("input x [24, ?L]; attention 4 kv 2 causal on", {"x": X}, GROUPED, {"causal": True}, True),
    ("input m 5 dtype i64; input x 24x5; attention 4 mask m", {"x": X, "m": M}, QKV, {"mask": M}, False),
    (
        "input m [?L] dtype i64; input x [24, ?L]; attention 4 mask m causal on",
        {"x": X, "m": M},
        QKV,
        {"mask": M, "causal": True},
        False,
    ),
    ("input m 5 dtype i64; input x 24x5; attention 4 segments m", {"x": X, "m": G}, QKV, {"segments": G}, True),
    (
        "input m [?L] dtype i64; input x [24, ?L]; attention 4 kv 2 segments m mask m",
        {"x": X, "m": G},
        GROUPED,
        {"segments": G, "mask": G},
        False,
    ),
    ("input b 4x5x5; input x 24x5; attention 4 bias b", {"x": X, "b": B}, QKV, {"bias": B}, False),
    (
        "input b [4, ?L, ?L]; input m [?L] dtype i64; input x [24, ?L]; attention 4 kv 2 bias b segments m",
        {"x": X, "b": B, "m": G},
        GROUPED,
        {"bias": B, "segments": G},
        False,
    ),
    (
        "input m 3x5 dtype i64; input b [4, 3, 5, 5]; input x 24x3x5; attention 4 bias b mask m causal on",
        {"x": Z, "b": BS, "m": MS},
        ZS,
        {"bias": BS, "mask": MS, "causal": True},
        False,
    ),
    (
        "input m 5 dtype i64; input b 4x5x5; input x 24x3x5; attention 4 bias b segments m",
        {"x": Z, "b": B, "m": G},
        ZS,
        {"bias": B, "segments": G},
        False,
    ),
    (
        "input k [4, ?J]; input v [6, ?J]; input q [8, ?L]; attention 4 q { from k } v",
        {"q": array(2, 8, 3), "k": array(2, 4, 7), "v": array(2, 6, 7)},
        (array(2, 8, 3), array(2, 4, 7), array(2, 6, 7)),
        {},
        True,
    ),
    (
        "input b [4, ?I, ?J]; input k [4, ?J]; input v [6, ?J]; input q [8, ?I]; attention 4 bias b q k v",
        {"q": array(2, 8, 3), "k": array(2, 4, 7), "v": array(2, 6, 7), "b": array(2, 4, 3, 7)},
        (array(2, 8, 3), array(2, 4, 7), array(2, 6, 7)),
        {"bias": array(2, 4, 3, 7)},
        False,
    ),
    (
        "input b [4, ?I, ?J]; input k [8, 3, ?J]; input q [8, 3, ?I]; attention 4 bias b q k k",
        {"q": array(2, 8, 3, 2), "k": array(2, 8, 3, 7), "b": array(2, 4, 2, 7)},
        (array(2, 8, 3, 2), array(2, 8, 3, 7), array(2, 8, 3, 7)),
        {"bias": array(2, 4, 2, 7)},
        False,
    ),
    (
        "input k 8x7; attention 4 { param [8, 3] init ones } k k",
        {"k": array(2, 8, 7)},
        (np.ones((2, 8, 3)), array(2, 8, 7), array(2, 8, 7)),
        {},
        True,
    ),
    (
        "input x 24x5; s: values [0, 0, 1, 1, 1] dtype i64; from x; attention 4 segments s",
        {"x": X},
        QKV,
        {"segments": np.array([[0, 0, 1, 1, 1]] * 2)},
        True,
    ),
    ("input x 24x3x5; attention 4 causal on", {"x": Z}, ZS, {"causal": True}, True),
    ("input x [24, ?S, 5]; attention 4 causal on", {"x": Z}, ZS, {"causal": True}, False),
    ("input b [4, 3, 5, 5]; input x 24x3x5; attention 4 bias b", {"x": Z, "b": BS}, ZS, {"bias": BS}, False),
    ("input b 4x5x5; input x 24x3x5; attention 4 bias b", {"x": Z, "b": B}, ZS, {"bias": B}, False),
    ("input m 3x5 dtype i64; input x 24x3x5; attention 4 mask m", {"x": Z, "m": MS}, ZS, {"mask": MS}, False),
    (
        "input x 24x3x5; s: values [0, 0, 1, 1, 1] * 3 [3, 5] dtype i64; from x; attention 4 segments s mask s",
        {"x": Z},
        ZS,
        {"segments": np.tile([0, 0, 1, 1, 1], (2, 3, 1)), "mask": np.tile([0, 0, 1, 1, 1], (2, 3, 1))},
        False,
    ),
    (
        "input b 4x5x5; input x 24x3x5; s: values [0, 0, 1, 1, 1] dtype i64; from x; attention 4 bias b segments s",
        {"x": Z, "b": B},
        ZS,
        {"bias": B, "segments": np.tile([0, 0, 1, 1, 1], (2, 1))},
        False,
    ),
]


@pytest.mark.parametrize(("text", "feeds", "qkv", "options", "operator"), CASES, ids=[case[0] for case in CASES])
def test_the_formula(text: str, feeds: Any, qkv: Any, options: Any, operator: bool) -> None:
    net = netdsl.parse(f"net n {{ {text} }}")
    wanted = expected(*(x.astype("f8") for x in qkv), 4, **options)
    for opset in OPSETS:
        (y,) = net.session(opset=opset)(**feeds).values()
        assert np.abs(y - wanted).max() < 2e-6, opset
    for opset in (21, 23):
        model = net.to_onnx(opset=opset)
        assert ("Attention" in [node.op_type for node in model.graph.node]) == (operator and opset == 23)
        (y,) = ReferenceEvaluator(model).run(None, feeds)
        assert np.abs(y - wanted).max() < 2e-6, opset
        (y,) = net.session(opset=opset, dtype="f16")(**feeds).values()
        assert np.abs(y - wanted).max() < 5e-3, opset


CAUSAL = [-0.0057503, 0.3980140, -0.6466669, 0.3733018, 0.2997856, -0.5755976, 0.6021307, -0.2907978]
SHARED = [
    -0.6475875,
    0.2090744,
    -0.0836498,
    -0.3290389,
    0.5175893,
    -0.7022033,
    -0.2961558,
    -0.0957103,
    0.3110759,
    -0.2099045,
    0.5633790,
    -0.4877359,
    0.6121631,
    -0.3891330,
    0.3386168,
    -0.0934011,
]


def test_the_numbers_of_pytorch() -> None:
    """PyTorch 2: torch.nn.functional.scaled_dot_product_attention, with is_causal and with enable_gqa."""
    x = np.sin(np.arange(96.0)).reshape(1, 24, 4).astype("f4")
    (y,) = netdsl.parse("net n { input x 24x4; attention 4 causal on }").session()(x=x).values()
    assert np.allclose(y[0, :, 3], CAUSAL, atol=1e-6)
    (y,) = netdsl.parse("net n { input x 24x4; attention 8 kv 2 }").session()(x=x).values()
    assert np.allclose(y[0, :, 1], SHARED, atol=1e-6)


def test_each_position_reads_the_whole_axis() -> None:
    rows = Figures(net_of("net n { input x 6x5; linear 24; attention 4; linear 2 }")).rows
    assert [row.field for row in rows] == [1, 1, "all", "all"]


def test_the_cost() -> None:
    """Two products for each head: of queries and keys, and of probabilities and values."""
    assert macs(net_of("net n { input x 24x5; attention 4 }")) == 4 * 5 * 5 * (2 + 2)
    text = "net n { input k 4x7; input v 6x7; input q 8x3; attention 4 q k v }"
    assert macs(net_of(text)) == 4 * 3 * 7 * (2 + 3)
    assert macs(net_of("net n { input x 24x6x5; attention 4 kv 2 }")) == 6 * 4 * 5 * 5 * (3 + 3)


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("bert", {"width": 64}),
        ("gpt2", {"width": 64, "context": 128}),
        ("llama", {"width": 32, "heads": 4, "kv": 2, "hidden": 48}),
        ("t5_encoder", {"width": 32, "heads": 4, "hidden": 48}),
        ("transformer", {"width": 32, "heads": 2, "hidden": 48}),
    ],
)
def test_nets_of_text_take_any_length(tmp_path: Path, name: str, sizes: dict[str, int]) -> None:
    """A net of the zoo whose lengths are known only at run time has the numbers of that with fixed ones."""
    text = (Path(data("specs")) / f"{name}.net").read_text()
    text = re.sub(r"(?<=[\[ ])(length|source|target)(?=[\],])", r"?\1", text)
    (tmp_path / "any.net").write_text(text)
    sizes = sizes | {"layers": 1, "words": 50}
    session = netdsl.load(f"{tmp_path / 'any.net'}:{name}", **sizes).session(opset=23)
    rng = np.random.default_rng(0)
    for length in (1, 5, 128):
        lengths = {"source": length, "target": length + 1} if name == "transformer" else {"length": length}
        fixed = netdsl.load(name, **sizes, **lengths).session()
        feeds = {x: rng.integers(0, 2, (2, *tensor.shape)) for x, tensor in fixed.inputs.items()}
        wanted = fixed(**feeds)
        for output, y in session(**feeds).items():
            np.testing.assert_allclose(y, wanted[output], atol=3e-6)


@pytest.mark.parametrize("scale", [-0.5, 0])
@pytest.mark.parametrize("opset", OPSETS)
def test_a_scale_need_not_be_positive(scale: float, opset: int) -> None:
    net = net_of(f"net n {{ input x 24x5; attention 4 scale ({scale}) }}")
    made = compile_to_bytes(net, CompileOptions(opset=opset))
    (found,) = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"]).run(None, {"x": X})
    q, k, v = QKV
    np.testing.assert_allclose(found, expected(q * scale * 2**0.5, k, v, 4), atol=1e-5)


@pytest.mark.parametrize("options", ["causal on", "mask m", "causal on mask m", "segments m", "mask m bias b"])
@pytest.mark.parametrize("opset", [21, 26])
def test_hidden_scores_do_not_widen_the_range_of_int8(options: str, opset: int) -> None:
    net = net_of(f"net n {{ input b 2x5x5; input m 5 dtype i64; input x 12x5; attention 2 {options} }}")
    rng = np.random.default_rng(0)
    feeds = {
        "b": rng.standard_normal((16, 2, 5, 5)).astype("f4"),
        "m": rng.integers(0, 2, (16, 5)),
        "x": rng.standard_normal((16, 12, 5)).astype("f4"),
    }
    exact = compile_to_bytes(net, CompileOptions(opset=opset))
    session = onnxruntime.InferenceSession(exact, providers=["CPUExecutionProvider"])
    feeds = {x.name: feeds[x.name] for x in session.get_inputs()}
    (wanted,) = session.run(None, feeds)
    made = quantize(exact, [feeds]).SerializeToString()
    (found,) = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"]).run(None, feeds)
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


HIDDEN = {
    "": [[1, 1, 1, 1]] * 4,
    "causal on": [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]],
    "segments g": [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]],
    "mask g": [[0, 0, 1, 1]] * 4,
}
"""Options, and the keys that they leave to each query."""


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("opset", [17, 21, 23, 26])
@pytest.mark.parametrize("options", HIDDEN)
def test_a_bias_of_minus_infinity_hides_keys(options: str, opset: int, dtype: str) -> None:
    """From all queries, the first two, and from the last query, all."""
    bias = np.zeros((4, 4), np.float32)
    bias[:, :2] = bias[3] = -np.inf
    visible = np.array(HIDDEN[options], bool) & (bias == 0)
    values = np.array([1, 2, 3, 4], np.float32)
    expected = (visible * values).sum(1) / np.maximum(visible.sum(1), 1)
    net = net_of(f"net n {{ input b 1x4x4; input g 4 dtype i64; input x 3x4; attention 1 bias b {options} }}")
    session = onnxruntime.InferenceSession(compile_to_bytes(net, CompileOptions(opset=opset, dtype=dtype)))
    feeds = {
        "b": bias[None, None],
        "g": np.array([[0, 0, 1, 1]]),
        "x": np.stack([np.zeros(4), np.zeros(4), values])[None].astype(np.float32),
    }
    (found,) = session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-3)
    graph = lower(net, batch=1)
    (found,) = run_graph(expand_macros(graph), {name: feeds[name] for name in graph.inputs})
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-3)
