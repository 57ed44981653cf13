"""`netdsl completion SHELL`: print a completion script, generated from the tables of commands and options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.cli.arguments import FILES, FOLDERS, LAYERS, NETS, PROVIDERS, TOPICS, ZOO
from netdsl.cli.commands import COMMANDS
from netdsl.cli.messages import print_json
from netdsl.cli.options import options_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from netdsl.cli.messages import print_json
from netdsl.cli.option import Option


def command(options: argparse.Namespace) -> int:
    """Print the script. Exit code 0."""
    script = {"bash": bash, "zsh": zsh, "fish": fish}[options.shell]()
    if options.json:
        print_json({"shell": options.shell, "script": script})
    else:
        print(script)
    return 0


class Values:
    """What a shell offers in a place: words, and the paths of FILES, of FOLDERS or none."""

    __slots__ = ("paths", "words")

    def __init__(self, *options: Option) -> None:
        self.words = [*dict.fromkeys(word for option in options for word in _words(option))]
        kinds = [{NETS: FILES, ZOO: FOLDERS}.get(option.completes, option.completes) for option in options]
        self.paths = next((kind for kind in kinds if kind in (FILES, FOLDERS)), "")


def _words(option: Option) -> Iterator[str]:
    yield from option.choices
    if option.completes == ZOO:
        yield from ("show", "copy")
    if option.completes in (NETS, ZOO):
        from netdsl.app.zoo import index

        yield from index()
    if option.completes == LAYERS:
        from netdsl.app.reference import names

        yield from names()
    if option.completes == TOPICS:
        from netdsl.app.docs import all_topics

        yield from all_topics()
    if option.completes == PROVIDERS:
        from netdsl.backend.providers import KNOWN

        yield from KNOWN


def _named(command: str) -> list[Option]:
    return [option for option in options_of(command) if option.names]


def _arguments(command: str) -> Values:
    return Values(*(option for option in options_of(command) if not option.names))


BASH = r"""_netdsl() {
  local IFS=$'\n' word=${COMP_WORDS[COMP_CWORD]} words='' paths=''
  if [ $COMP_CWORD -eq 1 ]; then
    words='%(commands)s --help --version'
  else
    case "${COMP_WORDS[1]} ${COMP_WORDS[COMP_CWORD-1]}" in
%(values)s
      *)
        case "${COMP_WORDS[1]} $word" in
%(rest)s
        esac;;
    esac
  fi
  COMPREPLY=($(compgen -W "${words// /$IFS}" -- "$word")
             $([ "$paths" = files ] && compgen -f -- "$word")
             $([ "$paths" = folders ] && compgen -d -- "$word"))
}
complete -o filenames -F _netdsl netdsl"""
"""For bash 3.2 and newer. The words are split at line feeds, since file names may contain spaces."""


def bash() -> str:
    def arm(pattern: str, values: Values) -> str:
        return f"{pattern}) words='{' '.join(values.words)}' paths={values.paths};;"

    values, rest = [], []
    for command in COMMANDS:
        options = _named(command)
        for option in options:
            if not option.is_switch:
                values.append(arm("|".join(f"'{command} {name}'" for name in option.names), Values(option)))
        rest.append(f"'{command} -'*) words='{' '.join(name for option in options for name in option.names)}';;")
        rest.append(arm(f"'{command} '*", _arguments(command)))
    return BASH % {"commands": " ".join(COMMANDS), "values": _indented(6, values), "rest": _indented(10, rest)}


ZSH = """#compdef netdsl
_netdsl() {
  local -a known
  if (( CURRENT == 2 )); then
    known=(
%(commands)s
    )
    _describe command known
    return
  fi
  shift words; (( CURRENT-- ))
  case $words[1] in
%(arguments)s
  esac
}
if [ "$funcstack[1]" = _netdsl ]; then _netdsl "$@"; else compdef _netdsl netdsl; fi"""
"""For `source`, or for a file `_netdsl` on the `fpath`."""


def zsh() -> str:
    def action(values: Values) -> str:
        paths = {FILES: "_files", FOLDERS: "_files -/", "": ""}[values.paths]
        words = f"compadd {' '.join(values.words)}; " if values.words else ""
        return f"{{ {words}{paths} }}" if words else paths or " "

    arms = []
    for command in COMMANDS:
        arms.append(f"{command}) _arguments \\")
        for option in _named(command):
            help = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
            value = "" if option.is_switch else f":value:{action(Values(option))}"
            arms += [f"  {_quoted(f'{name}[{help}]{value}')} \\" for name in option.names]
        arms.append(f"  {_quoted(f'*:argument:{action(_arguments(command))}')};;")
    commands = [_quoted(f"{name}:{text}") for name, (_, text) in COMMANDS.items()]
    return ZSH % {"commands": _indented(6, commands), "arguments": _indented(4, arms)}


def fish() -> str:
    """Return lines for a file in `~/.config/fish/completions`."""

    def offered(values: Values) -> str:
        paths = {FILES: "(__fish_complete_path)", FOLDERS: "(__fish_complete_directories)", "": ""}[values.paths]
        words = " ".join(filter(None, [*values.words, paths]))
        return f" -a {_quoted(words)}" if words else ""

    first = _quoted(f"not __fish_seen_subcommand_from {' '.join(COMMANDS)}")
    lines = ["complete -c netdsl -f"]
    lines += [f"complete -c netdsl -n {first} -a {name} -d {_quoted(text)}" for name, (_, text) in COMMANDS.items()]
    for command in COMMANDS:
        here = f"complete -c netdsl -n '__fish_seen_subcommand_from {command}'"
        lines.append(f"{here}{offered(_arguments(command))}")
        for option in _named(command):
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            value = "" if option.is_switch else f" -x{offered(Values(option))}"
            lines.append(f"{here} {names} -d {_quoted(option.help)}{value}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Quote a text for all three shells: in single quotes, without any inside."""
    return "'" + text.replace("'", "’") + "'"


def _indented(columns: int, lines: list[str]) -> str:
    return "\n".join(" " * columns + line for line in lines)
