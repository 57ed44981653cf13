"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# No test depends on time, and CI tries the same examples each time.
settings.register_profile("netdsl", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("netdsl")
