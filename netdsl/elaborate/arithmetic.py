"""Arithmetic on the values of the language: exact for integers and fractions, bounded everywhere."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from netdsl.base.limits import INTEGER_BITS, ROUNDS
from netdsl.base.shape import Size, Undecidable
from netdsl.base.terminal import shortened
from netdsl.diagnostics import expression_problems as problems

if TYPE_CHECKING:
    from netdsl.base.text import Span
    from netdsl.elaborate.context import Context
    from netdsl.syntax import ast


def show(value: Any, depth: int = 2) -> str:
    """Format a value as in the language; lists in lists only to some depth."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        entries = ", ".join(
            "[…]" if isinstance(entry, tuple) and depth == 0 else show(entry, depth - 1) for entry in value[:8]
        )
        return f"[{entries}, …]" if len(value) > 8 else f"[{entries}]"
    if type(value) is str:
        return f'"{shortened(value)}"'
    if bits(value) > 256:
        return f"a number of {bits(value)} bits"
    return str(value)


def bits(value: Any) -> int:
    """Return the number of bits of an integer, or of the longer integer of a fraction; 0 for anything else."""
    if isinstance(value, int):
        return value.bit_length()
    if hasattr(value, "denominator"):
        return int(max(value.numerator.bit_length(), value.denominator.bit_length()))
    return 0


def is_number(value: Any) -> bool:
    """Return whether a value is an integer, a fraction or a float; booleans are not numbers."""
    return type(value) in (int, float) or (hasattr(value, "denominator") and not isinstance(value, bool))


def divide(left: Any, right: Any) -> Any:
    """Divide exactly for exact operands; return an int if the quotient is whole."""
    if type(left) is float or type(right) is float:
        return left / right
    if type(left) is int and type(right) is int and right and left % right == 0:
        return left // right
    from fractions import Fraction

    quotient = Fraction(left) / Fraction(right)
    return quotient.numerator if quotient.denominator == 1 else quotient


def power(left: Any, right: Any) -> Any:
    """Return a power. Raises OverflowError before the result exceeds any use of it."""
    if isinstance(right, int) and bits(left) * abs(right) > INTEGER_BITS and left not in (1, -1):
        raise OverflowError
    if isinstance(left, int) and isinstance(right, int):
        return left**right if right >= 0 else divide(1, left**-right)
    value = left**right
    if isinstance(value, complex):
        raise ValueError
    return value


_ARITHMETIC = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": power,
}
_COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def binary(op: str, left: Any, right: Any, span: Span, operand: ast.Expr, context: Context) -> Any:
    """Return `left op right`; the span is that of the operator."""
    if type(left) is int and type(right) is int and op != "**" and (right or op in "+-*"):
        value = _ARITHMETIC[op](left, right)
    else:
        value = _general(op, left, right, span, operand, context)
    if type(value) is not float and bits(value) > INTEGER_BITS:
        context.reject(problems.TooBig, span, what="the result")
    return value


def _general(op: str, left: Any, right: Any, span: Span, operand: ast.Expr, context: Context) -> Any:
    numbers = is_number(left) and is_number(right)
    sizes = {Size, int} >= {type(left), type(right)} and op in ("+", "-", "*", "//", "%")
    lists = isinstance(left, tuple) and ((op == "+" and isinstance(right, tuple)) or (op == "*" and type(right) is int))
    if not (numbers or sizes or lists):
        what = f"`{op}` does not go with {show(left)} and {show(right)}"
        context.reject(problems.BadOperation, span, what=what)
    if lists and (len(left) * right if op == "*" else len(left) + len(right)) > ROUNDS:
        context.reject(problems.TooBig, span, what="the list")
    if lists:
        entries = len(left) * right if op == "*" else len(left) + len(right)
        context.module.work.spend(entries // 4, span, context.frame)
    if sizes:
        terms = sum(len(size.terms) for size in (left, right) if isinstance(size, Size))
        context.module.work.spend(terms, span, context.frame)
    try:
        value = _ARITHMETIC[op](left, right)
        if isinstance(value, float) and value - value != 0:
            raise OverflowError
    except ZeroDivisionError:
        context.reject(problems.DivisionByZero, operand.span)
    except OverflowError:
        context.reject(problems.TooBig, span, what="the result")
    except ValueError:
        context.reject(problems.BadOperation, span, what="the power of a negative number is not real")
    except (Undecidable, TypeError):
        size = left if isinstance(left, Size) else right
        context.reject(problems.NotDecidable, span, size=str(size))
    return value


def compare(op: str, left: Any, right: Any, span: Span, context: Context) -> bool:
    """Return `left op right` as in Python; symbolic sizes are compared if their difference decides it."""
    if isinstance(left, tuple) and isinstance(right, tuple) and len(left) == len(right):
        context.module.work.weigh(left, span, context.frame)
        context.module.work.weigh(right, span, context.frame)
    if isinstance(left, Size) or isinstance(right, Size):
        left, right = _difference(left, right, span, context), 0
    if op in ("==", "!=") and isinstance(left, bool) != isinstance(right, bool):
        return op == "!="
    if op not in ("==", "!=") and not (is_number(left) and is_number(right)):
        what = f"`{op}` does not go with {show(left)} and {show(right)}"
        context.reject(problems.BadOperation, span, what=what)
    return bool(_COMPARISONS[op](left, right))


def _difference(left: Any, right: Any, span: Span, context: Context) -> int:
    """Return the difference of two sizes, if it is the same for all values of their names."""
    try:
        difference = left - right
    except TypeError:
        difference = left
    if not isinstance(difference, int):
        context.reject(problems.NotDecidable, span, size=str(left if isinstance(left, Size) else right))
    return difference


def negate(value: Any, expr: ast.Unary, context: Context) -> Any:
    """Return the negated value."""
    if not is_number(value):
        context.reject(problems.BadOperation, expr.span, what=f"`-` does not go with {show(value)}")
    return -value


def index(value: Any, at: Any, expr: ast.Index, context: Context) -> Any:
    """Return `value[at]`, counted from 0, or from the end if negative."""
    if not isinstance(value, tuple) or type(at) is not int:
        what = f"an index takes a list and an integer, not {show(value)} and {show(at)}"
        context.reject(problems.BadOperation, expr.span, what=what)
    if not -len(value) <= at < len(value):
        context.reject(problems.OutsideList, expr.index.span, index=at, length=len(value))
    return value[at]


def truth(value: Any, expr: ast.Expr, context: Context) -> bool:
    """Return the value of a condition."""
    if type(value) is not bool:
        context.reject(problems.BadCondition, expr.span, value=show(value))
    return value
