"""Syntax highlighting: the words, the rules, the lexer of Pygments and the extension of VS Code."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from netdsl.base.text import Source
from netdsl.diagnostics.report import Report
from netdsl.highlight import generate
from netdsl.highlight.rules import CLASSES
from netdsl.layers import layer_modules
from netdsl.syntax import ast
from netdsl.syntax.parse import parse_tokens
from tests.support.paths import ROOT

pytest.importorskip("pygments")

TEXTS = sorted([*ROOT.glob("specs/*.net"), *ROOT.glob("examples/**/*.net")])

TOKENS = {each.token: name for name, each in CLASSES.items()}

KINDS = {
    "STRING": {"string"},
    "NUMBER": {"number"},
    "DIMS": {"number"},
    "UNKNOWN": {"number"},
    "ON": {"constant"},
    "OFF": {"constant"},
    "AND": {"operator_word"},
    "OR": {"operator_word"},
    "NOT": {"operator_word"},
    "IN": {"operator_word"},
    "NET": {"definition"},
    "BLOCK": {"definition"},
    "FN": {"definition"},
    "TRAIN": {"definition"},
    "TRAINING": {"argument", "keyword"},
}
"""Classes of the parser's terminals; those of the other words are keywords."""


def classes(text: str) -> list[str]:
    """Return the class of each character, or an empty string."""
    from netdsl.highlight.pygments_lexer import NetLexer

    found = [""] * len(text)
    for start, token, value in NetLexer().get_tokens_unprocessed(text):
        found[start : start + len(value)] = [TOKENS.get(str(token).removeprefix("Token."), str(token))] * len(value)
    return found


def nodes(tree: ast.File) -> list[ast.Node]:
    """Return all nodes of a tree."""
    todo: list[object] = list(tree.items)
    found = []
    while todo:
        each = todo.pop()
        if isinstance(each, tuple):
            todo += each
        elif isinstance(each, ast.Node):
            found.append(each)
            todo += (getattr(each, name) for kind in type(each).__mro__ for name in getattr(kind, "__slots__", ()))
    return found


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_classes_are_those_of_the_parser(path: Path) -> None:
    source = Source(path.name, path.read_text())
    parsed = parse_tokens(source, Report())
    assert not parsed.file.broken
    found = classes(source.text)
    assert not {each for each in found if each.startswith("Token.Error")}
    for start, end in parsed.comments:
        assert {*found[start:end]} == {"comment"}
    labels = [each.label_span for each in nodes(parsed.file) if isinstance(each, ast.Labelled)]
    for span in labels:
        assert {*found[span.start : span.end]} == {"label"}, source.text[span.start : span.end]
    for token in parsed.tokens:
        if any(span.start <= token.start < span.end for span in labels):
            continue
        expected = KINDS.get(token.type) or ({"keyword"} if token.type.isupper() and token.text.isalpha() else None)
        if expected and token.type != "NAME":
            assert {*found[token.start : token.end]} <= expected, (token, found[token.start])
    for node in nodes(parsed.file):
        if isinstance(node, ast.Call):
            expected = {"layer"} if node.head.text in layer_modules() else {"call", "layer"}
            assert {*found[node.head.span.start : node.head.span.end]} <= expected, node.head.text


def test_the_search_for_a_label_is_bounded() -> None:
    """Each brace of a line may begin a label, so that labels without a limit make long lines quadratic."""
    for holes, found in ((16, {"label"}), (17, {"call", "name", "punctuation"})):
        label = "a" + "{b}" * holes
        assert {*classes(f"{label}: relu")[: len(label)]} <= found


@pytest.mark.parametrize("dims", ["3x?x?", "?x8", "?", "?n", "224x224", "0x?"])
def test_sizes_are_numbers(dims: str) -> None:
    for text in (f"input x {dims}", f"input x {dims};", f"expect {dims}  # c", f"reshape [{dims}]", f"x{dims}x"):
        found = classes(text)
        at = text.index(dims)
        assert ({*found[at : at + len(dims)]} == {"number"}) == (text[0] != "x"), text


def test_parts_of_paths_are_names() -> None:
    text = "from middle.0.on.conv; relu"
    assert {*classes(text)[text.index(".0") : text.index(";")]} == {"punctuation", "name"}


def test_the_generated_files_are_fresh() -> None:
    assert generate.WORDS.read_text() == generate.words_module()
    assert generate.GRAMMAR.read_text() == generate.textmate()


def test_the_lexer_is_an_entry_point() -> None:
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pygments.lexers"]
    module, name = entries["netdsl"].split(":")
    lexer = getattr(import_module(module), name)
    assert {"net", "netdsl"} == {*lexer.aliases}
    assert "*.net" in lexer.filenames


@pytest.mark.slow
def test_the_extension_of_vs_code_is_built(tmp_path: Path) -> None:
    """Its grammar, tried by VS Code's engine, its types, and its package."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm")
    folder = tmp_path / "vscode"
    shutil.copytree(ROOT / "editors/vscode", folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    for words in (["ci", "--ignore-scripts"], ["test"], ["run", "package"]):
        subprocess.run([npm, *words], cwd=folder, check=True, timeout=600)
    assert (folder / "netdsl.vsix").stat().st_size < 150_000
