"""Trace a net from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from netdsl.api.errors import NetError, PythonReporter
from netdsl.api.options import (
    LARGEST,
    MATCHING,
    SEEDS,
    between,
    expect_keywords,
    flag,
    path,
    shown,
    source_of_weights,
    text,
)
from netdsl.api.results import Picture, Result, canvas_picture
from netdsl.base.user_error import WrongArgumentType, WrongArgumentValue
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.api.net import Net
    from netdsl.api.options import WeightOptions
    from netdsl.app.trace_data import TraceData
    from netdsl.base.dtypes import Array
    from netdsl.elaborate.recipe import Recipe
    from netdsl.report.trace import Trace

    class TraceOptions(WeightOptions, total=False):
        """The keyword arguments of `Net.trace`."""

        data: object
        random: bool
        examples: int
        gradients: bool
        parameters: bool
        layers: str
        values: Iterable[str]
        seed: int
        threads: int


OPTIONS = MATCHING | {
    *("data", "random", "examples", "gradients", "parameters", "layers", "values", "seed", "threads"),
}
"""The keys of `TraceOptions`."""


class Traced(Result):
    """The statistics of the layers of a net: `layers` is a list with a dict for each, and `outputs` has those of
    the layers in `values`, by name."""

    __slots__ = ("layers", "outputs")

    def __init__(self, found: Trace, values: Mapping[str, Array], picture: Callable[[], Picture]) -> None:
        super().__init__(found.data(), found.text(), picture)
        self.layers: list[dict[str, Any]] = self["layers"]
        self.outputs = dict(values)

    def maps(self, layer: str) -> Picture:
        """Draw the feature maps of a layer in `outputs` for the first example. Raises UserError."""
        from netdsl.app.trace import FirstMaps, maps_of

        if layer not in self.outputs:
            raise WrongArgumentValue(f"the outputs of {layer!r} were not kept", f"pass values=[{layer!r}] to `trace`")
        maps: FirstMaps = maps_of(layer, self.outputs[layer].shape[1:])
        maps.add(self.outputs)
        return canvas_picture(layer, maps.picture())


def trace(net: Net, x: object, y: object, options: TraceOptions) -> Traced:
    """Trace a net like `Net.trace`. Raises UserError."""
    from netdsl.app.trace import TraceOptions as Chosen
    from netdsl.app.trace import trace_gradients, trace_outputs, trace_weights

    expect_keywords(options, OPTIONS)
    given: dict[str, Any] = {**options}
    gradients, parameters = (_flag(name, given) for name in ("gradients", "parameters"))
    labels = given.get("values", ())
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise WrongArgumentType(f"values is a collection of names of layers, not {shown(labels)}")
    values = [text("values", each) for each in labels]
    if gradients and parameters:
        raise WrongArgumentValue("gradients and parameters are alternatives")
    if values and (gradients or parameters):
        raise WrongArgumentValue("values are outputs, which gradients and parameters are not about")
    report = Report()
    source = _source(net, x, y, given, report)
    chosen = Chosen(
        source,
        source_of_weights(**{key: value for key, value in given.items() if key in MATCHING}),
        between("seed", given.get("seed", 0), 0, SEEDS),
        None if given.get("layers") is None else text("layers", given["layers"]),
        None if given.get("threads") is None else between("threads", given["threads"], 1, LARGEST),
    )
    reporter = PythonReporter()
    kept: dict[str, list[Array]] = {}

    def keep(arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            kept.setdefault(name, []).append(array)

    found: Trace
    if parameters:
        found = trace_weights(net._net, chosen, reporter)
    else:
        recipe = _recipe(net, source, report) if gradients or source.needs_recipe else None
        if gradients:
            assert recipe is not None
            found = trace_gradients(recipe, chosen, reporter)
        else:
            traced = net._net if recipe is None else recipe.net
            found = trace_outputs(traced, recipe, chosen, reporter, values=values, sink=keep if values else None)
    return Traced(found, _joined(kept), lambda: canvas_picture(f"a trace of {net.name}", found.picture()))


def _joined(kept: Mapping[str, list[Array]]) -> dict[str, Array]:
    import numpy as np

    return {name: np.concatenate(arrays) for name, arrays in kept.items()}


def _flag(name: str, given: Mapping[str, Any]) -> bool:
    found = given.get(name, False)
    flag(name, found)
    return bool(found)


def _source(net: Net, x: object, y: object, given: Mapping[str, Any], report: Report) -> TraceData:
    """Return the source of the examples."""
    from netdsl.app.evaluate import kind_of
    from netdsl.app.trace_data import TraceData
    from netdsl.data.column import as_array

    examples = None if given.get("examples") is None else between("examples", given["examples"], 1, LARGEST)
    random, data = _flag("random", given), given.get("data")
    if y is not None and (x is None or data is not None):
        raise WrongArgumentValue("y are the targets of x")
    if isinstance(x, str | os.PathLike):
        return TraceData([path("x", x)], None, kind_of(data, report), random, examples)
    arrays = None
    if y is not None:
        data = (x, y)
    elif isinstance(x, Mapping):
        arrays = {text("x", name): as_array(array, str(name)) for name, array in x.items()}
    elif x is not None:
        if len(net.inputs) > 1:
            raise WrongArgumentValue(f"{net.name} takes its inputs by name: a dict of {', '.join(net.inputs)}")
        arrays = {name: as_array(x, name) for name in net.inputs}
    kind = kind_of(data, report)
    if report.errors:
        raise NetError(report)
    return TraceData((), arrays, kind, random, examples)


def _recipe(net: Net, source: TraceData, report: Report) -> Recipe:
    """Return the recipe of a net; without a `train` block, that of a classifier."""
    from netdsl.app.frontend import load_lines
    from netdsl.app.trace_data import NothingToTrace
    from netdsl.elaborate.train_block import NoTraining, classifier

    try:
        recipe = load_lines(net._origin, [], {}, report)[0]
    except NoTraining:
        if source.needs_recipe and source.data is None:
            raise NothingToTrace(
                f"{net.name} has no `train` block that names data", "pass x, data=…, or random=True"
            ) from None
        return classifier(net._net)
    if recipe is None:
        raise NetError(report)
    return recipe
