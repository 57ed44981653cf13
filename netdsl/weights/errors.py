"""What can be wrong with a file of weights."""

from __future__ import annotations

from netdsl.diagnostics.user_error import USAGE_IS_WRONG, UserError


class BadWeightFile(UserError, code="E0701"):
    """The file is damaged, or of a format that is not read. A PyTorch checkpoint may hold tensors and containers,
    and plain values beside them, and nothing else: its pickle is a program, and is not run."""


class WeightsDoNotFit(UserError, code="E0702"):
    """The file's weights are not the network's: names are missing, unknown, or of another shape.

    Weights are matched by name, after the renames that are given, or by their order where that is asked for. Every
    one is used once, and none is reshaped or transposed silently.
    """


class WrongWeightType(UserError, code="E0703"):
    """Weights are floating-point: float16, bfloat16 and float64 are converted to float32, integers are not."""


class BadWeightValues(UserError, code="E0704"):
    """A weight is NaN or infinite, or a variance negative: the network would compute nothing of use."""


class BadRename(UserError, code="E0706", exit_code=USAGE_IS_WRONG):
    """A rule for names of weights that cannot be read, or that changes no name: a pattern is a regular expression, and
    `$1` in what replaces it is what the pattern's first group found."""
