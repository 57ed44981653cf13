"""What can be wrong with a file of weights."""

from __future__ import annotations

from netdsl.diagnostics.user_error import UserError


class BadWeightFile(UserError, code="E0701"):
    """The file is damaged, or neither safetensors nor npz. Pickled checkpoints are never read: they run programs."""


class WeightsDoNotFit(UserError, code="E0702"):
    """The file's weights are not the network's: names are missing, unknown, or of another shape.

    Weights are matched by name alone, and are never reshaped or transposed silently.
    """


class WrongWeightType(UserError, code="E0703"):
    """Weights are floating-point: float16, bfloat16 and float64 are converted to float32, integers are not."""


class BadWeightValues(UserError, code="E0704"):
    """A weight is NaN or infinite, or a variance negative: the network would compute nothing of use."""
