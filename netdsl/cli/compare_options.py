"""What `compare` and `view` take."""

from __future__ import annotations

from netdsl.cli import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netdsl.cli.options import Commands

NET = (
    "as FILE of summary; `NET:*` with each value of each of its domains, or all nets of a file; `zoo`, the default: "
    "every network of the zoo"
)


def compare(commands: Commands) -> None:
    parser = options._add(
        commands, "compare", "compare nets, and draw them side by side", "[NET ...] [OPTION ...]", "files"
    )
    parser.add_argument("files", nargs="*", metavar="NET", help=NET)
    parser.add_argument(
        "--batch", type=options._positive, metavar="N", help="count memory for N examples; one by default"
    )
    parser.add_argument("--plot", metavar="OUT.svg|png", help="draw the nets too")
    parser.add_argument(
        "--by",
        choices=("macs", "year"),
        metavar="X",
        help="draw accuracy by macs, or depth by year; macs by default",
    )
    parser.add_argument("--force", action="store_true", help="overwrite a file that netdsl did not make")
    parser.add_argument(
        "--format",
        dest="form",
        choices=("text", "csv", "json"),
        default="text",
        metavar="FORM",
        help="text, csv or json; text by default",
    )
    parser.set_defaults(format="text")
    parser.add_argument("--strict", action="store_true", help="treat warnings as errors")
    parser.add_argument("--root", metavar="DIR", help="only allow `use` below this folder (default: NET's folder)")


def view(commands: Commands) -> None:
    parser = options._add(
        commands, "view", "show a net or a compiled model in Netron", "FILE|MODEL.onnx [OPTION ...]", None
    )
    parser.add_argument("file", metavar="FILE|MODEL.onnx", help=f"{options.FILE}; or a compiled model")
    parser.add_argument("--port", type=_port, metavar="N", help="serve on this port; on a free one by default")
    parser.add_argument("--functions", action="store_true", help="show blocks folded")
    parser.add_argument("--no-browser", action="store_true", help="open no browser, and only tell the address")
    options._weights(parser)
    options._spec(parser)


def _port(text: str) -> int:
    return options._between(text, 0, 2**16 - 1)
