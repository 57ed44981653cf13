"""Compiled models have no operations that other ones make superfluous, and compute the same without the passes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from netdsl.backend.compile import structure
from netdsl.backend.emit import Emitted, emit
from netdsl.backend.serialize import to_bytes
from netdsl.lower import lower
from netdsl.passes.rewrite import expand_macros
from netdsl.weights.draw import draw_all
from tests.support.programs import net_of

BLOCK = """
block mlp(width) { c_fc: linear 4*width; gelu; c_proj: linear width }
net t {
  input x 16x9
  h: repeat 2 {
    skip { ln_1: layernorm; c_attn: linear 48; attention 4 causal on; c_proj: linear 16 }
    skip { ln_2: layernorm; mlp 16 }
  }
}
"""

NETS: dict[str, tuple[str, dict[str, int]]] = {
    "a Transformer": (
        BLOCK,
        {"Reshape": 6, "Transpose": 10, "FusedMatMul": 2, "MatMul": 2, "Gemm": 8, "Split": 2, "Gelu": 2},
    ),
    "rotary embeddings and RMS norm": (
        "net t { input x 8x6; a: rmsnorm; attention 2 { q: linear 8; rope 2 } { k: linear 8; rope 2 } { linear 8 } }",
        {"SimplifiedLayerNormalization": 1, "Concat": 2, "Split": 2, "Add": 2, "Mul": 4},
    ),
    "layers on the rows of a short run": (
        "net t { input x 6x8; skip { layernorm; a: linear 12; gelu; b: linear 6 } }",
        {"Reshape": 0, "Gemm": 0, "MatMul": 2, "BiasGelu": 1, "Transpose": 2, "Add": 2},
    ),
    "an average of places": (
        "net t { input x 6x4x4; a: linear 8; layernorm; global_avgpool; b: dense 3 }",
        {"Transpose": 1, "ReduceMean": 1, "Flatten": 0, "GlobalAveragePool": 0, "Gemm": 2},
    ),
}
"""Nets, and how many operations of some kinds onnxruntime keeps of them for batches and lengths of any size."""


def both(text: str, opset: int = 21, batch: int | None = None) -> tuple[bytes, bytes]:
    """Return a net compiled as it is, and without the passes, with the same weights."""
    net = net_of(text)
    graph = lower(net, batch=batch)

    def written(emitted: Emitted) -> bytes:
        return to_bytes(emitted, draw_all([p.declaration for p in graph.parameters.values()], 1))

    return written(structure(graph, opset=opset)), written(emit(expand_macros(graph, opset), opset=opset))


def kept(model: bytes, folder: Path) -> Counter[str]:
    """Return the kinds of operations that onnxruntime keeps."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "kept.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "kept.onnx").graph.node)


def feeds(model: bytes, length: int = 5, batch: int = 3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    found = {}
    for each in onnx.load_from_string(model).graph.input:
        sizes = [size.dim_value or (length if at else batch) for at, size in enumerate(each.type.tensor_type.shape.dim)]
        found[each.name] = random.standard_normal(sizes).astype(np.float32)
    return found


def assert_same(text: str, **options: int) -> None:
    """Compare with the model without the passes, in onnxruntime and in onnx's reference evaluator."""
    ours, plain = both(text, **options)
    given = feeds(ours)
    (expected,) = onnxruntime.InferenceSession(plain).run(None, given)
    assert np.isfinite(expected).all()
    for found in (onnxruntime.InferenceSession(ours).run(None, given), ReferenceEvaluator(ours).run(None, given)):
        np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", NETS)
def test_onnxruntime_keeps_few_operations(name: str, tmp_path: Path) -> None:
    text, expected = NETS[name]
    found = kept(both(text)[0], tmp_path)
    assert {kind: found[kind] for kind in expected} == expected


@pytest.mark.parametrize("opset", [17, 21, 23])
@pytest.mark.parametrize("name", NETS)
def test_they_compute_the_same(name: str, opset: int) -> None:
    assert_same(NETS[name][0], opset=opset)
    if "?" not in NETS[name][0]:
        assert_same(NETS[name][0], opset=opset, batch=3)


def test_a_batch_of_known_size_has_products_of_rows() -> None:
    """onnxruntime would make them of MatMul and Add, with two more Reshapes each."""
    text, _ = NETS["layers on the rows of a short run"]
    nodes = Counter(node.op_type for node in onnx.load_from_string(both(text, batch=3)[0]).graph.node)
    assert (nodes["Gemm"], nodes["MatMul"], nodes["Reshape"]) == (2, 0, 2)


def test_tied_weights_are_not_transposed() -> None:
    text = "net t { input x 5 dtype i64; words: embedding 9 8; a: linear 8; tanh; linear 9 bias off tied words }"
    nodes = Counter(node.op_type for node in onnx.load_from_string(both(text)[0]).graph.node)
    assert (nodes["Gemm"], nodes["MatMul"]) == (2, 0)


def test_equal_masks_are_computed_once() -> None:
    nodes = Counter(node.op_type for node in onnx.load_from_string(both(BLOCK)[0]).graph.node)
    assert nodes["GreaterOrEqual"] == nodes["Where"] == nodes["Range"] == 1


STATEMENTS = [
    "linear 8",
    "linear 8 bias off",
    "gelu",
    "silu",
    "layernorm",
    "rmsnorm",
    "softmax",
    "softmax axis 1",
    "scale 0.5",
    "permute [1, 0]; linear 6; permute [1, 0]",
    "skip { linear 8; tanh }",
    "skip { layernorm; linear 12; gelu; linear 8 }",
    "attention 2 { linear 8 } { linear 8 } { linear 8 }",
    "linear 24; attention 4",
    "linear 32; slice 0 8 16; linear 8",
    "concat { linear 4 } { softmax; linear 4 }",
    "mul { } { param [8, 1] init normal(1) }",
    "add { } { param [8, 6] init normal(1) }",
    "mul { linear 8 } { linear 8; sigmoid }",
    "reshape 4x2x6; relu; reshape 8x6",
    "reshape 4x12; linear 4; reshape 8x6",
    "rope 2",
]
"""Statements on [8, 6]."""


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(STATEMENTS), min_size=2, max_size=6), st.sampled_from([None, 3]))
def test_any_sequence_of_layers_computes_the_same(statements: list[str], batch: int | None) -> None:
    options = {} if batch is None else {"batch": batch}
    assert_same("net t {\n  input x 8x6\n  " + "\n  ".join(statements) + "\n}", **options)
