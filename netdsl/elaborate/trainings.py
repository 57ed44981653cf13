"""The trainings of a file, checked as far as that goes without data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.data.kinds import DataKind, Generated
from netdsl.diagnostics.loss_problems import DataMisfit, EmptyPart
from netdsl.diagnostics.name_problems import DefinedTwice
from netdsl.elaborate.recipes import build
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.diagnostics.problem import Problem
    from netdsl.elaborate.module import Module
    from netdsl.ir.recipe import Recipe


def check(module: Module) -> None:
    """Report what is wrong with the file's trainings, and a second one of a net."""
    seen: dict[str, ast.Train] = {}
    for item in module.file.items:
        if isinstance(item, ast.Train):
            name = item.name
            earlier = seen.setdefault(name.text, item)
            if earlier is not item:
                twice = DefinedTwice(span=name.span, name=f"train {name.text}", earlier=earlier.name.span)
                module.report.add(twice)
            recipe = build(item, item.settings, module)
            if recipe is not None:
                for problem in _data_problems(recipe):
                    module.report.add(problem)


def _data_problems(recipe: Recipe) -> Iterator[Problem]:
    """What is wrong with data of this kind, whatever the files hold. Checked here alone: a program may give others."""
    inputs = [node.shape for node in recipe.net.inputs]
    for data in (recipe.data, recipe.validate):
        if isinstance(data, DataKind) and (what := data.misfit(inputs, [*recipe.targets.values()])):
            yield DataMisfit(span=data.spans[""], name=data.kind, what=what, net=recipe.net.name)
    if isinstance(recipe.validate, float) and isinstance(recipe.data, Generated):
        total = recipe.data.n
        count = round(total * recipe.validate)
        if not 0 < count < total:
            yield EmptyPart(span=recipe.spans["validate"], part=recipe.validate, count=count, total=total)
