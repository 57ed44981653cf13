"""`netdsl compile`: write a net as an ONNX file, optionally with external weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.app.frontend import load_net
from netdsl.app.messages import note, show
from netdsl.base.terminal import escape
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse

    from netdsl.app.progress import Counted
    from netdsl.backend.emit import Emitted
    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile


class OptionsClash(UserError, code="E0641", exit_code=USAGE_IS_WRONG):
    """Two options contradict each other, or one requires another."""


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 for errors in the net or its weights, without output. Raises UserError."""
    _check_together(options)
    if options.training:
        from netdsl.cli import compile_training

        return compile_training.command(options)
    report = Report()
    net = load_net(options.file, report, settings=options.set, root=options.root)
    show(report, options, net)
    if net is None or report.errors:
        return 1
    from netdsl.app.output import replace_model, sources
    from netdsl.app.progress import Counted, Progress
    from netdsl.backend.compile import weights_size

    _find_examples(options)
    target = options.output if options.output is not None else f"{net.name}.onnx"
    size = weights_size(net, options.dtype)
    reads = (options.file, *sources(net), *_reads(options))
    outputs = replace_model(target, size, apart=options.external_data, force=options.force, reads=reads)
    with outputs as (file, data), Progress("bytes", size) as progress:
        model = Counted(file, progress)
        weights = None if data is None else Counted(data.file, progress)
        name = None if data is None else data.name
        told = _write(net, options, model, weights, name)
    note(f"{sizes(target, model, weights, options)}, {told}")
    return 0


def _reads(options: argparse.Namespace) -> list[str | None]:
    if not options.calibrate:
        return [options.weights]
    from netdsl.app.feeds import files

    return [options.weights, *files(options.calibrate)]


def _write(net: Net, options: argparse.Namespace, file: Counted, data: Counted | None, name: str | None) -> str:
    """Write the model and return its description."""
    from netdsl.app.given_weights import given_weights

    how: dict[str, Any] = {
        "seed": options.seed or 0,
        "weights": given_weights(net, options, options.seed or 0),
        "batch": options.batch,
        "opset": options.opset,
        "dtype": options.dtype,
        "io": options.io or "f32",
        "metadata": metadata_of(options.metadata),
        "functions": options.functions,
    }
    if options.quantize is None:
        from netdsl.backend.compile import compile_net
        from netdsl.backend.external_data import DataFile

        beside = None if data is None or name is None else DataFile(data, name)  # type: ignore[arg-type]
        made = compile_net(net, file, data=beside, **how)  # type: ignore[arg-type]
        return _contents(made, len(made.model.graph.node), how["weights"], options)
    from netdsl.cli.calibrate import quantized

    made, model = quantized(net, how, options.calibrate)
    file.write(model.SerializeToString(deterministic=True))
    return _contents(made, len(model.graph.node), how["weights"], options)


def _check_together(options: argparse.Namespace) -> None:
    if options.training:
        half = options.dtype != "f32" or options.io is not None
        for name, given in (("--dtype and --io", half), ("--quantize", options.quantize or options.calibrate)):
            if given:
                raise OptionsClash(f"--training does not go with {name}: a step computes in f32")
        if options.functions:
            raise OptionsClash("--training does not go with --functions: a step computes blocks and their gradients")
    if options.io is not None and options.dtype == "f32":
        raise OptionsClash("--io goes with --dtype f16")
    if options.quantize is None:
        if options.calibrate:
            raise OptionsClash("--calibrate goes with --quantize int8")
        return
    if not options.calibrate:
        raise OptionsClash(
            f"--quantize {options.quantize} needs examples", "name a file of some hundred: --calibrate DATA"
        )
    half = ("--dtype f16", options.dtype != "f32")
    for name, given in (half, ("--external-data", options.external_data), ("--functions", options.functions)):
        if given:
            raise OptionsClash(f"--quantize {options.quantize} does not go with {name}")


def _find_examples(options: argparse.Namespace) -> None:
    """Check that the files of --calibrate exist."""
    if not options.calibrate:
        return
    from netdsl.app.feeds import expand, find

    find(options.calibrate)
    options.calibrate = expand(options.calibrate)


def metadata_of(given: list[str]) -> dict[str, str]:
    """Return the metadata of `--metadata KEY=VALUE`. Raises UserError."""
    from netdsl.backend.compile import BadMetadata

    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadMetadata(f"`--metadata {escape(text)}` is not of the form KEY=VALUE")
        if key in found:
            raise BadMetadata(f"`--metadata {escape(key)}` is given twice")
        found[key] = value
    return found


def sizes(target: str, model: Counted, weights: Counted | None, options: argparse.Namespace) -> str:
    """Describe the size of the written model."""
    name = "the standard output" if target == "-" else escape(target)
    text = f"{name}: {model.size:,} bytes"
    if weights is None:
        return text
    from netdsl.backend.external_data import SUFFIX

    why = "" if options.external_data else ", which are too many for one file"
    return f"{text}, and {weights.size:,} bytes of weights in {name}{SUFFIX}{why}"


def _contents(made: Emitted, nodes: int, weights: WeightFile | None, options: argparse.Namespace) -> str:
    from netdsl.base.shape import elements

    sizes = {p.name: elements(p.shape) for p in made.parameters if not p.buffer}
    count, drawn = sum(sizes.values()), f"drawn from seed {options.seed or 0}"
    whence = drawn if weights is None else f"from {escape(options.weights)}"
    if weights is not None and (initial := sum(size for name, size in sizes.items() if name in weights.initial)):
        whence = f"{whence} but for {initial:,} {drawn}"
    parameters = f"{_counted(count, 'parameter')} {whence}" if count else "no parameters"
    precision = options.quantize or (options.dtype if options.dtype != "f32" else "")
    ending = f", {precision}" if precision else ""
    blocks = f", {_counted(len(made.model.functions), 'function')}" if made.model.functions else ""
    return f"{parameters}, {_counted(nodes, 'node')}{blocks}, opset {made.model.opset_import[0].version}{ending}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + "s" * (count != 1)
