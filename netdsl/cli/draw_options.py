"""What `draw` takes."""

from __future__ import annotations

from netdsl.cli import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netdsl.cli.options import Commands


def draw(commands: Commands) -> None:
    parser = options._add(commands, "draw", "draw a net", "FILE [OPTION ...]", None)
    parser.add_argument("file", metavar="FILE", help=options.FILE)
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT.svg|png|dot|mmd",
        help="where to draw, in the form that the name ends with: a picture, or a text for Graphviz or Mermaid; "
        "NET.svg in this folder by default, and `-` is SVG on the standard output",
    )
    parser.add_argument("--unfold", action="store_true", help="draw each of several equal rounds")
    parser.add_argument("--force", action="store_true", help="overwrite a file that netdsl did not make")
    options._spec(parser)
