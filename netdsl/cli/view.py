"""`netdsl view`: a net or a model in Netron, in the browser."""

from __future__ import annotations

import os
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from time import sleep
from typing import TYPE_CHECKING

from netdsl.cli.problems import note, show
from netdsl.data.errors import MissingPackage
from netdsl.diagnostics.report import Report
from netdsl.diagnostics.terminal import escape
from netdsl.diagnostics.user_error import USAGE_IS_WRONG, UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from types import ModuleType

    from netdsl.ir.net import Net

HOST = "localhost"
PAUSE = 0.2
"""Seconds between two looks at whether Netron still serves."""


class CannotServe(UserError, code="E0638", exit_code=USAGE_IS_WRONG):
    """`netdsl view` serves Netron on a port of this machine, and to this machine alone. The port that `--port` names is
    taken or not allowed; without the option a free one is found."""


def command(options: argparse.Namespace) -> int:
    """Serve until interrupted. Exit code 0, or 1 where the net or its weights have errors. Raises UserError."""
    netron = _netron()
    if options.file.lower().endswith(".onnx"):
        _check_model(options)
        _serve(netron, options.file, options)
        return 0
    from netdsl.frontend import load_net

    report = Report()
    net = load_net(options.file, report, settings=options.set, root=options.root)
    show(report, options)
    if net is None or report.errors:
        return 1
    with _compiled(net, options) as path:
        _serve(netron, path, options)
    return 0


def _netron() -> ModuleType:
    """Netron, which then says nothing of its own. Raises MissingPackage."""
    import logging

    try:
        import netron
    except ModuleNotFoundError:
        raise MissingPackage(
            "`netdsl view` opens Netron, which is not installed", "pip install 'netdsl[view]'"
        ) from None
    logging.getLogger("netron").setLevel(logging.WARNING)
    found: ModuleType = netron
    return found


def _check_model(options: argparse.Namespace) -> None:
    """Whether a compiled model is there, and is not asked to change. Raises UserError."""
    from netdsl.cli.run import NotForAModel, _check_options
    from netdsl.files import MissingFile

    _check_options(options)
    if options.functions:
        raise NotForAModel(f"{escape(options.file)} is a compiled model, and takes no --functions")
    if not os.path.isfile(options.file):
        raise MissingFile(f"there is no file {escape(options.file)}")


@contextmanager
def _compiled(net: Net, options: argparse.Namespace) -> Iterator[str]:
    """The path of a model that is there as long as it is looked at. Its weights are beside it: Netron reads one when
    somebody asks for it."""
    from netdsl.cli.given_weights import given_weights
    from netdsl.cli.output import signals_clean_up
    from netdsl.compile import compile_net, weights_size
    from netdsl.pair import write_pair

    weights = given_weights(net, options)
    with signals_clean_up(), TemporaryDirectory(prefix="netdsl-") as folder:
        path = os.path.join(folder, f"{net.name}.onnx")
        with write_pair(path, weights_size(net)) as (file, data):
            compile_net(net, file, seed=options.seed or 0, weights=weights, data=data, functions=options.functions)
        yield path


def _serve(netron: ModuleType, path: str, options: argparse.Namespace) -> None:
    """Show a model until it is interrupted, or Netron ends."""
    try:
        address = netron.start(path, address=(HOST, options.port), browse=not options.no_browser)
    except (OSError, OverflowError) as error:
        where = f"on port {options.port}" if options.port else "on any port"
        raise CannotServe(f"cannot serve {where}: {error}", "leave --port out, and a free one is found") from None
    host, port = address
    note(f"{escape(options.file)}: http://{host}:{port} in a browser; Ctrl-C ends it")
    try:
        while netron.status(address):
            sleep(PAUSE)
    except KeyboardInterrupt:  # which is how one ends it
        pass
    finally:
        netron.stop(address)
