"""HTML representations for notebooks."""

from __future__ import annotations

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


def preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table with the first rows."""
    body = "".join(f"<tr>{_cells('td', row)}</tr>\n" for row in rows[:MAX_ROWS_SHOWN])
    if len(rows) > MAX_ROWS_SHOWN:
        body += f'<tr><td colspan="{len(heads)}">… {len(rows) - MAX_ROWS_SHOWN:,} more</td></tr>\n'
    head = f"<thead><tr>{_cells('th', heads)}</tr></thead>"
    return f"<table>\n<caption>{escape(caption)}</caption>\n{head}\n<tbody>\n{body}</tbody>\n</table>"


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)
