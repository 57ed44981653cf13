"""Load a net from a file, the zoo or a string."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netdsl.api.errors import NetError, NetWarning, in_python, warn
from netdsl.api.net import Net
from netdsl.api.options import path
from netdsl.api.options import text as text_of
from netdsl.app.analyse import load_nets
from netdsl.app.frontend import load_origin
from netdsl.base.files import decoded
from netdsl.base.text import Source
from netdsl.diagnostics.formats import short
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Setting = float | str | Sequence["Setting"]


def load(file: str | os.PathLike[str], /, **parameters: Setting) -> Net:
    """Load a net from a file or the zoo: `load("nets/resnet.net")`, `load("resnet50")`.

    `FILE:NET` selects a net of a file with several.

    Keyword arguments set parameters of the net. Values are numbers, bools, strings, and lists of these; a string can
    also name a block, or a word of the language: `load("wide.net", block="bottleneck")`.

    Raises NetError if the net has errors, UserError if the file or net does not exist, and TypeError or ValueError for
    values that no parameter can have. Issues a NetWarning for suspicious code; compiling does not repeat it.

    ```python
    >>> netdsl.load("resnet", depth=101, classes=10)
    <net resnet: 345 layers>
    >>> netdsl.load("lenet5").outputs
    {'output': <output: float32 10>}

    ```
    """
    return _load(path("file", file), parameters)


def parse(text: str, /, name: str = "<string>", **parameters: Setting) -> Net:
    """Load a net from a string. `name` is its file name in messages, and `use` looks for files in the folder of `name`.

    Parameters, errors and warnings are as in `load`.

    ```python
    >>> netdsl.parse("net tiny(units = 2) { input x 4; dense units; tanh }", units=3).layers[-1]
    <tanh1: tanh 3>

    ```
    """
    name = text_of("name", name)
    source = Source(name, decoded(text_of("text", text).encode("utf-8", "surrogatepass"), name))
    return _load(source, parameters)


def load_all(text: str, name: str) -> dict[str, Net]:
    """Return all nets of a text by name, like `parse`."""
    source = Source(name, decoded(text.encode("utf-8", "surrogatepass"), name))
    report = Report()
    with in_python():
        found = load_nets(source, report)
    _tell(report)
    return {name: Net(net, origin) for name, (net, origin) in found.items()}


def _load(file: str | Source, parameters: Mapping[str, Setting]) -> Net:
    report = Report()
    with in_python():
        net, origin = load_origin(file, report, settings=parameters)
    _tell(report)
    assert net is not None
    return Net(net, origin)


def _tell(report: Report) -> None:
    """Raise NetError for errors, and issue warnings."""
    if report.errors:
        raise NetError(report)
    for problem in report:
        warn(short(problem), NetWarning)
