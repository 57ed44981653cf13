"""`netdsl compile`: write a net, or with `--training` a training step, as an ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.frontend import load_recipe
from netdsl.base.terminal import plural
from netdsl.base.user_error import OptionsClash
from netdsl.cli.messages import TERMINAL, note, open_net, print_written, show, weight_source
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse

    from netdsl.app.compile import Saved
    from netdsl.backend.compile import CompileOptions
    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 for errors in the net, its training or the weights, without output. Raises
    UserError."""
    if not options.training:
        options.dtype = options.dtype or "f32"
    _check_together(options)
    return _compile_step(options) if options.training else _compile_net(options)


def _compile_net(options: argparse.Namespace) -> int:
    net = open_net(options)
    if net is None:
        return 1
    from netdsl.app.compile import Destination, save_model, save_quantized
    from netdsl.app.given_weights import given_weights

    _find_examples(options)
    target = options.output if options.output is not None else f"{net.name}.onnx"
    chosen = _compile_options(options, given_weights(net, weight_source(options), options.seed or 0, TERMINAL))
    to = Destination(target, options.external_data, options.force, (options.file, *_reads(options)))
    if options.quantize is None:
        saved = save_model(net, to, chosen, TERMINAL)
    else:
        saved = save_quantized(net, to, chosen, options.calibrate, TERMINAL)
    text = f"{_size(target, saved, options)}, {_contents(saved, chosen.weights, options)}"
    print_written(text, _record(target, saved, net), options)
    return 0


def _compile_step(options: argparse.Namespace) -> int:
    report = Report()
    train = {"batch": options.batch, "seed": options.seed, "dtype": options.dtype}
    settings = [*options.set, *(f"train.{key}={value}" for key, value in train.items() if value is not None)]
    recipe = load_recipe(options.file, report, settings=settings, root=options.root)
    show(report, options, None if recipe is None else recipe.net)
    if recipe is None or report.errors:
        return 1
    from netdsl.app.compile import Destination, save_step
    from netdsl.app.given_weights import given_weights

    target = options.output if options.output is not None else f"{recipe.net.name}.step.onnx"
    weights = given_weights(recipe.net, weight_source(options), recipe.seed, TERMINAL, training=True)
    to = Destination(target, options.external_data, options.force, (options.file, options.weights))
    saved = save_step(recipe, to, _compile_options(options, weights), TERMINAL)
    opset = saved.emitted.model.opset_import[0].version
    text = f"{_size(target, saved, options)}, a step of {recipe.batch:,} examples, {saved.nodes:,} nodes, opset {opset}"
    print_written(text, _record(target, saved, recipe.net) | {"batch": recipe.batch}, options)
    origin = f"drawn from seed {recipe.seed}" if weights is None else f"from {options.weights}"
    note(f"initial weights {origin}")
    return 0


def _compile_options(options: argparse.Namespace, weights: WeightFile | None) -> CompileOptions:
    """Return the options of the compiler, which have the names of ours."""
    from netdsl.backend.compile import CompileOptions

    given = {name: value for name in CompileOptions._fields if (value := getattr(options, name, None)) is not None}
    return CompileOptions(**{**given, "weights": weights, "metadata": _metadata(options.metadata)})


def _reads(options: argparse.Namespace) -> list[str | None]:
    if not options.calibrate:
        return [options.weights]
    from netdsl.app.feeds import files

    return [options.weights, *files(options.calibrate)]


def _check_together(options: argparse.Namespace) -> None:
    if options.training:
        for name, given in (("--io", options.io is not None), ("--quantize", options.quantize or options.calibrate)):
            if given:
                raise OptionsClash(f"--training cannot be combined with {name}: the weights of a step are in f32")
        if options.functions:
            raise OptionsClash(
                "--training cannot be combined with --functions: a step computes blocks and their gradients"
            )
    elif options.dtype == "bf16":
        raise OptionsClash("--dtype bf16 needs --training")
    if options.io is not None and options.dtype == "f32":
        raise OptionsClash("--io needs --dtype f16")
    if options.quantize is None:
        if options.calibrate:
            raise OptionsClash("--calibrate needs --quantize int8")
        return
    if not options.calibrate:
        raise OptionsClash(
            f"--quantize {options.quantize} needs --calibrate", "pass a few hundred examples: --calibrate DATA"
        )
    half = ("--dtype f16", options.dtype != "f32")
    for name, given in (half, ("--external-data", options.external_data), ("--functions", options.functions)):
        if given:
            raise OptionsClash(f"--quantize {options.quantize} cannot be combined with {name}")


def _find_examples(options: argparse.Namespace) -> None:
    """Check that the files of --calibrate exist."""
    if not options.calibrate:
        return
    from netdsl.app.feeds import expand, find

    find(options.calibrate)
    options.calibrate = expand(options.calibrate, TERMINAL)


def _metadata(given: list[str]) -> dict[str, str]:
    """Return the metadata of `--metadata KEY=VALUE`. Raises UserError."""
    from netdsl.backend.compile import BadMetadata

    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadMetadata(f"`--metadata {text}` is not of the form KEY=VALUE")
        if key in found:
            raise BadMetadata(f"`--metadata {key}` is given twice")
        found[key] = value
    return found


def _size(target: str, saved: Saved, options: argparse.Namespace) -> str:
    """Describe the size of the written model."""
    name = "the standard output" if target == "-" else target
    text = f"{name}: {saved.size:,} bytes"
    if saved.data_size is None:
        return text
    from netdsl.backend.external_data import SUFFIX

    why = "" if options.external_data else " (one file holds at most 2 GB)"
    return f"{text}, and {saved.data_size:,} bytes of weights in {name}{SUFFIX}{why}"


def _record(target: str, saved: Saved, net: Net) -> dict[str, object]:
    """Return what was written as plain data."""
    from netdsl.base.shape import elements

    return {
        "file": target,
        "bytes": saved.size,
        **({} if saved.data_size is None else {"data_bytes": saved.data_size}),
        "parameters": sum(elements(p.shape) for p in net.parameters.values() if not p.buffer),
        "nodes": saved.nodes,
        "opset": saved.emitted.model.opset_import[0].version,
    }


def _contents(saved: Saved, weights: WeightFile | None, options: argparse.Namespace) -> str:
    from netdsl.base.shape import elements

    made = saved.emitted
    sizes = {p.name: elements(p.shape) for p in made.parameters if not p.buffer}
    count, drawn = sum(sizes.values()), f"drawn from seed {options.seed or 0}"
    origin = drawn if weights is None else f"from {options.weights}"
    if weights is not None and (initial := sum(size for name, size in sizes.items() if name in weights.initial)):
        origin = f"{origin} except {initial:,} {drawn}"
    parameters = f"{plural(count, 'parameter')} {origin}" if count else "no parameters"
    precision = options.quantize or (options.dtype if options.dtype != "f32" else "")
    ending = f", {precision}" if precision else ""
    blocks = f", {plural(len(made.model.functions), 'function')}" if made.model.functions else ""
    opset = made.model.opset_import[0].version
    return f"{parameters}, {plural(saved.nodes, 'node')}{blocks}, opset {opset}{ending}"
