"""Draw a net as a picture, or as input for a layout program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.output import picture_form

if TYPE_CHECKING:
    from netdsl.ir.net import Net

TEXT_FORMS = ("dot", "mmd")
"""Formats of a drawing that are no pictures: Graphviz and Mermaid."""


def form_of(path: str | None) -> str:
    """Return the format that a file name ends with. Raises NotAPicture, MissingPackage."""
    return "svg" if path is None or path == "-" else picture_form(path, TEXT_FORMS)


def drawn(net: Net, form: str, *, unfold: bool = False, wide: bool = False, theme: str = "light") -> bytes:
    """Return the bytes of a drawing; equal nets give equal bytes. `theme` is a key of THEMES. Raises MissingPackage for
    a picture whose package is not installed."""
    from netdsl.report.theme import THEMES

    colors = THEMES[theme]
    if form in TEXT_FORMS:
        from netdsl.report.drawing.flow import dot, mermaid

        return (dot if form == "dot" else mermaid)(net, unfold=unfold, wide=wide, theme=colors).encode()
    from netdsl.report.drawing.paint import draw_net
    from netdsl.report.drawing.shapes import PNG_SCALE

    scale = PNG_SCALE if form == "png" else 1
    return draw_net(net, unfold=unfold, wide=wide, theme=colors, scale=scale).encode(form)
