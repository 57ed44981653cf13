"""Compile a net or a training step to a file that is written atomically."""

from __future__ import annotations

import os
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from netdsl.app.output import replace_model, signals_clean_up, sources
from netdsl.app.reporter import SILENT
from netdsl.backend.compile import DEFAULTS, compile_net, weights_size
from netdsl.backend.external_data import DataFile, write_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from onnx import ModelProto

    from netdsl.app.reporter import Reporter
    from netdsl.backend.compile import CompileOptions
    from netdsl.backend.emit import Emitted
    from netdsl.backend.external_data import Writable
    from netdsl.backend.session import Array
    from netdsl.data.reader import Reader
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.net import Net

BATCH = 32
"""Batch size for calibration, if the model has a dynamic batch size."""


class Destination(NamedTuple):
    """Where to write a model. With `external_data`, and always above 2 GB, weights are stored in PATH.data.

    A file that netdsl did not write is only overwritten with `force`, and those in `reads`, the inputs, never.
    """

    path: str
    external_data: bool = False
    force: bool = False
    reads: Iterable[str | None] = ()


class Saved(NamedTuple):
    """A written model: the model without weights, its number of nodes, and its size and its data's in bytes."""

    emitted: Emitted
    nodes: int
    size: int
    data_size: int | None


def save_model(net: Net, to: Destination, options: CompileOptions = DEFAULTS, reporter: Reporter = SILENT) -> Saved:
    """Write a net as a model. Raises UserError."""
    size = weights_size(net, options.dtype)
    with _opened(to, sources(net), size, reporter) as (file, data):
        made = compile_net(net, file, options, data=_named(data))
    return _saved(made, file, data)


@contextmanager
def temporary_model(net: Net, options: CompileOptions) -> Iterator[str]:
    """Yield the path of a temporary model. Its weights are external data, so that a viewer only reads those it
    shows."""
    from tempfile import TemporaryDirectory

    with signals_clean_up(), TemporaryDirectory(prefix="netdsl-") as folder:
        path = os.path.join(folder, f"{net.name}.onnx")
        with write_pair(path, weights_size(net)) as (file, data):
            compile_net(net, file, options, data=data)
        yield path


def model_files(path: str) -> dict[str, str]:
    """Return the paths of a model's file and of its external data, by the names that the model uses."""
    import onnx

    files = {os.path.basename(path): path}
    folder = os.path.realpath(os.path.dirname(path) or ".")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # the viewer reports what is wrong with it
        return files
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            place = os.path.realpath(os.path.join(folder, entry.value)) if "\0" not in entry.value else ""
            if entry.key == "location" and place.startswith(os.path.join(folder, "")):
                files[entry.value] = place
    return files


def save_quantized(
    net: Net, to: Destination, options: CompileOptions, examples: list[str], reporter: Reporter = SILENT
) -> Saved:
    """Write a net as a model in int8, with ranges calibrated on examples. Raises UserError."""
    with _opened(to, sources(net), weights_size(net), reporter) as (file, data):
        made, model = quantized(net, options, examples, reporter)
        file.write(model.SerializeToString(deterministic=True))
    return _saved(made, file, data, model)


def save_step(recipe: Recipe, to: Destination, options: CompileOptions, reporter: Reporter = SILENT) -> Saved:
    """Write the training step of a recipe as a model. Raises UserError.

    Only the weights, the opset and the metadata of the options apply.
    """
    from netdsl.backend.serialize import write
    from netdsl.train.export import size, step_model, step_values

    made = step_model(recipe, opset=options.opset, metadata=options.metadata)
    texts = {*sources(recipe.net), recipe.span.source.name}
    with _opened(to, texts, size(made), reporter) as (file, data):
        write(made, step_values(made, recipe, options.weights), file, _named(data))
    return _saved(made, file, data)


class _Counted:
    """A file that counts the bytes written."""

    __slots__ = ("_file", "_show", "name", "size")

    def __init__(self, file: Writable, show: Callable[[int], None], name: str = "") -> None:
        self._file = file
        self._show = show
        self.name = name
        self.size = 0

    def write(self, data: bytes | memoryview, /) -> int:
        self.size += memoryview(data).nbytes
        self._show(self.size)
        return self._file.write(data)


@contextmanager
def _opened(
    to: Destination, texts: Iterable[str], size: int, reporter: Reporter
) -> Iterator[tuple[_Counted, _Counted | None]]:
    """Open a model and its external data, if any. `texts` are the source files, which are never overwritten."""
    outputs = replace_model(to.path, size, apart=to.external_data, force=to.force, reads=(*texts, *to.reads))
    with outputs as (file, data), reporter.progress("bytes", size) as show:
        yield _Counted(file, show), None if data is None else _Counted(data.file, show, data.name)


def _named(data: _Counted | None) -> DataFile | None:
    return None if data is None else DataFile(data, data.name)


def _saved(made: Emitted, file: _Counted, data: _Counted | None, model: ModelProto | None = None) -> Saved:
    graph = (model or made.model).graph
    return Saved(made, len(graph.node), file.size, None if data is None else data.size)


def quantized(
    net: Net, options: CompileOptions, examples: list[str], reporter: Reporter = SILENT
) -> tuple[Emitted, ModelProto]:
    """Return a compiled net and its int8 version. Raises UserError."""
    from netdsl.app.feeds import open_feeds
    from netdsl.app.predict import PaddedReader, check_lengths
    from netdsl.backend.quantize import quantize
    from netdsl.backend.session import Session

    file = BytesIO()
    made = compile_net(net, file, options)
    readers = open_feeds(examples, Session(file.getvalue(), name=net.name), reporter)
    if options.batch is not None:
        readers = {name: PaddedReader(reader, options.batch) for name, reader in readers.items()}
    check_lengths(readers)
    return made, quantize(file.getvalue(), _Batches(readers, options.batch or BATCH, reporter))


class _Batches:
    """The examples in batches; can be iterated several times."""

    def __init__(self, readers: Mapping[str, Reader], size: int, reporter: Reporter) -> None:
        self._readers = readers
        self._size = size
        self._reporter = reporter

    def __iter__(self) -> Iterator[dict[str, Array]]:
        total = len(next(iter(self._readers.values())))
        readers = (reader.batches(self._size) for reader in self._readers.values())
        with self._reporter.progress("examples", total) as show:
            for done, arrays in enumerate(zip(*readers, strict=True)):
                show(done * self._size)
                yield dict(zip(self._readers, arrays, strict=True))
