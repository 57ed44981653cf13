"""Check sizes that are known only at run time: that there are named sizes for which all axes of the inputs have the
sizes that they are declared with."""

from __future__ import annotations

import ast
import re
from operator import add, floordiv, mul, sub
from typing import TYPE_CHECKING, Any

from netdsl.base.shape import format_shape
from netdsl.base.size import Size, Undecidable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

FORMULA = re.compile(r"[\w +*/()-]{1,200}")
"""Texts that are read as formulas of named sizes; longer ones could exhaust the stack."""

OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Size | int]] = {
    ast.Add: add,
    ast.Sub: sub,
    ast.Mult: mul,
    ast.FloorDiv: floordiv,
}


class Unfit(Exception):
    """Sizes of inputs for which there are no named sizes, with a help for some."""

    def __init__(self, message: str, *helps: str) -> None:
        super().__init__(message)
        self.helps = helps


class RunTimeSizes:
    """The axes of a model's inputs whose sizes are known only at run time.

    `declared` is a number, a text or None for each axis of the inputs by name. Texts that are no names are `formulas`
    of named sizes in models of netdsl; other exporters write any text. A size that has no value in `least` is at
    least 1.
    """

    __slots__ = ("_axes", "_least", "_model")

    def __init__(
        self, model: str, declared: Mapping[str, Iterable[object]], formulas: bool, least: Mapping[str, int]
    ) -> None:
        axes = [
            (name, axis, size)
            for name, sizes in declared.items()
            for axis, text in enumerate(sizes)
            if isinstance(text, str) and isinstance(size := parsed(text, formulas), Size)
        ]
        self._axes = sorted(axes, key=lambda each: not _is_solvable(each[2]))  # others need the sizes that these have
        self._least = least
        self._model = model

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Check that there are named sizes for which all axes have their sizes. Raises Unfit."""
        found: dict[str, Size | int] = {}
        origins: dict[str, str] = {}
        for name, axis, size in self._axes:
            shape = shapes[name]
            if _is_solvable(size):
                symbol, value = self._solved(name, shape, axis, size)
                wanted, other = found.setdefault(symbol, value), origins.setdefault(symbol, name)
                if wanted != value:
                    raise Unfit(
                        f"`{symbol}` is the same size throughout {self._model}, but it is {wanted:,} in input "
                        f"`{other}` ({format_shape(shapes[other])}) and {value:,} in input `{name}` "
                        f"({format_shape(shape)})"
                    )
            elif isinstance(wanted := size.substitute(found), int) and wanted != shape[axis]:
                known = " and ".join(f"{symbol} = {found[symbol]:,}" for symbol in size.symbols)
                raise Unfit(
                    f"input `{name}` of {self._model} got {format_shape(shape)}: `{size}` must be {wanted:,}, not "
                    f"{shape[axis]:,}, with {known}"
                )

    def _solved(self, name: str, shape: tuple[int, ...], axis: int, size: Size) -> tuple[str, int]:
        """Return the named size of an axis and its value. Raises Unfit."""
        ((symbol, factor),) = size.terms
        value, rest = divmod(shape[axis] - size.constant, factor)
        least = self._least.get(str(symbol), 1)
        got = f"input `{name}` of {self._model} got {format_shape(shape)}"
        if rest:
            near = [max(least, value + more) * factor + size.constant for more in (0, 1)]
            raise Unfit(
                f"{got}: no `{symbol}` makes `{size}` equal to {shape[axis]:,}",
                f"pad or resize it to {' or '.join(f'{each:,}' for each in sorted({*near}))}",
            )
        if value < least and (least > 1 or str(size) != symbol):
            why = ", or the result of a layer is empty" if least > 1 else ""
            raise Unfit(f"{got}: `{symbol}` must be at least {least:,}{why}")
        return str(symbol), value


def _is_solvable(size: Size) -> bool:
    """Return whether a size determines the only named size that it depends on."""
    return len(size.terms) == 1 and isinstance(size.terms[0][0], str)


def parsed(text: str, formulas: bool) -> Size | int | None:
    """Return the size that a text declares; None if it is no name, and no formula."""
    if text.isidentifier():
        return Size(text)
    if not formulas or not FORMULA.fullmatch(text):
        return None
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, Undecidable):
        return None


def _value(tree: ast.expr) -> Size | int:
    """Return the value of a parsed formula. Raises Undecidable for what no size is written as."""
    match tree:
        case ast.Name():
            return Size(tree.id)
        case ast.Constant(int(number)):
            return number
        case ast.UnaryOp(ast.USub()):
            return -_value(tree.operand)
        case ast.BinOp() if operator := OPERATORS.get(type(tree.op)):
            return operator(_value(tree.left), _value(tree.right))
    raise Undecidable
