"""Warnings about a file and its nets, once both are known to be without errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.elaborate.module import Module
    from netdsl.ir.net import Net


def warn(module: Module, nets: Iterable[Net | None]) -> None:
    """Report what is doubtful in a file and in nets of it, but for what a comment allows. Where something is wrong,
    doubts would only hide it."""
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
