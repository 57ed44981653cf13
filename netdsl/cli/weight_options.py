"""Options of commands that read weight files, and the commands `weights` and `diff`."""

from __future__ import annotations

from netdsl.cli import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from netdsl.cli.options import Commands

FORMATS = "a .safetensors, .npz, .pth, .keras, .weights.h5 or .onnx file"
DIFF = f"{options.FILE}; the net before"


def add(parser: argparse.ArgumentParser, otherwise: str) -> None:
    """Declare `--weights` and the options for matching them; `otherwise` is the default in the help."""
    parser.add_argument("--weights", metavar="W", help=f"{FORMATS}; {otherwise}")
    parser.add_argument(
        "--rename",
        nargs=2,
        action="append",
        default=[],
        metavar=("PATTERN", "TO"),
        help=r"rename weights: 'features\.(\d+)' 'conv$1'; TO `-` drops them; may be given several times",
    )
    parser.add_argument(
        "--match",
        choices=("name", "order"),
        metavar="HOW",
        help="fit weights by name, as is; or by order and shape, which prints the pairs",
    )
    parser.add_argument(
        "--except",
        dest="exclude",
        nargs="+",
        action="extend",
        default=[],
        metavar="LABEL",
        help="leave layers or weights initial, whatever the file has for them: fc, 'layer4.*', '*.bias'",
    )
    parser.add_argument(
        "--partial", action="store_true", help="take what the file has, and leave the net's other weights initial"
    )
    parser.add_argument(
        "--allow-nonfinite", action="store_true", help="take weights that are NaN or infinite, and negative variances"
    )


def weights(commands: Commands) -> None:
    parser = options._add(commands, "weights", "list the tensors in a file of weights", "FILE [--json]", None)
    parser.add_argument("file", metavar="FILE", help=FORMATS)
    parser.add_argument("--json", action="store_true", help="print an object")


def diff(commands: Commands) -> None:
    parser = options._add(
        commands, "diff", "tell what an edit changes, and which weights survive it", "A B [OPTION ...]", None
    )
    parser.add_argument("file", metavar="A", help=DIFF)
    parser.add_argument("after", metavar="B", help="likewise; the net after")
    parser.add_argument("--json", action="store_true", help="print an object")
    for letter, which in (("a", "the net before"), ("b", "the net after")):
        options._append(parser, f"--set-{letter}", "NAME=VALUE", f"set a parameter of {which} alone")
    options._spec(parser)
