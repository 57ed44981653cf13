"""The lines of a `train` block with a single value."""

from __future__ import annotations

from netdsl.declare.arguments import Choice, Flag, Integer, Real
from netdsl.declare.declared import Declared, keyword, positional, registrar
from netdsl.ir.graph import HALVES

NUMBER_LINES: dict[str, type[Declared]] = {}
"""Lines with a single number or switch, by key."""

number_line = registrar(NUMBER_LINES)


@number_line("batch")
class Batch(Declared):
    """Number of examples per step, or per batch of a step that accumulates gradients."""

    examples: int = positional(Integer())


@number_line("accumulate")
class Accumulate(Declared):
    """Number of batches per step."""

    batches: int = positional(Integer())


@number_line("shards")
class Shards(Declared):
    """Number of parts into which the examples of a step are divided."""

    number: int = positional(Integer())


@number_line("bn")
class Bn(Declared):
    """Batch normalization of a step in several shards."""

    sync: bool = keyword(Flag(), False)


@number_line("epochs")
class _Epochs(Declared):
    """Number of passes over the data."""

    number: int = positional(Integer())


@number_line("steps")
class Steps(Declared):
    """Number of steps."""

    number: int = positional(Integer())


@number_line("seed")
class Seed(Declared):
    """Seed of everything random."""

    number: int = positional(Integer(0))


@number_line("keep")
class Keep(Declared):
    """Number of recent checkpoints to keep."""

    checkpoints: int = positional(Integer())


class Average(Declared):
    """Moving average of the weights."""

    kind = "average"
    decay: float = positional(Real(0, below=1))


class Dtype(Declared):
    """Type in which matrix products and convolutions are computed."""

    kind = "dtype"
    name: str = positional(Choice("f32", *HALVES))


class ValidationPart(Declared):
    """Fraction of the data to hold out."""

    kind = "validate"
    part: float = positional(Real(above=0, below=1))
    stratified: bool = keyword(Flag(), False)
