"""`netdsl trace`: statistics of the layers of a net on examples, of its weights, or of its gradients."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from netdsl.base.user_error import OptionsClash
from netdsl.cli.messages import TERMINAL, note, show, weight_source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from netdsl.app.predict import Batch
    from netdsl.app.trace import TraceOptions
    from netdsl.base.dtypes import Array
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.net import Net
    from netdsl.report.canvas import Canvas
    from netdsl.report.trace import Trace

    Sink = Callable[[dict[str, Array]], None]


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 for errors in the net, its weights or the data, and for numbers that are not
    finite. Raises UserError."""
    from netdsl.app.evaluate import recognized
    from netdsl.app.feeds import expand, find
    from netdsl.app.frontend import data_of
    from netdsl.app.trace import TraceOptions, load_traced
    from netdsl.app.trace_data import TraceData
    from netdsl.diagnostics.report import Report

    _check(options)
    report = Report()
    data = None if options.data is None else data_of(recognized(options.data), report)
    options.inputs = expand(options.inputs, TERMINAL)
    find(options.inputs)
    source = TraceData(options.inputs, None, data, options.random, options.examples)
    net, recipe = load_traced(
        options.file,
        None if options.parameters else source,
        report,
        gradients=options.gradients,
        settings=options.set,
        root=options.root,
    )
    show(report, options, net)
    if net is None or report.errors:
        return 1
    chosen = TraceOptions(source, weight_source(options), options.seed or 0, options.layers, options.threads)
    found = _traced(net, recipe, chosen, options)
    _print(found, options)
    return 0 if found.is_finite else 1


def _check(options: argparse.Namespace) -> None:
    """Raise OptionsClash for options that contradict each other."""
    is_archive = options.output is not None and options.output.lower().endswith(".npz")
    if options.values and not is_archive:
        raise OptionsClash("--values needs a file for the numbers, -o OUT.npz")
    if is_archive and not options.values:
        raise OptionsClash("-o OUT.npz needs --values, with the layers whose numbers are written")
    if options.layer is not None and (options.output is None or is_archive):
        raise OptionsClash("--layer needs a picture of its feature maps, -o OUT.svg, .png or .pdf")
    kind = "--gradients" if options.gradients else "--parameters" if options.parameters else ""
    if kind and (options.layer is not None or options.values):
        raise OptionsClash(f"{kind} is not about outputs, which --layer and --values select")
    if options.parameters and (options.inputs or options.data is not None or options.random):
        raise OptionsClash("--parameters takes no examples")


def _traced(net: Net, recipe: Recipe | None, chosen: TraceOptions, options: argparse.Namespace) -> Trace:
    """Return the statistics, and write what `-o` names."""
    from netdsl.app.feeds import files
    from netdsl.app.output import ARCHIVE, replace, replace_picture, sources
    from netdsl.app.trace import maps_in, trace_gradients, trace_outputs, trace_weights

    reads = (options.file, *sources(net), options.weights, *files(options.inputs))
    with ExitStack() as stack:
        draw: Callable[[Canvas], None] | None = None
        values, sink = options.values, None
        if values:
            file = stack.enter_context(replace(options.output, made=ARCHIVE, force=options.force, reads=reads))
            from netdsl.app.archive import output_archive

            sink = _archived(stack.enter_context(output_archive(file)))
        elif options.output is not None:
            draw = stack.enter_context(replace_picture(options.output, force=options.force, reads=reads))
        maps = None if options.layer is None else maps_in(net, options.layer)
        if maps is not None:
            values, sink = [options.layer], maps.add
        if options.parameters:
            found = trace_weights(net, chosen, TERMINAL)
        elif options.gradients:
            assert recipe is not None
            found = trace_gradients(recipe, chosen, TERMINAL)
        else:
            found = trace_outputs(net, recipe, chosen, TERMINAL, values=values, sink=sink)
        if draw is not None:
            draw(found.picture() if maps is None else maps.picture())
    if options.output is not None:
        note(f"{options.output}: {'numbers' if values and maps is None else 'a picture'} of {net.name}")
    return found


def _archived(write: Callable[[Batch], None]) -> Sink:
    """Return a function that writes outputs of layers to an archive."""
    from netdsl.app.predict import Batch

    return lambda arrays: write(Batch([], {}, arrays))


def _print(found: Trace, options: argparse.Namespace) -> None:
    """Print the statistics, to stderr if `-o -` writes to stdout."""
    from netdsl.report.table import json_text

    texts = {"json": lambda: json_text(found.data()), "csv": found.csv, "markdown": found.markdown}
    print(texts.get(options.format, found.text)(), file=sys.stderr if options.output == "-" else sys.stdout)
