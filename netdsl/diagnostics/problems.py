"""Every problem by its name, such as `problems.TooLarge`. The module that declares one is imported at its first use.

A text has few problems or none, and importing all modules would take a tenth of the time of a small check.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netdsl.diagnostics.advice_problems import *  # noqa: F403
    from netdsl.diagnostics.argument_problems import *  # noqa: F403
    from netdsl.diagnostics.attention_problems import *  # noqa: F403
    from netdsl.diagnostics.call_problems import *  # noqa: F403
    from netdsl.diagnostics.expression_problems import *  # noqa: F403
    from netdsl.diagnostics.layer_problems import *  # noqa: F403
    from netdsl.diagnostics.loss_problems import *  # noqa: F403
    from netdsl.diagnostics.merge_problems import *  # noqa: F403
    from netdsl.diagnostics.name_problems import *  # noqa: F403
    from netdsl.diagnostics.net_problems import *  # noqa: F403
    from netdsl.diagnostics.operand_problems import *  # noqa: F403
    from netdsl.diagnostics.part_problems import *  # noqa: F403
    from netdsl.diagnostics.recurrent_problems import *  # noqa: F403
    from netdsl.diagnostics.sequence_problems import *  # noqa: F403
    from netdsl.diagnostics.shape_problems import *  # noqa: F403
    from netdsl.diagnostics.syntax_problems import *  # noqa: F403
    from netdsl.diagnostics.text_problems import *  # noqa: F403
    from netdsl.diagnostics.train_problems import *  # noqa: F403
    from netdsl.diagnostics.unused_problems import *  # noqa: F403
    from netdsl.diagnostics.use_problems import *  # noqa: F403
    from netdsl.diagnostics.window_problems import *  # noqa: F403

SUBJECTS = """
advice argument attention call expression layer loss merge name net operand part recurrent sequence
shape syntax text train unused use window
"""
"""The modules that declare problems, without their common ending."""


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for subject in SUBJECTS.split():
            module = import_module(f"netdsl.diagnostics.{subject}_problems")
            found = vars(module).get(name)
            if found is not None and found.__module__ == module.__name__:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
