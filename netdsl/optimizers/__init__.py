"""The built-in optimizers, one module per optimizer or small family."""

from __future__ import annotations

from netdsl.optimizers import adam, sgd  # noqa: F401 -- each declares its own
from netdsl.optimizers.base import OPTIMIZERS, Optimizer, Update

__all__ = ["OPTIMIZERS", "Optimizer", "Update"]
