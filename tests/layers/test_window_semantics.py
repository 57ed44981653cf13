"""Pools and transposed convolutions as PyTorch computes them: sizes, numbers, and what PyTorch refuses."""

from __future__ import annotations

import gzip
import json

import numpy as np
import onnxruntime
import pytest

from netdsl.backend.emit import OPSETS, check, emit
from netdsl.backend.serialize import to_bytes
from netdsl.lower import lower
from tests.support.paths import TESTS
from tests.support.programs import flow, try_net

TORCH = json.loads(gzip.decompress((TESTS / "data" / "torch_windows.json.gz").read_bytes()))


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    return (np.arange(np.prod(shape)) * 37 % 23 - 11).reshape(shape).astype("f4") / 7


def text(case: dict) -> str:
    return f"input x [{', '.join(map(str, case['shape'][1:]))}]; {case['call']}"


def computed(case: dict, opset: int = 21) -> np.ndarray:
    net = flow(text(case))
    emitted = emit(lower(net), opset=opset)
    check(emitted)
    model = to_bytes(emitted, [(p.name, numbers(p.shape)) for p in emitted.parameters])
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": numbers(tuple(case["shape"]))})
    assert found.shape[1:] == net.outputs["output"].node.shape
    return found


@pytest.mark.parametrize("opset", [OPSETS[0], 19, 21, OPSETS[-1]])
def test_numbers(opset: int) -> None:
    for case in TORCH["computed"]:
        found = computed(case, opset)
        assert list(found.shape) == case["y"], text(case)
        np.testing.assert_allclose(found.ravel(), case["values"], rtol=1e-4, atol=2e-4, err_msg=text(case))


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_the_sides_that_pad_same_crops(kernel: int, stride: int, dilation: int) -> None:
    """`same` crops the larger half at the start. `same_upper` is the adjoint of TensorFlow's convolution."""
    call = f"deconv {kernel} 2 stride {stride} dilation {dilation} bias off pad "
    whole, same, upper = (computed({"shape": [1, 2, 5], "call": call + pad}) for pad in ("0", "same", "same_upper"))
    excess = dilation * (kernel - 1) + 1 - stride
    crop, more = max(0, excess), max(0, -excess)
    padded = np.pad(whole, ((0, 0), (0, 0), (0, more)))
    for found, start in ((same, -(-crop // 2)), (upper, crop // 2)):
        np.testing.assert_allclose(found, padded[:, :, start : start + 5 * stride], atol=1e-6)
    back = computed({"shape": [1, 2, 5 * stride], "call": call.replace("deconv", "conv") + "same_upper"})
    assert np.vdot(upper, numbers((1, 2, 5 * stride))) == pytest.approx(np.vdot(numbers((1, 2, 5)), back), abs=1e-3)


@pytest.mark.parametrize(
    ("statements", "shape"),
    [
        ("input x 2x9; deconv 3 2 stride 1 pad 0 output_pad 1 dilation 3", (2, 16)),
        ("input x 2x9; deconv 3 2 stride 2 pad [0, 2] output_pad 3 dilation 4", (2, 26)),
        ("input x 3x2x2; maxpool 3x3 stride 2 ceil on", (3, 1, 1)),
        ("input x 3x1x2; avgpool 2147483647 ceil on", (3, 1, 1)),
        ("input x 3x4; avgpool 7 stride 4 ceil on", (3, 1)),
    ],
)
def test_sizes(statements: str, shape: tuple[int, ...]) -> None:
    assert flow(statements).outputs["output"].node.shape == shape


def test_refusals() -> None:
    for case in TORCH["refused"]:
        net, report = try_net(f"net n {{ {text(case)} }}")
        assert net is None, text(case)
        assert next(p.code for p in report) in ("E0303", "E0306", "E0331", "E0337"), text(case)


@pytest.mark.parametrize("call", ["crop like y", "crop like y offset 1"])
@pytest.mark.parametrize("size", [(3, 6), (6, 1), (1, 1), (6, 4)])
def test_a_crop_that_does_not_fit_fails_at_run_time(call: str, size: tuple[int, int]) -> None:
    net = flow(f"input y [1, ?A, ?B]; input x [1, ?H, ?W]; {call}")
    session = onnxruntime.InferenceSession(to_bytes(emit(lower(net)), []), providers=["CPUExecutionProvider"])
    feeds = {"x": np.zeros((1, 1, *size), np.float32), "y": np.zeros((1, 1, 4, 4), np.float32)}
    if call == "crop like y" and min(size) >= 4:
        assert session.run(None, feeds)[0].shape == (1, 1, 4, 4)
    else:
        with pytest.raises(Exception, match="out of data bounds"):
            session.run(None, feeds)


@pytest.mark.parametrize(("call", "least"), [("slice 1 0 1", 1), ("slice 1 2 4", 4), ("slice 1 (-3) (-1)", 3)])
def test_a_slice_that_does_not_fit_fails_at_run_time(call: str, least: int) -> None:
    """ONNX's Slice would return the elements that there are, fewer than the declared number."""
    net = flow(f"input x [1, ?L]; {call}")
    session = onnxruntime.InferenceSession(to_bytes(emit(lower(net)), []), providers=["CPUExecutionProvider"])
    x = np.zeros((1, 1, least), np.float32)
    assert session.run(None, {"x": x})[0].shape[1:] == net.outputs["output"].node.shape
    with pytest.raises(Exception, match="out of data bounds"):
        session.run(None, {"x": x[..., 1:]})
