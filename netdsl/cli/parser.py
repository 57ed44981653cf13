"""Parse the command line with argparse, from the tables in `options`."""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise

from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.base.version import VERSION
from netdsl.cli.commands import COMMANDS
from netdsl.cli.options import options_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from netdsl.cli.option import Option

    Commands = argparse._SubParsersAction["_Parser"]


class WrongUsage(UserError, code="E0666", title="wrong usage", exit_code=USAGE_IS_WRONG):
    """A command line that a command does not accept: an unknown command or option, a value out of its range, or a
    missing argument. `netdsl help COMMAND` lists what a command accepts.

    ```sh
    netdsl help
    netdsl help train
    ```
    """

    def __init__(self, parser: argparse.ArgumentParser, message: str) -> None:
        super().__init__(message, parser.format_usage().strip())
        self.prog = parser.prog

    def __str__(self) -> str:
        """Format as argparse does: the usage, then the message."""
        return f"{self.helps[0]}\n{self.prog}: error: {self.message}"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; `name` in the result is the command's. Raises WrongUsage.

    Options can precede, separate and follow the files. Without a command, and as `help COMMAND`, print the help.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words or words[0] == "help":
        words = [*words[1:2], "--help"]
    parser = _declared(words)
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        parser.error(_unknown_command(words[0]))
    options, rest = parser.parse_known_args(words)
    _take(rest, options)
    if options.json and options.format not in (None, "json"):
        options.parser.error(f"--json and --format {options.format} contradict each other")
    options.format = "json" if options.json else options.format or "text"
    options.json = options.format == "json"
    return options


def asks_for_json(words: Sequence[str]) -> bool:
    """Return whether a command line, right or wrong, has `--format json` or `--json`."""
    return "--json" in words or "--format=json" in words or ("--format", "json") in pairwise(words)


_OTHER_WORDS = {
    "init": "new create",
    "summary": "info inspect",
    "draw": "plot visualize render graph",
    "compile": "export convert build save",
    "run": "predict infer classify",
    "train": "fit",
    "eval": "test validate score",
    "zoo": "models list download",
}
"""Commands, and words for them in other programs."""


def _unknown_command(word: str) -> str:
    """Return the message about a word in the place of a command."""
    if word.endswith((".net", ".onnx")):
        command = "check" if word.endswith(".net") else "run"
        return f"{word} is a file, not a command; did you mean `netdsl {command} {word}`?"
    from netdsl.base.suggest import suggest

    ours = [name for name, words in _OTHER_WORDS.items() if word in words.split()]
    close = "".join(ours or suggest(word, COMMANDS)[:1])
    return f"there is no command `{word}`; " + (f"did you mean `{close}`?" if close else "`netdsl help` lists them")


def _declared(words: list[str]) -> argparse.ArgumentParser:
    """Return a parser with the command that is called, or with all commands if none is.

    Only commands in `words` have their options: declaring those of all takes half as long as Python's start.
    """
    parser = _Parser(
        prog="netdsl",
        usage="netdsl COMMAND ...",
        description="Neural networks as short as the table in their paper, compiled to ONNX.",
        epilog="`netdsl help COMMAND` lists the options of a command, `netdsl layers NAME`\n"
        "describes a layer, and `netdsl explain CODE` an error. `netdsl docs` lists the\n"
        "documentation. To begin, type `netdsl init`, or `netdsl docs tutorial`.",
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"netdsl {VERSION}", help="print the version and exit")
    # Without `prog`, argparse renders a usage line to find it, which takes milliseconds.
    commands = parser.add_subparsers(title="commands", dest="name", metavar="COMMAND", prog="netdsl", required=True)
    for name in words[:1] if words[:1] and words[0] in COMMANDS else COMMANDS:
        _declare(commands, name, options_of(name) if name in words else [])
    return parser


def _declare(commands: Commands, name: str, options: list[Option]) -> None:
    """Add a command with its options."""
    usage, text = COMMANDS[name]
    parser = commands.add_parser(
        name,
        usage=f"netdsl {name} {usage}",
        help=text,
        description=text[0].upper() + text[1:] + ".",
        formatter_class=_Formatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    groups: dict[str, argparse._ActionsContainer] = {"": parser}
    for option in options:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        group = groups[option.group]
        if option.exclusive:
            if option.exclusive not in groups:
                groups[option.exclusive] = group.add_mutually_exclusive_group()
            group = groups[option.exclusive]
        _add(group, option)


def _add(group: argparse._ActionsContainer, option: Option) -> None:
    keywords: dict[str, Any] = {"dest": option.dest, "help": option.help.replace("%", "%%")}
    if option.is_switch:
        keywords["action"] = "help" if option.dest == "help" else "store_true"
    else:
        metavar = option.metavar[0] if len(option.metavar) == 1 else tuple(option.metavar)
        keywords.update(metavar=metavar, type=option.type, choices=option.choices or None, nargs=option.nargs)
        keywords["default"] = option.default
        if option.const is not None:
            keywords["const"] = option.type(option.const) if option.type else option.const
    if option.repeated:
        keywords.update(action="extend" if option.nargs == "+" else "append", default=[])
    action = group.add_argument(*option.names, *filter(None, [option.former]), **keywords)
    if option.former:
        action.option_strings = option.names  # the help shows these only


def _take(rest: list[str], options: argparse.Namespace) -> None:
    """Assign the arguments that argparse leaves over: files that follow an option. Anything else is an error."""
    parser: argparse.ArgumentParser = options.parser
    for word in rest:
        if word.startswith("-") and word != "-" and not word.startswith("-:"):
            from netdsl.base.suggest import suggest

            known = [name for option in options_of(options.name) for name in option.names]
            typed = word.partition("=")[0]
            close = "".join(suggest(typed, known)[:1])
            if options.name == "train":
                from netdsl.elaborate.overrides import setting_for

                close = setting_for(typed.strip("-")) or close
            parser.error(f"there is no option {word}" + (f"; did you mean {close}?" if close else ""))
        places = [option.dest for option in options_of(options.name) if not option.names and option.nargs]
        taken = getattr(options, places[0]) if places else ""
        if isinstance(taken, str):
            parser.error(f"unexpected argument {word}" + ("; one FILE is enough" if "file" in options else ""))
        setattr(options, places[0], word if taken is None else [*taken, word])


class _Parser(argparse.ArgumentParser):
    """An argument parser for which `-:NET` is a net of standard input, and options are given once, except for lists."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._given: list[argparse.Action] = []

    def error(self, message: str) -> NoReturn:
        raise WrongUsage(self, message)

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
