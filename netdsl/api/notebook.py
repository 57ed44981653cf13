"""HTML representations for notebooks."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

MAX_ROWS_SHOWN = 200
"""Maximum number of rows shown of a table."""


def bundle(
    plain: str, html: str, include: Collection[str] | None = None, exclude: Collection[str] | None = None
) -> dict[str, str]:
    """Return both representations by media type, restricted to the requested types."""
    made = {"text/plain": plain, "text/html": html}
    return {
        kind: text for kind, text in made.items() if (not include or kind in include) and kind not in (exclude or ())
    }


ANSI = re.compile(r"\x1b\[([\d;]*)m")
STYLES = {
    "1": "font-weight:bold",
    "31": "color:#c4262e",
    "32": "color:#1a7f37",
    "33": "color:#9a6700",
    "34": "color:#0969da",
}
"""CSS for the codes of ANSI colors that `netdsl.base.terminal` uses."""


def plain(text: str) -> str:
    """Remove ANSI colors."""
    return ANSI.sub("", text)


def ansi_html(text: str) -> str:
    """Convert a text with ANSI colors to HTML."""

    def tag(found: re.Match[str]) -> str:
        styles = [STYLES[code] for code in found[1].split(";") if code in STYLES]
        return f'<span style="{";".join(styles)}">' if styles else "</span>"

    return f"<pre>{ANSI.sub(tag, escape(text))}</pre>"


def folded(summary: str, html: str) -> str:
    """Return HTML that a click on its summary unfolds."""
    return f"<details><summary>{escape(summary)}</summary>\n{html}\n</details>"


def preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table with the first rows."""
    body = "".join(f"<tr>{_cells('td', row)}</tr>\n" for row in rows[:MAX_ROWS_SHOWN])
    if len(rows) > MAX_ROWS_SHOWN:
        body += f'<tr><td colspan="{len(heads)}">… {len(rows) - MAX_ROWS_SHOWN:,} more</td></tr>\n'
    head = f"<thead><tr>{_cells('th', heads)}</tr></thead>"
    title = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    return f"<table>\n{title}{head}\n<tbody>\n{body}</tbody>\n</table>"


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)
