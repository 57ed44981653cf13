"""`netdsl profile`: show which lines of a net take the time of a run."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from netdsl.base.user_error import OptionsClash
from netdsl.cli.messages import TERMINAL, check_model_options, note, note_if_random, open_net, show, weight_source
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from netdsl.app.output import Mark
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.net import Net
    from netdsl.profiling.profile import Profile


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 for errors in the net, its weights or the data. Raises UserError."""
    if options.folded and (options.by or options.top or options.format in ("json", "csv", "markdown")):
        raise OptionsClash("--folded is a format of its own, without --by, --top and --format")
    _check_together(options)
    net = recipe = None
    if options.training:
        recipe = _open_recipe(options)
        if recipe is None:
            return 1
        net = recipe.net
    elif options.file.lower().endswith(".onnx"):
        check_model_options(options)
    else:
        net = open_net(options)
        if net is None:
            return 1
    from netdsl.app.feeds import find

    find(options.inputs)
    from netdsl.app.output import ARCHIVE
    from netdsl.app.profile import DATA_MARK, form_of, written

    with ExitStack() as stack:
        file = raw = None
        if options.output is not None:
            form = form_of(options.output)
            file = stack.enter_context(_output(net, options.output, DATA_MARK if form == "json" else ARCHIVE, options))
        if options.session_profile is not None:
            raw = stack.enter_context(_output(net, options.session_profile, ARCHIVE, options))
        found = _profile(net, raw, options) if recipe is None else _profile_step(recipe, raw, options)
        if file is not None:
            file.write(written(found, form, options.by))
    if options.output is not None:
        note(f"{options.output}: {'the data' if form == 'json' else 'a roofline chart'} of the profile")
    if options.output != "-":
        print(_text(found, options))
    return 0


def _check_together(options: argparse.Namespace) -> None:
    if not options.training:
        if options.step_backend is not None:
            raise OptionsClash("--step-backend needs --training: inference has none")
        return
    if options.file.lower().endswith(".onnx"):
        raise OptionsClash("--training needs a .net file: a compiled model has no training step")
    for what, given in (("data", options.inputs), ("--input", options.shapes)):
        if given:
            raise OptionsClash(f"--training cannot be combined with {what}: a step runs on random numbers")
    if options.provider != "cpu" or options.allow_fallback:
        raise OptionsClash("--training cannot be combined with --provider: a step is profiled on the CPU")


def _open_recipe(options: argparse.Namespace) -> Recipe | None:
    """Return how the net of FILE is trained, or None if there are errors; print its problems."""
    from netdsl.app.profile_step import load_step

    report = Report()
    recipe = load_step(options.file, report, settings=options.set, batch=options.batch, root=options.root)
    show(report, options, None if recipe is None else recipe.net)
    if recipe is not None and options.seed is not None:
        recipe.seed = options.seed
    return None if report.errors else recipe


def _profile_step(recipe: Recipe, raw: BinaryIO | None, options: argparse.Namespace) -> Profile:
    from netdsl.app.profile_step import StepOptions, profile_step

    chosen = StepOptions(options.step_backend or "auto", options.threads, raw)
    return profile_step(recipe, weight_source(options), chosen, TERMINAL)


def _profile(net: Net | None, raw: BinaryIO | None, options: argparse.Namespace) -> Profile:
    from netdsl.app.profile import ProfileOptions, profile_model, profile_net

    chosen = ProfileOptions(
        options.inputs,
        dict(options.shapes),
        options.batch,
        options.provider,
        options.threads,
        options.allow_fallback,
        options.by,
        raw,
    )
    if net is None:
        return profile_model(options.file, chosen, TERMINAL)
    note_if_random(net, options)
    return profile_net(net, weight_source(options), options.seed or 0, chosen, TERMINAL)


def _output(net: Net | None, path: str, made: Mark, options: argparse.Namespace) -> AbstractContextManager[BinaryIO]:
    """Open an output, which is checked before the work begins."""
    from netdsl.app.feeds import files
    from netdsl.app.output import replace, sources

    reads = (options.file, *(sources(net) if net else ()), options.weights, *files(options.inputs))
    return replace(path, made=made, force=options.force, reads=reads)


def _text(profile: Profile, options: argparse.Namespace) -> str:
    from netdsl.profiling import text
    from netdsl.profiling.views import default_view, folded
    from netdsl.report.table import json_text

    if options.folded:
        return folded(profile)
    by, form = options.by or default_view(profile), options.format
    if form == "json":
        return json_text(text.profile_data(profile, by, options.top))
    form = {"csv": text.profile_csv, "markdown": text.profile_markdown}.get(form, text.profile_text)
    return form(profile, by, options.top)
