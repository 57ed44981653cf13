"""The trainings of a file, checked as far as that goes without training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.name_problems import DefinedTwice
from netdsl.diagnostics.net_problems import UnknownNet
from netdsl.diagnostics.problem import Rejected
from netdsl.elaborate.context import Poisoned
from netdsl.elaborate.structure import settings
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.elaborate.module import Module


def check(module: Module) -> None:
    """Report a training of no net, a second one of a net, and values that cannot be computed."""
    seen: dict[str, ast.Train] = {}
    for item in module.file.items:
        if isinstance(item, ast.Train):
            try:
                _check(item, seen, module)
            except Rejected as rejected:
                module.report.add(rejected.problem)
            except Poisoned:
                pass


def _check(training: ast.Train, seen: dict[str, ast.Train], module: Module) -> None:
    """Check one training. Raises Rejected or Poisoned."""
    name = training.name
    earlier = seen.setdefault(name.text, training)
    if earlier is not training:
        module.context.reject(DefinedTwice, name.span, name=f"train {name.text}", earlier=earlier.name.span)
    found = module.find(name.text)
    if found is None or not isinstance(found[1], (ast.Net, ast.Alias)):
        if module.lost(name.text):
            raise Poisoned
        nets = [n for n in module.names() if isinstance((module.find(n) or (None, None))[1], (ast.Net, ast.Alias))]
        module.context.reject(UnknownNet, name.span, name=name.text, candidates=tuple(nets))
    settings(training.settings, module.context)
