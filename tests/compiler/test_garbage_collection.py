"""While a graph is written, Python does not look for garbage; before and after it does as it did."""

from __future__ import annotations

import gc

import pytest

from netdsl.base.limits import kept


@pytest.mark.parametrize("before", [True, False])
def test_it_is_looked_for_afterwards_as_before(before: bool) -> None:
    was = gc.isenabled()
    (gc.enable if before else gc.disable)()
    try:
        with pytest.raises(ValueError, match="in between"), kept(), kept():
            assert not gc.isenabled()
            raise ValueError("in between")
        assert gc.isenabled() is before
    finally:
        (gc.enable if was else gc.disable)()
