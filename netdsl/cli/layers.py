"""`netdsl layers`: list the layers of the language, or show the pages of some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.suggest import suggest
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.layers import layer_modules, pages

if TYPE_CHECKING:
    import argparse


class NoSuchLayer(UserError, code="E0630", title="unknown layer name", exit_code=USAGE_IS_WRONG):
    """`netdsl layers NAME` takes the name of a built-in layer. `netdsl layers` lists all layers."""


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError for an unknown name."""
    found = [_page(name) for name in options.names]
    if options.json:
        from netdsl.report.table import json_text

        print(json_text([pages.page_data(each) for each in found or _all()]))
    elif found:
        print("\n\n\n".join(map(pages.page_text, found)))
    else:
        print(pages.layer_overview())
    return 0


def _page(name: str) -> pages.ReferencePage:
    page = pages.layer_page(name)
    if page is None:
        meant = [f"did you mean `{word}`?" for word in suggest(name, layer_modules())[:1]]
        raise NoSuchLayer(f"there is no layer `{name}`", *meant or ["`netdsl layers` lists them"])
    return page


def _all() -> list[pages.ReferencePage]:
    return [page for _, family in pages.families().values() for page in family]
