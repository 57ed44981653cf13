"""examples/bare_step: the page says what happens, and the program needs what it says."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from tests.support.cli_tools import ROOT
from tests.support.walkthrough import COMMAND, NUMBER, blocks, checkout, printed

FOLDER = ROOT / "examples" / "bare_step"
PROGRAM = (FOLDER / "train.py").read_text("utf-8")
PAGE = FOLDER / "README.md"


def test_numpy_and_onnxruntime_are_enough() -> None:
    imports = [node for node in ast.walk(ast.parse(PROGRAM)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names}
    assert names - sys.stdlib_module_names == {"numpy", "onnxruntime"}


def test_it_is_about_thirty_lines() -> None:
    lines = [line for line in PROGRAM.splitlines() if line.strip() and not line.startswith(("#", '"""'))]
    assert len(lines) <= 36


def test_the_step_is_what_the_page_says(tmp_path: Path) -> None:
    command, said = COMMAND.split(blocks(PAGE, "console")[0])[1:]
    assert printed(command, checkout(tmp_path)) == said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the pages speak sh")
def test_the_page_comes_true(tmp_path: Path) -> None:
    """In the same words; the figures are near those of the page, which machines differ in after so many steps."""
    clone = checkout(tmp_path)
    for block in blocks(PAGE, "console"):
        command, said = COMMAND.split(block)[1:]
        found = printed(command, clone)
        assert NUMBER.sub("#", found) == NUMBER.sub("#", said), command
        if "test error" in said:
            error, on_the_page = (float(re.findall(r"test error ([\d.]+)", text)[0]) for text in (found, said))
            assert abs(error - on_the_page) < 0.3
            assert error < 1.6
