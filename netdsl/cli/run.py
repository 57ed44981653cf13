"""`netdsl run`: a net or a compiled model on data, a line for each example."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from netdsl.cli.problems import show
from netdsl.diagnostics.report import Report
from netdsl.diagnostics.terminal import escape
from netdsl.diagnostics.user_error import USAGE_IS_WRONG, UserError
from netdsl.frontend import load_net

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from netdsl.data.reader import Reader
    from netdsl.session import Array, Session

BATCH = 32


class WrongInputs(UserError, code="E0612", exit_code=USAGE_IS_WRONG):
    """The inputs on the command line are not those of the net."""


def command(options: argparse.Namespace) -> int:
    """Exit code 0, or 1 where the net, its weights or the data have errors. Raises UserError."""
    model = options.file if options.file.endswith(".onnx") else _compiled(options)
    if model is None:
        return 1
    from netdsl.session import Session

    session = Session(model, provider=options.provider, threads=options.threads, name=options.file)
    readers = _readers(options.inputs, session)
    results = _results(session, readers, options)
    if options.output is None:
        for _ in results:
            pass
        return 0
    from netdsl.cli.archive import MADE, write
    from netdsl.cli.output import replace

    with replace(options.output, made=MADE, force=options.force) as file:
        write(file, results, list(session.outputs))
    return 0


def _compiled(options: argparse.Namespace) -> bytes | None:
    report = Report()
    net = load_net(options.file, report, settings=options.set, root=options.root)
    show(report, options.format)
    if net is None:
        return None
    from netdsl.compile import compile_to_bytes
    from netdsl.weights.file import open_weights

    weights = open_weights(options.weights) if options.weights else None
    return compile_to_bytes(net, seed=options.seed, weights=weights)


def _readers(arguments: list[str], session: Session) -> dict[str, Reader]:
    """A reader for each input, from `path` or `name=path` arguments. Raises UserError."""
    from netdsl.data.open import open_input

    paths: dict[str, list[str]] = {name: [] for name in session.inputs}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if equals and name in paths and not os.path.lexists(argument):
            paths[name].append(path)
        elif len(paths) == 1:
            paths[next(iter(paths))].append(argument)
        else:
            raise WrongInputs(
                f"{escape(argument)} is for no input: there are {', '.join(map(escape, paths))}",
                "write NAME=PATH for each",
            )
    missing = [name for name, given in paths.items() if not given]
    if missing:
        raise WrongInputs(f"no data for {', '.join(map(escape, missing))}", "write NAME=PATH for each input")
    return {
        name: open_input(
            given if len(given) > 1 else given[0], session.inputs[name].shape[1:], session.inputs[name].dtype
        )
        for name, given in paths.items()
    }


def _results(session: Session, readers: dict[str, Reader], options: argparse.Namespace) -> Iterator[dict[str, Array]]:
    """The outputs of each batch, printed on their way."""
    from netdsl.session import predict

    first = next(iter(readers.values()))
    fixed = session.inputs[next(iter(readers))].shape[0]
    done = 0
    for outputs in predict(session, readers, options.batch or fixed or BATCH):
        count = len(next(iter(outputs.values())))
        for at in range(count):
            values = {name: array[at] for name, array in outputs.items()}
            print(f"{escape(first.name(done + at))}  {_line(values, options.top)}")
        done += count
        yield outputs


def _line(values: dict[str, Any], top: int) -> str:
    if len(values) == 1:
        return _best(next(iter(values.values())), top)
    return "  ".join(f"{escape(name)}: {_best(array, top)}" for name, array in values.items())


def _best(array: Any, top: int) -> str:
    """The classes with the largest values, best first, equal ones by number; a single number; of maps their shape."""
    if array.size == 1:
        return f"{array.item():.6g}"
    if sum(size > 1 for size in array.shape) > 1:
        return f"{'x'.join(map(str, array.shape))}, {array.min():.6g} to {array.max():.6g}"
    flat = array.ravel()
    return "  ".join(f"{number}: {flat[number]:.6g}" for number in (-flat).argsort(kind="stable")[:top])
