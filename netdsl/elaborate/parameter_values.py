"""Convert Python values to values of the language for the parameters of a net."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from netdsl.base.limits import INTEGER_BITS, NESTING
from netdsl.base.text import Source, Span
from netdsl.base.user_error import WrongArgumentType, WrongArgumentValue
from netdsl.declare.arguments import Word
from netdsl.diagnostics.problem import Rejected
from netdsl.elaborate.arithmetic import show_value
from netdsl.elaborate.blocks import domain_of
from netdsl.elaborate.context import Poisoned
from netdsl.elaborate.expressions import default_value
from netdsl.elaborate.net import resolve
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.elaborate.context import Context, ExprValue
    from netdsl.elaborate.module import Module
    from netdsl.elaborate.net import Given

_SOURCE_NAME = "<parameters>"
"""Name in messages of the text that the values are in."""


def from_python(values: Mapping[str, object], module: Module, owner: Module, definition: ast.Net | ast.Alias) -> Given:
    """Return the values of the parameters with their locations in messages. `module` is the file from which the
    net was requested, and `definition` of `owner` is that net.

    Raises WrongArgumentType or WrongArgumentValue for values that the language does not have, and Rejected or Poisoned.
    """
    if not values:
        return {}
    instance = resolve(owner, definition, {})
    declared = {parameter.name.text: parameter for parameter in instance.definition.parameters}
    plain: dict[str, ExprValue] = {}
    for name, value in values.items():
        parameter = declared.get(name)
        texts = parameter is None or _takes_text(parameter, instance.module.context)
        plain[name] = _plain(name, value, texts)
    source = Source(_SOURCE_NAME, "")
    given: Given = {}
    for name, value in plain.items():
        start = len(source.text)
        source.text += f"{name} = {show_value(value)}\n"
        given[name] = (value, Span(source, start, start + len(name)))
    return {name: (_meant(value, span, module.context), span) for name, (value, span) in given.items()}


def _takes_text(parameter: ast.Parameter, context: Context) -> bool:
    """Return whether the default of a parameter, or a value of its domain, is a text or a list with one."""
    if parameter.default is None:
        return True
    try:
        values = [default_value(parameter.default, context), *(domain_of(parameter, context) or ())]
    except (Rejected, Poisoned):
        return True
    return any(type(entry) is str for value in values for entry in (value if isinstance(value, tuple) else (value,)))


def _plain(name: str, value: object, texts: bool, depth: int = 0) -> ExprValue:
    """Convert a value; a str becomes a text, or a word if it is one."""
    if isinstance(value, str):
        return Word(value) if value.isidentifier() and not texts else str(value)
    if isinstance(value, list | tuple) and depth < NESTING:
        return tuple([_plain(name, entry, texts, depth + 1) for entry in value])
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if hasattr(value, "__index__"):
        whole = int(value)
        if whole.bit_length() <= INTEGER_BITS:
            return whole
    elif not isinstance(value, float | list | tuple):
        kind = type(value).__name__
        raise WrongArgumentType(f"the parameter {name!r} takes a number, a bool, a str, or a list of these, not {kind}")
    raise WrongArgumentValue(f"the value of the parameter {name!r} is infinite, too large, or too deep")


def _meant(value: ExprValue, span: Span, context: Context) -> ExprValue:
    """Resolve the words in a value: blocks, `let`s, or words of layers such as `same`."""
    if isinstance(value, tuple):
        return tuple([_meant(entry, span, context) for entry in value])
    return default_value(ast.Name(span, str(value)), context) if isinstance(value, Word) else value
