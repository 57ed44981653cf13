"""How a model of Caffe or Darknet was trained, as the lines of a `train` block."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.importing.caffe_model import CaffeModel
    from netdsl.importing.darknet_cfg import Section

LOSSES = {
    "EuclideanLoss": "mse",
    "HingeLoss": "hinge",
    "SigmoidCrossEntropyLoss": "logistic",
    "SmoothL1Loss": "smooth_l1",
    "SoftmaxWithLoss": "cross_entropy",
}
"""Losses of Caffe that netdsl has."""

SOLVERS = {"0": "SGD", "1": "Nesterov", "3": "RMSProp", "5": "Adam", "NESTEROV": "Nesterov", "ADAM": "Adam"}
"""Types of solvers by their numbers and their words in old files."""

POLICY = ("lr_policy", "gamma", "power", "stepsize", "stepvalue")
DARKNET_POLICY = ("policy", "steps", "scales", "step", "scale", "gamma", "power", "burn_in")


def caffe_lines(model: CaffeModel) -> Iterator[str]:
    """Yield the lines for a solver; nothing for a net without one."""
    solver = model.solver
    if solver is None:
        return
    losses = {layer.type for layer in model.layers if layer.is_loss and max(layer.loss_weights or [1.0]) > 0}
    if len(losses) == 1 and (loss := LOSSES.get(losses.pop())):
        yield f"loss {loss}"
    kind = str(solver.word("type") or solver.word("solver_type") or "SGD")
    kind = SOLVERS.get(kind, kind)
    rate, decay = solver.number("base_lr", 0.0), solver.number("weight_decay", 0.0)
    momentum = solver.number("momentum", 0.0)
    if kind in ("SGD", "Nesterov"):
        yield f"optimizer {_sgd(rate, momentum, decay)}{' nesterov on' if kind == 'Nesterov' and momentum else ''}"
    elif kind == "Adam":
        betas = f"beta1 {momentum:g} beta2 {solver.number('momentum2', 0.999):g}"
        yield f"optimizer adam lr {rate:g} {betas} decay {decay:g}"
    else:
        yield f"# Caffe's {_plain(kind)} with base_lr {rate:g} and weight_decay {decay:g}"
    sources = [layer for layer in (*model.left_out, *model.layers) if layer.is_source]
    sizes = [layer.fields.message("data_param").integer("batch_size", 0) for layer in sources]
    if sizes and sizes[0] > 0:
        yield f"batch {sizes[0]}"
    if solver.integer("iter_size", 1) > 1:
        yield f"accumulate {solver.integer('iter_size', 1)}"
    if solver.integer("max_iter", 0) > 0:
        yield f"steps {solver.integer('max_iter', 0)}"
    if solver.integer("random_seed", -1) >= 0:
        yield f"seed {solver.integer('random_seed', -1)}"
    policy = [f"{name} {_plain(' '.join(solver.words(name)))}" for name in POLICY if solver.words(name)]
    if policy and "fixed" not in policy[0]:
        yield f"# learning rate, in steps: {', '.join(policy)}"


def darknet_lines(sections: list[Section]) -> Iterator[str]:
    """Yield the lines for a classifier."""
    options = sections[0]
    if sections[-1].name not in ("softmax", "cost") or not options.text("max_batches"):
        return
    if any(section.name == "softmax" for section in sections):
        yield "loss cross_entropy"
    rate, momentum = options.number("learning_rate", 0.001), options.number("momentum", 0.9)
    yield f"optimizer {_sgd(rate, momentum, options.number('decay', 1e-4))}"
    yield f"batch {max(1, options.integer('batch', 1))}"
    yield f"steps {max(1, options.integer('max_batches', 1))}"
    policy = [f"{name} {_plain(options.text(name))}" for name in DARKNET_POLICY if options.text(name)]
    if policy and policy[0] != "policy constant":
        yield f"# learning rate, in steps: {'; '.join(policy)}"


def _plain(text: str) -> str:
    """Return a text of the file as a part of a comment."""
    return re.sub(r"[^\w ,.+-]", "?", text, flags=re.ASCII)


def _sgd(rate: float, momentum: float, decay: float) -> str:
    given = {"lr": rate, "momentum": momentum, "decay": decay}
    return "sgd" + "".join(f" {name} {value:g}" for name, value in given.items() if value)
