"""Where tests find the checkout and their own files."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
DATA = TESTS / "data"
NETS = TESTS / "nets"
GOLDEN = TESTS / "golden"
