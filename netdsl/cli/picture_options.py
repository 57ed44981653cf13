"""Options of the commands that draw pictures: `attack` and `filters`."""

from __future__ import annotations

import argparse

from netdsl.cli import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netdsl.cli.options import Commands


def attack(commands: Commands) -> None:
    parser = options._add(
        commands, "attack", "change a picture by little so that a net mistakes it", "FILE [IMAGE] [OPTION ...]", "image"
    )
    parser.add_argument("file", metavar="FILE", help=options.FILE)
    parser.add_argument("image", nargs="?", metavar="IMAGE", help="a picture, or a .npy, .npz or idx file of one")
    parser.add_argument(
        "--label", type=str, metavar="L", help="the picture's class: its number, or its name in --labels"
    )
    parser.add_argument(
        "--labels", metavar="NAMES", help="class names, one a line or a JSON list (default: the weights' own)"
    )
    parser.add_argument(
        "--data", type=str, metavar="D", help="""instead of IMAGE, as in a train block: 'mnist "mnist"'"""
    )
    parser.add_argument("--examples", type=options._positive, metavar="N", help="of the data, the first N alone")
    parser.add_argument("--method", choices=("fgsm", "pgd"), default="fgsm", metavar="M", help="fgsm, as is; or pgd")
    parser.add_argument(
        "--epsilon",
        type=_parts,
        metavar="E",
        help="the largest change of a pixel, in parts of the range; 0.007 by default, with --data a list: 0,0.1,0.2",
    )
    parser.add_argument(
        "--range", type=_range, default=(0.0, 255.0), metavar="LOW,HIGH", help="black and white; 0,255 by default"
    )
    parser.add_argument("--steps", type=options._positive, metavar="N", help="of pgd; 10 by default")
    parser.add_argument("--alpha", type=_part, metavar="A", help="a step of pgd; 2.5 epsilon / steps by default")
    parser.add_argument("-o", "--output", metavar="OUT.svg|png", help="draw what came of it")
    parser.add_argument("--force", action="store_true", help="overwrite a file that netdsl did not make")
    parser.add_argument("--json", action="store_true", help="print an object")
    parser.add_argument("--batch", type=options._positive, metavar="N", help="batch size of a data set (default: 100)")
    parser.add_argument("--threads", type=options._positive, metavar="N", help="threads of the CPU; all by default")
    options._weights(parser)
    options._spec(parser)


def filters(commands: Commands) -> None:
    parser = options._add(commands, "filters", "draw the filters of a convolution", "WEIGHTS|FILE [OPTION ...]", None)
    parser.add_argument("file", metavar="WEIGHTS|FILE", help=f"a .safetensors or .npz file; or {options.FILE}")
    parser.add_argument("--layer", type=str, metavar="L", help="which convolution: its name; the first by default")
    parser.add_argument("-o", "--output", metavar="OUT.svg|png", help="where to draw; filters.svg by default")
    parser.add_argument("--force", action="store_true", help="overwrite a file that netdsl did not make")
    parser.add_argument(
        "--scale",
        choices=("filter", "layer"),
        default="filter",
        metavar="S",
        help="white and black are the largest weight of each filter, or of the layer; filter by default",
    )
    options._weights(parser)
    options._spec(parser)


def _part(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return number


def _parts(text: str) -> tuple[float, ...]:
    return tuple(map(_part, text.split(",")))


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = 0.0
    if not -1e9 < low < high < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form LOW,HIGH, two numbers that grow")
    return low, high
