"""Arithmetic on the values of the language: exact for integers and fractions, bounded everywhere."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, NoReturn

from netdsl.base.limits import INTEGER_BITS, ROUNDS
from netdsl.base.shape import Size, Undecidable
from netdsl.base.terminal import shortened
from netdsl.declare.arguments import is_number
from netdsl.diagnostics import problems

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.base.text import Span
    from netdsl.declare.arguments import Number
    from netdsl.elaborate.context import Context, ExprValue
    from netdsl.syntax import ast


def show_value(value: object, depth: int = 2) -> str:
    """Format a value as in the language; lists in lists only to some depth."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        entries = ", ".join(
            "[…]" if isinstance(entry, tuple) and depth == 0 else show_value(entry, depth - 1) for entry in value[:8]
        )
        return f"[{entries}, …]" if len(value) > 8 else f"[{entries}]"
    if type(value) is str:
        return f'"{shortened(value)}"'
    if bits(value) > 256:
        return f"a number of {bits(value)} bits"
    return str(value)


def bits(value: object) -> int:
    """Return the number of bits of an integer, or of the longer integer of a fraction; 0 for anything else."""
    if is_number(value) and not isinstance(value, float):
        return max(value.numerator.bit_length(), value.denominator.bit_length())
    return 0


def _divide(left: Number, right: Number) -> Number:
    """Divide exactly for exact operands; return an int if the quotient is whole."""
    if type(left) is float or type(right) is float:
        return left / right
    if type(left) is int and type(right) is int and right and left % right == 0:
        return left // right
    from fractions import Fraction

    quotient = Fraction(left) / Fraction(right)
    return quotient.numerator if quotient.denominator == 1 else quotient


def _power(left: Number, right: Number) -> Number:
    """Return a power. Raises OverflowError before the result exceeds any use of it."""
    if isinstance(right, int) and bits(left) * abs(right) > INTEGER_BITS and left not in (1, -1):
        raise OverflowError
    if isinstance(left, int) and isinstance(right, int):
        return left**right if right >= 0 else _divide(1, left**-right)
    value = left**right
    if isinstance(value, complex):
        raise ValueError
    return value


_ARITHMETIC: dict[str, Callable[..., ExprValue]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": _power,
}
_COMPARISONS: dict[str, Callable[..., bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def binary(op: str, left: ExprValue, right: ExprValue, span: Span, operand: ast.Expr, context: Context) -> ExprValue:
    """Return `left op right`; the span is that of the operator, `operand` the expression on its right."""
    value: ExprValue
    if type(left) is int and type(right) is int and op != "**" and (right or op in "+-*"):
        value = _ARITHMETIC[op](left, right)
    elif isinstance(left, tuple):
        return _of_lists(op, left, right, span, context)
    elif is_number(left) and is_number(right):
        value = _of_numbers(op, left, right, span, operand, context)
    else:
        value = _of_sizes(op, left, right, span, operand, context)
    if type(value) is not float and bits(value) > INTEGER_BITS:
        context.reject(problems.TooBig, span, what="the result")
    return value


def _reject_operands(op: str, left: ExprValue, right: ExprValue, span: Span, context: Context) -> NoReturn:
    context.reject(
        problems.BadOperation, span, what=f"`{op}` is not defined for {show_value(left)} and {show_value(right)}"
    )


def _of_numbers(op: str, left: Number, right: Number, span: Span, operand: ast.Expr, context: Context) -> ExprValue:
    try:
        value = _ARITHMETIC[op](left, right)
        if isinstance(value, float) and not math.isfinite(value):
            raise OverflowError
    except ZeroDivisionError:
        context.reject(problems.DivisionByZero, operand.span)
    except OverflowError:
        context.reject(problems.TooBig, span, what="the result")
    except ValueError:
        context.reject(problems.BadOperation, span, what="the power of a negative number is not real")
    return value


def _of_lists(op: str, left: tuple[ExprValue, ...], right: ExprValue, span: Span, context: Context) -> ExprValue:
    """Concatenate two lists, or repeat a list."""
    if op == "+" and isinstance(right, tuple):
        count = len(left) + len(right)
    elif op == "*" and type(right) is int:
        count = len(left) * max(right, 0)
    else:
        _reject_operands(op, left, right, span, context)
    if count > ROUNDS:
        context.reject(problems.TooBig, span, what="the list")
    context.module.work.spend(count // 4, span, context.frame)
    return _ARITHMETIC[op](left, right)


def _of_sizes(op: str, left: ExprValue, right: ExprValue, span: Span, operand: ast.Expr, context: Context) -> ExprValue:
    """Compute with sizes known only at run time, and integers."""
    if not {Size, int} >= {type(left), type(right)} or op in ("/", "**"):
        _reject_operands(op, left, right, span, context)
    sizes = [size for size in (left, right) if isinstance(size, Size)]
    context.module.work.spend(sum(len(size.terms) for size in sizes), span, context.frame)
    try:
        return _ARITHMETIC[op](left, right)
    except ZeroDivisionError:
        context.reject(problems.DivisionByZero, operand.span)
    except OverflowError:
        context.reject(problems.TooBig, span, what="the result")
    except (Undecidable, TypeError):
        context.reject(problems.NotDecidable, span, size=str(sizes[0]))


def compare_values(op: str, left: ExprValue, right: ExprValue, span: Span, context: Context) -> bool:
    """Return `left op right` as in Python; symbolic sizes are compared if their difference decides it."""
    if op == "in":
        if not isinstance(right, tuple):
            _reject_operands(op, left, right, span, context)
        context.module.work.spend(len(right), span, context.frame)
        return any(compare_values("==", left, entry, span, context) for entry in right)
    if isinstance(left, tuple) and isinstance(right, tuple) and len(left) == len(right):
        context.module.work.weigh(left, span, context.frame)
        context.module.work.weigh(right, span, context.frame)
    if isinstance(left, Size) or isinstance(right, Size):
        left, right = _difference(left, right, span, context), 0
    if op in ("==", "!=") and isinstance(left, bool) != isinstance(right, bool):
        return op == "!="
    if op not in ("==", "!=") and not (is_number(left) and is_number(right)):
        _reject_operands(op, left, right, span, context)
    return _COMPARISONS[op](left, right)


def _difference(left: ExprValue, right: ExprValue, span: Span, context: Context) -> int:
    """Return the difference of two sizes, if it is the same for all values of their names."""
    if isinstance(left, (Size, int)) and isinstance(right, (Size, int)):
        difference = left - right
        if isinstance(difference, int):
            return difference
    context.reject(problems.NotDecidable, span, size=str(left if isinstance(left, Size) else right))


def negated(value: ExprValue, expr: ast.Unary, context: Context) -> Number:
    """Return the negated value."""
    if not is_number(value):
        context.reject(problems.BadOperation, expr.span, what=f"`-` is not defined for {show_value(value)}")
    return -value


def subscript(value: ExprValue, at: ExprValue, expr: ast.Index, context: Context) -> ExprValue:
    """Return `value[at]`, counted from 0, or from the end if negative."""
    if not isinstance(value, tuple) or type(at) is not int:
        what = f"indexing needs a list and an integer, not {show_value(value)} and {show_value(at)}"
        context.reject(problems.BadOperation, expr.span, what=what)
    if not -len(value) <= at < len(value):
        context.reject(problems.OutsideList, expr.index.span, index=at, length=len(value))
    return value[at]


def cut(value: ExprValue, start: ExprValue, stop: ExprValue, expr: ast.Slice, context: Context) -> ExprValue:
    """Return `value[start:stop]`: the entries from `start` up to but not including `stop`, which must exist."""
    if not isinstance(value, tuple) or type(start) is not int or type(stop) is not int:
        given = f"{show_value(value)}, {show_value(start)} and {show_value(stop)}"
        context.reject(problems.BadOperation, expr.span, what=f"a slice needs a list and two integers, not {given}")
    length = len(value)
    for bound, written in ((start, expr.start), (stop, expr.stop)):
        if written is not None and not -length <= bound <= length:
            context.reject(problems.OutsideList, written.span, index=bound, length=length, bound=True)
    first, last = (bound + length if bound < 0 else bound for bound in (start, stop))
    if first > last:
        what = f"the slice begins at entry {first}, after its end at {last}"
        context.reject(problems.BadOperation, expr.span, what=what)
    context.module.work.spend((last - first) // 4, expr.span, context.frame)
    return value[first:last]


def truth(value: ExprValue, expr: ast.Expr, context: Context) -> bool:
    """Return the value of a condition."""
    if type(value) is not bool:
        context.reject(problems.BadCondition, expr.span, value=show_value(value))
    return value
