"""The budgets that keep a hostile text from taking the machine; every one is far above what a network needs."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def kept() -> Iterator[None]:
    """While a graph is written nearly all that is made stays; to look through it again and again, ever more of it,
    takes longer than the work."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


SOURCE_BYTES = 2_000_000
"""A source file's size."""

NESTING = 100
"""Brackets within brackets, and block calls within block calls."""

LAYERS = 100_000
"""Layers of a net, all blocks and loops expanded."""

ROUNDS = 250_000
"""Rounds of all loops around a statement, multiplied; and the length of a list."""

SIZE = 2**31 - 1
"""One size of a shape, and any integer argument of a layer."""

PARAMETERS = 10**12
"""Elements of all weights."""

RANK = 32
"""Axes of a shape, the batch apart."""

INTEGER_BITS = 4096
"""Length of an integer in an expression, and of a fraction's two."""

NAME = 1_000
"""Characters of a layer's name, the scopes around it included."""

WORK = 2_500_000
"""Steps of reading and checking, as `netdsl.diagnostics.work` counts them; a step is about a microsecond."""
