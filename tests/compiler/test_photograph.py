"""The example with real weights. What needs none of them is quick; the slow tests get them from the package index with
pip, as the example's page says, and fail where that cannot be."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import netdsl as nets
from tests.support.cli_tools import ROOT, Commands, netdsl
from tests.support.paths import TESTS
from tests.support.walkthrough import blocks, checkout, follow, printed

__all__ = ["netdsl"]

FOLDER = ROOT / "examples" / "photograph"
PAGE = FOLDER / "README.md"
NET = FOLDER / "photograph.net"
PICTURES = [FOLDER / "cat.png", FOLDER / "cup.png"]
NAMES = (FOLDER / "imagenet_names.txt").read_text("utf-8").splitlines()
LOGITS = TESTS / "data" / "photograph_logits.npz"
"""float64, 2x1000: what efficientnet-lite-pytorch 0.1.0 (Apache-2.0) computes of the two pictures in torch 2.13.0, in
double precision, with the package's weights. Not computed by this project's code."""

FILES = {
    "cat.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "cup.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
}
"""SHA-256 of scikit-image's chelsea.png and coffee.png."""
WEIGHTS = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""SHA-256 of the package's weights; what its name ends with are the first eight digits."""

CATS = {"tabby", "tiger cat", "Egyptian cat"}
CUPS = {"espresso", "cup", "coffee mug"}


def prepared(path: Path) -> Any:
    """A picture as torchvision's Resize(256) and CenterCrop(224) make it, by Pillow: pixels, [3, 224, 224]."""
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((int(image.width * scale + 1e-9), int(image.height * scale + 1e-9)), Image.Resampling.BICUBIC)
    left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
    return np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32).transpose(2, 0, 1)


@pytest.mark.parametrize("name", FILES)
def test_the_pictures_are_the_ones_that_are_named(name: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == FILES[name]


def test_the_names_are_imagenets() -> None:
    assert len(NAMES) == len(set(NAMES)) == 1000
    assert [NAMES[at] for at in (0, 281, 282, 285, 967, 968, 999)] == [
        *("tench", "tabby", "tiger cat", "Egyptian cat", "espresso", "cup", "toilet tissue")
    ]


def test_its_weights_are_called_as_the_zoos() -> None:
    here, there = nets.load(NET).parameters, nets.load("efficientnet_lite0").parameters
    assert {name: p.shape for name, p in here.items()} == {name: p.shape for name, p in there.items()}


def test_it_is_the_zoos_net_behind_the_pictures_preparation(netdsl: Commands) -> None:
    """With weights drawn from one seed, which depend on their names alone, and pictures that Pillow has prepared."""
    assert netdsl("run", NET, *PICTURES, "--seed", 3, "-o", "found.npz", "-q").code == 0
    images = (np.stack([prepared(path) for path in PICTURES]) - 127) / 128
    wanted = nets.load("efficientnet_lite0").session(seed=3)(image=images.astype(np.float32))
    found = np.load("found.npz")["output"]
    np.testing.assert_allclose(found, np.asarray(wanted["output"]), atol=1e-4 * float(abs(found).max()))


def told(text: str) -> dict[str, list[str]]:
    """The classes of each picture with their probabilities, the best first."""
    lines = re.findall(r"^\S*/photograph/(\w+)\.png  (.*)$", text, re.MULTILINE)
    return {name: classes.split("  ") for name, classes in lines}


@pytest.mark.parametrize("page", [PAGE, ROOT / "README.md"], ids=["example", "README"])
def test_the_pages_show_the_probabilities_of_the_original(page: Path) -> None:
    """Five classes for each picture, as the PyTorch model has them."""
    chances = np.exp(np.load(LOGITS)["logits"])
    chances *= 100 / chances.sum(1, keepdims=True)
    best = [row.argsort()[::-1][:5] for row in chances]
    cat, cup = ([f"{NAMES[at]} {row[at]:.1f} %" for at in order] for row, order in zip(chances, best, strict=True))
    assert told(page.read_text("utf-8")) == {"cat": cat, "cup": cup}
    assert {NAMES[at] for at in best[0][:3]} == CATS
    assert {NAMES[at] for at in best[1]} >= CUPS


def test_the_readme_types_what_the_page_does() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    commands = [line for block in blocks(PAGE, "sh") for line in block.splitlines()]
    commands += re.findall(r"^\$ (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [command for command in commands if command not in readme] == []


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout, in which the page's first command has brought the weights."""
    found = checkout(tmp_path_factory.mktemp("photograph"))
    (command,) = (line for block in blocks(PAGE, "sh") for line in block.splitlines())
    assert command.startswith("python -m pip install ")
    words = [sys.executable, *command.split()[1:], "--quiet"]
    subprocess.run(words, cwd=found, check=True)
    return found


@pytest.mark.slow
def test_the_page_says_what_its_command_prints(clone: Path) -> None:
    assert follow(PAGE, clone)[1] == []


@pytest.mark.slow
def test_the_logits_are_those_of_pytorch(clone: Path) -> None:
    (weights,) = (clone / "weights").rglob("*.pth")
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == WEIGHTS
    command = f"netdsl run {NET} {PICTURES[0]} {PICTURES[1]} --weights {weights} -o found.npz"
    printed(command, clone)
    wanted = np.load(LOGITS)["logits"]
    np.testing.assert_allclose(np.load(clone / "found.npz")["output"], wanted, atol=1e-5 * abs(wanted).max(), rtol=0)
    images = (np.stack([prepared(path) for path in PICTURES]) - 127) / 128
    found = nets.load("efficientnet_lite0").session(weights=weights)(image=images.astype(np.float32))
    np.testing.assert_allclose(np.asarray(found["output"]), wanted, atol=1e-5 * abs(wanted).max(), rtol=0)
