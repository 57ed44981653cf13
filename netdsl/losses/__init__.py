"""Losses, which declare their arguments, their kind of target and their computation in ops."""

from netdsl.losses import classification, regression, sequence, untargeted  # noqa: F401 - their losses join the table
from netdsl.losses.base import LOSSES, Loss, Target

__all__ = ("LOSSES", "Loss", "Target")
