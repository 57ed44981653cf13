"""docs/training: what is declared is what is said."""

from __future__ import annotations

import pytest

from netdsl.elaborate import recipe_pages
from netdsl.layers.pages import ReferencePage
from netdsl.losses import LOSSES
from netdsl.optimizers import OPTIMIZERS
from netdsl.schedules import SCHEDULES
from tests.support.paths import ROOT

DOCS = ROOT / "docs" / "training"
ALL = {f"{file} {name}": table.page(name) for file, table in recipe_pages.TABLES.items() for name in table.classes}


def test_the_pages_are_fresh() -> None:
    written = {path.name: path.read_text("utf-8") for path in DOCS.glob("*.md")}
    assert written == recipe_pages.training_page_files(), (
        "write them anew with `python -m netdsl.elaborate.recipe_pages`"
    )


@pytest.mark.parametrize("name", ALL)
def test_each_says_what_it_is(name: str) -> None:
    page = ALL[name]
    assert page.summary
    for argument in page.arguments:
        assert argument.doc, f"`{argument.name}` says nothing"
        assert argument.kind.expected


@pytest.mark.parametrize("name", [*LOSSES, *OPTIMIZERS, *SCHEDULES])
def test_formulas_have_an_example(name: str) -> None:
    cls = {**LOSSES, **OPTIMIZERS, **SCHEDULES}[name]
    assert "train " in ReferencePage(cls).example


@pytest.mark.parametrize("name", [*LOSSES, *OPTIMIZERS])
def test_formulas_have_a_source(name: str) -> None:
    assert ReferencePage({**LOSSES, **OPTIMIZERS}[name]).source


@pytest.mark.parametrize("name", ALL)
def test_the_usage_is_a_line_of_a_train_block(name: str) -> None:
    """A key such as `loss`, then the name; augmentations have a block, and `stop` is its own line."""
    page = ALL[name]
    line = {"augmentation": "augment { ", "stop": ""}.get(page.kind, f"{page.kind} ")
    assert page.usage.startswith(f"{line}{page.name}")


@pytest.mark.parametrize("name", LOSSES)
def test_losses_say_their_shapes(name: str) -> None:
    assert any(part.startswith("Shapes: ") for part in ReferencePage(LOSSES[name]).paragraphs)
