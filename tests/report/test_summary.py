"""`netdsl summary`: its figures against those of others and of plainer code, and its forms."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from math import prod

import pytest

from netdsl.ir.formula import Formula, Largest
from netdsl.ir.net import Net
from netdsl.report.figures import Figures
from netdsl.report.summary import summary_data, summary_markdown, summary_text
from tests.cli.test_house import HEAVY, imported
from tests.compiler.test_receptive_field import net
from tests.language.test_specs import OTHERWISE, TRAINING
from tests.support.cli_tools import Commands, netdsl
from tests.support.paths import ROOT
from tests.support.reference import COUNTS, load, open_net

__all__ = ["netdsl"]

DOCS = ROOT / "docs"
SCHEMA = json.loads((DOCS / "summary.schema.json").read_text("utf-8"))
SYMBOLIC = """
block double(width) { conv 3x3 width; relu; conv 3x3 width; relu }
net unet(classes = 2) {
  input image [3, 4*?H, ?W]
  a: double 8
  maxpool 2x1
  b: double 16
  upsample [2, 1]; conv 3x3 8
  concat { from a }
  double 8
  conv 1x1 classes
}
"""
SEQUENCES = """
net translate(width = 8, words = 50) {
  input seen 6 dtype i64
  input source 6 dtype i64
  add { embed: embedding words width } { positions; wpe: embedding 9 width }
  memory: lstm width layers 2
  state memory
  thought: linear 2 * width
  input target 5 dtype i64
  add { e: embedding words width } { scale: param [width, 5] }
  gru 2 * width initial thought
  query: linear width
  attention 2 mask seen query memory memory
  rmsnorm
  mul { } { values [2] [1, 1] }
  linear words bias off tied e
  softmax
}
"""


@pytest.mark.parametrize("network", [n for n in COUNTS if n not in (*TRAINING, *OTHERWISE)])
def test_counts_are_those_of_others(network: str) -> None:
    figures = Figures(load(network))
    assert {"params": figures.params, "macs": figures.macs} == COUNTS[network]
    assert {"params": sum(row.params for row in figures.rows), "macs": sum(row.macs for row in figures.rows)} == (
        COUNTS[network]
    )


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        *(("lenet5", 5), ("alexnet", 8), ("vgg16", 16), ("vgg19", 19), ("googlenet", 22), ("resnet18", 18)),
        *(("resnet152", 152), ("densenet121", 121), ("xor", 2), ("perceptron", 1)),
    ],
)
def test_depth_is_what_the_name_says(name: str, depth: int) -> None:
    assert Figures(open_net(name)).depth == depth


def peak(found: Net) -> int:
    """The most bytes that live at one time, by asking of each value at each layer whether it lives."""
    ends = {output.node for output in found.outputs.values() if not output.training}
    most = 0
    for now in range(len(found.nodes)):
        alive = 0
        for made, node in enumerate(found.nodes):
            readers = [at for at, other in enumerate(found.nodes) if node in other.inputs]
            there = made <= now or node.layer.kind == "input"
            needed = made == now or node in ends or any(at >= now for at in readers)
            alive += 4 * prod(node.shape) if there and needed else 0
        most = max(most, alive)
    return most


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "vgg11", "googlenet", "resnet18", "squeezenet1_1"])
def test_the_peak_is_that_of_plainer_code(name: str) -> None:
    found = open_net(name)
    assert Figures(found).peak == peak(found)


@pytest.mark.parametrize(
    ("body", "floats"),
    [
        ("input x 10", 10),
        ("input x 10; relu", 10 + 10),
        ("input x 10; relu; tanh; relu", 10 + 10),
        ("input x 10; dense 3; dense 100; dense 2", 103),
        ("input x 10; skip { relu; relu }", 10 + 10 + 10),
        ("input x 10; a: relu; tanh; tanh; add a", 10 + 10 + 10),
        ("input x 10; output a { dense 5 }; dense 7; dense 20; output b", 5 + 7 + 20),
        ("input x 10; dense 50; c: dense 3; input y 3; add c", 10 + 50 + 3),
        ("input x 10; mul { } { param 10 }; add { } { values [1] * 10 }; relu", 10 + 10 + 10),
    ],
)
def test_the_peak_by_hand(body: str, floats: int) -> None:
    found = net(f"net n {{ {body} }}")
    assert Figures(found).peak == 4 * floats == peak(found)


@pytest.mark.parametrize(
    ("body", "floats"),
    [
        ("input x 12x9; attention 2", 12 * 9 + 4 * 9 + 2 * 9 * 9),
        ("input x 12x5x9; attention 2 kv 1 causal on; relu", 12 * 5 * 9 + 6 * 5 * 9 + 2 * 5 * 9 * 9),
        ("input k 4x7; input v 6x7; input q 8x3; attention 4 q k v", 4 * 7 + 6 * 7 + 8 * 3 + 12 * 3 + 4 * 3 * 7),
    ],
)
def test_the_scores_of_attention_take_memory_while_it_runs(body: str, floats: int) -> None:
    assert Figures(net(f"net n {{ {body} }}")).peak == 4 * floats


@pytest.mark.parametrize(
    ("body", "macs", "params"),
    [
        ("input x 5x7; linear 3", 5 * 3 * 7, 5 * 3 + 3),
        ("input x 5x7; matmul { permute [1, 0] } { }", 7 * 5 * 7, 0),
        ("input x 5x7; rnn 3", 7 * (5 * 3 + 3 * 3), 5 * 3 + 3 * 3 + 2 * 3),
        ("input x 5x7; gru 3 last on", 7 * 3 * (5 * 3 + 3 * 3), 3 * (5 * 3 + 3 * 3 + 2 * 3)),
        (
            "input x 5x7; lstm 3 layers 2 bidirectional on bias off",
            7 * 4 * 2 * ((5 * 3 + 3 * 3) + (6 * 3 + 3 * 3)),
            4 * 2 * ((5 * 3 + 3 * 3) + (6 * 3 + 3 * 3)),
        ),
        ("input x 5x7; l: lstm 3; state l", 7 * 4 * (5 * 3 + 3 * 3), 4 * (5 * 3 + 3 * 3 + 2 * 3)),
        ("input x 7 dtype i64; e: embedding 20 5; linear 20 bias off tied e", 5 * 20 * 7, 20 * 5),
        ("input x 5x7; add { } { p: param [5, 7] }; rmsnorm", 0, 5 * 7 + 5),
    ],
)
def test_the_cost_and_the_weights_of_layers_of_sequences(body: str, macs: int, params: int) -> None:
    figures = Figures(net(f"net n {{ {body} }}"))
    assert (figures.macs, figures.params) == (macs, params)
    assert sum(row.params for row in figures.rows) == params


def test_a_batch_scales_bytes_and_nothing_else() -> None:
    one, seven = (summary_data(Figures(open_net("lenet5"), batch)) for batch in (1, 7))
    for small, large in zip(one["layers"], seven["layers"], strict=True):
        assert large == {**small, "bytes": 7 * small["bytes"]}
    assert seven["totals"] == {**one["totals"], "peak_bytes": 7 * one["totals"]["peak_bytes"]}


def test_what_only_training_needs_does_not_count() -> None:
    heads = "net n {{ input x 8; dense 4; {} dense 2 }}"
    with_head = summary_data(Figures(net(heads.format("output aux training { dense 100 };"))))
    assert with_head == summary_data(Figures(net(heads.format(""))))


def test_shared_weights_count_once_and_frozen_ones_are_not_trained() -> None:
    figures = Figures(net("net n { input x 4; a: dense 4; reuse a; freeze { dense 2 }; bn }"))
    assert [row.params for row in figures.rows] == [0, 20, 0, 10, 4]
    assert (figures.params, figures.trainable, figures.buffers, figures.macs) == (34, 24, 4, 16 + 16 + 8)


@pytest.mark.parametrize("sizes", [{"H": 1, "W": 1}, {"H": 3, "W": 50}, {"H": 20, "W": 7}])
def test_formulas_come_out_as_the_figures_of_known_sizes(sizes: dict[str, int]) -> None:
    def value(figure: object) -> object:
        if isinstance(figure, Largest):
            return max(map(value, figure.counts))
        return figure.value(sizes) if isinstance(figure, Formula) else figure

    known = SYMBOLIC.replace("4*?H", str(4 * sizes["H"])).replace("?W", str(sizes["W"]))
    symbolic, concrete = Figures(net(SYMBOLIC), 3), Figures(net(known), 3)
    for row, other in zip(symbolic.rows, concrete.rows, strict=True):
        assert (value(row.macs), value(row.bytes), row.field) == (other.macs, other.bytes, other.field)
    assert (value(symbolic.macs), value(symbolic.peak)) == (concrete.macs, concrete.peak)


GOLDEN = [
    ("lenet5", {}),
    ("resnet18", {"depth": 1}),
    ("resnet18", {"depth": 2}),
    ("resnet50", {"depth": 2, "columns": 80}),
    ("mobilenet_v3_small", {"depth": 4, "columns": 100}),
]


@pytest.mark.parametrize(("name", "how"), GOLDEN, ids=str)
def test_tables(golden: Callable[[str, str], None], name: str, how: dict[str, int]) -> None:
    file = "_".join([name, *(f"{word}{number}" for word, number in how.items())])
    golden(f"summary/{file}.txt", summary_text(Figures(open_net(name)), **how))


def test_a_table_of_formulas(golden: Callable[[str, str], None]) -> None:
    golden("summary/symbolic.txt", summary_text(Figures(net(SYMBOLIC), 2)))


def test_a_table_of_sequences(golden: Callable[[str, str], None]) -> None:
    golden("summary/sequences.txt", summary_text(Figures(net(SEQUENCES)), weights=True))


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120])
def test_a_table_fits_its_terminal(columns: int) -> None:
    _, _, *lines = summary_text(Figures(open_net("resnet50")), columns=columns).split("\n\n")[1].splitlines()
    assert max(map(len, lines)) <= max(columns, 36)
    assert all("3x3" in line or "…" in line for line in lines if " conv 3" in line)


def test_colors_change_nothing_else() -> None:
    figures = Figures(open_net("resnet18"))
    colorful = summary_text(figures, color=True)
    assert "\x1b[1m" in colorful
    for code in ("\x1b[1m", "\x1b[1;34m", "\x1b[0m"):
        colorful = colorful.replace(code, "")
    assert colorful == summary_text(figures)


def test_folded_lines_add_up() -> None:
    found = Figures(open_net("densenet121"))
    for depth in (1, 2, 3):
        rows = [line.split("|")[1:-1] for line in summary_markdown(found, depth=depth).splitlines() if line[:1] == "|"]
        for column, total in ((4, found.params), (5, found.macs), (6, sum(row.bytes for row in found.rows))):
            assert sum(int(row[column].replace(",", "")) for row in rows[2:] if row[column].strip()) == total


def test_equal_rounds_are_equal() -> None:
    text = "net n {{ input x 1x9; r: repeat 6 as i {{ conv {} 1; relu }} }}"
    assert " r     12 layers " in summary_text(Figures(net(text.format("(3 if i < 4 else 1)"))), depth=1)
    parts = summary_text(Figures(net(text.format("(3 if i < 4 else 1)"))), depth=2)
    assert "r.0…3  2 layers × 4 " in parts
    assert "r.4…5  2 layers × 2 " in parts
    assert " r     2 layers × 6 " in summary_text(Figures(net(text.format("3"))), depth=1)


def test_markdown_is_a_table() -> None:
    rows = [line for line in summary_markdown(Figures(open_net("resnet18"))).splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {9}
    assert len(rows) == 2 + 69 + 8 + 4 + 3


def test_the_weights_are_listed_under_their_layers(netdsl: Commands) -> None:
    """In every form: all weights of the net, by name, with the sizes that the net declares."""
    found = open_net("resnet18")
    declared = {name: ("x".join(map(str, p.shape)), prod(p.shape)) for name, p in found.parameters.items()}
    text = netdsl("summary", "resnet18", "--weights").out
    rows = [line.split() for line in text.splitlines() if ".weight" in line or ".bias" in line or ".running" in line]
    assert {row[0]: (row[-2], int(row[-1].replace(",", ""))) for row in rows} == declared
    layers = json.loads(netdsl("summary", "resnet18", "--weights", "--format", "json").out)["layers"]
    listed = [each for layer in layers for each in layer["weights"]]
    assert {each["name"]: ("x".join(map(str, each["shape"])), each["params"]) for each in listed} == declared
    assert sum(each["params"] for each in listed if not each["buffer"]) == Figures(found).params
    lines = csv.DictReader(io.StringIO(netdsl("summary", "resnet18", "--weights", "--format", "csv").out))
    assert {row["name"]: (row["shape"], int(row["params"])) for row in lines if not row["layer"]} == declared
    markdown = netdsl("summary", "resnet18", "--weights", "--format", "markdown").out
    assert all(f"| {name} |" in markdown for name in declared)


def test_csv_has_the_figures_of_json(netdsl: Commands) -> None:
    rows = list(csv.DictReader(io.StringIO(netdsl("summary", "resnet18", "--format", "csv").out)))
    layers = json.loads(netdsl("summary", "resnet18", "--format", "json").out)["layers"]
    assert [{**row, "shape": [int(size) for size in row["shape"].split("x")]} for row in rows] == [
        {**{key: str(value) for key, value in layer.items()}, "shape": layer["shape"]} for layer in layers
    ]


def check(value: object, schema: dict, where: str = "$") -> None:
    """Assert that a value is as a JSON Schema says, as far as ours goes: it must use no word that is unknown here."""
    unknown = schema.keys() - {"$schema", "$id", "$defs", "title", "description"} - KEYWORDS.keys()
    assert not unknown, f"{where}: {unknown}"
    for word, wanted in schema.items():
        if word in KEYWORDS:
            KEYWORDS[word](value, wanted, schema, where)


def _type(value: object, wanted: str, _: dict, where: str) -> None:
    types = {"boolean": bool, "object": dict, "array": list, "string": str, "integer": int, "null": type(None)}
    assert type(value) is types[wanted], f"{where}: {value!r} is no {wanted}"


def _properties(value: object, wanted: dict, schema: dict, where: str) -> None:
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) <= set(value) <= set(wanted), f"{where}: {sorted(value)}"
    for key, each in value.items():
        check(each, wanted[key], f"{where}.{key}")


def _items(value: object, wanted: dict, _: dict, where: str) -> None:
    for at, each in enumerate(value):
        check(each, wanted, f"{where}[{at}]")


def _any(value: object, wanted: list, _: dict, where: str) -> None:
    for each in wanted:
        try:
            return check(value, each, where)
        except AssertionError:
            pass
    raise AssertionError(f"{where}: {value!r} is none of {wanted}")


def _minimum(value: object, wanted: int, _: dict, where: str) -> None:
    assert value >= wanted, f"{where}: {value!r}"


def _enum(value: object, wanted: list, _: dict, where: str) -> None:
    assert value in wanted, f"{where}: {value!r}"


def _ref(value: object, wanted: str, _: dict, where: str) -> None:
    check(value, SCHEMA["$defs"][wanted.removeprefix("#/$defs/")], where)


KEYWORDS: dict[str, Callable[..., None]] = {
    "type": _type,
    "properties": _properties,
    "required": lambda *_: None,
    "additionalProperties": lambda *_: None,
    "items": _items,
    "anyOf": _any,
    "minimum": _minimum,
    "minItems": lambda value, wanted, *_: _minimum(len(value), wanted, *_),
    "enum": _enum,
    "$ref": _ref,
}

NETS = {
    "symbolic": SYMBOLIC,
    "words": "net words { input a 20 dtype i64; embedding 100 8; conv 3 4; output b { global_maxpool }; relu }",
    "pixels": "net pixels { input a 3x9x9 dtype u8; conv 3x1 4; repeat 5 { upsample 4 }; output b }",
}


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "googlenet", "alphago_zero", *NETS])
def test_json_is_as_the_schema_says(netdsl: Commands, name: str) -> None:
    netdsl.write(**NETS)
    for options in ([], ["--weights"]):
        ran = netdsl("summary", f"{name}.net" if name in NETS else name, "--format", "json", *options)
        assert ran.code == 0, ran
        *warnings, found = map(json.loads, ran.out.splitlines())
        check(found, SCHEMA)
        assert all(each["severity"] == "warning" for each in warnings)


def test_json_in_full() -> None:
    found = summary_data(Figures(net("net n {\n  input x [1, 6, ?W]\n  conv 3x5 2 bias off\n  top: dwconv 1x1\n}")))
    assert found == {
        "net": "n",
        "layers": [
            {
                "name": "x",
                "layer": "input [1, 6, W]",
                "line": 2,
                "shape": [1, 6, "W"],
                "params": 0,
                "macs": 0,
                "bytes": "24*W",
                "receptive_field": 1,
            },
            {
                "name": "conv1",
                "layer": "conv 3x5 2 bias off",
                "line": 3,
                "shape": [2, 6, "W"],
                "params": 30,
                "macs": "180*W",
                "bytes": "48*W",
                "receptive_field": [3, 5],
            },
            {
                "name": "top",
                "layer": "dwconv 1x1",
                "line": 4,
                "shape": [2, 6, "W"],
                "params": 4,
                "macs": "12*W",
                "bytes": "48*W",
                "receptive_field": [3, 5],
            },
        ],
        "totals": {
            "params": 34,
            "trainable": 34,
            "buffers": 0,
            "macs": "192*W",
            "depth": 2,
            "peak_bytes": "96*W",
        },
        "inputs": [{"name": "x", "shape": [1, 6, "W"], "dtype": "f32"}],
        "outputs": [{"name": "output", "shape": [2, 6, "W"], "dtype": "f32"}],
    }


def test_a_line_is_of_the_nets_own_file(netdsl: Commands) -> None:
    netdsl.write(part="\n\n\n\nblock part { dense 2 }", n='use "part.net"\nnet n {\n  input x 3\n  part\n}')
    layers = json.loads(netdsl("summary", "n.net", "--format", "json").out)["layers"]
    assert [layer["line"] for layer in layers] == [3, 4]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("conv 3x3 8 stride 2 pad valid", "conv 3x3 8 stride 2 pad valid"),
        ("conv [3, 3] (2 + 6) stride 1 pad same bias on", "conv 3x3 8"),
        ("conv 3 init normal(0.01) bias_init constant(0.5)", "conv 3 init normal(0.01) bias_init constant(0.5)"),
        ("select [0, 2]", "select [0, 2]"),
        ("reshape 3x64", "reshape 3x64"),
        ("upsample 2 nearest", "upsample 2"),
        ("upsample 2 bilinear align on", "upsample 2 bilinear align on"),
        ("concat { relu } { tanh } axis 1", "concat axis 1"),
        ("bn", "bn"),
    ],
)
def test_a_layer_is_written_as_one_would(call: str, text: str) -> None:
    if call.startswith("concat"):
        call = "concat axis 1 { relu } { tanh }"
    assert Figures(net(f"net n {{ input x 3x8x8; {call} }}")).rows[-1].call == text


def test_problems_are_told_and_nothing_is_printed_if_nothing_precedes_them(netdsl: Commands) -> None:
    netdsl.write(bad="net bad { dens 2; input x 3 }")
    ran = netdsl("summary", "bad.net", "--format", "json")
    assert (ran.code, ran.err) == (1, "")
    assert [json.loads(line)["code"] for line in ran.out.splitlines()] == ["E0202"]


def test_summary_is_light() -> None:
    for form in ("text", "json"):
        code = "from netdsl.cli import main; main()"
        assert imported(code, "summary", "resnet18", "--format", form) & (HEAVY | {"fractions", "csv"}) == set()


def test_help(netdsl: Commands, golden: Callable[[str, str], None]) -> None:
    golden("cli/summary.txt", netdsl("summary", "--help").out)


def test_the_page_shows_what_is_printed(netdsl: Commands) -> None:
    page = (DOCS / "summary.md").read_text("utf-8")
    shown = re.findall(r"^```\n\$ netdsl ([^\n]*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    for line, text in shown:
        printed = netdsl(*line.split()).out
        assert printed.startswith(text[:-2]) if text.endswith("…\n") else printed == text
