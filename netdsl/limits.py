"""The budgets that keep a hostile text from taking the machine; every one is far above what a network needs."""

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
