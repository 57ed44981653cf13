"""Networks as others have them: state_dict keys, shapes, counts and logits from tests/data, and nets from files."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

from netdsl.app.frontend import load_net
from netdsl.diagnostics.report import Report
from netdsl.ir.net import Net
from tests.support.paths import DATA, NETS

NETWORKS: dict[str, dict] = json.loads(gzip.decompress((DATA / "networks.json.gz").read_bytes()))
"""By torchvision's or timm's name: `params`, `macs`, `state_dict`, `layers` (name to shape and MACs), `stages`."""

NAMES: dict[str, list] = json.loads(gzip.decompress((DATA / "names.json.gz").read_bytes()))
"""Names and shapes of further networks' weights, as those who published weights have them."""

COUNTS: dict[str, dict[str, int]] = json.loads((DATA / "counts.json").read_text())

OURS = {
    "alexnet": "alexnet_torchvision",
    "googlenet": "googlenet_torchvision",
    "googlenet_aux": "googlenet_torchvision",
    "bvlc_googlenet": "googlenet_caffe",
    "bvlc_googlenet_aux_train": "googlenet_caffe",
    "inception_v3_aux": "inception_v3",
    "mnasnet1_0": "mnasnet",
    "nin_imagenet": "nin",
    "caffe_nin_imagenet": "nin",
    "nin_imagenet_227": NETS / "nin_227.net",
    "resnet_idelbayev20": NETS / "resnet20_split.net",
    "zfnet_paper_224": "zfnet",
    "perceptron_784_10": "perceptron",
    "mlp_784_300_100_10": "mlp",
    "lenet5_1998_paper": "lenet5_1998",
    "caffe_bvlc_alexnet": "alexnet_caffe",
    "bvlc_reference_caffenet": NETS / "bvlc_caffenet.net",
    "bvlc_alexnet": "alexnet_caffe",
    "caffe_lenet5_full_c3_32": NETS / "lenet5_full_c3.net",
    "lenet5_full_c3_32": NETS / "lenet5_full_c3.net",
    "alexnet_ungrouped_227": NETS / "alexnet_ungrouped.net",
    "caffe_lenet_mnist": NETS / "caffe_lenet.net",
}
"""What we call a network of theirs, where we call it otherwise."""


def load(network: str) -> Net:
    """Our net for a network of theirs."""
    return open_net(OURS.get(network, network))


LESS: dict[str, dict[str, int]] = {
    **{name: {"layers": 2} for name in ("gpt2_medium", "gpt2_large", "gpt2_xl", "bert_large")},
    **{name: {"layers": 1, "words": 1000} for name in ("llama", "llama_3_2_1b")},
}
"""Parameters with which nets whose weights are larger than a gigabyte are computed in tests."""


@cache
def zoo_net(name: str) -> Net:
    """A net of the zoo, elaborated once for all tests; they must not change it."""
    return open_net(name)


def open_net(name: str | Path, **settings: int) -> Net:
    """The net of that name in the zoo, or of that file; it must be right."""
    report = Report()
    net = load_net(str(name), report, settings=settings)
    assert net is not None, [f"{p.code} {p.span}: {p.message()}" for p in report]
    return net
