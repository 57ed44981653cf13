"""The laws of the house: style, types, one-way imports, sizes, and what may be imported when."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tokenize
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FILES = sorted((ROOT / "netdsl").rglob("*.py"))
HEAVY = {"mpi4py", "numpy", "onnx", "onnxruntime", "PIL", "safetensors"}

CHECKS = {
    "ruff check": ["-m", "ruff", "check", "--no-cache"],
    "ruff format": ["-m", "ruff", "format", "--no-cache", "--check"],
    "mypy": ["-m", "mypy"],
    "lint-imports": ["-c", "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"],
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_checkers_are_clean(check: str) -> None:
    done = subprocess.run([sys.executable, *CHECKS[check]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{check}\n{done.stdout}{done.stderr}"


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def functions(path: Path) -> list[tuple[str, int]]:
    """Where each function of a file stands, and how many lines it has."""
    tree = parsed(path)
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_no_file_is_longer_than_500_lines() -> None:
    assert FILES
    lengths = {str(path.relative_to(ROOT)): path.read_text("utf-8").count("\n") for path in FILES}
    assert {name: length for name, length in lengths.items() if length > 500} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    assert [found for path in FILES for found in functions(path) if found[1] > 60] == []


def test_the_median_function_has_at_most_10_lines() -> None:
    assert statistics.median(length for path in FILES for _, length in functions(path)) <= 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_room_stands_empty_and_annotations_are_lazy(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = parsed(path)
    assert ast.get_docstring(tree), "what is here? say it in the module's docstring"
    if any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree)):
        assert "from __future__ import annotations" in text


PURE = {
    *("all", "isinstance", "len", "list", "min", "range", "set", "sorted", "tuple", "zip"),
    *("count", "keys", "values", "prod"),
    *("MaxPool", "broadcast", "elements", "infer", "is_number", "known", "native"),
}
"""The functions that assertions call. Each is free of side effects, as `python -O` skips assertions."""


def test_assertions_have_no_side_effects() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(part)}"
        for path in FILES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Assert)
        for part in ast.walk(node.test)
        if isinstance(part, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom)
        or (isinstance(part, ast.Call) and ast.unparse(part.func).rpartition(".")[2] not in PURE)
    ]
    assert found == []


def imported(code: str, *arguments: str) -> set[str]:
    """The top-level modules in memory after `code`, which must exit with 0."""
    probe = (
        f"import sys\ntry:\n    {code}\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('|'.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", probe, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split("|"))


def test_importing_the_package_is_light() -> None:
    assert imported("import netdsl") & HEAVY == set()


def test_check_is_light() -> None:
    code = "from netdsl.cli import main; main()"
    assert imported(code, "check", "specs/lenet5.net") & HEAVY == set()


STIFF = """
all the same; anybody; as it comes; asked for; asks for; behind it; behind them; for want of; had better; in its stead;
is called so; is known of; is told; are told; is wanted; knows of; looked at; made of it; makes of; of old; ought to;
shall be; so many; somebody; stands there; taken for; tell of; tells of; told of; that are none; the like;
there are no more; therein; thereof; thereupon; to begin with; unto; what else; what is asked; what may be; whence;
whereby; wherein; whereof; whereupon; whoever
"""
"""Phrases that have a plainer form wherever they occur in this project."""


def prose(path: Path) -> str:
    """Return what people read in a file: all of it or, in Python, strings and comments."""
    if path.suffix != ".py":
        return path.read_text("utf-8")
    kinds = ("STRING", "FSTRING_MIDDLE", "COMMENT")
    with tokenize.open(path) as file:
        tokens = [*tokenize.generate_tokens(file.readline)]
    return "\n".join(token.string for token in tokens if tokenize.tok_name[token.type] in kinds)


def test_prose_is_plain() -> None:
    phrases = [r"\s+(?:#\s*)?".join(phrase.split()) for phrase in STIFF.split(";")]
    stiff = re.compile(rf"\b(?:{'|'.join(phrases)})\b", re.IGNORECASE)
    files = [*FILES, ROOT / "README.md"]
    for folder, ending in (("docs", "md"), ("grammars", "lark"), ("tests/golden", "txt")):
        files += sorted((ROOT / folder).rglob(f"*.{ending}"))
    suspects = [path for path in files if stiff.search(path.read_text("utf-8"))]  # to read tokens takes longer
    found = {str(path.relative_to(ROOT)): stiff.findall(prose(path)) for path in suspects}
    assert {name: words for name, words in found.items() if words} == {}


def test_ci_runs_the_command_of_the_readme() -> None:
    command = (ROOT / ".ci" / "run").read_text("utf-8").strip().splitlines()[-1]
    assert command in (ROOT / "README.md").read_text("utf-8")
    assert command in (ROOT / "CONTRIBUTING.md").read_text("utf-8")
