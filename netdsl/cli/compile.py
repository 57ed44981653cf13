"""`netdsl compile`: a net as one ONNX file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from netdsl.cli.problems import show
from netdsl.diagnostics.report import Report
from netdsl.frontend import load_net

if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Exit code 0, or 1 where the net or its weights have errors; then nothing is written. Raises UserError."""
    report = Report()
    net = load_net(options.file, report, settings=options.set, root=options.root)
    show(report, options.format)
    if net is None:
        return 1
    from netdsl.cli.output import replace
    from netdsl.compile import compile_net
    from netdsl.weights.file import open_weights

    weights = open_weights(options.weights) if options.weights else None
    target = options.output or f"{net.name}.onnx"
    with replace(target, made=b"netdsl", force=options.force) as file:
        compile_net(net, file, seed=options.seed, weights=weights, batch=options.batch, opset=options.opset)
    if target != "-":
        print(f"{target}: written", file=sys.stderr)
    return 0
