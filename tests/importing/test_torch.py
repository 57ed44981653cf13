"""Classifiers of torchvision, exported by both exporters of PyTorch, and imported.

`NETDSL_TORCH_PYTHON=/path/to/python pytest -m slow tests/importing/test_torch.py`: a Python with PyTorch,
torchvision and onnxscript.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import netdsl

pytestmark = pytest.mark.slow

TORCH = "NETDSL_TORCH_PYTHON"

EXPORT = """
import sys, torch, torchvision
name, how, out = sys.argv[1:]
torch.manual_seed(0)
more = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
net = getattr(torchvision.models, name)(weights=None, **more)
for module in net.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        torch.nn.init.normal_(module.running_mean, 0, 0.1), torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
        torch.nn.init.uniform_(module.weight, 0.5, 1.5), torch.nn.init.normal_(module.bias, 0, 0.1)
x = torch.randn(1, 3, *[299 if name == "inception_v3" else 224] * 2)
kinds = {"dynamo": True, "external_data": False} if how == "dynamo" else {"dynamo": False}
torch.onnx.export(net.eval(), (x,), out, **kinds)
"""

NAMES = """
resnet18 resnet50 googlenet mobilenet_v2 mobilenet_v3_small squeezenet1_1 densenet121 inception_v3 efficientnet_b0
regnet_y_400mf shufflenet_v2_x1_0 mnasnet0_5 alexnet convnext_tiny
"""
TOLERANCE = 1e-6
"""Largest difference, relative to the largest score."""


@pytest.mark.parametrize("how", ["legacy", "dynamo"])
@pytest.mark.parametrize("name", NAMES.split())
def test_classifiers_are_imported(name: str, how: str, tmp_path: Path) -> None:
    if TORCH not in os.environ:
        pytest.skip(f"{TORCH} is not set")
    path = tmp_path / f"{name}.onnx"
    done = subprocess.run([os.environ[TORCH], "-c", EXPORT, name, how, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = netdsl.import_model(path, check=1)
    assert found["proved"]
    assert found["difference"] <= TOLERANCE * found["magnitude"]
