"""Which definition a name means: renaming by the table leaves a net as it is, and errors leave the table complete."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from netdsl.base.text import Source
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.problem import Edit
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import Library
from netdsl.elaborate.module import Module
from netdsl.elaborate.net import elaborate, instances
from netdsl.elaborate.references import Reference, References
from netdsl.ir.net import Net
from tests.language.test_problems import GOLDEN
from tests.support.paths import ROOT

SPECS = sorted((ROOT / "specs").glob("*.net"))
QUICK = ("resnet", "densenet", "inception_v3", "unet", "mobilenet_v3", "bert", "yolov3", "gan", "lenet5")
SMALL = [*sorted((ROOT / "tests/difficult").glob("*.net")), *(path for path in SPECS if path.stem in QUICK)]


def module_of(text: str, path: str = "n.net") -> tuple[Module, Report]:
    report = Report()
    return Library(report).load(Source(path, text), path), report


def table(text: str) -> list[Reference]:
    return References(module_of(text)[0]).table


def renamed(source: Source, found: list[Reference]) -> str:
    """A text with another name for each definition in it all whose references are certain."""
    known = [each for each in found if each.definition is not None and each.definition.source is source]
    known.sort(key=lambda each: each.definition.start if each.definition else 0)
    edits = []
    for definition, group in groupby(known, lambda each: each.definition):
        references = list(group)
        assert definition is not None
        if all(each.exact for each in references):
            edits += [Edit(each.span, f"{definition.text}_{definition.start}") for each in references]
    assert edits
    return apply(source.text, edits)


def layers(net: Net) -> list[object]:
    numbers = {node: at for at, node in enumerate(net.nodes)}
    return [
        (
            node.layer.kind,
            [isinstance(size, int) and size for size in node.shape],
            [numbers[x] for x in node.inputs],
            [p.shape for p in node.parameters.values()],
        )
        for node in net.nodes
    ]


def rename_all(path: Path) -> None:
    text = path.read_text("utf-8")
    module, _ = module_of(text, str(path))
    before = [elaborate(each) for each in instances(module)]
    changed = renamed(module.file.source, References(module).table)
    again, report = module_of(changed, str(path))
    again.check_lets()
    after = [elaborate(each) for each in instances(again)]
    assert [f"{each.span}: {each.message()}" for each in report] == []
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert one is not None
        assert other is not None
        assert layers(one) == layers(other)


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_renaming_everything_leaves_the_nets(path: Path) -> None:
    rename_all(path)


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in SPECS if path not in SMALL], ids=lambda path: path.stem)
def test_renaming_everything_leaves_the_nets_of_all_specs(path: Path) -> None:
    rename_all(path)


TEXT = """let base = 8
fn twice(n) = 2 * n
block unit(width, act = relu) { inner: conv 3x3 width; act }
net n(depth = 2, unit_width = base) {
  input x 3x8x8
  for i in range(depth) { enc{i}: unit twice(unit_width) act tanh }
  a: { b: unit 4; c: bn }
  add { from a.b.inner } a
  concat { from enc1 } { reuse enc{depth-1} }
  let act = tanh
  act
  let width = [w for w in [1, 2] if w > base]
  if depth > 1 { end: dense 3 } else { end: dense 4 }
  output logits { from end }
}
net m = n(depth = 3)
train m { freeze a.b; loss logits cross_entropy; optimizer sgd lr 0.1 except end bias }
"""


def test_each_kind_of_name_has_its_definition() -> None:
    found = [
        (each.span.text, each.kind, str(each.definition)[6:] if each.definition else "", each.exact)
        for each in table(TEXT)
        if each.kind not in ("layer", "keyword", "builtin", "word") and each.span != each.definition
    ]
    assert found == [
        ("n", "parameter", "2:10", True),
        ("width", "parameter", "3:12", True),
        ("act", "parameter", "3:19", True),
        ("base", "value", "1:5", True),
        ("depth", "parameter", "4:7", True),
        ("i", "variable", "6:7", True),
        ("unit", "block", "3:7", True),
        ("twice", "function", "2:4", True),
        ("unit_width", "parameter", "4:18", True),
        ("act", "parameter", "3:19", True),
        ("unit", "block", "3:7", True),
        ("a", "label", "7:3", True),
        ("b", "label", "7:8", True),
        ("inner", "label", "3:33", True),
        ("a", "label", "7:3", True),
        ("enc1", "label", "6:27", False),
        ("enc{depth-1}", "label", "6:27", False),
        ("depth", "parameter", "4:7", True),
        ("act", "variable", "10:7", True),
        ("w", "variable", "12:22", True),
        ("w", "variable", "12:22", True),
        ("base", "value", "1:5", True),
        ("depth", "parameter", "4:7", True),
        ("end", "label", "13:18", True),
        ("end", "label", "13:18", True),
        ("n", "net", "4:5", True),
        ("depth", "parameter", "4:7", True),
        ("m", "net", "16:5", True),
        ("a", "label", "7:3", True),
        ("b", "label", "7:8", True),
        ("logits", "output", "14:10", True),
        ("end", "label", "13:18", True),
    ]


def test_a_word_that_may_be_a_keyword_is_not_certain() -> None:
    text = "block u(w, k = 2) { conv 3x3 w }\nblock v(w, k = 3) { conv 1x1 w }\nnet n(k = 4, act = u) {\n"
    text += "  input x 3x8x8\n  let f = u if k > 2 else v\n  f 3 k k\n  act 3 k k\n}\n"
    found = [
        (each.definition, each.exact)
        for each in table(text)
        if each.span.text == "k" and each.span.start > text.index("input")
    ]
    at = [each.span for each in table(text) if each.span.text == "k" and each.span == each.definition]
    certain = [(at.index(definition), exact) for definition, exact in found if definition]
    assert certain == [(2, True), (0, False), (1, False), (2, True), (2, False), (2, True)]


def test_names_of_other_files_have_their_definitions_there(tmp_path: Path) -> None:
    blocks = "block unit(width) { c: conv 3x3 width }\nnet part { input x 3x8x8; end: relu }\n"
    (tmp_path / "blocks.net").write_text(blocks)
    text = 'use unit from "blocks.net"\nuse "blocks.net"\n'
    text += "net n { input x 3x8x8; u: unit 4; p: part until end; from u.c }\n"
    module, report = module_of(text, str(tmp_path / "n.net"))
    assert not report.errors
    other = [
        (each.span.text, str(each.definition)[len(str(tmp_path)) + 1 :])
        for each in References(module).table
        if each.definition and each.definition.source is not module.file.source
    ]
    assert other == [
        ("unit", "blocks.net:1:7"),
        ("unit", "blocks.net:1:7"),
        ("part", "blocks.net:2:5"),
        ("end", "blocks.net:2:27"),
        ("c", "blocks.net:1:21"),
    ]


def test_files_with_errors_have_references() -> None:
    text = "block b(w) { dense w }\nnet n { input x 4; a: b 3; desne ((; from a; b 2 q 3; from nope }"
    found = [(each.span.text, each.kind) for each in table(text) if each.definition]
    assert found == [
        *(("b", "block"), ("w", "parameter"), ("w", "parameter"), ("n", "net"), ("x", "input"), ("a", "label")),
        *(("b", "block"), ("a", "label"), ("b", "block")),
    ]
    for path in GOLDEN:
        module, _ = module_of(path.read_text("utf-8"), str(path))
        for each in References(module).table:
            assert each.span.text, path
            assert each.kind in ("keyword", "builtin", "word") or each.span.text[0] not in "({[", path


def test_a_path_has_a_location_for_each_segment() -> None:
    text = "net n { input x 4; for i in [0] { a{i}: { b: dense 2 } }; from a{ [0, 1][0] }.b }"
    labels = [each.span.text for each in table(text) if each.kind == "label"]
    assert labels == [
        "a{i}",
        "b",
        "a{ [0, 1][0] }",
        "b",
    ]
