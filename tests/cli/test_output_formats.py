"""`--format`: one convention for results and problems, which every command follows."""

from __future__ import annotations

import csv
import io
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from netdsl.cli.commands import COMMANDS
from netdsl.cli.options import FORMATS
from tests.support.cli_tools import Commands, Ran, netdsl
from tests.support.inline_jobs import Inline
from tests.support.onnx_models import model, n
from tests.support.quick_profile import make_quick

__all__ = ["netdsl"]

FILES = {
    "good": "net good { input x 2; dense 3; relu; dense 2 }\n"
    "train good { data xor; loss cross_entropy; batch 4; epochs 2 }",
    "picture": "net picture { input x 1x6x6; conv 3x3 2; dense 2 }",
    "lm": "net lm { input tokens [4] dtype i64; embedding 5 5 }",
    "warned": "net warned { input x 3; output a { dense 2 }; dense 4 }",
    "wide": "net wide { input x 3;  dense 2 }",
    "bad": "net bad { input x 3; dens 2 }",
}
SUCCESS = {
    "init": "init fresh",
    "check": "check good.net warned.net",
    "fmt": "fmt wide.net",
    "summary": "summary warned.net",
    "draw": "draw warned.net",
    "compile": "compile warned.net",
    "import": "import model.onnx",
    "run": "run good.net x.npy",
    "train": "train good.net --out runs/a --threads 1 --step-backend plain",
    "eval": "eval good.net --data 'xor n 4'",
    "verify": "verify good.net --only shapes",
    "trace": "trace good.net",
    "attack": "attack picture.net image.npy --label 1 --range 0,1",
    "filters": "filters picture.net",
    "profile": "profile good.net",
    "generate": "generate lm.net --tokens 1 --length 3",
    "weights": "weights warned.net",
    "diff": "diff good.net warned.net",
    "compare": "compare good.net picture.net",
    "view": "view good.net --no-browser",
    "play": "play good.net --no-browser",
    "lsp": "lsp",
    "zoo": "zoo",
    "layers": "layers",
    "explain": "explain E0202",
    "docs": "docs cli",
    "devices": "devices",
    "completion": "completion bash",
}
"""A command line of each command that ends with exit code 0."""
MISSING = {
    "init": "init good",
    "run": "run good.net none.npy",
    "attack": "attack none.net image.npy --label 1",
    "diff": "diff good.net none.net",
    "zoo": "zoo show nonesuch",
    "layers": "layers cnov",
    "explain": "explain E9999",
    "docs": "docs trian",
    "devices": "devices --frob",
    "completion": "completion tcsh",
}
"""A command line of each command that ends with an error without a place in a text; of others, with a missing file."""
EXIT = b"".join(
    b"Content-Length: %d\r\n\r\n%b" % (len(message), message)
    for message in (b'{"jsonrpc": "2.0", "id": 1, "method": "shutdown"}', b'{"jsonrpc": "2.0", "method": "exit"}')
)
"""What an editor sends to end the language server."""
PROBLEM = {"code", "severity", "message"}
READ_NETS = {name for names, forms in FORMATS.items() for name in names.split() if "github" in forms} - {
    "eval",
    "fmt",
    "train",
}
INCOMPLETE = {"draw", "summary"}
"""Commands that show the layers before the first error of a net."""
WITHOUT_RESULT = {"check", "lsp"}
"""Commands whose results are problems, or messages of a protocol."""


@pytest.fixture
def there(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Files for all command lines, and a server that is interrupted at once."""
    make_quick(monkeypatch)
    netdsl.write(**FILES)
    model(netdsl.folder / "model.onnx", [n("Relu", "x", "y")], {}, 4)
    np.save("x.npy", np.zeros((3, 2), np.float32))
    np.save("image.npy", np.zeros((1, 6, 6), np.float32))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("netdsl.app.verify.checks.Child", Inline)
    monkeypatch.setattr("netdsl.cli.viewer.Viewer.serve_forever", interrupted)
    monkeypatch.setattr("netdsl.play.server.PlayServer.serve_forever", interrupted)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(EXIT)))
    return netdsl


def values(ran: Ran) -> list[dict[str, object]]:
    """The JSON values of stdout, one per line; those of an array."""
    found = [json.loads(line) for line in ran.out.splitlines()]
    return [each for value in found for each in (value if isinstance(value, list) else [value])]


def test_the_tables_have_every_command() -> None:
    assert SUCCESS.keys() == COMMANDS.keys()
    assert sorted(name for names in FORMATS for name in names.split()) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("option", ["--format json", "--json"])
def test_a_result_is_json_and_no_problem(there: Commands, name: str, option: str) -> None:
    if name == "view":
        pytest.importorskip("netron")
    ran = there(*shlex.split(SUCCESS[name]), *option.split())
    assert ran.code == 0, ran
    results = [each for each in values(ran) if not each.keys() >= PROBLEM]
    assert (results == []) == (name in WITHOUT_RESULT)
    for each in values(ran):
        assert each in results or each["severity"] == "warning"
        assert each not in results or "message" not in each


@pytest.mark.parametrize("name", COMMANDS)
def test_an_error_is_json_with_a_code(there: Commands, name: str) -> None:
    words = shlex.split(MISSING.get(name, f"{name} none.net"))
    plain = there(*words)
    ran = there(*words, "--format", "json")
    assert ran.code == plain.code == 2, ran
    (problem,) = values(ran)
    assert (problem["severity"], ran.err) == ("error", "")
    assert {*PROBLEM, "help"} == problem.keys()
    assert (plain.out, str(problem["message"]) in plain.err) == ("", True)
    assert problem["code"] == "E0666" or f"error[{problem['code']}]" in plain.err


@pytest.mark.parametrize("name", sorted(READ_NETS))
def test_errors_in_a_net_are_json_with_a_place(there: Commands, name: str) -> None:
    rest = {
        "run": ["x.npy"],
        "attack": ["image.npy", "--label", "1"],
        "diff": ["good.net"],
        "generate": ["--tokens", "1"],
    }.get(name, [])
    plain = there(name, "bad.net", *rest)
    ran = there(name, "bad.net", *rest, "--format=json")
    assert ran.code == plain.code == 1, ran
    assert (plain.out != "", ran.err) == (name == "summary", "")
    problem, *results = values(ran)
    assert (problem["code"], problem["file"], problem["line"]) == ("E0202", "bad.net", 1)
    assert [each["incomplete"] for each in results] == ["bad.net:1:22"] * (name in INCOMPLETE)


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_usage_is_json_too(there: Commands, name: str) -> None:
    plain = there(name, "--frob")
    for words in ([name, "--frob", "--json"], [name, "--format", "json", "--frob"], [name, "--format=json", "--frob"]):
        ran = there(*words)
        assert (ran.code, ran.err) == (plain.code, "") == (2, "")
        (problem,) = values(ran)
        assert problem["code"] == "E0666"
        assert plain.err.endswith(f": error: {problem['message']}\n")
        assert problem["help"][0]["message"].startswith(f"usage: netdsl {name} ")  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "form"),
    [(name, form) for names, forms in FORMATS.items() for name in names.split() for form in forms if form != "json"],
)
def test_every_form_of_a_result(there: Commands, name: str, form: str) -> None:
    """Text is the same as without the option; short and github change only problems; tables have equal rows."""
    if name == "view":
        pytest.importorskip("netron")
    words = shlex.split(SUCCESS[name])
    ran = there(*words, "--format", form)
    assert ran.code == 0, ran
    if form == "csv":
        rows = list(csv.reader(io.StringIO(ran.out)))
        assert len({len(row) for row in rows}) == 1 < len(rows)
    elif form == "markdown":
        rows = [line for line in ran.out.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in rows}) == 1 < len(rows)
    elif form == "github":
        assert [line for line in ran.out.splitlines() if line.startswith("::")] != [] or "warned.net" not in words


@pytest.mark.parametrize("form", ["short", "github"])
def test_an_error_without_a_place_in_other_formats(there: Commands, form: str) -> None:
    ran = there("check", "none,net", "good.net", "--format", form)
    lines = {
        "short": ("", "error[E0601]: there is no file none,net\n"),
        "github": (
            "::error title=error[E0601]::there is no file none,net\n",
            "",
        ),
    }
    assert (ran.code, (ran.out, ran.err)) == (2, lines[form])


def test_contradictory_formats(there: Commands) -> None:
    ran = there("summary", "good.net", "--json", "--format", "csv")
    assert (ran.code, values(ran)[0]["message"]) == (2, "--json and --format csv contradict each other")
    assert there("summary", "good.net", "--json", "--format", "json").code == 0


def test_a_file_on_stdout_is_alone_there(there: Commands) -> None:
    """Warnings and the record then go to stderr."""
    ran = there("draw", "warned.net", "-o", "-", "--format", "json")
    assert ran.code == 0
    assert ran.out.startswith("<svg")
    warning, record = map(json.loads, ran.err.splitlines())
    assert (warning["code"], record["file"]) == ("W0201", "-")


def test_records_of_written_files(there: Commands) -> None:
    (model,) = values(there("compile", "good.net", "--format", "json"))
    assert model == {
        "file": "good.onnx",
        "bytes": Path("good.onnx").stat().st_size,
        "parameters": 2 * 3 + 3 + 3 * 2 + 2,
        "nodes": 3,
        "opset": 21,
    }
    (model,) = values(there("compile", "good.net", "-o", "two.onnx", "--external-data", "--json"))
    assert model["data_bytes"] == Path("two.onnx.data").stat().st_size
    (step,) = values(there("compile", "good.net", "--training", "--json"))
    assert (step["file"], step["batch"], step["parameters"]) == ("good.step.onnx", 4, 17)
    (drawing,) = values(there("draw", "good.net", "--format", "json"))
    assert drawing == {"file": "good.svg", "bytes": Path("good.svg").stat().st_size, "layers": 4}
    (made,) = values(there("init", "fresh", "--json"))
    assert made == {"file": "fresh.net", "net": "fresh"}
    (copied,) = values(there("zoo", "copy", "lenet5", "--json"))
    assert copied == {"files": ["lenet5.net"]}
    (shown,) = values(there("zoo", "show", "lenet5", "--json"))
    assert shown == {"file": "lenet5.net", "text": Path("lenet5.net").read_text("utf-8")}


def test_quiet_leaves_warnings_out(there: Commands) -> None:
    assert len(values(there("summary", "warned.net", "--json"))) == 2
    (found,) = values(there("summary", "warned.net", "--json", "-q"))
    assert found["net"] == "warned"
    assert len(values(there("check", "warned.net", "--json", "-q"))) == 1
