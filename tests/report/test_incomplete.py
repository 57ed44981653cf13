"""Nets with errors: `summary` and `draw` show what precedes the first error, and say so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netdsl.app.draw import drawn
from netdsl.app.frontend import load_partial
from netdsl.base.text import Source
from netdsl.base.user_error import UserError
from netdsl.diagnostics.catalogue import problems
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import Library
from netdsl.elaborate.net import entry_net
from netdsl.ir.net import Net
from netdsl.report.figures import Figures
from netdsl.report.summary import summary_csv, summary_data, summary_markdown, summary_text
from netdsl.syntax.ast import Net as Definition
from tests.language.test_problems import GOLDEN, example
from tests.support.cli_tools import Commands, netdsl
from tests.support.paths import ROOT

__all__ = ["netdsl"]

BAD = """
net n(w = 4) {
  input image 3x8x8
  conv 3x3 w; relu
  skip { conv 3x3 w; bn }
  concat { conv 3x3 2 } { maxpool 3x3 stride 1 pad same; desne 3 }
  output y
  dense 10
}
"""


def built(text: str, name: str = "n.net") -> tuple[Net | None, Report]:
    report = Report()
    return load_partial(Source(name, text), report), report


@pytest.mark.parametrize(
    ("text", "layers", "place"),
    [
        (BAD, "image conv1 relu1 conv2 bn1 add1 conv3 maxpool1", "6:58"),
        ("net n { input x 4; tanh; expect 5; relu }", "x tanh1", "1:33"),  # not what is behind a wrong `expect`
        ("net n { input x 4; tanh; dense ((; relu }", "x tanh1", "1:26"),  # nor behind what does not parse
        ("net n { input x 4; tanh; default conv strid 2; relu }", "x tanh1", "1:39"),
        ("net n { input x 4; let a = 1 +; tanh; dense a; relu }", "x", "1:20"),
        ("net n { input x 4; let a = b; tanh; dense a; relu }", "x", "1:28"),
        ("net n { input x 4; dense 2 }\nlet a = b", "x dense1", None),  # an error elsewhere
        ("default desne bias off\nnet n { input x 4; dense 2 }", "", None),  # all layers may lack what was meant
        ("default dense bias (\nnet n { input x 4; dense 2 }", "", None),
        ("net n(a) { input x 4; dense a }", "", None),
        ("net n { tanh; input x 4 }", "", None),
        ("block b { tanh; desne 3 }\nnet n { input x 4; repeat 2 { b }; relu }", "x b1.tanh1", "1:17"),
        ("net m { input x 4; tanh; desne 3 }\nnet n { input x 4; m; relu }", "x m1.tanh1", "1:26"),
        ("net n { input x 4; repeat 2 { tanh }; repeat 1000000 { relu }; relu }", "x tanh1 tanh2", "1:46"),
    ],
)
def test_what_precedes_the_first_error_is_built(text: str, layers: str, place: str | None) -> None:
    net, report = built(text)
    assert report.errors
    assert (" ".join(node.name for node in net.nodes) if net else "") == layers
    assert net is None or str(net.incomplete) == (f"n.net:{place}" if place else "None")


def test_a_sound_net_is_complete_and_equals_what_precedes_an_error_at_its_end() -> None:
    for path in sorted((ROOT / "tests/difficult").glob("*.net")):
        text = path.read_text("utf-8")
        whole, report = built(text, path.name)
        assert whole is not None
        assert whole.incomplete is None
        assert not report.errors
        entry = entry_net(Library(Report()).load(Source(path.name, text), path.name), None)[1]
        assert isinstance(entry, Definition)
        brace = entry.body.span.end - 1
        part, report = built(f"{text[:brace]}\n  desne 1\n{text[brace:]}", path.name)
        assert part is not None
        assert report.errors == 1
        assert part.incomplete is not None
        layers = [(node.name, node.shape) for node in whole.nodes]  # without those that reach no output
        assert [each for node in part.nodes if (each := (node.name, node.shape)) in layers] == layers


def test_every_program_with_an_error_can_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {code: example(code, "fail") for code in problems() if code.startswith("E")}
    texts |= {path.name: path.read_text("utf-8") for path in GOLDEN}
    monkeypatch.chdir(tmp_path)
    shown = 0
    for name, text in texts.items():
        try:
            net, report = built(text, f"{name}.net")
        except UserError:
            continue
        if net is None or net.incomplete is None:
            continue
        shown += 1
        assert report.errors, name
        figures = Figures(net)
        summary_csv(figures)
        assert "incomplete" in summary_text(figures), name
        assert "incomplete" in summary_markdown(figures), name
        assert json.dumps(summary_data(figures)["incomplete"]), name
        if len(net.nodes) < 100:
            assert b"incomplete" in drawn(net, "dot"), name
            assert b"incomplete" in drawn(net, "svg"), name
    assert shown > len(texts) / 3


def test_summary_and_draw_mark_the_result_and_fail(netdsl: Commands) -> None:
    netdsl.write(n=BAD, sound="net sound { input x 4; dense 2; dropout 0.5; bn }")
    for form in ("text", "markdown", "json"):
        ran = netdsl("summary", "n.net", "--format", form)
        assert ran.code == 1
        assert "incomplete" in ran.out
        assert "maxpool" in ran.out
        assert "dense" not in ran.out.splitlines()[-1]
        assert "E0202" in (ran.out if form == "json" else ran.err)
    ran = netdsl("summary", "n.net", "--format", "csv")
    assert (ran.code, ran.out) == (1, "")
    ran = netdsl("draw", "n.net")
    assert ran.code == 1
    assert "n(w = 4), incomplete" in Path("n.svg").read_text("utf-8")
    assert "incomplete" in ran.err
    ran = netdsl("draw", "n.net", "--format", "json", "--force")
    assert json.loads(ran.out.splitlines()[-1])["incomplete"] == "n.net:6:58"
    for command in ("summary", "draw"):  # warnings as errors
        ran = netdsl(command, "sound.net", "--strict")
        assert (ran.code, ran.out) == (1, "")
    for command in ("compile", "run", "view", "weights"):  # what computes still refuses
        assert netdsl(command, "n.net", *(["x.npy"] if command == "run" else [])).code == 1
    assert not Path("n.onnx").exists()
