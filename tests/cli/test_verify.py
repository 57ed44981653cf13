"""`netdsl verify` and `netdsl.verify`: text, JSON, files and exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdsl as package
from netdsl.app.verify import checks
from netdsl.app.verify.outcome import Outcome, Verified
from netdsl.app.verify.tools import AGAINST
from netdsl.cli.options import options_of
from netdsl.cli.values import checks as checks_of
from netdsl.cli.values import runtimes
from tests.support.cli_tools import Commands, netdsl
from tests.support.inline_jobs import Inline
from tests.support.onnx_models import model, n
from tests.support.paths import ROOT

__all__ = ["netdsl"]

NET = "net tiny { input x 4; dense 3; tanh; dense 2 }"


@pytest.fixture
def there(netdsl: Commands, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Commands:
    if request.node.name != "test_the_report":
        monkeypatch.setattr(checks, "Child", Inline)
    netdsl.write(tiny=NET)
    np.save("x.npy", np.random.default_rng(0).standard_normal((40, 4), np.float32))
    return netdsl


def test_the_report(there: Commands) -> None:
    """Figures differ between machines and versions."""
    ran = there("verify", "tiny.net", "--data", "x.npy", "--against", "reference", "-o", "report.json")
    assert ran.code == 0, ran
    masked = re.sub(r" ok +(\d\.\de-\d\d|0) ", " ok # ", ran.out)
    masked = re.sub(r"in dense\d\.\w+| for (data|random) inputs", "", masked)
    assert [line.split() for line in masked.splitlines()] == [line.split() for line in REPORT.splitlines()]
    assert ran.err == "tiny: using random weights (seed 0); pass --weights FILE to load trained ones\n"
    report = json.loads(Path("report.json").read_text())
    assert (report["schema"], report["name"], report["file"]) == ("netdsl.verify/1", "tiny", "tiny.net")
    assert (report["weights"], report["verdict"]) == (None, "ok")
    assert report["counts"] == {"ok": 17, "failed": 0, "skipped": 1}
    assert report["versions"].keys() >= {"onnx", "onnxruntime", "numpy"}
    lines = ran.out.splitlines()[1:]
    for line, each in zip(lines, report["checks"], strict=True):
        assert [*each] == [*Outcome._fields]
        assert line.split()[0] == each["check"]
        assert each["verdict"] == "skipped" or each["measured"] is None or each["measured"] <= each["bound"]


REPORT = """\
tiny: 17 ok, 0 failed, 1 skipped
  checker    opset 17       ok
  checker    opset 21       ok
  checker    opset 26       ok
  shapes     declared       ok
  shapes     inferred       ok
  opsets     17 against 21  ok       #  <= 1.0e-04
  opsets     26 against 21  ok       #  <= 1.0e-04
  optimizer  onnxruntime    ok       #  <= 1.0e-04
  batch      1 against 4    ok       #  <= 1.0e-04
  runtimes   reference      ok       #  <= 1.0e-04
  gradients  plain          ok       #  <= 1.0e-03  ; 4 tensors, 12 differences
  gradients  nchwc          skipped                 the net has no convolutions
  f16        error          ok       #  <= 1.0e-02
  f16        first class    ok       #  <= 1.0e-01  of 32 examples
  int8       error          ok       #  <= 2.0e-01
  int8       first class    ok       #  <= 1.0e-01  of 32 examples
  import     proof          ok       #  <= 1.0e-06  4 layers
  import     outputs        ok       #  <= 1.0e-04
"""
"""The report without its figures and the places of the largest differences."""


def test_the_schema_of_the_page_is_that_of_the_report() -> None:
    found = Verified(name="n", file="n.net", weights=None, outcomes=[Outcome("a", "b", "ok")], versions={})
    page = (ROOT / "docs" / "verify.md").read_text("utf-8").partition("## JSON")[2]
    keys = [key for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)]
    assert keys == [*found.data(), *Outcome._fields]


def test_the_page_has_every_check_option_and_runtime() -> None:
    page = (ROOT / "docs" / "verify.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \| [a-z]", page.partition("### Bounds")[0], re.MULTILINE) == [*checks.CHECKS]
    own = [option for option in options_of("verify") if option.commands == ["verify"] and option.names]
    missing = {option.names[-1] for option in own if option.names[-1] not in page} - {"--output", "--seed", "--force"}
    assert missing == set()
    assert checks_of(",".join(checks.CHECKS)) == (*checks.CHECKS,)
    assert runtimes("tract,reference,tract") == ("tract", "reference")
    assert {"reference", "openvino", "tract", "cuda"} <= {*AGAINST}


def test_a_broken_bound_ends_with_1(there: Commands) -> None:
    ran = there("verify", "tiny.net", "--only", "f16", "--f16-tolerance", "1e-9", "-o", "r.json")
    assert ran.code == 1
    assert ran.out.startswith("tiny: 0 ok, 1 failed, 0 skipped\n  f16  error  failed ")
    assert json.loads(Path("r.json").read_text())["verdict"] == "failed"
    ran = there("verify", "tiny.net", "--only", "f16", "--f16-tolerance", "1e-9", "--format", "json")
    assert (ran.code, json.loads(ran.out)["counts"]) == (1, {"ok": 0, "failed": 1, "skipped": 0})
    ran = there("verify", "tiny.net", "--only", "f16", "--f16-tolerance", "1e-9", "--format", "github")
    assert (ran.code, ran.out.splitlines()[-1].startswith("::error title=verify f16 error::f16 error failed ")) == (
        1,
        True,
    )


def test_what_is_skipped_is_no_pass(there: Commands) -> None:
    ran = there("verify", "tiny.net", "--only", "int8", "--format", "json")
    assert (ran.code, json.loads(ran.out)["verdict"]) == (0, "skipped")


def test_what_is_skipped_fails_on_request(there: Commands) -> None:
    given = ("verify", "tiny.net", "--fail-on-skipped")
    ran = there(*given, "--only", "int8", "-o", "r.json", "--format", "github")
    assert (ran.code, json.loads(Path("r.json").read_text())["counts"]["skipped"]) == (1, 1)
    assert "--fail-on-skipped: not checked: int8 error; " in ran.err
    assert ran.out.splitlines()[-1].startswith("::error title=verify int8 error::int8 error skipped ")
    assert there(*given, "--only", "int8", "--data", "x.npy").code == 0
    assert there(*given, "--only", "f16,int8", "--skip", "int8").code == 0
    assert (
        there("verify", "tiny.net", "--fail-on-skip").err.splitlines()[-1].endswith("did you mean --fail-on-skipped?")
    )


def test_what_does_not_apply_fails_if_it_is_asked_for(there: Commands) -> None:
    model(Path("m.onnx"), [n("Relu", "x", "y")], {}, 4)
    others = "checker,shapes,runtimes,int8,import,batch"
    assert there("verify", "m.onnx", "--fail-on-skipped", "--skip", others).code == 0
    assert there("verify", "m.onnx", "--fail-on-skipped", "--skip", f"{others},optimizer").code == 1
    ran = there("verify", "m.onnx", "--fail-on-skipped", "--only", "optimizer,gradients")
    assert (ran.code, "not checked: gradients all; " in ran.err) == (1, True)
    ran = there("verify", "tiny.net", "--fail-on-skipped", "--only", "gradients", "--json")
    assert ran.code == 0
    assert [each["applies"] for each in json.loads(ran.out)["checks"]] == [True, False]  # it has no convolutions


def test_a_model_of_another_tool(there: Commands) -> None:
    model(Path("m.onnx"), [n("Relu", "x", "y")], {}, 4)
    ran = there("verify", "m.onnx", "--only", "optimizer,gradients")
    assert ran.code == 0
    assert [line.split()[:3] for line in ran.out.splitlines()[1:]] == [
        ["optimizer", "onnxruntime", "ok"],
        ["gradients", "all", "skipped"],
    ]
    Path("m.onnx").write_bytes(b"no model")
    ran = there("verify", "m.onnx", "--only", "checker,optimizer")
    assert ran.code == 1
    assert ran.out.startswith("m.onnx: 0 ok, 2 failed, 0 skipped\n")


WRONG = {
    "--only": ("--only nonsense", "'nonsense' is no check: there are checker, "),
    "--skip": ("--skip f16,f32", "'f32' is no check"),
    "--against": ("--against tensorflow", "'tensorflow' is no runtime: there are reference, openvino, tract, "),
    "no check": ("--only f16,int8 --skip int8,f16", "`only` and `skip` leave no check to do"),
    "--opset": ("--opset 17,99", "'99' is not an integer from 17 to 26"),
    "--tolerance": ("--tolerance -1", "is not a number of at least 0"),
    "--time-limit": ("--time-limit 0", "'0' is not a number above 0"),
    "--data": ("--data none.npy", "there is no file none.npy"),
    "its input": ("-o tiny.net --force", "tiny.net is an input of this command"),
    "a foreign file": ("-o other.json", "other.json exists and was not written by netdsl"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage(there: Commands, name: str) -> None:
    words, said = WRONG[name]
    Path("other.json").write_text('{"name": "other"}')
    ran = there("verify", "tiny.net", *words.split())
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert Path("other.json").read_text() == '{"name": "other"}'


def test_a_report_replaces_an_older_one(there: Commands) -> None:
    for _ in range(2):
        assert there("verify", "tiny.net", "--only", "int8", "-o", "r.json").code == 0


def test_options_of_a_net_are_not_for_a_model(there: Commands) -> None:
    model(Path("m.onnx"), [n("Relu", "x", "y")], {}, 4)
    ran = there("verify", "m.onnx", "--weights", "w.npz")
    assert (ran.code, "E0614" in ran.err) == (2, True)


def test_examples_that_do_not_fit_are_an_error(there: Commands) -> None:
    np.save("y.npy", np.zeros((3, 5), np.float32))
    ran = there("verify", "tiny.net", "--only", "f16", "--data", "y.npy")
    assert (ran.code, "E0802" in ran.err) == (1, True)


@pytest.mark.usefixtures("there")
def test_from_python() -> None:
    net = package.load("tiny.net")
    weights = {name: np.ones(each.shape, np.float32) for name, each in net.parameters.items()}
    data: Any = {"x": np.load("x.npy")}
    found = net.verify(only=["f16", "int8"], data=data, weights=weights)
    assert found["counts"] == {"ok": 4, "failed": 0, "skipped": 0}
    assert repr(found).startswith("tiny: 4 ok, 0 failed, 0 skipped\n  f16   error        ok ")
    assert package.verify("tiny.net", only=["int8"], weights=weights)["verdict"] == "skipped"
    model(Path("m.onnx"), [n("Relu", "x", "y")], {}, 4)
    assert package.verify("m.onnx", only=["optimizer"])["verdict"] == "ok"
    for given, wrong in (
        ({"only": ["nonsense"]}, ValueError),
        ({"against": "reference"}, TypeError),
        ({"tolerance": "1"}, TypeError),
        ({"time_limit": 0}, ValueError),
        ({"opsets": [99]}, ValueError),
        ({"frob": 1}, TypeError),
        ({"data": 3}, TypeError),
    ):
        with pytest.raises(wrong):
            net.verify(**given)
    with pytest.raises(ValueError, match="has its weights"):
        package.verify("m.onnx", weights=weights)
