"""Nets, data and models for runs in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from netdsl.weights.safetensors import write_tensors
from tests.support.cli_tools import Commands

RNG = np.random.default_rng(5)
X = RNG.normal(0, 1, (23, 4, 6)).astype(np.float32)
CTC = 'net n { input frames 1 dtype i64; input x 4x6; linear 4 }\ntrain n { data npz "x.npz"; loss ctc lengths frames }'
NETS = {
    "classes": "net n { input x 4x6; flatten; dense 50; relu; dense 7; softmax }",
    "a number": "net n { input x 4x6; flatten; dense 1 }",
    "a size of the data": "net n { input x 4x?; conv 3 5 pad 1; relu }",
    "several": "net n { input x 4x6; output a { conv 3 8; relu; flatten; dense 3 }; output b { linear 9 } }",
    "recurrent": "net n { input x 4x6; gru 11; linear 5; flatten; dense 3 }",
    "sequences": CTC,
}
WITH_TABLE = ("classes", "a number", "sequences")


def prepared(netdsl: Commands, case: str) -> list[str]:
    """Write the net and its data, and return the arguments of `run`."""
    netdsl.write(n=NETS[case])
    np.savez("x.npz", x=X, frames=np.random.default_rng(6).integers(0, 7, 23))
    if case != "sequences":
        return ["n.net", "x.npz", "--seed", "1"]
    with open("w.safetensors", "wb") as file:
        arrays = {"linear1.weight": np.eye(4, dtype=np.float32), "linear1.bias": np.zeros(4, np.float32)}
        write_tensors(
            file, arrays, {"netdsl.loss.output": "ctc", "netdsl.blank.output": "0", "netdsl.lengths.output": "frames"}
        )
    return ["n.net", "x.npz", "--weights", "w.safetensors"]


def arrays_of(paths: list[Path]) -> dict[str, Any]:
    parts = [dict(np.load(path)) for path in paths]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def in_parts(netdsl: Commands, line: list[str], count: int, suffix: str, *options: object) -> list[Path]:
    for i in range(count):
        ran = netdsl("run", *line, "--shard", f"{i}/{count}", "-o", f"parts{count}/{{shard}}{suffix}", "-q", *options)
        assert (ran.code, ran.err) == (0, ""), ran
    return sorted(Path(f"parts{count}").glob(f"*{suffix}"))


def foreign(nodes: list[Any], outputs: list[Any], shape: Any = ("N", 6)) -> list[str]:
    """A model from elsewhere, x -> outputs, and its data."""
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "m.onnx")
    np.save("x.npy", np.abs(X[:, 0]))
    return ["m.onnx", "x.npy"]
