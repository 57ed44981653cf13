"""`--set train.KEY=VALUE`: replace lines of a `train` block from the command line."""

from __future__ import annotations

import re
from shlex import quote
from typing import TYPE_CHECKING

from netdsl.base.text import Source
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.diagnostics.foreign import training_line
from netdsl.diagnostics.problem import Rejected
from netdsl.elaborate.declared import word
from netdsl.elaborate.train_lines import LINE_KEYS, unknown_key
from netdsl.optimizers import OPTIMIZERS
from netdsl.syntax import ast
from netdsl.syntax.parse import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.elaborate.module import Module

SETTING = "--set"
"""The name of the source of a setting from the command line, in messages."""

FORM = re.compile(r"\s*train\.([A-Za-z_]\w*)(?:\.([A-Za-z_]\w*))?\s*=(.*\S.*)", re.DOTALL)
_DEFAULTS = {"optimizer": "sgd", "schedule": "constant", "bn": ""}
"""The component that a missing line selects, if it selects one."""
EXCLUDED = {"epochs": "steps", "steps": "epochs"}
NEGATIVE = re.compile(r"-\s*[\d.][\w.]*")
"""A negative number in parentheses, as needed among other arguments; here it is the only one."""


class BadTrainSetting(UserError, code="E0626", title="an invalid `--set train`", exit_code=USAGE_IS_WRONG):
    """`--set train.KEY=VALUE` replaces a line of the `train` block, and `--set train.KEY.ARGUMENT=VALUE` changes an
    argument of a line. For arguments of the optimizer, KEY can be omitted, as in `train.lr`.

    ```sh
    netdsl train net.net --set train.lr=0.01 --set train.epochs=20 --set train.optimizer=adamw
    ```
    """


def is_of_training(setting: str) -> bool:
    """Return whether a `--set` is for the `train` block rather than for a parameter of the net."""
    return setting.lstrip().startswith("train.")


def is_training_key(name: str) -> bool:
    """Return whether `--set train.NAME` sets a line of a `train` block or an argument of its optimizer."""
    return name in LINE_KEYS or name in _arguments()


def setting_for(name: str) -> str:
    """Return how to set the line of a `train` block, or the argument of its optimizer, with this name, or in another
    framework; empty if there is none."""
    key, _, value = training_line(name).partition(" ")
    if not key and is_training_key(name):
        key, value = name, "…"
    return f"--set {quote(f'train.{key}={value}')}" if key else ""


def override(training: ast.Train, settings: Sequence[str], module: Module) -> tuple[ast.Setting, ...] | None:
    """Return the lines of a block with the settings applied; None if one does not parse or has no such line, which is
    reported. Raises UserError for a setting that is malformed or repeated."""
    lines = training.settings
    seen: set[tuple[str, str]] = set()
    for setting in settings:
        matched = FORM.fullmatch(setting)
        if not matched:
            raise BadTrainSetting(f"`--set {setting}` is not of the form train.KEY=VALUE")
        key, argument, value = matched[1], matched[2] or "", matched[3].strip()
        if NEGATIVE.fullmatch(value):
            value = f"({value})"
        if not argument and key not in LINE_KEYS and key in _arguments():
            key, argument = "optimizer", key
        if (key, argument) in seen:
            raise BadTrainSetting(f"`--set {setting.partition('=')[0].strip()}` is given twice")
        seen.add((key, argument))
        line = _parsed(training.name.text, setting, key, argument, value, module)
        if line is None:
            return None
        try:
            if key not in LINE_KEYS:
                unknown_key(line, module.context, _arguments())
        except Rejected as rejected:
            module.report.add(rejected.problem)
            return None
        lines = _changed(lines, line, setting) if argument else _replaced(lines, line)
    return lines


def merge(lines: tuple[ast.Setting, ...], given: tuple[ast.Setting, ...], module: Module) -> tuple[ast.Setting, ...]:
    """Return the lines of a block with the `given` ones in place of those with the same key. An argument of the
    optimizer, such as `lr 0.1`, changes the line `optimizer`. Raises Rejected for an unknown key."""
    keys = {line.key.text for line in given}
    gone = keys | {EXCLUDED[key] for key in keys if key in EXCLUDED}
    lines = tuple(line for line in lines if line.key.text not in gone)
    for line in given:
        key = line.key
        if key.text in LINE_KEYS:
            lines = (*lines, line)
        elif key.text in _arguments():
            if len(line.values) != 1 or line.lines is not None:
                raise BadTrainSetting(f"`{line.span.text}` is more than one value")
            changed = ast.Setting(line.span, ast.Name(key.span, "optimizer"), (key, *line.values), line.lines)
            lines = _changed(lines, changed, line.span.text)
        else:
            unknown_key(line, module.context, _arguments())
    return lines


def _arguments() -> tuple[str, ...]:
    """Return the arguments of all optimizers."""
    return tuple({name: None for cls in OPTIMIZERS.values() for name in cls.arguments})


TRAINING_KEYS = frozenset({*LINE_KEYS, *_arguments()}) - {"data", "validate"}
"""The keys of lines that are no data, and of arguments of optimizers."""


def _parsed(net: str, setting: str, key: str, argument: str, value: str, module: Module) -> ast.Setting | None:
    """Return the line that a setting means, such as `optimizer lr 0.1`; None if its value does not parse."""
    name = setting.partition("=")[0].strip()
    source = Source(f"--set {name}", f"train {net} {{ {key} {f'{argument} ' if argument else ''}{value} }}")
    errors = module.report.errors
    items = parse(source, module.report).items
    if module.report.errors > errors:
        return None
    line = items[0].settings[0] if len(items) == 1 and isinstance(items[0], ast.Train) else None
    whole = line is not None and line.span.text.endswith(value) and (not argument or len(line.values) == 2)
    if line is None or not whole:
        raise BadTrainSetting(f"`--set {setting}` is more than one value")
    return line


def _replaced(lines: tuple[ast.Setting, ...], line: ast.Setting) -> tuple[ast.Setting, ...]:
    """Return the lines with this one in place of all lines that have its key or exclude it."""
    gone = {line.key.text, EXCLUDED.get(line.key.text)}
    return (*(each for each in lines if each.key.text not in gone), line)


def _changed(lines: tuple[ast.Setting, ...], line: ast.Setting, setting: str) -> tuple[ast.Setting, ...]:
    """Return the lines with one argument changed; `line` is `KEY ARGUMENT VALUE`. Raises UserError."""
    key, (name, value) = line.key.text, line.values
    at = [number for number, each in enumerate(lines) if each.key.text == key]
    if len(at) > 1 or (not at and key not in _DEFAULTS):
        found = f"{len(at)} lines" if at else "no line"
        raise BadTrainSetting(f"`--set {setting}` cannot be done: the `train` block has {found} `{key}`")
    if not at:
        kind = (ast.Name(line.key.span, _DEFAULTS[key]),) if _DEFAULTS[key] else ()
        return (*lines, ast.Setting(line.span, line.key, (*kind, name, value), None))
    before = lines[at[0]]
    flat = [*before.values, *(expr for each in before.lines or () for expr in (each.key, *each.values))]
    words = [word(expr) for expr in flat]
    place = words.index(word(name)) if word(name) in words[:-1] else len(flat)
    flat[place : place + 2] = [name, value]
    if key == "augment":
        raise BadTrainSetting(f"`--set {setting}` cannot be done: give all of `train.augment`")
    return (*lines[: at[0]], ast.Setting(before.span, before.key, tuple(flat), None), *lines[at[0] + 1 :])
