"""`netdsl check --fix` and `--diff`, as a user has them."""

from __future__ import annotations

from pathlib import Path

import onnx.defs
import pytest

from netdsl.app.analyse import check_file
from netdsl.cli import main
from netdsl.diagnostics.report import Report

FIXED = {
    "a misspelt layer": ("conv 3x3 8; drpout 0.5", "conv 3x3 8; dropout 0.5"),
    "a misspelt keyword": ("conv 3x3 8 strid 2", "conv 3x3 8 stride 2"),
    "an equals sign": ("conv 3x3 8 stride=2", "conv 3x3 8 stride 2"),
    "a comma": ("conv 3x3, 8", "conv 3x3 8"),
    "parentheses": ("conv(3x3, 8)", "conv 3x3 8"),
    "the wrong order": ("conv 8 3x3", "conv 3x3 8"),
    "a typographic minus": ("shift (\u22121)", "shift (-1)"),
    "one fix behind another": ("conv(3x3, 8, stride=2)", "conv 3x3 8 stride 2"),
    "another spelling of a name that means the same everywhere": ("ReLU; Dropout 0.5", "relu; dropout 0.5"),
    "an argument that is called differently elsewhere": ("conv 3x3 8 strides 2", "conv 3x3 8 stride 2"),
    "two mistakes on one line": ("conv 3x3 8 stride=2 pad=1", "conv 3x3 8 stride 2 pad 1"),
    "commas between keywords that are layers too": ("conv 3x3, 8, pad=1, stride=2", "conv 3x3 8 pad 1 stride 2"),
    "several at once": ("conv 3x3 8 strid 2; rleu; drpout 0.5", "conv 3x3 8 stride 2; relu; dropout 0.5"),
}


def program(statements: str) -> str:
    return f"net a {{\n  input x 3x8x8\n  {statements}\n}}\n"


@pytest.mark.parametrize("what", FIXED)
def test_what_is_safe_is_mended(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong, right = FIXED[what]
    path = tmp_path / "a.net"
    path.write_text(program(wrong), "utf-8")
    assert main(["check", "--fix", str(path)]) == 0
    assert path.read_text("utf-8") == program(right)
    assert f"{path}:3:" in capsys.readouterr().err


def test_a_fix_that_brings_another_error_to_light_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    path.write_text(program("rleu\n  skip { conv 3x3 8 }"), "utf-8")
    assert main(["check", "--fix", str(path)]) == 1
    assert path.read_text("utf-8") == program("rleu\n  skip { conv 3x3 8 }")


def test_a_fix_that_goes_wrong_in_its_own_line_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    path.write_text(program("conv(4, 8, stride=2)"), "utf-8")  # an even kernel, side by side too
    assert main(["check", "--fix", str(path)]) == 1
    assert path.read_text("utf-8") == program("conv(4, 8, stride=2)")


UNTOUCHED = {
    "two meanings": "shift 64 -1",
    "a projection is a choice": "skip { conv 3x3 8 }",
    "an expectation is the user's": "conv 3x3 8; expect 8x9x9",
    "nothing near": "frobnicate 3",
    "a layer with an equals sign": "dense=10",
    "the momentum of the old statistics": "bn momentum=0.9",
    "a size, not a factor": "upsample size 16",
    "a comment among arguments": "conv(3x3, # kernel\n    8)",
    "an initialiser without its number": "conv 3x3 8 init normal",
    "a map of the last axis alone": "Linear 32",
    "a product of all elements": "fc 32",
    "a size in place of a factor": "interpolate 32x32",
    "a normalization without weights": "InstanceNorm2d",
    "no padding by default": "Conv2d 3x3 8",
    "another eps": "BatchNormalization",
    "another slope": "LeakyReLU",
    "an approximation": "GELU",
    "the last axis": "Softmax",
    "one slope for all channels": "PReLU",
    "axes of another layout": "Permute [1, 0, 2]",
    "the probability of being kept": "dropout keep_prob 0.9",
    "padding by TensorFlow's rule": "conv 3x3 8 stride 2 padding same",
    "a rule in capitals": "conv 3x3 8 stride 2 pad SAME",
    "a kernel with a comma": "conv 3, 3",
    "a decimal comma": "clip 0,5",
    "arguments in the order of Keras": "conv(5, 3)",
    "a layer that is not applied": "y = relu",
    "an octal number": "dense 010",
    "a power or an exclusive or": "dense 2^3",
    "another function": "rsqrt",
    "another layer of a similar name": "crelu",
    "a numbered name": "conv1 3x3 8",
    "a name of a family": "let branch_a = 3; dense branch_b",
}


@pytest.mark.parametrize("what", UNTOUCHED)
def test_what_is_not_safe_is_left_alone(what: str, tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    path.write_text(program(UNTOUCHED[what]), "utf-8")
    assert main(["check", "--fix", str(path)]) == 1
    assert path.read_text("utf-8") == program(UNTOUCHED[what])


def test_diff_alone_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.net"
    path.write_text(program("drpout 0.5"), "utf-8")
    assert main(["check", "--diff", str(path)]) == 1
    assert path.read_text("utf-8") == program("drpout 0.5")
    shown = capsys.readouterr().out
    assert "-  drpout 0.5" in shown
    assert "+  dropout 0.5" in shown


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_mark_stay_as_they_are(mark: str, tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    path.write_bytes((mark + program("drpout 0.5; conv 3x3, 8").replace("\n", "\r\n")).encode())
    assert main(["check", "--fix", str(path)]) == 0
    assert path.read_bytes() == (mark + program("dropout 0.5; conv 3x3 8").replace("\n", "\r\n")).encode()


def test_a_used_file_is_mended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("b.net").write_text("block b { rleu }\n", "utf-8")
    Path("a.net").write_text('use "b.net"\nnet a { input x 8; b }\n', "utf-8")
    assert main(["check", "--fix", "a.net"]) == 0
    assert Path("b.net").read_text("utf-8") == "block b { relu }\n"


def test_a_clean_file_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    path.write_text(program("relu"), "utf-8")
    before = path.stat()
    assert main(["check", "--fix", str(path)]) == 0
    assert path.stat().st_ino == before.st_ino


ONNX = sorted({schema.name for schema in onnx.defs.get_all_schemas()})
SAME = """
Abs Add Celu Cos Div Dropout Elu Exp HardSwish Identity Log Max Min Mish Mul Relu Selu Sigmoid Sign Sin Softplus
Softsign Sqrt Sub Tanh
"""


@pytest.mark.parametrize("argument", ["", " 2", " { } { relu }"])
def test_no_operator_of_onnx_becomes_another_layer(argument: str) -> None:
    """Those that are fixed are the ones whose definition is ours, by the operators' documentation."""
    fixed = set()
    for name in ONNX:
        report = Report()
        check_file("main.net", report, texts={"main.net": program(f"{name}{argument}")})
        fixed |= {name for problem in report for help in problem.all_suggestions() if help.safe and help.edits}
    assert fixed <= set(SAME.split())
