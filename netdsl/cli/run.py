"""`netdsl run`: run a net or a compiled model on data, printing a line per example."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from time import monotonic
from typing import TYPE_CHECKING

from netdsl.app.labels import check_labels, read_labels
from netdsl.app.progress import counted
from netdsl.base.terminal import escape
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
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from netdsl.app.scores import Reading
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
    from netdsl.app.prediction_table import check_suffix
    from netdsl.app.scores import output_readings
    from netdsl.app.sequences import lengths_of
    from netdsl.backend.session import Session

    options.inputs = expand(options.inputs, TERMINAL)
    find(options.inputs)
    labels = read_labels(options.labels) if options.labels is not None else None
    with _output(net, options) as file:
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
        if net is not None:
            report_unscaled(net, readers, TERMINAL)
            note_if_random(net, options)
        _run(session, readers, labels, readings, file, options)
    return 0


def _output(net: Net | None, options: argparse.Namespace) -> AbstractContextManager[BinaryIO | None]:
    """Open the file of `-o`, checked before the work begins."""
    if options.output is None:
        return nullcontext()
    from netdsl.app.feeds import files
    from netdsl.app.output import ARCHIVE, replace, sources
    from netdsl.app.prediction_table import MARKS

    written = sources(net) if net is not None else ()
    reads = (options.file, *written, options.weights, options.labels, *files(options.inputs))
    return replace(options.output, made=MARKS if _writes_table(options) else ARCHIVE, force=options.force, reads=reads)


def _writes_table(options: argparse.Namespace) -> bool:
    return options.output is not None and options.output.lower().endswith(".csv")


def _model(net: Net | None, options: argparse.Namespace) -> bytes | str:
    """Return the compiled net, or the path of a compiled model."""
    if net is None:
        path: str = options.file
        return path
    from netdsl.app.given_weights import given_weights
    from netdsl.backend.compile import CompileOptions, compile_to_bytes

    seed = options.seed or 0
    return compile_to_bytes(net, CompileOptions(seed, given_weights(net, weight_source(options), seed, TERMINAL)))


def _run(
    session: Session,
    readers: dict[str, Reader],
    labels: list[str] | None,
    readings: Mapping[str, Reading],
    file: BinaryIO | None,
    options: argparse.Namespace,
) -> None:
    """Print the outputs of each example, to stderr if `-o -` writes to stdout, and write them to the file."""
    from netdsl.app.predict import require_space, run_batches, sharded
    from netdsl.app.prediction_table import PredictionTable
    from netdsl.app.scores import class_counts
    from netdsl.app.sequences import without_padding

    if options.shard is not None:
        readers = sharded(readers, *options.shard)
    total = len(next(iter(readers.values())))
    table_file = file if _writes_table(options) else None
    prints_table = options.format == "csv"
    table = PredictionTable(session, readings) if prints_table or table_file is not None else None

    def write_rows(rows: str) -> None:
        if prints_table:
            stream.write(rows)
        if table_file is not None:
            table_file.write(rows.encode())

    if options.output is not None and table_file is None:
        require_space(options.output, session, total)
    stream = sys.stderr if options.output == "-" else sys.stdout
    done, begin = 0, monotonic()
    visible = shows_bars() and not stream.isatty()  # or the bar and the lines would mix
    with counted("examples", total, visible=visible) as show_progress:
        for batch in run_batches(session, readers, options.batch, file if table_file is None else None):
            if labels is not None and not done and any(None in x.shape[1:] for x in session.outputs.values()):
                check_labels(labels, options.labels, *class_counts(batch.outputs, readings))
            outputs = without_padding(batch, readings)
            if table is not None:
                write_rows(table.add(batch.names, outputs))
            if not prints_table:
                stream.write("".join(f"{line}\n" for line in _lines(batch.names, outputs, readings, options)))
            done += len(batch.names)
            show_progress(done)
    if table is not None:
        write_rows(table.end())
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
