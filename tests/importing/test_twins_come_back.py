"""Nets of the zoo from PyTorch: twins of torchvision and timm that are exported and imported are the same nets.

`NETDSL_TORCH_PYTHON=/path/to/python pytest -m slow tests/importing/test_twins_come_back.py`: a Python with PyTorch,
torchvision, timm and onnxscript.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdsl.app.frontend import load_net
from netdsl.diagnostics.report import Report
from netdsl.importing.onnx_file import OnnxFile
from netdsl.ir.net import Net
from netdsl.weights.rename import read_rules
from tests.compiler.test_twins import TV, TWINS, Twin, twin
from tests.importing.imported import imported
from tests.support.paths import ROOT
from tests.support.zoo_models import fingerprint

pytestmark = pytest.mark.slow

assert twin  # the fixture

CLASSIFIERS = {
    "alexnet_torchvision": TV.format("alexnet"),
    "googlenet_torchvision": "torchvision.models.googlenet(aux_logits=False, init_weights=False)",
    "inception_v3": "torchvision.models.inception_v3(aux_logits=False, init_weights=False)",
    "inception_v4": "timm.create_model('inception_v4')",
    "mnasnet": TV.format("mnasnet1_0"),
}

SAME_NAME = """
resnet18 resnet50 vgg11_bn squeezenet1_0 densenet121 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large efficientnet_b0
shufflenet_v2_x0_5 resnext50_32x4d wide_resnet50_2
"""
"""Classifiers that torchvision has by the names of our nets."""

OTHERS = """
dqn dueling_dqn efficientnet_v2_s regnet_x_400mf regnet_y_400mf convnext_tiny r3d_18 mc3_18 r2plus1d_18 fcn_resnet50
deeplabv3_resnet50 res2net50_26w_4s repvgg_a0 repvgg inception_resnet_v2 hrnet_w18 dcgan dcgan_discriminator srcnn espcn
edsr_baseline unet unet_padded wavenet tcn vae nerf alphazero cyclegan cyclegan_discriminator sknet50 ghostnet xception
crnn pointnet
"""
"""Nets of `TWINS`: one of each structure."""

NETS = {
    **{name: TWINS[name] for name in OTHERS.split()},
    **{name: (TV.format(name), {}) for name in SAME_NAME.split()},
    **{name: (model, {}) for name, model in CLASSIFIERS.items()},
}

OTHERWISE = {
    "deeplabv3_resnet50": "the average of an image is interpolated bilinearly, which our net copies",
    "dueling_dqn": "the mean is subtracted from the value of each action, for which our net repeats both",
    "edsr_baseline": "the mean of the pixels is subtracted, where our net also divides by 1",
    "pointnet": "the identity matrix that is added becomes a `param`",
    "sknet50": "the paths are stacked, where our net adds them and splits the weights of their channels",
    "vae": "the noise of training, whose scale is 0 at inference, is not exported",
}
"""Twins that compute the same by other layers."""


DYNAMO = """
dqn dueling_dqn efficientnet_v2_s regnet_x_400mf regnet_y_400mf convnext_tiny repvgg_a0 dcgan dcgan_discriminator srcnn
espcn edsr_baseline wavenet tcn vae nerf alphazero cyclegan cyclegan_discriminator crnn resnet18 squeezenet1_0
mobilenet_v2 mobilenet_v3_small shufflenet_v2_x0_5 mnasnet pointnet
"""
"""Nets that the newer exporter writes, too."""

NOT_LEGACY = {"pointnet"}
"""Twins with an operator, `mT`, that the older exporter lacks."""

CASES = [*((name, "legacy") for name in NETS if name not in NOT_LEGACY), *((name, "dynamo") for name in DYNAMO.split())]


def renamed(net: Net, path: Path, names: Iterator[str]) -> dict[str, str]:
    """Return the names of an imported net's weights as the rename file of a spec has them. Both begin with the names of
    the model, but a list that is no group has its number joined to its name."""
    rules = read_rules(str(path)) if path.exists() else []
    known: dict[str, str] = {}
    for name in names:
        new: str | None = name
        for rule in rules:
            new = None if new is None else rule.apply(new)
        if new is not None:
            known[re.sub(r"\W", "_", name)] = new
    return {name: known.get(re.sub(r"\W", "_", name), name) for name in net.parameters}


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_twins_are_nets_of_the_zoo(name: str, exporter: str, twin: Twin, tmp_path: Path) -> None:
    model, settings = NETS[name]
    net = load_net(name, Report(), settings=settings)
    assert net is not None
    shapes = [list(each.shape) for each in net.inputs]
    twin(
        model,
        shapes,
        tmp_path,
        exporter=exporter,
        inputs=[each.name for each in net.inputs],
        outputs=[*net.inference_outputs],
    )
    path = tmp_path / "model.onnx"
    found = imported(path).net
    spec = ROOT / "specs" / f"{Path(net.source.name).stem}.rename"
    names = (tensor.name for tensor in OnnxFile(str(path)).model.graph.initializer)
    same = fingerprint(found, renamed(found, spec, names)) == fingerprint(net)
    assert same == (name not in OTHERWISE), OTHERWISE.get(name)
