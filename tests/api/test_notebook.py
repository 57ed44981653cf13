"""The cell magic, and how nets, results and errors are displayed in IPython."""

from __future__ import annotations

from typing import Any

import pytest

import netdsl

CELL = "net left { input x 4; dense 3 }\nnet right(n = 2) { input x 4; dense n }\n"


@pytest.fixture
def shell() -> Any:
    pytest.importorskip("IPython")
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(colors="nocolor")
    made.run_line_magic("load_ext", "netdsl")
    yield made
    InteractiveShell.clear_instance()


def test_a_cell_defines_its_nets(shell: Any) -> None:
    shown = shell.run_cell(f"%%net\n{CELL}").result
    assert {name: type(shell.user_ns[name]) for name in ("left", "right")} == {"left": netdsl.Net, "right": netdsl.Net}
    assert shown is shell.user_ns["right"]
    data, _ = shell.display_formatter.format(shown)
    assert data["text/plain"] == "<net right: 2 layers>"
    assert data["text/html"].startswith("<svg")
    assert "<details><summary>net right: 2 layers</summary>" in data["text/html"]
    assert "<td>dense1</td>" in data["text/html"]
    trained = shell.run_cell(
        "import numpy as np\nleft.fit(np.zeros((8, 4)), np.zeros(8, int), loss='cross_entropy', epochs=1)"
    ).result
    assert trained.net.name == "left"


def test_errors_of_a_cell_point_into_it(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ran = shell.run_cell("%%net mine.net\nnet left { input x 4; desne 3 }\n")
    assert isinstance(ran.error_in_exec, netdsl.NetError)
    out = capsys.readouterr().out
    assert "\x1b[1;31merror[E0202]\x1b[0m" in out
    assert "mine.net:1:23" in out
    assert "Traceback" not in out


def test_an_error_of_a_call_shows_the_line(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("import netdsl\nx = 1\nnetdsl.load('resnt')")
    out = capsys.readouterr().out
    assert "\x1b[1;31merror[E0601]\x1b[0m: there is no file resnt" in out
    assert "at line 3: netdsl.load('resnt')" in out


def test_pictures_and_tables_are_displayed(shell: Any) -> None:
    lenet = netdsl.load("lenet5")
    format_of = shell.display_formatter.format
    assert format_of(lenet.draw())[0].keys() == {"text/plain", "image/svg+xml"}
    table = netdsl.compare("lenet5", "vgg16")
    assert "<td>138,357,544</td>" in format_of(table)[0]["text/html"]
    assert format_of(table)[0]["text/plain"] == repr(table)
    problems = netdsl.check("net a { desne 3 }")
    assert "color:" in format_of(problems)[0]["text/html"]
