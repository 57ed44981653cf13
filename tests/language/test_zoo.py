"""The zoo's index is what its specs say, and its networks are listed, shown and copied."""

from __future__ import annotations

import json
import os
import re
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netdsl.base.paths import data
from netdsl.base.size import Undecidable
from netdsl.data.picture import declared_picture
from netdsl.elaborate.library import zoo_nets
from netdsl.ir.net import Net
from netdsl.lower import live, macs
from tests.support.cli_tools import Commands, netdsl
from tests.support.reference import zoo_net

__all__ = ["netdsl"]

SPECS = Path(data("specs"))


def entry(net: Net, file: str) -> dict[str, Any]:
    """What the index holds of a network, computed from its spec."""
    parameters = {p.name: p for node in live(net) for p in node.parameters.values() if not p.buffer}
    try:
        cost: int | None = macs(net)
    except Undecidable:
        cost = None
    return {
        "file": file,
        "year": net.about["year"],
        "params": sum(prod(p.shape) for p in parameters.values()),
        "macs": cost,
        "paper": net.about["paper"],
        "authors": net.about["authors"],
    }


def test_the_index_is_what_the_specs_say(request: pytest.FixtureRequest) -> None:
    known = {name: entry(zoo_net(name), file) for name, file in zoo_nets().items()}
    known = dict(sorted(known.items(), key=lambda item: item[1]["year"]))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(each, ensure_ascii=False)}" for name, each in known.items())
    text = f"{{\n{lines}\n}}\n"
    if request.config.getoption("--update-golden"):
        (SPECS / "index.json").write_bytes(text.encode())
    assert (SPECS / "index.json").read_bytes().decode() == text, (
        "pytest tests/language/test_zoo.py --update-golden writes it"
    )


TORCHVISION = (255 * np.array([0.485, 0.456, 0.406]), 255 * np.array([0.229, 0.224, 0.225]))
CAFFE = np.array([104, 117, 123])
"""The channels' means in BGR that Caffe's model zoo subtracts; those of mean images differ by a little."""


PLAIN = "alexnet zfnet googlenet nin_bn enet enet_encoder unet_padded segnet edsr edsr_baseline"
"""Nets of color images whose weights nobody has published with these layers, or which normalize in the graph."""

RESIZED = {
    "inception_v3": 342,
    "inception_v4": 341,
    "inception_resnet_v2": 333,
    "xception": 333,
    "dcgan_discriminator": 64,
    "convnext": 236,
    "convnext_tiny": 236,
    "convnext_small": 230,
    "convnext_base": 232,
    "efficientnet_b1": 256,
    "efficientnet_b2": 288,
    "efficientnet_b3": 320,
    "efficientnet_b4": 384,
    **dict.fromkeys(("fcn_resnet", "fcn_resnet50", "fcn_resnet101"), (520, 520)),
    **dict.fromkeys(("deeplabv3", "deeplabv3_resnet50", "deeplabv3_resnet101"), (520, 520)),
}
"""What is not the larger of 256 and the input's size."""

NINE_TENTHS = re.compile(r"vit(?!.*torchvision)|deit|swin")
"""Nets whose crop is nine tenths of the shorter side."""

BICUBIC = re.compile(
    r"efficientnet_(b|lite|v2_l)|efficientnet$|ghostnet|inception_(v4|resnet)|sknet|xception"
    r"|vit(?!.*torchvision)|deit|swin|(mlp_)?mixer"
)
HALVES = re.compile(
    r"inception|xception|googlenet_torchvision|mobilenet_v2_tf|efficientnet_v2_l|dcgan|cyclegan"
    r"|vit(?!.*torchvision)|(mlp_)?mixer"
)
"""Nets whose pixels are from -1 to 1."""


@pytest.mark.parametrize("name", zoo_nets())
def test_images_are_preprocessed_as_for_the_published_weights(name: str) -> None:
    """torchvision.models' weights `…_V1`, timm, Caffe's model zoo and Darknet."""
    for entry in zoo_net(name).inputs:
        how = declared_picture(entry)
        if len(entry.shape) != 3 or entry.shape[0] != 3 or name in PLAIN.split():
            assert str(how) == ""
            continue
        size = entry.shape[1]
        if name.startswith("yolov3"):
            assert (how.resize, how.letterbox, how.mean, how.std) == ((416, 416), 128, (0,), (255,))
            continue
        if name.startswith("ssd300"):
            assert (how.resize, how.mean, how.std) == ((300, 300), (123, 117, 104), None)
            continue
        assert how.crop in (None, entry.shape[1:])
        assert how.letterbox is None
        if how.order == "bgr":
            assert "caffe" in name or name in ("nin", "alexnet_bn") or name.startswith("fcn")
            square = (500, 500) if name.startswith("fcn") else (256, 256)
            assert how.resize == (256 if name.startswith(("resnet", "alexnet_bn")) else square)
            assert name == "alexnet_bn" or abs(np.array(how.mean) - CAFFE).max() < 1.2
            assert how.std is None
            continue
        usual = 248 if NINE_TENTHS.match(name) else None if size == 32 else max(256, size)
        assert how.resize == RESIZED.get(name, usual)
        assert how.filter == ("bicubic" if BICUBIC.match(name) else "bilinear")
        if name == "efficientnet_lite0":
            assert (how.mean, how.std) == ((127,), (128,))
        elif HALVES.match(name):
            assert (how.mean, how.std) == ((127.5,), (127.5,))
        else:
            np.testing.assert_allclose((how.mean, how.std), TORCHVISION, rtol=1e-12)


def test_each_network_has_a_line(netdsl: Commands) -> None:
    ran = netdsl("zoo")
    assert (ran.code, ran.err) == (0, "")
    head, *lines = ran.out.splitlines()
    assert head.split() == ["NAME", "YEAR", "PARAMETERS", "MACS", "PAPER"]
    assert {line.split()[0] for line in lines} == set(zoo_nets())
    (line,) = (line for line in lines if line.startswith("resnet50 "))
    assert line.split(maxsplit=4) == [
        *("resnet50", "2015", "25,557,032", "4,089,184,256"),
        "Deep Residual Learning for Image Recognition",
    ]
    years = [line.split()[1] for line in lines]
    assert years == sorted(years)
    assert netdsl("zoo", "list").out == ran.out


def test_a_line_fits_the_terminal(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdsl.cli.zoo._columns", lambda: 90)
    lines = netdsl("zoo").out.splitlines()
    assert max(map(len, lines)) == 90
    assert any(line.endswith("…") for line in lines)


def test_the_list_as_json(netdsl: Commands) -> None:
    found = json.loads(netdsl("zoo", "--json").out)
    assert [each["name"] for each in found if each["file"] == "vgg.net"][0] == "vgg"  # noqa: RUF015
    assert all(set(each) == {"name", "file", "year", "params", "macs", "paper", "authors"} for each in found)


@pytest.mark.parametrize("name", ["resnet18", "resnet", "resnet.net", "zoo/resnet.net"])
def test_a_spec_is_shown(netdsl: Commands, name: str) -> None:
    assert netdsl("zoo", "show", name).out == (SPECS / "resnet.net").read_text("utf-8")


def test_a_copy_brings_what_it_uses(netdsl: Commands) -> None:
    ran = netdsl("zoo", "copy", "wide_resnet50_2")
    assert (ran.code, ran.out, ran.err) == (0, "", "wide_resnet.net\nresnext.net\n")
    for name in ("wide_resnet.net", "resnext.net"):
        assert Path(name).read_bytes() == (SPECS / name).read_bytes()
    assert netdsl("check", "wide_resnet.net").code == 0


@pytest.mark.parametrize("name", sorted(set(zoo_nets().values())))
def test_each_copy_stands_alone(netdsl: Commands, name: str) -> None:
    Path("mine").mkdir()
    assert netdsl("zoo", "copy", name, "mine", "-q").err == ""
    copy = Path("mine", name).read_bytes()
    assert copy == (SPECS / name).read_bytes()
    if re.search(rb"^use\b", copy, re.MULTILINE):  # the others read nothing else, and test_specs checks them
        assert netdsl("check", f"mine/{name}", "--format", "short").code == 0


@pytest.mark.parametrize("taken", ["wide_resnet.net", "resnext.net"])
def test_a_copy_overwrites_nothing(netdsl: Commands, taken: str) -> None:
    Path(taken).write_text("mine")
    ran = netdsl("zoo", "copy", "wide_resnet")
    assert (ran.code, ran.err.splitlines()[0]) == (2, f"error[E0632]: ./{taken} exists")
    assert [path.name for path in Path().iterdir()] == [taken]
    assert Path(taken).read_text() == "mine"


WRONG = {
    "show": "invalid arguments show;",
    "show a b": "invalid arguments show a b;",
    "copy": "invalid arguments copy;",
    "copy a b c": "invalid arguments copy a b c;",
    "lst": "invalid arguments lst;",
    "show resnet51": "error[E0631]: there is no net `resnet51` in the zoo\n  = help: did you mean `resnet",
    "show ../../etc/passwd": "error[E0631]: there is no net `../../etc/passwd` in the zoo",
    "copy resnet nowhere": "cannot write nowhere/resnet.net: its folder does not exist",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_usage(netdsl: Commands, line: str) -> None:
    ran = netdsl("zoo", *line.split())
    assert (ran.code, ran.out, list(Path().iterdir())) == (2, "", [])
    assert WRONG[line] in ran.err


def test_the_lists_imports_are_few() -> None:
    from tests.cli.test_house import HEAVY, imported

    found = imported("from netdsl.cli import main; main(['zoo'])")
    assert found & (HEAVY | {"lark", "typing", "inspect", "dataclasses", "pathlib"}) == set()
    found = imported("from netdsl.cli import main; main(['--version'])")
    assert found & {"argparse", "re", "typing", "json"} == set()


def test_the_zoo_has_an_order_of_its_own_whatever_the_systems_is(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(zoo_nets().items())
    names = os.listdir(data("specs"))
    for order in (sorted(names), sorted(names, reverse=True)):
        monkeypatch.setattr("netdsl.elaborate.library.os.listdir", lambda _, order=order: order)
        assert list(zoo_nets().items()) == expected
