"""What the commands take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = "a path, `-` for the standard input, the name of a net in the zoo, or any of these and `:NET`"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command line; `command` is the function to call with them. Wrong usage exits with 2."""
    parser = argparse.ArgumentParser(
        prog="netdsl", description="Neural networks as short as the table in their paper, compiled to ONNX."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _check(commands)
    _compile(commands)
    _run(commands)
    return parser.parse_args(arguments)


class _Version(argparse.Action):
    """Finding the version reads the installed package's metadata, so it waits until it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from netdsl.version import version

        parser.exit(message=f"netdsl {version()}\n")


def _check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("check", help="check every net of the files")
    parser.set_defaults(command=_call("netdsl.cli.check"))
    parser.add_argument("files", nargs="+", metavar="FILE", help=FILE)
    _spec(parser)


def _compile(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("compile", help="compile a net to ONNX")
    parser.set_defaults(command=_call("netdsl.cli.compile"))
    parser.add_argument("file", metavar="FILE", help=FILE)
    parser.add_argument("-o", "--output", metavar="OUT.onnx", help="where to write; NET.onnx in this folder by default")
    parser.add_argument("--force", action="store_true", help="overwrite a file that is no model of netdsl's")
    parser.add_argument("--batch", type=_positive, metavar="N", help="fix the batch size, which else is free")
    parser.add_argument("--opset", type=_opset, default=21, metavar="N", help="ONNX opset, 17 to 26; 21 by default")
    _weights(parser)
    _spec(parser)


def _run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("run", help="run a net or a model on data")
    parser.set_defaults(command=_call("netdsl.cli.run"))
    parser.add_argument("file", metavar="FILE|MODEL.onnx", help=f"{FILE}; or a compiled model")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a .npy, .npz, idx or image file; several images are several examples; NAME=PATH for one of many inputs",
    )
    parser.add_argument("-o", "--output", metavar="OUT.npz", help="write the outputs, by their names")
    parser.add_argument("--force", action="store_true", help="overwrite a file that is no output of netdsl's")
    parser.add_argument("--top", type=_positive, default=5, metavar="K", help="how many classes to print; 5 by default")
    parser.add_argument("--batch", type=_positive, metavar="N", help="examples a step; 32 by default")
    parser.add_argument("--provider", default="cpu", metavar="P", help="cpu, cuda, …; cpu by default")
    parser.add_argument("--threads", type=_positive, metavar="N", help="threads of the CPU; all by default")
    _weights(parser)
    _spec(parser)


def _weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", metavar="W", help="a .safetensors or .npz file; drawn from the seed without it")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="seed of drawn weights; 0 by default")


def _spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="set a parameter of the net")
    parser.add_argument("--root", metavar="DIR", help="the folder that `use` may not leave; FILE's own by default")
    parser.add_argument(
        "--format",
        choices=("text", "short", "json", "github"),
        default="text",
        help="how problems are shown; text and short on stderr, json and github on stdout",
    )


def _call(module: str) -> object:
    """The `command` of a module, imported when it is called."""

    def command(options: argparse.Namespace) -> int:
        from importlib import import_module

        code: int = import_module(module).command(options)
        return code

    return command


def _positive(text: str) -> int:
    return _between(text, 1, 2**31 - 1)


def _opset(text: str) -> int:
    return _between(text, 17, 26)


def _seed(text: str) -> int:
    return _between(text, 0, 2**63 - 1)


def _between(text: str, low: int, high: int) -> int:
    number = int(text) if text.isdecimal() and len(text) < 20 else -1
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
    return number
