"""Logits of the zoo, compiled and run, against PyTorch's for the same weights, computed in float64."""

from __future__ import annotations

import numpy as np
import pytest

from netdsl.backend.compile import CompileOptions, compile_to_bytes
from netdsl.backend.session import Session
from tests.support.reference import DATA, NAMES, load
from tests.support.rule_weights import RuleWeights, rule_input

TOLERANCE = 1e-5
"""Of the largest logit. Engines differ by a tenth of it, a tensor rolled by one place makes ten times that."""

FAST = (
    *("caffe_lenet5_full_c3_32", "resnet18", "mobilenet_v2", "googlenet", "densenet121", "resnet50"),
    *("squeezenet1_0", "squeezenet1_1", "shufflenet_v2_x1_0", "mobilenet_v3_small", "mnasnet1_0", "efficientnet_b0"),
    *("efficientnet_lite0", "bvlc_googlenet", "caffe_nin_imagenet", "resnet_idelbayev20", "resnet34", "inception_v3"),
)
SLOW = (
    *("alexnet", "caffe_bvlc_alexnet", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19"),
    *("vgg19_bn", "resnet101", "resnet152", "inception_v4", "densenet169", "resnext50_32x4d"),
)
NETWORKS = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def relative_error(network: str) -> float:
    """The largest difference of two examples' logits from the reference, over the largest logit."""
    net = load(network)
    (given,) = net.inputs
    session = Session(compile_to_bytes(net, CompileOptions(weights=RuleWeights(net))))
    (logits,) = session.run({given.name: rule_input(network, given.shape)}).values()
    expected = np.load(DATA / "logits.npz")[network]
    assert logits.shape == expected.shape
    return float(np.abs(logits - expected).max() / np.abs(expected).max())


def test_training_heads_may_be_in_the_file_or_not() -> None:
    net = load("googlenet")
    weights = RuleWeights(net)
    with_heads = compile_to_bytes(net, CompileOptions(weights=weights))
    weights.entries = {key: entry for key, entry in weights.entries.items() if not key.startswith("aux")}
    assert len(weights.entries) < len(net.parameters)
    assert compile_to_bytes(net, CompileOptions(weights=weights)) == with_heads


@pytest.mark.parametrize("network", NETWORKS)
def test_logits_are_pytorchs(network: str) -> None:
    assert relative_error(network) <= TOLERANCE


@pytest.mark.parametrize("network", NAMES)
def test_weights_have_the_names_that_the_world_gave_them(network: str) -> None:
    """In the order, too, in which a state_dict has them; of networks that test_names.py does not look at."""
    ours = [[p.name, list(p.shape)] for node in load(network).nodes for p in node.parameters.values()]
    assert ours == NAMES[network]
