"""`netdsl view`: show a net or a model in Netron, in the browser."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.cli.messages import TERMINAL, check_model_options, open_net, weight_source
from netdsl.cli.serving import serve
from netdsl.data.errors import MissingPackage

if TYPE_CHECKING:
    import argparse


class CannotServe(UserError, code="E0638", title="a viewer that cannot start", exit_code=USAGE_IS_WRONG):
    """`netdsl view` serves Netron on a local port. The port given by `--port` is in use or not allowed, or no port is
    free. Without the option, a free port is chosen.

    ```sh
    netdsl view net.net
    netdsl view net.net --port 8080
    ```
    """


def command(options: argparse.Namespace) -> int:
    """Serve until interrupted. Exit code 0, or 1 for errors in the net or its weights. Raises UserError."""
    netron = _netron()
    if options.file.lower().endswith(".onnx"):
        _check_model(options)
        _serve(netron, options.file, options)
        return 0
    net = open_net(options)
    if net is None:
        return 1
    from netdsl.app.compile import temporary_model
    from netdsl.app.given_weights import given_weights
    from netdsl.backend.compile import CompileOptions

    seed = options.seed or 0
    weights = given_weights(net, weight_source(options), seed, TERMINAL)
    with temporary_model(net, CompileOptions(seed, weights, functions=options.functions)) as path:
        _serve(netron, path, options)
    return 0


def _netron() -> str:
    """Return the folder of Netron's files. Raises MissingPackage."""
    from importlib.util import find_spec

    found = find_spec("netron")
    if found is None or not found.submodule_search_locations:
        raise MissingPackage("`netdsl view` opens Netron, which is not installed", "pip install 'netdsl[view]'")
    return found.submodule_search_locations[0]


def _check_model(options: argparse.Namespace) -> None:
    """Check that a compiled model exists, and that no option would change it. Raises UserError."""
    from netdsl.base.files import MissingFile
    from netdsl.weights.onnx_external import data_files

    check_model_options(options)
    if not os.path.isfile(options.file):
        raise MissingFile(f"there is no file {options.file}")
    data_files(options.file)


def _serve(netron: str, path: str, options: argparse.Namespace) -> None:
    """Show a model until it is interrupted. Raises CannotServe."""
    from netdsl.app.compile import model_files
    from netdsl.cli.viewer import Viewer

    serve(lambda: Viewer(netron, model_files(path), options.port), options.file, options, CannotServe)
