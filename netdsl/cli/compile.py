"""`netdsl compile`: a net as one ONNX file, or as one with its weights beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.cli.problems import note, show
from netdsl.diagnostics.report import Report
from netdsl.diagnostics.terminal import escape
from netdsl.diagnostics.user_error import USAGE_IS_WRONG, UserError
from netdsl.frontend import load_net

if TYPE_CHECKING:
    import argparse

    from netdsl.emit import Emitted


class OptionsClash(UserError, code="E0641", exit_code=USAGE_IS_WRONG):
    """Two options contradict each other, or one has no meaning without another."""


def command(options: argparse.Namespace) -> int:
    """Exit code 0, or 1 where the net or its weights have errors; then nothing is written. Raises UserError."""
    report = Report()
    net = load_net(options.file, report, settings=options.set, root=options.root)
    show(report, options)
    if net is None or report.errors:
        return 1
    from netdsl.cli.output import replace_model
    from netdsl.cli.progress import Counted, Progress
    from netdsl.compile import compile_net, weights_size
    from netdsl.pair import DataFile
    from netdsl.weights.file import open_weights

    _check_together(options)
    target = options.output if options.output is not None else f"{net.name}.onnx"
    metadata = _metadata(options.metadata)
    size = weights_size(net, options.dtype)
    reads = (options.file, options.weights)
    outputs = replace_model(target, size, apart=options.external_data, force=options.force, reads=reads)
    with outputs as (file, data), Progress("bytes", size) as progress:
        weights = open_weights(options.weights) if options.weights is not None else None
        written = [Counted(file, progress)]
        if data is not None:
            written.append(Counted(data.file, progress))
        made = compile_net(
            net,
            written[0],  # type: ignore[arg-type]
            seed=options.seed or 0,
            weights=weights,
            batch=options.batch,
            opset=options.opset,
            dtype=options.dtype,
            io=options.io,
            metadata=metadata,
            data=DataFile(written[1], data.name) if data is not None else None,  # type: ignore[arg-type]
        )
    note(f"{_sizes(target, [each.size for each in written], options)}, {_contents(made, options)}")
    return 0


def _check_together(options: argparse.Namespace) -> None:
    if options.io != "f32" and options.dtype == "f32":
        raise OptionsClash("--io f16 goes with --dtype f16")


def _metadata(given: list[str]) -> dict[str, str]:
    from netdsl.compile import BadMetadata

    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadMetadata(f"`--metadata {escape(text)}` is not of the form KEY=VALUE")
        if key in found:
            raise BadMetadata(f"`--metadata {escape(key)}` is given twice")
        found[key] = value
    return found


def _sizes(target: str, sizes: list[int], options: argparse.Namespace) -> str:
    name = "the standard output" if target == "-" else escape(target)
    text = f"{name}: {sizes[0]:,} bytes"
    if len(sizes) == 1:
        return text
    from netdsl.pair import SUFFIX

    why = "" if options.external_data else ", which are too many for one file"
    return f"{text}, and {sizes[1]:,} bytes of weights in {name}{SUFFIX}{why}"


def _contents(made: Emitted, options: argparse.Namespace) -> str:
    from netdsl.ir.shape import elements

    count = sum(elements(parameter.shape) for parameter in made.parameters if not parameter.buffer)
    nodes = len(made.model.graph.node)
    drawn = options.weights is None
    whence = f"drawn from seed {options.seed or 0}" if drawn else f"from {escape(options.weights)}"
    parameters = f"{_counted(count, 'parameter')} {whence}" if count else "no parameters"
    precision = "" if options.dtype == "f32" else f", {options.dtype}"
    return f"{parameters}, {_counted(nodes, 'node')}, opset {made.model.opset_import[0].version}{precision}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + "s" * (count != 1)
