"""`netdsl docs`: the pages that it lists and prints."""

from __future__ import annotations

import json

import pytest

from netdsl.app.docs import all_topics, topics
from tests.support.cli_tools import Commands, netdsl
from tests.support.paths import ROOT

__all__ = ["netdsl"]

DOCS = ROOT / "docs"


def test_the_index_lists_every_page_at_the_top_and_every_folder() -> None:
    folders = {path.parent.name for path in DOCS.glob("*/README.md")}
    assert topics().keys() == folders | {path.stem for path in DOCS.glob("*.md")} - {"README"}
    assert all(topics().values())


def test_a_list_of_the_topics(netdsl: Commands) -> None:
    listed = netdsl("docs")
    assert (listed.code, listed.err) == (0, "")
    assert [line.split()[0] for line in listed.out.splitlines()] == [*topics()]
    assert json.loads(netdsl("docs", "--json").out)[0] == {"name": "tutorial", "description": topics()["tutorial"]}


def test_every_page_is_printed_as_it_is(netdsl: Commands) -> None:
    pages = {path for path in DOCS.rglob("*.md") if path != DOCS / "README.md"}
    assert len(all_topics()) == len(pages)
    printed = netdsl("docs", *all_topics())
    assert (printed.code, printed.err) == (0, "")
    for page in pages:
        assert page.read_text("utf-8") in printed.out


@pytest.mark.parametrize("topic", ["train", "train.md"])
def test_a_page(netdsl: Commands, topic: str) -> None:
    assert netdsl("docs", topic).out == (DOCS / "train.md").read_text("utf-8")


@pytest.mark.parametrize("topic", ["layers", "layers/", "layers/README", "layers/README.md"])
def test_a_folder_is_its_index(netdsl: Commands, topic: str) -> None:
    assert netdsl("docs", topic).out == (DOCS / "layers" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("topic", "help"),
    [
        ("trian", "did you mean `train`?"),
        ("conv", "did you mean `layers/conv`?"),
        ("layers/cov", "did you mean `layers/conv`?"),
        ("../README", "`netdsl docs` lists them"),
        ("README", "`netdsl docs` lists them"),
        ("", "`netdsl docs` lists them"),
        ("a\nb", "`netdsl docs` lists them"),
    ],
)
def test_an_unknown_topic(netdsl: Commands, topic: str, help: str) -> None:
    failed = netdsl("docs", topic)
    shown = topic.replace("\n", "\\n")
    assert (failed.code, failed.out) == (2, "")
    assert failed.err == f"error[E0661]: there is no topic `{shown}`\n  = help: {help}\n"
