"""`netdsl completion SHELL`: print a completion script, generated from the parser."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from netdsl.cli.options import declared

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS, FILES, NOTHING = "folders", "files", "nothing"


def command(options: argparse.Namespace) -> int:
    """Print the script. Exit code 0."""
    print({"bash": bash, "zsh": zsh, "fish": fish}[options.shell](_commands()))
    return 0


class Taken:
    """What an argument accepts: words, and files, folders or nothing else."""

    __slots__ = ("others", "words")

    def __init__(self, words: tuple[str, ...] = (), others: str = NOTHING) -> None:
        self.words = words
        self.others = others


class Option:
    """An option in all its spellings; a `value` of None is a switch."""

    __slots__ = ("help", "spellings", "value")

    def __init__(self, spellings: tuple[str, ...], help: str, value: Taken | None) -> None:
        self.spellings = spellings
        self.help = help
        self.value = value


class Command:
    """A command with its options and its positional arguments."""

    __slots__ = ("help", "name", "options", "taken")

    def __init__(self, name: str, help: str, options: tuple[Option, ...], taken: Taken) -> None:
        self.name = name
        self.help = help
        self.options = options
        self.taken = taken


def _commands() -> list[Command]:
    commands = declared([])[1]
    helps = {choice.dest: choice.help or "" for choice in commands._choices_actions}
    return [_command(name, helps[name], parser) for name, parser in commands.choices.items()]


def _command(name: str, help: str, parser: argparse.ArgumentParser) -> Command:
    options, places = [], []
    for action in parser._actions:
        if action.option_strings:
            value = None if action.nargs == 0 else _taken(action)
            options.append(Option(tuple(action.option_strings), (action.help or "").replace("%%", "%"), value))
        else:
            places.append(_taken(action))
    words = tuple(dict.fromkeys(word for place in places for word in place.words))
    others = [place.others for place in places if place.others != NOTHING]
    return Command(name, help, tuple(options), Taken(words, others[0] if others else NOTHING))


def _taken(action: argparse.Action) -> Taken:
    if action.choices:
        return Taken(tuple(map(str, action.choices)))
    if action.metavar == "DIR":
        return Taken((), FOLDERS)
    if action.dest == "provider":
        from netdsl.backend.providers import KNOWN

        return Taken(tuple(KNOWN))
    if action.dest == "words":
        return Taken(("show", "copy", *_zoo()), FOLDERS)
    if action.dest == "names":
        from netdsl.layers import index

        return Taken(tuple(index()))
    if action.dest in ("file", "files", "after"):
        return Taken(_zoo(), FILES)
    kind = action.type
    free = kind is not None or action.metavar in ("NAME=VALUE", ("PATTERN", "TO"))
    return Taken() if free else Taken((), FILES)


def _zoo() -> tuple[str, ...]:
    from netdsl.app.zoo import index

    return tuple(index())


def bash(commands: list[Command]) -> str:
    """Return a function for bash 3.2 and newer. Words with spaces are taken from file names."""
    lines = [
        "_netdsl() {",
        "  local IFS=$'\\n' word=${COMP_WORDS[COMP_CWORD]} words='' others=''",
        "  if [ $COMP_CWORD -eq 1 ]; then",
        f"    words='{' '.join([command.name for command in commands] + ['--help', '--version'])}'",
        "  else",
        '    case "${COMP_WORDS[1]} ${COMP_WORDS[COMP_CWORD-1]}" in',
    ]
    for command in commands:
        for option in command.options:
            if option.value is not None:
                spelled = "|".join(f"'{command.name} {spelling}'" for spelling in option.spellings)
                lines.append(f"      {spelled}) {_bash(option.value)};;")
    lines += ["      *)", '        case "${COMP_WORDS[1]} $word" in']
    for command in commands:
        options = " ".join(spelling for option in command.options for spelling in option.spellings)
        lines.append(f"          '{command.name} -'*) words='{options}';;")
        lines.append(f"          '{command.name} '*) {_bash(command.taken)};;")
    lines += [
        "        esac;;",
        "    esac",
        "  fi",
        '  COMPREPLY=($(compgen -W "${words// /$IFS}" -- "$word")',
        '             $([ "$others" = files ] && compgen -f -- "$word")',
        '             $([ "$others" = folders ] && compgen -d -- "$word"))',
        "}",
        "complete -o filenames -F _netdsl netdsl",
    ]
    return "\n".join(lines)


def _bash(taken: Taken) -> str:
    return f"words='{' '.join(taken.words)}' others={taken.others}"


def zsh(commands: list[Command]) -> str:
    """Return a function for `compdef`, or a file `_netdsl` on the `fpath`."""
    lines = ["#compdef netdsl", "_netdsl() {", "  local -a known", "  if (( CURRENT == 2 )); then", "    known=("]
    lines += [f"      {_quoted(f'{command.name}:{command.help}')}" for command in commands]
    lines += ["    )", "    _describe command known", "    return", "  fi", "  shift words; (( CURRENT-- ))"]
    lines.append("  case $words[1] in")
    for command in commands:
        lines.append(f"    {command.name}) _arguments \\")
        for option in command.options:
            for spelling in option.spellings:
                help = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
                value = "" if option.value is None else f":value:{_zsh(option.value)}"
                lines.append(f"      {_quoted(f'{spelling}[{help}]{value}')} \\")
        lines.append(f"      {_quoted(f'*:argument:{_zsh(command.taken)}')};;")
    lines += ["  esac", "}"]
    lines.append('if [ "$funcstack[1]" = _netdsl ]; then _netdsl "$@"; else compdef _netdsl netdsl; fi')
    return "\n".join(lines)


def _zsh(taken: Taken) -> str:
    files = {FILES: "_files", FOLDERS: "_files -/", NOTHING: ""}[taken.others]
    if not taken.words:
        return files or " "
    words = f"compadd {' '.join(taken.words)}"
    return f"{{ {words}; {files} }}" if files else f"{{ {words} }}"


def fish(commands: list[Command]) -> str:
    """Return lines for a file in `~/.config/fish/completions`."""
    names = " ".join(command.name for command in commands)
    lines = ["complete -c netdsl -f"]
    first = f"not __fish_seen_subcommand_from {names}"
    for command in commands:
        lines.append(f"complete -c netdsl -n {_quoted(first)} -a {command.name} -d {_quoted(command.help)}")
    for command in commands:
        here = f"complete -c netdsl -n {_quoted(f'__fish_seen_subcommand_from {command.name}')}"
        lines.append(f"{here} {_fish(command.taken)}".rstrip())
        for option in command.options:
            spelled = " ".join(_spelling(spelling) for spelling in option.spellings)
            value = "" if option.value is None else f" -x {_fish(option.value)}"
            lines.append(f"{here} {spelled} -d {_quoted(option.help)}{value}".rstrip())
    return "\n".join(lines)


def _spelling(option: str) -> str:
    return f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"


def _fish(taken: Taken) -> str:
    files = {FILES: "(__fish_complete_path)", FOLDERS: "(__fish_complete_directories)", NOTHING: ""}[taken.others]
    words: Iterator[str] = (word for word in (*taken.words, files) if word)
    joined = " ".join(words)
    return f"-a {_quoted(joined)}" if joined else ""


def _quoted(text: str) -> str:
    """Quote a text for all three shells: in single quotes, without any inside."""
    return "'" + text.replace("'", "’") + "'"
