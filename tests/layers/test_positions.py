"""Positions, rotary embeddings and tied weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdsl
from netdsl.report.figures import Figures
from tests.support.programs import net_of

OPSETS = (17, 21, 23, 26)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 24, 7)).astype("f4")
Z = RNG.standard_normal((2, 24, 3, 7)).astype("f4")
AT = RNG.integers(0, 9, (2, 7))
AT_EACH = RNG.integers(0, 9, (2, 3, 7))


def rotated(
    x: Any, heads: int, *, base: float = 1e4, part: float = 1, interleaved: bool = False, at: Any = None
) -> Any:
    """Pairs of channels as complex numbers, multiplied by e^(i angle)."""
    n, channels, *between, length = x.shape
    r = int(channels // heads * part)
    z = np.moveaxis(x.astype("f8").reshape(n, heads, -1, *between, length), 2, -1)
    at = np.arange(length)[None] if at is None else at
    places = at.reshape(len(at), *(1,) * (x.ndim - at.ndim - 1), *at.shape[1:])
    angle = places[:, None, ..., None] * base ** (-2 * np.arange(r // 2) / r)
    first, second = (slice(0, r, 2), slice(1, r, 2)) if interleaved else (slice(0, r // 2), slice(r // 2, r))
    turned = (z[..., first] + 1j * z[..., second]) * np.exp(1j * angle)
    y = z.copy()
    y[..., first], y[..., second] = turned.real, turned.imag
    return np.moveaxis(y, -1, 2).reshape(x.shape)


CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("input x 24x7; rope 3", {"x": X}, rotated(X, 3)),
    ("input x [24, ?L]; rope 3 base 500 part 0.5", {"x": X}, rotated(X, 3, base=500, part=0.5)),
    ("input x [24, ?L]; rope 2 interleaved on part 0.5", {"x": X}, rotated(X, 2, part=0.5, interleaved=True)),
    ("input x 24x3x7; rope 3 interleaved on", {"x": Z}, rotated(Z, 3, interleaved=True)),
    ("input x [24, ?S, ?L]; rope 3", {"x": Z}, rotated(Z, 3)),
    ("input x [24, 3, ?L]; rope 3", {"x": Z}, rotated(Z, 3)),
    ("input p 7 dtype i64; input x 24x7; rope 3 at p", {"x": X, "p": AT}, rotated(X, 3, at=AT)),
    ("input p [?L] dtype i64; input x [24, 3, ?L]; rope 3 at p", {"x": Z, "p": AT}, rotated(Z, 3, at=AT)),
    ("input p 3x7 dtype i64; input x 24x3x7; rope 3 at p", {"x": Z, "p": AT_EACH}, rotated(Z, 3, at=AT_EACH)),
    ("input x 24x7; rope 3 base [1, 0.5, 0.25, 0.125]", {"x": X}, rotated(X, 3, base=16)),
    ("input x 24x7; positions", {"x": X}, np.tile(np.arange(7), (2, 1))),
    ("input x [24, ?L]; positions", {"x": X}, np.tile(np.arange(7), (2, 1))),
]


@pytest.mark.parametrize(("text", "feeds", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_the_formula(text: str, feeds: Any, wanted: Any) -> None:
    net = netdsl.parse(f"net n {{ {text} }}")
    for opset in OPSETS:
        (y,) = net.session(opset=opset)(**feeds).values()
        assert y.shape == wanted.shape
        assert np.abs(y - wanted).max() < 2e-6, opset
    for opset in (21, 23):
        (y,) = net.session(dtype="f16", opset=opset)(**feeds).values()
        assert np.abs(y - wanted).max() < 3e-3


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("input x [24, ?L]; rope 3", [(2, 24, 7), (7, 4), (7, 4), (2, 7)]),
        ("input x 24x3x7; rope 3 part 0.5", [(6, 24, 7), (7, 2), (7, 2), (6, 7)]),
        ("input p 7 dtype i64; input x 24x7; rope 3 at p", [(2, 24, 7), (2, 7, 4), (2, 7, 4)]),
        ("input p 7 dtype i64; input x 24x3x7; rope 3 at p", []),
        ("input x [24, 3, ?L]; rope 3", []),
    ],
)
def test_the_operator_of_onnx(text: str, shapes: list[tuple[int, ...]]) -> None:
    """onnxruntime does not repeat cosines of one example for the others: the same for all is a table with positions."""
    graph = netdsl.parse(f"net n {{ {text} }}").to_onnx(opset=23).graph
    found = [node for node in graph.node if node.op_type == "RotaryEmbedding"]
    assert [len(node.input) for node in found] == [len(shapes)] * bool(shapes)


def test_distant_positions_differ_in_half_precision() -> None:
    """f16 has no integers between 4096 and 4100: angles are computed in f32."""
    net = netdsl.parse("net n { input p 2 dtype i64; input x 8x2; rope 1 at p }")
    x, at = np.ones((1, 8, 2), "f4"), np.array([[4097, 60001]])
    (y,) = net.session(dtype="f16")(x=x, p=at).values()
    assert np.abs(y - rotated(x, 1, at=at)).max() < 3e-3


def test_a_tied_weight_counts_once_and_has_the_name_of_its_owner() -> None:
    net = net_of("net n { input w 3 dtype i64; e: embedding 5 4; h: linear 5 tied e; linear 4; k: dense 5 bias off }")
    assert list(net.parameters) == ["e.weight", "h.bias", "linear1.weight", "linear1.bias", "k.weight"]
    assert Figures(net).params == 20 + 5 + 24 + 60


def test_the_gradient_of_a_tied_weight_is_the_sum(tmp_path: Path) -> None:
    text = "net n { input w 3 dtype i64; e: embedding 5 4; linear 5 bias off tied e }\n"
    text += 'train n { data npz "x.npz"; loss mse; optimizer sgd lr 1; batch 2; steps 1 }\n'
    (tmp_path / "n.net").write_text(text)
    rng = np.random.default_rng(1)
    words, target, weight = rng.integers(0, 5, (2, 3)), rng.standard_normal((2, 5, 3)), rng.standard_normal((5, 4))

    def loss(w: Any) -> Any:
        return np.mean((np.einsum("vd,nld->nvl", w, w[words]) - target) ** 2)

    gradient = np.zeros_like(weight)
    for at in np.ndindex(*weight.shape):
        step = np.zeros_like(weight)
        step[at] = 1e-5
        gradient[at] = (loss(weight + step) - loss(weight - step)) / 2e-5
    found = netdsl.fit(
        str(tmp_path / "n.net"),
        data=(words, target.astype("f4")),
        weights={"e.weight": weight.astype("f4")},
        threads=1,
        step_backend="plain",
    )
    assert np.abs(weight - found.weights["e.weight"] - gradient).max() < 1e-5
