"""Names, shapes and counts of the zoo against torchvision's and timm's."""

from __future__ import annotations

from math import prod

import pytest

from netdsl.ir.net import Net, Node
from netdsl.lower import macs, macs_of
from tests.support.reference import NETWORKS, load

TRAINING_HEADS = ("aux1.", "aux2.")


def _nodes(network: str, net: Net) -> list[Node]:
    """The layers that the reference counts: `googlenet` is without the training heads, `googlenet_aux` with them."""
    return [n for n in net.nodes if network != "googlenet" or not n.name.startswith(TRAINING_HEADS)]


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_have_torchs_names_and_shapes_in_its_order(network: str) -> None:
    net = load(network)
    ours = [[p.name, list(p.shape)] for n in _nodes(network, net) for p in n.parameters.values()]
    assert ours == NETWORKS[network]["state_dict"]


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_are_as_many(network: str) -> None:
    net = load(network)
    ours = [p for n in _nodes(network, net) for p in n.parameters.values() if not p.buffer]
    assert sum(prod(p.shape) for p in ours) == NETWORKS[network]["params"]


@pytest.mark.parametrize("network", NETWORKS)
def test_each_layer_with_weights_has_torchs_shape_and_cost(network: str) -> None:
    nodes = [n for n in _nodes(network, load(network)) if n.parameters]
    ours = {n.name: [list(n.shape), macs_of([n])] for n in nodes}
    assert ours == {name: layer for name, layer in NETWORKS[network]["layers"].items() if name in ours}
    assert ours.keys() == NETWORKS[network]["layers"].keys()


@pytest.mark.parametrize("network", [n for n in NETWORKS if n != "googlenet_aux"])
def test_inference_costs_as_much(network: str) -> None:
    assert macs(load(network)) == NETWORKS[network]["macs"]


def _stages(network: str, net: Net) -> dict[str, tuple[int, ...]]:
    """The shape of each layer and of each scope's last layer, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for node in _nodes(network, net):
        parts = node.name.split(".")
        for end in range(1, len(parts) + 1):
            shapes[".".join(parts[:end])] = node.shape
    return shapes


@pytest.mark.parametrize("network", NETWORKS)
def test_stages_have_torchs_shapes(network: str) -> None:
    """Modules without weights, and groups of layers, where both have one of that name.

    torchvision's dense layers give their own features alone, and join them later.
    """
    theirs = {k: tuple(v) for k, v in NETWORKS[network]["stages"].items() if ".denselayer" not in k}
    ours = {k: v for k, v in _stages(network, load(network)).items() if k in theirs}
    assert len(ours) > 0.4 * len(theirs)
    for name, shape in ours.items():
        assert shape == theirs[name] or (prod(shape),) == theirs[name], name


@pytest.mark.parametrize("network", NETWORKS)
def test_batch_norms_have_torchs_epsilon(network: str) -> None:
    epsilons = {n.layer.eps for n in load(network).nodes if n.layer.kind == "bn"}
    assert sorted(epsilons) == NETWORKS[network]["bn_eps"]
