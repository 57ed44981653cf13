"""The functions of expressions, such as `len`, `range` and `sqrt`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn

from netdsl.base.limits import ROUNDS
from netdsl.declare.arguments import is_number
from netdsl.diagnostics import problems
from netdsl.elaborate.arithmetic import binary, show_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.elaborate.context import Context, ExprValue
    from netdsl.syntax import ast

    Values = tuple[ExprValue, ...]
    Builtin = Callable[[Values, ast.Apply, Context], ExprValue]


def _numbers(*numbers: ExprValue) -> bool:
    """Return whether these are numbers, or a list of them."""
    entries = numbers[0] if len(numbers) == 1 and isinstance(numbers[0], tuple) else numbers
    return bool(entries) and all(map(is_number, entries))


def _range(*bounds: int) -> Values:
    numbers = range(*bounds)
    if numbers and abs(numbers[-1] - numbers[0]) // abs(numbers.step) >= ROUNDS:
        raise OverflowError
    return tuple(numbers)


def _is_list(*values: ExprValue) -> bool:
    return len(values) == 1 and isinstance(values[0], tuple)


def _is_number(*values: ExprValue) -> bool:
    return len(values) == 1 and is_number(values[0])


_PLAIN: dict[str, tuple[Callable[..., bool], Callable[..., ExprValue]]] = {
    "len(list)": (_is_list, len),
    "range([start,] stop[, step])": (
        lambda *values: 1 <= len(values) <= 3 and all(type(value) is int for value in values),
        _range,
    ),
    "zip(list, list…)": (
        lambda *values: bool(values) and all(isinstance(value, tuple) for value in values),
        lambda *lists: tuple(zip(*lists, strict=False)),
    ),
    "enumerate(list)": (_is_list, lambda entries: tuple(enumerate(entries))),
    "reversed(list)": (_is_list, lambda entries: entries[::-1]),
    "sorted(list)": (
        lambda *values: _is_list(*values) and all(map(is_number, values[0])),
        lambda list_: tuple(sorted(list_)),
    ),
    "min(number, number…)": (_numbers, lambda *numbers: min(numbers[0] if _is_list(*numbers) else numbers)),
    "max(number, number…)": (_numbers, lambda *numbers: max(numbers[0] if _is_list(*numbers) else numbers)),
    "abs(number)": (_is_number, abs),
    "round(number)": (_is_number, round),
    "floor(number)": (_is_number, math.floor),
    "ceil(number)": (_is_number, math.ceil),
    "sqrt(number)": (_is_number, math.sqrt),
    "log2(number)": (_is_number, math.log2),
}
"""Functions that need no context, by their usage: whether they accept some arguments, and their value."""


def _plain(usage: str) -> Builtin:
    name = usage.partition("(")[0]
    accepts, compute = _PLAIN[usage]

    def call(values: Values, expr: ast.Apply, context: Context) -> ExprValue:
        if not accepts(*values):
            _reject(usage, values, expr, context)
        context.module.work.spend(sum(len(a) for a in values if isinstance(a, tuple)), expr.span, context.frame)
        try:
            value = compute(*values)
        except (OverflowError, MemoryError):
            context.reject(problems.TooBig, expr.span, what=f"the result of `{name}`")
        except ValueError:
            given = ", ".join(map(show_value, values))
            context.reject(problems.BadCall, expr.span, what=f"`{name}` has no value at {given}")
        if isinstance(value, tuple):
            context.module.work.spend(len(value), expr.span, context.frame)
        return value

    return call


def _reject(usage: str, values: Values, expr: ast.Apply, context: Context) -> NoReturn:
    given = f"({', '.join(map(show_value, values))})" if values else "no arguments"
    context.reject(problems.BadCall, expr.span, what=f"`{usage}` cannot be called with {given}")


def _fold(name: str, op: str, start: int) -> Builtin:
    """Return the function that combines the numbers of a list."""

    def call(values: Values, expr: ast.Apply, context: Context) -> ExprValue:
        entries = values[0] if len(values) == 1 else None
        if not isinstance(entries, tuple) or not all(map(is_number, entries)):
            _reject(f"{name}(list)", values, expr, context)
        context.module.work.spend(len(entries), expr.span, context.frame)
        total: ExprValue = start
        for number in entries:
            total = binary(op, total, number, expr.span, expr, context)
        return total

    return call


BUILTINS: dict[str, Builtin] = {
    **{usage.partition("(")[0]: _plain(usage) for usage in _PLAIN},
    "sum": _fold("sum", "+", 0),
    "prod": _fold("prod", "*", 1),
}
