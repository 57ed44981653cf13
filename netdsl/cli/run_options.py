"""Options of `run`."""

from __future__ import annotations

import argparse

from netdsl.cli import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netdsl.cli.options import Commands


def run(commands: Commands) -> None:
    parser = options._add(
        commands, "run", "run a net or a compiled model on data", "FILE|MODEL.onnx INPUT ... [OPTION ...]", "inputs"
    )
    parser.add_argument("file", metavar="FILE|MODEL.onnx", help=f"{options.FILE}; or a compiled model")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a .npy, .npz, idx or image file, or a folder of images; several images are several examples; "
        "NAME=PATH for one of many inputs",
    )
    parser.add_argument("-o", "--output", metavar="OUT.npz", help="write the outputs, by their names")
    parser.add_argument("--force", action="store_true", help="overwrite a file that netdsl did not make")
    parser.add_argument(
        "--top", type=options._positive, default=5, metavar="K", help="how many classes to print; 5 by default"
    )
    parser.add_argument(
        "--labels", metavar="L", help="class names, one a line or a JSON list (default: the model's own)"
    )
    parser.add_argument("--json", action="store_true", help="print an object in a line for each example")
    parser.add_argument("--shard", type=_shard, metavar="I/N", help="run block I of N, from 0, of the examples alone")
    parser.add_argument("--batch", type=options._positive, metavar="N", help="examples a step; 32 by default")
    provider(parser)
    options._weights(parser)
    options._spec(parser)


def provider(parser: argparse.ArgumentParser) -> None:
    """Declare the execution provider and the number of threads."""
    parser.add_argument(
        "--provider",
        default="cpu",
        metavar="P[:KEY=VALUE,...]",
        help="what computes: cpu, cuda, openvino, ..., with options of its own; cpu by default",
    )
    parser.add_argument("--allow-fallback", action="store_true", help="let the CPU compute what the provider cannot")
    parser.add_argument("--threads", type=options._positive, metavar="N", help="threads of the CPU; all by default")


def _shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not slash or not index.isdecimal() or not count.isdecimal() or len(text) > 20 or int(index) >= int(count):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form I/N, with I from 0 to N - 1")
    return int(index), int(count)
