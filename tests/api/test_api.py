"""The Python API: nets, models, sessions, the zoo and exceptions, held against the commands and plain onnxruntime."""

from __future__ import annotations

import doctest
import functools
import re
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import netdsl
from netdsl.app.frontend import load_net
from netdsl.backend import session
from netdsl.diagnostics.formats import summary
from netdsl.diagnostics.render import render
from netdsl.diagnostics.report import Report
from netdsl.report.figures import Figures
from netdsl.report.summary import summary_data, summary_text
from tests.support.cli_tools import MNIST, ROOT, Commands

PAGE = ROOT / "docs" / "python.md"
FENCE = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TINY = "net tiny(units = 3, bias = on) { input x 4; dense units bias bias; tanh }"
SYMBOLIC = """# Sizes known at run time.
net sizes {
  about { year 2024 }
  input image [3, ?H, ?W]
  input ids 5 dtype i64
  from image; c: conv 3x3 8 stride 2; output y
  from ids; output same
}
"""
WORDS = """
block one(w) { dense w }
block two(w) { dense 2*w }
net words(b = one, text = "p", pad = same, sizes = [1], on_top = off, rate = 0.5) {
  input x 1x4x4
  conv 3x3 1 pad pad
  b 3
  if text == "q" { dense 77 }
  for size in sizes { dense size }
  if on_top { dense 5 }
  dropout rate
}
net other { input x 4; two 3 }
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    monkeypatch.chdir(tmp_path)
    return Commands(tmp_path, capsys)


# Nets ----------------------------------------------------------------------------------------------------------------


def test_a_net_is_loaded_with_parameters(tmp_path: Path) -> None:
    for file in ("resnet", ROOT / "specs" / "resnet.net", str(ROOT / "specs" / "resnet.net")):
        net = netdsl.load(file, depth=18, classes=7)
        assert net.name == "resnet"
        assert net.settings == {"depth": "18", "residual": "on", "classes": "7"}
        assert net.outputs["output"].shape == (7,)
    (tmp_path / "two.net").write_text("net a { input x 4; dense 1 }\nnet b { input x 4; dense 2 }")
    assert netdsl.load(f"{tmp_path / 'two.net'}:b").outputs["output"].shape == (2,)


@pytest.mark.parametrize(
    ("given", "setting"),
    [
        ({"b": "two"}, "b=two"),
        ({"text": "q"}, 'text="q"'),
        ({"text": "two"}, 'text="two"'),
        ({"pad": "valid"}, "pad=valid"),
        ({"pad": 0}, "pad=0"),
        ({"sizes": [3, 2]}, "sizes=[3, 2]"),
        ({"sizes": (3,)}, "sizes=[3]"),
        ({"sizes": [np.int64(3), np.uint8(2)]}, "sizes=[3, 2]"),
        ({"on_top": True}, "on_top=on"),
        ({"rate": 0.25}, "rate=0.25"),
        ({"rate": np.float64(0.25)}, "rate=0.25"),
        ({"rate": 0}, "rate=0"),
    ],
    ids=str,
)
def test_values_of_python_are_those_of_the_language(given: dict[str, Any], setting: str, tmp_path: Path) -> None:
    path = tmp_path / "words.net"
    path.write_text(WORDS)
    wanted = load_net(str(path), Report(), settings=[setting])
    plain = load_net(str(path), Report())
    assert wanted is not None
    assert plain is not None
    net = netdsl.load(path, **given)
    assert net.settings == wanted.settings != plain.settings
    assert [(layer.name, layer.shape) for layer in net.layers] == [(node.name, node.shape) for node in wanted.nodes]


@pytest.mark.parametrize("value", [None, {}, b"x", np.float32(1), object(), [None]], ids=lambda x: type(x).__name__)
def test_what_is_no_value_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match=r"the parameter 'units' takes a number, a bool, a str, or a list of these"):
        netdsl.parse(TINY, units=value)


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 1 << 5000, endless()], ids=["nan", "inf", "1<<5000", "[[…"]
)
def test_what_is_beyond_all_bounds_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match="the parameter 'units'"):
        netdsl.parse(TINY, units=value)


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({"dept": 18}, "E0214", "did you mean `depth`?"),
        ({"depth": 19}, "E0407", "`depth` must be one of [18, 34, 50, 101, 152], not 19"),
        ({"depth": "deep"}, "E0201", "unknown name `deep`"),
        ({"depth": "not a word"}, "E0407", 'not "not a word"'),
        ({"depth": [18, "x\ny\x1b[31m"]}, "E0407", r"\x1b[31m"),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_told_where_it_is_given(given: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(netdsl.NetError) as caught:
        netdsl.load("resnet", **given)
    assert [problem.code for problem in caught.value.problems] == [code]
    assert said in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert "<parameters>:" in str(caught.value)


def test_parameters_are_shown_one_a_line() -> None:
    with pytest.raises(netdsl.NetError) as caught:
        netdsl.parse(TINY, units=2, bia=True)
    assert [str(problem.span) for problem in caught.value.problems] == ["<parameters>:2:1"]
    assert "bia = on" in str(caught.value)


def test_a_text_may_use_files_beside_its_name(tmp_path: Path) -> None:
    (tmp_path / "parts.net").write_text("block wide(n) { dense 2*n }")
    net = netdsl.parse('use "parts.net"\nnet n { input x 4; wide 3 }', name=str(tmp_path / "main.net"))
    assert net.outputs["output"].shape == (6,)
    assert net.layers[-1].place == f"{tmp_path / 'parts.net'}:1:17"


def test_what_is_in_a_net() -> None:
    net = netdsl.parse(SYMBOLIC)
    assert {name: (x.name, x.shape, x.dtype) for name, x in net.inputs.items()} == {
        "image": ("image", (3, "H", "W"), "float32"),
        "ids": ("ids", (5,), "int64"),
    }
    assert {name: (y.name, y.shape, y.dtype) for name, y in net.outputs.items()} == {
        "y": ("y", (8, "(H + 1)//2", "(W + 1)//2"), "float32"),
        "same": ("same", (5,), "int64"),
    }
    assert repr(net.outputs["y"]) == "<y: float32 [8, (H + 1)//2, (W + 1)//2]>"
    assert [(x.name, x.kind, x.inputs, x.place) for x in net.layers] == [
        ("image", "input", (), "<string>:4:9"),
        ("ids", "input", (), "<string>:5:9"),
        ("c", "conv", ("image",), "<string>:6:18"),
    ]
    conv = net.layers[-1]
    assert conv.arguments["stride"] in (2, (2, 2))
    assert {name: weight.shape for name, weight in conv.parameters.items()} == {"weight": (8, 3, 3, 3), "bias": (8,)}
    assert list(net.parameters) == ["c.weight", "c.bias"]
    assert (net.name, net.doc, net.about) == ("sizes", "Sizes known at run time.", {"year": 2024})


def test_training_heads_have_no_part_in_the_model() -> None:
    net = netdsl.parse("net n { input x 4; dense 3; output aux training { dense 2 }; dense 1 }")
    assert list(net.outputs) == ["output"]
    assert [y.name for y in net.to_onnx().graph.output] == ["output"]


def test_a_summary_has_the_figures_of_the_command() -> None:
    for net in (netdsl.load("lenet5"), netdsl.parse(SYMBOLIC)):
        for batch in (1, 3):
            figures = Figures(net._net, batch)
            summary = net.summary(batch=batch)
            assert (summary.layers, summary.totals) == (
                summary_data(figures)["layers"],
                summary_data(figures)["totals"],
            )
            assert str(summary) == repr(summary) == summary_text(figures)
    assert netdsl.load("lenet5").summary().totals["params"] == netdsl.zoo["lenet5"].params
    with pytest.raises(ValueError, match="batch must be an integer from 1"):
        netdsl.load("lenet5").summary(batch=0)
    shown = netdsl.parse(SYMBOLIC).summary()._repr_mimebundle_()
    assert shown["text/plain"] == str(netdsl.parse(SYMBOLIC).summary())
    assert "<td>[8, (H + 1)//2, (W + 1)//2]</td>" in shown["text/html"]


# Errors --------------------------------------------------------------------------------------------------------------


def test_an_error_has_all_problems_and_prints_as_check_does(command: Commands) -> None:
    command.write(bad="net bad {\n  input x 4\n  desne 3\n  conv 3x3 8\n}\n")
    with pytest.raises(netdsl.NetError) as caught:
        netdsl.load("bad.net")
    report = Report()
    load_net("bad.net", report)
    assert [problem.code for problem in caught.value.problems] == [problem.code for problem in report] != []
    assert str(caught.value) == "\n\n".join([*map(render, report), summary(report)])
    shown, more, _ = command("check", "bad.net").err.rpartition("for more: ")
    assert more
    assert str(caught.value) == shown.removesuffix("\n")
    assert all(isinstance(problem, netdsl.Problem) for problem in caught.value.problems)


def test_an_error_has_repairs_that_were_tried() -> None:
    text = "net bad { input x 1x8x8; skip { conv 3x3 8 stride 2 } }"
    with pytest.raises(netdsl.NetError) as caught:
        netdsl.parse(text)
    (problem,) = caught.value.problems
    assert problem.verified_fixes


@pytest.mark.parametrize(
    ("text", "code"),
    [("net \ud800 {}", "E0605"), ("net a\0b {}", "E0605"), ("#" * 2_000_001, "E0604"), ("é" * 1_000_001, "E0604")],
    ids=["surrogate", "NUL", "long", "long in bytes"],
)
def test_a_text_has_the_bounds_of_a_file(text: str, code: str) -> None:
    with pytest.raises(netdsl.UserError) as caught:
        netdsl.parse(text)
    assert caught.value.code == code
    assert str(caught.value).startswith(f"error[{code}]: <string> ")


def test_a_missing_file_is_a_user_error() -> None:
    with pytest.raises(netdsl.UserError, match="did you mean `resnet`"):
        netdsl.load("resnt")
    with pytest.raises(netdsl.UserError, match="has no network `b`"):
        netdsl.load("lenet5:b")


def test_doubts_are_warnings_that_point_at_the_call() -> None:
    text = "net odd { input x 784; side: dense 5; from x; dense 10 }"
    with pytest.warns(netdsl.NetWarning) as caught:
        netdsl.parse(text)
    assert [str(found.message) for found in caught] == ["<string>:1:30: warning[W0201]: `side` reaches no output"]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", netdsl.NetWarning)
        with pytest.raises(netdsl.NetWarning):
            netdsl.parse(text)


def test_in_a_notebook_nothing_of_the_user_is_markup(tmp_path: Path) -> None:
    name = str(tmp_path / "<script>&.net")
    net = netdsl.parse(TINY, name=name)
    with pytest.raises(netdsl.NetError) as caught:
        netdsl.parse('net n { input x 4; dense "<script>" }', name=name)
    assert "<script" not in net.summary()._repr_mimebundle_()["text/html"]
    for shown in (net, caught.value):
        bundle = shown._repr_mimebundle_()
        assert bundle.keys() == {"text/plain", "text/html"}
        assert "<script" not in bundle["text/html"]
        assert shown._repr_mimebundle_(include={"text/plain"}).keys() == {"text/plain"}
        assert shown._repr_mimebundle_(exclude={"text/plain"}).keys() == {"text/html"}
    assert caught.value._repr_mimebundle_()["text/plain"] == str(caught.value)
    assert "&lt;script&gt;&amp;.net" in caught.value._repr_mimebundle_()["text/html"]


def test_a_notebook_shows_the_layers_and_not_ten_thousand_rows() -> None:
    html = netdsl.load("lenet5")._repr_mimebundle_()["text/html"]
    assert html.startswith("<svg")
    assert "<details><summary>net lenet5: 14 layers</summary>" in html
    assert "<td>conv1</td><td>conv 5x5 6 pad 2 init xavier_uniform</td><td>6x28x28</td><td>156</td>" in html
    assert "conv1" in netdsl.load("lenet5").draw().svg
    deep = netdsl.parse("net deep { input x 4; repeat 5000 { dense 4; relu } }")
    html = deep._repr_mimebundle_()["text/html"]
    assert html.count("<tr>") == 202
    assert "… 9,801 more" in html


# Models --------------------------------------------------------------------------------------------------------------

COMPILED = {
    "plain": ([], {}),
    "numbers": (["--seed", "7", "--batch", "2", "--opset", "18"], {"seed": 7, "batch": 2, "opset": 18}),
    "half": (["--dtype", "f16", "--io", "f16"], {"dtype": "f16", "io": "f16"}),
    "metadata": (["--metadata", "made=today"], {"metadata": {"made": "today"}}),
    "weights": (["--weights", MNIST / "lenet5.safetensors"], {"weights": MNIST / "lenet5.safetensors"}),
}


@pytest.mark.parametrize("case", COMPILED)
def test_a_model_is_what_the_command_writes(case: str, command: Commands) -> None:
    options, arguments = COMPILED[case]
    net = netdsl.load("lenet5")
    ran = command("compile", "lenet5", "-o", "command.onnx", *options)
    assert ran.code == 0, ran
    net.save("api.onnx", **arguments)
    written = Path("command.onnx").read_bytes()
    assert Path("api.onnx").read_bytes() == written
    model = net.to_onnx(**arguments)
    onnx.checker.check_model(model, full_check=True)
    assert model == onnx.load_model_from_string(written)


def weights_of(net: netdsl.Net, **arguments: Any) -> dict[str, np.ndarray[Any, Any]]:
    model = net.to_onnx(**arguments)
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name in net.parameters}


def test_weights_are_a_path_or_a_mapping(tmp_path: Path) -> None:
    net = netdsl.parse(TINY)
    weights = weights_of(net, seed=5)
    np.savez(tmp_path / "w.npz", **weights)
    others: list[Any] = [
        weights,
        {name: array.astype("f8") for name, array in weights.items()},
        {name: array.astype(">f4") for name, array in weights.items()},
        {name: array.tolist() for name, array in weights.items()},
        {**weights, "bn.num_batches_tracked": np.int64(3)},
        tmp_path / "w.npz",
        str(tmp_path / "w.npz"),
    ]
    for other in others:
        for name, array in weights_of(net, weights=other).items():
            np.testing.assert_array_equal(array, weights[name])


W, B = np.zeros((3, 4), "f4"), np.zeros(3, "f4")


@pytest.mark.parametrize(
    ("weights", "code", "said"),
    [
        ({"dense1.weight": W}, "E0702", "1 missing:\n    dense1.bias 3"),
        ({"dense1.weight": W.T, "dense1.bias": B}, "E0702", "dense1.weight is 4x3 (transposed)"),
        ({"dense1.weight": W, "dense1.bias": B, "x": B}, "E0702", "1 unexpected:\n    x 3"),
        ({"dense1.weight": W.astype("i4"), "dense1.bias": B}, "E0703", "`dense1.weight` is int32"),
        ({"dense1.weight": W, "dense1.bias": B + np.nan}, "E0704", "3 of 3 values of `dense1.bias` are NaN"),
        ({"dense1.weight": W, "dense1.bias": [[1], 2]}, "E0803", "dense1.bias is list, not an array"),
        ({"dense1.weight": W, 3: B}, "E0703", "names of weights are strings, not 3"),
        ("no\x1b[31m.npz", "E0601", "there is no file no\\x1b[31m.npz"),
    ],
)
def test_weights_that_do_not_fit(weights: Any, code: str, said: str) -> None:
    net = netdsl.parse(TINY)
    for use in (net.to_onnx, net.session):
        with pytest.raises(netdsl.UserError) as caught:
            use(weights=weights)
        assert caught.value.code == code
        assert said in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"seed": 2**63}, {"batch": 0}, {"batch": 2**31}, {"opset": 16}, {"opset": 27}],
    ids=str,
)
def test_numbers_have_bounds(wrong: dict[str, int]) -> None:
    ((name, _),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} must be an integer from"):
        netdsl.parse(TINY).to_onnx(**wrong)
    with pytest.raises(TypeError, match=f"{name} must be an integer from"):
        netdsl.parse(TINY).to_onnx(**{name: 1.5})  # type: ignore[arg-type]


@pytest.mark.parametrize("metadata", ["author", ["author"], {1: "a"}, {"a": 1}], ids=str)
def test_metadata_are_texts(metadata: Any) -> None:
    with pytest.raises(TypeError, match=r"metadata is a mapping from keys to texts, not "):
        netdsl.parse(TINY).to_onnx(metadata=metadata)


@pytest.mark.parametrize("name", ["names", "net", "external_data", "quantize", "stacklevel"])
def test_unexpected_keywords(name: str) -> None:
    net = netdsl.parse("net n { input x 3; dense 2 }")
    for method in (net.to_onnx, net.session):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            method(**{name: 1})


def test_precisions_have_names() -> None:
    net = netdsl.parse(TINY)
    for wrong in ({"dtype": "float16"}, {"dtype": "f16", "io": "f64"}, {"io": "f16"}):
        with pytest.raises(ValueError, match=r"(dtype|io) is 'f32' or 'f16', not|io='f16' goes with dtype='f16'"):
            net.to_onnx(**wrong)  # type: ignore[arg-type]
    x = np.ones((2, 4), "f4")
    whole, half = (net.session(dtype=dtype)(x=x)["output"] for dtype in ("f32", "f16"))
    np.testing.assert_allclose(half, whole, atol=1e-2)
    assert half.dtype == np.float32
    assert (half != whole).any()


# Saving --------------------------------------------------------------------------------------------------------------


def test_a_file_of_somebody_else_stays(tmp_path: Path) -> None:
    net, path = netdsl.parse(TINY), tmp_path / "m.onnx"
    path.write_bytes(b"precious")
    with pytest.raises(netdsl.UserError) as caught:
        net.save(path)
    assert (caught.value.code, caught.value.helps) == (
        "E0611",
        ("choose another file, or overwrite this one with force=True",),
    )
    assert path.read_bytes() == b"precious"
    net.save(path, force=True)
    first = path.read_bytes()
    net.save(path, seed=1)
    assert path.read_bytes() != first


def test_weights_may_lie_beside_the_model(command: Commands) -> None:
    options = ["--external-data", "--metadata", "made=today"]
    assert command("compile", "lenet5", "-o", "model.onnx", *options).code == 0
    written = {name: (command.folder / name).read_bytes() for name in ("model.onnx", "model.onnx.data")}
    netdsl.load("lenet5").save("model.onnx", external_data=True, metadata={"made": "today"})
    assert {path.name: path.read_bytes() for path in command.folder.iterdir()} == written
    (command.folder / "model.onnx.data").write_bytes(b"precious")
    with pytest.raises(netdsl.UserError, match=r"model\.onnx\.data exists[^$]*force=True"):
        netdsl.load("lenet5").save("model.onnx", external_data=True)
    with pytest.raises(netdsl.UserError, match="netdsl's own"):
        netdsl.load("lenet5").save("other.onnx", metadata={"netdsl.version": "0"})


def test_nothing_is_left_where_saving_fails(tmp_path: Path) -> None:
    net, path = netdsl.parse(TINY), tmp_path / "m.onnx"
    with pytest.raises(netdsl.UserError):
        net.save(path, weights={"dense1.weight": W})
    with pytest.raises(ValueError, match="opset"):
        net.save(path, opset=3)
    with pytest.raises(netdsl.UserError, match="E0606"):
        net.save(tmp_path / "no" / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_not_written(tmp_path: Path) -> None:
    net = netdsl.parse(TINY)
    np.savez(tmp_path / "w.npz", **weights_of(net))
    (tmp_path / "tiny.net").write_text(TINY)
    cases: list[tuple[netdsl.Net, str, dict[str, Any]]] = [
        (net, "w.npz", {"weights": tmp_path / "w.npz"}),
        (netdsl.load(tmp_path / "tiny.net"), "tiny.net", {}),
    ]
    for each, name, arguments in cases:
        before = (tmp_path / name).read_bytes()
        with pytest.raises(netdsl.UserError, match="E0613"):
            each.save(tmp_path / name, force=True, **arguments)
        assert (tmp_path / name).read_bytes() == before


def test_a_dash_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    netdsl.parse(TINY).save("-")
    assert (tmp_path / "-").stat().st_size


# Sessions ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lenet() -> netdsl.Session:
    return netdsl.load("lenet5").session(weights=MNIST / "lenet5.safetensors")


def test_a_session_computes_what_onnxruntime_does(lenet: netdsl.Session) -> None:
    model = netdsl.load("lenet5").to_onnx(weights=MNIST / "lenet5.safetensors").SerializeToString()
    plain = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28))
    (wanted,) = plain.run(None, {"image": images.astype("f4")})
    kinds: list[Any] = [images.astype(kind) for kind in ("f4", "f8", "u1", "i8", ">f4", "i8")]
    kinds += [np.asfortranarray(images.astype("f4")), images.astype("f4")[::-1][::-1], images.tolist()]
    kinds[3] = images  # signed bytes do not hold a pixel
    for given in kinds:
        found = lenet(image=given)
        assert found.keys() == {"output"}
        np.testing.assert_array_equal(found["output"], wanted)
    assert repr(lenet) == "<session of lenet5 on cpu>"
    assert (lenet.inputs["image"].shape, lenet.outputs["output"].shape) == ((1, 28, 28), (10,))


def test_threads_share_a_session(lenet: netdsl.Session) -> None:
    batches = [np.random.default_rng(n).random((3, 1, 28, 28)) * 255 for n in range(40)]
    wanted = [lenet(image=batch)["output"] for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for found, alone in zip(pool.map(lambda batch: lenet(image=batch)["output"], batches), wanted, strict=True):
            np.testing.assert_allclose(found, alone, rtol=1e-5)


def test_inputs_of_several_types() -> None:
    runs = netdsl.parse(SYMBOLIC).session(batch=2, threads=1)
    found = runs(image=np.zeros((2, 3, 9, 8), "u1"), ids=[[1, 2, 3, 4, 5]] * 2)
    assert (found["y"].shape, found["y"].dtype) == ((2, 8, 5, 4), np.float32)
    assert (found["same"].tolist(), found["same"].dtype) == ([[1, 2, 3, 4, 5]] * 2, np.int64)


@pytest.mark.parametrize(
    ("shape", "dtype", "code", "said"),
    [
        ((1, 28, 28), "f4", "E0813", "but the first axis must be the batch\n  = help: one example is a batch of 1"),
        ((28, 28), "f4", "E0813", "input `image` requires float32 ?x1x28x28, but got float32 28x28"),
        ((), "f4", "E0813", "got float32 a single number"),
        ((2, 1, 28, 27), "u1", "E0813", "but got float32 2x1x28x27"),
        ((2, 1, 28, 28), "c16", "E0803", "contains complex128, but the input takes float32"),
        ((2, 1, 28, 28), "O", "E0803", "contains Python objects"),
        ((2, 1, 28, 28), "U3", "E0803", "contains <U3"),
    ],
)
def test_arrays_that_do_not_fit(
    shape: tuple[int, ...], dtype: str, code: str, said: str, lenet: netdsl.Session
) -> None:
    with pytest.raises(netdsl.UserError) as caught:
        lenet(image=np.zeros(shape, dtype))
    assert caught.value.code == code
    assert said in str(caught.value)


def test_values_that_do_not_fit() -> None:
    embed = netdsl.parse("net n { input ids 2 dtype i64; embedding 7 8; output y }").session()
    for array, said in [
        (np.full((3, 2), 1.0), "ids contains float64, but the input takes int64"),
        (np.array([[1, 2], [3, 2**63]], "u8"), "ids[1] contains 9223372036854775808, which is out of range for int64"),
        ([[1, 2], [3]], "ids is list, not an array"),
    ]:
        with pytest.raises(netdsl.UserError) as caught:
            embed(ids=array)
        assert (caught.value.code, said in str(caught.value)) == ("E0803", True)


@pytest.mark.parametrize("inputs", [{}, {"img": 3}, {"image": np.zeros((1, 1, 28, 28)), "more": 3}], ids=str)
def test_inputs_have_their_names(inputs: dict[str, Any], lenet: netdsl.Session) -> None:
    with pytest.raises(netdsl.UserError, match="lenet5 requires image, but got "):
        lenet(**inputs)


def test_an_absent_provider_is_told() -> None:
    with pytest.raises(netdsl.UserError, match=r"E08\d\d.*abacus"):
        netdsl.parse(TINY).session(provider="abacus")
    with pytest.raises(ValueError, match="threads must be an integer from 1"):
        netdsl.parse(TINY).session(threads=0)


def test_a_fallback_is_an_error_unless_it_is_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Runtime:
        """Leaves something to the CPU."""

        provider, fallback, inputs = "abacus", "1 of 3 nodes", ()

        def __init__(self, model: bytes, *, allow_fallback: bool, **_: Any) -> None:
            if not allow_fallback:
                raise session.FellBack("abacus leaves 1 of 3 nodes to the CPU", "--allow-fallback permits it")

    monkeypatch.setattr(session, "Session", Runtime)
    net = netdsl.parse(TINY)
    with pytest.raises(netdsl.UserError) as caught:
        net.session(provider="abacus")
    assert (caught.value.code, caught.value.helps) == ("E0815", ("allow_fallback=True permits it",))
    assert net.session(provider="abacus", allow_fallback=True).fallback == "1 of 3 nodes"


# The zoo -------------------------------------------------------------------------------------------------------------


def test_the_zoo_is_a_mapping_of_all_that_is_shipped() -> None:
    assert len(netdsl.zoo) == len(list(netdsl.zoo)) > 50
    shipped = "".join(path.read_text("utf-8") for path in (ROOT / "specs").glob("*.net"))
    assert sorted(netdsl.zoo) == sorted(re.findall(r"^net\s+(\w+)", shipped, re.MULTILINE))
    entry = netdsl.zoo["resnet50"]
    assert (entry.name, entry.file, entry.year) == ("resnet50", "resnet.net", 2015)
    assert entry.paper == "Deep Residual Learning for Image Recognition"
    assert entry.authors.startswith("K. He")
    assert entry.params == sum(np.prod(p.shape) for p in entry.load().parameters.values() if not p.buffer)
    assert entry.load(classes=3).outputs["output"].shape == (3,)
    assert "nothing" not in netdsl.zoo
    assert netdsl.zoo.get("nothing") is None
    with pytest.raises(KeyError, match="did you mean 'resnet50'"):
        netdsl.zoo["resnt50"]


# The package ---------------------------------------------------------------------------------------------------------


def ran(code: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_is_light_and_so_is_loading() -> None:
    ran("import sys, netdsl; assert [m for m in sys.modules if m.startswith('netdsl')] == ['netdsl']")
    code = "import sys, netdsl; netdsl.load('lenet5').layers; netdsl.zoo['xor'].year"
    ran(f"{code}; assert not sys.modules.keys() & {{'numpy', 'onnx', 'onnxruntime', 'PIL'}}")


def test_a_recurrent_layer_is_the_first_that_a_process_compiles() -> None:
    ran("import netdsl; netdsl.parse('net n { input x 5x7; lstm 4 }').session()")


def test_the_names_are_there_before_they_are_used() -> None:
    code = "import netdsl; assert set(netdsl.__all__) <= set(dir(netdsl)); [getattr(netdsl, n) for n in netdsl.__all__]"
    ran(code)
    ran("from netdsl import *; assert parse and load and zoo")
    ignored = {"VERSION", "annotations", *vars(ModuleType("")), "__builtins__", "__cached__", "__file__", "__path__"}
    found = {name for name, value in vars(netdsl.api).items() if not isinstance(value, ModuleType)}  # type: ignore[attr-defined]
    assert found - ignored == set(netdsl.__all__)
    with pytest.raises(AttributeError, match="module 'netdsl' has no attribute 'resnet'"):
        _ = netdsl.resnet  # type: ignore[attr-defined]
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", netdsl.__version__)


USER = """
import netdsl
import numpy as np
import onnx

net: netdsl.Net = netdsl.load("resnet", depth=101, wide=True, rates=[0.5, 1], block="basic")
model: onnx.ModelProto = net.to_onnx(weights={"w": np.zeros(3)}, batch=None)
shape: tuple[int | str, ...] = net.inputs["image"].shape
names: list[str] = [layer.name for layer in net.layers]
totals: dict[str, int | str] = net.summary(batch=2).totals
session: netdsl.Session = net.session(provider="cpu", weights="w.npz")
y: np.ndarray = session(image=[[1, 2], [3, 4]])["y"]
year: int = netdsl.zoo["resnet50"].year
version: str = netdsl.__version__
try:
    netdsl.parse("", name="x")
except netdsl.NetError as error:
    codes: list[str] = [problem.code for problem in error.problems]
except netdsl.UserError as error:
    code: str = error.code
net.save("m.onnx", force=True)
picture: netdsl.Picture = net.draw("net.svg", unfold=True)
trained: netdsl.Trained = net.fit([[1.0]], [0], epochs=3, loss={"y": "mse"}, lr=0.1, validate=0.1, threads=2)
steps: list[int] = trained.history.to_dict()["step"]
result: netdsl.Result = netdsl.evaluate(net, ([1], [0]), weights="w.npz", labels=["a", "b"])
attacked: netdsl.Result = net.attack(data=([1], [0]), epsilon=[0, 0.1])
change: np.ndarray = net.attack([1], "cat", epsilon=0.1).adversarial
rows: netdsl.Table = netdsl.compare(net, "lenet5")
problems: list[netdsl.Problem] = netdsl.check("a.net")
probabilities: np.ndarray = session.predict([[1, 2]], batch=7)["y"]
"""
MISUSES = [
    "netdsl.lod('x')",
    "netdsl.load(3)",
    "netdsl.load('x', depth=None)",
    "net.to_onnx(7)",
    "net.to_onnx(dtype='f8')",
    "net.save()",
    "net.fit([1], [0], epoks=3)",
    "net.attack()",
    "netdsl.evaluate(net, match='size')",
    "netdsl.weights('w.npz')",
]


def test_a_type_checker_sees_the_api(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER + "".join(f"{line}  # wrong\n" for line in MISUSES))
    options = ["--strict", "--no-incremental", "--config-file=", "--disable-error-code=type-arg"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(tmp_path / "user.py")], cwd=ROOT, capture_output=True, text=True
    )
    first = USER.count("\n") + 1
    found = {int(line) for line in re.findall(r"user\.py:(\d+): error", done.stdout)}
    assert found == set(range(first, first + len(MISUSES))), done.stdout + done.stderr


# Documentation -------------------------------------------------------------------------------------------------------


def test_the_examples_of_the_docstrings() -> None:
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    names = [name for name in netdsl.__all__ if callable(getattr(netdsl, name))]
    tests = [
        test
        for name in names
        for test in finder.find(getattr(netdsl, name), name, module=False, globs={"netdsl": netdsl})
    ]
    assert sum(bool(test.examples) for test in tests) >= 6
    for test in tests:
        runner.run(test)
    assert runner.summarize().failed == 0


def test_the_page_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python` blocks are executed, `pycon` blocks print what they say; all in one namespace, in order."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    shutil.copytree(MNIST, tmp_path / "examples" / "mnist")
    monkeypatch.chdir(tmp_path)
    digits = np.random.default_rng(0).integers(0, 256, (64, 1, 28, 28)), np.arange(64) % 10
    names: dict[str, Any] = dict(zip(("x", "y", "x_test", "y_test"), 2 * digits, strict=True))
    blocks = FENCE.findall(PAGE.read_text("utf-8"))
    assert {kind for kind, _ in blocks} == {"python", "pycon"}
    assert PAGE.read_text("utf-8").count("```") == 2 * len(blocks)
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, str(PAGE), "exec"), names)
        else:
            runner = doctest.DocTestRunner()
            runner.run(doctest.DocTestParser().get_doctest(text, names, PAGE.name, str(PAGE), 0), clear_globs=False)
            assert runner.summarize().failed == 0, text
            names.update(runner.test.globs)


def test_weights_by_other_names(tmp_path: Path) -> None:
    net = netdsl.parse("net n { input x 2; fc: dense 3 }")
    weights = {"module.fc.weight": np.arange(6.0).reshape(3, 2), "module.fc.bias": np.ones(3)}
    expected = net.to_onnx(weights={key.removeprefix("module."): array for key, array in weights.items()})
    for how in ({"rename": {r"^module\.(.+)": "$1"}}, {"match": "order"}):
        assert net.to_onnx(weights=weights, **how) == expected
        net.save(tmp_path / "n.onnx", weights=weights, **how)
        assert onnx.load(tmp_path / "n.onnx") == expected
        found = net.session(weights=weights, **how)(x=np.ones((1, 2), "f4"))
        assert [array.tolist() for array in found.values()] == [[[2, 6, 10]]]
    for wrong in ({"q": "b"}, {"(": ""}, {"module": "$2"}):
        with pytest.raises(netdsl.UserError, match="rename"):
            net.to_onnx(weights=weights, rename=wrong)
    with pytest.raises(TypeError, match="rename is a mapping"):
        net.to_onnx(weights=weights, rename=["module"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="go with weights"):
        net.to_onnx(rename={"a": "b"})
    with pytest.raises(ValueError, match="match is 'name' or 'order', not 'size'"):
        net.to_onnx(weights=weights, match="size")


def test_weights_of_any_value_are_taken_if_asked_for(tmp_path: Path) -> None:
    net = netdsl.parse("net n { input x 2; fc: dense 2 }")
    weights = {"fc.weight": np.float32([[np.inf, 0], [0, 1]]), "fc.bias": np.float32([0, np.nan])}
    np.savez(tmp_path / "w.npz", **weights)
    for source in (weights, tmp_path / "w.npz"):
        for make in (net.to_onnx, net.session, functools.partial(net.save, tmp_path / "n.onnx")):
            with pytest.raises(netdsl.UserError, match="are NaN or infinite") as caught:
                make(weights=source)
            assert "allow_nonfinite=True" in str(caught.value)
        found = net.to_onnx(weights=source, allow_nonfinite=True)
        net.save(tmp_path / "n.onnx", weights=source, allow_nonfinite=True)
        assert onnx.load(tmp_path / "n.onnx") == found
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.graph.initializer}
        assert all(np.array_equal(values[key], weights[key], equal_nan=True) for key in weights)
        (output,) = net.session(weights=source, allow_nonfinite=True)(x=np.ones((1, 2), "f4")).values()
        assert np.array_equal(output, [[np.inf, np.nan]], equal_nan=True)
    with pytest.raises(TypeError, match="allow_nonfinite go with weights"):
        net.to_onnx(allow_nonfinite=True)


def test_weights_are_dropped_and_transposed_before_they_are_renamed() -> None:
    net = netdsl.parse("net n { input x 2; fc: dense 2 }")
    weights = {"a.w": np.float32([[1, 2], [3, 4]]), "a.bias": np.float32([5, 6]), "a.mask": np.ones(3)}
    rules: dict[str, Any] = {"drop": ["mask"], "transpose": [r"a\.w"], "rename": {"^a": "fc", "w$": "weight"}}
    found = net.to_onnx(weights=weights, **rules)
    values = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in found.graph.initializer}
    assert values == {"fc.weight": [[1, 3], [2, 4]], "fc.bias": [5, 6]}
    with pytest.raises(netdsl.UserError, match=r"drop 'none' changes no name of the mapping"):
        net.to_onnx(weights=weights, drop=["none"])
    with pytest.raises(TypeError, match="transpose is a collection of patterns, not 'a'"):
        net.to_onnx(weights=weights, transpose="a")
    with pytest.raises(TypeError, match="drop, match, exclude, partial and allow_nonfinite go with weights"):
        net.to_onnx(drop=["a"])


def test_a_training_begins_with_weights_of_any_value_if_asked_for(tmp_path: Path) -> None:
    """A negative variance of a running average is out of use at once, and taken."""
    path = tmp_path / "n.net"
    path.write_text(
        "net n { input x 2; bn; dense 2 }\n"
        "train n { data xor; loss cross_entropy; optimizer sgd lr 0.1; batch 4; steps 1 }"
    )
    x, y = np.float32([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    weights = {key: np.ones(p.shape, "f4") for key, p in netdsl.load(path).parameters.items()}
    weights["bn1.running_var"] = np.float32([1, -1])
    with pytest.raises(netdsl.UserError, match="1 of 2 variances"):
        netdsl.fit(path, data=(x, y), weights=weights)
    assert len(netdsl.fit(path, data=(x, y), weights=weights, allow_nonfinite=True).history) == 1
