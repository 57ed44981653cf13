"""Command lines: what they exit with, what they print and where, what they call a FILE."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from netdsl.base.version import VERSION
from netdsl.cli.messages import NORMAL, VERBOSE, audible
from netdsl.cli.parser import parse_arguments
from tests.support.cli_tools import MNIST, ROOT, Commands, netdsl

__all__ = ["netdsl"]

GOOD = "net good { input x 3; dense 2 }"
BAD = "net bad { input x 3; dens 2 }"
WARNED = "net warned { input x 3; output a { dense 2 }; dense 4 }"
TWO = "net one(k = 2) { input x 3; dense k }\nnet two = one(k = 4)"

FILES = {
    "good": GOOD,
    "bad": BAD,
    "two": TWO,
    "clash": "net a { input x 3 }\nnet b { input x 3 }",
    "blocks": "block b { relu }",
    "trains": 'use "zoo/alexnet.net"\ntrain alexnet { data mnist "mnist"; loss cross_entropy }',
    "words": "net words(pad = same, f = relu, n in [1, 3] = 1) { input x 1x9x9; conv n 2 pad pad; f }",
}

# command line, exit code, what stdout and stderr hold; "" is nothing at all
TABLE: list[tuple[str, int, str, str]] = [
    ("--version", 0, f"netdsl {VERSION}\n", ""),
    ("--version --help", 0, f"netdsl {VERSION}\n", ""),
    ("--help", 0, "commands:", ""),
    ("check good.net --quiet", 0, "", ""),
    ("check -q bad.net", 1, "", "E0202"),
    ("check good.net -q -v", 2, "", "not allowed with argument"),
    ("check good.net -v", 0, "", f"good.net: ok (good)\nnetdsl {VERSION}, Python 3."),
    ("compile good.net -q", 0, "", ""),
    ("", 0, "commands:", ""),
    ("help", 0, "commands:", ""),
    ("help train", 0, "usage: netdsl train", ""),
    ("help trian", 2, "", "there is no command `trian`; did you mean `train`?"),
    ("trian good.net", 2, "", "there is no command `trian`; did you mean `train`?"),
    ("good.net", 2, "", "good.net is a file, not a command; did you mean `netdsl check good.net`?"),
    ("m.onnx x.npy", 2, "", "did you mean `netdsl run m.onnx`?"),
    ("frob", 2, "", "there is no command `frob`; `netdsl help` lists them\n"),
    ("export good.net", 2, "", "there is no command `export`; did you mean `compile`?"),
    ("fit good.net", 2, "", "there is no command `fit`; did you mean `train`?"),
    ("check", 2, "", "the following arguments are required: FILE"),
    ("check good.net", 0, "", "good.net: ok (good)\n"),
    ("check good.net two.net --format short", 0, "", ""),
    ("check --format short good.net", 0, "", ""),
    ("check good.net --format short bad.net", 1, "", "bad.net:1:22: error[E0202]: unknown layer or block `dens`"),
    ("check good.net bad.net none.net", 2, "", "good.net: ok"),
    ("check bad.net good.net", 1, "", "good.net: ok"),
    ("check good.net --format json", 0, "", ""),
    ("check good.net --format github", 0, "", ""),
    ("check bad.net --format json", 1, '"code": "E0202"', ""),
    ("check bad.net --format github", 1, "::error file=bad.net,line=1,col=22", ""),
    ("check bad.net --format xml", 2, "", "invalid choice: 'xml'"),
    ("check good.net --frmat short", 2, "", "there is no option --frmat; did you mean --format?"),
    ("check good.net --form short", 2, "", "there is no option --form; did you mean --format?"),
    ("train good.net --lr 0.1", 2, "", "there is no option --lr; did you mean --set train.lr=1e-3?"),
    ("train good.net --momentum=0.9", 2, "", "did you mean --set 'train.momentum=…'?"),
    ("train good.net --batch-size 64", 2, "", "did you mean --set train.batch=64?"),
    ("train good.net --patience 5", 2, "", "did you mean --set 'train.stop=patience 5'?"),
    ("train good.net --data mnist", 2, "", "did you mean --set 'train.data=mnist \"FOLDER\"'?"),
    ("train good.net --verbos", 2, "", "there is no option --verbos; did you mean --verbose?"),
    ("train good.net", 2, "", "add one, such as `train good { data npz"),
    ("train lenet5", 2, "", 'a file with `use lenet5 from "zoo/lenet5.net"` and, below it, `train lenet5 {'),
    ("check blocks.net", 0, "", "blocks.net: ok (no networks)"),
    ("check trains.net", 0, "", "trains.net: ok (train alexnet)"),
    ("check two.net:two", 0, "", "two.net:two: ok (two)"),
    (
        "check two.net:tow",
        2,
        "",
        "error[E0618]: two.net has no network `tow`: it has one, two\n  = help: did you mean `two`?",
    ),
    ("check blocks.net:a", 2, "", "blocks.net has no network `a`: it has none"),
    ("check two.net:", 2, "", "there is no file two.net:"),
    ("check none.net", 2, "", "error[E0601]: there is no file none.net\n"),
    ("check .", 2, "", "is a folder"),
    ("check nothing", 2, "", "there is no file nothing, and no network of the zoo has this name\n"),
    ("check good", 2, "", "has this name\n  = help: did you mean `good.net`?"),
    ("weights good", 2, "", "did you mean `good.net`?"),
    ("check resnet15", 2, "", "did you mean `resnet152`?"),
    ("check lenet5.net", 2, "", "did you mean `lenet5`, of the zoo?"),
    ("check lenet5 resnet152 vgg16_bn", 0, "", "vgg16_bn: ok (vgg16_bn)"),
    ("check resnet:resnet18", 0, "", "resnet:resnet18: ok (resnet18)"),
    ("check zoo/xor.net", 0, "", "zoo/xor.net: ok (xor)"),
    ("check good.net --root nowhere", 2, "", "error[E0619]: the root is not a folder: nowhere"),
    ("check words.net --set n=3", 0, "", "ok (words)"),
    ("check words.net --set n=2", 1, "", "E0"),
    ("check words.net --set pad=valid --set f=tanh", 0, "", "ok (words)"),
    ("check words.net --set pad=nope", 1, "", "unknown name `nope`"),
    ("check words.net --set m=1", 1, "", "the net `words` has no parameter `m`"),
    ("check words.net --set epochs=3", 1, "", "`--set train.epochs=…` sets it"),
    ("check words.net --set lr=3", 1, "", "`--set train.lr=…` sets it"),
    ("compile good.net --weights bad.net", 1, "", "error[E0701]: bad.net describes a net, and has no weights"),
    ("check words.net --set n", 2, "", "error[E0610]: `--set n` is not of the form NAME=VALUE"),
    ("check words.net --set n=", 2, "", "is not of the form NAME=VALUE"),
    ("check words.net --set n=1/0", 1, "", "division by zero"),
    ("check words.net --set 'n = 1; let k = 2'", 2, "", "is more than one value"),
    ("check words.net --set n=1 --set n=3", 2, "", "`--set n` is given twice"),
    ("check resnet --set depth=19", 1, "", "E0"),
    ("compile", 2, "", "the following arguments are required: FILE"),
    ("compile good.net two.net", 2, "", "unexpected argument two.net; one FILE is enough"),
    ("compile bad.net", 1, "", "unknown layer or block `dens`"),
    ("compile clash.net", 1, "", "a, b"),
    ("compile blocks.net", 1, "", "E0"),
    ("compile good.net --opset 16", 2, "", "'16' is not an integer from 17 to 26"),
    ("compile good.net --opset x", 2, "", "'x' is not an integer"),
    ("compile good.net --seed -1", 2, "", "'-1' is not an integer"),
    ("compile good.net --seed " + "9" * 5000, 2, "", "is not an integer"),
    ("compile good.net --metadata a", 2, "", "error[E0640]: `--metadata a` is not of the form KEY=VALUE"),
    ("compile good.net --metadata a=1 --metadata a=2", 2, "", "`--metadata a` is given twice"),
    ("compile good.net --metadata =1", 2, "", "cannot have the metadata ``: a key is not empty"),
    ("compile good.net --metadata netdsl.x=1", 2, "", "keys that begin with `netdsl.` are netdsl's own"),
    ("compile good.net --metadata a=\udcff", 2, "", "the metadata `a` are not Unicode"),
    ("compile good.net --batch 0", 2, "", "'0' is not an integer"),
    ("compile good.net -o nowhere/m.onnx", 2, "", "cannot write nowhere/m.onnx: its folder does not exist"),
    ("compile good.net -o good.net", 2, "", "error[E0613]: good.net is an input of this command"),
    ("compile good.net -o good.net --force", 2, "", "error[E0613]: good.net is an input of this command"),
    ("compile good.net -o two.net", 2, "", "error[E0611]: two.net exists and was not written by netdsl"),
    ("compile good.net --weights none", 2, "", "there is no file none"),
    ("compile good.net --weights two.net", 1, "", "error[E0701]"),
    ("compile good.net", 0, "", " bytes, 8 parameters drawn from seed 0, 1 node, opset 21\n"),
    ("run good.net", 2, "", "the following arguments are required: INPUT"),
    ("run good.net none.npy", 2, "", "error[E0601]: there is no file none.npy\n"),
    ("run good.net x=none.npy", 2, "", "error[E0601]: there is no file none.npy\n"),
    ("run good.net two.net", 1, "", "error[E0801]"),
    ("run bad.net x.npy", 1, "", "E0202"),
    ("run none.onnx x.npy", 2, "", "there is no file none.onnx"),
    ("run good.net x.npy --top 0", 2, "", "'0' is not an integer"),
    ("run good.net x.npy --provider abacus", 2, "", "unknown execution provider `abacus`; available: cpu"),
    (
        "run m.onnx x.npy --weights w.npz",
        2,
        "",
        "error[E0614]: m.onnx is a compiled model, which does not accept --weights",
    ),
    ("run m.onnx x.npy --seed 0", 2, "", "does not accept --seed"),
    ("run m.onnx x.npy --set n=1", 2, "", "does not accept --set"),
    ("run good.net x.npy -o x.npy --force", 2, "", "error[E0613]: x.npy is an input of this command"),
    ("run good.net x=x.npy -o x.npy --force", 2, "", "error[E0613]: x.npy is an input of this command"),
]


def test_only_a_setting_is_answered_with_that_of_the_train_block(netdsl: Commands) -> None:
    netdsl.write(alias="net one(k = 2) { input x 3; dense k }\nnet two = one(epochs = 3)")
    found = netdsl("check", "alias.net")
    assert "has no parameter `epochs`" in found.err
    assert "--set" not in found.err


@pytest.mark.parametrize(
    ("line", "code"), [("check -q good.net", 0), ("check -v bad.net", 1), ("check -q none.net", 2)]
)
def test_the_verbosity_of_a_command_ends_with_it(netdsl: Commands, line: str, code: int) -> None:
    netdsl.write(good=GOOD, bad=BAD)
    assert netdsl(*line.split()).code == code
    assert audible(NORMAL)
    assert not audible(VERBOSE)


@pytest.mark.parametrize(("line", "code", "out", "err"), TABLE, ids=[line[:60] for line, *_ in TABLE])
def test_command_lines(netdsl: Commands, line: str, code: int, out: str, err: str) -> None:
    netdsl.write(**FILES)
    np.save("x.npy", np.zeros((2, 3), np.float32))
    before = {path.name: path.read_bytes() for path in netdsl.folder.iterdir()}
    ran = netdsl(*shlex.split(line))
    assert ran.code == code, ran
    for said, wanted in (ran.out, out), (ran.err, err):
        assert wanted in said if wanted else said == "", ran
    if code:
        assert {path.name: path.read_bytes() for path in netdsl.folder.iterdir()} == before


@pytest.mark.parametrize("command", ["", "check", "compile", "run"])
def test_help(netdsl: Commands, golden: Callable[[str, str], None], command: str) -> None:
    ran = netdsl(*filter(None, [command]), "--help")
    assert (ran.code, ran.err) == (0, "")
    golden(f"cli/{command or 'netdsl'}.txt", ran.out)


@pytest.mark.parametrize("former", [("--lowering", "blk"), ("--step-backend", "blk"), ("--lowering", "nchwc")])
def test_former_names_of_the_step_backend_are_accepted_but_not_shown(netdsl: Commands, former: tuple[str, str]) -> None:
    assert parse_arguments(["train", "good.net", *former]).step_backend == "nchwc"
    assert "lowering" not in netdsl("train", "--help").out
    assert "'auto', 'plain', 'nchwc'" in netdsl("train", "good.net", "--lowering", "nope").err


def test_json_is_a_line_a_problem_and_nothing_else(netdsl: Commands) -> None:
    netdsl.write(bad=f"{BAD}\nnet worse {{ input x 3; tanhh }}")
    ran = netdsl("check", "bad.net", "--format", "json")
    assert [json.loads(line)["line"] for line in ran.out.splitlines()] == [1, 2]
    assert ran.err == ""


def test_a_warning_alone_is_no_failure(netdsl: Commands) -> None:
    netdsl.write(warned=WARNED)
    ran = netdsl("check", "warned.net")
    assert (ran.code, "warning[W" in ran.err, "1 warning\n" in ran.err) == (0, True, True)
    assert "warning[W" in netdsl("compile", "warned.net").err


def test_the_standard_input_is_a_file(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def feed(text: str) -> None:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode()), closed=False))

    feed(BAD)
    assert netdsl("check", "-", "--format", "short").err.startswith("<stdin>:1:22: error[E0202]")
    feed(TWO)
    assert netdsl("compile", "-:two", "-o", "m.onnx").code == 0
    assert onnx.load("m.onnx").graph.name == "two"
    feed("")
    assert netdsl("compile", "-").code == 1


def test_a_file_of_stdin_may_use_files_of_this_folder(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    netdsl.write(part="block part { dense 2 }")
    text = b'use "part.net"\nnet n { input x 3; part }'
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text), closed=False))
    assert netdsl("check", "-").code == 0


def test_a_folder_does_not_hide_the_zoo_but_a_file_does(netdsl: Commands) -> None:
    (netdsl.folder / "lenet5").mkdir()
    assert netdsl("check", "lenet5").code == 0
    (netdsl.folder / "xor").write_text("net mine { input x 3 }")
    assert "ok (mine)" in netdsl("check", "xor").err


def test_a_files_name_may_hold_a_colon(netdsl: Commands) -> None:
    (netdsl.folder / "a:b").write_text(TWO)
    assert "ok (one, two)" in netdsl("check", "a:b").err
    assert "ok (two)" in netdsl("check", "a:b:two").err


def test_the_root_is_as_far_as_use_reaches(netdsl: Commands) -> None:
    (netdsl.folder / "inner").mkdir()
    netdsl.write(part="block part { dense 2 }")
    (netdsl.folder / "inner" / "n.net").write_text('use "../part.net"\nnet n { input x 3; part }')
    assert netdsl("check", "inner/n.net").code == 1
    for line in ("check inner/n.net", "compile inner/n.net -o n.onnx"):
        assert netdsl(*line.split(), "--root", ".").code == 0


@pytest.mark.parametrize("spec", sorted(path.stem for path in (ROOT / "specs").glob("*.net")))
def test_every_shipped_net_has_its_name(netdsl: Commands, spec: str) -> None:
    assert netdsl("check", spec).code == 0


def test_control_characters_of_a_name_do_not_reach_the_terminal(netdsl: Commands) -> None:
    assert "\x1b" not in netdsl("check", "a\x1b]0;b\x07.net").err


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 1, "error[E0615]: there is not enough memory"),
        (OSError(12, "Cannot allocate memory"), 1, "error[E0615]"),
        (RuntimeError("can't start new thread"), 1, "error[E0615]"),
        (ImportError("numpy:\n\na.so: failed to map segment from shared object\n"), 1, "error[E0615]"),
        (ImportError("Exception caught: std::bad_alloc"), 1, "error[E0615]"),
        (caused(AttributeError("array"), MemoryError()), 1, "error[E0615]"),
        (ImportError("libGL.so.1: no such file", name="cv2"), 2, "error[E0657]: this needs the package cv2, which"),
        (RecursionError(), 1, "error[E0616]: the input is nested too deeply"),
        (KeyboardInterrupt(), 130, ""),
        (caused(ImportError("initialization failed"), KeyboardInterrupt()), 130, ""),
        (ModuleNotFoundError(name="onnxruntime.capi"), 2, "this needs the package onnxruntime"),
        (OSError(28, "No space left on device"), 2, "error[E0617]: the standard output: no space left on device"),
        (OSError(5, "Input/output error", "a\nb"), 2, "error[E0617]: a\\nb: input/output error"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_what_stops_a_command(
    netdsl: Commands, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("netdsl.cli.check.check_file", fail)
    ran = netdsl("check", "lenet5")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err if said else ran.err == ""


def test_a_fault_of_our_own_is_not_hidden(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("ours")

    monkeypatch.setattr("netdsl.cli.check.check_file", fail)
    with pytest.raises(AssertionError, match="ours"):
        netdsl("check", "lenet5")


def test_compile_says_what_it_wrote(netdsl: Commands) -> None:
    ran = netdsl("compile", "lenet5", "--weights", MNIST / "lenet5.safetensors", "--opset", 17, "-o", "m.onnx")
    size = (netdsl.folder / "m.onnx").stat().st_size
    source = MNIST / "lenet5.safetensors"
    assert ran.err == f"m.onnx: {size:,} bytes, 61,706 parameters from {source}, 15 nodes, opset 17\n"
    model = onnx.load("m.onnx")
    assert (len(model.graph.node), model.opset_import[0].version) == (15, 17)


def test_options_of_compile_reach_the_model(netdsl: Commands) -> None:
    netdsl("compile", "resnet18", "--batch", 3, "--set", "classes=7", "-o", "a.onnx", "--seed", 1)
    netdsl("compile", "resnet:resnet18", "--batch", 3, "--set", "classes=3 + 4", "-o", "b.onnx", "--seed", 2)
    a, b = onnx.load("a.onnx"), onnx.load("b.onnx")
    dims = [[d.dim_value for d in value.type.tensor_type.shape.dim] for value in (a.graph.input[0], a.graph.output[0])]
    assert dims == [[3, 3, 224, 224], [3, 7]]
    assert [n.name for n in a.graph.node] == [n.name for n in b.graph.node]
    assert a.graph.initializer[0].raw_data != b.graph.initializer[0].raw_data


def test_a_model_of_ours_is_replaced_and_no_other_file(netdsl: Commands) -> None:
    target = netdsl.folder / "xor.onnx"
    assert netdsl("compile", "xor").code == 0
    assert netdsl("compile", "xor", "--seed", 1).code == 0
    for text in (b"# netdsl is a language\n", b"made by netdsl", bytes(100)):
        target.write_bytes(text)
        assert netdsl("compile", "xor").code == 2
        assert target.read_bytes() == text
    assert netdsl("compile", "xor", "--force").code == 0
    assert onnx.load(target).producer_name == "netdsl"
    target.write_bytes(b"")
    assert netdsl("compile", "xor").code == 0


def test_weights_are_not_overwritten_under_any_of_their_names(netdsl: Commands) -> None:
    (netdsl.folder / "w.safetensors").write_bytes((MNIST / "lenet5.safetensors").read_bytes())
    (netdsl.folder / "link").symlink_to("w.safetensors")
    (netdsl.folder / "hard").hardlink_to(netdsl.folder / "w.safetensors")
    for name in ("w.safetensors", "./w.safetensors", "link", "hard"):
        assert netdsl("compile", "lenet5", "--weights", "w.safetensors", "-o", name, "--force").code == 2


CRLF_TEXT = "# A net.\nnet n {\n  input x 3 # three\n\n  dense 2\n  relu }\n"


def test_metadata_are_in_the_model(netdsl: Commands) -> None:
    assert netdsl("compile", "xor", "--metadata", "author=A = B", "--metadata", "note=").code == 0
    known = {prop.key: prop.value for prop in onnx.load("xor.onnx").metadata_props}
    assert (known["author"], known["note"]) == ("A = B", "")


def test_line_ends_do_not_change_the_model(netdsl: Commands) -> None:
    models = set()
    for ends in ("\n", "\r\n", "\r"):
        (netdsl.folder / "n.net").write_bytes(
            ("" if ends == "\n" else "\ufeff").encode() + CRLF_TEXT.replace("\n", ends).encode()
        )
        assert netdsl("compile", "n.net").code == 0
        models.add((netdsl.folder / "n.onnx").read_bytes())
    assert len(models) == 1


def test_what_an_input_says_of_pictures_is_in_the_model(netdsl: Commands) -> None:
    netdsl.write(n="net n { input image 3x8x8 resize 10 crop 8 filter bicubic order bgr; input b 3x8x8; add image b }")
    assert netdsl("compile", "n.net").code == 0
    known = {prop.key: prop.value for prop in onnx.load("n.onnx").metadata_props}
    assert json.loads(known["netdsl.input.image"]) == {"resize": 10, "crop": 8, "filter": "bicubic", "order": "bgr"}
    assert "netdsl.input.b" not in known


def test_paths_with_spaces_and_other_alphabets(netdsl: Commands) -> None:
    folder = netdsl.folder / "ein Netz, ё"
    folder.mkdir()
    (folder / "n.net").write_text(GOOD)
    assert netdsl("compile", folder / "n.net", "-o", folder / "m ё.onnx").code == 0
    assert Path(folder / "m ё.onnx").exists()
