"""Pages on everything that a `train` block can select, generated from the declarations.

`python -m netdsl.elaborate.recipe_pages` rewrites docs/training.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from netdsl.base.paths import replace_pages
from netdsl.data.augment import AUGMENTATIONS
from netdsl.data.kinds import KINDS
from netdsl.layers.pages import ReferencePage, reference_files
from netdsl.losses import LOSSES
from netdsl.metrics import METRICS
from netdsl.optimizers import OPTIMIZERS
from netdsl.schedules import SCHEDULES, EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.declare.declared import Declared


class Table(NamedTuple):
    """What a line of a `train` block selects from; `form` is the line, with `{}` for the call."""

    title: str
    kind: str
    form: str
    classes: Mapping[str, type[Declared]]

    def page(self, name: str) -> ReferencePage:
        return ReferencePage(self.classes[name], self.kind, self.form)


TABLES = {
    "losses": Table("Losses", "loss", "loss {}", LOSSES),
    "optimizers": Table("Optimizers", "optimizer", "optimizer {}", OPTIMIZERS),
    "schedules": Table("Schedules", "schedule", "schedule {}", SCHEDULES),
    "stop": Table("Early stopping", "stop", "{}", {EarlyStopping.kind: EarlyStopping}),
    "metrics": Table("Metrics", "metric", "metric {}", METRICS),
    "data": Table("Kinds of data", "data", "data {}", KINDS),
    "augmentations": Table("Augmentations", "augmentation", "augment {{ {} }}", AUGMENTATIONS),
}


def training_pages() -> dict[str, tuple[str, list[ReferencePage]]]:
    """Return the title and the pages of each table, by the name of its file in docs/training."""
    return {file: (table.title, [table.page(name) for name in table.classes]) for file, table in TABLES.items()}


def training_page_files() -> dict[str, str]:
    """Return the files of docs/training."""
    intro = (
        "`netdsl layers NAME` prints the same pages. [language.md](../language.md#training) describes how to use these "
    )
    intro += "in a `train` block."
    return reference_files("Training", intro, training_pages(), "netdsl.elaborate.recipe_pages", "net")


if __name__ == "__main__":
    replace_pages(sys.argv[1] if sys.argv[1:] else "docs/training", training_page_files())
