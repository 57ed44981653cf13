"""The functions of expressions: `len range zip enumerate sum min max round floor ceil sqrt log2`, and a file's own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from netdsl.base.limits import ROUNDS
from netdsl.diagnostics import expression_problems as problems
from netdsl.elaborate.arithmetic import binary, is_number, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.elaborate.context import Context
    from netdsl.syntax import ast

    Builtin = Callable[[tuple[Any, ...], ast.Apply, Context], Any]

FUNCTIONS: dict[str, Builtin] = {}


def _function(usage: str, accepts: Callable[[tuple[Any, ...]], bool]) -> Callable[[Callable[..., Any]], Builtin]:
    """Register a function by its usage, such as `len(list)`, under the name before the parenthesis."""
    name = usage.partition("(")[0]

    def register(compute: Callable[..., Any]) -> Builtin:
        def call(arguments: tuple[Any, ...], expr: ast.Apply, context: Context) -> Any:
            if not accepts(arguments):
                given = f"({', '.join(map(show, arguments))})" if arguments else "nothing"
                context.reject(problems.BadCall, expr.span, what=f"`{usage}` cannot take {given}")
            context.module.work.spend(sum(len(a) for a in arguments if isinstance(a, tuple)), expr.span, context.frame)
            try:
                value = compute(*arguments)
                if isinstance(value, tuple):
                    context.module.work.spend(len(value), expr.span, context.frame)
                return value
            except (OverflowError, MemoryError):
                context.reject(problems.TooBig, expr.span, what=f"the result of `{name}`")
            except ValueError:
                given = ", ".join(map(show, arguments))
                context.reject(problems.BadCall, expr.span, what=f"`{name}` has no value at {given}")

        FUNCTIONS[name] = call
        return call

    return register


def _lists(arguments: tuple[Any, ...]) -> bool:
    return bool(arguments) and all(isinstance(a, tuple) for a in arguments)


def _list(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 1 and isinstance(arguments[0], tuple)


def _number(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 1 and is_number(arguments[0])


def _numbers(arguments: tuple[Any, ...]) -> bool:
    entries = arguments[0] if _list(arguments) else arguments
    return bool(entries) and all(map(is_number, entries))


def _integers(arguments: tuple[Any, ...]) -> bool:
    return 1 <= len(arguments) <= 3 and all(type(a) is int for a in arguments)


@_function("len(list)", _list)
def _len(entries: tuple[Any, ...]) -> int:
    return len(entries)


@_function("range([start,] stop[, step])", _integers)
def _range(*bounds: int) -> tuple[int, ...]:
    numbers = range(*bounds)
    if numbers and abs(numbers[-1] - numbers[0]) // abs(numbers.step) >= ROUNDS:
        raise OverflowError
    return tuple(numbers)


@_function("zip(list, list…)", _lists)
def _zip(*lists: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(zip(*lists, strict=False))


@_function("enumerate(list)", _list)
def _enumerate(entries: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(enumerate(entries))


@_function("min(number, number…)", _numbers)
def _min(*numbers: Any) -> Any:
    return min(numbers[0] if isinstance(numbers[0], tuple) else numbers)


@_function("max(number, number…)", _numbers)
def _max(*numbers: Any) -> Any:
    return max(numbers[0] if isinstance(numbers[0], tuple) else numbers)


@_function("round(number)", _number)
def _round(number: float) -> int:
    return round(number)


@_function("floor(number)", _number)
def _floor(number: float) -> int:
    return math.floor(number)


@_function("ceil(number)", _number)
def _ceil(number: float) -> int:
    return math.ceil(number)


@_function("sqrt(number)", _number)
def _sqrt(number: Any) -> float:
    return math.sqrt(number)


@_function("log2(number)", _number)
def _log2(number: Any) -> float:
    return math.log2(number)


def _sum(arguments: tuple[Any, ...], expr: ast.Apply, context: Context) -> Any:
    if not _list(arguments) or not all(map(is_number, arguments[0])):
        given = ", ".join(map(show, arguments))
        context.reject(problems.BadCall, expr.span, what=f"`sum(list)` cannot take ({given})")
    context.module.work.spend(len(arguments[0]), expr.span, context.frame)
    total: Any = 0
    for number in arguments[0]:
        total = binary("+", total, number, expr.span, expr, context)
    return total


FUNCTIONS["sum"] = _sum
