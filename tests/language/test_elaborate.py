"""AST to Net: names of layers and weights, scopes, labels, blocks, loops, references, shapes."""

from __future__ import annotations

import math

import pytest

from netdsl.base.limits import WORK
from netdsl.base.text import Source
from netdsl.diagnostics.report import Report
from netdsl.elaborate.context import Context
from netdsl.elaborate.library import Library
from netdsl.elaborate.net import attempt, elaborate, entry_net, instances, resolve
from netdsl.ir.net import Node
from netdsl.syntax import ast
from tests.support.programs import flow, names, net_of, try_net, weights

NAMES = {
    "an unlabelled layer: its kind and its ordinal among that kind": (
        "input x 3x8x8; conv 3x3 4; bn; relu; conv 3x3 4; bn",
        "conv1 bn1 relu1 conv2 bn2",
    ),
    "a label replaces the ordinal and does not count": (
        "input x 3x8x8; conv 3x3 4; stem: conv 3x3 4; conv 3x3 4",
        "conv1 stem conv2",
    ),
    "a labelled group is a scope": (
        "input x 8; head: { dense 4; relu; dense 2 }",
        "head.dense1 head.relu1 head.dense2",
    ),
    "a seq numbers its layers and calls from 0, weightless ones too": (
        "input x 8; head: seq { dense 4; relu; named: tanh; dense 2 }",
        "head.0 head.1 head.named head.2",
    ),
    "a block call's scope is the block's name and its ordinal": (
        "input x 8; unit 4; unit 2; out: unit 1",
        "unit1.dense1 unit1.relu1 unit2.dense1 unit2.relu1 out.dense1 out.relu1",
    ),
    "not a variable's name": ("let u = unit; input x 8; u 4", "unit1.dense1 unit1.relu1"),
    "a block may be a seq": ("input x 8; sequence 4", "sequence1.0 sequence1.1"),
    "a seq's calls are numbered too": (
        "input x 8; all: seq { unit 4; sequence 2; dense 1 }",
        "all.0.dense1 all.0.relu1 all.1.0 all.1.1 all.2",
    ),
    "a labelled repeat numbers its rounds; a lone call takes the number": (
        "input x 8; a: repeat 2 { dense 4 }; b: repeat 2 { let n = 4; unit n; expect 4 }",
        "a.0 a.1 b.0.dense1 b.0.relu1 b.1.dense1 b.1.relu1",
    ),
    "several statements in a round stand in its scope": (
        "input x 8; a: repeat 2 { dense 4; relu }",
        "a.0.dense1 a.0.relu1 a.1.dense1 a.1.relu1",
    ),
    "a lone labelled call keeps its label": ("input x 8; a: repeat 2 { fc: dense 4 }", "a.0.fc a.1.fc"),
    "an unlabelled repeat, for, if, skip and freeze open none": (
        "input x 8; repeat 2 { dense 8 }; for n in [8] { dense n }; if on { dense 8 }\n"
        "skip { dense 8 }; freeze { dense 8 }",
        "dense1 dense2 dense3 dense4 dense5 add1 dense6",
    ),
    "a labelled merge names the result and opens a scope": (
        "input x 8; both: concat { dense 4 } { dense 4 }",
        "both.dense1 both.dense2 both",
    ),
    "a labelled skip too": ("input x 8; res: skip { dense 8 }", "res.dense1 res"),
    "labels interpolate": ("input x 8; for i in range(2) { fc{i+1}: dense 4 }", "fc1 fc2"),
    "project is a seq called downsample": (
        "input x 3x8x8; skip { conv 3x3 4 } project { conv 1x1 4; bn }; skip { conv 3x3 5 } project { conv 1x1 5 }",
        "conv1 downsample.0 downsample.1 add1 conv2 downsample2.0 add2",
    ),
    "a block that calls itself": (
        "input x 8; down 2",
        "down1.dense1 down1.down1.dense1 down1.down1.last.dense1",
    ),
    "a seq in a seq is numbered, and takes a number": (
        "input x 8; all: seq { dense 4; seq { dense 4; relu; seq { tanh } }; relu; skip { seq { dense 4 } } }",
        "all.0 all.1.0 all.1.1 all.1.2.0 all.2 all.3.0 all.add1",
    ),
    "a lone seq of a round takes its number": (
        "input x 8; a: repeat 2 { let n = 4; seq { dense n; relu } }",
        "a.0.0 a.0.1 a.1.0 a.1.1",
    ),
    "an output's branch is a scope": ("input x 8; output y { dense 4 }; output z { dense 4 }", "y.dense1 z.dense1"),
    "ordinals run on through the branches of a merge": (
        "input x 8; concat { dense 4 } { dense 4 } for n in [2, 3] { dense n }; dense 1",
        "dense1 dense2 dense3 dense4 concat1 dense5",
    ),
    "merges take no number in a seq": (
        "input x 8; all: seq { dense 8; skip { dense 8 }; dense 2 }",
        "all.0 all.1 all.add1 all.2",
    ),
}
BLOCKS = """
block unit(n) { dense n; relu }
block sequence(n) seq { dense n; relu }
block down(n) { dense n + 1; if n > 1 { down (n - 1) } else if n == 1 { last: down 0 } }
"""


@pytest.mark.parametrize("rule", NAMES)
def test_names_follow_the_scopes(rule: str) -> None:
    text, expected = NAMES[rule]
    assert names(flow(text, BLOCKS)) == expected.split()


def test_weights_bear_pytorchs_words() -> None:
    net = flow("input x 3x8x8; a: { conv 3x3 4; bn }; conv 3x3 2 bias off; bn affine off; dense 3")
    assert weights(net) == [
        "a.conv1.weight",
        "a.conv1.bias",
        "a.bn1.weight",
        "a.bn1.bias",
        "a.bn1.running_mean",
        "a.bn1.running_var",
        "conv1.weight",
        "bn1.running_mean",
        "bn1.running_var",
        "dense1.weight",
        "dense1.bias",
    ]


SHAPES = {
    "flow": ("input x 3x8x8; conv 3x3 4 stride 2; relu", (4, 4, 4)),
    "channels default to the input's": ("input x 3x8x8; conv 3x3", (3, 8, 8)),
    "channels is the current count": ("input x 3x8x8; conv 3x3 channels*2", (6, 8, 8)),
    "shape is the current shape": ("input x 3x8x6; dense shape[1] + shape[2]", (14,)),
    "a keyword's value may be a variable of its name": (
        "let stride = 2; input x 3x8x8; conv 3x3 4 stride stride",
        (4, 4, 4),
    ),
    "parentheses pass a like-named variable by place": ("let groups = 5; input x 3x8x8; conv 3x3 (groups)", (5, 8, 8)),
    "from goes back": ("input x 8; a: dense 5; dense 3; from a", (5,)),
    "an input's name is a label": ("input x 8; input y 4; dense 3; add { } { from x; dense 3 }", (3,)),
    "an operand may be a label": ("input x 8; a: dense 5; dense 5; add a", (5,)),
    "labels alone": ("input x 8; a: dense 5; b: dense 5; dense 3; sub a b", (5,)),
    "mul spreads size 1": ("input x 4x8x8; mul { global_avgpool; conv 1x1 4; sigmoid }", (4, 8, 8)),
    "concat joins channels": ("input x 4x8x8; concat { } { conv 1x1 3 } for n in [1, 2] { conv 1x1 n }", (10, 8, 8)),
    "concat joins another axis": ("input x 4x8x8; concat axis 2 { } { }", (4, 8, 16)),
    "a for of one round is that branch": ("input x 8; add for n in [5] { dense n }", (5,)),
    "skip if off applies the body": ("input x 8; skip if off { dense 5 }", (5,)),
    "project only where the shapes differ": ("input x 8; skip { dense 8 } project { dense 3 }", (8,)),
    "project": ("input x 8; skip { dense 5 } project { dense 5 }", (5,)),
    "an empty branch is the identity": ("input x 8; skip { }", (8,)),
    "repeat 0": ("input x 8; repeat 0 { dense 5 }", (8,)),
    "if, else if, else": ("input x 8; if off { dense 1 } else if channels == 8 { dense 2 } else { dense 3 }", (2,)),
    "for takes entries apart": ("input x 8; for a, b in zip([3, 4], [5, 6]) { dense a*b }", (24,)),
    "repeat as counts rounds": ("input x 8; repeat 3 as j { dense j + 1 }", (3,)),
    "let is its braces' own": ("input x 8; repeat 2 { let n = channels - 1; dense n }", (6,)),
    "a let hides one outside": ("let n = 3; input x 8; { }".replace("{ }", "if on { let n = 4; dense n }"), (4,)),
    "paths reach into labelled rounds": ("input x 8; a: repeat 2 { top: dense 4; dense 2 }; from a.0.top", (4,)),
    "paths reach into labelled block calls": ("input x 8; a: unit 4; b: unit 2; from a.inner", (7,)),
    "references interpolate": ("input x 8; for i in range(3) { z{i}: dense i + 1 }; from z{1}", (2,)),
    "labels in a skip belong to the scope around": (
        "input x 8; skip { z: dense 8 }; dense 3; add { from z; dense 3 }",
        (3,),
    ),
    "a label may be any word": ("input x 8; skip: dense 5; dense 3; from skip", (5,)),
    "a label may be passed to a block": ("input x 8; a: dense 5; dense 3; back a", (5,)),
    "a block may be passed to a block": ("input x 8; twice unit 4", (4,)),
    "a layer may be passed to a block": ("input x 8; twice dense 4", (4,)),
    "a word may be a block's default": ("input x 3x8x8; padded; padded valid; padded pad valid", (3, 4, 4)),
    "defaults are lexical": ("input x 3x8x8; default conv stride 2; conv 3x3 4; strided", (4, 4, 4)),
    "defaults end with their braces": ("input x 3x8x8; if on { default conv stride 2 }; conv 3x3 4", (4, 8, 8)),
    "a default takes keywords alone": ("input x 3x8x8; default conv bias off stride 2; conv 3x3 4", (4, 4, 4)),
    "match": ("input x 8; dense match channels { 4 => 1; 8 => 2; _ => 3 }", (2,)),
    "fn": ("input x 8; dense double(channels)", (16,)),
    "a fraction that comes out whole": ("input x 8; dense channels / 4", (2,)),
    "spread repeats axes of size 1": ("input x 3x4x4; add spread on { global_avgpool } { reduce sum 0 }", (3, 4, 4)),
    "spread as a default": ("input x 3x4x4; default min spread on; min { } { global_avgpool }", (3, 4, 4)),
    "spread by a variable": ("let wide = on; input x 3x4x4; sub spread wide { } { global_avgpool }", (3, 4, 4)),
    "spread over a size known at run time": (
        "input x [3, 4*?H]; add spread on { global_avgpool } { }; conv 1 2; global_avgpool",
        (2, 1),
    ),
    "a comprehension": ("input x 8; for n in [2 * i for i in range(4) if i % 2 == 1] { dense n }", (6,)),
    "several for: the last changes fastest": (
        "input x 8; dense [10 * a + b for a in range(3) for b in range(a)][1]; expect 20",
        (20,),
    ),
    "a comprehension takes lists apart": ("input x 8; dense sum([a * b for a, b in [[1, 2], [3, 4]]])", (14,)),
    "its names hide those outside": ("input x 8; let i = 5; dense [i for i in [7]][0]; dense i", (5,)),
    "it sees the current value": ("input x 3x8x8; reshape [n for n in reversed(shape)]", (8, 8, 3)),
    "slices": ("input x 3x4x5; reshape [channels, prod(shape[1:])]; reshape [1] + shape[:-1] + shape[-1:]", (1, 3, 20)),
    "an empty slice": ("input x 3x4x5; reshape shape[3:] + shape[0:0] + [60]", (60,)),
    "sorted, product of none, magnitude": (
        "input x 8; dense sorted([3, 1/2, 2])[-1] + prod([]) + abs(-2) + abs(-3)",
        (9,),
    ),
    "sizes as a list": ("input x [3, 8, 8]; conv [3, 5] 4 pad valid", (4, 6, 4)),
    "one dimension": ("input x 4x20; conv 3 8 stride 2 dilation 2 pad [4, 0]", (8, 10)),
    "three dimensions": ("input x 1x8x8x8; conv 3x3x3 2; maxpool 2", (2, 4, 4, 4)),
    "output leaves the flow": ("input x 8; output y { dense 3 }; dense 5; output z", (5,)),
}
MORE = """
block unit(n) { inner: dense 7; dense n }
block back(label) { from label }
block twice(b, n) { b n; b n }
block padded(pad = same) { conv 3x3 pad pad }
block strided { conv 3x3 }
fn double(n) = 2 * n
"""


@pytest.mark.parametrize("rule", SHAPES)
def test_shapes_follow_the_flow(rule: str) -> None:
    text, expected = SHAPES[rule]
    assert list(flow(text, MORE).outputs.values())[-1].node.shape == expected


def test_names_of_inputs_and_outputs_interpolate() -> None:
    net = flow(
        "repeat 2 as i { input view{i+1} 8 }\n"
        "for i, n in [[0, 2], [1, 3]] { output d{n}_{i} training { dense n } }; add view{1} view2"
    )
    assert [node.name for node in net.inputs] == ["view1", "view2"]
    assert list(net.outputs) == ["d2_0", "d3_1", "output"]
    assert list(net.inference_outputs) == ["output"]
    assert weights(net)[0] == "d2_0.dense1.weight"
    assert [node.name for node in net.outputs["output"].node.inputs] == ["view1", "view2"]


def test_a_recursive_block_has_the_layers_of_its_loop() -> None:
    """The hourglass of Newell et al. (2016) has 3 n + 1 units; a unit of width w has 13 w^2 / 4 + 2 w weights."""
    unit = "block unit(w) { skip { conv 1x1 w // 2; relu; conv 3x3 w // 2; relu; conv 1x1 w } }\n"
    hourglass = """block hourglass(n, w) {
      add { unit w } { maxpool 2x2; unit w; if n > 1 { hourglass (n - 1) w } else { unit w }; unit w; upsample 2 }
    }\n"""
    for n in (1, 2, 4):
        net = net_of(f"{unit}{hourglass}net a {{ input x 16x32x32; hourglass {n} 16 }}")
        assert net.outputs["output"].node.shape == (16, 32, 32)
        sizes = [p.shape for p in net.parameters.values()]
        assert sum(math.prod(shape) for shape in sizes) == (3 * n + 1) * (13 * 16**2 // 4 + 2 * 16)


def test_two_blocks_may_call_each_other() -> None:
    blocks = "block even(n) { dense 2; if n > 0 { odd (n - 1) } }\nblock odd(n) { dense 3; if n > 0 { even (n - 1) } }"
    assert names(flow("input x 8; even 3", blocks)) == [
        "even1.dense1",
        "even1.odd1.dense1",
        "even1.odd1.even1.dense1",
        "even1.odd1.even1.odd1.dense1",
    ]


def test_reuse_must_find_its_shapes_again() -> None:
    net, report = try_net("net n { input x 8; f: dense 4; reuse f }")
    assert net is None
    assert [p.code for p in report] == ["E0205"]


def test_reuse_of_a_layer_a_block_call_and_a_group() -> None:
    for applied in ("dense 8", "unit 8", "{ dense 8; relu }", "seq { dense 8; relu }"):
        net = flow(f"input x 8; f: {applied}; g: reuse f; reuse f", MORE)
        assert all(name.startswith("f") for name in weights(net)), applied
        once = flow(f"input x 8; f: {applied}", MORE)
        assert weights(net) == weights(once)
        assert len(set(names(net))) == len(names(net)) == 3 * len(names(once))


def test_a_net_without_outputs_gives_its_last_value() -> None:
    assert list(flow("input x 8; dense 3; output aux training { dense 2 }; dense 1").outputs) == ["aux", "output"]


def test_freeze_holds_what_is_inside() -> None:
    net = flow("input x 3x8x8; freeze { conv 3x3 4; bn }; dense 2")
    trained = {name for name, p in net.parameters.items() if p.trainable}
    assert trained == {"dense1.weight", "dense1.bias"}


def test_running_statistics_are_buffers() -> None:
    net = flow("input x 3x8x8; bn; dense 2")
    assert {name for name, p in net.parameters.items() if p.buffer} == {"bn1.running_mean", "bn1.running_var"}


EXPECTS = {
    "expect params 27 + 0": False,
    "expect params 30": True,
    "expect params 0 + 30": True,
    "expect 3": True,
    "expect ?": True,
    "expect 4": False,
    "expect macs 27": True,
    "expect macs 28": False,
}


@pytest.mark.parametrize("line", EXPECTS)
def test_expectations_are_checked(line: str) -> None:
    _, report = try_net(f"net test {{ input x 9; dense 3; {line} }}")
    assert (report.errors == 0) is EXPECTS[line], line


def test_a_blocks_expectations_count_the_call() -> None:
    net_of("block b { dense 3; expect params 15; expect macs 12 }\nnet n { input x 9; dense 4; b }")


def test_training_heads_do_not_count() -> None:
    net_of("net n { input x 9; output aux training { dense 5 }; dense 4; expect params 40; expect macs 36 }")


def test_parameters_have_domains_and_defaults() -> None:
    text = "net n(depth in [1, 2] = 1, width = 3) { input x 9; repeat depth { dense width } }"
    assert len(names(net_of(text))) == 1
    assert len(names(net_of(text, depth=2))) == 2
    net, report = try_net(text, depth=3)
    assert net is None
    assert [p.code for p in report] == ["E0407"]


def test_an_alias_is_a_net_with_arguments() -> None:
    text = "net n(depth = 1, width = 3) { input x 9; repeat depth { dense width } }\n"
    text += "net two = n(depth = 2)\nnet four = two(width = 4)"
    net = net_of(text, "four")
    assert (net.name, [node.shape for node in net.nodes[1:]]) == ("four", [(4,), (4,)])


ENTRIES = {
    "the only one": ("net a { input x 8; dense 1 }", None, "a"),
    "the one asked for": ("net a { input x 8; dense 1 }\nnet b { input x 8; dense 1 }", "b", "b"),
    "the file's namesake": ("net a { input x 8; dense 1 }\nnet test { input x 8; dense 1 }", None, "test"),
    "the only imported one": ('use "zoo/xor.net"', None, "xor"),
    "one's own before imported ones": ('use "zoo/resnet.net"\nnet a { input x 3x8x8; basic 4 }', None, "a"),
}


@pytest.mark.parametrize("rule", ENTRIES)
def test_the_entry(rule: str) -> None:
    text, wanted, expected = ENTRIES[rule]
    assert net_of(text, wanted).name == expected


def test_file_level_values_may_come_in_any_order() -> None:
    assert net_of("let a = b + 1\nnet n { input x 8; dense a }\nlet b = 2").outputs["output"].node.shape == (3,)


def test_a_files_defaults_hold_from_their_line_on() -> None:
    text = "block early { conv 3x3 2 }\ndefault conv bias off\nblock late { conv 3x3 2 }\n"
    text += "net n { input x 3x8x8; early; late }"
    assert weights(net_of(text)) == ["early1.conv1.weight", "early1.conv1.bias", "late1.conv1.weight"]


def test_deep_and_long_nets_are_legal() -> None:
    assert len(names(flow("input x 8; repeat 10000 { relu }"))) == 10_000
    assert len(names(flow("input x 8\n" + "relu\n" * 10_000))) == 10_000
    nested = "skip { " * 50 + "relu" + " }" * 50
    assert len(names(flow(f"input x 8; {nested}"))) == 51


ALIASES = {
    "by name": ("n(depth = 2, width = 5)", 2, 5),
    "by place": ("n(2, 5)", 2, 5),
    "by place, then by name": ("n(2, width = 5)", 2, 5),
    "through another alias, in the order of the net": ("deep(1)", 1, 3),
    "anew": ("deep(depth = 1, width = 4)", 1, 4),
}


@pytest.mark.parametrize("rule", ALIASES)
def test_aliases_pass_arguments(rule: str) -> None:
    alias, depth, width = ALIASES[rule]
    text = "net n(depth = 1, width = 3) { input x 9; repeat depth { dense width } }\n"
    text += f"net deep = n(depth = 2)\nnet a = {alias}"
    assert [node.shape for node in net_of(text, "a").nodes[1:]] == [(width,)] * depth


def test_an_alias_may_pass_a_word() -> None:
    text = "net n(pad = same) { input x 3x9x9; conv 3x3 4 pad pad }\nnet a = n(valid)"
    assert net_of(text, "a").outputs["output"].node.shape == (4, 7, 7)


def codes(text: str) -> list[str]:
    """What is wrong with a file."""
    report = Report()
    module = Library(report).load(Source("test.net", text), "test.net")
    module.check_lets()
    for instance in instances(module):
        elaborate(instance)
    return [problem.code for problem in report]


IN = {
    "2 in [1, 2]": True,
    "not 2 in [1, 2]": False,
    '"b" in ["a", "c"]': False,
    "on in [1]": False,
    "[1, 2] in [[1, 2], 3]": True,
    "3 in []": False,
    "1 < 2 in [2] == [2]": True,
    "2 in [n for n in range(4) if n in [1, 2]] and on": True,
}
"""Whether an entry equals a value, as in Python, but that numbers are never `on` or `off`."""


@pytest.mark.parametrize("expression", IN)
def test_in_is_whether_an_entry_is_equal(expression: str) -> None:
    assert weights(flow(f"input x 3; if {expression} {{ dense 2 bias off }}")) == ["dense1.weight"] * IN[expression]


WRONG = {
    "a positional argument behind a keyword": ("net m = n(width = 2, 2)", ["E0405"]),
    "a parameter set twice": ("net m = n(2, depth = 3)", ["E0404"]),
    "arguments too many, through an alias": ("net m = n()\nnet k = m(1, 2, 3)", ["E0405"]),
    "a training of no net": ("train m { data xor; loss mse; batch 3 }", ["E0210"]),
    "a second training of a net": ('train n { data npz "x"; loss mse }\ntrain n { data npz "x"; loss mse }', ["E0204"]),
    "a training with a value that cannot be computed": ("train n { data xor; loss mse; batch 3/0 }", ["E0409"]),
    "a training of a net that may be in a missing file": ('use "nowhere.net"\ntrain m { batch 3 }', ["E0501"]),
    "macs of a size that is not known": ("net m { input x [3, ?H]; conv 3 4; expect macs 3 }", ["E0416"]),
    "a size called like the batch": ("net m { input x [3, 2*?N]; relu }", ["E0408"]),
    "a default of a block": ("block b(n = 2) { relu }\ndefault b n 3", ["E0408"]),
    "a negative number in a label": ("net m { input x 8; a{0-1}: relu }", ["E0408"]),
    "an input called like the output of the last value": ("net m { input output 8; relu }", ["E0211"]),
    "an input of every round": ("net m { repeat 2 { input y 8 } }", ["E0211"]),
    "outputs numbered alike": ("net m { input x 8; for i in [1, 1] { output y{i} { relu } } }", ["E0211"]),
    "a branch that touches an output's name": ("net m { input x 8; output y{relu} }", ["E0240"]),
    "a variable that holds a layer, too": ("net m { let f = relu; input x 8; output y{f} }", ["E0240"]),
    "a name of a comprehension, outside": ("let l = [[i for i in [1]], i]", ["E0201"]),
    "an entry that a comprehension cannot take apart": ("let l = [a for a, b in [1]]", ["E0414"]),
    "a comprehension over a number": ("let l = [a for a in 3]", ["E0415"]),
    "a comprehension with a number for a condition": ("let l = [a for a in [3] if a]", ["E0413"]),
    "a comprehension that is too long": ("let l = [a for a in range(2) for b in range(1 + 249999 * a)]", ["E0410"]),
    "a function that calls itself in a comprehension": ("fn f(x) = [f(x) for a in [1]]\nlet l = f(1)", ["E0206"]),
    "an entry of a number": ("let l = 2 in 3", ["E0408"]),
    "an entry of a list with sizes": ("net m { input x ?A; if ?A in [1, 2] { relu } }", ["E0416"]),
    "a slice beyond the end": ("let l = [1, 2][:3]", ["E0411"]),
    "a slice whose end precedes its begin": ("let l = [1, 2][1:0]", ["E0408"]),
    "a block that calls itself with the same integer": ("block b(k) { b k }\nnet m { input x 8; b 3 }", ["E0206"]),
    "with a larger one": ("block b(k) { b (k + 1) }\nnet m { input x 8; b 3 }", ["E0206"]),
    "with a smaller float": ("block b(k) { b (k / 2) }\nnet m { input x 8; b 3.5 }", ["E0206"]),
    "without an end": ("block b(k) { b (k - 1) }\nnet m { input x 8; b 3 }", ["E0242"]),
    "too deep": ("block b(k) { b (k - 1) }\nnet m { input x 8; b 300 }", ["E0314"]),
    "too often": ("block b(k) { if k > 0 { b (k - 1); b (k - 1) } }\nnet m { input x 8; b 30 }", ["E0314"]),
    "a sum of other sizes": ("net m { input x 3x4x4; add { } { global_avgpool } }", ["E0301"]),
    "a sum without a sum of axes": ("net m { input x 3x4x4; add spread on { } { reshape [48] } }", ["E0301"]),
    "spread off": ("net m { input x 3x4x4; add spread off { } { global_avgpool } }", ["E0301"]),
    "spread of sizes that differ": ("net m { input x 3x4x4; add spread on { } { conv 1x1 2 } }", ["E0301"]),
    "spread on a product": ("net m { input x 3x4x4; mul spread on { } { global_avgpool } }", ["E0248"]),
    "spread with a number": ("net m { input x 3x4x4; add spread 1 { } { global_avgpool } }", ["E0401"]),
    "a label called spread": ("net m { input x 8; spread: relu; from x; a: tanh; add spread a { } }", ["E0401"]),
    "channels of a value without axes": ("net m { input x 8; argmax; let n = channels }", ["E0408"]),
    "a seq without a label": ("net m { input x 8; seq { relu } }", ["E0241"]),
    "a seq without a label in a group": ("net m { input x 8; a: seq { b: { seq { relu } } } }", ["E0241"]),
    "a slice of a number": ("let l = 1\nlet m = l[1:]", ["E0408"]),
    "a negative number in an output's name": ("net m { input x 8; output y{0-1} }", ["E0408"]),
    "an unknown word in an input's name": ("net m { input x{j} 8; relu }", ["E0201"]),
    "a training output called like it": ("net m { input x 8; output output training { dense 3 }; relu }", ["E0211"]),
    "an output called like a weight": ("net m { input x 8; p: param [8]; add { from x } p; output p }", ["E0263"]),
    "called like it by its number": ("net m { input x 8; add { } { param [8] }; output param1 }", ["E0263"]),
    "an output of a branch": ("net m { input x 8; p: param [8]; output p { add { from x } p } }", ["E0263"]),
    "an output that is the weight": ("net m { input x 8; p: param [8]; output p }", ["E0263"]),
    "an output without a name": ("net m { input x 8; add { } { output: param [8] } }", ["E0263"]),
    "an input called like a weight": ("net m { input param1 8; add { } { param [8] } }", ["E0263"]),
    "a word outside its domain": ("net k(p in [same, valid] = same_upper) { input x 8; relu }", ["E0407"]),
}


@pytest.mark.parametrize("rule", WRONG)
def test_what_is_wrong_is_found_once(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdsl.diagnostics.report.WORK", WORK // 4)
    text, expected = WRONG[rule]
    assert codes(f"net n(depth = 1, width = 3) {{ input x 9; repeat depth {{ dense width }} }}\n{text}") == expected


@pytest.mark.parametrize("rest", ["", "block b { relu }\n"])
def test_a_default_is_checked_in_a_file_without_nets(rest: str) -> None:
    assert codes(f"{rest}default conv stride 0") == ["E0401"]


def test_a_label_hidden_in_its_own_block_is_not_outside_of_it() -> None:
    """The block's caller does not matter."""
    blocks = "block inner {{ {}; add a }}\nblock outer {{ {}; inner }}\nnet m {{ input x 4; outer }}"
    for inner, outer, where in [
        ("g: { a: relu }", "relu", "in its own scope"),
        ("relu", "a: relu", "outside this block"),
    ]:
        _, report = try_net(blocks.format(inner, outer))
        (problem,) = report
        assert [label.text for label in problem.labels()] == [f"defined here, {where}"]


def test_a_training_may_be_of_a_net_here_or_used() -> None:
    lines = 'data mnist "mnist"; loss cross_entropy; optimizer sgd lr rate*2 momentum 0.9; schedule step at [6, 9]'
    text = f'use "zoo/lenet5.net"\nlet rate = 0.1\ntrain lenet5 {{ {lines} }}\nnet a = lenet5()'
    text += '\ntrain a { data npz "x"; loss mse }'
    assert codes(text) == []


def test_a_domain_may_list_words() -> None:
    text = "net n(pad in [same, valid] = same) { input x 3x9x9; conv 3x3 4 pad pad }"
    assert codes(text) == []


def test_bare_words_of_about_are_texts_and_grouped_ones_variables() -> None:
    net = net_of("net n(k = 3) { about { a k; b (k); c { d (k) [k] k } }; input x 8; relu }")
    assert net.about == {"a": "k", "b": 3, "c": {"d": [3, (3,), "k"]}}


def test_on_and_off_equal_no_number() -> None:
    assert flow("input x 8; if on == 1 { dense 3 } else if off != 0 { dense 4 }").outputs["output"].node.shape == (4,)


def test_a_default_may_be_the_axis_of_a_concat() -> None:
    net = flow("input x 8x4x4; default concat axis 2; concat { } { }; concat axis 0 { } { }")
    assert [node.shape for node in net.nodes[1:]] == [(8, 4, 8), (16, 4, 8)]


@pytest.mark.parametrize(
    "wrong", ["default conv stride 0", "let s = 1/0\ndefault conv stride s", "default conv strid 2"]
)
@pytest.mark.parametrize("where", ["net a {{ {} }}", "block b {{ {} }}\nnet a {{ input x 3x9x9; conv 3x3 3; b }}"])
def test_what_a_wrong_default_leaves_behind_is_no_mistake(wrong: str, where: str) -> None:
    """The expectation is that of the default that was meant."""
    body = "conv 3x3 4; expect 4x5x5"
    inside = f"input x 3x9x9; {body}" if where.startswith("net") else body
    _, report = try_net(f"{wrong}\n{where.format(inside)}")
    assert len([problem for problem in report if problem.severity == "error"]) == 1, [p.message() for p in report]


@pytest.mark.parametrize(
    ("expression", "size"), [("?H // 0", "H"), ("?H * ?W", "H"), ("(?H + 1) * (?W - 2)", "H + 1"), ("3 % ?W", "W")]
)
def test_what_depends_on_a_size_known_at_run_time_names_it(expression: str, size: str) -> None:
    _, report = try_net(f"net a {{ input x [3, ?H, ?W]; let p = {expression}; conv 3x3 3; dense p }}")
    said = [problem.message() for problem in report if problem.severity == "error"]
    assert said == [f"this depends on the size `{size}`, which is known only at run time"]


def test_an_observer_sees_each_statement_with_its_value() -> None:
    text = """block b(w) { conv 3x3 w; bn }
net n {
  input x 3x8x8
  skip { b 3 } project { conv 1x1 3 }
  repeat 2 as i { b 4 + i }
  a: dense 5
  concat { dense 2 } { dense 3; desne 1 } a
  from a
  expect 5
}
"""
    seen = []

    def observer(stmt: ast.Stmt, context: Context) -> None:
        value = context.value.shape if isinstance(context.value, Node) else None
        counts = [frame.value for frame in context.frame or () if frame.variable]
        seen.append((type(stmt).__name__, stmt.span.source.position(stmt.span.start)[0], value, counts))

    report = Report()
    module = Library(report).load(Source("n.net", text), "n.net")
    tried = attempt(resolve(*entry_net(module, None), {}), observer)
    assert tried.net is None
    assert attempt(tried.instance) is tried
    calls = [(3, 4, []), (4, 5, [0]), (5, 5, [1])]
    b = [[("Call", 1, (w, 8, 8), c)] * 2 + [("Call", at, (w, 8, 8), c)] for w, at, c in calls]
    assert seen == [
        ("Input", 3, (3, 8, 8), []),
        *b[0],
        ("Skip", 4, (3, 8, 8), []),
        *b[1],
        *b[2],
        ("Repeat", 5, (5, 8, 8), []),
        ("Call", 6, (5,), []),
        ("Labelled", 6, (5,), []),
        ("Call", 7, (2,), []),
        ("Call", 7, (3,), []),
        ("Call", 7, None, []),
        ("Merge", 7, None, []),
        ("From", 8, (5,), []),
        ("Expect", 9, (5,), []),
    ]
