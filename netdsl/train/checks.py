"""What cannot be trained with the data at hand, told before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.user_error import UserError
from netdsl.ir.shape import elements, text

if TYPE_CHECKING:
    from netdsl.ir.net import Node
    from netdsl.ir.recipe import Recipe


class LoneValue(UserError, code="E0861"):
    """Batch normalisation of a single value per channel, as there is one example only: its mean is the value itself and
    its variance 0, so that every output is the bias, and the unbiased variance divides by 0."""


def check_batch(recipe: Recipe) -> None:
    """Raise LoneValue where the batch is too small for a layer. The size is the one that the data have left over."""
    for node in recipe.net.nodes if recipe.batch == 1 else ():
        if node.layer.kind == "bn" and elements(node.shape[1:]) == 1 and not _is_frozen(node, recipe):
            raise LoneValue(
                f"{node.span}: `{node.name}` normalises {text(node.shape)}, in a batch of 1 one value a channel",
                "more examples make a larger batch, and `freeze` keeps the statistics as they are",
            )


def _is_frozen(node: Node, recipe: Recipe) -> bool:
    names = {parameter.name for parameter in node.parameters.values()}
    return bool(getattr(node.parameters, "frozen", False)) or names <= recipe.freeze
