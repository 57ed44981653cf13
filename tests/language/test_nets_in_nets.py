"""Nets in other nets: names, cuts, results, inputs, sizes, and what stays of the inner net."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import netdsl
from netdsl.base.text import Source
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import Library, zoo_nets
from netdsl.elaborate.net import elaborate, entry_net, instances, resolve
from netdsl.ir.net import Net
from tests.support.programs import names, net_of, try_net, weights

INNER = """
default conv bias off
block unit(n) seq { conv 3x3 n; relu }
net inner(width = 8, classes = 10) {
  input image 3x16x16
  features: seq { unit width; conv 3x3 width stride 2; s: seq { relu; conv 1x1 4 } }
  expect 4x8x8; expect params 27 * width + 9 * width * width + 4 * width
  stage: repeat 2 { unit channels; relu }
  output early training { global_avgpool; dense 3 }
  about { year 1990 }
  global_avgpool
  fc: dense classes
}
net narrow = inner(width = 4)
default conv bias on
"""

CUTS = {
    "": "p.features.0.0 p.features.0.1 p.features.1 p.features.s.0 p.features.s.1 p.stage.0.unit1.0 p.stage.0.unit1.1 "
    "p.stage.0.relu1 p.stage.1.unit1.0 p.stage.1.unit1.1 p.stage.1.relu1 p.global_avgpool1 p.fc",
    "until features": "p.features.0.0 p.features.0.1 p.features.1 p.features.s.0 p.features.s.1",
    "until features.s": "p.features.0.0 p.features.0.1 p.features.1 p.features.s.0 p.features.s.1",
    "until features.s.0": "p.features.0.0 p.features.0.1 p.features.1 p.features.s.0",
    "until features.0": "p.features.0.0 p.features.0.1",
    "until features.{1 - 1}.0": "p.features.0.0",
    "until stage.0": "p.features.0.0 p.features.0.1 p.features.1 p.features.s.0 p.features.s.1 p.stage.0.unit1.0 "
    "p.stage.0.unit1.1 p.stage.0.relu1",
    "until image": "",
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_keeps_what_leads_to_it(cut: str) -> None:
    net = net_of(f"{INNER}net outer {{ input x 3x16x16; p: inner {cut}; shift 1 }}", "outer")
    assert names(net) == [*CUTS[cut].split(), "shift1"]
    assert net.about == {}
    assert list(net.outputs) == ["output"]


def test_the_layers_are_those_of_the_net() -> None:
    alone = net_of(INNER, "inner", width=6)
    inside = net_of(f"{INNER}net outer {{ input x 3x16x16; p: inner width 6 }}", "outer")
    assert [f"p.{name}" for name in weights(alone) if not name.startswith("early.")] == weights(inside)
    shapes = {f"p.{node.name}": node.shape for node in alone.nodes}
    assert all(shapes[node.name] == node.shape for node in inside.nodes if node.inputs)


ARGUMENTS = {
    "by keyword": "p: inner classes 7 width 4",
    "by an alias": "p: narrow classes 7",
    "over those of an alias": "p: narrow width 4 classes 7",
    "a net as a value": "let f = inner; p: f width 4 classes 7",
    "a net as an argument of a block": "p: applied inner",
}


@pytest.mark.parametrize("how", ARGUMENTS)
def test_parameters_are_arguments(how: str) -> None:
    net = net_of(
        f"{INNER}block applied(f) seq {{ f width 4 classes 7 }}\nnet o {{ input x 3x9x9; {ARGUMENTS[how]} }}", "o"
    )
    assert net.outputs["output"].node.shape == (7,)
    assert net.parameters[weights(net)[0]].shape == (4, 3, 3, 3)


def test_a_net_without_a_label_is_named_like_a_block_call() -> None:
    net = net_of(
        f"{INNER}net o {{ input x 3x9x9; concat {{ inner until features.0 }} {{ inner until features.0 }} }}", "o"
    )
    assert weights(net) == ["inner1.features.0.0.weight", "inner2.features.0.0.weight"]


RESULTS = {
    "the only output, although more follows": ("dense 4; output a; dense 5; relu", "", (4,)),
    "a branch": ("dense 4; output a { dense 6 }; dense 5", "", (6,)),
    "not a training output": ("dense 4; output a training { dense 6 }; dense 5", "", (5,)),
    "the selected output": ("dense 4; output a { dense 6 }; output b { dense 7 }", "until b", (7,)),
    "an output with braces in its name": ("for i in range(3) { dense 4 + i; output a{i} }", "until a1", (5,)),
    "a label behind an output": ("dense 4; output a { dense 6 }; b: dense 9", "until b", (9,)),
}


@pytest.mark.parametrize("rule", RESULTS)
def test_the_result(rule: str) -> None:
    body, cut, shape = RESULTS[rule]
    net = net_of(f"net inner {{ input x 8; {body} }}\nnet o {{ input x 8; inner {cut} }}", "o")
    assert net.outputs["output"].node.shape == shape


def test_labels_and_outputs_are_reached_by_path() -> None:
    inner = "net inner { input image 8; a: { b: dense 4 }; output c { dense 5 }; dense 6 }\n"
    net = net_of(f"{inner}net o {{ input x 8; p: inner; concat p p.a p.a.b p.c p.image }}", "o")
    assert net.outputs["output"].node.shape == (5 + 4 + 4 + 5 + 8,)
    _, report = try_net(f"{inner}net o {{ input x 8; p: inner until a; add p p.c }}", "o")
    assert [problem.code for problem in report] == ["E0203"]


OPERANDS = {
    "branches": "two { dense 4 } { dense 5 }",
    "labels": "a: dense 4; from x; b: dense 5; two a b",
    "behind keywords": "a: dense 4; from x; two width 3 a { dense 5 }",
    "a single one for a single input": "one { dense 3 }",
}


@pytest.mark.parametrize("how", OPERANDS)
def test_operands_are_the_inputs_in_order(how: str) -> None:
    text = """net two(width = 3) { input left 4; l: dense width; input right 5; r: dense width; sub l r }
    net one { input x 3; relu }"""
    net = net_of(f"{text}\nnet o {{ input x 8; {OPERANDS[how]} }}", "o")
    assert net.outputs["output"].node.shape == (3,)
    if "two" in OPERANDS[how]:
        left, right = net.outputs["output"].node.inputs
        assert (left.inputs[0].shape, right.inputs[0].shape) == ((4,), (5,))


def test_reuse_shares_the_weights_of_a_net() -> None:
    net = net_of(f"{INNER}net o {{ input x 3x9x9; input y 3x9x9; p: inner; from x; q: reuse p; sub p q }}", "o")
    alone = net_of(f"{INNER}net o {{ input x 3x9x9; p: inner }}", "o")
    assert weights(net) == weights(alone)


def test_freeze_reaches_into_a_net() -> None:
    net = net_of(f"{INNER}net o {{ input x 3x9x9; freeze {{ p: inner until features }}; conv 1x1 3 }}", "o")
    assert [name for name, p in net.parameters.items() if p.trainable] == ["conv1.weight", "conv1.bias"]


SIZES = {
    "a bare size": ("[4, ?L]", "reshape [2, 2, ?L]", "4x12", (2, 2, 12)),
    "a multiple": ("[4, 6*?L]", "reshape [24, ?L]", "4x12", (24, 2)),
    "with a constant": ("[4, 2*?L + 2]", "slice 1 0 ?L", "4x12", (4, 5)),
    "two names": ("[4, ?H, ?W]", "reshape [4, ?H * 3]", "4x2x3", (4, 6)),
    "the channels": ("[?C, 4]", "dense ?C", "3x4", (3,)),
    "a size of the outer net": ("[4, 2*?L]", "reshape [8, ?L]", "[4, 4*?H]", (8, "2*H")),
    "another meaning of the same name": ("[4, ?H]", "reshape [2, 2, ?H]", "[4, 2*?H]", (2, 2, "2*H")),
    "swapped names": ("[4, ?H, ?W]", "if shape[1:] == [?H, ?W] { conv 1x1 2 }", "[4, ?W, ?H]", (2, "W", "H")),
    "no name": ("4x?", "reshape [2, 2, shape[1]]", "4x7", (2, 2, 7)),
    "another number": ("4x16", "reshape [2, 2, shape[1]]", "4x7", (2, 2, 7)),
}


@pytest.mark.parametrize("rule", SIZES)
def test_named_sizes_are_solved(rule: str) -> None:
    declared, body, given, shape = SIZES[rule]
    text = f"net inner {{ input x {declared}; {body} }}\nnet o {{ input x {given}; inner }}"
    net, report = try_net(text, "o")
    assert net is not None, [problem.message() for problem in report]
    assert tuple(s if isinstance(s, int) else str(s) for s in net.outputs["output"].node.shape) == shape


def test_named_sizes_hold_in_blocks_and_lets() -> None:
    text = """block b { reshape [2, 2, ?L] }
    net inner { input x [4, 3*?L]; let n = ?L; slice 1 0 n; b }
    net o { input x 4x12; inner }"""
    assert net_of(text, "o").outputs["output"].node.shape == (2, 2, 4)


def codes(text: str) -> list[str]:
    report = Report()
    module = Library(report).load(Source("test.net", text), "test.net")
    for instance in instances(module):
        elaborate(instance)
    return [problem.code for problem in report]


WRONG = {
    "other channels": ("net i { input x 3x8x8; relu }\nnet o { input x 4x8x8; i }", ["E0247"]),
    "other axes": ("net i { input x 3x8x8; relu }\nnet o { input x 3x8; i }", ["E0247"]),
    "words for numbers": ("net i { input x 9; dense 3 }\nnet o { input x 9 dtype i64; i }", ["E0247"]),
    "numbers for words": ("net i { input x 9 dtype i64; embedding 5 2 }\nnet o { input x 9; i }", ["E0247"]),
    "a size that does not divide": ("net i { input x [3, 4*?L]; relu }\nnet o { input x 3x6; i }", ["E0247"]),
    "a size that cannot be solved": (
        "net i { input x [3, ?L + ?M]; relu }\nnet o { input x 3x6; i }",
        ["E0247"],
    ),
    "a second input": ("net i { input x 8; input y 8; add x y }\nnet o { input x 8; i }", ["E0246"]),
    "two outputs": ("net i { input x 8; output a; relu; output b }\nnet o { input x 8; i }", ["E0245"]),
    "no such label": ("net i { input x 8; a: relu }\nnet o { input x 8; i until b }", ["E0244"]),
    "a label in an arm not taken": (
        "net i { input x 8; if off { a: relu } }\nnet o { input x 8; i until a }",
        ["E0244"],
    ),
    "an expression": ("net i { input x 8; a: relu }\nnet o { input x 8; i until 1 + 1 }", ["E0243"]),
    "no label at all": ("net i { input x 8; a: relu }\nnet o { input x 8; i until }", ["E0406"]),
    "an unknown parameter": ("net i(n = 3) { input x 8; dense n }\nnet o { input x 8; i m 4 }", ["E0402"]),
    "by position": ("net i(n = 3) { input x 8; dense n }\nnet o { input x 8; i 4 }", ["E0405"]),
    "a value too few": (
        "net i { input x 8; input y 8; input z 8; add x y z }\nnet o { input x 8; i { } { } }",
        ["E0246"],
    ),
    "a value too many": ("net i { input x 8; relu }\nnet o { input x 8; i { } { relu } }", ["E0261"]),
    "a value too many for the cut": (
        "net i { input x 8; a: relu; input y 8; add a y }\nnet o { input x 8; i until a { } { relu } }",
        ["E0261"],
    ),
    "a wrong operand is told once": (
        "net i { input x 8; input y 8; add x y }\nnet o { input x 8; i { } { dense 0 } }",
        ["E0401"],
    ),
    "a second operand that does not fit": (
        "net i { input x 8; input y 8; add x y }\nnet o { input x 8; i { } { dense 4 } }",
        ["E0247"],
    ),
    "too many": ("net i(n = 3) { input x 8; dense n }\nnet o { input x 8; i 4 5 }", ["E0405"]),
    "outside a domain": ("net i(n in [3] = 3) { input x 8; dense n }\nnet o { input x 8; i n 4 }", ["E0407"]),
    "itself": ("net o { input x 8; o }", ["E0206"]),
    "each other": ("net a { input x 8; b }\nnet b { input x 8; a }", ["E0206", "E0206"]),
    "itself through a block": ("block b { o }\nnet o { input x 8; b }", ["E0206"]),
    "before an input": ("net i { input x 8; relu }\nnet o { i }", ["E0207"]),
    "an input in a block": ("block b { input x 8 }\nnet i { input y 8; b }\nnet o { input x 8; i }", ["E0213"]),
    "a mistake inside is told once": ("net i { input x 8; conv 3x3 4 }\nnet o { input x 8; i until a }", ["E0305"]),
}


@pytest.mark.parametrize("rule", WRONG)
def test_what_is_wrong_is_found_once(rule: str) -> None:
    text, expected = WRONG[rule]
    assert codes(text) == expected


def test_what_follows_the_cut_may_not_fit() -> None:
    inner = "net i { input x 3x32x32; f: conv 3x3 4; maxpool 16; maxpool 2; dense 4 }\n"
    assert net_of(f"{inner}net o {{ input x 3x8x8; i until f }}", "o").outputs["output"].node.shape == (4, 8, 8)
    assert codes(f"{inner}net o {{ input x 3x8x8; i }}") != []


def test_what_the_cut_leaves_unused_is_no_warning_but_the_callers_is() -> None:
    text = f"{INNER}net o {{ input x 3x9x9; a: inner until stage.0; from x; b: inner until features; relu }}"
    _, report = try_net(text, "o")
    assert [(problem.code, problem.span.text) for problem in report] == [("W0201", "conv")] * len(list(report))


PIXELS = {
    "the same": ("mean 127.5 std 127.5", "inner", False),
    "the same for each channel": ("mean [127.5, 127.5, 127.5] std [127.5, 127.5, 127.5]", "inner", False),
    "none": ("", "inner", True),
    "another mean": ("mean 0 std 127.5", "inner", True),
    "another order": ("mean 127.5 std 127.5 order bgr", "inner", True),
    "behind a layer that moves values": ("", "slice 0 0 3; inner", True),
    "behind a computation": ("", "shift (-127.5); scale 1/127.5; inner", False),
}


@pytest.mark.parametrize("rule", PIXELS)
def test_other_preprocessing_is_a_warning(rule: str) -> None:
    given, body, warned = PIXELS[rule]
    inner = "net inner { input image 3x8x8 mean 127.5 std 127.5; conv 3x3 4 }\n"
    _, report = try_net(f"{inner}net o {{ input image 3x8x8 {given}; {body} }}", "o")
    assert [problem.code for problem in report] == ["W0208"] * warned


def test_the_weights_of_the_net_fit_under_the_label(tmp_path: Path) -> None:
    """A net that is nothing but another computes the same with the same weights, and so do the layers up to a cut."""
    (tmp_path / "inner.net").write_text(INNER)
    (tmp_path / "outer.net").write_text(
        'use inner from "inner.net"\nnet whole { input x 3x16x16; m: inner }\n'
        "net cut { input x 3x16x16; m: inner until stage; head: conv 1x1 2 }\n"
    )
    inner = netdsl.load(f"{tmp_path}/inner.net:inner")
    file = str(tmp_path / "inner.onnx")
    inner.save(file, seed=3)
    x = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype("f4")
    whole = netdsl.load(f"{tmp_path}/outer.net:whole")
    expected = inner.session(weights=file)(x)["output"]
    assert np.array_equal(whole.session(weights=file, rename={"^": "m."})(x)["output"], expected)
    cut = netdsl.load(f"{tmp_path}/outer.net:cut")
    options = {"weights": file, "rename": {"^": "m."}, "drop": ["^fc"]}
    with pytest.raises(netdsl.UserError):
        cut.session(**options)
    assert cut.session(exclude=["head"], **options)(x)["output"].shape == (2, 2, 8, 8)


def test_a_layer_wins_over_a_net_of_its_name_which_an_alias_calls() -> None:
    text = "net relu { input x 8; relu; dense 3 }\nnet other = relu()\nnet o { input x 8; CALL }"
    assert net_of(text.replace("CALL", "relu"), "o").outputs["output"].node.shape == (8,)
    assert net_of(text.replace("CALL", "other"), "o").outputs["output"].node.shape == (3,)


def test_a_default_is_not_of_a_net() -> None:
    assert codes("net i(n = 3) { input x 8; dense n }\nnet o { default i n 4; input x 8; i }") == ["E0408"]


def elaborated(text: str, name: str) -> Net:
    report = Report()
    module = Library(report).load(Source("outer.net", text), "outer.net")
    net = elaborate(resolve(*entry_net(module, name), {}))
    assert net is not None, [problem.message() for problem in report]
    return net


@pytest.mark.parametrize(("file", "name"), {file: name for name, file in reversed(zoo_nets().items())}.items())
def test_every_net_of_the_zoo_can_be_a_part(file: str, name: str) -> None:
    """It has the same layers, weights and result in a net of the same inputs."""
    alone = elaborated(f'use {name} from "zoo/{file}"\nnet alone = {name}()', "alone")
    inputs = []
    for node in alone.inputs:
        sizes = ", ".join(re.sub(r"[A-Za-z]\w*", r"?\g<0>", str(size)) for size in node.shape)
        inputs.append(f"input {node.name} [{sizes}] dtype {node.layer.dtype}")
    operands = " ".join(f"{{ from {node.name} }}" for node in alone.inputs) if len(inputs) > 1 else ""
    ends = list(alone.inference_outputs)
    until = f"until {ends[-1]} " if len(ends) > 1 else ""
    inside = elaborated(
        f'use {name} from "zoo/{file}"\nnet outer {{ {"; ".join(inputs)}; m: {name} {until}{operands} }}', "outer"
    )
    ours = inside.outputs["output"].node
    theirs = alone.outputs[ends[-1]].node
    assert ours.shape == theirs.shape
    assert ours.name == (f"m.{theirs.name}" if theirs.inputs else theirs.name)
    known = {f"m.{each}": p.shape for each, p in alone.parameters.items()}
    found = {each: p.shape for each, p in inside.parameters.items()}
    assert found.items() <= known.items()
    if len(alone.outputs) == 1:
        assert list(found.items()) == list(known.items())
