"""The lines of a `train` block that do not depend on the net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from netdsl.base.text import Span
from netdsl.data.augment import AUGMENTATIONS
from netdsl.data.kinds import KINDS
from netdsl.declare.arguments import Integer, Real
from netdsl.declare.declared import Declared, positional, registrar
from netdsl.diagnostics import train_problems as problems
from netdsl.elaborate.context import Poisoned
from netdsl.elaborate.declared import choose, make, missing, unknown, word
from netdsl.elaborate.layers import signature
from netdsl.optimizers import OPTIMIZERS
from netdsl.schedules import SCHEDULES
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.elaborate.context import Context

Line = ast.Setting
Figures = dict[str, type[Declared]]

FIGURES: Figures = {}
figure = registrar(FIGURES)

MANY = ("loss", "metric")
"""Keys that can be repeated."""

EXCEPT = "except"


@figure("batch")
class Batch(Declared):
    """Number of examples per step."""

    examples: int = positional(Integer())


@figure("epochs")
class Epochs(Declared):
    """Number of passes over the data."""

    number: int = positional(Integer())


@figure("steps")
class Steps(Declared):
    """Number of batches."""

    number: int = positional(Integer())


@figure("seed")
class Seed(Declared):
    """Seed of everything random."""

    number: int = positional(Integer(0))


@figure("keep")
class Keep(Declared):
    """Number of recent checkpoints to keep."""

    checkpoints: int = positional(Integer())


@registrar({})("validate")
class Part(Declared):
    """Fraction of the data to hold out."""

    part: float = positional(Real(above=0, below=1))


def number(line: Line, context: Context) -> int:
    """Return the value of a line with one number. Raises Rejected or Poisoned."""
    plain(line, context)
    cls = FIGURES[line.key.text]
    found = make(cls, line.values, context, line.key.span)
    (name,) = cls.arguments
    return int(getattr(found, name))


def data(line: Line, context: Context) -> Any:
    plain(line, context)
    return choose(line.key, line.values, KINDS, "kind of data", context)


def validate(line: Line, context: Context) -> Any:
    """Return other data, or a fraction. Raises Rejected or Poisoned."""
    if line.values and word(line.values[0]):
        return data(line, context)
    plain(line, context)
    return make(Part, line.values, context, line.key.span).part


def schedule(line: Line, context: Context) -> Any:
    plain(line, context)
    return choose(line.key, line.values, SCHEDULES, "schedule", context)


def augment(line: Line, context: Context) -> tuple[Any, ...]:
    """Return the augmentations of the line itself and of its braces. Raises Rejected or Poisoned."""
    first = [choose(line.key, line.values, AUGMENTATIONS, "augmentation", context)] if line.values else []
    if not line.values and not line.lines:
        missing(line.key, "augmentation", AUGMENTATIONS, context)
    for each in line.lines or ():
        plain(each, context)
        cls = AUGMENTATIONS.get(each.key.text)
        if cls is None:
            unknown(line.key, each.key, AUGMENTATIONS, "augmentation", context)
        first.append(make(cls, each.values, context, each.key.span))
    return tuple(first)


def optimizer(line: Line, context: Context) -> tuple[Any, tuple[ast.Expr, ...]]:
    """Return the optimizer, and the exceptions from weight decay as written. Raises Rejected or Poisoned."""
    given, exceptions = split(line, context)
    return choose(line.key, given, OPTIMIZERS, "optimizer", context), exceptions


def split(line: Line, context: Context) -> tuple[tuple[ast.Expr, ...], tuple[ast.Expr, ...]]:
    """Return the arguments of an optimizer, including those in its braces, and what follows `except`. Raises
    Rejected."""
    given = list(line.values)
    for each in line.lines or ():
        plain(each, context)
        given += [each.key, *each.values]
    words = [word(expr) for expr in given]
    if EXCEPT not in words:
        return tuple(given), ()
    cls = OPTIMIZERS.get(words[0])
    keywords = signature(cls).by_keyword if cls else ()
    begin = end = words.index(EXCEPT)
    while end + 1 < len(given) and words[end + 1] not in keywords:
        end += 1
    if EXCEPT in words[begin + 1 :]:
        again = given[words.index(EXCEPT, begin + 1)]
        context.reject(problems.LineTwice, again.span, what="`except`", earlier=given[begin].span)
    if begin == end:
        missing(ast.Name(given[begin].span, EXCEPT), "parameter", {"bias": None, "bn": None, "LABEL": None}, context)
    return (*given[:begin], *given[end + 1 :]), tuple(given[begin + 1 : end + 1])


def plain(line: Line, context: Context) -> None:
    """Reject braces after a line that takes none. Raises Rejected, or Poisoned if their content is wrong too."""
    if line.lines is None:
        return
    if not line.lines and context.module.file.broken:
        raise Poisoned
    last = line.values[-1] if line.values else line.key
    begin = line.span.source.text.index("{", last.span.end)
    braces = Span(line.span.source, begin, line.span.end)
    context.reject(problems.NoBraces, braces, key=line.key.text)


KEYS: dict[str, Callable[[Line, Context], Any] | None] = {
    "data": data,
    "validate": validate,
    "loss": None,
    "metric": None,
    "optimizer": optimizer,
    "schedule": schedule,
    **dict.fromkeys(FIGURES, number),
    "augment": augment,
    "freeze": None,
}
"""The lines of a `train` block; None if the line depends on the net."""


def unknown_key(line: Line, context: Context, more: tuple[str, ...] = ()) -> NoReturn:
    """Reject an unknown line. Raises Rejected."""
    context.reject(problems.UnknownLine, line.key.span, name=line.key.text, candidates=(*KEYS, *more))
