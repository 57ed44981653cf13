"""`netdsl run`: run a net or a compiled model on data, printing a line per example."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, nullcontext
from time import monotonic
from typing import TYPE_CHECKING

from netdsl.app.labels import check_labels, read_labels
from netdsl.app.progress import counted
from netdsl.base.terminal import escape, plural
from netdsl.base.user_error import OptionsClash
from netdsl.cli.messages import (
    NORMAL,
    TERMINAL,
    VERBOSE,
    check_model_options,
    note,
    note_if_random,
    open_net,
    shows_bars,
    weight_source,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from netdsl.app.predict import Batch
    from netdsl.app.scores import Reading
    from netdsl.app.shards import Shard
    from netdsl.backend.session import Array, Session
    from netdsl.data.reader import Reader
    from netdsl.ir.net import Net


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 for errors in the net, its weights or the data. Raises UserError."""
    net = None
    if options.file.lower().endswith(".onnx"):
        check_model_options(options)
    else:
        net = open_net(options)
        if net is None:
            return 1
    from netdsl.app.feeds import expand, find, open_feeds, report_unscaled
    from netdsl.app.output_formats import check_suffix
    from netdsl.app.scores import output_readings
    from netdsl.app.sequences import lengths_of
    from netdsl.backend.session import Session

    shard = _shard(options)
    options.inputs = expand(options.inputs, TERMINAL)
    find(options.inputs)
    labels = read_labels(options.labels) if options.labels is not None else None
    with ExitStack() as stack:
        may_be_done = options.skip_done and os.path.isfile(options.output)
        file = None if may_be_done else stack.enter_context(_output(net, options))
        if options.output is not None:
            check_suffix(options.output)
        model = _model(net, options)
        session = Session(
            model,
            provider=options.provider,
            threads=options.threads,
            name=options.file,
            allow_fallback=options.allow_fallback,
        )
        if session.fallback:
            note(f"{options.file}: {session.provider} leaves {session.fallback} to the CPU")
        readings = output_readings(
            session,
            model,
            labels,
            options.labels or "",
            logits=options.logits,
            softmax=options.softmax,
            blank=options.blank,
        )
        readers = open_feeds(options.inputs, session, TERMINAL, lengths_of(readings.values()))
        about = _about(shard, model, readers, options)
        if about is None:
            note(f"{options.output} exists: skipped")
            return 0
        if may_be_done:
            file = stack.enter_context(_output(net, options))
        if net is not None:
            report_unscaled(net, readers, TERMINAL)
            note_if_random(net, options)
        writer = _writer(session, readings, file, about, options)
        _run(session, readers, labels, readings, _rows(shard, readers), writer, options)
    return 0


def _shard(options: argparse.Namespace) -> Shard | None:
    """Return the shard, if there is one, put it into the name of the output, and make its folder. Raises UserError."""
    from netdsl.app.shards import Shard, make_folder, output_path, shard_from
    from netdsl.base.files import remove_leftovers_of

    template, auto = options.output, options.shard == "auto"
    shard = None if auto or options.shard is None else Shard(*options.shard)
    if auto:
        shard, variables = shard_from(os.environ)
        note(f"shard {shard}, from {variables}")
    if template is not None:
        options.output = output_path(template, shard, auto=auto)
    if options.skip_done:
        if options.output in (None, "-"):
            raise OptionsClash("--skip-done needs an output file, -o OUT")
        shard = shard or Shard(0, 1)
    if shard is not None and template is not None:
        make_folder(template, shard, force=options.force)
        remove_leftovers_of(options.output)
    return shard


def _output(net: Net | None, options: argparse.Namespace) -> AbstractContextManager[BinaryIO | None]:
    """Open the file of `-o`, checked before the work begins."""
    if options.output is None:
        return nullcontext()
    from netdsl.app.feeds import files
    from netdsl.app.output import replace, sources
    from netdsl.app.output_formats import format_of

    made = format_of(options.output).made
    written = sources(net) if net is not None else ()
    reads = (options.file, *written, options.weights, options.labels, *files(options.inputs))
    return replace(options.output, made=made, force=options.force, reads=reads)


def _model(net: Net | None, options: argparse.Namespace) -> bytes | str:
    """Return the compiled net, or the path of a compiled model."""
    if net is None:
        path: str = options.file
        return path
    from netdsl.app.given_weights import given_weights
    from netdsl.backend.compile import CompileOptions, compile_to_bytes

    seed = options.seed or 0
    return compile_to_bytes(net, CompileOptions(seed, given_weights(net, weight_source(options), seed, TERMINAL)))


def _about(
    shard: Shard | None, model: bytes | str, readers: Mapping[str, Reader], options: argparse.Namespace
) -> str | None:
    """Return what a part says about itself, or None if it exists and can be skipped. Raises OtherPart."""
    if shard is None or options.output is None:
        return ""
    from netdsl.app.parts import is_done, part_of
    from netdsl.app.predict import check_lengths

    check_lengths(readers)
    part, first = part_of(shard, model, readers), next(iter(readers.values()))
    names = (first.name(at) for at in _rows(shard, readers))
    done = is_done(options.output, part, names, skip=options.skip_done, force=options.force)
    return None if done else str(part)


def _rows(shard: Shard | None, readers: Mapping[str, Reader]) -> range:
    total = len(next(iter(readers.values())))
    return range(total) if shard is None else shard.rows(total)


def _writer(
    session: Session, readings: Mapping[str, Reading], file: BinaryIO | None, about: str, options: argparse.Namespace
) -> AbstractContextManager[Callable[[Batch], None] | None]:
    """Return what writes batches to the file, if there is one."""
    from netdsl.app.output_formats import open_writer

    return nullcontext() if file is None else open_writer(options.output, file, session, readings, about)


def _run(
    session: Session,
    readers: dict[str, Reader],
    labels: list[str] | None,
    readings: Mapping[str, Reading],
    rows: range,
    writer: AbstractContextManager[Callable[[Batch], None] | None],
    options: argparse.Namespace,
) -> None:
    """Print the outputs of each example, to stderr if `-o -` writes to stdout, and write them to the file."""
    from netdsl.app.predict import batch_size, require_space, run_batches
    from netdsl.app.prediction_table import PredictionTable
    from netdsl.app.scores import class_counts
    from netdsl.app.sequences import without_padding

    table = PredictionTable(session, readings) if options.format == "csv" else None
    if options.output is not None:
        require_space(options.output, session, len(rows))
    size, _ = batch_size(session, readers, options.batch)
    if len(rows) < min(size, len(next(iter(readers.values())))):
        note(
            f"the shard has {plural(len(rows), 'example')}, but whole batches of {size} are computed: "
            "a smaller --batch is faster"
        )
    stream = sys.stderr if options.output == "-" else sys.stdout
    done, begin = 0, monotonic()
    visible = shows_bars() and not stream.isatty()  # or the bar and the lines would mix
    with writer as write, counted("examples", len(rows), visible=visible) as show_progress:
        for batch in run_batches(session, readers, options.batch, rows):
            if labels is not None and not done and any(None in x.shape[1:] for x in session.outputs.values()):
                check_labels(labels, options.labels, *class_counts(batch.outputs, readings))
            outputs = without_padding(batch, readings)
            if write is not None:
                write(batch)
            if table is not None:
                stream.write(table.add(batch.names, outputs))
            elif batch.names:
                stream.write("".join(f"{line}\n" for line in _lines(batch.names, outputs, readings, options)))
            done += len(batch.names)
            show_progress(done)
    if table is not None:
        stream.write(table.end())
    seconds = monotonic() - begin
    text = f"{done:,} examples in {seconds:.2f} s on {session.provider}: {done / max(seconds, 1e-9):,.0f} examples/s"
    note(text, NORMAL if sys.stderr.isatty() else VERBOSE)


def _lines(
    names: list[str], outputs: dict[str, Array], readings: Mapping[str, Reading], options: argparse.Namespace
) -> Iterator[str]:
    """Yield the line that is printed for each example."""
    from netdsl.cli.lines import output_records, output_texts

    if options.json:
        from netdsl.report.table import json_text

        for name, record in zip(names, output_records(outputs, options.top, readings), strict=True):
            yield json_text({"name": name, "outputs": record})
    else:
        for name, text in zip(names, output_texts(outputs, options.top, readings), strict=True):
            yield f"{escape(name)}  {text}"
