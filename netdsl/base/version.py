"""The version, from which the package's metadata is built; reading it needs no imports."""

from __future__ import annotations

VERSION = "0.1.0"
