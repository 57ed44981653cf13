"""Checks of a recipe whose lines are valid: whether they fit each other and the net."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from netdsl.data.augment import Augment
from netdsl.data.errors import BadAugment
from netdsl.diagnostics import loss_problems
from netdsl.diagnostics.argument_problems import Contradiction
from netdsl.ops.base import known

if TYPE_CHECKING:
    from netdsl.data.augment import Augmentation
    from netdsl.elaborate.context import Context
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.net import Node


def check_rates(recipe: Recipe, context: Context) -> None:
    """Reject a schedule whose lowest rate is not below the learning rate. Raises Rejected."""
    lowest, lr = getattr(recipe.schedule, "to", None), recipe.optimizer.lr
    if lowest is not None and lowest >= lr:
        spans = recipe.optimizer.spans
        context.reject(
            Contradiction,
            recipe.schedule.spans["to"],
            what=f"the lowest rate of `{recipe.schedule.kind}` is {lowest:g}, but the learning rate is {lr:g}",
            here="the learning rate would never drop",
            other=spans.get("lr") or spans.get(""),
            there=f"the learning rate is {lr:g}",
        )


def check_stratified(recipe: Recipe, context: Context) -> None:
    """Reject a stratified split of examples without classes. Raises Rejected."""
    if recipe.stratified and not recipe.classes:
        context.reject(
            Contradiction,
            recipe.spans["validate"],
            what="`stratified` splits each class alike, but no example has a class as its target",
            here="the classes to split by",
            other=recipe.losses[0].span,
            there="the target of this loss is not one class per example",
        )


def check_validation(recipe: Recipe, context: Context) -> None:
    """Reject validation if none of the losses can be computed at inference. Raises Rejected."""
    if recipe.validate is not None and not recipe.evaluated:
        context.reject(
            Contradiction,
            recipe.spans.get("validate", recipe.span),
            what="`validate` computes losses at inference, but all losses are of training outputs",
            here="there is no loss to compute on these data",
            other=recipe.losses[0].span,
            there=f"`{recipe.losses[0].output}` exists only in training",
        )


def check_attacks(recipe: Recipe, context: Context) -> None:
    """Reject attacks in f16, whose gradients have no loss scale. Raises Rejected."""
    for step in recipe.augment:
        if step.kind == "fgsm" and recipe.dtype == "f16":
            context.reject(
                Contradiction,
                step.spans[""],
                what="`fgsm` needs the gradient of the input, which underflows in `f16` without loss scaling",
                here="`dtype bf16` has the range for it",
                other=recipe.spans["dtype"],
                there="f16 holds no number below 6e-8",
            )


def check_augmentations(recipe: Recipe, context: Context) -> None:
    """Reject an augmentation that does not fit the net. Raises Rejected."""
    steps, inputs = recipe.augment, recipe.net.inputs
    pictured = [node for node in inputs if len(node.shape) == 3]
    for step in steps:
        if step.pictures and not pictured:
            what = f"`{step.kind}` needs an image input, [channels, height, width], but the net has none"
            _misfit(step, inputs[0], what, context)
        if not step.pictures and not any(node.dtype != "i64" for node in recipe.reached().intersection(inputs)):
            what = f"`{step.kind}` needs a floating-point input that the gradient of the loss reaches"
            _misfit(step, inputs[0], what, context)
    for node in pictured:
        for at, step in reversed([*enumerate(steps)]):
            try:
                Augment(steps[at:]).source(known(node.shape))
            except BadAugment as error:
                _misfit(step, node, error.message, context, *error.helps)


def _misfit(step: Augmentation, node: Node, what: str, context: Context, *advice: str) -> NoReturn:
    context.reject(loss_problems.AugmentMisfit, step.spans[""], name=step.kind, what=what, node=node, advice=advice)


FITTING = check_rates, check_stratified, check_validation, check_augmentations, check_attacks
