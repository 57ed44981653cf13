"""`netdsl run`: run a net or a compiled model on data, printing a line per example."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from math import prod
from time import monotonic
from typing import TYPE_CHECKING

from netdsl.app.labels import check_labels, read_labels, shown_names
from netdsl.base.terminal import escape
from netdsl.base.user_error import UserError
from netdsl.cli.messages import NORMAL, TERMINAL, VERBOSE, check_model_options, note, open_net, weight_source
from netdsl.cli.progress import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from netdsl.backend.session import Array, Session
    from netdsl.data.reader import Reader
    from netdsl.ir.net import Net

RUN_BATCH = 32


class OddOutput(UserError, code="E0620", title="an unsupported kind of output"):
    """A model from another tool has an output that is not an array of numbers with one entry per example."""


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 for errors in the net, its weights or the data. Raises UserError."""
    net = None
    if options.file.lower().endswith(".onnx"):
        check_model_options(options)
    else:
        net = open_net(options)
        if net is None:
            return 1
    from netdsl.app.feeds import expand, find, open_feeds
    from netdsl.backend.session import Session

    options.inputs = expand(options.inputs, TERMINAL)
    find(options.inputs)
    labels = read_labels(options.labels) if options.labels is not None else None
    with _output(net, options) as file:
        session = Session(
            _model(net, options),
            provider=options.provider,
            threads=options.threads,
            name=options.file,
            allow_fallback=options.allow_fallback,
        )
        if session.fallback:
            note(f"{options.file}: {session.provider} leaves {session.fallback} to the CPU")
        readers = open_feeds(options.inputs, session)
        if net is not None and net.parameters and options.weights is None:
            note(
                f"{net.name}: using random weights (seed {options.seed or 0}); pass --weights FILE to load trained ones"
            )
        _run(session, readers, labels, file, options)
    return 0


def _output(net: Net | None, options: argparse.Namespace) -> AbstractContextManager[BinaryIO | None]:
    """Open the file of `-o`, checked before the work begins."""
    if options.output is None:
        return nullcontext()
    from netdsl.app.feeds import files
    from netdsl.app.output import ARCHIVE, replace, sources

    written = sources(net) if net is not None else ()
    reads = (options.file, *written, options.weights, options.labels, *files(options.inputs))
    return replace(options.output, made=ARCHIVE, force=options.force, reads=reads)


def _model(net: Net | None, options: argparse.Namespace) -> bytes | str:
    """Return the compiled net, or the path of a compiled model."""
    if net is None:
        path: str = options.file
        return path
    from netdsl.app.given_weights import given_weights
    from netdsl.backend.compile import CompileOptions, compile_to_bytes

    seed = options.seed or 0
    return compile_to_bytes(net, CompileOptions(seed, given_weights(net, weight_source(options), seed, TERMINAL)))


def _classes(session: Session, labels: list[str] | None, options: argparse.Namespace) -> dict[str, Sequence[str]]:
    """Return the class names by output: those of `--labels`, or else the model's own. Raises UserError."""
    from netdsl.ir.names import read_names

    inputs, outputs = (
        {name: tensor.shape[1:] for name, tensor in part.items()} for part in (session.inputs, session.outputs)
    )
    if labels is not None:
        check_labels(labels, options.labels, outputs)
    counts = {name: None if None in shape else prod(size or 1 for size in shape) for name, shape in outputs.items()}
    return shown_names(labels, read_names(session.metadata, session.name, inputs, outputs), counts)


def _run(
    session: Session,
    readers: dict[str, Reader],
    labels: list[str] | None,
    file: BinaryIO | None,
    options: argparse.Namespace,
) -> None:
    """Print the outputs of each example, to stderr if `-o -` writes to stdout, and write them to the file."""
    from netdsl.app.archive import output_archive
    from netdsl.app.predict import Shard, check_lengths

    classes = _classes(session, labels, options)
    if options.shard is not None:
        check_lengths(readers)
        readers = {name: Shard(reader, *options.shard) for name, reader in readers.items()}
    first = next(iter(readers.values()))
    if options.output is not None:
        _require_space(options.output, session, len(first))
    stream = sys.stderr if options.output == "-" else sys.stdout
    done, begin = 0, monotonic()
    with output_archive(file) if file is not None else nullcontext() as write:
        with counted("examples", len(first), beside=stream) as show_progress:
            for names, outputs in _batches(session, readers, options.batch):
                if labels is not None and not done:
                    check_labels(labels, options.labels, {name: array.shape[1:] for name, array in outputs.items()})
                stream.write("".join(f"{line}\n" for line in _lines(names, outputs, classes, options)))
                done += len(names)
                show_progress(done)
                if write is not None:
                    write(outputs)
        if write is not None and not done:
            write(_nothing(session))
    seconds = monotonic() - begin
    text = f"{done:,} examples in {seconds:.2f} s on {session.provider}: {done / max(seconds, 1e-9):,.0f} examples/s"
    note(text, NORMAL if sys.stderr.isatty() else VERBOSE)


def _batches(
    session: Session, readers: dict[str, Reader], size: int | None
) -> Iterator[tuple[list[str], dict[str, Array]]]:
    """Yield the names of the examples of each batch, and their outputs."""
    from netdsl.app.predict import PaddedReader, predict

    name, first = next(iter(readers.items()))
    fixed = session.inputs[name].shape[0] if session.inputs[name].shape else None
    size = size or fixed or RUN_BATCH
    if size == fixed:
        readers = {name: PaddedReader(reader, size) for name, reader in readers.items()}
    done = 0
    for outputs in predict(session, readers, size):
        count = min(size, len(first) - done)
        computed = size if size == fixed else count
        names = [first.name(at) for at in range(done, done + count)]
        yield names, {name: _part(name, array, computed, count) for name, array in outputs.items()}
        done += count


def _require_space(path: str, session: Session, count: int) -> None:
    """Raise OSError where the outputs of `count` examples, as far as their sizes are known, do not fit on a disk."""
    import numpy as np

    from netdsl.app.output import is_on_disk
    from netdsl.base.files import require_space

    if is_on_disk(path):
        outputs = [x for x in session.outputs.values() if x.dtype in np.sctypeDict]
        shapes = [(np.dtype(x.dtype).itemsize, *x.shape[1:]) for x in outputs]
        require_space(os.path.realpath(path), count * sum(prod(size or 0 for size in shape) for shape in shapes))


def _lines(
    names: list[str], outputs: dict[str, Array], classes: dict[str, Sequence[str]], options: argparse.Namespace
) -> Iterator[str]:
    """Yield the line that is printed for each example."""
    from netdsl.cli.lines import output_records, output_texts

    if options.json:
        from json import dumps

        for name, record in zip(names, output_records(outputs, options.top, classes), strict=True):
            yield dumps({"name": name, "outputs": record}, ensure_ascii=False)
    else:
        for name, text in zip(names, output_texts(outputs, options.top, classes), strict=True):
            yield f"{escape(name)}  {text}"


def _nothing(session: Session) -> dict[str, Array]:
    """Return the outputs of an empty shard, so that it can be concatenated with the others."""
    import numpy as np

    return {name: np.empty((0, *(size or 0 for size in x.shape[1:])), x.dtype) for name, x in session.outputs.items()}


def _part(name: str, array: Array, wanted: int, count: int) -> Array:
    """Return the first `count` results of an output, which must have `wanted` entries."""
    shape = getattr(array, "shape", ())
    if not shape or shape[0] != wanted or array.dtype.kind not in "biuf":
        kind = f"{array.dtype} {'x'.join(map(str, shape))}" if hasattr(array, "dtype") else "no array"
        raise OddOutput(f"the output `{name}` is {kind}, not an array of numbers with {wanted} entries")
    return array[:count]
