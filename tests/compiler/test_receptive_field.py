"""Receptive fields: those of the literature, and what onnxruntime shows when single places of an input are lit."""

from __future__ import annotations

import random
from itertools import accumulate, product
from math import prod
from operator import mul

import numpy as np
import pytest

from netdsl.backend.compile import compile_to_bytes
from netdsl.backend.session import Session
from netdsl.base.text import Source
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import Library
from netdsl.elaborate.net import elaborate, entry_net, resolve
from netdsl.ir.net import Net
from netdsl.ir.reach import runs
from netdsl.report.figures import Figures
from tests.support.reference import open_net


def net(text: str) -> Net:
    report = Report()
    module = Library(report).load(Source("n.net", text), "n.net")
    found = elaborate(resolve(*entry_net(module, None), {}))
    assert found is not None, [problem.message() for problem in report]
    return found


def fields(found: Net) -> list[object]:
    return [row.field for row in Figures(found).rows]


def last(found: Net) -> object:
    """The largest field that is a number; zoo nets end in layers that see all."""
    return max(field for field in fields(found) if isinstance(field, int))


# Araujo, Norris & Sim (2019), "Computing receptive fields of convolutional neural networks", table of popular networks.
PUBLISHED = {"alexnet": 195, "vgg16": 212, "inception_v3": 1311}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_fields(name: str) -> None:
    assert last(open_net(name)) == PUBLISHED[name]


# As TF-Slim has them, whose figures are published: the stride is in the last unit of each group but the last.
SLIM = """
block unit(width, stride = 1) {{
  skip {{ conv 1x1 width; conv 3x3 width stride stride; conv 1x1 4*width }} project {{ conv 1x1 4*width stride stride }}
}}
net slim {{
  input image 3x224x224
  conv 7x7 64 stride 2
  maxpool 3x3 stride 2 pad 1
  for i, n in enumerate({repeats}) {{
    repeat n as j {{ unit 64*2**i stride (2 if i < 3 and j == n - 1 else 1) }}
  }}
}}
"""
MOBILENET = """
net mobilenet_v1 {
  input image 3x224x224
  conv 3x3 32 stride 2
  for s in [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1] { dwconv 3x3 stride s; conv 1x1 }
}
"""


@pytest.mark.parametrize(("repeats", "field"), [([3, 4, 6, 3], 483), ([3, 4, 23, 3], 1027), ([3, 8, 36, 3], 1507)])
def test_published_fields_of_residual_networks(repeats: list[int], field: int) -> None:
    assert fields(net(SLIM.format(repeats=repeats)))[-1] == field


def test_published_field_of_mobilenet() -> None:
    assert fields(net(MOBILENET))[-1] == 315


BODIES = {
    "conv": "conv 5 4",
    "dilated": "conv 3 4 dilation 4; conv 3 2",
    "strides": "conv 3 4 stride 2; conv 3 4; maxpool 3 stride 2 pad 1; conv 5 4",
    "ceil": "maxpool 3 stride 2 ceil on; conv 3 2",
    "gaps": "conv 1 4 stride 3; conv 3 4",
    "valid": "conv 4 4 pad valid; avgpool 2; conv 3 4 pad [2, 0]",
    "tensorflow": "conv 4 4 pad same_upper stride 2; conv 2 4 pad same_lower",
    "nearest": "avgpool 4; upsample 4; conv 3 2",
    "nearest, misaligned": "avgpool 4; upsample 4; conv 2 2 pad [1, 0]; avgpool 2",
    "linear": "avgpool 2; upsample 2 bilinear; conv 3 2",
    "linear by three": "upsample 3 bilinear; avgpool 2",
    "corners": "avgpool 2; upsample 2 bilinear align on",
    "resized": "avgpool 2; resize 72; conv 3 2",
    "resized exactly": "resize 30 mode nearest_exact; conv 3 2",
    "resized linearly": "resize 60 mode bilinear; conv 3 2",
    "resized by corners": "avgpool 4; resize 61 mode bilinear align_corners on",
    "resized asymmetrically": "avgpool 4; resize 64 mode bilinear asymmetric on",
    "deconv": "conv 3 4 stride 2; deconv 2 4 stride 2; conv 3 2",
    "wide deconv": "conv 3 4 stride 2; deconv 5 4 stride 2; conv 3 2; deconv 3 2",
    "dilated deconv": "deconv 3 4 dilation 2; conv 3 2",
    "u": "conv 3 4; maxpool 2; conv 3 4; maxpool 2; conv 3 4; deconv 2 4 stride 2; conv 3 4; upsample 2; conv 3 2",
    "shuffle": "conv 3 4 stride 2; pixel_shuffle 2; conv 3 2",
    "padded": "pad 3; conv 3 4; crop 2",
    "mirrored": "pad 3 mode reflect; conv 3 4; conv 5 4 pad_mode edge; crop 2",
    "channels": "conv 3 4; bn; conv 3 4; channel_shuffle 2; select [0, 2]; conv 3 4",
    "branches": "concat { conv 3 4 } { conv 7 4 } { identity }; conv 3 4",
    "skips": "conv 3 4; skip { conv 3 4; conv 3 4 }; conv 3 4",
    "a gate": "conv 3 4; mul { conv 5 4 }",
    "swapped": "conv 3 4; permute [1, 0]; permute [1, 0]; conv 3 4",
    "unsqueezed": "conv 3 1; reshape 1x1x96; conv 1x3 4",
}
POSITIVE = "default conv init ones bias off\ndefault deconv init ones bias off\n"


def lit(found: Net) -> int:
    """How far apart places of the input are, of which each changes the same place of the output."""
    (given,) = found.inputs
    size = given.shape[-1]
    assert isinstance(size, int)
    session = Session(compile_to_bytes(found))
    dark = np.ones((size, *given.shape), np.float32)
    places = dark.copy()
    places[np.arange(size), :, np.arange(size)] = 2
    (bright,) = session.run({given.name: places}).values()
    (rest,) = session.run({given.name: dark}).values()
    seen = np.abs(bright - rest).reshape(size, -1, bright.shape[-1]).max(1) > 1e-9
    return max(int(np.ptp(np.flatnonzero(column))) + 1 for column in seen.T if column.any())


@pytest.mark.parametrize("name", BODIES)
def test_a_field_is_what_is_seen(name: str) -> None:
    found = net(f"{POSITIVE}net n {{ input x 1x96; {BODIES[name]} }}")
    field = fields(found)[-1]
    assert (field[-1] if isinstance(field, list) else field) == lit(found)


def test_a_reshape_is_cut_wherever_both_shapes_have_a_boundary() -> None:
    """All pairs of shapes of up to three axes with equal numbers of elements."""
    shapes = [shape for axes in (1, 2, 3) for shape in product((1, 2, 3, 4, 6), repeat=axes)]
    for x, y in product(shapes, repeat=2):
        if prod(x) != prod(y):
            continue
        found = runs(x, y)
        for shape, each in ((x, [here for here, _ in found]), (y, [there for _, there in found])):
            assert [axis for run in each for axis in run] == list(range(len(shape))), (x, y, found)
        assert all(prod(x[i] for i in here) == prod(y[j] for j in there) for here, there in found), (x, y, found)
        cuts = {prod(x[: here[0]]) for here, _ in found}
        assert {*accumulate(x, mul)} & {*accumulate(y, mul)} <= cuts | {prod(x)}, (x, y, found)


STEPS = (
    *("conv 3 2", "conv 5 2 stride 2", "conv 2 2 pad [0, 1]", "avgpool 2", "maxpool 3 stride 2 pad 1"),
    *("upsample 2", "upsample 3", "upsample 2 bilinear", "deconv 4 2 stride 2", "deconv 3 2", "conv 3 2 dilation 2"),
)


@pytest.mark.parametrize("seed", range(12))
def test_chains_see_what_is_seen(seed: int) -> None:
    body = "; ".join(random.Random(seed).choices(STEPS, k=5))
    found = net(f"{POSITIVE}net n {{ input x 1x192; {body} }}")
    assert fields(found)[-1] == lit(found), body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("input x 8", 1),
        ("input x 8; relu", 1),
        ("input x 8; dense 2; relu", "all"),
        ("input x 8; softmax", "all"),
        ("input x 784; reshape 1x28x28; conv 5x5 2", 5),
        ("input x 784; dense 784; reshape 1x28x28; conv 5x5 2", "all"),
        ("input x 1x28x28; conv 5x3 2", [5, 3]),
        ("input x 1x28x28; conv 5x3 2; reduce mean 1", ["all", 3]),
        ("input x 1x28x28; conv 5x3 2; global_avgpool", "all"),
        ("input x 1x28x28; conv 3x3 2; instancenorm", "all"),
        ("input x 4x28x28; conv 3x3 4; groupnorm 2", "all"),
        ("input x 1x28x28; conv 3x3 2; flatten; relu", 3),
        ("input x 1x28x28; conv 3x3 2; flatten; dense 2", "all"),
        ("input x 1x28x28; conv 3x3 2; mul { global_avgpool }", "all"),
        ("input x 1x28x28; conv 3x3 2; input y 1x28x28; conv 7x7 2; add x2", 7),
        ("input x 20 dtype i64; embedding 100 8; conv 3 4; conv 3 4", 5),
        ("input x 3x8x8x8; conv 3x1x3 4; maxpool 2x2x2", [4, 2, 4]),
        ("input x [3, ?H, ?W]; conv 3x3 4 stride 2; conv 3x3 4; upsample 2", 7),
        ("input x [4, ?L]; conv 3 4; slice 1 2 5; conv 3 2", 5),
        ("input x 1x64; repeat 5 { upsample 4 }; conv 3 1", None),
        ("input m 9 dtype i64; input x 6x9; attention 2 mask m", "all"),
        ("input s 9 dtype i64; input x 6x3x9; conv 3x1 6; attention 2 segments s", [3, "all"]),
        ("input b 2x9x9; input x 6x9; attention 2 bias b", [1, "all"]),
        ("input p 9 dtype i64; input x 8x9; conv 3 8; rope 2 at p", 3),
        ("input x 4x9; conv 3 5; mul { } { param [5, 1] }", 3),
        ("input x 4x9; conv 3 5; add { } { positions; embedding 9 5 }", 3),
        ("input x 4x9; positions; embedding 9 5", 0),
    ],
)
def test_what_is_seen_of_an_input(body: str, field: object) -> None:
    body = body.replace("conv 3x3 2; input y", "x2: conv 3x3 2; input y")
    assert fields(net(f"net n {{ {body} }}"))[-1] == field


# Axes that are moved, split and joined -------------------------------------------------------------------------------

ONES = "default conv init ones bias off\ndefault dwconv init ones bias off\ndefault deconv init ones bias off\n"


def spans(found: Net) -> list[int]:
    """How far apart the places of each spatial axis are that change the same number of the output, at most. Each place
    along an axis is lit alone, in an example of its own, and onnxruntime shows which numbers change."""
    (given,) = found.inputs
    session = Session(compile_to_bytes(found))
    seen = []
    for axis in range(min(1, len(given.shape) - 1), len(given.shape)):
        size = given.shape[axis]
        assert isinstance(size, int)
        places = np.ones((size, *given.shape), np.float32)
        for place in range(size):
            places[(place, *[slice(None)] * axis, place)] = 2
        (bright,) = session.run({given.name: places}).values()
        (dark,) = session.run({given.name: np.ones((1, *given.shape), np.float32)}).values()
        changed = (np.abs(bright - dark) > 1e-6 * np.abs(dark)).reshape(size, -1)
        seen.append(max(int(np.ptp(np.flatnonzero(column))) + 1 for column in changed.T if column.any()))
    return seen


def assert_seen(text: str) -> list[object]:
    """Hold the field of a net against what is seen of each axis, as far as it is known; the field."""
    found = net(f"{ONES}net n {{ {text} }}")
    field = fields(found)[-1]
    expected = spans(found)
    shape = found.inputs[0].shape
    sizes = shape[-len(expected) :]
    given = field if isinstance(field, list) else [field] * len(expected)
    for each, span, size in zip(given, expected, sizes, strict=True):
        if each is not None:
            assert (size if each == "all" else min(each, size)) == span, (text, field, expected)
    return given


REGROUPED = [
    ("x 4x12x10; permute [1, 2, 0]; conv 3x3 5", ["all", 3]),
    ("x 12x10x3; permute [2, 0, 1]; conv 3x3 5", [3, "all"]),
    ("x 4x12x10; permute [2, 1, 0]; conv 1x1 3; permute [2, 1, 0]; conv 3x3 2", [3, "all"]),
    ("x 4x12x10; permute [0, 2, 1]; conv [5, 3] 2; permute [0, 2, 1]; conv 3x3 2", [5, 7]),
    ("x 4x12x10; permute [1, 2, 0]; dwconv 3x3", [1, 3]),
    ("x 4x12x10; permute [1, 2, 0]; dwconv 3x3 multiplier 2; permute [2, 0, 1]; conv 3x3 2", [2, 5]),
    ("x 4x12x10; permute [1, 2, 0]; conv 3x3 12 groups 4", [3, 3]),
    ("x 4x12x10; permute [1, 2, 0]; conv 3x3 24 groups 4; permute [2, 0, 1]; conv 7x3 2", [6, 5]),
    ("x 4x12x10; permute [2, 1, 0]; deconv 2x2 10 stride 2 groups 5", [1, 2]),
    ("x 1x96; reshape 1x8x12; conv 3x3 2", [27]),
    ("x 3x96; reshape 3x8x12; conv 1x5 2", [5]),
    ("x 3x96; reshape 3x8x12; conv 3x1 2", [25]),
    ("x 3x96; reshape 3x8x12; conv 3x3 2; reshape 2x96; conv 3 2", [29]),
    ("x 3x96; conv 5 2; reshape 2x8x12; conv 3x3 2", [31]),
    ("x 4x12x10; reshape 4x120; conv 3 2", [2, "all"]),
    ("x 4x12x10; reshape 48x10; dwconv 3", [1, 3]),
    ("x 4x12x10; reshape 48x10; conv 3 2", ["all", 3]),
    ("x 4x12x10; flatten; reshape 4x12x10; conv 3x3 2", [3, 3]),
    ("x 4x12x10; conv 3x3 2; flatten; relu", [3, 3]),
    ("x 4x12x10; reshape 4x3x4x10; conv 1x3x1 2", [3, 1]),
    ("x 4x12x10; reshape 4x3x4x10; conv 3x1x1 2", [9, 1]),
    ("x 4x12x10; reduce mean 0; reshape 1x120; conv 3 5", [2, "all"]),
    ("x 4x12x10; reduce mean 1; reshape 4x10; conv 3 5", ["all", 3]),
    ("x 4x12x10; reduce mean 2; reshape 4x12; conv 3 5", [3, "all"]),
    ("x 4x96; reshape 4x8x12; reduce sum 2; reshape 4x8; conv 3 5", [36]),
    ("x 4x96; reshape 4x8x12; reduce max 1; reshape 4x12; conv 3 5", [87]),
    ("x 4x12x10; slice 1 2 5; reduce mean 1", [3, 1]),
    ("x 4x12x10; permute [1, 2, 0]; select [0, 2]", [None, 1]),
    ("x 6x4x5; attention 2", [1, "all"]),
    ("x 6x4x5; attention 2 causal on; conv 3x1 2", [3, "all"]),
    ("x 6x42; reshape 6x6x7; attention 2; reshape 2x42; slice 1 3 38; reshape 2x5x7; softmax axis 2", [14]),  # windows
    ("x 6x42; reshape 6x6x7; attention 2; reshape 2x42; slice 1 4 39; reshape 2x5x7; softmax axis 2; conv 3x1 2", [28]),
    ("x 6x42; reshape 6x6x7; attention 2; reshape 2x42; slice 1 3 39; reshape 2x18x2; softmax axis 2", [14]),
    ("x 6x4x5; linear 3; gelu; conv 1x3 2", [1, 3]),
    ("x 8x3x5; rope 2; conv 3x3 2", [3, 3]),
    ("x 4x6; conv 3 4; gru 3", ["all"]),
    ("x 4x6; lstm 3 bidirectional on layers 2", ["all"]),
    ("x 4x6; l: rnn 3; state l", ["all"]),
    ("x 4x6; matmul { values [1, 0, 1, 2] 1x4 } { }; conv 3 2", [3]),
]


@pytest.mark.parametrize(("body", "field"), REGROUPED, ids=[row[0] for row in REGROUPED])
def test_fields_of_axes_that_are_moved_split_and_joined(body: str, field: list[object]) -> None:
    assert assert_seen(f"input {body}") == field


MOVES = (
    *("permute [1, 2, 0]", "permute [2, 0, 1]", "permute [0, 2, 1]", "permute [1, 0]", "permute [2, 1, 0]"),
    *("reshape 4x12x10", "reshape 4x120", "reshape 48x10", "reshape 2x24x10", "reshape 4x3x4x10", "reshape 8x60"),
    *(
        "reshape 10x12x4",
        "reshape 480",
        "reshape 1x480",
        "reshape 4x6x20",
        "reduce mean 0",
        "reduce max 1",
        "reduce sum 2",
    ),
    *(
        "conv 3 4",
        "conv 3x3 4",
        "conv 1x3 4",
        "conv 3x1 2",
        "dwconv 3x3",
        "dwconv 3",
        "conv 3x3 groups 2",
        "conv 3 groups 2",
    ),
    *("avgpool 2x2", "maxpool 2", "upsample 2", "slice 1 1 -1", "slice 0 0 2", "pad 1", "channel_shuffle 2", "relu"),
)


@pytest.mark.parametrize("seed", range(60))
def test_random_moves_see_what_is_seen(seed: int) -> None:
    """Sizes are small, so that a field may end at the input's edges: then as much is seen as there is."""
    draw = random.Random(seed)
    body = "input x 4x12x10"
    for _ in range(5):
        longer = f"{body}; {draw.choice(MOVES)}"
        report = Report()
        module = Library(report).load(Source("n.net", f"net n {{ {longer} }}"), "n.net")
        if elaborate(resolve(*entry_net(module, None), {})) is not None:
            body = longer
    assert_seen(body)
