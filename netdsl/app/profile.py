"""Profile a net or a compiled model: where the time of a run goes, by lines of the source."""

from __future__ import annotations

import os
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from netdsl.app.output import picture_form, signals_clean_up
from netdsl.app.reporter import SILENT
from netdsl.base.terminal import plural
from netdsl.base.text import Source
from netdsl.base.user_error import USAGE_IS_WRONG, OptionsClash, UserError
from netdsl.profiling.profile import Place, Profile
from netdsl.profiling.views import default_view

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from onnx import ModelProto

    from netdsl.app.given_weights import WeightSource
    from netdsl.app.reporter import Reporter
    from netdsl.backend.external_data import Writable
    from netdsl.backend.session import Array, Session, Tensor
    from netdsl.base.shape import Shape
    from netdsl.ir.net import Net, Node
    from netdsl.profiling.model_nodes import ModelNode, ModelNodes
    from netdsl.profiling.session_profile import Kernel

    Places = Callable[[ModelNode, Kernel], Place]

DATA_MARK = b'"writer": "netdsl profile"'
"""The first bytes of a file with the data of a profile."""

USUAL_SIZE = 224
"""A size in examples of options."""


class UnknownSize(UserError, code="E0921", title="an input of unknown size", exit_code=USAGE_IS_WRONG):
    """Without data, `profile` runs a net on random numbers, and needs to know the sizes of its inputs. Those that a net
    reads at run time only, such as `[3, ?H, ?W]`, are given by `--input`, or by data.

    ```sh
    netdsl profile net.net --input image=3x512x512
    netdsl profile net.net photo.png
    ```
    """


class FewExamples(UserError, code="E0922", title="fewer examples than a batch", exit_code=USAGE_IS_WRONG):
    """`profile` measures runs of one batch, and the data have fewer examples than `--batch`.

    ```sh
    netdsl profile net.net x.npy --batch 4
    netdsl profile net.net --batch 64
    ```
    """


class NoLines(UserError, code="E0923", title="a model without source lines", exit_code=USAGE_IS_WRONG):
    """The model was not compiled by netdsl, so that its time is attributed to its nodes and not to lines of a source.

    ```sh
    netdsl profile model.onnx --by layer
    ```
    """


class ProfileOptions(NamedTuple):
    """How to run a model.

    - `inputs`: files of data, as for `run`, or a function that returns arrays; random numbers without them.
    - `sizes`: sizes of inputs that the model does not state, by name.
    - `batch`: examples in a run; one by default, or as many as the model or the arrays have.
    - `by`: the view of the result, a key of VIEWS; None is the default.
    - `session_profile`: a file for onnxruntime's own profile.
    """

    inputs: Sequence[str] | Callable[[Session], dict[str, Array]] = ()
    sizes: Mapping[str, tuple[int, ...]] = {}
    batch: int | None = None
    provider: str = "cpu"
    threads: int | None = None
    allow_fallback: bool = False
    by: str | None = None
    session_profile: Writable | None = None


def profile_net(
    net: Net, source: WeightSource, seed: int, options: ProfileOptions, reporter: Reporter = SILENT, name: str = ""
) -> Profile:
    """Profile a net, whose lines the costs are attributed to. Raises UserError."""
    import onnx

    from netdsl.app.given_weights import given_weights
    from netdsl.backend.compile import CompileOptions, compile_to_bytes
    from netdsl.profiling.model_nodes import model_nodes

    model = compile_to_bytes(net, CompileOptions(seed, given_weights(net, source, seed, reporter)))
    layers = {node.name: node for node in net.nodes}
    texts = {node.span.source.name: node.span.source for node in net.nodes}
    sources = {net.source.name: net.source, **texts}

    def place(node: ModelNode, kernel: Kernel) -> Place:
        layer = layers.get(node.layer)
        return _foreign_place(node, kernel) if layer is None else layer_place(layer)

    nodes = model_nodes(onnx.load_from_string(model))
    return _profile(model, name or net.name, nodes, place, sources, options, reporter)


def layer_place(node: Node) -> Place:
    """Return the place of a layer in the text that defines it."""
    line, column = node.span.source.position(node.span.start)
    block = next((frame.name for frame in node.frame or () if frame.name), "")
    return Place(node.name, node.layer.kind, node.span.source.name, line, column, block, tuple(node.shape))


def profile_model(path: str, options: ProfileOptions, reporter: Reporter = SILENT) -> Profile:
    """Profile a model from a file: by lines if netdsl compiled it, else by nodes. Raises UserError."""
    from netdsl.profiling.model_nodes import inlined, model_nodes, read_model

    model = read_model(path)
    has_calls = bool(model.functions) and not _is_external(model)
    model = inlined(model) if has_calls else model
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    name, digest = metadata.get("netdsl.source", ""), metadata.get("netdsl.source_sha256", "")
    text = _source(path, name, digest) if name else None
    if name and text is None:
        reporter.note(f"{path}: the text of {name} that it was compiled from was not found, so lines have no text")
    sources, nodes = {name: text} if text is not None else {}, model_nodes(model)
    if options.by == "line" and not any(node.source for node in nodes.nodes):
        raise NoLines(f"{path} was not compiled by netdsl, and has no source lines", "choose another view: --by layer")
    opened = model.SerializeToString() if has_calls else _with_names(model, path)
    return _profile(opened, path, nodes, _model_place, sources, options, reporter)


def _is_external(model: ModelProto) -> bool:
    return any(tensor.external_data for tensor in model.graph.initializer)


def _with_names(model: ModelProto, path: str) -> bytes | str:
    """Return a model whose nodes have different names, or its path if they have, or if its weights are external
    data. Kernels are recognized by these names."""
    from netdsl.profiling.model_nodes import node_names

    names = [node.name for node in model.graph.node]
    if _is_external(model) or (all(names) and len(set(names)) == len(names)):
        return path
    for node, name in zip(model.graph.node, node_names(model), strict=True):
        node.name = name
    data: bytes = model.SerializeToString()
    return data


def _source(path: str, name: str, digest: str) -> Source | None:
    """Return the source of a model, if a file beside it, in the working folder or of the zoo has its digest."""
    from netdsl.base.files import read_source
    from netdsl.base.paths import data

    for folder in (os.path.dirname(path), "", data("specs")):
        place = os.path.join(folder, name)
        if os.path.isfile(place) and (found := Source(name, read_source(place).text)).digest == digest:
            return found
    return None


def _model_place(node: ModelNode, kernel: Kernel) -> Place:
    """Return the place that netdsl wrote to the metadata of a node."""
    file, _, position = node.source.rpartition(":")
    file, _, line = file.rpartition(":")
    if not (file and line.isdecimal() and position.isdecimal()):
        return _foreign_place(node, kernel)
    return Place(node.layer, node.op, file, int(line), int(position), shape=_shape(kernel))


def _foreign_place(node: ModelNode, kernel: Kernel) -> Place:
    return Place(node.name, node.op, shape=_shape(kernel))


def _shape(kernel: Kernel) -> Shape:
    """Return the shape of a kernel's result without the batch axis, if the kernel does not pad its channels."""
    padded = "_nchwc" in kernel.name or not kernel.outputs
    return () if padded else kernel.outputs[0][1:]


def _profile(
    model: bytes | str,
    name: str,
    nodes: ModelNodes,
    place: Places,
    sources: dict[str, Source],
    options: ProfileOptions,
    reporter: Reporter,
) -> Profile:
    from netdsl.backend.session import Session
    from netdsl.profiling.measure import PERCENT, costs, measure, optimized_nodes
    from netdsl.profiling.peaks import Machine, beside_peaks
    from netdsl.train.runner import default_threads

    with signals_clean_up(), TemporaryDirectory(prefix="netdsl-") as folder:
        session = Session(
            model,
            provider=options.provider,
            threads=options.threads,
            name=name,
            allow_fallback=options.allow_fallback,
            profile=folder,
        )
        feeds = _feeds(session, options, reporter)
        on_cpu = session.provider == "cpu"
        with reporter.progress("profiling", 2 * PERCENT) as show:
            machine = Machine(options.threads) if on_cpu else None
            run = partial(session.native.run, None, feeds)
            session.run(feeds)  # checks them
            measured, peaks, warnings = beside_peaks(
                machine, lambda: measure(run, session.native, [node.op for node in nodes.nodes], show, 1)
            )
        found = costs(nodes, measured.profile.kernels, optimized_nodes(folder), place)
    if options.session_profile is not None:
        options.session_profile.write(measured.raw)
    return Profile(
        name=name,
        batch=next((len(array) for array in feeds.values() if array.ndim), 1),
        threads=options.threads or default_threads(),
        provider=session.provider,
        runs=len(measured.profile.runs),
        seconds=measured.median,
        between=measured.profile.between,
        costs=found,
        sources=sources,
        peaks=peaks,
        memory=measured.profile.peak,
        launches=not on_cpu,
        warnings=[*measured.warnings, *warnings],
    )


def _feeds(session: Session, options: ProfileOptions, reporter: Reporter) -> dict[str, Array]:
    if unknown := [name for name in options.sizes if name not in session.inputs]:
        raise UnknownSize(f"{session.name} has no input `{unknown[0]}`; its inputs: {', '.join(session.inputs)}")
    if options.inputs and options.sizes:
        raise OptionsClash("sizes of inputs are those of random numbers: data have sizes of their own")
    if callable(options.inputs):
        return options.inputs(session)
    if options.inputs:
        return _read(session, [*options.inputs], options.batch, reporter)
    return {name: random_input(session, tensor, options) for name, tensor in session.inputs.items()}


def _read(session: Session, inputs: list[str], batch: int | None, reporter: Reporter) -> dict[str, Array]:
    """Return the first examples of the data."""
    from netdsl.app.feeds import expand, open_feeds
    from netdsl.app.predict import check_lengths

    readers = open_feeds(expand(inputs, reporter), session, reporter)
    fixed = [tensor.shape[0] for tensor in session.inputs.values() if tensor.shape and tensor.shape[0]]
    size = batch or (fixed[0] if fixed else 1)
    least = min(check_lengths(readers).values())
    check_enough(least, size)
    return {name: next(reader.batches(size)) for name, reader in readers.items()}


def check_enough(examples: int, batch: int) -> None:
    """Raise FewExamples if there are not enough for a batch."""
    if examples < batch:
        raise FewExamples(f"the data have {plural(examples, 'example')}, fewer than a batch of {batch}")


def random_input(session: Session, tensor: Tensor, options: ProfileOptions) -> Array:
    """Return random numbers for an input: of a normal distribution, pixels, or for other integers zeros, which are in
    every vocabulary."""
    import numpy as np

    from netdsl.backend.session import TYPES, WrongFeed

    given = options.sizes.get(tensor.name)
    declared = tensor.shape[1:]
    if given is None and None in declared:
        raise UnknownSize(
            f"{session.name}: the input `{tensor.name}` has sizes that are known only at run time",
            f"give them, such as --input {tensor.name}={'x'.join(str(size or USUAL_SIZE) for size in declared)}",
        )
    if given is not None and not _fits(given, declared):
        raise UnknownSize(
            f"the input `{tensor.name}` requires {tensor.description}, but got {'x'.join(map(str, given))}"
        )
    batch = [options.batch or tensor.shape[0] or 1] if tensor.shape else []
    shape = (*batch, *(given or [size or 1 for size in declared]))
    random = np.random.default_rng(0)
    if tensor.dtype.startswith("float"):
        return random.standard_normal(shape, np.float32).astype(tensor.dtype)
    if tensor.dtype == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    if tensor.dtype not in TYPES.values():
        raise WrongFeed(f"there are no random numbers for the input `{tensor.name}`, a {tensor.dtype}")
    return np.zeros(shape, tensor.dtype)


def _fits(given: Sequence[int], declared: Sequence[int | None]) -> bool:
    pairs = zip(given, declared, strict=False)
    return len(given) == len(declared) and all(want in (None, size) for size, want in pairs)


def form_of(path: str) -> str:
    """Return the format that a file name ends with; standard output gets JSON. Raises NotAPicture, MissingPackage."""
    return "json" if path == "-" else picture_form(path, ("json",))


def written(profile: Profile, form: str, by: str | None) -> bytes:
    """Return a profile as the bytes of a file: a roofline chart, or its data as JSON."""
    if form == "json":
        from netdsl.profiling.text import profile_data
        from netdsl.report.table import json_text

        data = {"writer": "netdsl profile", **profile_data(profile, by or default_view(profile))}
        return f"{json_text(data)}\n".encode()
    from netdsl.profiling.roofline import roofline

    return roofline(profile, by or default_view(profile)).encode(form)
