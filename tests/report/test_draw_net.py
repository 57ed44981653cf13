"""Drawings of nets: nothing overlaps, nothing is missing, every edge connects, and equal rounds are one."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from pathlib import Path
from subprocess import run
from types import ModuleType
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from netdsl.app.draw import drawn
from netdsl.cli.options import options_of
from netdsl.elaborate.library import zoo_nets
from netdsl.ir.net import Net
from netdsl.layers.table import LAYER_MODULES
from netdsl.report.canvas import BASELINE, Canvas
from netdsl.report.drawing.fold import Group
from netdsl.report.drawing.items import Box, Content, Dummy, End, Gate, Item, Port, Stack, content
from netdsl.report.drawing.metrics import ROOM, short_count, shorten, text_width
from netdsl.report.drawing.outline import CLOSED, FAMILIES, FULL, ONCE, PARTS, Outline
from netdsl.report.drawing.paint import draw_net
from netdsl.report.drawing.plan import A4, SLIDES, Page, plan
from netdsl.report.drawing.shapes import Pattern, Rectangle, Smooth
from netdsl.report.drawing.words import SIZE
from netdsl.report.theme import LIGHT, THEMES
from tests.support.cli_tools import Commands, environment, netdsl
from tests.support.programs import net_of
from tests.support.reference import open_net

__all__ = ["netdsl"]

SVG = "{http://www.w3.org/2000/svg}"

SMALL = """
block unit(width, stride = 1) {
  skip { conv 3x3 width stride stride bias off; bn; relu; conv 3x3 width } project { conv 1x1 width stride stride }
  relu
}
net small(classes = 3) {
  about { year 2020; authors "A. & B."; paper "<Small>" }
  input image 3x8x8
  body: repeat 3 { unit 4 }
  output aux training { dense 2 }
  concat { conv 1x1 2 } { maxpool 3x3 stride 1 pad same; conv 1x1 2 }
  unit 8 stride 2
  output logits { dense classes }
  output again { mul { global_avgpool }; flatten }
}
"""
VIT = """
net vit(depth = 3, width = 8) {
  input image 3x16x16
  patch: conv 4x4 width stride 4 pad 0
  reshape [width, ?]
  concat axis 1 { cls_token: param [width, 1] } { }
  add { } { pos_embed: param [shape[1], width]; permute [1, 0] }
  blocks: repeat depth {
    skip { norm1: layernorm; attn: { qkv: linear 3 * width; attention 2; proj: linear width } }
    skip { norm2: layernorm; fc1: linear 4 * width; gelu; fc2: linear width }
  }
  norm: layernorm
  slice 1 0 1
  head: dense 5
}
"""
TRANSFORMER = """
net transformer(layers = 3, width = 8, words = 50) {
  input source 6 dtype i64
  add { embedding words width } { positions; embedding 9 width }
  dropout 0.1
  encoder: repeat layers {
    skip { attention 2 { linear width } { linear width } { linear width }; linear width }
    layernorm
    skip { linear 16; relu; linear width }
    layernorm
  }
  memory: identity
  input seen 6 dtype i64
  input target 7 dtype i64
  add { e: embedding words width } { positions; embedding 9 width }
  decoder: repeat layers {
    skip { attention 2 causal on { linear width } { linear width } { linear width }; linear width }
    layernorm
    skip { attention 2 mask seen { linear width } { from memory; linear width } { from memory; linear width } }
    layernorm
    skip { linear 16; relu; linear width }
    layernorm
  }
  linear words bias off tied e
  softmax
}
"""
SEQ2SEQ = """
net seq2seq {
  input seen 5 dtype i64
  input words 5 dtype i64
  embedding 20 6
  memory: lstm 6 layers 2
  state memory
  thought: identity
  input translation 4 dtype i64
  embedding 30 6
  decoder: lstm 6 layers 2 initial thought
  attention 1 mask seen decoder memory memory
  concat { } decoder
  linear 6
  tanh
  linear 30
}
"""
WINDOW = """
block table(heads, m) {
  t: param [heads, m * m]
  concat axis 1 for i in range(m) { slice 1 i * m (i + 1) * m }
  reshape [heads, m, m]
}
net window {
  input x 6x2x4
  values [0, 0, 1, 1] dtype i64
  regions: identity
  from x
  skip {
    norm: layernorm
    qkv: linear 18
    y: identity
    table 3 4
    b: identity
    from y
    attention 3 bias b segments regions
    proj: linear 6
  }
  mul { } { gamma: param [6, 1, 1] init constant(1e-6) }
}
"""
PROGRAMS = {
    "small": SMALL,
    "one": "net n { input x 4\n dense 2 }",
    "identity": "net n { input x 4 }",
    "u": "block d(w) { conv 3x3 w; relu; conv 3x3 w }\n"
    "net n { input x 1x16x16\n a: d 2\n maxpool 2x2\n b: d 4\n maxpool 2x2\n"
    "d 8; upsample 2; concat { } { from b }; d 4; upsample 2; concat { } { from a }; d 2 }",
    "all before": "net n { input x 2x4x4\n a: concat { } { conv 3x3 2 }\n"
    "b: concat { from a } { from x } { conv 3x3 2 }\n"
    "c: concat { from b } { from a } { from x } { conv 3x3 2 }\n dense 2 }",
    "inputs": "net n { input a 4x4x4\n input b 4x4x4\n from a\n add { conv 3x3 4 } { from b; conv 3x3 4 }\n"
    "output p { dense 3 }\n output q { dense 4; relu }\n output r { from a; dense 2 } }",
    "unknown": "net n { input x [3, ?H, ?W]\n repeat 3 { skip { conv 3x3 } }\n conv 1x1 2\n global_avgpool }",
    "results": "block b { a: conv 3x3 4; relu; conv 3x3 4 }\n"
    "net n { input x 4x5x5\n l: b\n add { } { from l.a }\n dense 3 }",
    "nested": "block a { conv 3x3 4; b; b }\nblock b { skip { c }; relu }\n"
    "block c { conv 1x1 4; maxpool 3x3 stride 1 pad 1 }\n"
    "net n { input x 4x5x5\n repeat 4 { a }\n reuse_me: a\n reuse reuse_me }",
    "twice": "net n { input x 4x5x5\n add { } { }\n concat { } { conv 3x3 2; relu } { } { }\n mul { } { } { }\n"
    "repeat 3 { add { } { } }\n output aux training { dense 2 }\n dense 3 }",
    "u-net": "block d(w) { conv 3x3 w; relu; conv 3x3 w; relu }\nnet unet(w = 64) { input image 3x64x64\n"
    "for i in range(4) { enc{i}: d w*2**i; maxpool 2x2 }; d w*16\n"
    "for i in [3, 2, 1, 0] { deconv 2x2 w*2**i stride 2; concat enc{i} { }; d w*2**i }; conv 1x1 2 }",
    "levels": "net n { input x 2x16x16\n a: conv 3x3 4; maxpool 2x2; b: conv 3x3 8; relu; c: conv 1x1 8; maxpool 2x2\n"
    "upsample 2; add { } c; upsample 2; concat { } a; conv 1x1 2; softmax; output y }",
    "small_vit": VIT,
    "small_transformer": TRANSFORMER,
    "small_seq2seq": SEQ2SEQ,
    "window": WINDOW,
    "operands": "net o { input x 4x6; best: top_k_indices 2; from x; gather axis 1 best; reshape [4, ?]; w: relu\n"
    "output product { matmul { permute [1, 0] } { } }\n output again { attention 1 w w w }\n"
    "input a 2x8x8; input b 4x4x4; add { resize like a } { from a; conv 1x1 4 }; output total }",
    "like": "net l { input x 2x9x9; input other 1x4x4\n from x; conv 3x3 2 pad 0; a: relu\n"
    "for i in [2] { up{i}: conv 5x5 2 pad 0; concat { } { from a; crop like up{i} }; resize like other } }",
    "two decoders": "block e { skip { linear 8; relu; linear 8 }; layernorm }\n"
    "block d(m) { skip { linear 8 }; skip { attention 2 { } { from m; linear 8 } { from m; linear 8 } } }\n"
    "net t { input pad 5 dtype i64; input a 5 dtype i64; embedding 9 8; e; e; m: e; output memory\n"
    "for i in [1, 2] { input b{i} 4 dtype i64; embedding 9 8; d m; attention 2 mask pad { } m m; output y{i} } }",
    "constant": "net c { input x 4; relu; output y; output table { values [1, 2, 3]; tanh } }",
    "positions": "net p { input x 9 dtype i64; positions; embedding 9 4 }",
    "distances": "net p { input x 9 dtype i64; relative_positions 2; embedding 5 4 }",
    "tall": "net n { input x 4x5x5\n repeat 2 {" + "skip { conv 3x3; relu }\n tanh\n" * 12 + "} }",
}
NETS: dict[str, Callable[[], Net]] = {name: lambda text=text: net_of(text) for name, text in PROGRAMS.items()}
NETS |= {name: lambda name=name: open_net(name) for name in zoo_nets()}
QUICK = {
    *PROGRAMS,
    "alexnet",
    "alphago_zero",
    "densenet121",
    "dlrm",
    "enet_encoder",
    "inception_v4",
    "transformer",
    "vit",
}
DRAWN = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETS]


LAYOUTS = {
    "folded": (False, FULL, A4),
    "unfolded": (True, FULL, A4),
    "slide": (False, FULL, SLIDES[0]),
    "slide, parts": (False, PARTS, SLIDES[1]),
    "slide, once": (False, ONCE, SLIDES[0]),
    "slide, closed": (False, CLOSED, SLIDES[0]),
}


def planned(net: Net, *, unfold: bool, detail: int = FULL, page: Page = A4) -> tuple[Content, Outline]:
    outline = Outline(net, unfold=unfold, detail=detail)
    root = content(net, outline)
    plan(root, page)
    return root, outline


def contents(root: Content) -> list[Content]:
    found = [root]
    for each in found:
        found += [item.content for item in each.items if isinstance(item, Box) and item.content]
    return found


def things(found: Content) -> list[Item]:
    return [item for rank in found.ranks for item in rank if not isinstance(item, (Dummy, Port))]


def sides(item: Item) -> tuple[float, float, float, float]:
    return item.x - item.width / 2, item.y, item.x + item.width / 2, item.y + item.height


def crossed(found: Content) -> Iterator[tuple[object, Item]]:
    """The edges that run through a thing that they do not belong to."""
    for upper, lower, points in found.edges:
        for (ax, ay), (bx, by) in pairwise(points):
            for item in things(found):
                left, top, right, low = sides(item)
                apart = max(ax, bx) <= left or min(ax, bx) >= right or max(ay, by) <= top or min(ay, by) >= low
                if item not in (upper, lower) and not apart:
                    yield points, item


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", DRAWN)
def test_nothing_overlaps_and_all_is_on_the_page(name: str, layout: str) -> None:
    unfold, detail, page = LAYOUTS[layout]
    root, _ = planned(NETS[name](), unfold=unfold, detail=detail, page=page)
    for found in contents(root):
        items = things(found)
        edge = 0.01
        inner = items and found is not root
        x, y = (min(getattr(item, at) for rank in found.ranks for item in rank) for at in "xy") if inner else (0, 0)
        boxes = sorted(map(sides, items))
        for at, (left, top, right, low) in enumerate(boxes):
            assert inner or (left >= x - edge and top >= y - edge)
            assert inner or (right <= found.width + edge and low <= found.height + edge)
            for other in boxes[at + 1 :]:
                if other[0] >= right:
                    break
                assert other[1] >= low - edge or other[3] <= top + edge, (boxes[at], other)
        assert not [*crossed(found)]
        for item in items:
            if isinstance(item, Box) and item.content:
                for each in things(item.content):
                    left, top, right, low = sides(each)
                    assert left >= 0
                    assert right <= item.width
                    assert top >= item.header
                    assert low <= item.height


@pytest.mark.parametrize(
    "middle",
    [
        "from a; d: mul b; from b; e: mul c; from a; f: gelu",
        "from b; d: tanh; from c; e: mul b; from b; f: gelu",
    ],
)
def test_edges_do_not_cross_where_an_order_without_crossings_exists(middle: str) -> None:
    first = "input x 4; from x; a: relu; from x; b: tanh; from x; c: sigmoid"
    last = "from d; output o; from e; output p; from f; output q"
    root, _ = planned(net_of(f"net n {{ {first}; {middle}; {last} }}"), unfold=True)
    assert len(root.edges) > 6
    for (up, down, _), (other, end, _) in combinations(root.edges, 2):
        assert up.rank != other.rank or (up.x - other.x) * (down.x - end.x) >= 0, (up, down, other, end)


@pytest.mark.parametrize("unfold", [False, True])
@pytest.mark.parametrize("name", DRAWN)
def test_every_layer_is_there_and_every_edge_connects(name: str, unfold: bool) -> None:
    net = NETS[name]()
    root, outline = planned(net, unfold=unfold)
    found = contents(root)
    plates = [plate.name for each in found for item in each.items if isinstance(item, Stack) for plate in item.plates]
    drawn = {row.node.name: [mate.node.name for mate in outline.mates[row]] for row in outline.mates}
    assert len(plates) == len({*plates})
    assert {mate for name in plates for mate in drawn[name]} == {node.name for node in net.nodes}
    if unfold:
        assert len(plates) == len(net.nodes)
    assert {item.name for item in root.items if isinstance(item, End)} == net.outputs.keys()
    for each in found:
        into: dict[Item, list[Item]] = {}
        for upper, lower, points in each.edges:
            into.setdefault(lower, []).append(upper)
            left, top, right, low = sides(upper)
            assert left - 0.01 <= points[0][0] <= right + 0.01
            assert top - 0.01 <= points[0][1] <= low + 0.01
            assert sides(lower)[1] - 0.01 <= points[-1][1] <= sides(lower)[3] + 0.01
            assert sides(lower)[0] - 0.01 <= points[-1][0] <= sides(lower)[2] + 0.01
        for item in each.items:
            for value in item.inputs:
                assert any(value in source.outputs for source in into[item]), (item, value)


@pytest.mark.parametrize("name", DRAWN)
def test_closed_boxes_stand_for_their_layers(name: str) -> None:
    net = NETS[name]()
    for detail in (PARTS, ONCE, CLOSED):
        root, outline = planned(net, unfold=False, detail=detail, page=SLIDES[0])
        boxes = [item for each in contents(root) for item in each.items if isinstance(item, Box)]
        stacks = [item for each in contents(root) for item in each.items if isinstance(item, Stack)]
        rows = [row for box in boxes if not box.content for row in box.group.rows]
        seen = [mate.node.name for row in rows for mate in outline.mates[row]]
        drawn = {row.node.name: [mate.node.name for mate in outline.mates[row]] for row in outline.mates}
        seen += [name for stack in stacks for plate in stack.plates for name in drawn[plate.name]]
        assert {*seen} == {node.name for node in net.nodes}
        assert all(box.title for box in boxes if not box.content)
        for each in contents(root):
            reached = {(lower, value) for upper, lower, _ in each.edges for value in upper.outputs}
            assert all((item, value) in reached for item in each.items for value in item.inputs)


LOOKS: dict[str, dict[str, object]] = {
    "light": {},
    "slide": {"wide": True},
    "plain": {"theme": "plain"},
    "plain slide": {"theme": "plain", "wide": True},
}


WIDEST = {
    "deeplabv3": 1900,
    "fcn": 2100,
    "hrnet": 6400,
    "segnet": 2700,
    "small_transformer": 1850,
    "ssd300": 2300,
    "wavenet": 13800,
}
"""Nets that are too large for a slide, by the beginnings of their names; all others are nearly legible on one."""


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", DRAWN)
def test_no_text_is_cut_or_crossed(name: str, look: str) -> None:
    """By another text, or by an edge; the margin for wide fonts may be."""
    tree = ElementTree.fromstring(drawn(NETS[name](), "svg", **LOOKS[look]))
    width, height = float(tree.get("width", 0)), float(tree.get("height", 0))
    if look == "slide":
        assert width <= next((most for stem, most in WIDEST.items() if name.startswith(stem)), 1750)
    texts = []
    for each in tree.iter(f"{SVG}text"):
        size, bold = float(each.get("font-size", 0)), each.get("font-weight") is not None
        wide = text_width(each.text or "", size, bold=bold) / ROOM
        left = float(each.get("x", 0)) - wide * ("start", "middle", "end").index(each.get("text-anchor", "")) / 2
        middle = float(each.get("y", 0)) - BASELINE * size
        texts.append((left, middle - 0.36 * size, left + wide, middle + 0.36 * size, each.text))
    edges = []
    for each in tree.iter(f"{SVG}path"):
        if each.get("fill") == "none":
            points = [  # with the corners of bends
                (float(x), float(y)) for x, y in re.findall(r"[MLQ](\S+?) (\S+?)(?=[ LQ]|$)", each.get("d", ""))
            ]
            edges += [(*map(min, a, b), *map(max, a, b)) for a, b in pairwise(points)]
    texts.sort()
    for at, (left, top, right, low, words) in enumerate(texts):
        assert 0 <= left < right <= width, words
        assert 0 <= top < low <= height, words
        for other in texts[at + 1 :]:
            if other[0] >= right:
                break
            assert top >= other[3] or other[1] >= low, (words, other)
        for ax, ay, bx, by in edges:
            assert bx <= left or right <= ax or by <= top or low <= ay, (words, (ax, ay, bx, by))


def test_a_tall_net_with_skips_between_resolutions_has_a_row_for_each_with_its_boxes() -> None:
    root, _ = planned(open_net("unet"), unfold=False)
    merges = [item for item in things(root) if isinstance(item, Stack) and item.first.layer.kind in ("crop", "concat")]
    boxes = [item for item in things(root) if isinstance(item, Box)]
    assert all(box.content for box in boxes)
    rows = {round(item.y + item.height / 2) for item in boxes}
    assert len(rows) == 5
    assert rows > {round(item.y + item.height / 2) for item in merges}
    assert root.width < 1.2 * root.height


@pytest.mark.parametrize("name", ["u-net", "levels"])
def test_on_a_slide_a_net_with_skips_between_resolutions_has_a_row_for_each(name: str) -> None:
    root, _ = planned(NETS[name](), unfold=False, detail=CLOSED, page=SLIDES[0])
    rows: dict[object, list[Item]] = {}
    for item in things(root):
        value = next(iter(item.outputs), None) or item.inputs[0]
        rows.setdefault(value.shape[1:], []).append(item)
    middles = [[item.y + item.height / 2 for item in row] for row in rows.values()]
    for above, below in pairwise(middles):
        assert max(above) < min(below)
    assert all(middle == pytest.approx(row[0]) for row in middles[1:] for middle in row)
    for upper, lower, points in root.edges:
        for item, point in ((upper, points[0]), (lower, points[-1])):
            left, top, right, low = sides(item)
            assert point[0] in (pytest.approx(left), pytest.approx(right), pytest.approx(item.x))
            assert point[1] in (pytest.approx(top), pytest.approx(low), pytest.approx((top + low) / 2))
        assert all(a[0] == b[0] or a[1] == pytest.approx(b[1]) for a, b in pairwise(points))
    assert len(root.edges) == sum(len(item.inputs) for item in things(root))


def test_a_row_has_the_crop_of_its_skip() -> None:
    root, _ = planned(open_net("unet"), unfold=False, detail=CLOSED, page=SLIDES[0])
    kinds = {item: item.first.layer.kind if isinstance(item, Stack) else "" for item in things(root)}
    crops = [item for item in kinds if kinds[item] == "crop"]
    merges = [item for item in kinds if kinds[item] == "concat"]
    middles = [[item.y + item.height / 2 for item in items] for items in (crops, reversed(merges))]
    assert middles[0] == pytest.approx(middles[1])
    assert len({*middles[0]}) == 4


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "resnet18", "googlenet", "enet", "u", "u-net", "unet", "gpt2"])
def test_a_slide_is_legible(name: str) -> None:
    """On a slide of 960 by 540 points, its text has 8 points or more."""
    width, height = map(int, re.findall(rb'(?:width|height)="(\d+)"', drawn(NETS[name](), "svg", wide=True))[:2])
    assert width * 9 == pytest.approx(height * 16, abs=16)
    assert SIZE * 960 / width >= 8


def test_a_slide_shows_each_structure_once_and_says_so() -> None:
    svg = drawn(open_net("resnet18"), "svg", wide=True).decode()
    assert ">layer3.0: basic 256 stride 2<" in svg
    assert svg.count(">+<") == 2  # of five boxes
    assert ">structure as of an earlier box of this block<" in svg
    assert ">contents not shown<" in drawn(open_net("googlenet"), "svg", wide=True).decode()
    assert drawn(open_net("resnet18"), "svg", wide=True, unfold=True).count(b">+<") == 8


def luminance(color: str) -> float:
    """Source: WCAG 2.1, relative luminance."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(color: str, other: str) -> float:
    low, high = sorted((luminance(color), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", THEMES)
def test_text_stands_out_from_what_it_stands_on(name: str) -> None:
    theme = THEMES[name]
    for fill in (theme.paper, *theme.shades, *(fill for fill, _ in theme.families.values())):
        assert contrast(theme.ink, fill) >= 7
        assert contrast(theme.faint, fill) >= 4
    assert contrast(theme.line, theme.paper) >= 3
    assert theme.families.keys() == LIGHT.families.keys()
    assert min(contrast(ink, theme.paper) for ink in theme.palette) > 2


@pytest.mark.parametrize("form", ["svg", "dot", "mmd"])
@pytest.mark.parametrize("name", THEMES)
def test_a_drawing_has_the_colors_of_its_theme_alone(name: str, form: str) -> None:
    theme = THEMES[name]
    used = {color.decode() for color in re.findall(rb"#[0-9a-f]{6}", drawn(NETS["small"](), form, theme=name))}
    own = {theme.ink, theme.faint, theme.paper, theme.line, theme.border, theme.behind, *theme.shades}
    assert used <= own | {color for pair in theme.families.values() for color in pair}


def test_a_plain_drawing_is_black_and_white_with_a_pattern_for_each_family() -> None:
    patterns = THEMES["plain"].patterns
    assert len({*patterns.values()}) == len(patterns)
    assert patterns.keys() == LIGHT.families.keys() - {"merge", "source", "input"}
    pixels = Image.open(io.BytesIO(drawn(open_net("lenet5"), "png", theme="plain")))
    black, white = ((0, 0, 0), (255, 255, 255))
    assert {black, white} <= {color for _, color in pixels.getcolors(100_000)}
    assert all(max(color) - min(color) == 0 for _, color in pixels.getcolors(100_000))  # shades of a letter's edge


def test_patterns_look_different_in_a_png_too() -> None:
    found = set()
    for kind in THEMES["plain"].patterns.values():
        canvas = Canvas(60, 60, "")
        canvas.add(Pattern((10, 10), (40, 40), kind, "#000000", 2))
        pixels = Image.open(io.BytesIO(canvas.png())).convert("L")
        assert not any(pixels.getpixel((x, y)) < 255 for x in (*range(9), *range(52, 60)) for y in range(60))
        found.add(pixels.crop((12, 12, 48, 48)).tobytes())
    assert len(found) == len(THEMES["plain"].patterns)


def test_the_same_pdf_at_any_time() -> None:
    pytest.importorskip("cairosvg", exc_type=(ImportError, OSError))
    found = drawn(NETS["small"](), "pdf")
    assert found.startswith(b"%PDF-")
    assert found.endswith(b"%%EOF\n% made by netdsl\n")
    assert {*re.findall(rb"D:(\d{14})", found)} <= {b"20000101000000"}
    assert found == drawn(NETS["small"](), "pdf")
    assert found != drawn(NETS["small"](), "pdf", theme="dark")


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("draw n.net -o n.png", "PIL", "images"),
        ("draw n.net -o n.pdf", "cairosvg", "pdf"),
        ("compare n.net --plot n.pdf", "cairosvg", "pdf"),
        ("filters n.net -o n.pdf", "cairosvg", "pdf"),
    ],
)
def test_a_missing_package_is_named(
    netdsl: Commands, monkeypatch: pytest.MonkeyPatch, command: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    netdsl.write(n="net n { input x 3x8x8; conv 3x3 4 }")
    ran = netdsl(*command.split())
    assert (ran.code, ran.out) == (2, "")
    assert "E0806" in ran.err
    assert f"pip install 'netdsl[{extra}]'" in ran.err
    assert {path.name for path in Path().iterdir()} == {"n.net"}


def test_a_missing_library_of_a_package_is_named(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cairosvg", exc_type=(ImportError, OSError))
    broken = ModuleType("cairocffi")

    def fail(_: str) -> None:
        raise OSError('no library called "cairo-2" was found\nno library called "cairo" was found')

    broken.__getattr__ = fail  # type: ignore[method-assign]
    for module, reason in ((None, "import of cairocffi halted"), (broken, 'no library called "cairo-2" was found\n')):
        monkeypatch.setitem(sys.modules, "cairocffi", module)
        ran = netdsl("draw", "lenet5", "-o", "n.pdf")
        assert (ran.code, [*Path().iterdir()]) == (2, [])
        assert f"CairoSVG cannot be loaded: {reason}" in ran.err


@pytest.mark.parametrize("name", DRAWN)
def test_each_form_can_be_read(name: str) -> None:
    net = NETS[name]()
    tree = ElementTree.fromstring(drawn(net, "svg"))
    titles = [each.text for each in tree.iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0].startswith(net.name)
    dot, mermaid = drawn(net, "dot").decode(), drawn(net, "mmd").decode()
    assert dot.count("{") == dot.count("}")
    assert mermaid.count("subgraph") == len(re.findall(r"^ *end$", mermaid, re.MULTILINE)) == dot.count("subgraph")
    assert len(re.findall(" -> ", dot)) == len(re.findall(r" -->| -\.->", mermaid))


def test_a_difference_tells_what_is_taken_from_what() -> None:
    net = net_of("net n {\n  input x 4\n  sub { relu } { }\n  sub { } { relu }\n  div { } { sigmoid }\n}\n")
    tree = ElementTree.fromstring(drawn(net, "svg"))
    titles = "\n".join(each.text or "" for each in tree.iter("{http://www.w3.org/2000/svg}title"))
    for words in ("sub: relu1 − x", "sub: sub1 − relu2", "div: sub2 ÷ sigmoid1"):
        assert words in titles


@pytest.mark.parametrize("name", ["small", "u"])
@pytest.mark.parametrize("form", ["svg", "dot", "mmd"])
def test_how_it_looks(name: str, form: str, golden: Callable[[str, str], None]) -> None:
    golden(f"draw/{name}.{form}", drawn(NETS[name](), form).decode())


def folds(net: Net) -> list[tuple[str, int]]:
    """The boxes and how often they are, in the order of the source."""
    todo, found = [Outline(net).root], []
    while todo:
        group = todo.pop()
        if group.frame or group.times > 1:
            found.append((group.frame.name if group.frame else "", group.times))
        todo += [part for part in reversed(group.parts) if isinstance(part, Group)]
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alphago_zero", [("", 19)]),
        ("resnet18", [("basic", 2), *[("basic", 1)] * 6]),
        ("densenet121", [(name, n) for n in (6, 12, 24, 16) for name in ("dense_layer", "transition")][:-1]),
        ("densenet", None),
        ("alexnet", []),
    ],
)
def test_what_is_folded(name: str, expected: list[tuple[str, int]] | None) -> None:
    found = folds(open_net(name))
    if expected is None:
        assert found == folds(open_net("densenet121"))
        return
    order = [each for each in found if each[0] != "transition"]
    assert order == [each for each in expected if each[0] != "transition"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("repeat 3 { conv 3x3 4; maxpool 3x3 stride 1 pad 1 }", [("", 3)]),
        ("repeat 1 { conv 3x3 4; maxpool 3x3 stride 1 pad 1 }", []),
        ("repeat 2 { conv 3x3 4; maxpool 2x2 }", []),  # the shapes differ
        ("repeat 3 { conv 3x3 4; maxpool 2x2 }", [("", 3)]),
        ("repeat 4 { conv 3x3 8; maxpool 3x3 stride 1 pad 1 }", [("", 3)]),  # the first has fewer channels
        ("for n in [4, 5, 6] { conv 3x3 n; maxpool 3x3 stride 1 pad 1 }", []),  # the calls differ
        ("repeat 2 { b }; maxpool 2x2; repeat 3 { b }", [("b", 2), ("b", 3)]),
        ("b; b; b", [("b", 3)]),
        ("x1: b; x2: b; add { } { from x1 }", [("b", 1), ("b", 1)]),  # another reads what the first makes
        ("x1: b; output early; x2: b", [("b", 1), ("b", 1)]),
        ("concat { b } { b }", [("b", 1), ("b", 1)]),  # neither reads the other
        ("repeat 2 { b; b }; relu", [("", 2), ("b", 2)]),
        ("for p in [0, 0.1, 0.2] { conv 1x1 4; maxpool 1x1; dropout p }", [("", 3)]),  # a rate alone rises
        ("for p in [0.1, 0, 0.2] { conv 1x1 4; maxpool 1x1; dropout p }", []),
        ("for p in [0, 0.1] { conv 1x1 4; maxpool 1x1; dropout p }", []),
        ("repeat 4 as i { if i % 2 > 0 { b } else { tanh; maxpool 1x1 } }", [("", 2), ("b", 1)]),  # pairs
        ("repeat 3 as i { if i % 2 > 0 { b } else { tanh; maxpool 1x1 } }", [("b", 1)]),
        ("concat for i in range(8) { slice 1 i i + 1; conv 1x1 2 }", [("", 8)]),  # branches
        ("concat for i in range(5) { slice 1 i i + 1; conv 1x1 2 }", []),
        ("concat for i in range(8) { slice 1 i i + 1; conv 1x1 2; if i > 4 { relu } }", []),
    ],
)
def test_rounds_are_one_where_they_are_equal(body: str, expected: list[tuple[str, int]]) -> None:
    net = net_of(
        f"block b {{ conv 3x3 4; maxpool 3x3 stride 1 pad 1 }}\nnet n {{ input x 4x16x16\n {body}\n output y }}"
    )
    assert folds(net) == expected


def test_what_is_drawn_for_several_says_the_range_of_its_numbers() -> None:
    branches = "concat for i, n in enumerate([9, 7, 8, 2, 3, 6]) { from x; slice 0 i i + 1; e{i}: embedding n 4 }"
    rounds = "repeat 3 as i { d{i}: b (0.1 * i) }"
    block = "block b(p) { linear 4; linear 4; dropout p }"
    net = net_of(f"{block}\nnet n {{ input x 6 dtype i64\n {branches}; reshape 4x6; {rounds} }}")
    svg = drawn(net, "svg").decode()
    for words in (
        "× 6",
        "slice 0 0…5 1…6",
        "embedding 2…9 4",
        "e0…5 · 8…36 weights",
        "d0…2: b 0.0…0.2 × 3",
        "dropout 0.0…0.2",
    ):
        assert f">{words}<" in svg
    assert "equal rounds or branches, drawn once" in svg


def test_a_constant_that_many_layers_read_is_named_instead_of_connected() -> None:
    constants = "c: values [1, 0] dtype i64; d: values [0, 1] dtype i64"
    bodies = "gather c; gather c; t: tanh; gather {}"
    for last, edges in (("c", 0), ("d", 3)):
        net = net_of(f"net n {{ input x 2x2; {constants}; from x; {bodies.format(last)} }}")
        root, _ = planned(net, unfold=False)
        assert sum(isinstance(upper, Stack) and upper.first.layer.kind == "values" for upper, *_ in root.edges) == edges
        assert (b">gather indices c<" in drawn(net, "svg")) == (edges == 0)


def test_what_a_box_says() -> None:
    root, _ = planned(net_of(SMALL), unfold=False)
    boxes = [item for item in root.items if isinstance(item, Box)]
    assert [box.title for box in boxes] == ["body.0: unit 4", "body.1…2: unit 4 × 2", "unit 8 stride 2"]
    svg = drawn(open_net("densenet121"), "svg").decode()
    assert ">denseblock2.denselayer1…12: dense_layer 32 × 12<" in svg
    assert ">128…480x28x28<" in svg
    assert ">bn eps 0.001<" in drawn(open_net("mobilenet_v3_small"), "svg").decode()
    assert ">920k weights · 713M MACs<" in svg
    assert "features.denseblock2.denselayer1.norm1 … features.denseblock2.denselayer12.norm1" in svg


def test_rounds_of_unlabeled_calls_have_no_label() -> None:
    net = net_of("block b { conv 3x3 4; maxpool 3x3 stride 1 pad 1 }\nnet n { input x 4x9x9\n repeat 4 { b } }")
    root, _ = planned(net, unfold=False)
    assert [item.title for item in root.items if isinstance(item, Box)] == ["b × 4"]


def test_a_box_does_not_say_what_is_so_anyway() -> None:
    text = "block b(w, k = 3, p = same, on_off = on) { conv k w pad p; if on_off { maxpool 3 stride 1 pad p } }\n"
    net = net_of(f"{text}net n {{ input x 4x9x9\n b 4 3 p same on_off on\n b 4 5 p 2 on_off on\n b 3 k 3 p 1 }}")
    root, _ = planned(net, unfold=False)
    assert [item.title for item in root.items if isinstance(item, Box)] == ["b 4", "b 4 k 5 p 2", "b 3 p 1"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("stem: conv 3x3 4; conv 3x3 4; conv2: conv 3x3 4", ["conv stem", "conv conv2"]),
        ("stem: conv 3x3 4; norm: bn; act: relu; tanh", ["conv stem", "bn norm", "relu act"]),
        ("part: { conv 3x3 4; relu; top: relu }", ["conv part.conv1", "relu part.top"]),
        ("features: seq { conv 3x3 4; bn; relu }", ["conv features.0", "bn features.1"]),
        ("one: b", ["conv a"]),  # the box is called `one`
        ("b; b", ["conv a"]),
        ("stage: repeat 2 { b }", ["conv a"]),
        ("deep: repeat 2 { conv 3x3 4; maxpool 3x3 stride 1 pad 1 }", []),
        ("deep: repeat 2 { conv 3x3 4 }", ["conv deep.0…1"]),
        ("output head { dense 2 }", []),
    ],
)
def test_layers_have_their_labels(body: str, expected: list[str]) -> None:
    net = net_of(f"block b {{ a: conv 3x3 4; maxpool 3x3 stride 1 pad 1 }}\nnet n {{ input x 4x8x8\n {body} }}")
    found = contents(planned(net, unfold=False)[0])
    plates = [plate for each in found for item in each.items if isinstance(item, Stack) for plate in item.plates]
    assert [f"{plate.kind} {plate.label}" for plate in plates if plate.label] == expected
    assert all(plate.figures.startswith(plate.label) for plate in plates)
    assert all(f"\\n{words.partition(' ')[2]}" in drawn(net, "dot").decode() for words in expected)


def test_a_sum_has_its_label_beside_its_shape() -> None:
    net = net_of("net n { input x 4x8x8\n res: skip { conv 3x3 4; relu }\n conv 1x1 2 }")
    assert b">res: 4x8x8<" in drawn(net, "svg")


def test_what_is_read_very_often_has_one_arrow() -> None:
    net = net_of("net n { input x 4x5; concat for i in range(7) { } }")
    root, _ = planned(net, unfold=True)
    assert len(root.edges) == 2
    assert b">\xc3\x97 7<" in drawn(net, "svg")


def test_what_is_read_twice_has_two_arrows() -> None:
    net = net_of(PROGRAMS["twice"])
    root, _ = planned(net, unfold=True)
    into: dict[str, list[tuple[float, float]]] = {}
    for _, lower, points in root.edges:
        into.setdefault(lower.plates[0].kind if isinstance(lower, Stack) else "", []).append(points[-1])
    assert {kind: len({*into[kind]}) for kind in ("add", "concat", "mul")} == {"add": 8, "concat": 4, "mul": 3}
    edges = re.findall(r"(\w+) -> (\w+)", drawn(net, "dot", unfold=True).decode())
    assert sorted(map(edges.count, {*edges}))[-6:] == [2, 2, 2, 2, 3, 3]


def test_a_head_for_training_is_no_taller_than_its_layers() -> None:
    root, _ = planned(open_net("inception_v3"), unfold=False)
    head = sorted((item for item in things(root) if item.dashed), key=lambda item: item.y)
    assert len(head) == 6
    assert all(lower.y - upper.y - upper.height < 30 for upper, lower in pairwise(head))


def test_texts_cannot_break_a_drawing() -> None:
    net = net_of('net n { about { paper "</svg>&<!--" }\n input x 4\n dense 2 }')
    svg = drawn(net, "svg")
    ElementTree.fromstring(svg)
    assert b"&lt;/svg&gt;" in svg


def test_the_same_bytes_in_every_process() -> None:
    draws = "[main(['draw', n, '-o', '-', '-q']) for n in ('googlenet', 'enet_encoder')]"
    code = f"from netdsl.cli import main; {draws}"
    found = [
        run([sys.executable, "-c", code], env=environment(PYTHONHASHSEED=seed), capture_output=True) for seed in "12"
    ]
    assert found[0].stdout == found[1].stdout
    assert found[0].stdout.count(b"</svg>") == 2, found[0].stderr


def test_a_png_is_twice_as_large() -> None:
    net = net_of(SMALL)
    width, height = re.findall(rb'(?:width|height)="(\d+)"', drawn(net, "svg"))[:2]
    picture = Image.open(io.BytesIO(drawn(net, "png")))
    assert abs(picture.width - 2 * int(width)) <= 1
    assert abs(picture.height - 2 * int(height)) <= 1
    assert len(picture.getcolors(100_000)) > 20


@pytest.mark.parametrize("dashed", [False, True])
def test_what_is_for_training_only_is_dashed_in_a_png_too(dashed: bool) -> None:
    canvas = Canvas(100, 60, "")
    canvas.add(Rectangle((10, 10), 80, 20, fill="#ffffff", edge="#000000", radius=6, dashed=dashed))
    canvas.add(Smooth([(10, 45), (90, 45)], "#000000", 6, dashed=dashed))
    pixels = Image.open(io.BytesIO(canvas.png())).convert("1")
    for y in (10, 30, 45):
        row = [pixels.getpixel((x, y)) == 0 for x in range(20, 80)]
        assert any(row)
        assert all(row) != dashed
    for x in (10, 90):
        side = [pixels.getpixel((x, y)) == 0 for y in range(16, 25)]
        assert any(side)
        assert dashed or all(side)
    assert not any(pixels.getpixel((x, y)) == 0 for x in (*range(8), *range(14, 87), *range(94, 100)) for y in (17, 23))


def test_a_png_has_no_characters_that_its_font_lacks() -> None:
    """They would be boxes, all alike."""
    lacking, known = "×÷−–—éüµß", "x/---euuss"
    pictures = []
    for text in (lacking, known):
        canvas = Canvas(200, 40, "")
        canvas.text(10, 20, f"{text} ·…‘’“”°±")
        pictures.append(canvas.png())
    assert pictures[0] == pictures[1]
    font = ImageFont.load_default(20)
    boxed = bytes(font.getmask("\uffff"))
    assert not [character for character in "·…‘’“”°±" if bytes(font.getmask(character)) == boxed]


@given(st.text(), st.floats(5, 300))
def test_a_cut_text_fits(text: str, room: float) -> None:
    found = shorten(text, 12, room)
    assert text_width(found, 12) <= max(room, text_width("…", 12))
    assert found == text or found.endswith("…")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1k"),
        (1234, "1.23k"),
        (99_960, "100k"),
        (999_600, "1M"),
        (11_513_626_624, "11.5G"),
    ],
)
def test_short_numbers(count: int, text: str) -> None:
    assert short_count(count) == text


def test_one_layer_is_no_plural(netdsl: Commands) -> None:
    Path("e.net").write_text("net e { input x 4 }")
    assert netdsl("draw", "e.net").err == "e.svg: 1 layer\n"


@pytest.mark.parametrize("form", ["svg", "png", "pdf", "dot", "mmd"])
def test_the_command(netdsl: Commands, form: str) -> None:
    if form == "pdf":
        pytest.importorskip("cairosvg", exc_type=(ImportError, OSError))
    ran = netdsl("draw", "lenet5", "-o", f"a.{form}")
    assert (ran.code, ran.out, ran.err) == (0, "", f"a.{form}: 14 layers\n")
    first = Path(f"a.{form}").read_bytes()
    assert netdsl("draw", "lenet5", "-o", f"a.{form}").code == 0  # ours may be replaced
    assert Path(f"a.{form}").read_bytes() == first
    assert netdsl("draw", "xor", "--unfold", "-o", f"a.{form}").code == 0


def test_wide_and_theme_change_the_drawing(netdsl: Commands) -> None:
    seen = set()
    for words in ((), ("--wide",), ("--theme", "dark"), ("--style", "plain"), ("--wide", "--theme", "plain")):
        assert netdsl("draw", "lenet5", *words).code == 0
        seen.add(Path("lenet5.svg").read_bytes())
    assert len(seen) == 5
    assert netdsl("draw", "lenet5", "--wide", "-o", "-").out.count("rankdir") == 0
    assert netdsl("draw", "lenet5", "--wide", "-o", "a.dot").code == 0
    assert "rankdir=LR" in Path("a.dot").read_text("utf-8")
    (option,) = [option for option in options_of("draw") if option.dest == "theme"]
    assert option.choices == tuple(THEMES)
    assert netdsl("draw", "lenet5", "--theme", "pink").code == 2


def test_where_it_goes(netdsl: Commands) -> None:
    assert netdsl("draw", "resnet", "--set", "depth=18").code == 0
    assert "depth = 18" in Path("resnet.svg").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (("lenet5", "-o", "a.jpg"), 2, "E0643"),
        (("lenet5", "-o", "a"), 2, "E0643"),
        (("other.net", "-o", "other.svg"), 2, "E0611"),
        (("other.net", "-o", "nowhere/a.svg"), 1, "E06"),
        (("bad.net",), 1, "E0202"),
        (("nothing.net",), 2, "E0601"),
    ],
)
def test_what_is_wrong_is_told(netdsl: Commands, arguments: tuple[str, ...], exit_code: int, code: str) -> None:
    netdsl.write(bad="net bad { nosuch; input x 4 }", other="net other { input x 4; dense 2 }")
    Path("other.svg").write_text("<svg/>")
    ran = netdsl("draw", *arguments)
    assert code in ran.err
    assert ran.code in (exit_code, 2)
    assert {path.name for path in Path().iterdir()} == {"bad.net", "other.net", "other.svg"}


@pytest.mark.parametrize("power", range(45))
def test_short_numbers_of_any_size_are_the_number_in_three_digits(power: int) -> None:
    for count in (10**power, 10**power - 1, 10**power + 10**power // 2, 9995 * 10**power // 10):
        text = short_count(count)
        digits, unit = (text[:-1], text[-1]) if text[-1].isalpha() else (text, "")
        assert float(digits) * 1000 ** "kMGTP".find(unit) * 1000 ** bool(unit) == pytest.approx(count, rel=0.006, abs=0)
        assert count >= 999.5e15 or len(digits.replace(".", "")) <= 3, text


def test_equal_rounds_are_folded_unless_they_are_unfolded() -> None:
    net = net_of("net n { input x 3x8x8; repeat 3 { conv 3x3 4; relu } }")
    folded, unfolded = draw_net(net, unfold=False).svg(), draw_net(net, unfold=True).svg()
    assert draw_net(net).svg() == folded != unfolded
    assert unfolded.count(b">conv") > folded.count(b">conv")


def plates_of(root: Content) -> dict[str, Stack]:
    """The stacks by the name of their first layer."""
    return {item.plates[0].name: item for each in contents(root) for item in each.items if isinstance(item, Stack)}


def test_each_layer_has_a_color() -> None:
    modules = {module for family in FAMILIES.values() for module in family}
    assert {module.rpartition(".")[2] for module in LAYER_MODULES.values()} == modules


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small_seq2seq", {"lstm": ["initial"], "attention": ["mask", "keys, values", "queries"]}),
        ("window", {"attention": ["bias", "segments"]}),
        ("operands", {"gather": ["indices"], "matmul": ["a", "b"], "attention": ["queries, keys, values"]}),
        ("small_transformer", {"attention": ["queries", "keys", "values"]}),
    ],
)
def test_a_layer_says_what_it_takes_its_inputs_as(name: str, expected: dict[str, list[str]]) -> None:
    """From left to right, each under the end of its edge."""
    root, _ = planned(NETS[name](), unfold=False)
    for each in contents(root):
        for _, lower, points in each.edges:
            if isinstance(lower, Stack) and lower.roles:
                assert any(points[-1][0] == pytest.approx(lower.x + at, abs=1) for at in lower.slots.values())
    found = {item.first.layer.kind: item for item in reversed(plates_of(root).values()) if item.roles}
    for kind, roles in expected.items():
        item = found[kind]
        assert [
            item.roles[value] for value in sorted(item.slots, key=lambda x: item.slots[x]) if item.roles[value]
        ] == roles
    assert "keys, values: 6x5" in drawn(NETS["small_seq2seq"](), "dot").decode()


def test_constants_stand_beside_a_straight_main_line() -> None:
    root, _ = planned(NETS["small_vit"](), unfold=False)
    found = plates_of(root)
    main = [found[name] for name in ("image", "patch", "reshape1", "concat1", "add1", "norm", "head")]
    assert len({round(item.x) for item in main}) == 1
    for source, reader in (("cls_token", "concat1"), ("pos_embed", "permute1"), ("permute1", "add1")):
        assert found[source].rank == found[reader].rank - 1
        assert found[source].x > found["add1"].x + found["add1"].width / 2


def test_an_encoder_stands_at_the_left_of_its_decoder() -> None:
    root, _ = planned(NETS["small_transformer"](), unfold=False)
    encoder, decoder = (item for item in things(root) if isinstance(item, Box))
    left = [item for item in things(root) if sides(item)[2] < sides(decoder)[0]]
    names = {plate.name for item in left if isinstance(item, Stack) for plate in item.plates}
    assert encoder in left
    assert {"source", "embedding1", "memory"} <= names
    assert not {"target", "e", "seen"} & names
    into = {isinstance(upper, Gate): points[-1][0] for upper, lower, points in root.edges if lower is decoder}
    assert into[True] < into[False]


def test_a_slide_closes_the_labeled_parts_of_boxes_if_it_would_be_too_small() -> None:
    net = open_net("vit")
    for detail, titles in ((FULL, set()), (PARTS, {"attn: attention 12", "mlp"})):
        root, _ = planned(net, unfold=False, detail=detail, page=SLIDES[0])
        boxes = [item for each in contents(root) for item in each.items if isinstance(item, Box)]
        assert {box.title for box in boxes if not box.content} == titles
    svg = drawn(net, "svg", wide=True).decode()
    assert ">attn: attention 12<" in svg
    assert THEMES["light"].families["attention"][0] in svg


def test_what_reads_only_a_size_has_no_edge_unless_nothing_else_reads_the_value() -> None:
    root, _ = planned(NETS["small_transformer"](), unfold=False)
    assert not [item for name, item in plates_of(root).items() if name.startswith("positions") and item.inputs]
    for name, kind, count in (
        ("positions", "positions", 1),
        ("distances", "relative_positions", 1),
        ("like", "crop", 1),
        ("like", "resize", 2),
    ):
        root, _ = planned(NETS[name](), unfold=False)
        assert [len(item.inputs) for item in plates_of(root).values() if item.first.layer.kind == kind] == [count]
    assert b">crop like up2<" in drawn(NETS["like"](), "svg")


def test_an_input_stands_right_above_what_it_is_for() -> None:
    root, _ = planned(NETS["small_transformer"](), unfold=False)
    decoder = next(item for item in root.items if isinstance(item, Box) and "decoder" in item.title)
    assert [upper.rank for upper, lower, _ in root.edges if lower is decoder] == [decoder.rank - 1] * 3
    assert decoder.content is not None
    (cross,) = (item for item in decoder.content.items if isinstance(item, Stack) and "mask" in item.roles.values())
    makers = {value: item for item in decoder.content.items for value in item.outputs}
    assert {makers[value].rank for value in cross.inputs if value not in cross.keywords} == {cross.rank - 1}
