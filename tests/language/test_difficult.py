"""Difficult programs, compiled and run: what they must do is known without us."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest

from netdsl.backend.compile import CompileOptions, compile_to_bytes
from tests.support.paths import TESTS
from tests.support.programs import net_of

FOLDER = TESTS / "difficult"
SMALL = {
    "dcgan": {"width": 8},
    "detector": {},
    "dueling": {},
    "hourglass": {"depth": 3},
    "pixelcnn": {},
    "resnext": {},
    "se_resnet50": {},
    "shufflenet_v2": {},
    "siamese": {},
    "two_inputs": {},
    "unet": {"width": 4},
    "wavenet": {"r": 4, "s": 8, "layers": 4, "stacks": 2},
}
"""Each program's net, made small where its size is a parameter."""

LARGE = ("resnext", "se_resnet50")
"""Programs whose weights take long to check. Their layers are those of the others."""

FREE = {"N": 2, "H": 2, "W": 3, "16*H": 32, "16*W": 48, "audio_1": 40, "image_1": 9, "image_2": 8}
"""What the sizes that are known only at run time shall be."""


def text(name: str) -> str:
    return (FOLDER / f"{'resnext' if name == 'se_resnet50' else name}.net").read_text("utf-8")


@cache
def model(name: str, opset: int = 21) -> onnx.ModelProto:
    net = net_of(text(name), name, **SMALL[name])
    return onnx.load(io.BytesIO(compile_to_bytes(net, CompileOptions(opset=opset))))


@cache
def session(name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model(name).SerializeToString(), providers=["CPUExecutionProvider"])


def sizes(dims: list[str | int], batch: int) -> list[int]:
    return [{**FREE, "N": batch}[dim] if isinstance(dim, str) else dim for dim in dims]


def feeds(name: str, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        x.name: rng.integers(0, 256, sizes(x.shape, batch)).astype("u1")
        if "uint8" in x.type
        else rng.standard_normal(sizes(x.shape, batch)).astype("f4")
        for x in session(name).get_inputs()
    }


@pytest.mark.parametrize("name", SMALL)
def test_it_passes_the_checker_and_strict_inference(name: str) -> None:
    for opset in (21,) if name in LARGE else (17, 21, 26):
        onnx.checker.check_model(model(name, opset), full_check=True)
        onnx.shape_inference.infer_shapes(model(name, opset), strict_mode=True)


@pytest.mark.parametrize("name", SMALL)
def test_it_runs_at_batch_1_and_3_with_the_declared_shapes(name: str) -> None:
    for batch in (1, 3):
        results = session(name).run(None, feeds(name, batch))
        for declared, result in zip(session(name).get_outputs(), results, strict=True):
            assert list(result.shape) == sizes(declared.shape, batch)
            assert np.isfinite(result).all()


def test_the_reference_evaluator_gets_the_same_numbers() -> None:
    from onnx.reference import ReferenceEvaluator

    for name in ("detector", "dueling", "siamese", "two_inputs", "wavenet"):
        given = feeds(name, 2)
        for ours, theirs in zip(
            session(name).run(None, given), ReferenceEvaluator(model(name)).run(None, given), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_sizes_of_run_time_bear_the_users_names() -> None:
    dims = [d.dim_param or d.dim_value for d in model("unet").graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["N", 3, "16*H", "16*W"]
    assert [d.dim_param or d.dim_value for d in model("unet").graph.output[0].type.tensor_type.shape.dim] == [
        "N",
        2,
        "16*H",
        "16*W",
    ]


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 80)])
def test_unet_runs_at_several_sizes(height: int, width: int) -> None:
    (y,) = session("unet").run(None, {"image": np.ones((1, 3, height, width), "f4")})
    assert y.shape == (1, 2, height, width)


def test_a_dueling_network_has_the_value_as_its_mean() -> None:
    q, v = session("dueling").run(["q", "v"], feeds("dueling", 5))
    assert q.shape == (5, 6)
    np.testing.assert_allclose(q.mean(axis=1, keepdims=True), v, rtol=1e-4, atol=1e-6)
    assert np.ptp(q, axis=1).min() > 1e-3


def test_a_detector_has_outputs_of_every_scale_and_no_classifier() -> None:
    outputs = [output.name for output in session("detector").get_outputs()]
    assert outputs == ["boxes0", "scores0", "boxes1", "scores1"]
    net = net_of(text("detector"), "detector")
    assert {name.split(".")[0] for name in net.parameters} == {"backbone", "conv1", "conv2", *outputs}
    assert list(net.parameters)[:4:2] == ["backbone.features.0.0.weight", "backbone.features.1.0.0.weight"]


def test_hourglass_heat_maps_are_of_the_size_of_the_image() -> None:
    heat = session("hourglass").run(["heat0", "heat1"], {"image": np.ones((1, 3, 32, 48), "f4")})
    assert [each.shape for each in heat] == [(1, 5, 32, 48)] * 2
    assert np.abs(heat[0] - heat[1]).max() > 0


def test_wavenet_is_causal() -> None:
    x = feeds("wavenet", 1)["audio"]
    changed = x.copy()
    changed[:, :, 20] += 1
    before, after = (session("wavenet").run(None, {"audio": a})[0] for a in (x, changed))
    moved = np.abs(after - before).max(axis=(0, 1)) > 1e-7
    assert not moved[:20].any()
    assert moved[20]


def test_pixelcnn_sees_what_is_above_and_left_and_never_itself() -> None:
    x = feeds("pixelcnn", 1)["image"]
    changed = x.copy()
    row, column = 4, 3
    changed[..., row, column] += 1
    before, after = (session("pixelcnn").run(None, {"image": a})[0] for a in (x, changed))
    moved = np.abs(after - before).max(axis=(0, 1)) > 1e-7
    assert not moved[:row].any()
    assert not moved[row, : column + 1].any()
    assert moved[row, column + 1]
    assert moved[row + 1, column - 1]


def test_siamese_towers_share_their_weights() -> None:
    assert len(model("siamese").graph.initializer) == len(net_of(text("siamese")).parameters) == 8
    image = feeds("siamese", 3)["left"]
    (same,) = session("siamese").run(None, {"left": image, "right": image})
    np.testing.assert_allclose(same, 0.5, atol=1e-6)  # no distance, and the bias begins as 0
    given = feeds("siamese", 3)
    (there,) = session("siamese").run(None, given)
    (back,) = session("siamese").run(None, {"left": given["right"], "right": given["left"]})
    np.testing.assert_allclose(there, back, atol=1e-6)
