"""What can be typed where, and the signature of the call around a position."""

from __future__ import annotations

from pathlib import Path

import pytest

from netdsl.desk.complete import complete, signature_help
from netdsl.desk.document import uri_of
from netdsl.desk.session import Session
from tests.support.paths import ROOT

HEAD = """use "blocks.net"
let base = 8
fn twice(n) = 2 * n
block unit(width, act = relu, pad in [same, valid] = same) { conv 3x3 width; act }
net n(depth = 2, classes = base) {
  input image 3x8x8
  for i in range(depth) { inner{i}: unit 4; let here = i }
  stem: { nested: conv 3x3 8; bn }
  let width = 4
"""
FOOT = "\n}\ntrain n { loss cross_entropy }\n"


def words(line: str, head: str = HEAD, foot: str = FOOT, path: str = "/nets/n.net") -> list[str]:
    """The words that can be typed at the end of a line, those of a lower rank first."""
    session = Session()
    session.open(uri_of(path), head + line + foot, 1)
    found = complete(session.analysis(uri_of(path)), len(head + line))
    return [each.word for each in sorted(found.items, key=lambda each: each.rank)]


@pytest.mark.parametrize(
    ("line", "has", "lacks"),
    [
        ("  ", ["unit", "conv", "skip", "from", "input", "n"], ["add1", "stem", "width", "train", "block", "stride"]),
        ("  co", ["conv", "concat", "unit"], []),
        ("  x: ", ["unit", "conv"], ["stem"]),
        ("  skip { ", ["conv", "unit"], ["depth"]),
        ("  conv 3x3 8; ", ["conv", "unit"], ["stride"]),
        ("  conv 3x3 8 ", ["stride", "pad", "bias", "width", "depth", "base"], ["stem", "skip", "here", "i"]),
        ("  conv 3x3 8 stride 2 ", ["pad"], ["stride"]),
        ("  conv 3x3 8 pad ", ["same", "valid", "width"], ["stride"]),
        ("  conv 3x3 8 bias ", ["on", "off"], ["stride", "width"]),
        ("  conv 3x3 (", ["width", "depth", "base", "twice", "len"], ["stride", "stem"]),
        ("  conv 3x3 (w", ["width"], ["stride"]),
        ("  unit 4 ", ["act", "pad", "width"], ["stride"]),
        ("  for j in range(3) { dense ", ["j", "width", "units"][:2], ["i"]),
        ("  from ", ["image", "stem"], ["nested", "conv", "width"]),
        ("  reuse st", ["stem"], ["conv"]),
        ("  add ", ["image", "stem"], ["conv"]),
        ("  concat ", ["axis", "stem"], []),
        ("  if ", ["depth", "width", "channels", "shape"], ["conv", "stem"]),
        ("  let z = ", ["unit", "depth", "match"], ["conv"]),
        ("  expect ", ["params", "macs", "channels"], ["conv"]),
        ("  output y ", ["training"], ["conv"]),
        ("  default ", ["conv", "bn"], ["unit", "stride"]),
        ("  default conv ", ["bias", "stride"], ["conv"]),
        ("  attention 2 mask ", ["stem", "image"], ["conv", "width"]),
        ("  about { ", ["paper", "year"], ["conv"]),
        ("  repeat ", ["depth", "width"], ["conv"]),
        ("  # conv ", [], ["conv"]),
        ("  reduce ", ["mean"], []),
    ],
)
def test_words_of_a_body(line: str, has: list[str], lacks: list[str]) -> None:
    found = words(line)
    assert [word for word in has if word not in found] == []
    assert [word for word in lacks if word in found] == []
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("line", "has", "lacks"),
    [
        ("", ["net", "block", "use", "train", "let", "fn"], ["conv", "skip"]),
        ("net m = ", ["n"], ["unit", "conv"]),
        ("train ", ["n"], ["unit"]),
        ("default ", ["conv"], ["unit"]),
        ("let q = ", ["base", "twice"], ["conv"]),
        ("train n { ", ["loss", "optimizer", "epochs", "data"], ["conv", "sgd"]),
        ("train n { loss ", ["cross_entropy", "mse", "logits"], ["sgd"]),
        ("train n { loss cross_entropy ", ["smoothing", "ignore"], ["mse"]),
        ("train n { optimizer ", ["sgd", "adamw"], ["mse"]),
        ("train n { optimizer adamw ", ["lr", "decay"], ["sgd"]),
        ("train n { optimizer adamw lr 0.1 ", ["decay"], ["lr"]),
        ("train n { loss mse\n  freeze ", ["stem"], ["conv"]),
        ("train n { data ", ["mnist", "csv"], ["sgd"]),
        ("train n { augment { ", ["flip"], ["conv", "mnist"]),
        ("train n { schedule ", ["cosine"], ["sgd"]),
        ("train n { stop ", ["patience"], ["sgd"]),
    ],
)
def test_words_of_a_file_and_of_training(line: str, has: list[str], lacks: list[str]) -> None:
    found = words(line, f"{HEAD}  stem2: dense 2; output logits\n}}\n", "\n")
    assert [word for word in has if word not in found] == []
    assert [word for word in lacks if word in found] == []


def test_paths_behind_use(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("blocks.net", "sub/more.net", "other.txt", "n.net"):
        (tmp_path / name).write_text("block b { relu }")
    found = words('use "', "", "", str(tmp_path / "n.net"))
    assert found[:2] == ["blocks.net", "sub/more.net"]
    assert "zoo/resnet.net" in found
    assert "other.txt" not in found
    found = words("use ", "", ' from "blocks.net"\nnet n { input x 4; b }', str(tmp_path / "n.net"))
    assert "b" in found


def test_each_place_of_the_specs_can_be_completed() -> None:
    for name in ("resnet", "unet", "bert"):
        path = str(ROOT / "specs" / f"{name}.net")
        text = Path(path).read_text("utf-8")
        session = Session()
        session.open(uri_of(path), text, 1)
        analysis = session.analysis(uri_of(path))
        for offset in range(0, len(text), 17):
            complete(analysis, offset)
            signature_help(analysis, offset)


@pytest.mark.parametrize(
    ("line", "usage", "active"),
    [
        ("  conv ", "conv KERNEL [CHANNELS] [stride 1]", "KERNEL"),
        ("  conv 3x3 ", "conv KERNEL", "CHANNELS"),
        ("  conv 3x3 8 pad ", "conv KERNEL", "pad"),
        ("  x: unit ", "unit WIDTH [act …] [pad …]", "WIDTH"),
        ("  unit 4 act ", "unit", "act"),
    ],
)
def test_signatures(line: str, usage: str, active: str) -> None:
    session = Session()
    session.open("file:///n.net", HEAD + line + FOOT, 1)
    found = signature_help(session.analysis("file:///n.net"), len(HEAD + line))
    assert found is not None
    assert found.usage.startswith(usage)
    start, end = found.parameters[found.active]
    assert found.usage[start:end] == active


@pytest.mark.parametrize("line", ["", "  ", "  skip ", "  from ", "  nothing "])
def test_what_is_no_call_has_no_signature(line: str) -> None:
    session = Session()
    session.open("file:///n.net", HEAD + line + FOOT, 1)
    assert signature_help(session.analysis("file:///n.net"), len(HEAD + line)) is None
