"""The budgets that keep a hostile text from taking the machine; every one is far above what a network needs."""

SOURCE_BYTES = 2_000_000
"""A source file's size."""

NESTING = 100
"""Brackets within brackets, and block calls within block calls."""

LAYERS = 250_000
"""Layers of a net, all blocks and loops expanded."""

ROUNDS = 1_000_000
"""Rounds of all loops around a statement, multiplied; and the length of a list."""

SIZE = 2**31 - 1
"""One size of a shape, and any integer argument of a layer."""

PARAMETERS = 10**12
"""Elements of all weights."""

INTEGER_BITS = 4096
"""Length of an integer in an expression."""
