"""`netdsl compile`: a net as one ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.cli.problems import note, show
from netdsl.diagnostics.report import Report
from netdsl.diagnostics.terminal import escape
from netdsl.frontend import load_net

if TYPE_CHECKING:
    import argparse

    from netdsl.emit import Emitted

FLOAT = 4
"""Bytes of a weight."""


def command(options: argparse.Namespace) -> int:
    """Exit code 0, or 1 where the net or its weights have errors; then nothing is written. Raises UserError."""
    report = Report()
    net = load_net(options.file, report, settings=options.set, root=options.root)
    show(report, options)
    if net is None or report.errors:
        return 1
    from netdsl.cli.output import MODEL, replace
    from netdsl.cli.progress import Counted, Progress
    from netdsl.compile import compile_net
    from netdsl.ir.shape import elements
    from netdsl.weights.file import open_weights

    target = options.output if options.output is not None else f"{net.name}.onnx"
    seed = options.seed or 0
    size = FLOAT * sum(elements(parameter.shape) for parameter in net.parameters.values())
    with (
        replace(target, made=MODEL, force=options.force, reads=(options.file, options.weights)) as file,
        Progress("bytes", size) as progress,
    ):
        weights = open_weights(options.weights) if options.weights is not None else None
        counted = Counted(file, progress)
        made = compile_net(
            net,
            counted,  # type: ignore[arg-type]
            seed=seed,
            weights=weights,
            batch=options.batch,
            opset=options.opset,
        )
    whence = f"drawn from seed {seed}" if weights is None else f"from {escape(options.weights)}"
    name = "the standard output" if target == "-" else escape(target)
    note(f"{name}: {counted.size:,} bytes, {_contents(made, whence)}")
    return 0


def _contents(made: Emitted, whence: str) -> str:
    from netdsl.ir.shape import elements

    count = sum(elements(parameter.shape) for parameter in made.parameters if not parameter.buffer)
    nodes = len(made.model.graph.node)
    parameters = f"{_counted(count, 'parameter')} {whence}" if count else "no parameters"
    return f"{parameters}, {_counted(nodes, 'node')}, opset {made.model.opset_import[0].version}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + "s" * (count != 1)
