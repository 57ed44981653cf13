"""Several models that differ by numbers alone, imported as one net with a parameter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

import netdsl as api
from netdsl.app.analyse import load_nets
from netdsl.base.text import Source
from netdsl.base.user_error import UserError
from netdsl.diagnostics.report import Report
from netdsl.importing.merge import Mismatch
from netdsl.importing.recompile import recompiled
from netdsl.importing.structure import arrange
from netdsl.importing.variant_names import VariantNames, variant_names
from netdsl.importing.variants import Variants
from netdsl.ir.net import Net
from tests.support.cli_tools import Commands, netdsl
from tests.support.onnx_models import graph, n, run, save, w
from tests.support.paths import ROOT
from tests.support.zoo_models import fingerprint, flat_list

__all__ = ["netdsl"]


def merged(nets: dict[str, Net], warnings: frozenset[str] = frozenset()) -> str:
    """Return the text of several nets, each of which is an alias in it that computes the same."""
    flats = [flat_list(net) for net in nets.values()]
    for flat in flats:
        arrange(flat)
    text = Variants(flats, variant_names([f"{name}.onnx" for name in nets])).draft.text()
    for name, net in nets.items():
        assert fingerprint(recompiled(text, f"{name}.net")) == fingerprint(net)
    report = Report()
    load_nets(Source("again.net", text), report)
    assert {problem.code for problem in report} <= warnings
    return text


def nets_of(bodies: dict[str, str]) -> dict[str, Net]:
    return {name: recompiled(f"net {name} {{ {body} }}", f"{name}.net") for name, body in bodies.items()}


BLOCK = "skip { conv 3x3 {w} stride {s}; relu; conv 3x3 {w} } project { conv 1x1 {w} stride {s} }; relu"


def residual(counts: list[int], width: int = 8, classes: int = 10) -> str:
    """Return stages of residual blocks; each stage but the first has half the size, and twice the width."""
    found = ["input x 3x16x16", f"conv 3x3 {width}", "relu"]
    for at, count in enumerate(counts):
        for block in range(count):
            stride = "2" if at and not block else "1"
            found.append(BLOCK.replace("{w}", str(width * 2**at)).replace("{s}", stride))
    return "; ".join([*found, "global_avgpool", f"dense {classes}"])


TEXTS = {
    "lengths of stages": (
        {"res10": residual([1, 1]), "res18": residual([2, 2]), "res34": residual([3, 4])},
        """\
net res(depth in [10, 18, 34] = 10) {
  let repeats = match depth { 10 => [1, 0]; 18 => [2, 1]; 34 => [3, 3] }
  input x 3x16x16
  conv 3x3 8; relu
  repeat repeats[0] { skip { conv 3x3 8; relu; conv 3x3 8 }; relu }
  skip { conv 3x3 16 stride 2; relu; conv 3x3 16 } project { conv 1x1 16 stride 2 }
  relu
  repeat repeats[1] { skip { conv 3x3 16; relu; conv 3x3 16 }; relu }
  global_avgpool
  dense 10
}

net res10 = res(depth = 10)
net res18 = res(depth = 18)
net res34 = res(depth = 34)
""",
    ),
    "widths and lengths": (
        {"wide": residual([2, 2], 12), "thin": residual([2, 3], 8)},
        """\
net model(variant in ["wide", "thin"] = "wide") {
  let width = match variant { "wide" => 12; "thin" => 8 }
  let repeats = match variant { "wide" => [2, 1]; "thin" => [2, 2] }
  input x 3x16x16
  conv 3x3 width; relu
  repeat repeats[0] { skip { conv 3x3 width; relu; conv 3x3 width }; relu }
  skip { conv 3x3 2*width stride 2; relu; conv 3x3 2*width } project { conv 1x1 2*width stride 2 }
  relu
  repeat repeats[1] { skip { conv 3x3 2*width; relu; conv 3x3 2*width }; relu }
  global_avgpool
  dense 10
}

net wide = model(variant = "wide")
net thin = model(variant = "thin")
""",
    ),
    "a number that is the parameter": (
        {
            "mlp_16": "input x 8; dense 16; dense 32; dense 10",
            "mlp_64": "input x 8; dense 64; dense 128; dense 10",
        },
        """\
net mlp(width in [16, 64] = 16) {
  input x 8
  dense width
  dense 2*width
  dense 10
}

net mlp_16 = mlp(width = 16)
net mlp_64 = mlp(width = 64)
""",
    ),
    "classes": (
        {"fire10": "input x 8; dense 16; relu; dense 10", "fire100": "input x 8; dense 16; relu; dense 100"},
        """\
net fire(classes in [10, 100] = 10) {
  input x 8
  dense 16; relu
  dense classes
}

net fire10 = fire(classes = 10)
net fire100 = fire(classes = 100)
""",
    ),
    "sizes and kernels": (
        {
            "b0": "input x 3x16x16; conv 3x3 8; conv 1x3 8 pad 0; leaky_relu 0.1; global_avgpool; dense 2",
            "b1": "input x 3x20x20; conv 5x5 8 bias off; conv 1x5 8 pad 0; leaky_relu 0.2; global_avgpool; dense 2",
        },
        """\
net b(variant in [0, 1] = 0) {
  let size = match variant { 0 => 16; 1 => 20 }
  let kernel = match variant { 0 => 3; 1 => 5 }
  let bias = match variant { 0 => on; 1 => off }
  let slope = match variant { 0 => 0.1; 1 => 0.2 }
  input x [3, size, size]
  conv kernel 8 bias bias
  conv [1, kernel] 8 pad 0; leaky_relu slope
  global_avgpool
  dense 2
}

net b0 = b(variant = 0)
net b1 = b(variant = 1)
""",
    ),
    "rows of numbers": (
        {
            "old": "input x 8; dense 16; relu; dense 16; relu; dense 24; relu; dense 4",
            "new": "input x 8; dense 24; relu; dense 32; relu; dense 32; relu; dense 64; relu; dense 4",
        },
        """\
net model(variant in ["old", "new"] = "old") {
  let widths = match variant { "old" => [16, 16, 24]; "new" => [24, 32, 32, 64] }
  input x 8
  for width in widths { dense width; relu }
  dense 4
}

net old = model(variant = "old")
net new = model(variant = "new")
""",
    ),
    "labels that count": (
        {
            "short": "input x 8; lay1: dense 4; relu; lay2: dense 4; relu; last3: dense 2",
            "long": "input x 8; lay1: dense 4; relu; lay2: dense 4; relu; lay3: dense 4; relu; last4: dense 2",
        },
        """\
net model(variant in ["short", "long"] = "short") {
  let times = match variant { "short" => 3; "long" => 4 }
  input x 8
  for i in range(times-1) { lay{i+1}: dense 4; relu }
  last{times}: dense 2
}

net short = model(variant = "short")
net long = model(variant = "long")
""",
    ),
    "parts of channels": (
        {
            "tall3": f"input x 8x4x4; {'concat { } { conv 3x3 4 }; ' * 4}conv 1x1 12; global_avgpool; dense 2",
            "tall5": f"input x 8x4x4; {'concat { } { conv 3x3 4 }; ' * 6}conv 1x1 16; global_avgpool; dense 2",
        },
        """\
net tall(depth in [3, 5] = 3) {
  let times = match depth { 3 => 4; 5 => 6 }
  input x 8x4x4
  repeat times { concat { conv 3x3 4 } }
  conv 1x1 channels//2
  global_avgpool
  dense 2
}

net tall3 = tall(depth = 3)
net tall5 = tall(depth = 5)
""",
    ),
    "nothing": (
        {"first": "input x 8; dense 4", "second": "input x 8; dense 4"},
        """\
net model {
  input x 8
  dense 4
}

net first = model()
net second = model()
""",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_numbers_that_differ_are_chosen_by_a_parameter(name: str) -> None:
    bodies, text = TEXTS[name]
    assert merged(nets_of(bodies)) == text


ZOO = {
    "resnet": ("resnet18 resnet34", "[2, 2, 2, 2]; 34 => [3, 4, 6, 3]", 23),
    "vgg": ("vgg11 vgg13 vgg16 vgg19", "16 => [2, 2, 3, 3, 3]", 27),
}


@pytest.mark.parametrize("stem", ZOO)
def test_variants_of_the_zoo_become_the_tables_of_their_papers(stem: str) -> None:
    names, table, lines = ZOO[stem]
    path = ROOT / "specs" / f"{stem}.net"
    known = {net.name: net for net, _ in load_nets(Source(str(path), path.read_text()), Report()).values()}
    text = merged({name: known[name] for name in names.split()})
    assert table in text
    assert text.count("\n") <= lines


STAGES = st.lists(st.tuples(st.integers(1, 3), st.sampled_from([4, 6, 8, 12])), min_size=2, max_size=2)


@settings(max_examples=10, deadline=None)
@given(st.lists(STAGES, min_size=2, max_size=3), st.booleans(), st.sampled_from([1, 3]))
def test_any_numbers_can_differ(variants: list[list[tuple[int, int]]], labelled: bool, kernel: int) -> None:
    bodies = {}
    for at, stages in enumerate(variants):
        found = ["input x 4x6x6"]
        for stage, (count, width) in enumerate(stages):
            row = f"conv {kernel + 2 * (at > 1)} {width} stride {{s}}; relu; skip {{ conv 1x1 {width}; bn }}"
            rows = [row.replace("{s}", "1" if each or not stage else "2") for each in range(count)]
            label = [f"stage{stage}block{each}: {{ {row} }}" if labelled else row for each, row in enumerate(rows)]
            found += [*label, "maxpool 3x3 stride 1 pad 1"]
        bodies[f"net_{at}"] = "; ".join([*found, "dense 3"])
    merged(nets_of(bodies), frozenset({"W0301", "W0302"}))


@pytest.mark.parametrize(
    ("one", "other", "where", "texts"),
    [
        ("dense 4; relu; dense 2", "dense 4; tanh; dense 2", "", ["relu", "tanh"]),
        ("dense 4; relu; dense 2", "dense 4; relu; dense 2; softmax", "", ["", "softmax"]),
        ("a: { dense 4; b: dense 4 }; dense 2", "a: { dense 4; b: { dense 4; relu } }; dense 2", "a", ["b: dense 4"]),
        ("a: dense 4; add a { dense 4; relu }", "a: dense 4; add a { dense 4 }", "", ["relu", ""]),
    ],
)
def test_models_of_other_forms_differ(one: str, other: str, where: str, texts: list[str] | None) -> None:
    nets = nets_of({"one": f"input x 8; {one}", "other": f"input x 8; {other}"})
    with pytest.raises(Mismatch) as found:
        merged(nets)
    assert found.value.where == where
    assert texts is None or found.value.texts[: len(texts)] == texts


@pytest.mark.parametrize(
    ("files", "wanted", "names"),
    [
        ("resnet18.onnx resnet34.onnx", None, ("resnet", ("resnet18", "resnet34"), (18, 34))),
        ("ResNet-50-deploy.pt ResNet-101-deploy.pt", "r", ("r", ("ResNet_50_deploy", "ResNet_101_deploy"), (50, 101))),
        ("vgg11_bn.onnx vgg16_bn.onnx", None, ("vgg_bn", ("vgg11_bn", "vgg16_bn"), (11, 16))),
        ("m_1.0.onnx m_0.75.onnx", None, ("m", ("m_1_0", "m_0_75"), (1.0, 0.75))),
        ("net_050.onnx net_100.onnx", None, ("net_2", ("net_050", "net_100"), (50, 100))),
        ("v3_small.onnx v3_large.onnx", None, ("v3", ("v3_small", "v3_large"), ("small", "large"))),
        ("y_400mf.onnx y_8gf.onnx", None, ("y", ("y_400mf", "y_8gf"), ("_400mf", "_8gf"))),
        ("cat.onnx dog.onnx", None, ("model", ("cat", "dog"), ("cat", "dog"))),
        ("base.onnx base_2.onnx", None, ("model", ("base", "base_2"), ("base", "base_2"))),
        ("a/model.onnx b/model.onnx", None, ("model", ("a", "b"), ("a", "b"))),
        ("lstm.onnx relu-6.onnx", None, ("model", ("lstm_2", "relu_6"), ("lstm", "relu_6"))),
        ("1.onnx 2.onnx", None, ("model", ("_1", "_2"), (1, 2))),
    ],
)
def test_names_are_those_of_the_files(files: str, wanted: str | None, names: tuple[object, ...]) -> None:
    assert variant_names(files.split(), wanted) == VariantNames(*names)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "wanted", "text"),
    [
        ("a.onnx ./a.onnx", None, r"a\.onnx is given twice"),
        ("a-b.onnx a_b.onnx", None, "a-b.onnx and a_b.onnx would both be the net a_b"),
        ("x/a.onnx x/a.prototxt", None, "would both be the net a"),
        ("a1.onnx a2.onnx", "a1", "the net a1 would have the name of a1.onnx"),
    ],
)
def test_names_that_are_not_different_are_refused(files: str, wanted: str | None, text: str) -> None:
    with pytest.raises(UserError, match=text) as found:
        variant_names(files.split(), wanted)
    assert found.value.code == "E0676"


# --- the command ---


def convnet(path: Path, counts: list[int], x: str = "x", last: str = "Relu") -> Path:
    """Write a model of convolutions with names of modules."""
    nodes, arrays, value = [], {}, x
    for stage, count in enumerate(counts, 1):
        for at in range(count):
            name = f"stage{stage}.{at}"
            arrays |= {f"{name}.weight": w(4, 3 if value == x else 4, 3, 3), f"{name}.bias": w(4)}
            nodes.append(n("Conv", f"{value} {name}.weight {name}.bias", f"{name}_y", pads=[1, 1, 1, 1]))
            value = f"{name}_y"
        nodes.append(n("MaxPool", value, f"p{stage}", kernel_shape=[2, 2], strides=[2, 2]))
        value = f"p{stage}"
    nodes.append(n(last, value, "y"))
    return save(path, graph(nodes, arrays, {x: (TensorProto.FLOAT, ["N", 3, 8, 8])}))


COMMAND_TEXT = """\
# Imported by netdsl from cnn6.onnx and cnn8.onnx.
net cnn(depth in [6, 8] = 6) {
  let repeats = match depth { 6 => [1, 2]; 8 => [2, 3] }
  input x 3x8x8
  stage1: repeat repeats[0] { conv 3x3 4 }
  maxpool 2x2
  stage2: repeat repeats[1] { conv 3x3 4 }
  maxpool 2x2; relu
}

net cnn6 = cnn(depth = 6)
net cnn8 = cnn(depth = 8)
"""


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return [convnet(tmp_path / "cnn6.onnx", [1, 2]), convnet(tmp_path / "cnn8.onnx", [2, 3], "image")]


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_import_writes_one_text_and_weights_for_each_model(netdsl: Commands, two: list[Path]) -> None:
    done = netdsl("import", *two)
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        "cnn.net: 12 lines, 2 nets",
        "cnn6: 7 layers, 408 numbers in cnn6.safetensors; equal to the model in every bit for 2 random inputs",
        "cnn8: 9 layers, 704 numbers in cnn8.safetensors; equal to the model in every bit for 2 random inputs",
        "cnn8: the input image is called x",
    ]
    assert (netdsl.folder / "cnn.net").read_text() == COMMAND_TEXT
    assert netdsl("check", "cnn.net").err == "cnn.net: ok (cnn, cnn6, cnn8)\n"
    x = np.random.default_rng(0).normal(0, 1, (2, 3, 8, 8)).astype("f4")
    for path, name in zip(two, ("x", "image"), strict=True):
        weights, out = f"{path.stem}.safetensors", f"out_{path.name}"
        assert netdsl("compile", f"cnn.net:{path.stem}", "--weights", weights, "-q", "-o", out).code == 0
        assert np.array_equal(run(netdsl.folder / out, {"x": x})[0], run(path, {name: x})[0])


def test_import_of_several_prints_a_text_or_a_record(netdsl: Commands, two: list[Path]) -> None:
    done = netdsl("import", *two, "-o", "-", "-q", "--name", "small")
    assert (done.out, done.err) == (COMMAND_TEXT.replace("net cnn(", "net small(").replace("= cnn(", "= small("), "")
    record = json.loads(netdsl("import", *two, "-o", "other.net", "--json", "--check", "1").out)
    assert record["file"] == "other.net"
    assert [(each["net"], each["weights"], each["inputs"]) for each in record["nets"]] == [
        ("cnn6", "cnn6.safetensors", 1),
        ("cnn8", "cnn8.safetensors", 1),
    ]
    assert "net other(depth in [6, 8] = 6) {" in (netdsl.folder / "other.net").read_text()


def test_import_of_several_replaces_all_files_or_none(netdsl: Commands, two: list[Path]) -> None:
    assert netdsl("import", *two).code == 0
    assert netdsl("import", *two).code == 0
    for name in ("cnn.net", "cnn8.safetensors"):
        kept = (netdsl.folder / name).read_bytes()
        (netdsl.folder / name).write_bytes(b"mine, and longer than a mark would be: " + bytes(100))
        before = listing(netdsl.folder)
        done = netdsl("import", *two)
        assert done.code == 2
        assert f"{name} exists and was not written by netdsl" in done.err
        assert listing(netdsl.folder) == before
        assert netdsl("import", *two, "--force").code == 0
        assert (netdsl.folder / name).read_bytes() == kept


PROTOTXT = """\
layer { name: "data" type: "Input" top: "data" input_param { shape: { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: %d kernel_size: 3 } }
layer { name: "%s" type: "ReLU" bottom: "c" top: "r" }
"""


def test_prototxts_are_variants_too(netdsl: Commands) -> None:
    for name, width in (("p4", 4), ("p6", 6)):
        (netdsl.folder / f"{name}.prototxt").write_text(PROTOTXT % (width, "r"))
    assert netdsl("import", "p4.prototxt", "p6.prototxt").code == 0
    text = (netdsl.folder / "p.net").read_text()
    assert "net p(width in [4, 6] = 4) {\n  input data 3x8x8\n  c: conv 3x3 width pad 0; relu\n}" in text
    mixed = save(
        netdsl.folder / "p8.onnx",
        graph(
            [n("Conv", "data c.weight c.bias", "a"), n("Relu", "a", "y")],
            {"c.weight": w(8, 3, 3, 3), "c.bias": w(8)},
            {"data": (TensorProto.FLOAT, ["N", 3, 8, 8])},
        ),
    )
    assert netdsl("import", "p4.prototxt", mixed, "-o", "mixed.net").code == 0
    assert "net mixed(width in [4, 8] = 4) {" in (netdsl.folder / "mixed.net").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ("cnn6.onnx cnn6.onnx", 2, "E0676"),
        ("cnn6.onnx cnn8.onnx -o cnn6.net", 2, "the net cnn6 would have the name of cnn6.onnx"),
        ("cnn6.onnx cnn8.onnx -o cnn.onnx", 2, "is no `.net` file"),
        ("cnn6.onnx cnn8.onnx --flat", 2, "E0677"),
        ("cnn6.onnx cnn8.onnx --weights a.npz", 2, "--weights is given 1 time for 0 models without weights"),
        ("p.prototxt q.prototxt --weights a", 2, "--weights is given 1 time for 2 models without weights"),
        ("p.prototxt --weights a --weights b", 2, "--weights is given 2 times for 1 model without weights"),
        ("cnn6.onnx none.onnx", 2, "there is no file none.onnx"),
        ("cnn6.onnx net.pt", 2, "torch.onnx.export"),
        (
            "cnn6.onnx sigmoid.onnx",
            1,
            "error[E0675]: cnn6.onnx and sigmoid.onnx differ by more than numbers behind `maxpool 2x2`\n"
            "  cnn6.onnx: relu\n  sigmoid.onnx: sigmoid\n  = help: import them one by one",
        ),
        ("cnn6.onnx zero.onnx", 1, "zero.onnx was not imported (not proved"),
    ],
)
@pytest.mark.usefixtures("two")
def test_what_is_no_variant_is_refused(netdsl: Commands, arguments: str, code: int, text: str) -> None:
    convnet(netdsl.folder / "sigmoid.onnx", [1, 2], last="Sigmoid")
    nodes = [n("Conv", "x w", "a", pads=[1, 1, 1, 1]), n("Mul", "a zero", "y")]
    save(
        netdsl.folder / "zero.onnx",
        graph(nodes, {"w": w(4, 3, 3, 3), "zero": np.array(0, "f4")}, {"x": (TensorProto.FLOAT, ["N", 3, 8, 8])}),
    )
    (netdsl.folder / "net.pt").write_bytes(b"some bytes")
    for name in "pq":
        (netdsl.folder / f"{name}.prototxt").write_text(PROTOTXT % (4, "r"))
    if "zero" in arguments:
        save(
            netdsl.folder / "cnn6.onnx",
            graph(nodes, {"w": w(4, 3, 3, 3), "zero": np.array(2, "f4")}, {"x": (TensorProto.FLOAT, ["N", 3, 8, 8])}),
        )
    before = listing(netdsl.folder)
    done = netdsl("import", *arguments.split())
    assert done.code == code, done
    assert text in done.err
    assert listing(netdsl.folder) == before


def test_import_model_takes_a_list(two: list[Path], tmp_path: Path) -> None:
    found = api.import_model(two)
    assert found.text == COMMAND_TEXT
    assert repr(found.nets["cnn8"]) == "<net cnn8: 9 layers>"
    x = np.random.default_rng(0).normal(0, 1, (2, 3, 8, 8)).astype("f4")
    ours = found.nets["cnn8"].session(weights=found.weights["cnn8"])(x=x)["output"]
    np.testing.assert_allclose(ours, run(two[1], {"image": x})[0], rtol=1e-5, atol=1e-5)
    found = api.import_model(tuple(two), tmp_path / "b.net", name="c", check=1)
    assert (
        (tmp_path / "b.net").read_text()
        == found.text
        == COMMAND_TEXT.replace("net cnn(", "net c(").replace("= cnn(", "= c(")
    )
    assert (tmp_path / "cnn8.safetensors").exists()
    with pytest.raises(UserError, match="at least two"):
        api.import_model(two[:1])
    with pytest.raises(UserError, match="weights must be a list"):
        api.import_model(two, weights="w.npz")  # type: ignore[call-overload]
