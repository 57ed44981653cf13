"""What goes wrong with `netdsl train` and `netdsl eval`: wrong data, wrong words, wrong folders."""

from __future__ import annotations

import pytest

from tests.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

STD = ("--lowering", "std", "--threads", "1")
XOR = """
net xor { input x 2; hidden: dense 4; tanh; dense 2 }
train xor { data xor; loss cross_entropy; batch 4; epochs 2 }
"""


@pytest.mark.parametrize("name", ["target", "rate", "loss", "step"])
@pytest.mark.parametrize("net", ["input {} 2; dense 2", "input x 2; {}: dense 2; output {}"])
def test_a_name_that_the_step_has_too(netdsl: Commands, net: str, name: str) -> None:
    netdsl.write(n=f"net n {{ {net.replace('{}', name)} }}\ntrain n {{ data xor; loss cross_entropy }}")
    for ran in (netdsl("train", "n.net", *STD), netdsl("eval", "n.net", "--data", "xor")):
        assert ran.code == 1, ran
        assert f"a training step has a `{name}` of its own" in ran.err
