"""The options of the commands."""

from __future__ import annotations

import argparse
import sys

from netdsl.base.version import VERSION

TYPE_CHECKING = False  # importing typing takes as long as half of Python's start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Commands = argparse._SubParsersAction[Any]

ZOO = "[--json] | zoo show NAME | zoo copy NAME [DIR]"
FILE = "a path, `-` for the standard input, the name of a net in the zoo, or any of these and `:NET`"
FLOATS = ("f32", "f16")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; `command` in the result is the function to call. Wrong usage exits with 2.

    Options can precede, separate and follow the files.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    options, rest = declared(words)[0].parse_known_args(words)
    _take(rest, options)
    return options


def declared(words: list[str]) -> tuple[argparse.ArgumentParser, Commands]:
    """Return a parser and its commands: only the one that is called, or all if none is."""
    parser = _Parser(
        prog="netdsl",
        usage="netdsl COMMAND ...",
        description="Neural networks as short as the table in their paper, compiled to ONNX.",
        epilog="`netdsl COMMAND --help` tells what a command takes.",
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"netdsl {VERSION}", help="print the version and exit")
    # Left to itself, argparse renders a usage line to find this `prog`, which takes milliseconds.
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog="netdsl", required=True)
    for name, declare in COMMANDS.items():
        if words[:1] == [name] or words[:1] not in [[each] for each in COMMANDS]:  # one is soon made, all take a while
            declare(commands)
    return parser, commands


def _take(rest: list[str], options: argparse.Namespace) -> None:
    """Assign what argparse leaves over: files that follow an option; anything else is an unknown option."""
    parser: argparse.ArgumentParser = options.parser
    for word in rest:
        if word.startswith("-") and word != "-" and not word.startswith("-:"):
            from netdsl.base.suggest import suggest

            known = [text for action in parser._actions for text in action.option_strings]
            meant = suggest(word.partition("=")[0], known)[:1]
            parser.error(f"there is no option {word}" + (f"; did you mean {meant[0]}?" if meant else ""))
        taken = getattr(options, options.many) if options.many else ""
        if isinstance(taken, str):
            parser.error(f"one FILE is enough; what is {word}?" if "file" in options else f"what is {word}?")
        setattr(options, options.many, word if taken is None else [*taken, word])


class _Parser(argparse.ArgumentParser):
    """An argument parser for which `-:NET` is a net of standard input, and options are given once, except for lists."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._given: list[argparse.Action] = []

    def _parse_optional(self, arg_string: str) -> Any:
        return None if arg_string.startswith("-:") else super()._parse_optional(arg_string)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and not isinstance(action, argparse._AppendAction):
            if action in self._given:
                raise argparse.ArgumentError(action, "is given twice")
            self._given.append(action)
        return super()._get_values(action, arg_strings)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Formats help identically in all versions of Python, `-o, --output OUT.onnx`, as 3.13 does, and on all terminals:
    argparse would ask for their width for each declared argument, with expensive imports."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=78)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {self._format_args(action, action.dest.upper())}"


def _add(commands: Commands, name: str, text: str, usage: str, many: str | None) -> argparse.ArgumentParser:
    """Add a command; `many` is the name of its argument that takes any number of files, or one besides FILE."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        usage=f"netdsl {name} {usage}",
        help=text,
        description=text[0].upper() + text[1:] + ".",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    volume = parser.add_mutually_exclusive_group()
    quiet = "print only results and errors, in `check` also warnings"
    volume.add_argument("-q", "--quiet", action="store_true", help=quiet)
    volume.add_argument("-v", "--verbose", action="store_true", help="tell more about what is done")
    parser.set_defaults(command=_call(f"netdsl.cli.{name}"), parser=parser, many=many)
    return parser


def _call(module: str) -> Callable[[argparse.Namespace], int]:
    """Return the `command` function of a module, which is imported when called."""

    def command(options: argparse.Namespace) -> int:
        from importlib import import_module

        code: int = import_module(module).command(options)
        return code

    return command


def _check(commands: Commands) -> None:
    parser = _add(commands, "check", "check every net of the files", "FILE ... [OPTION ...]", "files")
    parser.add_argument("files", nargs="+", metavar="FILE", help=FILE)
    parser.add_argument("--fix", action="store_true", help="apply edits that cannot change the meaning")
    parser.add_argument("--diff", action="store_true", help="show what --fix changes; alone, write nothing")
    _spec(parser)


def _compile(commands: Commands) -> None:
    parser = _add(commands, "compile", "compile a net to ONNX", "FILE [OPTION ...]", None)
    parser.add_argument("file", metavar="FILE", help=FILE)
    parser.add_argument("-o", "--output", metavar="OUT.onnx", help="where to write; NET.onnx in this folder by default")
    parser.add_argument("--force", action="store_true", help="overwrite a file that netdsl did not make")
    parser.add_argument("--batch", type=_positive, metavar="N", help="fix the batch size (default: dynamic)")
    parser.add_argument("--opset", type=_opset, default=21, metavar="N", help="ONNX opset, 17 to 26; 21 by default")
    parser.add_argument("--dtype", choices=FLOATS, default="f32", metavar="T", help="compute in f32, or in f16")
    parser.add_argument("--io", choices=FLOATS, metavar="T", help="the type of inputs and outputs, f32 by default")
    parser.add_argument("--quantize", choices=("int8",), metavar="T", help="compute in int8; needs --calibrate")
    _append(parser, "--calibrate", "DATA", "examples for --quantize, as `run` takes them; may be given several times")
    _append(parser, "--metadata", "KEY=VALUE", "something that the model tells of itself; may be given several times")
    parser.add_argument("--functions", action="store_true", help="keep blocks as functions, which viewers show folded")
    parser.add_argument("--external-data", action="store_true", help="put the weights beside the model: OUT.onnx.data")
    parser.add_argument("--training", action="store_true", help="compile a step of the net's training instead")
    _weights(parser)
    _spec(parser)


def _summary(commands: Commands) -> None:
    parser = _add(commands, "summary", "show the layers of a net and their figures", "FILE [OPTION ...]", None)
    parser.add_argument("file", metavar="FILE", help=FILE)
    parser.add_argument("--batch", type=_positive, metavar="N", help="count memory for N examples; one by default")
    parser.add_argument("--depth", type=_positive, metavar="N", help="fold what is deeper than N scopes")
    parser.add_argument(
        "--format",
        dest="form",
        choices=("text", "json", "csv", "markdown"),
        default="text",
        metavar="FORM",
        help="text, json, csv or markdown; text by default",
    )
    parser.set_defaults(format="text")
    _net(parser)


def _layers(commands: Commands) -> None:
    parser = _add(commands, "layers", "list the layers, or print their pages", "[NAME ...] [--json]", "names")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a layer, such as conv")
    parser.add_argument("--json", action="store_true", help="print an array of objects: the declarations")


def _explain(commands: Commands) -> None:
    parser = _add(commands, "explain", "tell what a code means, or list them all", "[CODE ...] [--json]", "codes")
    parser.add_argument("codes", nargs="*", metavar="CODE", help="of an error or a warning, such as E0310")
    parser.add_argument("--json", action="store_true", help="print an array of objects")


def _zoo(commands: Commands) -> None:
    parser = _add(commands, "zoo", "list the shipped networks, show one or copy it", ZOO, "words")
    parser.add_argument(
        "words", nargs="*", metavar="show|copy NAME [DIR]", help="print a spec, or copy it and its uses"
    )
    parser.add_argument("--json", action="store_true", help="print an array of objects: the networks")


def _devices(commands: Commands) -> None:
    parser = _add(commands, "devices", "list what onnxruntime can compute on here", "[--json]", None)
    parser.add_argument("--json", action="store_true", help="print an object")


def _completion(commands: Commands) -> None:
    parser = _add(commands, "completion", "print a script by which a shell completes", "bash|zsh|fish", None)
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help='for bash: eval "$(netdsl completion bash)"')


def _weights(parser: argparse.ArgumentParser) -> None:
    from netdsl.cli.weight_options import add

    add(parser, "drawn from the seed without it")
    parser.add_argument("--seed", type=_seed, metavar="N", help="seed of drawn weights; 0 by default")


def _net(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="set a parameter of the net")
    parser.add_argument("--strict", action="store_true", help="treat warnings as errors")
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="only allow `use` (default: FILE's folder) and training data (default: anywhere) below this folder",
    )


def _spec(parser: argparse.ArgumentParser) -> None:
    _net(parser)
    parser.add_argument(
        "--format",
        choices=("text", "short", "json", "github"),
        default="text",
        metavar="FORM",
        help="how problems are shown: text or short on stderr, json or github on stdout; text by default",
    )


def _append(parser: argparse.ArgumentParser, name: str, metavar: str, text: str) -> None:
    parser.add_argument(name, action="append", default=[], metavar=metavar, help=text)


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


def _from(module: str, name: str) -> Callable[[Commands], None]:
    """Return a function that declares a command, from a module that is imported when needed."""

    def declare(commands: Commands) -> None:
        from importlib import import_module

        getattr(import_module(f"netdsl.cli.{module}"), name)(commands)

    return declare


COMMANDS = {
    "check": _check,
    "summary": _summary,
    "draw": _from("draw_options", "draw"),
    "compile": _compile,
    "run": _from("run_options", "run"),
    "train": _from("train_options", "train"),
    "eval": _from("train_options", "evaluate"),
    "attack": _from("picture_options", "attack"),
    "filters": _from("picture_options", "filters"),
    "weights": _from("weight_options", "weights"),
    "diff": _from("weight_options", "diff"),
    "compare": _from("compare_options", "compare"),
    "view": _from("compare_options", "view"),
    "zoo": _zoo,
    "layers": _layers,
    "explain": _explain,
    "devices": _devices,
    "completion": _completion,
}
"""The function that declares each command, in the order of the help."""
