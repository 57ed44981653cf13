"""`netdsl explain`: what a code means, why it is so, and how it is mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.suggest import suggest
from netdsl.base.terminal import escape
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.diagnostics import pages

if TYPE_CHECKING:
    import argparse


class NoSuchCode(UserError, code="E0634", exit_code=USAGE_IS_WRONG):
    """`netdsl explain CODE` takes the code of an error or a warning, such as E0310; `netdsl explain` lists them."""


def command(options: argparse.Namespace) -> int:
    """Exit code 0. Raises UserError for what is no code."""
    found = [_page(code) for code in options.codes]
    if options.json:
        from json import dumps

        print(dumps([pages.plain(each) for each in found or pages.pages().values()], indent=2, ensure_ascii=False))
    else:
        print("\n\n\n".join(map(pages.text, found)) if found else pages.overview(pages.pages()))
    return 0


def _page(code: str) -> pages.Page:
    """The page of a code; `e0310` will do."""
    page = pages.page(code.upper())
    if page is None:
        known = pages.pages()
        same = [word for word in known if word[1:] == code]
        meant = [f"did you mean `{word}`?" for word in (same or suggest(code.upper(), known))[:1]]
        raise NoSuchCode(f"there is no code `{escape(code)}`", *meant or ["`netdsl explain` lists them"])
    return page
