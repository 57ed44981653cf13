"""Structure that is found in models: golden texts for each pass, and nets of the zoo through ONNX and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netdsl
from netdsl.app.analyse import load_nets
from netdsl.base.text import Source
from netdsl.diagnostics.report import Report
from netdsl.importing.flat import FlatNet
from netdsl.importing.recompile import recompiled
from netdsl.importing.rewrite import Rewriter
from netdsl.importing.structure import arrange
from netdsl.importing.text import flat_text
from netdsl.ir.net import Net
from tests.support.onnx_models import model, n, w
from tests.support.paths import ROOT
from tests.support.zoo_models import fingerprint, flat_list


def text_of(path: Path, flat: bool = False) -> str:
    """Return the text of a model, without its first line, which names the file."""
    return netdsl.import_model(path, flat=flat).text.split("\n", 1)[1]


def conv(x: str, name: str, y: str, size: int, out: int, inner: int, **more: object) -> tuple[list[object], dict]:
    """Return a convolution and its weights; `name` is that of its module."""
    pads = [size // 2] * 4
    node = n("Conv", f"{x} {name}.weight {name}.bias", y, pads=pads, **more)
    return [node], {f"{name}.weight": w(out, inner, size, size), f"{name}.bias": w(out)}


class Model:
    """A model that grows by layers. Names of modules are those that PyTorch would write."""

    def __init__(self) -> None:
        self.nodes: list[object] = []
        self.arrays: dict[str, object] = {}

    def conv(self, x: str, name: str, size: int, out: int, inner: int, **more: object) -> str:
        nodes, arrays = conv(x, name, f"{name}_y", size, out, inner, **more)
        self.nodes += nodes
        self.arrays |= arrays
        return f"{name}_y"

    def op(self, kind: str, xs: str, y: str, **more: object) -> str:
        self.nodes.append(n(kind, xs, y, **more))
        return y

    def residual(self, x: str, name: str, out: int, inner: int, stride: int = 1) -> str:
        """A residual block, with a convolution in its shortcut if the shape changes."""
        a = self.conv(x, f"{name}.conv1", 3, out, inner, strides=[stride, stride])
        a = self.op("Relu", a, f"{name}.r", name=f"/{name.replace('.', '/', 1)}/relu/Relu")
        a = self.conv(a, f"{name}.conv2", 3, out, out)
        if out != inner:
            x = self.conv(x, f"{name}.downsample.0", 1, out, inner, strides=[stride, stride])
        a = self.op("Add", f"{a} {x}", f"{name}.a", name=f"/{name.split('.')[0]}/{name}/Add")
        return self.op("Relu", a, f"{name}.y", name=f"/{name.split('.')[0]}/{name}/relu_1/Relu")

    def text(self, path: Path, *shape: int, flat: bool = False) -> str:
        return text_of(model(path / "m.onnx", self.nodes, self.arrays, *shape), flat)


def resnet() -> Model:
    """Three residual blocks, of which the second one has another shape."""
    made = Model()
    x = made.conv("x", "stem", 3, 8, 3)
    x = made.residual(x, "layer1.0", 8, 8)
    x = made.residual(x, "layer1.1", 8, 8)
    x = made.residual(x, "layer2.0", 16, 8, 2)
    x = made.residual(x, "layer2.1", 16, 16)
    made.op("Relu", x, "y")
    return made


def test_residual_blocks_become_one_block(tmp_path: Path) -> None:
    assert (
        resnet().text(tmp_path, 3, 8, 8)
        == """\
block residual(width, stride = 1) {
  skip {
    conv 3x3 width stride stride; relu
    conv 3x3 width
  } project { conv 1x1 width stride stride }
  relu
}

net m {
  input x 3x8x8
  stem: conv 3x3 8
  layer1: repeat 2 { residual 8 }
  layer2: seq { residual 16 stride 2; residual 16 }
  relu
}
"""
    )


def test_blocks_have_the_names_of_classes(tmp_path: Path) -> None:
    """PyTorch's newer exporter writes the classes of modules; those of a container say nothing."""
    made = resnet()
    for node in made.nodes:
        scopes = [part for part in (node.input[-1].rpartition(".")[0]).split(".") if part]
        paths = ["", *(".".join(scopes[: count + 1]) for count in range(len(scopes))), "conv2d_1"]
        classes = ["torchvision.models.resnet.ResNet", "torch.nn.modules.container.Sequential", "m._SEBlock2", "m.C"]
        for key, values in {"name_scopes": paths, "class_hierarchy": [*classes[: len(paths) - 1], "aten.conv"]}.items():
            node.metadata_props.add(key=f"pkg.torch.onnx.{key}", value=str(values))
    assert made.text(tmp_path, 3, 8, 8).startswith("block se_block(width, stride = 1) {")


def test_a_flat_text_has_labels_alone(tmp_path: Path) -> None:
    lines = resnet().text(tmp_path, 3, 8, 8, flat=True).splitlines()
    assert lines[:6] == [
        "net m {",
        "  input x 3x8x8",
        "  stem: conv 3x3 8",
        "  conv 3x3 8; relu",
        "  conv 3x3 8",
        "  add stem { }",
    ]


def test_weights_keep_the_names_of_modules(tmp_path: Path) -> None:
    made = resnet()
    found = netdsl.import_model(model(tmp_path / "m.onnx", made.nodes, made.arrays, 3, 8, 8))
    assert {*found.weights} == {*made.arrays}
    for name, array in found.weights.items():
        assert np.array_equal(array, made.arrays[name])


def test_names_that_double_the_text_are_left_out(tmp_path: Path) -> None:
    """Names without dots form no groups; they stay on request."""
    made = Model()
    x = "x"
    for stage in "abcdef":
        y = made.op("Relu", made.conv(x, f"res{stage}_1", 3, 8, 8), f"r{stage}")
        x = made.op("Add", f"{made.conv(y, f'res{stage}_2', 3, 8, 8)} {x}", f"a{stage}")
    made.op("Relu", x, "y")
    path = model(tmp_path / "m.onnx", made.nodes, made.arrays, 8, 6, 6)
    found = netdsl.import_model(path)
    assert "  repeat 6 { skip { conv 3x3 8; relu; conv 3x3 8 } }\n  relu\n" in found.text
    assert "--keep-names" in str(found)
    kept = netdsl.import_model(path, keep_names=True)
    assert {*kept.weights} == {*made.arrays}
    assert not kept["dropped"]


def test_a_model_without_names_has_loops_too(tmp_path: Path) -> None:
    """Names that number the nodes say nothing."""
    made = resnet()
    names = {name: f"w{at}" for at, name in enumerate(made.arrays)}
    for node in made.nodes:
        node.name = ""
        node.input[:] = [names.get(name, name) for name in node.input]
    text = text_of(model(tmp_path / "m.onnx", made.nodes, {names[key]: v for key, v in made.arrays.items()}, 3, 8, 8))
    assert (
        text
        == """\
net m {
  input x 3x8x8
  conv 3x3 8
  repeat 2 { skip { conv 3x3 8; relu; conv 3x3 8 }; relu }
  skip { conv 3x3 16 stride 2; relu; conv 3x3 16 } project { conv 1x1 16 stride 2 }
  relu
  skip { conv 3x3 16; relu; conv 3x3 16 }
  relu; relu
}
"""
    )


def test_dense_blocks_are_nested_concats(tmp_path: Path) -> None:
    """Concats of all earlier layers take the one before; numbered modules become calls in a loop."""
    made = Model()
    parts = [made.conv("x", "stem", 3, 8, 3)]
    for at in range(3):
        name = f"block.layer{at + 1}"
        x = parts[0] if at == 0 else made.op("Concat", " ".join(parts), f"{name}.c", axis=1)
        x = made.conv(x, f"{name}.conv1", 1, 16, 8 + 4 * at)
        parts.append(made.conv(made.op("Relu", x, f"{name}.r"), f"{name}.conv2", 3, 4, 16))
    made.op("Concat", " ".join(parts), "c", axis=1)
    made.op("Relu", "c", "y")
    assert (
        made.text(tmp_path, 3, 8, 8)
        == """\
net m {
  input x 3x8x8
  stem: conv 3x3 8
  block: for i in range(1, 4) { layer{i}: { concat { conv 1x1 16; relu; conv 3x3 4 } } }
  relu
}
"""
    )


def test_a_gap_in_the_numbers_of_a_sequence_is_filled(tmp_path: Path) -> None:
    made = Model()
    x = made.conv("x", "features.0", 3, 8, 3)
    x = made.op("Relu", x, "r", name="/features/features.2/Relu")
    x = made.conv(x, "features.3", 3, 8, 8)
    made.op("Relu", made.conv(x, "features.6", 3, 8, 8), "y")
    assert (
        made.text(tmp_path, 3, 8, 8)
        == """\
net m {
  input x 3x8x8
  features: seq { conv 3x3 8; relu; identity; conv 3x3 8; identity; identity; conv 3x3 8 }
  relu
}
"""
    )


def test_numbered_modules_take_values_from_outside(tmp_path: Path) -> None:
    """What a `seq` numbers is a call; a label outside of the block is a parameter."""
    made = Model()
    x = stem = made.conv("x", "stem", 3, 8, 3)
    for at in range(3):
        x = made.conv(x, f"layers.{at}.conv1", 3, 8, 8)
        x = made.op("Mul", f"{x} {stem}", f"m{at}", name=f"/layers/layers.{at}/Mul")
        x = made.conv(x, f"layers.{at}.conv2", 3, 8, 8)
    made.op("Relu", x, "y")
    assert (
        made.text(tmp_path, 3, 8, 8)
        == """\
block unit { mul { conv 3x3 8 }; conv 3x3 8 }

block unit_b(x) { mul x { conv 3x3 8 }; conv 3x3 8 }

net m {
  input x 3x8x8
  stem: conv 3x3 8
  layers: seq { unit; repeat 2 { unit_b stem } }
  relu
}
"""
    )


def test_lists_that_are_no_groups_are_in_the_names(tmp_path: Path) -> None:
    """Modules between those of a list, or values of a part that are needed outside, leave `convs.0` as `convs_0`."""
    made = Model()
    x = made.conv("x", "stem", 3, 8, 3)
    for at in range(2):
        x = made.conv(x, f"layer.convs.{at}", 3, 8, 8)
        x = made.op("PRelu", f"{x} layer.acts.{at}.weight", f"a{at}")
        made.arrays[f"layer.acts.{at}.weight"] = w(8, 1, 1)
    first = made.conv(x, "stages.0.conv1", 3, 8, 8)
    made.op("Add", f"{made.conv(made.conv(first, 'stages.0.conv2', 3, 8, 8), 'last', 3, 8, 8)} {first}", "y")
    assert (
        made.text(tmp_path, 3, 8, 8)
        == """\
net m {
  input x 3x8x8
  stem: conv 3x3 8
  layer: { convs_0: conv 3x3 8; acts_0: prelu; convs_1: conv 3x3 8; acts_1: prelu }
  stages_0: { conv1: conv 3x3 8; conv2: conv 3x3 8 }
  add stages_0.conv1 { last: conv 3x3 8 }
}
"""
    )


def test_parts_of_channels_are_multiples(tmp_path: Path) -> None:
    made = Model()
    x, inner = "x", 3
    made.arrays |= {"axis": np.array([1]), "end": np.array([2**63 - 1])}
    for at, width in enumerate([4, 8, 12, 16, 20]):
        x = made.conv(x, f"stem{at}", 3, 3 * width, inner)
        made.arrays |= {f"n{at * 3 + i}": np.array([bound]) for i, bound in enumerate([width, 2 * width, -width])}
        a = made.op("Slice", f"{x} n{3 * at} n{3 * at + 1} axis", f"a{at}")
        b = made.op("Slice", f"{x} n{3 * at + 2} end axis", f"b{at}")
        a = made.conv(a, f"part{at}.conv1", 3, 16, width)
        b = made.conv(b, f"part{at}.conv2", 3, 16, width)
        x, inner = made.op("Concat", f"{a} {b}", f"c{at}", axis=1), 32
    made.op("Relu", x, "y")
    lines = made.text(tmp_path, 3, 8, 8).splitlines()
    assert lines[:2] == [
        "block part(start) {",
        "  concat { slice 0 start 2*start; conv 3x3 16 } { slice 0 (-start); conv 3x3 16 }",
    ]


def test_branches_have_parameters(tmp_path: Path) -> None:
    """Widths that differ are parameters; one that is a multiple of another is written as that."""
    made = Model()
    x, inner = made.conv("x", "stem", 3, 8, 3), 8
    for name, (a, b) in {"mixed1": (8, 4), "mixed2": (16, 24), "mixed3": (32, 4)}.items():
        one = made.conv(x, f"{name}.a", 1, a, inner)
        two = made.conv(made.conv(x, f"{name}.b1", 1, b, inner), f"{name}.b2", 3, 2 * b, b)
        pool = made.op("MaxPool", x, f"{name}.p", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
        x = made.op("Concat", f"{one} {two} {pool}", f"{name}.y", axis=1)
        inner += a + 2 * b
    made.op("Relu", x, "y")
    assert (
        made.text(tmp_path, 3, 8, 8)
        == """\
block mixed(width, width2) {
  concat { a: conv 1x1 width }
         { b1: conv 1x1 width2; b2: conv 3x3 2*width2 }
         { maxpool 3x3 stride 1 pad 1 }
}

net m {
  input x 3x8x8
  stem: conv 3x3 8
  mixed 8 4
  mixed 16 24
  mixed 32 4
  relu
}
"""
    )


def rewritten(flat: FlatNet) -> Rewriter:
    arrange(flat)
    found = Rewriter(flat)
    found.run()
    return found


LOOPS = {
    "arguments": """\
net n {
  input x 8x16
  conv 3 8; relu
  for i in range(4) { conv 3 8*2**i; bn; relu }
  for i in range(1, 5) { skip { layer{i}: conv 3 64 pad [2**i, 0] dilation 2**(i-1); relu } }
}
""",
    "lists": """\
net n {
  input x 8x16
  for i, width in enumerate([8, 24, 40, 16, 40, 8, 24]) { point{i}: conv 1 width; relu }
  for width, dilation in [[16, 4], [48, 1], [64, 3], [16, 1], [80, 4]] {
    conv 1 width; bn; relu
    conv 3 channels//2 dilation dilation; bn; relu
    skip { conv 1 channels; tanh }
  }
}
""",
    "operands": """\
net n {
  input x 8x16
  for i in range(4) { skip { gate{i}: conv 3 8; conv 1 8 } }
  gate4: conv 3 8
  add for i in range(5) { from gate{i}; conv 1 8 }
  concat for i in range(1, 5) { slice 0 i i+1; scale 2**i }
}
""",
    "labels": """\
block mixed(width, x) {
  concat { a: conv 3 width; bn; relu } { from x; b: conv 1 width; bn; sigmoid }
  c: conv 1 width; bn; tanh
}

net n {
  input left 8x16
  input right 8x16
  m0: mixed 8 left
  m1: mixed 16 left
  add { m2: mixed 24 right; conv 1 8 } { from m0; conv 1 8 } { conv 1 8 }
}
""",
}
"""Texts that come back as they are."""


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in LOOPS.items()])
def test_loops_come_back(text: str) -> None:
    """Loops whose arguments, labels and operands follow from the number of the iteration."""
    assert rewritten(flat_list(recompiled(text, "n.net"))).text() == text


SAMPLE = ("resnet", "densenet", "mobilenet_v2", "squeezenet", "vgg", "wavenet", "xception")
"""Files of the zoo of which the first net is tested always; the others are slow."""

SPECS = sorted((ROOT / "specs").glob("*.net"))

FACTOR = 1.5
"""How many times as many lines as a spec its import has at most."""

LONG = {"ssd300", "swin"}
"""Specs whose imports are longer: they have many shapes that a person computes."""

OTHERWISE = {
    "swin",  # windows are split behind `linear`, and what indices select of a table is a weight by itself
}
"""Specs with layers that are others, of equal results, in their ONNX models."""


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path.stem in SAMPLE else pytest.mark.slow, id=path.stem) for path in SPECS],
)
def test_nets_of_the_zoo_come_back(path: Path) -> None:
    """A net that is compiled and imported computes the same, from weights of the same names, in few lines: the first of
    a file, and those with other kinds of layers."""
    nets = {}
    for net, _ in load_nets(Source(str(path), path.read_text()), Report()).values():
        nets.setdefault(frozenset(node.layer.kind for node in net.nodes), net)
    for net in nets.values():
        comes_back(path, net)


def comes_back(path: Path, net: Net) -> None:
    source = path.read_text()
    flat = flat_list(net)
    assert [*flat.refused] == []
    rewriter = rewritten(flat)
    text = rewriter.text()
    assert rewriter.dropped == {}
    assert recompiled(flat_text(flat), "flat.net")
    if path.stem not in OTHERWISE:
        assert fingerprint(recompiled(text, "again.net")) == fingerprint(net)
    if path.stem not in LONG:
        assert text.count("\n") <= FACTOR * source.count("\n")
    check = Report()
    load_nets(Source("again.net", text), check)
    assert {problem.code for problem in check} <= {"W0301", "W0302"}  # which are warnings of the model


CONVS = st.sampled_from(["conv 3x3 {c}", "conv 1x1 {c} bias off; bn", "dwconv 3x3", "bn", "conv 3x3 {c} groups 2"])
ACTIVATIONS = st.sampled_from(["relu", "silu", "tanh"])
POOL = "maxpool 3x3 stride 1 pad 1"


def bodies(c: int) -> st.SearchStrategy[str]:
    """Return statements that keep c channels, of layers, branches, groups and loops."""
    layer = st.builds(lambda a, b: f"{a.format(c=c)}; {b}", CONVS, ACTIVATIONS)

    def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.lists(inner, min_size=1, max_size=3).map("; ".join),
            inner.map(lambda body: f"skip {{ {body}; conv 3x3 {c} }}"),
            st.builds(lambda a, b: f"concat {{ {a} }} {{ {b} }}; conv 1x1 {c}", inner, inner),
            inner.map(lambda body: f"mul {{ {body}; sigmoid }}"),
            st.builds(lambda body, times: f"repeat {times} {{ {body} }}", inner, st.integers(1, 4)),
            st.builds(lambda body, label: f"{label}: {{ {body} }}", inner, LABELS),
            st.builds(lambda body, label: f"{label}: repeat 3 {{ {body} }}", inner, LABELS),
            layer.map(lambda body: f"{{label}}: seq {{ {body}; {POOL}; {body} }}".replace("{label}", "s{n}")),
        )

    return st.recursive(layer, nested, max_leaves=8)


LABELS = st.sampled_from(["a{n}", "stage{n}", "b_{n}"])


@given(st.data())
@settings(max_examples=40)
def test_random_nets_come_back(data: st.DataObject) -> None:
    """A net of the language that is compiled and imported is the same net."""
    body = data.draw(bodies(8))
    while "{n}" in body:  # labels are unique
        body = body.replace("{n}", str(body.count("{n}")), 1)
    net = recompiled(f"net n {{ input x 8x6x6; {body} }}", "n.net")
    rewriter = rewritten(flat_list(net))
    assert rewriter.dropped == {}
    assert fingerprint(recompiled(rewriter.text(), "again.net")) == fingerprint(net)
