"""The lecture's experiments: their nets are clean, their pages tell what was measured, and it can be measured again.

The reduced forms run in seconds; the whole ones are slow: `pytest -m slow tests/cli/test_examples.py`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from netdsl.app.analyse import check_file
from netdsl.data.generated import Clouds
from netdsl.data.kinds import KINDS
from netdsl.data.spec import DataSpec, Target
from netdsl.diagnostics.report import Report
from tests.support.paths import ROOT
from tests.support.walkthrough import checkout, follow

EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(path.parent.name for path in EXAMPLES.glob("*/__main__.py"))
PAGES = sorted(EXAMPLES.rglob("README.md"))
NOTEBOOKS = sorted(EXAMPLES.rglob("*.ipynb"))
LINK = re.compile(r"\]\(([^)\s#]+)\)")
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


def program(name: str) -> ModuleType:
    return import_module(f"examples.{name}.__main__")


def rows(text: str) -> dict[str, list[str]]:
    """The lines of a table by what stands in their first columns; cells are two spaces apart."""
    lines = (re.split(r"\s{2,}", line.strip()) for line in text.splitlines())
    return {first: rest for first, *rest in lines if rest}


def page(name: str) -> dict[str, list[str]]:
    """The tables that a page tells as measured."""
    text = (EXAMPLES / name / "README.md").read_text("utf-8")
    return rows("\n".join(re.findall(r"^```(?:text|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)))


def quick(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    program(name).main(["--quick", "--threads", "1", "--out", str(folder / "runs")])
    return capsys.readouterr().out


def number(cell: str) -> float:
    found = NUMBER.search(cell)
    assert found, cell
    return float(found[0])


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.net")), ids=lambda path: path.stem)
def test_the_nets_are_clean(path: Path) -> None:
    report = Report()
    check_file(str(path), report)
    assert [problem.message() for problem in report] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(path.read_text("utf-8")):
        assert link.startswith("http") or (path.parent / link).exists(), link


def test_the_index_has_all() -> None:
    index = (EXAMPLES / "README.md").read_text("utf-8")
    listed = set(re.findall(r"^\| \[(\w+)\]", index, re.MULTILINE))
    assert listed == {path.parent.name for path in PAGES} - {"examples"}
    assert set(re.findall(r"`python -m examples\.(\w+)`", index)) == set(PROGRAMS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_listed_and_stored_without_outputs(path: Path) -> None:
    assert f"[{path.stem}]({path.name})" in (path.parent / "README.md").read_text("utf-8")
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    prose = "".join(line for cell in cells if cell["cell_type"] == "markdown" for line in cell["source"])
    for link in LINK.findall(prose):
        assert (path.parent / link).exists(), link


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(path, 4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    shown = {kind for cell in code for output in cell.outputs for kind in output.get("data", ())}
    assert "text/html" in shown


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_reduced_form_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = quick(name, tmp_path, capsys)
    assert len(rows(printed)) >= 3
    (picture,) = re.findall(r"\S+\.svg", printed)
    assert Path(picture).read_text("utf-8").startswith("<svg")


def test_a_second_call_finds_the_work_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = quick("xor", tmp_path, capsys)
    made = {path: path.read_bytes() for path in tmp_path.rglob("speed.csv")}
    assert made
    assert quick("xor", tmp_path, capsys) == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("speed.csv")} == made


@pytest.mark.parametrize("margin", [0.2, 0.05])
def test_the_perceptron_makes_no_more_mistakes_than_the_theorem_allows(margin: float) -> None:
    """Of the examples as they are, in plain NumPy, with the bias as a further input of 1; and the whole run agrees."""
    perceptron = program("perceptron")
    wanted = DataSpec({"x": ((2,), "f32")}, {"target": Target("target", "sign")})
    clouds = KINDS["clouds"](n=200, margin=margin, radius=1.0, seed=3).open(wanted)
    assert isinstance(clouds, Clouds)
    assert clouds.margin == pytest.approx(margin, rel=1e-5)
    assert clouds.radius == pytest.approx(1, rel=1e-5)
    (batch,) = clouds.batches(200, seed=0, epoch=0, shuffle=False)
    x, t = np.hstack([batch["x"], np.ones((200, 1))]), batch["target"].ravel()
    w, mistakes = np.zeros(3), 0
    while (wrong := np.flatnonzero(t * (x @ w) <= 0)).size:
        w += t[wrong[0]] * x[wrong[0]]
        mistakes += 1
    tight, lecture = perceptron.bounds(margin)
    assert 0 < mistakes <= (clouds.radius**2 + 1) / clouds.margin**2 <= lecture
    assert tight == pytest.approx((clouds.radius**2 + 1) / clouds.margin**2, rel=1e-4)


def test_the_page_of_the_perceptron_keeps_the_bounds() -> None:
    table = {key: cells for key, cells in page("perceptron").items() if NUMBER.fullmatch(key)}
    assert list(map(float, table)) == list(program("perceptron").MARGINS)
    for margin, cells in table.items():
        fewest, median, most, tight, lecture, _ = map(number, cells)
        assert 0 < fewest <= median <= most < tight < lecture
        assert (tight, lecture) == pytest.approx(program("perceptron").bounds(float(margin)))


@pytest.mark.skipif(sys.platform == "win32", reason="the pages speak sh")
@pytest.mark.parametrize("name", ["mnist_table", "filters", "fgsm"])
def test_the_commands_on_trained_weights_print_what_the_page_says(name: str, tmp_path: Path) -> None:
    clone = checkout(tmp_path)
    _, wrong = follow(EXAMPLES / name / "README.md", clone)
    assert wrong == []
    for picture in clone.glob("filters*.svg"):
        assert picture.read_bytes() == (EXAMPLES / "filters" / picture.name).read_bytes()


def mnist_table(table: dict[str, list[str]]) -> None:
    """Every net reaches its bound, on training data too."""
    for title, most in program("mnist_table").NETS.values():
        training, test, *_ = map(number, table[title])
        assert test <= most
        assert training <= 1.2 * most


def plain_vs_residual(table: dict[str, list[str]]) -> None:
    """Shortcuts help at both depths, and are needed at the greater one."""
    figures = {name: list(map(number, table[name])) for name in program("plain_vs_residual").NETS}
    for plain, residual in (("plain20", "resnet20"), ("plain56", "resnet56")):
        (_, loss, training, _, _), (_, twin_loss, twin_training, _, _) = figures[plain], figures[residual]
        assert twin_loss < loss
        assert twin_training < training
    assert figures["resnet20"][2] < figures["plain20"][2] < 10
    assert figures["resnet56"][2] < 65 < 70 < figures["plain56"][2]


def batch_norm(table: dict[str, list[str]]) -> None:
    """The small net learns sooner with it; the deep one learns with it alone."""
    found = {name: list(map(number, cells)) for name, cells in table.items() if "rate" in name and "-" not in cells}
    assert found["small, rate 0.1 with"][0] < found["small, rate 0.1 without"][0]
    for rate in program("batch_norm").RATES["deep"]:
        assert number(table[f"deep, rate {rate:g} with"][1]) < 10
        assert number(table[f"deep, rate {rate:g} without"][1]) > 80


def fgsm(table: dict[str, list[str]]) -> None:
    """The ordinary net falls, the defended one withstands what it was trained on, and both see plain digits."""
    errors = {float(e): list(map(number, cells)) for e, cells in table.items() if NUMBER.fullmatch(e)}
    assert list(errors) == list(program("fgsm").EPSILONS)
    ordinary, ordinary_pgd, adversarial_loss, _ = errors[0.25]
    assert ordinary > 50
    assert ordinary_pgd > 90
    assert adversarial_loss < 25
    assert max(errors[0.0]) < 3
    for column in range(4):
        falls = [cells[column] for cells in errors.values()]
        assert falls[0] < falls[2] + 0.5


CLAIMS = {page.__name__: page for page in (mnist_table, batch_norm, plain_vs_residual, fgsm)}
"""What a page says of its figures, by its name; it must hold for those on the page, and for those of a run."""


@pytest.mark.parametrize("name", CLAIMS)
def test_the_page_says_what_its_figures_say(name: str) -> None:
    CLAIMS[name](page(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_the_whole_form_measures_what_the_page_says(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(name).main(["--out", str(tmp_path / "runs")])
    CLAIMS[name](rows(capsys.readouterr().out))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["perceptron", "xor"])
def test_the_whole_form_prints_what_the_page_says(name: str, tmp_path: Path) -> None:
    _, wrong = follow(EXAMPLES / name / "README.md", checkout(tmp_path))
    assert wrong == []
