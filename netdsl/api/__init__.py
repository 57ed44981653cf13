"""The Python API, exposed by `import netdsl`: nets, sessions, training, the zoo, and errors."""

from __future__ import annotations

from netdsl.api.errors import NetError, NetWarning
from netdsl.api.loading import load, parse
from netdsl.api.net import Net
from netdsl.api.parts import Layer, Value
from netdsl.api.session import Session
from netdsl.api.shipped import Zoo, ZooEntry, zoo
from netdsl.api.summary import Summary
from netdsl.api.training import Trained, fit
from netdsl.base.user_error import UserError
from netdsl.base.version import VERSION
from netdsl.diagnostics.problem import Problem
from netdsl.ir.net import Parameter

__version__ = VERSION

__all__ = [
    "Layer",
    "Net",
    "NetError",
    "NetWarning",
    "Parameter",
    "Problem",
    "Session",
    "Summary",
    "Trained",
    "UserError",
    "Value",
    "Zoo",
    "ZooEntry",
    "__version__",
    "fit",
    "load",
    "parse",
    "zoo",
]
