"""`netdsl eval`: evaluate a trained net by its loss, metrics and confusion matrix."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from netdsl.cli.messages import TERMINAL, check_model_options, note, print_json, show, weight_source
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from netdsl.report.canvas import Canvas


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 for errors in the net, its weights or the data. Raises UserError."""
    from netdsl.app.evaluate import EvalOptions, of_model, of_net

    with _picture(options) as write:
        report = Report()
        chosen = EvalOptions(
            options.data,
            weight_source(options),
            options.labels,
            options.batch,
            options.threads,
            options.provider,
            options.allow_fallback,
        )
        if options.file.lower().endswith(".onnx"):
            check_model_options(options)
            found = of_model(options.file, chosen, report, TERMINAL)
        else:
            found = of_net(options.file, chosen, report, TERMINAL, settings=options.set, root=options.root)
        show(report, options)
        if found is None or report.errors:
            return 1
        if options.json:
            print_json(found.data())
        else:
            print(found.text())
        if write is not None and found.confusions:
            write(found.picture())
        elif write is not None:
            note("no confusion matrix is drawn: the net has no classes")
    return 0


def _picture(options: argparse.Namespace) -> AbstractContextManager[Callable[[Canvas], None] | None]:
    if options.plot is None:
        return nullcontext()
    from netdsl.app.output import replace_picture

    return replace_picture(options.plot, force=options.force, reads=(options.file, options.weights, options.labels))
