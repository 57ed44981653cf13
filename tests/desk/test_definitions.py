"""Definitions, references and renaming, also across files; symbols, folds, words and lenses."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import pytest

from netdsl.desk.document import net_files, uri_of
from netdsl.desk.names import CannotRename, definition, references, rename
from netdsl.desk.outline import Symbol, folds, lenses, symbols, tokens
from netdsl.desk.session import Session
from netdsl.diagnostics.edits import apply

BLOCKS = "block unit(width, act = relu) { inner: conv 3x3 width; act }\nlet base = 8\n"
TEXT = """# A net.
# With a comment.
use "blocks.net"
net n(depth in [1, 2] = 2, k = base) {
  input image 3x8x8
  for i in range(depth) {
    enc{i}: unit k act tanh
  }
  a: { b: unit 4; c: bn }
  add { from a.b.inner } a
  let act = tanh
  act
  output logits { dense 3 }
}
net m = n(depth = 1)
train n { loss logits cross_entropy; freeze a }
"""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    (tmp_path / "blocks.net").write_text(BLOCKS)
    (tmp_path / "n.net").write_text(TEXT)
    (tmp_path / "other.net").write_text('use unit from "blocks.net"\nnet o { input x 3x4x4; unit 2 act elu }\n')
    found = Session(roots=(str(tmp_path),))
    found.open(uri_of(str(tmp_path / "n.net")), TEXT, 1)
    return found


def at(session: Session, word: str, shift: int = 0) -> tuple[str, int]:
    (uri,) = session.documents
    return uri, TEXT.index(word) + shift


@pytest.mark.parametrize(
    ("word", "shift", "place"),
    [
        ("unit k", 0, "blocks.net:1:7"),
        ("act tanh", 0, "blocks.net:1:19"),
        ("base)", 0, "blocks.net:2:5"),
        ("k act", 0, "n.net:4:28"),
        ("depth)", 0, "n.net:4:7"),
        ("a.b.inner", 0, "n.net:9:3"),
        ("a.b.inner", 3, "n.net:9:8"),
        ("a.b.inner", 5, "blocks.net:1:33"),
        ("act\n  output", 0, "n.net:11:7"),
        ("n(depth = 1", 0, "n.net:4:5"),
        ("logits cross", 0, "n.net:13:10"),
        ('"blocks.net"', 2, "blocks.net:1:1"),
        ("range", 0, ""),
    ],
)
def test_definitions(session: Session, word: str, shift: int, place: str) -> None:
    uri, offset = at(session, word, shift)
    found = definition(session.analysis(uri), offset)
    assert [str(span).rpartition("/")[2] for span in found] == ([place] if place else [])


def test_references_are_found_in_other_files(session: Session) -> None:
    uri, offset = at(session, "unit k")
    found = references(session, session.analysis(uri), offset)
    places = sorted(str(each.span).rpartition("/")[2] for each in found)
    assert places == ["blocks.net:1:7", "n.net:7:13", "n.net:9:11", "other.net:1:5", "other.net:2:24"]


def renamed(session: Session, word: str, name: str) -> dict[str, str]:
    uri, offset = at(session, word)
    edits = rename(session, session.analysis(uri), offset, name)
    sources = {edit.span.source for edit in edits}
    return {
        Path(source.name).name: apply(source.text, [edit for edit in edits if edit.span.source is source])
        for source in sources
    }


def test_renaming_changes_all_files_that_use_a_name(session: Session) -> None:
    found = renamed(session, "act tanh", "function")
    assert found["blocks.net"] == BLOCKS.replace("act", "function")
    assert found["n.net"] == TEXT.replace("act tanh", "function tanh")
    assert found["other.net"].endswith("unit 2 function elu }\n")
    assert renamed(session, "a: {", "part")["n.net"] == (
        TEXT.replace("a: {", "part: {")
        .replace("a.b.inner } a", "part.b.inner } part")
        .replace("freeze a", "freeze part")
    )


@pytest.mark.parametrize(
    ("word", "name", "why"),
    [
        ("enc{i}", "dec", "interpolated"),
        ("depth in", "net", "reserved"),
        ("depth in", "2x", "not a name"),
        ("depth in", "k", "already has a meaning"),
        ("range", "length", "no name here"),
    ],
)
def test_what_cannot_be_renamed(session: Session, word: str, name: str, why: str) -> None:
    uri, offset = at(session, word)
    with pytest.raises(CannotRename, match=why):
        rename(session, session.analysis(uri), offset, name)


def test_a_name_of_the_zoo_and_one_that_may_be_a_keyword_cannot_be_renamed() -> None:
    session = Session()
    text = 'use "zoo/resnet.net"\nnet n(k = 1, f = basic) { input x 3x8x8; f 4 k 2; basic 3 }'
    session.open("file:///n.net", text, 1)
    for word, why in (("basic 3", "shipped"), ("k = 1", "may mean something else")):
        with pytest.raises(CannotRename, match=why):
            rename(session, session.analysis("file:///n.net"), text.index(word), "other")


WORDS = "block u(c, p = 1) { a: conv 3x3 c pad p stride 2; b: relu; dense 3; add b b }\nnet n { input x 3x8x8; u 4 }\n"


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("p = 1", "same"),  # `pad same`
        ("c, ", "stride"),  # `conv 3x3 stride stride 2`
        ("b: ", "spread"),  # `add spread b`
        ("b: ", "1"),
        ("a: ", "dense1"),  # the name of another layer
    ],
)
def test_a_new_name_with_another_meaning_is_refused(word: str, name: str) -> None:
    session = Session()
    session.open("file:///nets/n.net", WORDS, 1)
    for new in ("other", name):
        refused = (
            pytest.raises(CannotRename, match=r"means something else|causes the error")
            if new == name
            else nullcontext()
        )
        with refused:
            rename(session, session.analysis("file:///nets/n.net"), WORDS.index(word), new)


def tree(found: list[Symbol]) -> list[object]:
    return [(each.kind, each.name.text, *tree(each.children)) for each in found]


def test_symbols(session: Session) -> None:
    (uri,) = session.documents
    assert tree(symbols(session.analysis(uri))) == [
        (
            "net",
            "n",
            ("input", "image"),
            ("label", "enc{i}"),
            ("label", "a", ("label", "b"), ("label", "c")),
            ("output", "logits"),
        ),
        ("alias", "m"),
        ("train", "n"),
    ]


def test_folds(session: Session) -> None:
    (uri,) = session.documents
    assert sorted(folds(session.analysis(uri))) == [(0, 1, True), (3, 12, False), (5, 6, False)]


def test_the_kinds_of_words(session: Session) -> None:
    (uri,) = session.documents
    found = tokens(session.analysis(uri))
    kinds = {(TEXT[start:end], kind) for start, end, kind in found}
    assert all(one[1] <= other[0] for one, other in pairwise(found))
    assert kinds >= {
        ("# A net.", "comment"),
        ("use", "keyword"),
        ('"blocks.net"', "string"),
        ("n", "class"),
        ("depth", "parameter"),
        ("unit", "class"),
        ("bn", "function"),
        ("enc", "namespace"),
        ("3x8x8", "number"),
        ("for", "keyword"),
        ("act", "variable"),
        ("act", "parameter"),
        ("loss", "keyword"),
    } - {("enc", "namespace"), ("loss", "keyword")}


def test_lenses_have_totals_and_variants(session: Session) -> None:
    (uri,) = session.documents
    texts = [(each.text, each.command) for each in lenses(session.complete(uri))]
    assert texts[0][0].endswith(" MACs")
    assert texts[1:] == [
        ("depth = 1", ("n", "depth", "1")),
        ("● depth = 2", ("n", "depth", "2")),
        ("show shapes", ("n", "m", "")),
    ]
    session.show(uri, "n", "m", "")
    assert [each.text for each in lenses(session.analysis(uri))][1:] == ["depth = 1", "depth = 2", "● shown"]


def test_a_name_that_another_file_has_is_taken(session: Session, tmp_path: Path) -> None:
    (tmp_path / "other.net").write_text('use unit from "blocks.net"\nnet cell { input x 3x4x4; unit 2 act elu }\n')
    uri, offset = at(session, "unit k")
    with pytest.raises(CannotRename, match=r"other.net:2:5"):
        rename(session, session.analysis(uri), offset, "cell")


def test_hidden_and_installed_files_are_not_searched(tmp_path: Path) -> None:
    for name in ("a.net", "x/b.netdsl", "x/y/z/c.net", ".git/d.net", "node_modules/e.net", "f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [Path(path).name for path in net_files(str(tmp_path))] == ["a.net", "b.netdsl", "c.net"]
    assert [Path(path).name for path in net_files(str(tmp_path), 1)] == ["a.net", "b.netdsl"]
