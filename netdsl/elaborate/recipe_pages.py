"""Pages on everything that a `train` block can select, generated from the declarations.

`python -m netdsl.elaborate.recipe_pages` rewrites docs/training.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

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

TABLES: dict[str, tuple[str, Mapping[str, type[Declared]]]] = {
    "losses": ("Losses", LOSSES),
    "optimizers": ("Optimizers", OPTIMIZERS),
    "schedules": ("Schedules", SCHEDULES),
    "stop": ("Early stopping", {EarlyStopping.kind: EarlyStopping}),
    "metrics": ("Metrics", METRICS),
    "data": ("Kinds of data", KINDS),
    "augmentations": ("Augmentations", AUGMENTATIONS),
}


def training_page_files() -> dict[str, str]:
    """Return the files of docs/training."""
    intro = "[language.md](../language.md#training) describes how to use these in a `train` block."
    pages = {name: (title, [ReferencePage(cls) for cls in table.values()]) for name, (title, table) in TABLES.items()}
    return reference_files("Training", intro, pages, "netdsl.elaborate.recipe_pages", "net")


if __name__ == "__main__":
    replace_pages(sys.argv[1] if sys.argv[1:] else "docs/training", training_page_files())
