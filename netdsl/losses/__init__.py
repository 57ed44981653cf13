"""The built-in losses, one module per loss or small family."""

from __future__ import annotations

from netdsl.losses import binary, cross_entropy, hinge, perceptron, squared  # noqa: F401 -- each declares its own
from netdsl.losses.base import LOSSES, Loss, Target

__all__ = ["LOSSES", "Loss", "Target"]
