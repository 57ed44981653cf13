"""Warnings about a file and its nets, once both are free of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.elaborate.module import Module
    from netdsl.ir.net import Net


def warn(module: Module, nets: Iterable[Net | None]) -> None:
    """Report warnings about a file and its nets, except for allowed ones. If there are errors, warnings would only
    distract from them."""
    report = module.report
    if not report.errors:
        from netdsl.elaborate import advice, unused

        sound = [net for net in nets if net is not None]
        unused.check(module)
        advice.check(sound, report)
        advice.check_trainings(module.recipes, report)
    if report.warnings:
        from netdsl.syntax.allow import silence

        silence(report)
