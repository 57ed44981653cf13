"""Warnings: what is doubtful and what is not, what `# allow` silences, and what `--strict` makes of them."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from netdsl.cli import main
from netdsl.diagnostics.report import Report
from netdsl.elaborate.advice import unread
from netdsl.frontend import check_file
from netdsl.ir.shape import Size
from netdsl.layers.window import Window
from netdsl.paths import data

SPECS = sorted(Path(data("specs")).glob("*.net"))
GOLDEN = Path(__file__).parent / "golden/diagnostics"


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


FITS = re.compile(r"sizes that fit: (\S+) or (\S+) in place of (\S+)")


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
]  # fmt: skip


@pytest.mark.parametrize(("body", "loss", "expected"), [row[1:] for row in TRAININGS], ids=[r[0] for r in TRAININGS])
def test_losses_that_begin_with_a_softmax(body: str, loss: str, expected: str) -> None:
    assert told(f"net a {{ input x 4; {body} }}\ntrain a {{ data xor; {loss} }}") == expected


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
