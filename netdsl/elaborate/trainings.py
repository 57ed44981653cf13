"""The trainings of a file, checked as far as that goes without data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.name_problems import DefinedTwice
from netdsl.elaborate.recipes import build
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.elaborate.module import Module


def check(module: Module) -> None:
    """Report what is wrong with the file's trainings, and a second one of a net."""
    seen: dict[str, ast.Train] = {}
    for item in module.file.items:
        if isinstance(item, ast.Train):
            name = item.name
            earlier = seen.setdefault(name.text, item)
            if earlier is not item:
                problem = DefinedTwice(span=name.span, name=f"train {name.text}", earlier=earlier.name.span)
                module.report.add(problem)
            build(item, item.settings, module)
