"""Draw docs/error.svg, the image in the README: the output of `netdsl check` for a program, in color; and the drawings
of nets in docs/draw.

Run `python docs/picture.py` to update them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from netdsl.app.analyse import check_file
from netdsl.app.draw import drawn
from netdsl.app.frontend import load_net
from netdsl.base.text import Source
from netdsl.diagnostics.render import render
from netdsl.diagnostics.report import Report

FILE = Path(__file__).with_name("error.svg")
DRAWINGS: dict[str, tuple[str, dict[str, bool | str]]] = {
    "alexnet": ("alexnet", {}),
    "alphago_zero": ("alphago_zero", {}),
    "densenet121": ("densenet121", {}),
    "transformer_wide": ("transformer", {"wide": True}),
    "resnet18_wide": ("resnet18", {"wide": True}),
    "lenet5_dark": ("lenet5", {"wide": True, "theme": "dark"}),
    "lenet5_plain": ("lenet5", {"wide": True, "theme": "plain"}),
}
"""Nets and options of the files in docs/draw."""
PROGRAM = """\
default conv bias off

block residual(width, stride = 1) {
  skip {
    conv 3x3 width stride stride; bn; relu
    conv 3x3 width; bn
  }
  relu
}

net digits {
  input image 1x28x28
  conv 5x5 16; relu
  residual 32 stride 2
  dense 10
}
"""
FOREGROUND, BACKGROUND = "#d4d7dd", "#1e2127"
COLORS = {"31": "#e0707a", "32": "#98c379", "33": "#e5c07b", "34": "#6cb2f2"}
BOLD = "1"
ESCAPE = re.compile(r"\x1b\[([\d;]*)m")
SIZE, WIDTH, HEIGHT, MARGIN = 14, 8.4, 19, 20
"""Pixels: the font's, a column's and a line's, and what is around them."""


def terminal() -> str:
    """Return the command and its output, with the escape sequences of a color terminal."""
    report = Report()
    check_file(Source("digits.net", PROGRAM), report)
    return "\n".join(["$ netdsl check digits.net", *(render(problem, color=True) for problem in report)])


def runs(line: str) -> Iterator[tuple[int, str, str]]:
    """The pieces of a line: the column, the style as in an escape, and the text, cut where there are several blanks."""
    style, column = "", 0
    for place, part in enumerate(ESCAPE.split(line)):
        if place % 2:
            style = part
            continue
        for piece in re.finditer(r"\S+(?: \S+)*", part):
            yield column + piece.start(), style, piece[0]
        column += len(part)


def svg(text: str) -> str:
    """A picture of a terminal. Each piece is stretched to its columns, since fonts differ."""
    lines = text.split("\n")
    columns = max(len(ESCAPE.sub("", line)) for line in lines)
    width, height = round(columns * WIDTH) + 2 * MARGIN, len(lines) * HEIGHT + 2 * MARGIN
    size = f'width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width} {height}">',
            f'<rect {size} rx="8" fill="{BACKGROUND}"/>',
            f'<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="{SIZE}" fill="{FOREGROUND}">',
            *(_piece(row, *run) for row, line in enumerate(lines) for run in runs(line)),
            "</g>",
            "</svg>",
            "",
        ]
    )


def _piece(row: int, column: int, style: str, text: str) -> str:
    x, y = MARGIN + column * WIDTH, MARGIN + row * HEIGHT + SIZE
    codes = style.split(";")
    look = ' font-weight="bold"' if BOLD in codes else ""
    look += "".join(f' fill="{COLORS[code]}"' for code in codes if code in COLORS)
    long = f' textLength="{len(text) * WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x:.1f}" y="{y}"{long}{look} xml:space="preserve">{escape(text)}</text>'


def pictures() -> Iterator[tuple[Path, bytes]]:
    """Yield each file with what it should contain."""
    yield FILE, svg(terminal()).encode()
    for name, (file, options) in DRAWINGS.items():
        net = load_net(file, Report())
        assert net is not None
        yield FILE.parent / "draw" / f"{name}.svg", drawn(net, "svg", **options)


if __name__ == "__main__":
    for path, picture in pictures():
        path.write_bytes(picture)
        print(f"{path}: {len(picture):,} bytes", file=sys.stderr)
