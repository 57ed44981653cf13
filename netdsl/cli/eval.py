"""`netdsl eval`: evaluate a trained net by its loss, metrics and confusion matrix."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING

from netdsl.base.terminal import escape
from netdsl.cli.messages import TERMINAL, check_model_options, note, show, weight_source
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from netdsl.app.evaluate import EvalResult
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
            print(json.dumps(_record(found), ensure_ascii=False))
        else:
            print("\n".join(_text(found)))
        if write is not None:
            _draw(found, write)
    return 0


def _picture(options: argparse.Namespace) -> AbstractContextManager[Callable[[Canvas], None] | None]:
    if options.plot is None:
        return nullcontext()
    from netdsl.app.output import replace_picture

    return replace_picture(options.plot, force=options.force, reads=(options.file, options.weights, options.labels))


def _record(found: EvalResult) -> dict[str, object]:
    record: dict[str, object] = {"net": found.name, "data": found.data, "examples": found.examples, **found.figures}
    if found.confusions:
        names = {name: list(found.classes.get(name, ())) for name in found.confusions}
        record["classes"] = names if len(names) > 1 else next(iter(names.values()))
        record["confusion"] = {name: counts.tolist() for name, counts in found.confusions.items()}
    return record


def _text(found: EvalResult) -> list[str]:
    from netdsl.report.confusion import confusion_lines

    width = max(map(len, found.figures))
    text = [f"{escape(found.name)} on {escape(found.data)}, {found.examples:,} examples"]
    text += [f"{name:<{width}}  {value:.6g}" for name, value in found.figures.items()]
    for name, counts in found.confusions.items():
        text += ["", *([f"output {escape(name)}"] if len(found.confusions) > 1 else [])]
        text += confusion_lines(counts, _names(found, name, len(counts)))
    return text


def _names(found: EvalResult, output: str, count: int) -> Sequence[str]:
    classes = found.classes.get(output, ())
    return classes if len(classes) == count else [str(number) for number in range(count)]


def _draw(found: EvalResult, write: Callable[[Canvas], None]) -> None:
    from netdsl.report.confusion import draw_confusion

    if not found.confusions:
        note("no confusion matrix is drawn: the net has no classes")
        return
    output, counts = next(iter(found.confusions.items()))
    names = [escape(name) for name in _names(found, output, len(counts))]
    write(draw_confusion(escape(f"{found.name} on {found.data}"), counts, names))
