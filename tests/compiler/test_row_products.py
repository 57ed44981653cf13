"""Linear layers on sequences as one product of all rows, with the weight as it is stored."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from netdsl.backend.compile import CompileOptions, compile_to_bytes
from tests.support.programs import net_of

CASES = {
    "bias": ("input x 5x7; a: linear 4", (5, 7)),
    "no bias": ("input x 5x7; a: linear 4 bias off", (5, 7)),
    "several axes": ("input x 5x2x3; a: linear 4", (5, 2, 3)),
    "channels last": ("input x 7x5; permute [1, 0]; a: linear 4; permute [1, 0]", (7, 5)),
    "a length known at run time": ("input x [5, ?L]; a: linear 4", (5, 6)),
}


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("name", CASES)
def test_a_linear_layer_is_one_product_of_all_rows(name: str, batch: int | None) -> None:
    """Nothing is left that a runtime transposes when it loads the model, unless two sizes are known only then."""
    text, shape = CASES[name]
    data = compile_to_bytes(net_of(f"net t {{ {text} }}"), CompileOptions(batch=batch))
    graph = onnx.load_from_string(data).graph
    kinds = [node.op_type for node in graph.node]
    assert ("MatMul" in kinds) == ("?" in text and batch is None)
    assert "Add" not in kinds or "MatMul" in kinds
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    x = np.random.default_rng(0).standard_normal((2, *shape)).astype("f4")
    last = x if "permute" in text else np.moveaxis(x, 1, -1)
    y = last @ weights["a.weight"].T + weights.get("a.bias", 0)
    (found,) = onnxruntime.InferenceSession(data).run(None, {"x": x})
    np.testing.assert_allclose(found, y if "permute" in text else np.moveaxis(y, -1, 1), atol=1e-5)
