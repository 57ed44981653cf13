"""Draw a net as a picture, or as input for a layout program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.output import NotAPicture

if TYPE_CHECKING:
    from netdsl.ir.net import Net

FORMS = ("svg", "png", "dot", "mmd")


def form_of(path: str | None) -> str:
    """Return the format that a file name ends with. Raises NotAPicture."""
    if path is None or path == "-":
        return "svg"
    form = path.lower().rpartition(".")[2]
    if form not in FORMS:
        raise NotAPicture(f"cannot draw to {path}", "the name must end with .svg, .png, .dot or .mmd")
    return form


def drawn(net: Net, form: str, *, unfold: bool = False) -> bytes:
    """Return the bytes of a drawing; equal nets give equal bytes. Raises MissingPackage for a PNG without Pillow."""
    if form == "dot":
        from netdsl.report.drawing.flow import dot

        return dot(net, unfold=unfold).encode()
    if form == "mmd":
        from netdsl.report.drawing.flow import mermaid

        return mermaid(net, unfold=unfold).encode()
    from netdsl.report.drawing.paint import draw_net
    from netdsl.report.drawing.shapes import PNG_SCALE

    return draw_net(net, unfold=unfold, scale=PNG_SCALE).png() if form == "png" else draw_net(net, unfold=unfold).svg()
