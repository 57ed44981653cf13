"""Darknet nets compute what OpenCV computes of the same files, and what Darknet's loops say where OpenCV cannot."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from netdsl.base.user_error import UserError
from netdsl.importing.darknet_cfg import read_cfg
from netdsl.importing.errors import ImportRefused
from tests.importing.imported import close, imported, outputs
from tests.support.foreign_models import DARKNET, REFERENCES, darknet_weights, filters, net, numbers, pixels, section

KNOWN = np.load(REFERENCES)


def written(folder: Path, text: str, version: int = 2) -> tuple[Path, str]:
    path = folder / "model.cfg"
    path.write_text(text)
    path.with_suffix(".weights").write_bytes(darknet_weights(path, version))
    return path, str(path.with_suffix(".weights"))


@pytest.mark.parametrize("name", DARKNET)
def test_a_net_computes_what_opencv_computes(tmp_path: Path, name: str) -> None:
    path, weights = written(tmp_path, DARKNET[name])
    found = imported(path, weights=weights, eps="1e-6")  # OpenCV's
    (shape,) = (each.shape for each in found.flat.inputs.values())
    (result,) = outputs(found, {"image": pixels(name, shape)}).values()  # type: ignore[arg-type]
    close(result, KNOWN[f"darknet {name}"].reshape(result.shape))


def test_the_text_of_a_net(tmp_path: Path) -> None:
    path, weights = written(tmp_path, DARKNET["boxes"])
    found = imported(path, weights=weights)
    assert (
        found.text
        == """\
# Imported by netdsl from model.cfg.
net model {
  about { yolo1_anchors [23, 27, 37, 58]; yolo1_classes 2 }
  input image 3x8x8 std [255]
  conv 3x3 6 bias off; bn; leaky_relu 0.1
  conv 1x1 14
}
"""
    )
    assert [str(each).replace(f"{path}:", "line ") for each in found.flat.left_out] == [
        "[yolo] (line 19): boxes from scores; the net ends in `yolo1`, in front of it"
    ]


@pytest.mark.parametrize(
    ("eps", "deviation"),
    [(None, lambda v: np.sqrt(v + 1e-5)), ("0.1", lambda v: np.sqrt(v + 0.1)), ("cpu", lambda v: np.sqrt(v) + 1e-6)],
)
def test_epsilon(tmp_path: Path, eps: str | None, deviation: object) -> None:
    path, _ = written(tmp_path, net(1, 1, 1) + filters(1, 1, "linear"))
    bias, scale, mean, variance, weight = 0.5, 2.0, 0.25, 1e-9, 3.0
    numbers = struct.pack("<iiiq5f", 0, 2, 5, 0, bias, scale, mean, variance, weight)
    path.with_suffix(".weights").write_bytes(numbers)
    (y,) = outputs(
        imported(path, weights=str(path.with_suffix(".weights")), eps=eps), {"image": np.ones((1, 1, 1, 1), "f4")}
    ).values()
    assert y.item() == pytest.approx((weight - mean) / deviation(np.float32(variance)) * scale + bias, rel=1e-5)  # type: ignore[operator]


@pytest.mark.parametrize("eps", ["x", "0", "-1", "nan", "inf"])
def test_epsilon_is_a_number(tmp_path: Path, eps: str) -> None:
    with pytest.raises(UserError, match="--eps"):
        imported(written(tmp_path, net(4, 4) + filters(2))[0], eps=eps)


def test_a_shortcut_of_other_sizes_adds_every_so_many_elements(tmp_path: Path) -> None:
    text = (
        net(7, 9)
        + filters(4, batch_normalize=0)
        + filters(6, stride=2, batch_normalize=0)
        + section("shortcut", **{"from": 0}, activation="linear")
        + filters(2, batch_normalize=0)
        + section("shortcut", **{"from": 2}, activation="linear")
    )
    path, weights = written(tmp_path, text)
    found = imported(path, weights=weights)
    by_name = {layer.shape: layer for layer in found.flat.layers if layer.kind == "add"}
    assert set(by_name) == {(6, 4, 5), (2, 4, 5)}
    x = pixels("x", (3, 7, 9))
    found.flat.outputs = {"first": by_name[6, 4, 5]}
    trial = found.flat.reference(None)  # type: ignore[misc]
    layers = {(layer.kind, layer.shape): layer for layer in trial.net.layers if layer.kind in ("add", "leaky_relu")}
    wanted = [layers["leaky_relu", (4, 7, 9)], layers["leaky_relu", (6, 4, 5)], layers["add", (6, 4, 5)]]
    before, after, added = trial.run({"image": x}, wanted)
    expected = np.array(after)
    for k in range(4):  # shortcut_cpu in blas.c: w1/w2 = 9/5 = 1 and h1/h2 = 7/4 = 1
        for j in range(4):
            for i in range(5):
                expected[0, k, j, i] += before[0, k, j, i]  # type: ignore[index]
    assert added is not None
    assert np.array_equal(added, expected)


def test_reorg3d_is_that_of_its_loops(tmp_path: Path) -> None:
    path, weights = written(
        tmp_path, net(4, 6, 2) + section("reorg3d", stride=2) + filters(1, 1, "linear", batch_normalize=0)
    )
    x = pixels("x", (2, 4, 6))
    found = imported(path, weights=weights)
    wanted = np.zeros(x.size, "f4")
    out_c, out_h, out_w = 8, 2, 3
    few = out_c // 4
    for k in range(out_c):  # reorg_cpu in blas.c, over the shape of the result
        for j in range(out_h):
            for i in range(out_w):
                offset = k // few
                w2, h2 = i * 2 + offset % 2, j * 2 + offset // 2
                wanted[i + out_w * (j + out_h * k)] = x.reshape(-1)[w2 + out_w * 2 * (h2 + out_h * 2 * (k % few))]
    weight = numbers("1", (1, 8, 1, 1), "weight").reshape(1, 8)
    bias = numbers("0", (1,), "bias")
    (y,) = outputs(found, {"x": x}).values()
    close(y.reshape(-1), (weight @ wanted.reshape(8, 6) + bias[:, None]).reshape(-1))


def test_an_extra_value_and_groups_of_a_softmax(tmp_path: Path) -> None:
    text = net(1, 3, 1) + section("reorg", extra=1, stride=1) + section("softmax", groups=2, temperature=0.5)
    path = tmp_path / "model.cfg"
    path.write_text(text)
    x = np.array([0.5, -1, 2], "f4").reshape(1, 1, 1, 3)
    (y,) = outputs(imported(path), {"image": x}).values()
    pairs = np.exp(2 * np.array([[0.5, -1], [2, 0]]))
    close(y, (pairs / pairs.sum(1, keepdims=True)).reshape(1, 4))


def test_a_file_is_read_as_darknet_does(tmp_path: Path) -> None:
    path = tmp_path / "model.cfg"
    path.write_text(
        "# comment\n; another\n[network]\nheight = 8 # not a comment\nwidth=\t8\nchannels=3\n\n"
        "[conv]\nfilters=40#32\nfilters = 7\nsize=3x\npad=1\nactivation = relu\nnonsense\n[avg]\n"
    )
    _, conv, _ = read_cfg(str(path))
    assert (conv.name, conv.integer("filters", 1), conv.integer("size", 1), conv.integer("stride", 1)) == (
        "convolutional",
        40,
        3,
        1,
    )
    found = imported(path)
    assert "conv 3x3 40; relu" in found.text
    assert [str(each).partition(" (")[0] for each in found.flat.left_out] == ["the option nonsense of [convolutional]"]


@pytest.mark.parametrize("text", ["", "size=3\n", "[convolutional]\nfilters=3\n", "[net]\n"])
def test_a_file_without_a_net_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.cfg"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        imported(path)
    assert caught.value.code in ("E0670", "E0671", "E0673")


def refusals(path: Path, **options: object) -> list[str]:
    with pytest.raises(ImportRefused) as caught:
        imported(path, **options)
    return [line.strip().replace(f"{path}:", "line ") for line in caught.value.message.splitlines()[1:]]


def test_all_sections_that_are_refused_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "model.cfg"
    path.write_text(
        net(8, 8)
        + filters(4, xnor=1)
        + filters(4, xnor=1)
        + section("shortcut", **{"from": -2}, activation="stair")
        + section("lstm", output=4)
        + section("strange")
    )
    assert refusals(path) == [
        "[convolutional] with xnor x2 (first line 5): it is another convolution",
        "the activation stair (line 21): netdsl has no such layer",
        "[lstm] (line 24): its state stays from one run to the next",
        "[strange] (line 26): netdsl does not know it",
    ]


def test_the_length_of_a_weight_file_is_exact(tmp_path: Path) -> None:
    path, weights = written(tmp_path, net(4, 4) + filters(2))
    whole = Path(weights).read_bytes()
    count = 4 * 2 + 2 * 3 * 9
    assert len(whole) == 20 + 4 * count
    for change, what in ((whole[:-8], "2 fewer"), (whole + whole[-4:], "1 more")):
        Path(weights).write_bytes(change)
        (line,) = refusals(path, weights=weights)
        assert f"{what} than the {count} that the net needs" in line
    for damaged in (whole[:10], whole[:-1]):
        Path(weights).write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged"):
            imported(path, weights=weights)


def test_both_headers_are_read(tmp_path: Path) -> None:
    texts = []
    for version in (1, 2):
        path, weights = written(tmp_path, DARKNET["gate"], version)
        found = imported(path, weights=weights)
        texts.append({name: each.read().tobytes() for name, each in found.weights.items()})
    assert texts[0] == texts[1]


def test_the_training_of_a_classifier_becomes_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "model.cfg"
    options = "batch=128\nlearning_rate=.1\nmomentum=0.9\ndecay=.0005\nmax_batches=1000\npolicy=poly\npower=4\n"
    path.write_text(net(4, 4) + options + filters(3) + section("avgpool") + section("softmax"))
    text = imported(path).text
    assert (
        text[text.index("\n# train") :]
        == """
# train model {
#   loss cross_entropy
#   optimizer sgd lr 0.1 momentum 0.9 decay 0.0005
#   batch 128
#   steps 1000
#   # learning rate, in steps: policy poly; power 4
# }
"""
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (section("shortcut", activation="linear"), "[shortcut] without from"),
        (section("scale_channels"), "[scale_channels] without from"),
        (section("route"), "[route] without layers"),
        (section("connected", output=3) + section("maxpool"), "[maxpool] with these options or inputs"),
        (section("route", layers="0", groups=0), "there is no group 0 of 0"),
        (section("route", layers="0", groups=2, group_id=2), "there is no group 2 of 2"),
        (section("route", layers="5"), "it is section 1 itself"),
        (section("shortcut", **{"from": -3}), "it is section 1 itself"),
    ],
)
def test_sections_that_lead_nowhere_are_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "model.cfg"
    path.write_text(net(4, 4) + filters(4) + text)
    (line,) = refusals(path)
    assert why in line


def test_convolutions_share_weights(tmp_path: Path) -> None:
    text = (
        net(9, 8)
        + filters(3, stride=2)
        + filters(3, dilation=2, stride=2)
        + section("route", layers="0")
        + filters(3, dilation=2, stride=2, share_index=-2)
        + section("shortcut", **{"from": 1}, activation="linear")
    )
    path, weights = written(tmp_path, text)
    found = imported(path, weights=weights)
    assert "reuse" in found.text
    assert len(found.weights) == 2 * 5
    path.write_text("dilation=1".join(text.rsplit("dilation=2", 1)))
    assert refusals(path) == [
        "[convolutional] with share_index (line 22): it differs otherwise from the section of that number"
    ]
