"""Options of `train` and `eval`."""

from __future__ import annotations

import argparse

from netdsl.cli import options, run_options, weight_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netdsl.cli.options import Commands

FILE = f"{options.FILE}; it has a `train` block of the net"


def train(commands: Commands) -> None:
    parser = options._add(commands, "train", "train a net as its train block says", "FILE [OPTION ...]", None)
    parser.add_argument("file", metavar="FILE", help=FILE)
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--epochs", type=options._positive, metavar="N", help="how often all examples are seen")
    ends.add_argument("--steps", type=options._positive, metavar="N", help="or how many batches are")
    parser.add_argument("--out", metavar="DIR", help="the folder of the run; runs/NET by default")
    before = parser.add_mutually_exclusive_group()
    before.add_argument(
        "--resume", action="store_true", help="go on with the run in the folder, from its last checkpoint"
    )
    before.add_argument("--force", action="store_true", help="overwrite the run that is in the folder")
    parser.add_argument("--checkpoint", type=_seconds, metavar="S", help="seconds between checkpoints; 60 by default")
    parser.add_argument(
        "--lowering", choices=("auto", "std", "blk"), metavar="L", help="how it is computed: auto, std, blk"
    )
    parser.add_argument("--tensorboard", action="store_true", help="write the figures for TensorBoard too")
    parser.add_argument("--json", action="store_true", help="print an object in a line for each epoch")
    run_options.provider(parser)
    weight_options.add(parser, "initial weights (default: random)")
    options._spec(parser)


def evaluate(commands: Commands) -> None:
    parser = options._add(commands, "eval", "judge a trained net by its metrics", "FILE|MODEL.onnx [OPTION ...]", None)
    parser.set_defaults(command=options._call("netdsl.cli.evaluate"))
    parser.add_argument("file", metavar="FILE|MODEL.onnx", help=f"{FILE}; or a compiled model, with --data")
    weight_options.add(parser, "a run's best.safetensors, for example")
    parser.add_argument(
        "--data", metavar="D", help="""as in a train block: 'mnist "mnist" split test'; its `validate` by default"""
    )
    parser.add_argument("--plot", metavar="OUT.svg|png", help="draw the confusion matrix")
    parser.add_argument("--force", action="store_true", help="overwrite a file that netdsl did not make")
    parser.add_argument(
        "--labels", metavar="L", help="class names, one a line or a JSON list (default: the model's own)"
    )
    parser.add_argument(
        "--batch", type=options._positive, metavar="N", help="examples a step; those of the train block"
    )
    parser.add_argument("--json", action="store_true", help="print an object")
    run_options.provider(parser)
    options._spec(parser)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds
