"""Logits of the zoo, compiled and run, against PyTorch's for the same weights, computed in float64."""

from __future__ import annotations

import numpy as np
import pytest
from reference import DATA, load
from rule_weights import RuleWeights, rule_input

from netdsl.compile import compile_to_bytes
from netdsl.session import Session

TOLERANCE = 1e-5
"""Of the largest logit. Engines differ by a tenth of it, a tensor rolled by one place makes ten times that."""

FAST = (
    "caffe_lenet5_full_c3_32",
    "resnet18",
    "mobilenet_v2",
    "googlenet",
    "densenet121",
    "resnet50",
    "caffe_nin_imagenet",
)
SLOW = ("alexnet", "caffe_bvlc_alexnet", "vgg16", "vgg16_bn")
NETWORKS = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def relative_error(network: str) -> float:
    """The largest difference of two examples' logits from the reference, over the largest logit."""
    net = load(network)
    (given,) = net.inputs
    session = Session(compile_to_bytes(net, weights=RuleWeights(net)))
    (logits,) = session.run({given.name: rule_input(network, given.shape)}).values()
    expected = np.load(DATA / "logits.npz")[network]
    assert logits.shape == expected.shape
    return float(np.abs(logits - expected).max() / np.abs(expected).max())


def test_training_heads_may_be_in_the_file_or_not() -> None:
    net = load("googlenet")
    weights = RuleWeights(net)
    with_heads = compile_to_bytes(net, weights=weights)
    weights.entries = {key: entry for key, entry in weights.entries.items() if not key.startswith("aux")}
    assert len(weights.entries) < len(net.parameters)
    assert compile_to_bytes(net, weights=weights) == with_heads


@pytest.mark.parametrize("network", NETWORKS)
def test_logits_are_pytorchs(network: str) -> None:
    assert relative_error(network) <= TOLERANCE
