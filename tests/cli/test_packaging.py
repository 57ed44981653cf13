"""The wheel, as a user meets it: installed into an empty environment, used from another folder."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def run(*command: object, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment with the wheel and what it depends on, and nothing else."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    run(programs / "python", "-m", "pip", "install", "--quiet", wheel)
    return programs


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {
        f"netdsl/_data/{path.relative_to(ROOT).as_posix()}"
        for folder, pattern in (("grammars", "*"), ("specs", "*"), ("docs", "*.md"))
        for path in (ROOT / folder).rglob(pattern)
        if path.is_file()
    }
    assert "netdsl/_data/grammars/net.lark" in data
    assert "netdsl/_data/specs/lenet5.net" in data
    assert "netdsl/_data/docs/training/data.md" in data
    assert data == {name for name in names if "/_data/" in name}
    assert "netdsl/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"netdsl", "netdsl-0.1.0.dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_a_shipped_spec_compiles_from_another_folder(environment: Path, tmp_path: Path) -> None:
    run(environment / "netdsl", "compile", "lenet5", "-o", "m.onnx", cwd=tmp_path)
    run(environment / "python", "-c", "import onnx; onnx.checker.check_model('m.onnx', full_check=True)", cwd=tmp_path)
    found = run(environment / "python", "-c", "import netdsl; print(netdsl.__file__)", cwd=tmp_path)
    assert str(ROOT) not in found


def test_the_documentation_is_in_the_wheel(environment: Path, tmp_path: Path) -> None:
    assert run(environment / "netdsl", "docs", "train", cwd=tmp_path) == (ROOT / "docs/train.md").read_text("utf-8")
    assert "\ntutorial " in "\n" + run(environment / "netdsl", "docs", cwd=tmp_path)


def test_the_module_runs_as_a_program(environment: Path, tmp_path: Path) -> None:
    run(environment / "python", "-m", "netdsl", "check", "lenet5", cwd=tmp_path)
