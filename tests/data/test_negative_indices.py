"""Negative indices of embeddings, which ONNX counts from the end: netdsl refuses them wherever it feeds a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import netdsl as api
from netdsl.data.indices import index_inputs
from tests.support.cli_tools import Commands, netdsl
from tests.support.programs import net_of

__all__ = ["netdsl"]

BODIES = {
    "directly": "embedding 10 4; flatten; dense 2",
    "in another order": "reshape [3, 1]; permute [1, 0]; flatten; embedding 10 4; flatten; dense 2",
    "in part": "slice 0 1 3; embedding 10 4; flatten; dense 2",
}
X = np.arange(240).reshape(80, 3) % 10
X[50, 1] = -1
Y = np.arange(80) % 2
PLAIN: dict[str, Any] = {"threads": 1, "step_backend": "plain"}
TRAIN = 'train n { data npz "w.npz"; loss cross_entropy; batch 8; epochs 1 }'


def net(body: str) -> str:
    return f"net n {{ input words 3 dtype i64; {BODIES[body]} }}\n"


@pytest.mark.parametrize("body", BODIES)
def test_commands_refuse_a_negative_index(netdsl: Commands, body: str) -> None:
    netdsl.write(n=net(body), t=net(body) + TRAIN)
    np.save("x.npy", X)
    np.savez("w.npz", words=X, target=Y)
    assert netdsl("compile", "n.net").code == 0
    said = {
        ("run", "n.net", "x.npy"): "input `words` of n.net contains -1 at [50, 1]",
        ("run", "n.onnx", "x.npy", "--batch", 7): "input `words` of n.onnx contains -1 at [50, 1]",
        ("eval", "n.onnx", "--data", "w.npz"): "input `words` of n.onnx contains -1 at [50, 1]",
        ("eval", "t.net", "--data", "w.npz"): "w.npz: words[50] contains -1 at [1]",
        ("train", "t.net"): "w.npz: words[50] contains -1 at [1]",
    }
    for command, message in said.items():
        ran = netdsl(*command)
        assert (ran.code, f"error[E0883]: {message}, but " in ran.err) == (1, True), ran


@pytest.mark.parametrize("body", BODIES)
def test_python_refuses_a_negative_index(tmp_path: Path, body: str) -> None:
    (tmp_path / "t.net").write_text(net(body) + TRAIN)
    session = api.parse(net(body)).session()
    good = [(X[:16], Y[:16])]

    def fit(**data: Any) -> object:
        return api.fit(tmp_path / "t.net", **data, **PLAIN)

    calls: dict[str, Callable[[], object]] = {
        "input `words` of n contains -1 at [50, 1]": lambda: session(X),
        "input `words` of n contains -1 at [50, 1], ": lambda: session.predict(X, batch=7),
        "epoch 0, item 1: words contains -1 at [34, 1]": lambda: fit(data=[*good, (X[16:], Y[16:])]),
        "epoch 0, item 0: words contains -1 at [50, 1]": lambda: fit(data=good, validate=[(X, Y)]),
        "words[50] contains -1 at [1]": lambda: fit(data=(X, Y)),
    }
    for message, call in calls.items():
        with pytest.raises(api.UserError) as caught:
            call()
        assert (caught.value.code, message in caught.value.message) == ("E0883", True), caught.value


def test_an_exported_model_counts_them_from_the_end_elsewhere(netdsl: Commands) -> None:
    netdsl.write(n=net("directly"))
    assert netdsl("compile", "n.net").code == 0
    elsewhere = onnxruntime.InferenceSession("n.onnx")
    (negative,), (last,) = (elsewhere.run(None, {"words": np.where(X < 0, at, X)}) for at in (-1, 9))
    np.testing.assert_array_equal(negative, last)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("input a 3 dtype i64; input b 3 dtype i64; concat { from a } { from b }; embedding 9 4", ["a", "b"]),
        ("input scores 9; input at 3 dtype i64; from scores; gather at", []),
        ("input at 3 dtype i64; input x 8x3; rope 2 at at", []),
        ("input x 9; top_k_indices 3; embedding 9 4", []),
    ],
)
def test_only_what_reaches_an_embedding_is_an_index(body: str, names: list[str]) -> None:
    assert index_inputs(net_of(f"net n {{ {body} }}")) == names
