"""Trace a net: the statistics of its layers on examples, of its weights, and of the gradients of its loss."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.app.frontend import load_classifier, load_net, load_recipe
from netdsl.app.given_weights import WeightSource, given_weights, note_random
from netdsl.app.trace_data import NothingToTrace, TraceData, batch_from, count_of, open_examples
from netdsl.backend.compile import add_metadata, net_names
from netdsl.backend.emit import emit
from netdsl.backend.session import Session
from netdsl.base.shape import elements, format_shape
from netdsl.base.suggest import suggest
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.elaborate.train_block import NoTraining
from netdsl.ir.graph import STEP
from netdsl.lower import lower
from netdsl.passes.watch import layer_values, watch
from netdsl.report.figures import line_in_file
from netdsl.report.statistics import Statistics
from netdsl.report.trace import (
    STATISTIC,
    WEIGHT,
    GradientTrace,
    Row,
    Trace,
    flag_gradients,
    layer_flags,
    nonfinite_flags,
    ratio_to,
    weight_flags,
)
from netdsl.train.nonfinite import first_nonfinite, nonfinite_weights
from netdsl.weights.match import labelled, scopes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from netdsl.app.reporter import Reporter
    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Shape
    from netdsl.data.reader import Reader
    from netdsl.diagnostics.report import Report
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.graph import Graph
    from netdsl.ir.net import Net, Node, Parameter
    from netdsl.report.canvas import Canvas
    from netdsl.train.layer_gradients import LayerGradients
    from netdsl.weights.file import WeightFile

    Weights = dict[str, Array]
    Sink = Callable[[dict[str, Array]], None]

OUTPUT_BYTES = 2**28
"""Size in bytes of the outputs of all layers that are in memory at once, unless one example has more. They are there
twice, in onnxruntime and as arrays."""


class NoSuchLayer(UserError, code="E0927", title="no such layer to trace", exit_code=USAGE_IS_WRONG):
    """`--layers`, `--layer` and `--values` take names of layers, as the table lists them, their prefixes up to a dot,
    or patterns for either. Layers that compute nothing in inference, such as `dropout`, have no outputs of their own.

    ```sh
    netdsl trace resnet18 image.jpg --layers 'layer4.*'
    ```
    """


class TraceOptions(NamedTuple):
    """How a net is traced: the examples, the weights, the seed of random ones, a label or pattern of the layers that
    are listed, and the number of threads."""

    data: TraceData = TraceData()
    weights: WeightSource = WeightSource()
    seed: int = 0
    layers: str | None = None
    threads: int | None = None


class NoMaps(UserError, code="E0929", title="a layer without feature maps"):
    """Feature maps are those of layers whose outputs are [channels, height, width] or [channels, length].

    ```sh
    netdsl trace lenet5 digit.png --layer conv1 -o maps.svg
    ```
    """


class FirstMaps:
    """The feature maps of a layer for the first example, which is a sink of `trace_outputs`."""

    __slots__ = ("_maps", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._maps: Array | None = None

    def add(self, values: Mapping[str, Array]) -> None:
        if self._maps is None:
            self._maps = np.array(values[self._name][0])

    def picture(self) -> Canvas:
        from netdsl.report.feature_maps import draw_maps

        assert self._maps is not None
        return draw_maps(self._name, self._maps)


def maps_in(net: Net, name: str) -> FirstMaps:
    """Return a place for the feature maps of a layer. Raises NoSuchLayer, NoMaps."""
    shape = next((node.shape for node in net.nodes if node.name == name), None)
    if shape is None:
        raise unknown_layer(net, [node.name for node in net.nodes], name)
    return maps_of(name, shape)


def maps_of(name: str, shape: Shape) -> FirstMaps:
    """Return a place for the feature maps of a layer with outputs of this shape. Raises NoMaps."""
    if len(shape) not in (2, 3):
        raise NoMaps(f"the output of `{name}` is {format_shape(shape) or 'a number'}, which is no set of feature maps")
    return FirstMaps(name)


def load_traced(
    file: str,
    source: TraceData | None,
    report: Report,
    *,
    gradients: bool = False,
    settings: Sequence[str] = (),
    root: str | None = None,
) -> tuple[Net | None, Recipe | None]:
    """Return the net that FILE refers to and, where gradients or examples need it, its recipe; None for both if the
    report has errors. `source` is None for weights. Raises UserError."""
    if not gradients and (source is None or not source.needs_recipe):
        return load_net(file, report, settings=settings, root=root), None
    try:
        recipe = load_recipe(file, report, settings=settings, root=root)
    except NoTraining:
        if source is None or (source.needs_recipe and source.data is None):
            if load_net(file, report, settings=settings, root=root) is None:
                return None, None
            raise NothingToTrace(
                f"{file} has no `train` block that names data", "pass INPUT, --data, or --random"
            ) from None
        recipe = load_classifier(file, report, settings=settings, root=root)
    return (None, None) if recipe is None else (recipe.net, recipe)


def trace_outputs(
    net: Net,
    recipe: Recipe | None,
    options: TraceOptions,
    reporter: Reporter,
    *,
    values: Sequence[str] = (),
    sink: Sink | None = None,
) -> Trace:
    """Return the statistics of the outputs of all layers. `sink` receives the outputs that `values` select, by name,
    a part of the examples at a time. Raises UserError."""
    options.data.check()
    file, weights = _weights(net, options, reporter)
    graph = lower(net)
    fixed = {node for node, value in layer_values(graph).items() if value.shape[0] == 1}
    watched = {node: name for node, name in watch(graph).items() if node.layer.kind != "input"}
    nodes = [node for node in net.nodes if node in watched or node.name in graph.inputs]
    kept = {name for label in values for name in _select(net, [node.name for node in watched], label)}
    shown = _select(net, [node.name for node in nodes], options.layers)
    session = _session(net, graph, file, weights, options)
    readers = open_examples(options.data, net, recipe, session, options.seed, reporter)
    found = {node: Statistics(*node.layer.saturation) for node in nodes}
    with reporter.progress("examples", count_of(options.data, readers)) as show:
        for first, feeds, arrays in _runs(session, readers, options.data, [*watched.values()]):
            for node in nodes:
                array = arrays[watched[node]] if node in watched else feeds[node.name]
                if node not in fixed or not first:
                    found[node].add(array)
            if sink is not None:
                chosen = {node: name for node, name in watched.items() if node.name in kept}
                sink({node.name: arrays[name] for node, name in chosen.items() if node not in fixed or not first})
            show(first + len(next(iter(feeds.values()))))
    rows = [_output_row(net, node, found) for node in nodes]
    listed = [row for row in rows if row.name in shown]
    return Trace(net.name, "outputs", rows, listed, count_of(options.data, readers), _first(net, found, weights))


def trace_weights(net: Net, options: TraceOptions, reporter: Reporter) -> Trace:
    """Return the statistics of all weights and running statistics. Raises UserError."""
    _, weights = _weights(net, options, reporter)
    rows = []
    owners = {p.name: node for node in reversed(net.nodes) for p in node.parameters.values()}
    for name, parameter in net.parameters.items():
        stats = _weight_statistics(weights[name])
        rows.append(_weight_row(net, owners[name], parameter, stats, weight_flags(stats, len(parameter.shape))))
    shown = _select(net, [row.name for row in rows], options.layers)
    bad = [node for node in net.nodes if nonfinite_weights(node, weights)]
    first = f"`{bad[0].name}`, {bad[0].span}: {_weight_sentence(bad[0], weights)}" if bad else ""
    return Trace(net.name, "weights", rows, [row for row in rows if row.name in shown], first=first)


def trace_gradients(recipe: Recipe, options: TraceOptions, reporter: Reporter) -> GradientTrace:
    """Return the gradients of the loss for one batch, in training mode, with respect to outputs of layers and weights.
    Raises UserError."""
    from netdsl.app.evaluate import weigh_classes

    options.data.check()
    net = recipe.net
    file, weights = _weights(net, options, reporter)
    weigh_classes(recipe, reporter)
    if recipe.dtype != "f32":
        reporter.note(f"{net.name}: gradients in f32, although the training computes products in {recipe.dtype}")
    probe = _gradients(recipe, 1)
    session = _session(net, probe.graph, file, weights, options)
    readers = open_examples(options.data, net, recipe, session, options.seed, reporter)
    count = count_of(options.data, readers)
    if options.data.examples is None:
        count = min(count, recipe.batch)
    if count > 1:
        probe = _gradients(recipe, count)
        session = _session(net, probe.graph, file, weights, options)
    values, found = _gradient_statistics(probe, session, batch_from(readers, 0, count), reporter)
    rows = _gradient_rows(recipe, probe, values, found, weights)
    flag_gradients(rows, {node.name: node for node in probe.layers if _trained(node, probe)})
    shown = _select(net, [row.name for row in rows], options.layers)
    first = _first(net, values, weights) or _first_gradient(net, probe, found)
    return GradientTrace(net.name, "gradients", rows, [row for row in rows if row.name in shown], count, first)


def _gradients(recipe: Recipe, count: int) -> LayerGradients:
    from netdsl.train.layer_gradients import LayerGradients

    chosen = copy(recipe)
    chosen.batch, chosen.accumulate, chosen.shards = count, 1, 0
    return LayerGradients(chosen)


def _weights(net: Net, options: TraceOptions, reporter: Reporter) -> tuple[WeightFile | None, Weights]:
    """Return the file of weights, if there is one, and all weights and running statistics of a net."""
    from netdsl.train.start import initial_weights

    file = given_weights(net, options.weights, options.seed, reporter)
    if file is None and net.parameters:
        note_random(net, options.seed, reporter)
    return file, initial_weights(net, options.seed, file)


def _session(net: Net, graph: Graph, file: WeightFile | None, weights: Weights, options: TraceOptions) -> Session:
    """Return a session that runs a graph as it is, with the weights where they are."""
    emitted = emit(graph)
    add_metadata({}, emitted.model, own=net_names(net, file).metadata)
    fed = {name: weights[name] for name in graph.parameters}
    if STEP in graph.state:
        fed[STEP] = np.zeros((), np.uint32)
    return Session(
        emitted.skeleton.SerializeToString(), threads=options.threads, name=net.name, in_order=True, weights=fed
    )


def _runs(
    session: Session, readers: Mapping[str, Reader], data: TraceData, outputs: Sequence[str]
) -> Iterator[tuple[int, dict[str, Array], dict[str, Array]]]:
    """Yield the number of the first example, the inputs and the outputs of parts of the examples. The first part is one
    example, whose size determines that of the others."""
    first, size, count = 0, 1, count_of(data, readers)
    while first < count:
        feeds = batch_from(readers, first, min(first + size, count))
        found = session.run(feeds, first, outputs)
        yield first, feeds, found
        first += size
        size = max(1, OUTPUT_BYTES // max(1, sum(array.nbytes for array in found.values()) // size))


def _gradient_statistics(
    gradients: LayerGradients, session: Session, feeds: dict[str, Array], reporter: Reporter
) -> tuple[dict[Node, Statistics], dict[str, Statistics]]:
    """Return the statistics of the outputs of layers, and those of gradients by the name of the graph's output. A run
    fetches as many of them as fit into memory."""
    names = dict.fromkeys([*gradients.values.values(), *gradients.layers.values(), *gradients.weights.values()])
    sizes = {name: 4 * elements(gradients.graph.outputs[name].shape) for name in names}
    rows = {*gradients.weights.values()}
    found: dict[str, Statistics] = {}
    with reporter.progress("outputs", len(sizes)) as show:
        for group in _groups(sizes):
            for name, array in session.run(feeds, 0, group).items():
                found[name] = Statistics()
                found[name].add(array[None] if name in rows else array)
            show(len(found))
    return {node: found[name] for node, name in gradients.values.items()}, found


def _groups(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield groups of names whose sizes add up to OUTPUT_BYTES, or single names."""
    group: list[str] = []
    total = 0
    for name, size in sizes.items():
        if group and total + size > OUTPUT_BYTES:
            yield group
            group, total = [], 0
        group.append(name)
        total += size
    yield group


def _gradient_rows(
    recipe: Recipe,
    gradients: LayerGradients,
    values: Mapping[Node, Statistics],
    found: Mapping[str, Statistics],
    weights: Weights,
) -> list[Row]:
    """Return a row for each layer that the gradient reaches, followed by those of its weights."""
    net, rows, seen = recipe.net, [], set[str]()
    readers: dict[Node, int] = {}
    for node in net.nodes:
        for x in node.inputs:
            readers[x] = readers.get(x, 0) + 1
    for node in net.nodes:
        if node in gradients.layers:
            lone = [x for x in node.inputs if readers[x] == 1 and x in gradients.layers]
            before = found[gradients.layers[lone[0]]] if lone else None
            rows.append(_layer_gradient(net, node, values[node], found[gradients.layers[node]], before))
        for parameter in node.parameters.values():
            if parameter.name in gradients.weights and parameter.name not in seen:
                seen.add(parameter.name)
                stats = _weight_statistics(weights[parameter.name])
                row = _weight_row(net, node, parameter, stats, nonfinite_flags(stats))
                row.gradient = found[gradients.weights[parameter.name]]
                row.flags |= nonfinite_flags(row.gradient)
                row.ratio = row.gradient.norm / stats.norm if stats.norm else None
                rows.append(row)
    return rows


def _layer_gradient(net: Net, node: Node, value: Statistics, gradient: Statistics, before: Statistics | None) -> Row:
    """Return the row of a layer. The units of a ReLU are dead that are 0 for all examples, if the gradient `before` it,
    of an input that only it reads, is 0 as well."""
    row = _row(net, node, value, nonfinite_flags(value) or nonfinite_flags(gradient))
    row.gradient = gradient
    if node.layer.saturation[0] == 0 and value.channels:
        dead = value.zero_channels
        if before is not None and before.channels == value.channels:
            dead = dead & before.zero_channels
        row.dead = int(dead.sum())
        if row.dead:
            row.flags["dead"] = f"{row.dead:,} of {value.channels:,} units dead"
    return row


def _output_row(net: Net, node: Node, found: Mapping[Node, Statistics]) -> Row:
    stats, before = found[node], [found[x] for x in map(_computed(found), node.inputs) if x in found]
    ratio = ratio_to(stats, before)
    row = _row(net, node, stats, layer_flags(stats, before, ratio))
    row.ratio = ratio
    row.dead = int(stats.zero_channels.sum()) if stats.channels else None
    return row


def _computed(found: Mapping[Node, Statistics]) -> Callable[[Node], Node]:
    """Return a function that returns the layer whose output a layer passes on."""

    def computed(node: Node) -> Node:
        while node not in found and node.inputs:
            node = node.inputs[0]
        return node

    return computed


def _row(net: Net, node: Node, stats: Statistics, flags: dict[str, str]) -> Row:
    line = line_in_file(net, node.span, node.frame)
    return Row(name=node.name, kind=node.layer.kind, line=line, stats=stats, flags=flags)


def _weight_row(net: Net, node: Node, parameter: Parameter, stats: Statistics, flags: dict[str, str]) -> Row:
    row = _row(net, node, stats, flags)
    row.name, row.kind = parameter.name, STATISTIC if parameter.buffer else WEIGHT
    return row


def _weight_statistics(weight: Array) -> Statistics:
    """Return the statistics of a weight, whose first axis is the channels."""
    stats = Statistics()
    stats.add(weight[None])
    return stats


def _trained(node: Node, gradients: LayerGradients) -> bool:
    return any(p.name in gradients.weights for p in node.parameters.values())


def _select(net: Net, names: Sequence[str], label: str | None) -> set[str]:
    """Return the names that a label selects, by default all. Raises NoSuchLayer."""
    found = {*(names if label is None else labelled(names, label))}
    if not found and label is not None:
        raise unknown_layer(net, names, label)
    return found


def unknown_layer(net: Net, names: Iterable[str], label: str) -> NoSuchLayer:
    close = [f"did you mean `{word}`?" for word in suggest(label, scopes(names))[:1]]
    return NoSuchLayer(f"{net.name} has no layer `{label}` that computes anything", *close)


def _first(net: Net, found: Mapping[Node, Statistics], weights: Weights) -> str:
    """Return a sentence about the first layer in source order with non-finite outputs; an empty one if there is
    none."""
    node = first_nonfinite(net.nodes, {node: not stats.nonfinite for node, stats in found.items()})
    if node is None:
        return ""
    counts = ", ".join(nonfinite_flags(found[node]).values())
    where = f"`{node.name}`, {node.span}: {counts} of {found[node].size:,}"
    if node.layer.kind == "input":
        return f"{where}, in the data"
    if nonfinite_weights(node, weights):
        return f"{where}; its inputs are finite, but {_weight_sentence(node, weights)}"
    return f"{where}; its inputs and weights are finite, so they are born here"


def _weight_sentence(node: Node, weights: Weights) -> str:
    names = nonfinite_weights(node, weights)
    listed = " and ".join(f"`{name}`" for name in names)
    return f"its weight{'s' * (len(names) > 1)} {listed} {'are' if len(names) > 1 else 'is'} not"


def _first_gradient(net: Net, gradients: LayerGradients, found: Mapping[str, Statistics]) -> str:
    """Return a sentence about the first non-finite gradient on the way back from the loss."""
    for node in reversed(net.nodes):
        if node in gradients.layers and (flags := nonfinite_flags(found[gradients.layers[node]])):
            return f"the gradient of `{node.name}`, {node.span}: {flags['nonfinite']}; its outputs are finite"
    for name, output in gradients.weights.items():
        if flags := nonfinite_flags(found[output]):
            return f"the gradient of `{name}`: {flags['nonfinite']}"
    return ""
