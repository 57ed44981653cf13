"""Export a training step as an ONNX model with which other programs can train; see docs/training_step.md.

Each value that changes is an input and, as NAME.next, an output. Initial values are initializers with the names of
inputs: ONNX uses them for inputs that are not fed, so one file is enough to start training.
"""

from __future__ import annotations

import json
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING

from netdsl.backend.compile import OPSET, add_metadata
from netdsl.backend.emit import ELEMENT_TYPES, NEXT, Emitted, check, emit
from netdsl.backend.serialize import write
from netdsl.base.shape import elements
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.elaborate.recipe import target_name
from netdsl.ir.graph import LOSS, RATE
from netdsl.ir.init import Init
from netdsl.ir.net import Parameter
from netdsl.ops.base import known
from netdsl.ops.random import BitwiseXor
from netdsl.passes.mixed import BF16_CONV_OPSET, has_bf16_convolutions
from netdsl.passes.run_time import at_run_time
from netdsl.train.alignment import NoLongest, needs_longest
from netdsl.train.class_weights import NoBalance, is_balanced
from netdsl.train.step import portable, training_step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.backend.serialize import Weights
    from netdsl.declare.declared import Declared
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.graph import Graph, State
    from netdsl.weights.file import WeightFile

PROTOCOL_KEY = "netdsl.training"
"""Metadata key of the protocol; the value is a JSON object."""

PROTOCOL_VERSION = 1
"""Version of the protocol."""

DOC = """\
One training step. Run it with a batch for each input and target, and the learning rate; pass each output NAME.next as
the input NAME of the next step. An omitted input has its initial value. The metadata entry `netdsl.training` describes
the protocol in JSON."""

DROPOUT_OPSET = 18
"""First opset with the operators that dropout masks and noise need."""

TARGET_KINDS = {
    "class": "the numbers of the classes, from 0 to {last}",
    "sign": "-1 or 1",
    "value": "numbers of the output's shape",
    "sequence": "symbols from 0 to {last} except {blank}, padded with -1 at the end",
}
"""Descriptions of what a target holds."""


class NeedsNewerOpset(UserError, code="E0649", title="an opset that is too old", exit_code=USAGE_IS_WRONG):
    """A training step with dropout or noise draws numbers with bitwise operators, which ONNX has had since opset 18.

    ```sh
    netdsl compile net.net --training --opset 21
    ```
    """


class NeedsBf16Opset(UserError, code="E0938", title="an opset without convolutions in bf16", exit_code=USAGE_IS_WRONG):
    """ONNX has had convolutions in bf16 since opset 22.

    ```sh
    netdsl compile net.net --training --dtype bf16 --opset 22
    ```
    """


class NoAverage(UserError, code="E0887", title="a compiled step that averages weights"):
    """A compiled training step has no moving average of the weights (`average`). The program that runs it can compute
    one from the weights after each step.

    ```sh
    netdsl compile net.net --training --set train.average=0
    ```
    """


class NoAccumulation(UserError, code="E0886", title="a compiled step that accumulates gradients"):
    """`accumulate N` and `shards S` take two graphs, one that adds gradients and one that updates the weights. A
    compiled training step is a single graph, which computes an update from one batch.

    ```sh
    netdsl compile net.net --training --set train.accumulate=1
    ```
    """


def step_model(recipe: Recipe, *, opset: int = OPSET, metadata: Mapping[str, str] | None = None) -> Emitted:
    """Return the training step of a recipe as a checked model of standard ONNX operators, without weights.

    Its `parameters` are those of the net, followed by the optimizer's state. Raises UserError if a name of the net is
    reserved for the step, if the opset is too old, if class weights depend on data, if gradients are accumulated, and
    for invalid metadata.
    """
    for key, count in (("accumulate", recipe.accumulate), ("shards", recipe.shards)):
        if count > 1:
            raise NoAccumulation(
                f"a compiled step updates the weights in every run, but the recipe has `{key} {count}`",
                f"compile a step of one batch: `--set train.{key}=1 --set train.batch={recipe.step_batch}`",
            )
    if recipe.average:
        raise NoAverage(
            f"a compiled step has no average of the weights, but the recipe has `average {recipe.average:g}`",
            "compile it without: `--set train.average=0`",
        )
    if any(map(is_balanced, recipe.losses)):
        raise NoBalance(
            "`class_weights balanced` depends on the training data, which a compiled step does not read",
            "list the weights: `class_weights [1, 5]`",
        )
    for line in filter(needs_longest, recipe.losses):
        raise NoLongest(
            f"the data determine the size of the target of `{line.output}`, but a compiled step does not read them",
            f"give the number of symbols of the longest target: `loss {line.loss.kind} longest 20`",
        )
    graph = at_run_time(portable(training_step(recipe.net, recipe)))
    if opset < DROPOUT_OPSET and any(isinstance(operation.op, BitwiseXor) for operation in graph.operations):
        raise NeedsNewerOpset(f"a step with dropout or noise requires opset {DROPOUT_OPSET} or newer, not {opset}")
    if opset < BF16_CONV_OPSET and has_bf16_convolutions(graph):
        raise NeedsBf16Opset(
            f"a step with convolutions in bf16 requires opset {BF16_CONV_OPSET} or newer, not {opset}",
            f"compile it with `--opset {BF16_CONV_OPSET}`",
        )
    emitted = emit(graph, opset=opset)
    check(emitted)
    model, state = emitted.model, graph.state
    assert [each.domain for each in model.opset_import] == [""], "the step is not portable"
    model.doc_string = "\n\n".join(filter(None, (recipe.net.doc, DOC)))
    model.metadata_props.add(key=PROTOCOL_KEY, value=json.dumps(protocol(graph, recipe)))
    add_metadata(metadata or {}, model)
    for value in chain(model.graph.input, model.graph.output):
        value.doc_string = _description(value.name, graph, recipe)
    declared = [p.declaration for p in graph.parameters.values()]
    for each in state.values():
        if each.before.dtype != graph.dtype:  # the step counter
            kind, raw = ELEMENT_TYPES[each.before.dtype]
            model.graph.initializer.add(name=each.name, data_type=kind, raw_data=_scalar(each, raw))
        elif each.initial is not None:
            declared.append(_constant_parameter(each))
    return Emitted(model, tuple(declared), emitted.dtype)


def step_values(emitted: Emitted, recipe: Recipe, weights: WeightFile | None = None) -> Weights:
    """Return the initial values in the order of the model's parameters: weights from a file, or drawn from the recipe's
    seed. Raises UserError if they do not fit."""
    from netdsl.weights.draw import draw_all

    if weights is None:
        return draw_all(emitted.parameters, recipe.seed)
    from netdsl.weights.check import checked_weights
    from netdsl.weights.draw import draw_missing
    from netdsl.weights.match import match_weights

    net = recipe.net
    matched = checked_weights(
        {name: p.shape for name, p in net.parameters.items()}, match_weights(net, weights), net=net
    )
    return draw_missing(emitted.parameters, recipe.seed, matched)


def step_to_bytes(recipe: Recipe, *, weights: WeightFile | None = None, opset: int = OPSET) -> bytes:
    """Return the whole model in memory, as accepted by onnxruntime's `InferenceSession`."""
    file = BytesIO()
    emitted = step_model(recipe, opset=opset)
    write(emitted, step_values(emitted, recipe, weights), file)
    return file.getvalue()


def size(emitted: Emitted) -> int:
    """Return the size of the initial values in bytes."""
    return 4 * sum(elements(parameter.shape) for parameter in emitted.parameters)


def protocol(graph: Graph, recipe: Recipe) -> dict[str, object]:
    """Return the interface of a step as JSON data, specified in docs/training_step.md."""
    net = recipe.net
    outputs = [name for name in graph.outputs if name != LOSS]
    return {
        "version": PROTOCOL_VERSION,
        "batch": recipe.batch,
        **({} if recipe.dtype == "f32" else {"dtype": recipe.dtype}),
        "inputs": [node.name for node in net.inputs if node.name in graph.inputs],
        "targets": {
            name: {
                "kind": each.kind,
                **({"classes": each.classes} if each.classes is not None else {}),
                **({"ignore": each.ignore} if each.ignore is not None else {}),
                **({"blank": each.blank} if each.blank is not None else {}),
            }
            for name, each in recipe.targets.items()
        },
        "rate": RATE,
        "loss": LOSS,
        "outputs": outputs,
        "state": {name: name + NEXT for name in graph.state},
        "weights": [name for name, p in graph.parameters.items() if not p.declaration.buffer],
        "statistics": [name for name, p in graph.parameters.items() if p.declaration.buffer],
        "initial": {name: each.initial for name, each in graph.state.items() if each.initial is not None},
        "losses": [
            {
                "output": line.output,
                "target": target_name(net, line.output) if line.loss.reads_target else None,
                **_declared(line.loss),
            }
            for line in recipe.losses
        ],
        "optimizer": _declared(recipe.optimizer),
        "schedule": {**_declared(recipe.schedule), "epochs": recipe.epochs, "steps": recipe.steps},
        "seed": recipe.seed,
        "recipe": recipe.text,
    }


def _declared(thing: Declared) -> dict[str, object]:
    return {"name": thing.kind, **{name: getattr(thing, name) for name in thing.arguments}}


def _description(name: str, graph: Graph, recipe: Recipe) -> str:
    """Return the documentation of an input or output."""
    scalars = {RATE: "the learning rate of this step", LOSS: "the mean loss of the batch, before the update"}
    if name in scalars:
        return scalars[name]
    if target := recipe.targets.get(name):
        what = TARGET_KINDS[target.kind].format(last=(target.classes or 0) - 1, blank=target.blank)
        ignored = "" if target.ignore is None else f"; positions of {target.ignore} do not count"
        return f"the expected outputs: {what}{ignored}"
    if name in graph.inputs:
        return f"a batch of {recipe.batch} examples"
    if name in graph.outputs:
        return "the outputs of the net for the batch, in training mode"
    if name.endswith(NEXT) and name.removesuffix(NEXT) in graph.state:
        return f"the new value of {name.removesuffix(NEXT)}"
    parameter = graph.parameters.get(name)
    if parameter is None:
        return "state carried over from the previous step"
    what = "running statistic" if parameter.declaration.buffer else "weight"
    return f"a {what} of the net" + ("" if name in graph.state else ", which is not trained")


def _constant_parameter(state: State) -> Parameter:
    """Return a state with a constant initial value as a parameter with that initializer."""
    assert state.initial is not None
    init = Init("constant", float(state.initial))
    return Parameter(state.name, known(state.before.shape), init, fan_in=1, fan_out=1, buffer=True)


def _scalar(state: State, dtype: str) -> bytes:
    import numpy as np

    assert state.before.shape == (), state.name
    return np.array(state.initial, dtype).tobytes()
