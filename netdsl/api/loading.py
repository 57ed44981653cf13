"""Load a net from a file, the zoo or a text."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from netdsl.api.errors import NetError, NetWarning
from netdsl.api.net import Net
from netdsl.app.frontend import load_net
from netdsl.base.files import decoded
from netdsl.base.text import Source
from netdsl.diagnostics.formats import short
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Setting = float | str | Sequence["Setting"]


def load(file: str | os.PathLike[str], /, **parameters: Setting) -> Net:
    """Return the net of a file or of the zoo: `load("nets/resnet.net")`, `load("resnet50")`. `FILE:NET` selects one of
    several.

    Further arguments are values of the net's parameters: numbers, bools, lists of these, and str, which is a string for
    a parameter that takes one, and otherwise a word or a name: `load("wide.net", block="bottleneck")`.

    Raises NetError if the net has errors, UserError if there is no such file or net, TypeError or ValueError for
    values that no parameter can have. Suspicious code causes a NetWarning, here and not when the net is compiled.

    ```python
    >>> netdsl.load("resnet", depth=101, classes=10)
    <net resnet: 345 layers>
    >>> netdsl.load("lenet5").outputs
    {'output': <output: float32 10>}

    ```
    """
    return _load(os.fsdecode(file), parameters)


def parse(text: str, /, name: str = "<string>", **parameters: Setting) -> Net:
    """Return the net of a text. `name` appears in messages, and its folder is where `use` looks for files.

    Parameters, errors and warnings are those of `load`.

    ```python
    >>> netdsl.parse("net tiny(units = 2) { input x 4; dense units; tanh }", units=3).layers[-1]
    <tanh1: tanh 3>

    ```
    """
    source = Source(name, decoded(text.encode("utf-8", "surrogatepass"), name))
    return _load(source, parameters)


def _load(file: str | Source, parameters: Mapping[str, Setting]) -> Net:
    report = Report()
    net = load_net(file, report, settings=parameters)
    if net is None:
        raise NetError(report)
    for problem in report:
        warnings.warn(NetWarning(short(problem)), stacklevel=3)
    return Net(net)
