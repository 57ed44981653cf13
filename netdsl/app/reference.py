"""The reference of the language: layers, and what a `train` block selects from, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.suggest import suggest
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.elaborate.recipe_pages import TABLES, training_pages
from netdsl.layers import layer_modules
from netdsl.layers.pages import families, layer_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.layers.pages import ReferencePage


class NoSuchLayer(UserError, code="E0630", title="unknown name in the reference", exit_code=USAGE_IS_WRONG):
    """`netdsl layers NAME` takes the name of a built-in layer, loss, optimizer, schedule, metric, kind of data or
    augmentation.

    ```sh
    netdsl layers
    netdsl layers conv adamw mnist
    ```
    """


def names() -> list[str]:
    """Return all names, each once: a layer and a schedule can share one."""
    return list(dict.fromkeys([*layer_modules(), *(name for table in TABLES.values() for name in table.classes)]))


def find_pages(name: str) -> list[ReferencePage]:
    """Return the pages of a name. Raises NoSuchLayer."""
    layer = layer_page(name)
    found = [*([layer] if layer else []), *(table.page(name) for table in TABLES.values() if name in table.classes)]
    if not found:
        meant = [f"did you mean `{word}`?" for word in suggest(name, names())[:1]]
        raise NoSuchLayer(
            f"there is no layer, loss or other component `{name}`", *meant or ["`netdsl layers` lists them"]
        )
    return found


def all_pages() -> Iterator[tuple[str, list[ReferencePage]]]:
    """Yield each group with its title: the families of layers, then the tables of training."""
    yield from families().values()
    yield from training_pages().values()


def overview() -> str:
    """Return a list of all names by group, one per line."""
    lines = []
    for title, pages in all_pages():
        lines += ["", title, *(f"  {each.name:<20}{each.summary}" for each in pages)]
    return "\n".join(lines[1:])
