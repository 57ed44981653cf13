"""Models of the zoo and difficult programs in OpenVINO and tract: the logits are onnxruntime's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np
import pytest

from netdsl.backend.compile import OPSET, CompileOptions, compile_to_bytes
from netdsl.elaborate.library import zoo_nets
from netdsl.ir.net import Net
from tests.language.test_difficult import FREE, SMALL, text
from tests.support.programs import net_of
from tests.support.reference import LESS, open_net
from tests.support.rule_weights import RuleWeights

pytestmark = pytest.mark.slow
Arrays = dict[str, np.ndarray]

TOLERANCE = 1e-4
"""Of the largest logit."""

REORDERED = {
    "rotated": "net rotated { input x 3x6x6; select [2, 0, 1]; conv 1x1 4 }",
    "dealt": "net dealt { input x [6, ?H, ?W]; relu; channel_shuffle 3; conv 3x3 4 }",
    "dealt_1d": "net dealt_1d { input x 6x9; channel_shuffle 3; conv 3 4; relu }",
}
"""OpenVINO (2024.0 to 2026.4) inverts such a permutation where Gather is given its axis as 1, and not as -3."""

BY_RULE = {
    **dict.fromkeys(("logistic", "perceptron", "svm", "svm_rff", "timit_dnn"), 1.0),
    **dict.fromkeys(("efficientnet_b6", "efficientnet_b7"), 0.6),
    "efficientnet_v2": 0.5,
    "efficientnet_v2_s": 0.5,
    "efficientnet_v2_m": 0.4,
    "efficientnet_v2_l": 0.35,
}
"""Nets whose drawn weights prove nothing: a perceptron and its kin begin with zeros, and the deepest EfficientNets,
whose batch norms have seen no data, blow rounding up to the size of the logits: onnxruntime then differs as much from
itself, with its optimizer off. Values are what their branches add to their sums: with less, examples become alike; with
more, rounding wins."""

RESIZED = "deeplabv3", "deeplabv3_resnet50", "deeplabv3_resnet101", "fcn_resnet", "fcn_resnet50", "fcn_resnet101"
REFUSED = {
    **{("tract", f"{name}_caffe"): "Invalid axis" for name in ("resnet", "resnet50", "resnet101", "resnet152")},
    **{("tract", name): "terminated abruptly" for name in ("crnn", "deepspeech2")},
    ("tract", "seq2seq"): "Non constant seq_len",
    ("tract", "segnet"): "MaxUnpool",
    ("openvino", "segnet"): "MaxUnpool",
    **{("tract", name): "Undetermined symbol in expression: N" for name in RESIZED},
}
"""What a tool does not take, and the last of what it says. tract (0.22, 0.23) would skip places, for a convolution of
1x1 with a stride, before the sum of branches that it has reshaped for itself; it aborts at recurrent layers; and it
resizes to given sizes only if the batch is given, too. Neither tool has MaxUnpool."""

NETS: dict[str, Callable[[], Net]] = {
    **{name: partial(open_net, name, **LESS.get(name, {})) for name in zoo_nets()},
    **{f"difficult/{name}": partial(net_of, text(name), name, **given) for name, given in SMALL.items()},
    **{name: partial(net_of, program) for name, program in REORDERED.items()},
}


class Tamed(RuleWeights):
    """Weights of which the last batch norm of each EfficientNet's branch is multiplied by `gain`."""

    __slots__ = ("gain",)

    def __init__(self, net: Net, gain: float) -> None:
        super().__init__(net)
        self.gain = gain

    def _gain(self, layer: str) -> float:
        norm = re.fullmatch(r"(features\.\d+\.\d+\.block)\.(\d)\.1", layer)
        last = norm and not any(key.startswith(f"{norm[1]}.{int(norm[2]) + 1}.") for key in self.entries)
        return self.gain if last else 1.0


@lru_cache(1)
def case(name: str, opset: int) -> tuple[bytes, Arrays, Arrays]:
    """A model, two examples, and what onnxruntime makes of them."""
    import onnxruntime

    definition = NETS[name]()
    weights = Tamed(definition, BY_RULE[name]) if name in BY_RULE else None
    model = compile_to_bytes(definition, CompileOptions(seed=0, weights=weights, opset=opset))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    numbers = np.random.default_rng(0)
    given = {}
    for x in session.get_inputs():
        shape = [FREE.get(size, 7) if isinstance(size, str) else size for size in x.shape]
        pixels = x.type == "tensor(uint8)"
        if x.type == "tensor(int64)":
            given[x.name] = numbers.integers(2, size=shape)
            continue
        given[x.name] = (
            numbers.integers(0, 256, shape, np.uint8) if pixels else numbers.standard_normal(shape, np.float32)
        )
        if name == "svm_rff":
            given[x.name] *= 255  # which it divides by: cosines of nearly 0 would all be alike
    names = [y.name for y in session.get_outputs()]
    return model, given, dict(zip(names, session.run(names, given), strict=True))


def package(name: str) -> ModuleType:
    """A missing oracle is a failure."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        pytest.fail(f"{error}: these tests need pip install -e '.[tools]'")


def openvino(model: bytes, given: Arrays, names: Iterable[str]) -> Arrays:
    core = package("openvino").Core()
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled(given)
    return {name: results[name] for name in names}


def tract(model: bytes, given: Arrays, names: Iterable[str]) -> Arrays:
    """In a process of its own, since tract aborts that of a model with a recurrent layer."""
    package("tract")
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        return pool.submit(_tract, model, given, names).result()


def _tract(model: bytes, given: Arrays, names: Iterable[str]) -> Arrays:
    """tract keeps the order of outputs, and calls them as the nodes that they come from."""
    onnx = package("tract").onnx()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        read = onnx.load(path)
    inputs = [read.input_name(i) for i in range(read.input_count())]
    results = read.into_model().into_runnable().run([given[name] for name in inputs])
    return dict(zip(names, (result.to_numpy() for result in results), strict=True))


TOOLS = {"openvino": openvino, "tract": tract}


def compare(tool: str, name: str, opset: int) -> float:
    """The largest difference of an output from onnxruntime's, over the latter's largest logit."""
    model, given, expected = case(name, opset)
    # Examples that came out alike, or zeros, would pass with anything.
    assert max(np.ptp(y, axis=0).max() / np.abs(y).max() for y in expected.values()) > 10 * TOLERANCE
    worst = 0.0
    results = TOOLS[tool](model, given, list(expected))
    for output, ours in expected.items():
        theirs = results[output]
        assert ours.shape == theirs.shape
        assert np.isfinite(theirs).all()
        worst = max(worst, float(np.abs(theirs.astype(np.float64) - ours).max() / np.abs(ours).max()))
    return worst


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", NETS)
def test_another_tool_gets_the_same_logits(name: str, tool: str) -> None:
    if (tool, name) in REFUSED:
        with pytest.raises(Exception, match=REFUSED[tool, name]):
            compare(tool, name, OPSET)
        return
    worst = compare(tool, name, OPSET)
    print(f"{worst:.1e}")  # for -rP
    assert worst <= TOLERANCE


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("opset", [17, 26])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "difficult/unet"])
def test_it_does_so_at_the_oldest_and_the_newest_opset(name: str, opset: int, tool: str) -> None:
    assert compare(tool, name, opset) <= TOLERANCE
