"""Limits that keep a hostile program from exhausting the machine; each is far above what a network needs."""

from __future__ import annotations

import gc
from contextlib import contextmanager

TYPE_CHECKING = False  # importing typing takes longer than this module
if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def kept() -> Iterator[None]:
    """Pause garbage collection while a graph is built: nearly every object stays alive, and repeated collections of a
    growing heap take longer than the work."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


SOURCE_BYTES = 2_000_000
"""Maximum size of a source file in bytes."""

NESTING = 100
"""Maximum nesting of brackets, and of block calls."""

LAYERS = 100_000
"""Maximum number of layers of a net, with all blocks and loops expanded."""

ROUNDS = 250_000
"""Maximum number of rounds of all loops around a statement, multiplied, and maximum length of a list."""

SIZE = 2**31 - 1
"""Maximum of a size in a shape, and of an integer argument of a layer."""

PARAMETERS = 10**12
"""Maximum number of weight elements."""

RANK = 32
"""Maximum number of axes of a shape, without the batch."""

INTEGER_BITS = 4096
"""Maximum number of bits of an integer in an expression, and of the two integers of a fraction."""

NAME = 1_000
"""Maximum number of characters in a layer's name, including its scopes."""

UNPACKED_BYTES = 2**34
"""Maximum number of bytes of a file or of a member of an archive that are decompressed into memory."""

WORK = 2_500_000
"""Maximum number of steps of reading and checking, as counted by `netdsl.diagnostics.report`; a step takes about a
microsecond."""
