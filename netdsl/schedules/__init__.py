"""The built-in learning rate schedules."""

from __future__ import annotations

from netdsl.schedules import curves, plateau  # noqa: F401 -- each declares its own
from netdsl.schedules.base import SCHEDULES, Schedule

__all__ = ["SCHEDULES", "Schedule"]
