"""What a training checks beyond its single lines: whether they agree with each other and with the net."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from netdsl.data.augment import Augment
from netdsl.data.errors import BadAugment
from netdsl.diagnostics import loss_problems as problems
from netdsl.diagnostics.argument_problems import Contradiction
from netdsl.ir.graph import RESERVED
from netdsl.ops.base import known

if TYPE_CHECKING:
    from netdsl.data.augment import Augmentation
    from netdsl.elaborate.context import Context
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.net import Node


def check_names(recipe: Recipe, context: Context) -> None:
    """Reject an input or output with the name of a part of the training step. Raises Rejected."""
    named = [("input", node.name, node.span) for node in recipe.net.inputs]
    named += [("output", output.name, output.span) for output in recipe.net.outputs.values()]
    for what, name, span in named:
        if name in RESERVED:
            context.reject(problems.ReservedName, recipe.span, name=name, what=what, declared=span)


def check_rates(recipe: Recipe, context: Context) -> None:
    """Reject a schedule whose lowest rate is not below the learning rate. Raises Rejected."""
    lowest, lr = getattr(recipe.schedule, "to", None), recipe.optimizer.lr
    if lowest is not None and lowest >= lr:
        spans = recipe.optimizer.spans
        context.reject(
            Contradiction,
            recipe.schedule.spans["to"],
            what=f"the lowest rate of `{recipe.schedule.kind}` is {lowest:g}, and the learning rate is {lr:g}",
            here="the rate would never fall",
            other=spans.get("lr") or spans.get(""),
            there=f"the learning rate is {lr:g}",
        )


def check_augmentations(recipe: Recipe, context: Context) -> None:
    """Reject an augmentation that cannot make examples for the net. Raises Rejected."""
    steps, inputs = recipe.augment, recipe.net.inputs
    pictured = [node for node in inputs if len(node.shape) == 3]
    for step in steps:
        if step.pictures and not pictured:
            what = f"`{step.kind}` changes pictures, [channels, height, width], and no input takes any"
            _misfit(step, inputs[0], what, context)
        if not step.pictures and not any(node.dtype != "i64" for node in recipe.reached().intersection(inputs)):
            what = f"`{step.kind}` finds no input of real numbers that the loss depends on smoothly"
            _misfit(step, inputs[0], what, context)
    for node in pictured:
        for at, step in reversed([*enumerate(steps)]):
            try:
                Augment(steps[at:]).source(known(node.shape), getattr(node.layer, "dtype", "f32"))
            except BadAugment as error:
                _misfit(step, node, error.message, context, *error.helps)


def _misfit(step: Augmentation, node: Node, what: str, context: Context, *advice: str) -> NoReturn:
    context.reject(problems.AugmentMisfit, step.spans[""], name=step.kind, what=what, node=node, advice=advice)


CHECKS = check_names, check_rates, check_augmentations
