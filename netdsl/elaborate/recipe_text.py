"""A recipe as a `train` block, with all that it leaves to defaults written out and all values computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.elaborate.declared import written
from netdsl.elaborate.recipe_outputs import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netdsl.elaborate.context import Context
    from netdsl.ir.recipe import Recipe
    from netdsl.syntax import ast


def text(recipe: Recipe, exceptions: Sequence[ast.Expr], freeze: Sequence[ast.Setting], context: Context) -> str:
    """The block; paths in it are relative to the same folder as in the original."""
    lines = "".join(f"  {line}\n" for line in _lines(recipe, exceptions, freeze, context))
    return f"train {recipe.name} {{\n{lines}}}\n"


def _lines(
    recipe: Recipe, exceptions: Sequence[ast.Expr], freeze: Sequence[ast.Setting], context: Context
) -> Iterator[str]:
    yield f"data {written(recipe.data)}"
    if recipe.validate is not None:
        part = isinstance(recipe.validate, float)
        yield f"validate {recipe.validate!r}" if part else f"validate {written(recipe.validate)}"  # type: ignore[arg-type]
    yield from (f"loss {line.output} {written(line.loss)}" for line in recipe.losses)
    yield from (f"metric {line.output} {written(line.metric)}" for line in recipe.metrics)
    names = " ".join(path_of(expr, context) for expr in exceptions)
    yield f"optimizer {written(recipe.optimizer)}" + (f" except {names}" if names else "")
    yield f"schedule {written(recipe.schedule)}"
    yield f"batch {recipe.batch}"
    yield f"steps {recipe.steps}" if recipe.steps is not None else f"epochs {recipe.epochs}"
    yield f"seed {recipe.seed}"
    yield f"keep {recipe.keep}"
    if recipe.augment:
        yield f"augment {{ {'; '.join(map(written, recipe.augment))} }}"
    for line in freeze:
        yield f"freeze {' '.join(path_of(expr, context) for expr in line.values)}"
