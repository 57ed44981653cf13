"""Training graphs in onnxruntime's channel-blocked layout."""

from __future__ import annotations

from netdsl.passes.blocked.blocker import Lowered
from netdsl.passes.blocked.layout import Layout
from netdsl.passes.blocked.lowering import candidate, kernel_choices, lower_blocked

__all__ = ["Layout", "Lowered", "candidate", "kernel_choices", "lower_blocked"]
