"""The package under `python -O` and `-OO`, and installed as bytecode alone, does what it does otherwise."""

from __future__ import annotations

import compileall
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli_tools import ROOT, environment

CORE = """
import contextlib, hashlib, io, json, os, sys
import numpy as np
import netdsl
from netdsl.cli import main

np.save("x.npy", np.linspace(-1, 1, 2 * 3 * 8 * 8, dtype="f4").reshape(2, 3, 8, 8))
np.savez("d.npz", x=np.linspace(-1, 1, 12 * 5, dtype="f4").reshape(12, 5), y=np.arange(12) % 3)
found = {"api": [netdsl.load("lenet5").summary().totals]}
for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(line.split())
        except SystemExit as end:
            code = end.code
    found[line] = [code, out.getvalue(), err.getvalue()]
for folder, folders, files in os.walk("."):
    if "checkpoints" in folders:
        folders.remove("checkpoints")  # they hold the length of the log of speeds
    for name in sorted(files):
        if name.endswith((".onnx", ".safetensors", ".npz", ".svg")):
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[path] = hashlib.sha256(file.read()).hexdigest()
found["package"] = netdsl.__file__
json.dump(found, sys.stdout)
"""

LINES = {
    "check " + " ".join(sorted(str(path) for path in (ROOT / "specs").glob("*.net"))[::4]): 0,
    "check wrong.net": 1,
    "check wrong.net --format json": 1,
    "check --fix --diff slip.net": 0,
    "frob": 2,
    "compile xor": 0,
    "compile lenet5": 0,
    "compile resnet20": 0,
    "compile small.net -o functions.onnx --functions --opset 17": 0,
    "compile small.net -o half.onnx --dtype f16": 0,
    "compile train.net --training -o step.onnx": 0,
    "compile small.net --weights none.npz": 2,
    "run small.net x.npy -o out.npz": 0,
    "train train.net --threads 1 --step-backend plain -q": 0,
    "eval train.net --weights runs/n/last.safetensors": 0,
    "summary googlenet": 0,
    "compare lenet5 alexnet": 0,
    "draw small.net -o small.svg": 0,
}
"""Command lines and their exit codes."""

DOCUMENTED = {"layers": 0, "layers conv bn": 0, "explain E0310 E0601": 0, "explain": 0}

FILES = {
    "wrong.net": "net a { input x 3x8x8; conv 3x3 4 stride 9; desne 10; dense 2 bias; add a b }\nnet { }\n",
    "slip.net": "net s { input x 3; dens 64 }\n",
    "small.net": "block b { conv 3x3 4; bn; relu }\nnet small { input x 3x8x8; b; maxpool 2x2; b; dense 5 }\n",
    "train.net": """net n { input x 5; dense 7; bn; relu; dropout 0.5; dense 3 }
train n { data npz "d.npz"; validate 0.25; loss cross_entropy; optimizer adam; batch 4; epochs 2; schedule cosine }
""",
}


def does(folder: Path, *flags: str, package: Path = ROOT, lines: Iterable[str] = LINES) -> dict[str, Any]:
    """Return what each line does, and the digests of the files written, with a package and flags of Python."""
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    done = subprocess.run(
        [sys.executable, *flags, "-c", CORE],
        cwd=folder,
        input=json.dumps([*lines]),
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=str(package), OMP_NUM_THREADS="1"),
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found.pop("package") == str(next((package / "netdsl").glob("__init__.py*")))
    return found


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return does(tmp_path_factory.mktemp("usual") / "n", lines=[*LINES, *DOCUMENTED])


def test_the_lines_do_what_they_are_for(usual: dict[str, Any]) -> None:
    assert {line: usual[line][0] for line in [*LINES, *DOCUMENTED]} == {**LINES, **DOCUMENTED}, usual
    assert sum(name.endswith(".onnx") for name in usual) == 9


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_without_assertions(flag: str, usual: dict[str, Any], tmp_path: Path) -> None:
    lines = [*LINES, *(DOCUMENTED if flag == "-O" else ())]
    expected = {key: value for key, value in usual.items() if key in lines or key not in DOCUMENTED}
    assert does(tmp_path / "n", flag, lines=lines) == expected


def test_without_docstrings_the_pages_say_so(tmp_path: Path) -> None:
    found = does(tmp_path / "n", "-OO", lines=DOCUMENTED)
    for line in DOCUMENTED:
        code, out, err = found[line]
        assert (code, out, err.split(":")[0]) == (2, "", "error[E0655]")


def test_bytecode_without_source(usual: dict[str, Any], tmp_path: Path) -> None:
    for name in ("netdsl", "grammars", "specs"):
        shutil.copytree(ROOT / name, tmp_path / "package" / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert compileall.compile_dir(tmp_path / "package" / "netdsl", legacy=True, quiet=1)
    for path in (tmp_path / "package" / "netdsl").rglob("*.py"):
        os.remove(path)
    found = does(tmp_path / "n", package=tmp_path / "package", lines=[*LINES, *DOCUMENTED])
    assert found == usual


def test_the_core_of_the_suite_passes_without_assertions_in_the_package(tmp_path: Path) -> None:
    """pytest rewrites the assertions of test files, so those stay alive: a test that must fail proves it."""
    (tmp_path / "test_alive.py").write_text("def test_alive():\n    assert __debug__\n")
    core = [
        path
        for name in ("elaborate", "layers", "repair", "step", "train")
        for path in ROOT.glob(f"tests/*/test_{name}.py")
    ]
    done = subprocess.run(
        [sys.executable, "-O", "-m", "pytest", "-pno:cacheprovider", "-knot every_opset", *core, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment(PYTEST_ADDOPTS=""),
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert len(failed) == 1, done.stdout
    assert "test_alive" in failed[0]
    assert re.search(r"= 1 failed, \d{3,} passed", done.stdout)
