"""The outputs of a model as scores of classes: their names, their probabilities, and the best classes of an example."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.app.labels import check_labels, shown_names
from netdsl.app.sequences import SequenceReading, sequence_readings
from netdsl.backend.session import BadModel
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.ir.names import OutputLoss
from netdsl.losses import LOSSES
from netdsl.weights.onnx_graph import GraphReader
from netdsl.weights.onnx_model import GRAPH
from netdsl.weights.protobuf import MESSAGE, Protobuf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.backend.session import Array, Session
    from netdsl.data.reader import Dims

SOFTMAX, SIGMOID, IDENTITY = "softmax", "sigmoid", "identity"
"""Functions that turn an output into probabilities; the sigmoid is that of the second of two classes."""

SAME_VALUES = frozenset(["Cast", "Identity", "QuantizeLinear", "DequantizeLinear"])
"""Operators that change the type or precision of their first input, but neither its shape nor what it means."""


class NotLogits(UserError, code="E0624", title="scores that are not logits", exit_code=USAGE_IS_WRONG):
    """`--softmax` prints the softmax of outputs that are logits, with a number for each of two or more classes. An
    output that was trained with another loss than `cross_entropy`, such as `hinge`, has no logits.

    ```sh
    netdsl run net.net x.npy --logits
    ```
    """


class ClassReading(NamedTuple):
    """How an output is read as classes: their `names`, if they have any, and the function that turns the output into
    their `probability`, empty if it is not known."""

    names: Sequence[str] = ()
    probability: str = ""


Reading = ClassReading | SequenceReading


class ClassScore(NamedTuple):
    """A class with its number, its name if it has one, its output, and its probability if it is known. Two classes that
    share one output have no `value` of their own."""

    number: int
    label: str | None
    value: float | None
    probability: float | None

    @property
    def name(self) -> str:
        """The label, or else the number."""
        return str(self.number) if self.label is None else self.label


def class_scores(array: Array, reading: ClassReading, top: int) -> list[list[ClassScore]] | None:
    """Return the best classes of each example of an output [n, *], best first: the largest output, of equal ones the
    first class, NaN before all. None if the output is a single number or a map."""
    rows = array.reshape(len(array), -1)
    shared = rows.shape[1] == 1 and reading.probability == SIGMOID
    if is_map(array) or (rows.shape[1] < 2 and not shared):
        return None
    chances = _probabilities(rows, reading.probability)
    order = _best(rows if chances is None or not shared else chances)[:, :top]
    names = reading.names if len(reading.names) == max(2, rows.shape[1]) else None
    return [
        [
            ClassScore(
                number,
                None if names is None else names[number],
                None if shared else rows[at, number].item(),
                None if chances is None else chances[at, number].item(),
            )
            for number in numbers
        ]
        for at, numbers in enumerate(order.tolist())
    ]


def class_counts(
    outputs: Mapping[str, Array], readings: Mapping[str, Reading]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the number of classes or symbols of each output, and the blanks of those that are sequences."""
    blanks = {name: reading.blank for name, reading in readings.items() if isinstance(reading, SequenceReading)}
    counts = {name: array.shape[1] if name in blanks else prod(array.shape[1:]) for name, array in outputs.items()}
    return counts, blanks


def is_map(array: Array) -> bool:
    """Return whether an output [n, *] has several axes, or nothing, for each example."""
    return 0 in array.shape[1:] or sum(size > 1 for size in array.shape[1:]) > 1


def _best(rows: Array) -> Array:
    """Return the order of the largest values first, [n, m] -> [n, m]; equal ones by index, NaN before all."""
    best: Array = rows.shape[1] - 1 - np.argsort(rows[:, ::-1], axis=1, kind="stable")[:, ::-1]
    return best


def _probabilities(rows: Array, function: str) -> Array | None:
    """Return the probabilities of the classes in double precision: [n, m] -> [n, m], or [n, 1] -> [n, 2]. None if they
    are not known."""
    if function == IDENTITY:
        return rows
    if function != (SOFTMAX if rows.shape[1] > 1 else SIGMOID):
        return None
    logits = rows.astype(np.float64)
    if function == SIGMOID:  # the softmax of (0, y)
        logits = np.concatenate([np.zeros_like(logits), logits], 1)
    with np.errstate(invalid="ignore"):  # infinite logits have no softmax: NaN
        powers = np.exp(logits - logits.max(1, keepdims=True))
    found: Array = powers / powers.sum(1, keepdims=True)
    return found


def output_readings(
    session: Session,
    model: bytes | str,
    labels: list[str] | None = None,
    path: str = "",
    *,
    logits: bool = False,
    softmax: bool = False,
    blank: int | None = None,
) -> dict[str, Reading]:
    """Return how the outputs of a session are read; `model` are its bytes or path, `labels` the class names in `path`.

    Probabilities are known from the loss of the training, in the metadata, and of a model that ends with a softmax.
    With `softmax`, other outputs are taken as logits, and with a `blank`, as scores of symbols. With `logits`, all are
    numbers. Raises UserError if labels or metadata do not fit, NotLogits, and NoSequences.
    """
    outputs, names = {name: tensor.shape[1:] for name, tensor in session.outputs.items()}, session.names
    functions = {output: LOSSES[loss].probability for output, (loss, *_) in names.losses.items() if loss in LOSSES}
    functions |= dict.fromkeys(_softmax_outputs(session, model), IDENTITY)
    if softmax:
        functions |= _taken_as_logits(session.name, outputs, functions, names.losses)
    found = {} if logits else sequence_readings(session, blank)
    blanks = {name: reading.blank for name, reading in found.items()}
    counts = {name: None if None in shape else prod(size or 1 for size in shape) for name, shape in outputs.items()}
    counts |= {name: 2 for name, count in counts.items() if count == 1 and functions.get(name) == SIGMOID}
    counts |= {name: outputs[name][0] for name in blanks}
    if labels is not None:
        check_labels(labels, path, counts, blanks)
    shown = shown_names(labels, names, counts, blanks)
    classes = {
        name: ClassReading(shown.get(name, ()), "" if logits else functions.get(name, ""))
        for name in outputs
        if name not in found
    }
    return classes | {name: reading._replace(names=shown.get(name, ())) for name, reading in found.items()}


def _taken_as_logits(
    model: str, outputs: Mapping[str, Dims], functions: Mapping[str, str], losses: Mapping[str, OutputLoss]
) -> dict[str, str]:
    """Return the outputs that `--softmax` makes logits of. Raises NotLogits."""
    for output, loss in losses.items():
        if not functions.get(output):
            raise NotLogits(
                f"{model}: the output `{output}` was trained with the loss `{loss.name}`, so it has no logits"
            )
    found = [
        name for name, shape in outputs.items() if sum(size != 1 for size in shape) == 1 and not functions.get(name)
    ]
    if not found and not functions:
        raise NotLogits(f"{model} has no output with a number for each of several classes")
    return dict.fromkeys(found, SOFTMAX)


def _softmax_outputs(session: Session, model: bytes | str) -> list[str]:
    """Return the outputs [N, K] and [N, K, 1, ...] of a softmax over the K numbers, possibly in another type or
    quantized."""
    data = np.frombuffer(model, np.uint8) if isinstance(model, bytes) else np.memmap(model, np.uint8, "r")
    wire = Protobuf(data, lambda reason: BadModel(f"{session.name} is damaged: {reason}"))
    reader = GraphReader(wire)
    for field, kind, begin, end in wire.fields(0, len(data)):
        if (field, kind) == (GRAPH, MESSAGE):
            reader.graph(begin, end, lambda *_: None)
    makers = {name: node for node in reader.nodes for name in node.outputs}

    def ends_with_softmax(name: str, rank: int) -> bool:
        node = makers.get(name)
        while node is not None and node.op in SAME_VALUES:
            node = makers.get(node.inputs[0])
        return node is not None and node.op == "Softmax" and node.integer("axis", -1) in (1, 1 - rank)

    shapes = {name: output.shape for name, output in session.outputs.items()}
    return [
        name
        for name, shape in shapes.items()
        if len(shape) > 1 and {*shape[2:]} <= {1} and ends_with_softmax(name, len(shape))
    ]
