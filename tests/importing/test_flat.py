"""The flat list: every net of the zoo as one, written as a text and compiled again; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from netdsl.app.analyse import load_nets
from netdsl.base.text import Source
from netdsl.declare.arguments import Operand, Word
from netdsl.diagnostics.report import Report
from netdsl.importing.calls import conv
from netdsl.importing.flat import FlatLayer, FlatNet, FlatWeight, shortest
from netdsl.importing.recompile import Differs, compared, named_weights, recompiled
from netdsl.importing.text import flat_text
from netdsl.importing.tidy import tidy
from netdsl.ir.net import Net, Node
from tests.support.paths import ROOT

SPECS = sorted((ROOT / "specs").glob("*.net"))


def as_flat(net: Net) -> FlatNet:
    """Return a net as a flat list, whose layers have no weights."""
    flat = FlatNet(net.name, "zoo")
    made: dict[Node, FlatLayer | None] = {}
    owners: dict[str, FlatLayer | None] = {}
    for node in net.nodes:
        arguments = {name: getattr(node.layer, name) for name in node.layer.arguments}
        given = {name: value for name, value in arguments.items() if value != node.layer.arguments[name].default}
        operands, values = node.layer.split(node.inputs)
        plain = {
            name: value for name, value in given.items() if not isinstance(node.layer.arguments[name].kind, Operand)
        }
        if "tied" in plain:
            plain.pop("init", None)  # which is that of the other layer
        words = {name: Word(value) if type(value) is str else value for name, value in plain.items()}
        owner = next((owners[p.name] for p in node.parameters.values() if p.name in owners), None)
        if node.layer.kind == "input":
            made[node] = flat.input(node.name, words.pop("sizes"), **words)
            continue
        found = flat.add(
            node.layer.kind,
            [made[x] for x in operands],
            words,
            values={name: made[x] for name, x in values.items()},
            shares=owner,
            path=node.name,
        )
        made[node] = found
        for parameter in node.parameters.values():
            owners.setdefault(parameter.name, found)
    for name, output in net.outputs.items():
        flat.output(name, made[output.node])
    return flat


@pytest.mark.parametrize("path", SPECS, ids=[path.stem for path in SPECS])
def test_every_net_of_the_zoo_is_a_flat_list(path: Path) -> None:
    """The first net of each file: its flat text compiles to the same layers, arguments, inputs and shapes."""
    report = Report()
    net, _ = next(iter(load_nets(Source(str(path), path.read_text()), report).values()))
    flat = as_flat(net)
    assert [str(remark) for remark in flat.refused] == []
    again = recompiled(flat_text(flat), "flat.net")
    found = compared(flat, again)
    assert len(found) >= len(net.nodes) - len(net.inputs)
    shapes = sorted(p.shape for p in net.parameters.values())
    assert sorted(p.shape for p in again.parameters.values()) == shapes


def small() -> FlatNet:
    """A net with a chain, a branch, shared weights, constants and two outputs."""
    net = FlatNet("my-net 1", "model")
    x = net.input("image", (3, 8, 8), mean=(0.5, 0.25, -0.1), order=Word("bgr"))
    a = net.add("relu", [conv(net, x, {}, kernel=(3, 3), outputs=4, pads=(1, 1, 1, 1), path="conv1")])
    b = net.add("bn", [conv(net, a, {}, kernel=(3, 3), outputs=4, groups=4, pads=(1, 1, 1, 1))], {"eps": 1e-3})
    c = net.add("relu", [net.add("add", [a, b], path="layer1.0.sum")])
    gamma = net.add("param", [], {"sizes": (4, 1, 1)}, path="gamma")
    d = net.add("mul", [c, gamma])
    numbers = net.add(
        "scale", [net.add("values", [], {"numbers": (0.0,) * 5 + (1.5,) * 3, "sizes": (8, 1, 1)})], {"a": -2.0}
    )
    both = net.add("add", [numbers, net.add("concat", [d, a])], {"spread": True})
    head = conv(net, both, {}, kernel=(1, 1), outputs=2, bias=False, path="head.0")
    again = net.add("conv", [net.add("concat", [a, d])], {"kernel": (1, 1), "channels": 2, "bias": False}, shares=head)
    net.output("scores.1", head)
    net.output("other", again)
    return net


def test_a_flat_text_reads_well() -> None:
    assert (
        flat_text(small(), ["From a model."])
        == """\
# From a model.
net my_net_1 {
  input image 3x8x8 order bgr mean [0.5, 0.25, -0.1]
  conv 3x3 4
  relu_1: relu
  dwconv 3x3; bn eps 0.001
  add relu_1 { }; relu
  mul_1: mul { gamma: param 4x1x1 }
  concat relu_1
  add spread on { values [0] * 5 + [1.5, 1.5, 1.5] 8x1x1; scale (-2) } { }
  head_0: conv 1x1 2 bias off; output scores_1
  concat relu_1 mul_1
  reuse head_0; output other
}
"""
    )


def test_weights_take_the_names_of_the_text() -> None:
    net = FlatNet("n", "m")
    x = net.input("x", (4,))
    array = np.arange(8, dtype="f4").reshape(2, 4)
    y = net.add("dense", [x], {"units": 2, "bias": False}, {"weight": FlatWeight((2, 4), lambda: array)}, path="a.b")
    net.output("y", net.add("add", [net.add("relu", [y]), y]))
    again = recompiled(flat_text(net), "n.net")
    weights = named_weights(compared(net, again), again)
    assert [*weights] == ["a_b.weight"]
    assert weights["a_b.weight"].read() is array


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("relu_1: relu", "relu_1: tanh"), "is <"),
        (("eps 0.001", "eps 0.002"), "`eps` of"),
        (("add relu_1 { }; relu", "add { } relu_1; relu"), "is both|is <"),
        (("reuse head_0", "conv 1x1 2 bias off"), "does not share"),
        (("output other", "output third"), "the outputs are"),
        (("dwconv 3x3", "dwconv 3y3"), "error"),
    ],
)
def test_a_text_of_another_net_is_told_apart(change: tuple[str, str], why: str) -> None:
    net = small()
    text = flat_text(net)
    assert change[0] in text
    with pytest.raises(Differs, match=why):
        compared(net, recompiled(text.replace(*change), "n.net"))


def test_all_that_does_not_fit_is_refused_at_once() -> None:
    net = FlatNet("n", "m")
    x = net.input("x", (4, 8, 8))
    small_one = net.add("maxpool", [x], {"kernel": (2, 2)})
    lost = net.add("add", [x, small_one], place="line 3")
    assert net.add("relu", [lost]) is None
    net.add("lrn", [x], {"size": 4}, place="line 5")
    net.add("dense", [x], {"units": 3}, {"weight": FlatWeight((3, 9), lambda: np.zeros((3, 9)))}, place="line 6")
    net.refuse("a Python layer", "line 7")
    net.refuse("a Python layer", "line 9")
    assert [str(remark) for remark in net.refused] == [
        "a `add` (line 3): `add` cannot combine 4x8x8 and 4x4x4",
        "a `lrn` (line 5): `size` must be an odd integer of at least 1, not 4",
        "weights of a `dense` (line 6): `weight` has the shape 3x9, but needs 3x256",
        "a Python layer x2 (first line 7)",
    ]


@pytest.mark.parametrize("number", [0.1, 1e-5, 1 / 3, 3.4e38, 1e-38, 123456789.0, -0.05, 0.0])
def test_numbers_are_as_short_as_float32_allows(number: float) -> None:
    found = shortest(number)
    assert np.float32(found) == np.float32(number)
    assert len(repr(found)) <= len(repr(float(np.float32(number))))


def test_a_depthwise_scale_and_folded_bias_are_found() -> None:
    """`tidy` reports what it replaced, and keeps the values."""
    net = FlatNet("n", "m")
    x = net.input("x", (4, 8, 8))
    weight = {"weight": FlatWeight((4, 1, 1), lambda: np.ones((4, 1, 1), "f4"))}
    y = net.add("mul", [x, net.add("param", [], {"sizes": (4, 1, 1)}, weight)])
    z = net.add("add", [y, net.add("param", [], {"sizes": (4, 1, 1)}, weight)], {"spread": True})
    net.output("y", z)
    replaced = tidy(net)
    assert [layer.kind for layer in net.layers] == ["input", "dwconv"]
    assert replaced == {z: net.outputs["y"]}
