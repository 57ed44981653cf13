"""Warnings: what is doubtful and what is not, what `# allow` silences, and what `--strict` makes of them."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import netdsl
from netdsl.app.analyse import check_file
from netdsl.app.frontend import load_net, load_recipe
from netdsl.base.paths import data
from netdsl.base.shape import Size
from netdsl.cli import main
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.pages import pages, text
from netdsl.diagnostics.report import Report
from netdsl.elaborate.advice import NEVER_NEGATIVE, unread
from netdsl.elaborate.pixels import LARGE_PIXEL
from netdsl.layers.window import Window
from netdsl.train.start import initial_weights
from tests.support.paths import TESTS

SPECS = sorted(Path(data("specs")).glob("*.net"))
GOLDEN = TESTS / "golden/diagnostics"


@pytest.fixture(autouse=True)
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(text: str) -> str:
    Path("main.net").write_text(text, "utf-8")
    report = Report()
    check_file("main.net", report)
    return " | ".join(f"{p.code} {p.span.text}" for p in report)


NET = "net a {{ input x 3x32x32; {} }}"
NAMES = [
    ("a library's own", "block b { relu }\nfn f(x) = x\nlet v = 1", ""),
    ("a library's parameter", "block b(n, m = 1) { dense n }", "W0203 m"),
    ("used by an unused block", "block b { relu }\nblock c { b }\n" + NET.format("relu"), "W0202 c"),
    ("a block as a value", "block b { relu }\n" + NET.format("let f = b if channels == 3 else tanh; f"), ""),
    ("a block as a default", "block b { relu }\nnet a(f = b) { input x 3; f }", ""),
    ("a value of an alias", "let n = 3\nnet b(n_ = 1) { input x 3; dense n_ }\nnet a = b(n_ = n)", ""),
    ("a value in a default", "let n = off\ndefault conv bias n\n" + NET.format("conv 3x3"), ""),
    ("a value in an expectation", NET.format("let n = 32; relu; expect [3, n, n]"), ""),
    ("a value in a label", NET.format("let n = 3; c{n}: conv 1x1"), ""),
    ("a value in a reference", NET.format("let n = 3; c3: relu; tanh; add c{n}"), ""),
    ("a value in `about`", NET.format("let top = 3; about { top1 (top); top5 4 }; relu"), ""),
    ("a word in `about`", NET.format("let top = 3; about { top1 top }; relu"), "W0205 top"),
    ("a keyword is no use", NET.format("let stride = 2; conv 3x3 stride 1"), "W0205 stride"),
    ("a keyword's value is", NET.format("let stride = 1; conv 3x3 stride stride"), ""),
    ("a keyword of a block", "block b(n = 1) { conv n }\n" + NET.format("let n = 3; b n 1"), "W0205 n"),
    ("a grouped word is a value", NET.format("let groups = 3; conv 3x3 (groups)"), ""),
    ("an inner one is used", NET.format("let n = 3; z: { let n = 4; dense n }"), "W0205 n | W0206 n"),
    ("a loop's name", NET.format("for i in [1, 2] { relu }; repeat 2 as j { relu }"), ""),
    ("an underscore", "block _b(_n) { relu }\n" + NET.format("let _m = 3; relu"), ""),
    ("a parameter in a default", "block b(n, m = n) { dense m }\n" + NET.format("b 3"), ""),
    ("a parameter in a domain", "let n = 3\nnet a(m in [1, n] = 1) { input x 3; dense m }", ""),
    ("a net is no variable", "net a(b = 3) { input x 3; dense b }\nnet b { input x 3; dense 2 }", ""),
    ("a parameter of a function", "fn f(x, y) = x\n" + NET.format("dense f(1, 2)"), "W0203 y"),
    ("equal names side by side", "block b(n) { dense n }\nblock c(n) { dense n }\n" + NET.format("b 3; c 4"), ""),
    ("a label of weights", NET.format("c: conv 3x3"), ""),
    ("a label of a block's weights", "block b { conv 3x3 }\n" + NET.format("c: b"), ""),
    ("a label of a value's weights", NET.format("let f = conv; c: f 3x3"), ""),
    ("a label of nothing", "block b { relu }\n" + NET.format("c: b; d: { b; tanh }"), "W0204 c | W0204 d"),
    ("a label of `reuse`", NET.format("c: conv 3x3; d: reuse c"), ""),
    ("a label in a seq", NET.format("c: seq { act: relu; conv 3x3 }"), ""),
    ("a label in a path", NET.format("c: { d: relu; tanh }; add c.d"), ""),
    ("a label as an argument", "block b(l) { add l }\n" + NET.format("c: relu; b c"), ""),
    ("labels of a loop", NET.format("for i in [0, 1] { c{i}: relu; d{i}: tanh; from c{i} }; add c0 c1"), "W0201 tanh"),
    ("a label in a loop", NET.format("for i in [0, 1] { d{i}: tanh; sin }"), "W0204 d{i}"),
    ("a dead value's label", NET.format("c: tanh; from x; relu"), "W0201 tanh"),
    ("a reference to all", NET.format("c0: relu; c1: relu; add for i in [0, 1] { from c{i} }"), ""),
    ("an input's name", "net a { input x 3; tanh; output b; input y 4; dense 3; output c }", ""),
    ("where something is wrong", "let n = 3\n" + NET.format("dens 3"), "E0202 dens"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES])
def test_names_in_vain_and_names_that_hide(text: str, expected: str) -> None:
    assert told(text) == expected


def test_a_definition_may_hide_what_another_file_has() -> None:
    Path("other.net").write_text("block b { relu }\nblock c { tanh }", "utf-8")
    own = "block b { tanh }\n" + NET.format("b")
    assert told('use "other.net"\n' + own) == "W0206 b"
    assert told('use c from "other.net"\n' + own) == ""


SIZES, KERNELS, STRIDES, DILATIONS, PADS = range(1, 14), range(1, 5), range(1, 4), (1, 2), range(3)


def test_what_no_window_reads_is_counted() -> None:
    """Against every window's elements, one by one."""
    counted = 0
    for size, kernel, stride, dilation, low, high in product(SIZES, KERNELS, STRIDES, DILATIONS, PADS, PADS):
        span = dilation * (kernel - 1) + 1
        if size + low + high < span:
            continue
        window = Window((1, size), kernel, stride, (low, high), dilation)
        ends = [at * stride - low + span for at in range(window.out[0])]  # type: ignore[arg-type]
        expected = max(0, size - ends[-1]) if stride <= span else 0
        assert unread((size,), window) == (expected,)
        counted += expected > 0
    assert counted > 100


@pytest.mark.parametrize("rule", ["same_upper", "same_lower"])
def test_tensorflows_padding_reads_all(rule: str) -> None:
    for size, kernel, stride in product(SIZES, KERNELS, STRIDES):
        assert unread((size,), Window((1, size), kernel, stride, rule)) == (0,)


def test_ceil_reads_all() -> None:
    for size, kernel, stride, pad in product(SIZES, KERNELS, STRIDES, (0, 1)):
        if kernel <= size and pad < kernel:
            window = Window((1, size), kernel, stride, pad, ceil=True)
            last = (window.out[0] - 1) * stride - pad + kernel  # type: ignore[operator]
            assert stride > kernel or last >= size
            assert unread((size,), window, ceil=True) == (0,)


def test_a_size_that_is_not_known_may_be_decided() -> None:
    height = Size("H")
    assert unread((height * 16,), Window((1, height * 16), 3, 2, 0)) == (1,)
    assert unread((height * 16,), Window((1, height * 16), 3, 2, 1)) == (0,)
    assert unread((height,), Window((1, height), 3, 2, 0)) == (0,)


FITS = re.compile(r"sizes that fit: (\S+) or (\S+) instead of (\S+)")


@pytest.mark.parametrize("layer", ["conv 3x3 stride 2 pad 0", "maxpool 5x4 stride 4x3 pad [1, 0, 0, 1]", "avgpool 4"])
def test_the_sizes_that_are_said_to_fit_do(layer: str) -> None:
    found = 0
    for height, width in product(range(9, 19), range(9, 13)):
        Path("main.net").write_text(f"net a {{ input x 3x{height}x{width}; {layer.replace('4x3', '[4, 3]')} }}")
        report = Report()
        check_file("main.net", report)
        for problem in report:
            assert problem.code == "W0301"
            fits = FITS.search(" ".join(problem.notes()))
            assert fits
            for size in fits.groups()[:2]:
                assert told(f"net a {{ input x 3x{size}; {layer.replace('4x3', '[4, 3]')} }}") == ""
                found += 1
    assert found


BODIES = [
    ("no padding counts", "conv 7x7 8 stride 2", ""),
    ("gaps are meant", "conv 1x1 8 stride 3", ""),
    ("ceil", "maxpool 3x3 stride 2 ceil on", ""),
    ("unpooled", "c: conv 1x1 3; maxpool 32x32; unpool 32x32 c", ""),
    ("the dead", "from x; maxpool 3x3 stride 2; from x; relu", "W0201 maxpool"),
    ("without a bias", "conv 3x3 8 bias off; bn", ""),
    ("by default", "default conv bias off; conv 3x3 8; bn", ""),
    ("something in between", "conv 3x3 8; relu; bn", ""),
    ("also read elsewhere", "c: conv 3x3 8; bn; add c", ""),
    ("an output", "conv 3x3 8; output y; bn; output z", ""),
    ("two of them", "c: conv 3x3 8; add { bn } { bn eps 1e-3 }", "W0302 conv"),
    ("instancenorm", "conv 3x3 8; layernorm", ""),
    ("shared", "c: conv 3x3 3; bn; reuse c; relu", ""),
    ("not every round", "for i in [0, 1] { conv 3x3 8; if i == 0 { bn } }", ""),
    ("dropout behind", "bn; dropout 0.5", ""),
]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("lstm 32 dropout 0.2; linear 3", "W0330 0.2"),
        ("lstm 32 layers 2 dropout 0.2; linear 3", ""),
        ("gru 32; dense 3", "W0325 dense"),
        ("gru 32 last on; dense 3", ""),
        ("gru 32; dropout 0.1; relu; dense 3", "W0325 dense"),
        ("gru 32; flatten; dense 3", ""),
    ],
)
def test_of_recurrent_layers(body: str, expected: str) -> None:
    assert told(f"net a {{ input x 8x20; {body} }}") == expected


@pytest.mark.parametrize(("body", "expected"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_what_is_hardly_meant(body: str, expected: str) -> None:
    assert told(NET.format(body)) == expected


def test_what_another_instance_needs_is_not_in_vain() -> None:
    text = "net a(norm in [off, on] = {}) {{ input x 3x8x8; conv 3x3; if norm {{ bn }} }}"
    assert told(text.format("on")) == ""
    assert told(text.replace("off, on", "on").format("on")) == "W0302 conv"


TRAININGS = [
    ("scores", "dense 10", "loss cross_entropy", ""),
    ("softmax", "dense 10; softmax", "loss cross_entropy", "W0304 cross_entropy"),
    ("another loss", "dense 10; softmax", "loss mse", ""),
    ("an output's", "output p { dense 2; softmax }; output q { dense 2 }", "loss q cross_entropy", ""),
    ("that output's", "output p { dense 2; softmax }; output q", "loss p cross_entropy", "W0304 cross_entropy"),
    ("log_softmax", "dense 10; log_softmax", "loss cross_entropy", "W0304 cross_entropy"),
    ("softmax, then dropout", "dense 10; softmax; dropout 0.1", "loss cross_entropy", "W0304 cross_entropy"),
    ("softmax, then drop_path", "dense 10; softmax; drop_path 0.1", "loss cross_entropy", "W0304 cross_entropy"),
    ("softmax along another axis", "dense 12; reshape 3x4; softmax axis 1", "loss cross_entropy", ""),
    ("softmax of axis 0", "dense 12; reshape 3x4; softmax axis (-2)", "loss cross_entropy", "W0304 cross_entropy"),
    ("softmax, then moved", "dense 4; softmax; reshape 2x2; flatten", "loss cross_entropy", "W0304 cross_entropy"),
    ("softmax within", "dense 10; softmax; dense 3", "loss cross_entropy", ""),
    ("sigmoid and classes", "dense 3; sigmoid", "loss cross_entropy", "W0309 cross_entropy"),
    ("relu and classes", "dense 3; relu", "loss cross_entropy", ""),
    ("sigmoid", "dense 1; sigmoid", "loss logistic", "W0309 logistic"),
    ("hard_sigmoid", "dense 1; hard_sigmoid; dropout 0.1", "loss logistic", "W0309 logistic"),
    ("relu", "dense 1; relu", "loss hinge", "W0309 hinge"),
    ("softmax of one", "dense 1; softmax", "loss perceptron", "W0309 perceptron"),
    ("exp", "dense 1; exp", "loss exponential", "W0309 exponential"),
    ("tanh", "dense 1; tanh", "loss logistic", ""),
    ("sigmoid and numbers", "dense 1; sigmoid", "loss mse", ""),
    ("sigmoid within", "dense 5; sigmoid; dense 1", "loss logistic", ""),
    ("a head's", "output h training { dense 2; softmax }; dense 2", "loss mse; loss h mse weight 0.3", ""),
]  # fmt: skip


@pytest.mark.parametrize(("body", "loss", "expected"), [row[1:] for row in TRAININGS], ids=[r[0] for r in TRAININGS])
def test_losses_that_begin_with_a_softmax(body: str, loss: str, expected: str) -> None:
    assert told(f"net a {{ input x 4; {body} }}\ntrain a {{ data npz 'x.npz'; {loss} }}".replace("'", '"')) == expected


@pytest.mark.parametrize("layer", sorted(NEVER_NEGATIVE))
def test_what_is_said_never_to_be_negative_is_not(layer: str) -> None:
    """The oracle: onnxruntime, on numbers of both signs."""
    net = netdsl.parse(f"net a {{ input x 1x50; {'abs; ' * (layer == 'sqrt')}{layer} }}")
    numbers = np.random.default_rng(1).normal(0, 5, (4, 1, 50)).astype(np.float32)
    assert net.session()(x=numbers)["output"].min() >= 0


def test_the_largest_probability_behind_a_sigmoid() -> None:
    Path("main.net").write_text('net a { input x 4; dense 7; sigmoid }\ntrain a { data npz "x"; loss cross_entropy }')
    report = Report()
    check_file("main.net", report)
    (problem,) = report
    scores = np.eye(7)[3]
    assert f"above {np.exp(scores[3]) / np.exp(scores).sum():.2g}" in problem.message()


PIXELS = [
    ("3x9x8", "", True),
    ("3x9x8", "scale 1/255", False),
    ("3x9x8", "scale 1/4", True),
    ("3x9x8", "scale 1/10", False),
    ("3x9x8", "scale (-1/255)", False),
    ("3x9x8", "scale (-1)", True),
    ("3x9x8", "shift (-127.5)", True),
    ("3x9x8", "scale 1/255; scale 200", True),
    ("3x9x8", "scale 1/128; shift (-1)", False),
    ("3x9x8", "normalize mean [120, 110, 100] std [60, 50, 70]", False),
    ("3x9x8", "normalize mean [0.5, 0.4, 0.4] std [0.2, 0.2, 0.3]", True),
    ("3x9x8", "scale 1/255; normalize mean [0.5, 0.4, 0.4] std [0.2, 0.2, 0.3]", False),
    ("3x9x8", "flatten; dropout 0.5", True),
    ("3x9x8", "maxpool 3x2; permute [1, 0, 2]; crop [0, 1, 1, 1]", True),
    ("3x9x8", "global_avgpool; relu; reshape 1x3", True),
    ("3x9x8", "pad 1 value 300; scale 1/10; slice 0 0 2", False),
    ("3x9x8", "clip 0 6", False),
    ("3x9x8", "relu6; upsample 2", False),
    ("3x9x8", "shift (-200); abs; pad_channels 1 1", True),
    ("3x9x8", "scale 1/255; square; scale 50", True),
    ("3x9x8", "concat { scale 1/255 } { }", True),
    ("3x9x8", "concat { scale 1/255 } { tanh }", False),
    ("3x9x8", "sub { } { }; scale 1/255", False),
    ("3x9x8", "scale 1/16; add { } { }", True),
    ("3x9x8", "max { scale 1/255 } { scale 1/128 }", False),
]


@pytest.mark.parametrize(("shape", "body", "expected"), PIXELS, ids=[row[1] or "nothing" for row in PIXELS])
@pytest.mark.parametrize("layer", ["conv 1 2", "dense 3"])
def test_pixels_that_reach_weights_as_bytes(layer: str, shape: str, body: str, expected: bool) -> None:
    """The oracle: the largest magnitude that onnxruntime finds for all-black, all-white and random pictures."""
    before = netdsl.parse(f"net a {{ input x {shape}; {body or 'identity'} }}")
    size = tuple(map(int, shape.split("x")))
    random = np.random.default_rng(2).choice([0, 1, 200, 255], (30, *size))
    pictures = np.concatenate([np.zeros((1, *size)), np.full((1, *size), 255), random]).astype(np.float32)
    found = before.session()(x=pictures)["output"]
    assert (np.abs(found).max() > LARGE_PIXEL) is np.bool_(expected)
    layer = layer if found.ndim > 2 else "dense 3"
    text = f"net a {{ input x {shape}; {body or 'identity'}; {layer}; dense 2 }}\n"
    for kind in ('mnist "m"', 'folder "f"', 'idx "a" "b"', 'npz "n"'):
        warned = f"W0306 {kind.split()[0]}" if expected and kind != 'npz "n"' else ""
        assert told(f"{text}train a {{ data {kind}; loss cross_entropy }}") == warned


PIXELS_AND_AUGMENTATIONS = [
    ("mean 127 std 60", "", ""),
    ("mean [0.5, 0.4, 0.5] std 0.3", "", "W0306 mnist"),
    ("", "augment { flip; crop pad 2 }", "W0306 mnist"),
    ("mean 127 std 60", "augment { erase value 255 }", ""),
    ("mean 127 std 60", "augment { erase value 3000 }", "W0306 mnist"),
]


@pytest.mark.parametrize(("given", "line", "expected"), PIXELS_AND_AUGMENTATIONS)
def test_an_input_may_scale_pixels(given: str, line: str, expected: str) -> None:
    net = f"net a {{ input x 3x9x8 {given}; dense 2 }}"
    assert told(f'{net}\ntrain a {{ data mnist "m"; loss cross_entropy; {line} }}') == expected


SCALED_FIRST = [
    ("net a { input x 3x9x8; bn; dense 2 }", "", False),
    ("net a { input x 3x9x8; layernorm; dense 2 }", "", False),
    ("net a { input x 3x9x8; rmsnorm; dense 2 }", "", False),
    ("net a { input x 3x9x8 dtype u8; dense 2 }", "W0306", True),
    ("net a {\n  input x 3x9x8   # bytes\n\n  first: dense 2 }", "W0306", True),
    ("net a { input x 3x9x8; prelu; dense 2 }", "W0306", True),
    ("block b { dense 2 }\nnet a { input x 3x9x8; repeat 2 { b } }", "W0306", True),
    ("net a { input x 3x9x8; concat { conv 3x3 2 } { conv 1x1 2 }; dense 2 }", "W0306", False),
    ("net a { input x 3x9x8; relu; from x; dense 2 }", "W0306", False),
    ("net a { input x 3x9x8; g: { conv 3x3 4 }; dense 2 }", "W0306", False),
]


@pytest.mark.parametrize(("net", "expected", "offered"), SCALED_FIRST, ids=[row[0] for row in SCALED_FIRST])
def test_the_offered_scale_is_in_front_of_all_weights(net: str, expected: str, offered: bool) -> None:
    text = net + '\ntrain a { data mnist "m"; loss mse }'
    Path("main.net").write_text(text.replace("loss mse", "loss cross_entropy"))
    report = Report()
    check_file("main.net", report)
    found = [problem for problem in report if problem.code == "W0306"]
    assert len(found) == bool(expected)
    edits = [help.edits for problem in found for help in problem.all_suggestions() if help.edits]
    assert bool(edits) is offered
    for each in edits:
        assert "W0306" not in told(apply(text.replace("loss mse", "loss cross_entropy"), each))


IDLE = [
    ("dense 2", "", ""),
    ("dense 3; freeze { dense 2 }", "", ""),
    ("freeze { dense 3; dense 2 }", "", "all weights are frozen"),
    ("a: dense 2", "freeze a", "all weights are frozen"),
    ("a: dense 3; dense 2", "freeze a", ""),
    ("dense 3; tanh; freeze { dense 2 }", "", ""),
    ("dense 3; sign; freeze { dense 2 }", "", "no gradient of the loss reaches a weight"),
    ("dense 3; step; dense 2", "", ""),
    ("dense 2; sign", "", "no gradient of the loss reaches a weight"),
    ("tanh", "", "it has no weights"),
    ("bn affine off", "", "it has no weights"),
    ("bn; sign", "", "no gradient of the loss reaches a weight"),
]


@pytest.mark.parametrize(("body", "line", "why"), IDLE, ids=[f"{row[0]} {row[1]}" for row in IDLE])
@pytest.mark.parametrize("weight", [1, 0])
def test_a_training_that_changes_no_weight(weight: int, body: str, line: str, why: str) -> None:
    """The oracle: the weights before and after five steps."""
    text = f"net a {{ input x 2; {body} }}\ntrain a {{ data xor noise 0.5; loss cross_entropy weight {weight}; {line}; "
    Path("main.net").write_text(text + "batch 3; steps 5; optimizer sgd lr 0.1 }")
    report = Report()
    check_file("main.net", report)
    expected = why if weight or why == "it has no weights" else "the weight of the loss is 0"
    assert [problem.message() for problem in report] == [f"`a` learns nothing: {expected}"] * bool(expected)
    net = load_net("main.net", Report())
    assert net is not None
    before, after = initial_weights(net, 0, None), netdsl.fit("main.net", step_backend="plain", threads=1).weights
    trained = [name for name, p in net.parameters.items() if p.trainable]
    assert any((before[name] != after[name]).any() for name in trained) is not bool(expected)


LATE = [
    ("schedule constant warmup 4", "epochs 4", True),
    ("schedule constant warmup 3.5", "epochs 4", False),
    ("schedule cosine warmup 9", "epochs 4", True),
    ("schedule cosine warmup 1", "epochs 4", False),
    ("schedule linear warmup_steps 320", "steps 320", True),
    ("schedule linear warmup_steps 319", "steps 320", False),
    ("schedule linear warmup_steps 20", "epochs 4", False),
    ("schedule step at 4", "epochs 4", True),
    ("schedule step at [2, 3]", "epochs 4", False),
    ("schedule step at [2, 9]", "epochs 4", True),
    ("schedule step at [5, 20]", "steps 20", True),
    ("schedule step at 3.9", "epochs 4", False),
    ("schedule plateau patience 1", "epochs 4", False),
    ("schedule plateau patience 2", "epochs 4", True),
    ("schedule plateau", "epochs 12", True),
    ("schedule plateau", "epochs 13", False),
    ("schedule plateau", "", True),
]


@pytest.mark.parametrize(("line", "end", "expected"), LATE, ids=[f"{row[0]}; {row[1]}" for row in LATE])
def test_schedules_that_reach_beyond_the_end(line: str, end: str, expected: bool) -> None:
    text = f"net a {{ input x 2; dense 2 }}\ntrain a {{ data xor; loss cross_entropy; {line}; {end} }}"
    assert told(text).startswith("W0308") is expected
    Path("main.net").write_text(text)
    recipe = load_recipe("main.net", Report())
    assert recipe is not None
    schedule, lr, per_epoch = recipe.schedule, recipe.optimizer.lr, 1 if recipe.steps else 16
    steps = recipe.steps or (recipe.epochs or 0) * per_epoch
    rates = []
    for step in range(steps):
        rates.append(schedule.rate(lr, step, steps, per_epoch))
        if step % per_epoch == per_epoch - 1:
            schedule.observe(1.0, "lower")
    falls = len(set(rates)) - 1
    wanted = {"step": len(getattr(schedule, "at", ())), "plateau": 1}.get(schedule.kind, 0)
    reached = max(rates) == pytest.approx(lr, rel=1e-9) if schedule.warmup or schedule.warmup_steps else True
    assert (falls < wanted or not reached) is expected


ARMS = [
    ("1 => 2; 2 => 3; _ => 4", ""),
    ("1 => 2; _ => 3; 2 => 4", "W0207 2"),
    ("1 => 2; _ => 3; _ => 4", "W0207 4"),
    ("1 => 2; 1 => 3; _ => 4", "W0207 1"),
    ("1 => 2; 1.0 => 3; _ => 4", "W0207 1.0"),
    ("1 => 2; on => 3; _ => 4", ""),
    ('"a" => 2; "b" => 3; "a" => 4; _ => 5', 'W0207 "a"'),
    ("n => 2; m => 3; n => 4", "W0207 n"),
    ("[1] => 2; [2] => 3; _ => 4", ""),
    ("_ => 2", ""),
]


@pytest.mark.parametrize(("arms", "expected"), ARMS, ids=[row[0] for row in ARMS])
def test_arms_that_are_never_reached(arms: str, expected: str) -> None:
    assert (
        told(f"fn f(x, n, m) = match x {{ {arms} }} + 0 * n * m\nnet a {{ input x 3; dense f(1, 1, 1) }}") == expected
    )


ALLOWED = [
    ("let n = 1 # allow W0205", ""),
    ("let n = 1 # allow W0205: kept for later", ""),
    ("let n = 1 # for later # allow W0201, W0205", ""),
    ("let n = 1 #allow W0201 W0205", ""),
    ("let n = 1 # allow W0201", "W0205 n"),
    ("let n = 1 # allow W02051", "W0205 n"),
    ("let n = 1 # disallow W0205", "W0205 n"),
    ("let n = 1 # allow\n# W0205", "W0205 n"),
    ("# allow W0205\nlet n = 1", "W0205 n"),
    ('let n = "# allow W0205"', "W0205 n"),
    ("let n = 1; let m = 2 # allow W0205", ""),
    ("let n = 1 # allow W0205\nlet m = 2", "W0205 m"),
    ("use nothing from # allow E0101", "E0101 \n"),
]


@pytest.mark.parametrize(("line", "expected"), ALLOWED)
def test_a_comment_allows_the_warnings_of_its_line(line: str, expected: str) -> None:
    assert told(f"{line}\n" + NET.format("relu")) == expected


def test_a_warning_in_another_file_is_allowed_there() -> None:
    Path("other.net").write_text("block b {\n  maxpool 3x3 stride 2 # allow W0301\n}", "utf-8")
    assert told('use "other.net"\n' + NET.format("b")) == ""


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_the_zoo_gives_no_warning(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--strict", str(spec)]) == 0
    assert "warning" not in capsys.readouterr().err
    for found in re.finditer(r"# allow[ W\d]*(.*)", spec.read_text("utf-8")):
        assert re.match(r": \w+", found[1]), "an allowance has a reason"


WARNED = "let n = 1\n" + NET.format("dense 2")
COMMANDS = ["check main.net", "compile main.net -o main.onnx"]


@pytest.mark.parametrize("command", COMMANDS)
def test_strict_makes_errors_of_warnings(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("main.net").write_text(WARNED)
    assert main(command.split()) == 0
    assert "warning[W0205]" in capsys.readouterr().err
    Path("main.onnx").unlink(missing_ok=True)
    assert main([*command.split(), "--strict"]) == 1
    said = capsys.readouterr().err
    assert "error[W0205]" in said
    assert "1 error\n" in said
    assert not Path("main.onnx").exists()


def test_strict_is_for_runs_too(capsys: pytest.CaptureFixture[str]) -> None:
    Path("main.net").write_text(WARNED)
    assert main(["run", "main.net", "none.npy", "--strict"]) == 1
    assert "error[W0205]" in capsys.readouterr().err
    assert main(["check", "main.net", "--strict", "--format", "json"]) == 1
    assert '"severity": "error"' in capsys.readouterr().out


# How warnings are shown ----------------------------------------------------------------------------------------------

BIAS = "net a { input x 3x8x8; conv 3x3 4; bn; relu; dense 2 }"
SAID = "main.net:1:24: warning[W0302]: the bias of this `conv` has no effect: the following `bn` subtracts it\n"


@pytest.mark.parametrize(
    "command", ["compile main.net -o main.onnx --force", "summary main.net", "draw main.net -o a.svg"]
)
def test_other_commands_say_a_warning_in_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("main.net").write_text(BIAS)
    assert main(command.split()) == 0
    said = capsys.readouterr().err
    assert said.startswith(SAID)
    assert "warning" not in said.removeprefix(SAID)
    assert main([*command.split(), "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_check_shows_a_warning_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    Path("main.net").write_text(BIAS)
    assert main(["check", "-q", "main.net"]) == 0
    said = capsys.readouterr().err
    assert "--> main.net:1:24\n" in said
    assert "= help: turn the bias off" in said


def test_a_bias_that_the_weights_have_is_not_in_vain(capsys: pytest.CaptureFixture[str]) -> None:
    shapes = {"conv1.weight": (4, 3, 3, 3), "conv1.bias": (4,), "dense1.weight": (2, 256), "dense1.bias": (2,)}
    shapes |= {f"bn1.{name}": (4,) for name in ("weight", "bias", "running_mean", "running_var")}
    np.savez("w.npz", **{name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    Path("main.net").write_text("let n = 1\n" + BIAS)
    assert main(["compile", "main.net", "-o", "main.onnx", "--weights", "w.npz"]) == 0
    said = capsys.readouterr().err
    assert "W0302" not in said
    assert said.count("warning[W0205]") == 1
    Path("main.net").write_text(BIAS)
    assert main(["compile", "main.net", "-o", "main.onnx", "--force", "--strict", "--weights", "w.npz"]) == 0
    assert main(["compile", "main.net", "-o", "main.onnx", "--force", "--strict"]) == 1


def test_a_bias_that_is_not_taken_from_the_weights_is_in_vain(capsys: pytest.CaptureFixture[str]) -> None:
    shapes = {"conv1.weight": (4, 3, 3, 3), "conv1.bias": (4,), "dense1.weight": (2, 256), "dense1.bias": (2,)}
    shapes |= {f"bn1.{name}": (4,) for name in ("weight", "bias", "running_mean", "running_var")}
    arrays = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    np.savez("all.npz", **arrays)
    np.savez("part.npz", **{name: array for name, array in arrays.items() if name != "conv1.bias"})
    Path("main.net").write_text(BIAS)
    compiling = ["compile", "main.net", "-o", "main.onnx", "--force", "--weights"]
    left_out = {
        "all.npz --except dense1": False,
        "all.npz --partial": False,
        "all.npz --except conv1.bias": True,
        "all.npz --except conv1": True,
        "part.npz --partial": True,
    }
    for more, warns in left_out.items():
        assert main([*compiling, *more.split()]) == 0, more
        assert (SAID in capsys.readouterr().err) == warns, more
        assert main([*compiling, *more.split(), "--strict"]) == int(warns), more
        assert ("error[W0302]" in capsys.readouterr().err) == warns, more
    assert main([*compiling, "part.npz"]) == 1  # the warning explains the error: a file from a net without the bias
    said = capsys.readouterr().err
    assert said.startswith(SAID)
    assert "conv1.bias" in said


def test_a_bias_of_several_layers_is_kept_for_the_one_that_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path("main.net").write_text("net a { input x 4; for i in range(2) { dense 4; bn; relu }; dense 2 }")
    assert main(["compile", "main.net", "-o", "first.onnx"]) == 0
    assert "W0302" in capsys.readouterr().err
    for labels, warns in {"dense2": False, "dense[12]": True}.items():
        assert main(["compile", "main.net", "-o", "second.onnx", "--weights", "first.onnx", "--except", labels]) == 0
        assert ("W0302" in capsys.readouterr().err) == warns, labels


def test_a_training_and_an_evaluation_judge_a_vain_bias_by_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    Path("main.net").write_text(
        "net a { input x 2; dense 4; bn; tanh; dense 1 }\ntrain a { data xor; validate xor; loss logistic; steps 1 }\n"
    )
    assert main(["compile", "main.net", "-o", "w.onnx"]) == 0
    assert "W0302" in capsys.readouterr().err
    for command in (["eval", "main.net"], ["train", "main.net", "--out", "run", "--force"]):
        for more, warns in {"": False, "--except dense2": False, "--except dense1": True}.items():
            assert main([*command, "--weights", "w.onnx", *more.split()]) == 0, (command, more)
            assert ("W0302" in capsys.readouterr().err) == warns, (command, more)
    Path("w.onnx").unlink()
    assert main(["train", "main.net", "--out", "run", "--resume", "--weights", "w.onnx", "--except", "dense1"]) == 0


@pytest.mark.parametrize(
    ("data", "validate", "warns"),
    [
        ('mnist "m"', 'mnist "m"', True),
        ('mnist "m"', 'mnist "m" split train', True),
        ('mnist "m" split test', 'mnist "m" split test', True),
        ('mnist "m"', 'mnist "m" split test', False),
        ('mnist "m"', 'mnist "n"', False),
        ('mnist "m"', "0.1", False),
        ('mnist "m"', "shapes", False),
        ("shapes n 90", "shapes n 90", True),
        ("shapes n 90", "shapes n 90 seed 1", False),
    ],
)
def test_validation_on_the_training_data(data: str, validate: str, warns: bool) -> None:
    Path("main.net").write_text(
        "net a { input x 1x28x28; scale 1/255; dense 10 }\n"
        f"train a {{\n  data {data}\n  validate {validate}\n  loss cross_entropy\n}}\n"
    )
    report = Report()
    check_file("main.net", report)
    found = [problem for problem in report if problem.code == "W0311"]
    assert bool(found) is warns
    for problem in found:
        edits = [edit.text for suggestion in problem.all_suggestions() for edit in suggestion.edits]
        assert edits == [" split test"] * (data == 'mnist "m"' and validate == data)


def test_from_python_a_vain_bias_is_warned_of_when_the_net_is_read() -> None:
    with pytest.warns(netdsl.NetWarning, match="W0302"):
        net = netdsl.parse(BIAS)
    weights = {name: np.ones(parameter.shape, np.float32) for name, parameter in net.parameters.items()}
    net.to_onnx(weights=weights)
    with pytest.warns(UserWarning, match="conv1.bias") as caught:
        net.to_onnx(weights=weights, exclude=["conv1.bias"])
    assert not any("W0302" in str(each.message) for each in caught)


WARNINGS = {code: page for code, page in pages().items() if code.startswith("W")}


@pytest.mark.parametrize("code", WARNINGS)
def test_the_page_of_every_warning_says_how_to_allow_it(code: str) -> None:
    comment = f"# allow {code}"
    assert f"`{comment}: " in text(WARNINGS[code])
    source = WARNINGS[code].failing
    Path("main.net").write_text(source)
    report = Report()
    check_file("main.net", report)
    (problem,) = report
    lines = source.splitlines()
    line = problem.span.source.position(problem.span.start)[0]
    lines[line - 1] += f"  {comment}: as the paper has it"
    assert told("\n".join(lines)) == ""


def test_what_is_hidden_is_named_by_its_file_where_that_is_another(capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.net").write_text("block c { relu }\nblock d { tanh }\n")
    Path("a.net").write_text('use "b.net"\nblock c { relu6 }\nnet a { input x 8; c; d; dense 4 }\n')
    Path("own.net").write_text(
        "let width = 3\nnet own(width = 4) { input x 8; dense width }\nnet o { input x width; relu }\n"
    )
    main(["check", "a.net"])
    assert "`c` hides the `c` of b.net" in capsys.readouterr().err
    main(["check", "own.net"])
    here = capsys.readouterr().err
    assert "`width` hides an outer `width`" in here
    assert "calls so" not in here
