"""`netdsl eval`: a trained net judged by its metrics, and by what it takes for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    raise NotImplementedError
