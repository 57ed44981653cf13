"""`netdsl explain`: explain an error or warning code, and how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.suggest import suggest
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.cli.messages import print_json
from netdsl.diagnostics import pages

if TYPE_CHECKING:
    import argparse


class NoSuchCode(UserError, code="E0634", title="unknown code", exit_code=USAGE_IS_WRONG):
    """`netdsl explain CODE` takes the code of an error or a warning, such as E0310. `netdsl explain` lists all.

    ```sh
    netdsl explain
    netdsl explain E0310
    ```
    """


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError for an unknown code."""
    found = [_page(code) for code in options.codes]
    if options.json:
        print_json([pages.plain(each) for each in found or pages.pages().values()])
    else:
        print("\n\n\n".join(map(pages.text, found)) if found else pages.overview(pages.pages()))
    return 0


def _page(code: str) -> pages.Page:
    """Return the page of a code, ignoring case."""
    page = pages.page(code.upper())
    if page is None:
        known = pages.pages()
        same = [word for word in known if word[1:] == code]
        meant = [f"did you mean `{word}`?" for word in (same or suggest(code.upper(), known))[:1]]
        raise NoSuchCode(f"there is no code `{code}`", *meant or ["`netdsl explain` lists them"])
    return page
