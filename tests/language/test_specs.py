"""The zoo: every net of every spec checks, compiles, runs, is as large as it should be, and as short as it can be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest

from netdsl.app.analyse import check_file
from netdsl.backend.compile import CompileOptions, compile_to_bytes, structure
from netdsl.backend.session import Session
from netdsl.base.paths import data
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import Library, zoo_nets
from netdsl.ir.net import Net, Parameter
from netdsl.lower import lower, macs, macs_of
from netdsl.syntax import ast
from tests.support.paths import TESTS
from tests.support.reference import COUNTS, LESS, load, open_net, zoo_net
from tests.support.rule_weights import RuleWeights

SPECS = sorted(Path(data("specs")).glob("*.net"))
TESTS = sorted((TESTS / "nets").glob("*.net"))
TRAINING = ("googlenet_aux", "inception_v3_aux", "bvlc_googlenet_aux_train")
"""Counted with the heads that only training has."""

OTHERWISE = ("lenet5_1998_paper",)
"""Counted by other rules than ours: without what the subsampling layers learn, and without the output. Its spec has the
paper's counts as expectations."""

QUICK = (
    *("perceptron", "xor", "mlp", "lenet5", "lenet5_1998", "nin"),
    *("googlenet", "googlenet_torchvision", "squeezenet1_0", "squeezenet1_1", "mobilenet_v2"),
    *("logistic", "svm", "svm_rff", "neocognitron", "nin_bn", "efficientnet_lite0"),
    *("resnet20", "resnet56", "plain20", "googlenet_caffe", "squeezenet1_0_caffe"),
    *("mobilenet_v3_large", "mobilenet_v3_small", "mnasnet", "shufflenet_v2_x1_0", "efficientnet_b0"),
    *("srcnn", "espcn", "vae", "nerf", "dqn", "dueling_dqn", "tcn", "dcgan", "ghostnet", "regnet_y_400mf"),
    *("lstm_lm_small", "crnn", "pointnet"),
)
"""Nets that take no more than a second to draw and run; the others are slow tests."""


def _title(path: Path) -> str:
    return path.stem


def test_the_zoo_is_each_net_of_each_spec() -> None:
    library = Library(Report())
    definitions = {spec.name: library.load_zoo(spec.name).own for spec in SPECS}
    nets = {
        name: file for file, own in definitions.items() for name in own if isinstance(own[name], (ast.Net, ast.Alias))
    }
    assert nets == zoo_nets()
    assert len(nets) > 90


@pytest.mark.parametrize("spec", [*SPECS, *TESTS], ids=_title)
def test_each_value_of_each_domain_checks_clean(spec: Path) -> None:
    report = Report()
    assert check_file(str(spec), report)
    assert [f"{p.code} {p.span}" for p in report] == []


@pytest.mark.parametrize("spec", SPECS, ids=_title)
def test_a_spec_names_its_paper(spec: Path) -> None:
    about = open_net(spec).about
    head = re.match(r"(#.*\n)+", spec.read_text())
    assert head
    assert str(about["year"]) in head[0]
    assert about["paper"]
    assert about["authors"]


@pytest.mark.parametrize("spec", SPECS, ids=_title)
def test_a_spec_is_held_to_its_papers_sizes(spec: Path) -> None:
    """Every net but those of a few dense layers has sizes to keep, and all have their number of parameters."""
    expected = re.findall(r"expect\s+(\w+|\[)", spec.read_text())
    assert "params" in expected
    assert set(expected) > {"params"} or spec.stem in ("logistic", "mlp", "perceptron", "svm", "svm_rff", "xor")


@pytest.mark.parametrize("name", zoo_nets())
def test_published_errors_are_errors_and_say_how_they_were_measured(name: str) -> None:
    about = zoo_net(name).about
    errors = [about[key] for key in ("top5", "top1") if key in about]
    assert errors == sorted(errors)
    assert all(0 < each < 50 for each in errors)
    assert not errors or re.match(r"(ImageNet val|CIFAR-10 test|MNIST test)\b", about["protocol"])


@pytest.mark.parametrize("name", zoo_nets())
def test_a_net_compiles_to_a_model_that_onnx_accepts(name: str) -> None:
    structure(lower(zoo_net(name)))


def _run(net: Net, model: bytes, batch: int) -> None:
    session = Session(model)
    stream = np.random.default_rng(0)
    feeds = {
        x.name: np.ones((batch, *x.shape), np.int64)  # an index of each table, and a length
        if x.dtype == "i64"
        else stream.standard_normal((batch, *x.shape), np.float32)
        for x in net.inputs
    }
    results = session.run(feeds)
    shapes = {name: (batch, *output.node.shape) for name, output in net.outputs.items() if not output.training}
    assert {name: y.shape for name, y in results.items()} == shapes
    assert all(np.isfinite(y).all() for y in results.values())


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in zoo_nets()])
def test_a_net_runs(name: str) -> None:
    net = open_net(name, **LESS.get(name, {}))
    model = compile_to_bytes(net)
    _run(net, model, 1)
    _run(net, model, 3)


NEAR = 0.8 ** np.maximum(np.abs(np.arange(-2, 3))[:, None], np.abs(np.arange(-2, 3)))
NEAR /= NEAR.sum()
"""The neocognitron's fixed connections: each ring around the centre is 0.8 times the one in it."""


def _seen(u: np.ndarray, pad: int) -> np.ndarray:
    """[K, H, W] -> [K, H + 2 pad - 4, W + 2 pad - 4, 5, 5], what each cell's 5x5 inputs are."""
    u = np.pad(u, ((0, 0), (pad, pad), (pad, pad))) if pad >= 0 else u[:, -pad:pad, -pad:pad]
    return np.lib.stride_tricks.sliding_window_view(u, (5, 5), axis=(1, 2))


def _s_cells(u: np.ndarray, a: np.ndarray, b: np.ndarray, r: float, pad: int) -> np.ndarray:
    """Fukushima (1980), equations 1 to 3, with a [K, C, 5, 5] and b [K, 1, 1]."""
    seen = _seen(u, pad)
    inhibition = np.sqrt(np.einsum("chwij,ij->hw", seen**2, NEAR) / len(u))
    excited = np.einsum("chwij,kcij->khw", seen, a)
    return r * np.maximum((1 + excited) / (1 + 2 * r / (1 + r) * b * inhibition) - 1, 0)


def _inhibited(excited: np.ndarray) -> np.ndarray:
    """Equations 4 to 6."""
    y = np.maximum((1 + excited) / (1 + excited.mean(0)) - 1, 0)
    return y / (0.5 + y)


class Positive(RuleWeights):
    """Synapses, which are never negative."""

    __slots__ = ()

    def read(self, key: str) -> np.ndarray:
        return np.abs(super().read(key))


def test_the_neocognitron_computes_its_equations() -> None:
    net = open_net("neocognitron")
    weights = Positive(net)
    u = np.random.default_rng(0).random((1, 16, 16), np.float32)
    (y,) = Session(compile_to_bytes(net, CompileOptions(weights=weights))).run({"u0": u[None]}).values()
    for layer, r, pad, cut in (("s1", 4.0, 2, -1), ("s2", 1.5, 1, 1), ("s3", 1.5, 0, None)):
        a, b = (weights.read(f"{layer}.{key}.weight").astype(np.float64) for key in "ab")
        u = _s_cells(u, a, b[:, 0], r, pad)
        u = _inhibited(4 * np.einsum("chwij,ij->chw", _seen(u, cut), NEAR) if cut else 2.5 * u.mean((1, 2)))
    assert y.shape == (1, 24, 1, 1)
    assert len(np.unique(y)) > 5
    np.testing.assert_allclose(y[0, :, 0, 0], u, rtol=0, atol=1e-5)


def test_random_features_make_the_gaussian_kernel() -> None:
    model = onnx.load_from_string(compile_to_bytes(open_net("svm_rff")))
    features = model.graph.node[-1].input[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(features, onnx.TensorProto.FLOAT, None))
    images = np.random.default_rng(0).random((8, 1, 28, 28), np.float32) * np.float32(80)
    z = Session(model.SerializeToString()).run({"image": images})[features]
    x = images.reshape(8, -1) / 255
    kernel = np.exp(-0.02 * ((x[:, None] - x) ** 2).sum(-1))
    assert kernel.min() < 0.8
    np.testing.assert_allclose(z @ z.T, kernel, rtol=0, atol=0.08)


def _size(parameters: Iterable[Parameter]) -> int:
    return sum(prod(p.shape) for p in parameters if not p.buffer)


@pytest.mark.parametrize("network", [n for n in COUNTS if n not in (*TRAINING, *OTHERWISE)])
def test_inference_has_the_counts_of_others(network: str) -> None:
    net = load(network)
    weights = [net.parameters[name] for name in lower(net).parameters]
    assert {"params": _size(weights), "macs": macs(net)} == COUNTS[network]


@pytest.mark.parametrize("network", TRAINING)
def test_training_has_the_counts_of_others(network: str) -> None:
    net = load(network)
    whole = sum(macs_of([node]) for node in net.nodes)
    assert {"params": _size(net.parameters.values()), "macs": whole} == COUNTS[network]


PRINTED = """
alexnet 60M, vgg11 133M, vgg13 133M, vgg16 138M, vgg19 144M, googlenet 1.5G, wide_resnet50_2 68.9M
plain18 1.8G, plain34 3.6G, resnet50_caffe 3.8G, resnet101_caffe 7.6G, resnet152_caffe 11.3G, resnext50_32x4d 25.0M 4.2G
resnet20 0.27M, resnet32 0.46M, resnet44 0.66M, resnet56 0.85M, resnet110 1.7M, plain20 0.27M
mobilenet_v2 0.30G, mobilenet_v3_large 5.4M, mobilenet_v3_small 2.5M 0.056G
shufflenet_v2_x0_5 1.4M 0.041G, shufflenet_v2_x1_0 2.3M, shufflenet_v2_x2_0 7.4M
efficientnet_b0 5.3M 0.39G, efficientnet_b2 9.2M 1.0G, efficientnet_b3 12M 1.8G, efficientnet_b6 43M 19G
efficientnet_b7 66M 37G, efficientnet_lite0 4.7M
vit_b_16 86M, deit_ti 5M, deit_s 22M, deit_b 86M, swin_t 29M 4.5G, swin_s 50M 8.7G, swin_b 88M 15.4G
mixer_s_32 19M, mixer_s_16 18M, mixer_b_32 60M, mixer_b_16 59M, bert_base 110M
hrnet_w18 21.3M, hrnet_w32 41.2M, hrnet_w48 77.5M, ghostnet 5.2M 0.141G, sknet50 27.5M, edsr 43M
edsr_baseline 1.5M, segnet 29.45M
crnn 8.3M, convnext_tiny 29M 4.5G, convnext_small 50M 8.7G, convnext_base 89M 15.4G
"""
"""What the papers print: millions of parameters, billions of multiply-accumulates. Some of them round, some cut off."""


@pytest.mark.parametrize("figures", re.split(r",|\n", PRINTED.strip()))
def test_a_spec_has_what_its_paper_prints(figures: str) -> None:
    name, *all_printed = figures.split()
    net = zoo_net(name)
    ours = {"M": _size(net.parameters[key] for key in lower(net).parameters) / 1e6, "G": macs(net) / 1e9}
    for printed in all_printed:
        whole, _, places = printed[:-1].partition(".")
        assert abs(ours[printed[-1]] - float(f"{whole}.{places}")) < 10 ** -len(places), printed


BUDGETS = {
    "alexnet": 14,
    "vgg": 14,
    "resnet": 36,
    "mobilenet_v2": 30,
    "inception_v3": 75,
    "enet_encoder": 35,
    "vit": 18,
    "bert": 24,
    "gpt2": 16,
}


def code_lines(text: str) -> int:
    """Lines of `net` and `block` bodies, their heads and braces included, without `about`, `expect` and comments."""
    text = re.sub(r"#.*", "", text)
    text = re.sub(r"\babout\s*\{(?:[^{}]|\{[^{}]*\})*\}", "", text)
    text = re.sub(r"\bexpect(\s+\w+)?\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)", "", text)
    text = re.sub(r"\bexpect\b[^;\n{}]*", "", text)
    bodies = re.findall(r"^(?:net|block)\b[^\n]*\{[^\n]*\}\s*$|^(?:net|block)\b.*?^\}", text, re.MULTILINE | re.DOTALL)
    return sum(bool(line.strip(" ;")) for body in bodies for line in body.splitlines())


def test_lines_are_counted_as_promised() -> None:
    text = """
# comment
default conv bias off
block a(x) { conv x; relu }   # one
block b {                     # two
  conv 3x3; expect 4x4        # three

  about { year 1; top1 (match 1 { 1 => 2 })
    paper "x" }
  expect params (match 1 {
    1 => 2
  } + 1)
  expect 4x4
}                             # four
net c = d(e = 1)
"""
    assert code_lines(text) == 4


@pytest.mark.parametrize("name", BUDGETS)
def test_a_spec_is_short(name: str) -> None:
    assert code_lines((Path(data("specs")) / f"{name}.net").read_text()) <= BUDGETS[name]


@pytest.mark.parametrize("spec", [*SPECS, *TESTS], ids=_title)
def test_no_line_is_long(spec: Path) -> None:
    assert max(map(len, spec.read_text().splitlines())) <= 120
