"""The version, which the package's metadata is built from: finding it costs no import."""

from __future__ import annotations

VERSION = "0.1.0"
