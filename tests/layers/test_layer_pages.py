"""`netdsl layers` and docs/layers: what is declared is what is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from netdsl.base.paths import replace_pages
from netdsl.cli import main
from netdsl.elaborate.recipe_pages import TABLES
from netdsl.layers import find_layer, layer_modules, pages
from netdsl.layers.table import LAYER_MODULES
from tests.support.paths import ROOT

DOCS = ROOT / "docs" / "layers"
LAYERS = ROOT / "netdsl" / "layers"
TRAINING = [name for table in TABLES.values() for name in table.classes]
USAGES = {
    "relu": "relu",
    "dense": "dense UNITS [bias on] [init he_normal] [bias_init zeros] [tied LABEL]",
    "dropout": "dropout P [spatial off]",
    "maxpool": "maxpool KERNEL [stride STRIDE] [pad 0] [ceil off]",
    "normalize": "normalize mean MEAN std STD",
    "lrn": "lrn SIZE [alpha 0.0001] [beta 0.75] [k 2] [mean off] [within off]",
    "concat": "concat [axis 0] OPERAND…",
    "input": "input NAME SIZES [dtype f32] [resize RESIZE] [letterbox LETTERBOX] [crop CROP] [filter bilinear] "
    "[order rgb] [mean MEAN] [std STD]",
}


@pytest.mark.parametrize("name", USAGES)
def test_the_usage_shows_places_keywords_and_defaults(name: str) -> None:
    cls = find_layer(name)
    assert cls is not None
    assert pages.usage(cls) == USAGES[name]


@pytest.mark.parametrize("name", layer_modules())
def test_a_layer_says_what_it_is(name: str) -> None:
    page = pages.layer_page(name)
    assert page is not None
    assert page.summary, "the docstring begins with what the layer is"
    assert any(part.startswith("Shapes: ") for part in page.paragraphs), "and says its shapes"
    assert page.example.startswith("input "), "and has an example"
    for argument in page.arguments:
        assert argument.doc, f"`{argument.name}` says nothing"
        assert argument.kind.expected


def test_the_pages_are_fresh() -> None:
    written = {path.name: path.read_text("utf-8") for path in DOCS.glob("*.md")}
    assert written == pages.layer_page_files(), "write them anew with `python -m netdsl.layers.pages`"


def test_the_table_of_modules_is_fresh() -> None:
    found = {
        name: path.stem
        for path in sorted(LAYERS.glob("*.py"))
        for name in re.findall(r'^@layer\("(\w+)"\)', path.read_text("utf-8"), re.MULTILINE)
    }
    advice = "write it anew with `python -m netdsl.layers.pages`"
    assert list(LAYER_MODULES.items()) == list(found.items()), advice
    assert (LAYERS / "table.py").read_text("utf-8") == pages.module_table(), advice


def test_writing_removes_pages_that_there_are_no_more(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("old")
    replace_pages(str(tmp_path), pages.layer_page_files())
    assert {path.name for path in tmp_path.iterdir()} == pages.layer_page_files().keys()


MARKDOWN = {
    "[C, *S] -> [D, *S]": "[C, \\*S] -> [D, \\*S]",
    "`[C, *S]` and a*b": "`[C, *S]` and a\\*b",
    "x_1 and _x": "x_1 and \\_x",
    "a | b, `a | b`": "a \\| b, `a \\| b`",
    "a < b": "a \\< b",
}


@pytest.mark.parametrize("text", MARKDOWN)
def test_formulas_survive_markdown(text: str) -> None:
    assert pages.escape_markdown(text) == MARKDOWN[text]


def test_layers_lists_each_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert listed == [*layer_modules(), *TRAINING]


def test_layers_prints_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "dense", "relu"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(USAGES["dense"])
    for said in (
        "size of the output; an integer of at least 1",
        "Source: ",
        "    input x 784\n    dense 10",
        "\nrelu\n",
    ):
        assert said in out
    assert max(map(len, out.splitlines())) <= pages.TERMINAL_WIDTH


def test_layers_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in known] == [*layer_modules(), *TRAINING]
    kinds = ["layer", "loss", "optimizer", "schedule", "stop", "metric", "data", "augmentation"]
    assert list(dict.fromkeys(each["kind"] for each in known)) == kinds
    assert main(["layers", "dropout", "--json"]) == 0
    (dropout,) = json.loads(capsys.readouterr().out)
    assert dropout["family"] == "norm"
    assert dropout["arguments"][0] == {
        "name": "p",
        "given": "by position",
        "takes": "a number >= 0 and < 1",
        "default": "required",
        "doc": "probability of being dropped",
        "words": [],
        "required": True,
    }


@pytest.mark.parametrize("name", dict.fromkeys(TRAINING))
def test_the_pages_of_a_train_block_are_printed_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", name]) == 0
    printed = capsys.readouterr().out
    for table in TABLES.values():
        assert name not in table.classes or table.page(name).usage in printed
    assert (find_layer(name) is None) or printed.startswith(pages.page_text(pages.layer_page(name)))


@pytest.mark.parametrize(("typed", "meant"), [("adamww", "adamw"), ("mnits", "mnist"), ("one_cycel", "one_cycle")])
def test_a_misspelled_name_is_looked_up_among_all(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", typed]) == 2
    assert f"did you mean `{meant}`?" in capsys.readouterr().err


def test_an_unknown_layer_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "cnov"]) == 2
    assert "did you mean `conv`?" in capsys.readouterr().err
    assert main(["layers", "xyzzy"]) == 2
    assert "`netdsl layers` lists them" in capsys.readouterr().err


def test_kinds_say_in_words_what_they_take() -> None:
    expected = {name: [row.kind.expected for row in pages.layer_page(name).arguments] for name in ("slice", "dense")}
    assert expected["slice"] == ["an integer"] * 3
    assert "`normal(s)`, `uniform(lo, hi)`, `constant(c)`, `zeros`" in expected["dense"][2]
