"""Caffe nets compute what OpenCV computes of the same files; what is left out and refused; files of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from netdsl.app.import_model import ImportOptions, read
from netdsl.base.user_error import UserError
from netdsl.importing.caffemodel import read_caffemodel
from netdsl.importing.errors import BadImport, ImportRefused, Unproved
from netdsl.importing.readers import SourceOptions, read_model
from tests.importing.imported import close, imported, outputs
from tests.support.foreign_models import (
    CAFFE,
    MTCNN,
    REFERENCES,
    blob,
    caffe_weights,
    caffemodel,
    conv,
    field,
    image,
    layer,
    pixels,
)

KNOWN = np.load(REFERENCES)


def written(folder: Path, text: str, weights: bool = True) -> tuple[Path, str | None]:
    """Write a net and random weights for it."""
    path = folder / "model.prototxt"
    path.write_text(text)
    arrays = caffe_weights(path) if weights else {}
    if not arrays:
        return path, None
    path.with_suffix(".caffemodel").write_bytes(caffemodel(arrays))
    return path, str(path.with_suffix(".caffemodel"))


@pytest.mark.parametrize("name", CAFFE)
def test_a_net_computes_what_opencv_computes(tmp_path: Path, name: str) -> None:
    path, weights = written(tmp_path, CAFFE[name])
    found = imported(path, weights=weights)
    (shape,) = (each.shape for each in found.flat.inputs.values())
    (result,) = outputs(found, {"data": pixels(name, shape)}).values()  # type: ignore[arg-type]
    close(result, KNOWN[f"caffe {name}"])


def test_real_weights_compute_what_opencv_computes() -> None:
    found = imported(MTCNN, weights=str(MTCNN.with_suffix(".caffemodel")))
    for name, result in outputs(found, {"data": pixels("mtcnn", (3, 12, 12))}).items():
        close(result, KNOWN[f"mtcnn {name}"])


def test_the_text_of_a_net(tmp_path: Path) -> None:
    path, weights = written(tmp_path, CAFFE["classifier"])
    assert (
        imported(path, weights=weights).text
        == """\
# Imported by netdsl from model.prototxt.
net model {
  input data 3x13x11
  c1: conv 3x3 6 stride 2 pad 0 bias off; b1: bn eps 0.001; leaky_relu 0.2
  c2: conv 1x3 6 groups 2; lrn 3 alpha 0.5 k 1 mean on
  maxpool 2x2 ceil on; dropout 0.4
  fc: dense 5; softmax
}
"""
    )


def test_random_weights_of_a_short_file_are_limited(tmp_path: Path) -> None:
    more = "inner_product_param { num_output: 16384 }"
    layers = (layer(f"l{at}", "InnerProduct", f"l{at - 1}" if at else "data", f"l{at}", more) for at in range(9))
    path, _ = written(tmp_path, image(3, 8, 8) + "".join(layers), weights=False)
    with pytest.raises(Unproved, match=r"8\.0 GiB of memory, many times its files"):
        imported(path)
    assert imported(path, allow_unproved=True).text.startswith("# Imported by netdsl, unproved")


@pytest.mark.parametrize("factor", [2.5, 0.0])
def test_the_third_array_of_a_batch_norm_divides_its_statistics(tmp_path: Path, factor: float) -> None:
    text = image(2, 1, 1) + layer("b", "BatchNorm", "data", "b", "batch_norm_param { eps: 0.01 }")
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    mean, variance = np.array([1.0, -2.0], "f4"), np.array([4.0, 0.5], "f4")
    weights = caffemodel({"b": [mean, variance, np.array([factor], "f4")]})
    (tmp_path / "w.caffemodel").write_bytes(weights)
    x = np.array([3.0, 0.25], "f4").reshape(1, 2, 1, 1)
    (y,) = outputs(imported(path, weights=str(tmp_path / "w.caffemodel")), {"data": x}).values()
    share = 1 / factor if factor else 0
    close(y.reshape(2), (x.reshape(2) - mean * share) / np.sqrt(variance * share + 0.01))


SIZES = "input_param { shape { dim: 4 dim: 1 dim: 8 dim: 8 } }"
TRAINING = (
    layer(
        "d",
        "Data",
        "",
        "data label",
        "include { phase: TRAIN } transform_param { scale: 0.5 mean_value: 7 crop_size: 8 }",
    )
    + layer(
        "d",
        "Data",
        "",
        "data label",
        "include { phase: TEST } transform_param { scale: 0.5 mean_value: 7 crop_size: 8 }",
    )
    + conv("c", "data", "c", 4)
    + layer("drop", "Dropout", "c", "c", "include { phase: TRAIN }")
    + layer("fc", "InnerProduct", "c", "fc", "inner_product_param { num_output: 3 }")
    + layer("side", "InnerProduct", "c", "side", "inner_product_param { num_output: 3 }")
    + layer("acc", "Accuracy", "fc label", "acc", "include { phase: TEST }")
    + layer("side_loss", "SoftmaxWithLoss", "side label", "side_loss", "loss_weight: 0.3")
    + layer("loss", "SoftmaxWithLoss", "fc label", "loss")
)


def test_a_training_net_ends_in_what_its_loss_judges(tmp_path: Path) -> None:
    path, _ = written(tmp_path, TRAINING, weights=False)
    found = imported(path)
    assert (
        found.text
        == """\
# Imported by netdsl from model.prototxt.
net model {
  input data 1x8x8 crop 8 mean [7] std [2]
  c: conv 3x3 4
  fc: dense 3
}
"""
    )
    assert [str(each).replace(f"{path}:", "line ") for each in found.flat.left_out] == [
        "Accuracy (line 7): a metric",
        "SoftmaxWithLoss x2 (first line 8): a loss",
        "an auxiliary classifier (line 8): its loss has less weight than another",
        "layers of another phase or stage x2 (first line 1)",
        "inputs and targets that only these layers read (`label` at line 2)",
    ]


def test_stages_are_those_of_the_solver(tmp_path: Path) -> None:
    one = layer("one", "Input", "", "data", SIZES + ' include { phase: TEST stage: "one" }')
    two = layer("two", "Input", "", "data", SIZES.replace("8", "6") + ' include { phase: TEST stage: "two" }')
    (tmp_path / "net.prototxt").write_text(one + two + conv("c", "data", "c", 2))
    solver = tmp_path / "solver.prototxt"
    solver.write_text(
        'net: "somewhere/net.prototxt" base_lr: 0.1 test_state { stage: "two" } test_state { stage: "one" }'
    )
    assert "input data 1x6x6" in imported(solver).text
    solver.write_text('net: "somewhere/other.prototxt" base_lr: 0.1')
    with pytest.raises(BadImport, match=r"other\.prototxt is not beside it"):
        imported(solver)


def test_layers_with_parameters_of_one_name_share_them(tmp_path: Path) -> None:
    named = 'convolution_param { num_output: 3 kernel_size: 3 } param { name: "w" } param { name: "b" }'
    text = (
        image(2, 6, 6)
        + layer("parts", "Slice", "data", "a b", "slice_param { axis: 1 }")
        + layer("ca", "Convolution", "a", "ca", named)
        + layer("cb", "Convolution", "b", "cb", named)
        + layer("sum", "Eltwise", "ca cb", "sum", "eltwise_param { coeff: 1 coeff: -1 }")
    )
    path, weights = written(tmp_path, text)
    found = imported(path, weights=weights)
    assert "reuse" in found.text
    assert sorted(each.shape for each in found.weights.values()) == [(3,), (3, 1, 3, 3)]


def test_a_deep_net_without_weights_is_proved(tmp_path: Path) -> None:
    """Random weights that are small let it forget its inputs, so that larger ones are drawn."""
    text, x = image(8, 6, 6), "data"
    for at in range(40):
        text += conv(f"c{at}", x, f"c{at}", 8)
        text += layer(f"b{at}", "BatchNorm", f"c{at}", f"c{at}") + layer(f"s{at}", "Scale", f"c{at}", f"c{at}")
        text += layer(f"r{at}", "ReLU", f"c{at}", f"c{at}")
        x = f"c{at}"
    proof = imported(written(tmp_path, text, weights=False)[0]).proof
    assert proof is not None
    assert proof.holds
    assert proof.random


def test_heads_are_cut_and_the_net_ends_in_front_of_them(tmp_path: Path) -> None:
    text = (
        image(3, 8, 8)
        + conv("c", "data", "c", 4)
        + conv("loc", "c", "loc", 8)
        + layer("flat", "Flatten", "loc", "flat")
        + layer("prior", "PriorBox", "c data", "prior", "prior_box_param { min_size: 4 }")
        + layer("out", "DetectionOutput", "flat prior", "out", "detection_output_param { num_classes: 2 }")
    )
    found = imported(written(tmp_path, text, weights=False)[0])
    assert list(found.flat.outputs) == ["flat"]
    left = [str(each) for each in found.flat.left_out]
    assert [each.partition(" ")[0] for each in left] == ["PriorBox", "DetectionOutput", "everything"]
    assert left[-1] == "everything behind flat"


def test_unpooling_takes_the_places_of_the_pool(tmp_path: Path) -> None:
    text = (
        image(2, 7, 5)
        + layer("p", "Pooling", "data", "p mask", "pooling_param { kernel_size: 2 stride: 2 }")
        + layer("r", "ReLU", "p", "p")
        + layer("u", "Upsample", "p mask", "u", "upsample_param { scale: 2 upsample_h: 7 upsample_w: 5 }")
        + layer("i", "Interp", "u", "i", "interp_param { height: 9 width: 4 }")
        + layer("w", "LRN", "i", "w", "lrn_param { local_size: 3 alpha: 2 norm_region: WITHIN_CHANNEL }")
    )
    found = imported(written(tmp_path, text, weights=False)[0])
    assert "unpool 2x2" in found.text
    x = np.arange(70, dtype="f4").reshape(1, 2, 7, 5) - 20
    assert outputs(found, {"data": x})["w"].shape == (1, 2, 9, 4)


def refusals(path: Path, **options: object) -> list[str]:
    with pytest.raises(ImportRefused) as caught:
        imported(path, **options)
    return [line.strip().replace(f"{path}:", "line ") for line in caught.value.message.splitlines()[1:]]


def test_all_parts_that_are_refused_are_listed(tmp_path: Path) -> None:
    text = (
        image(3, 8, 8)
        + conv("a", "data", "a", 4, "kernel_size: 3 made_up: 1")
        + layer("b", "Stranger", "a", "b")
        + layer("c", "Stranger", "b", "c")
        + layer("d", "Pooling", "a", "d", "pooling_param { pool: STOCHASTIC kernel_size: 2 }")
        + layer("e", "ReLU", "nowhere", "e")
    )
    assert refusals(written(tmp_path, text, weights=False)[0]) == [
        "`made_up` of convolution_param (line 2): netdsl does not know what it means",
        "a layer of type Stranger x2 (first line 3): netdsl does not know it",
        "Pooling by STOCHASTIC (line 5): netdsl pools by the maximum or the mean",
        "the blob `nowhere` (line 6): no layer before makes it",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (layer("s", "Slice", "data", "x y", "slice_param { axis: 0 }"), "batch"),
        (layer("c", "Concat", "data data", "x", "concat_param { axis: 0 }"), "batch"),
        (layer("p", "Permute", "data", "x", "permute_param { order: 1 order: 0 order: 2 order: 3 }"), "batch"),
        (layer("p", "Power", "data", "x", "power_param { power: 3 }"), "exponent 3"),
        (layer("b", "BatchNorm", "data", "x", "batch_norm_param { use_global_stats: false }"), "statistics"),
        (layer("d", "Dropout", "data", "x", "dropout_param { sample_weights_test: true }"), "random"),
        (layer("d", "Dropout", "data", "x", "dropout_param { scale_train: false }"), "scales in the TEST phase"),
        (layer("s", "Softmax", "data", "x", "softmax_param { axis: 0 }"), "over examples"),
        (layer("u", "Upsample", "data", "x", "upsample_param { scale: 2 pad_out_h: true }"), "pad_out_h"),
        (layer("e", "Eltwise", "data data", "x", "eltwise_param { coeff: 1 }"), "1 coefficients for 2"),
        (layer("p", "Pooling", "data", "x", "pooling_param { kernel_size: 1 stride: 3 }"), "beyond its input"),
        (layer("c", "Crop", "data data", "x", "crop_param { axis: -1000000000000000000 }"), "a Crop of examples"),
        (layer("c", "Convolution", "data", "x", "convolution_param { num_output: 3 }"), "window"),
        (conv("c", "data", "x", 4, "kernel_size: 3 group: 2"), "2 groups"),
        (
            layer("m", "Pooling", "data", "x m", "pooling_param { kernel_size: 2 }") + layer("r", "ReLU", "m", "y"),
            "indices",
        ),
    ],
)
def test_what_netdsl_cannot_compute_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (line,) = refusals(written(tmp_path, image(3, 8, 8) + text, weights=False)[0])
    assert why in line


def test_weights_must_fit(tmp_path: Path) -> None:
    path, _ = written(tmp_path, image(3, 8, 8) + conv("c", "data", "c", 4), weights=False)
    file = tmp_path / "w.caffemodel"
    file.write_bytes(caffemodel({"c": [np.zeros((4, 2, 3, 3), "f4"), np.zeros(4, "f4")]}))
    (line,) = refusals(path, weights=str(file))
    assert "array 0 of `c` has the shape [4, 2, 3, 3]" in line
    assert line.endswith("but needs [4, 3, 3, 3]")
    file.write_bytes(caffemodel({"other": [np.zeros(4, "f4")]}))
    (line,) = refusals(path, weights=str(file))
    assert "`c` has 0 arrays" in line


def test_an_input_without_a_size_is_given_one(tmp_path: Path) -> None:
    text = layer("d", "Data", "", "data label") + conv("c", "data", "c", 4)
    path, _ = written(tmp_path, text, weights=False)
    (line,) = refusals(path)
    assert "--input data=" in line
    assert "input data 1x5x5" in imported(path, shapes={"data": (1, 5, 5)}).text


FORMS = [
    {"version": version, "form": form, "packed": packed, "legacy": legacy}
    for version in (1, 2)
    for form in ("f4", "f8")
    for packed in (True, False)
    for legacy in (True, False)
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_of_a_caffemodel_is_read(tmp_path: Path, form: dict[str, object]) -> None:
    weights = {
        "a": [np.arange(24, dtype="f4").reshape(2, 3, 2, 2), np.array([0.5, -1], "f4")],
        "b/c": [np.ones(3, "f4")],
    }
    file = tmp_path / "w.caffemodel"
    file.write_bytes(caffemodel(weights, **form))  # type: ignore[arg-type]
    found = read_caffemodel(str(file))
    assert list(found) == list(weights)
    for name, arrays in weights.items():
        for mine, other in zip(found[name], arrays, strict=True):
            assert np.array_equal(mine.read().reshape(other.shape), other)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (field(100, field(1, b"a") + b"\x3a" + b"\xff" * 12), "a number has no end"),
        (field(100, b"\x0b"), "a field reaches beyond its message"),  # a group
        (b"\xa2\x06\xff\xff\xff\xff\x0f", "a field reaches beyond its message"),
        (field(100, field(1, b"a") + field(7, field(7, field(1, b"\x05")) + field(5, b"1234"))), "the shape [5]"),
        (field(100, field(1, b"a") + field(7, field(5, b"12345"))), "an array of 5 bytes"),
        (field(100, field(1, b"a") + field(7, field(7, field(1, b"\x00" * 99)) + field(5, b""))), "0 elements"),
        (b"", "is not a .caffemodel"),
        (b"layer { }", ""),
    ],
)
def test_damaged_weights_are_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    file = tmp_path / "w.caffemodel"
    file.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_caffemodel(str(file))
    assert reason in str(caught.value)


def test_mutated_weights_end_in_an_error_or_in_arrays(tmp_path: Path) -> None:
    weights = {"a": [np.ones((2, 3), "f4")], "b": [np.ones(3, "f4")]}
    whole = bytearray(caffemodel(weights) + caffemodel(weights, version=1, form="f8", packed=False))
    file = tmp_path / "w.caffemodel"
    generator = np.random.default_rng(0)
    for _ in range(300):
        data = whole.copy()
        for at in generator.integers(0, len(data), 3):
            data[at] = generator.integers(0, 256)
        file.write_bytes(data[: generator.integers(1, len(data) + 1)])
        try:
            found = read_caffemodel(str(file))
        except UserError:
            continue
        assert sum(each.read().size for arrays in found.values() for each in arrays) <= len(data)


def test_a_prototxt_named_pt_is_read(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_text(image(3, 8, 8) + conv("c", "data", "c", 4))
    assert "conv 3x3 4" in imported(path).text
    path.write_bytes(b"PK\x03\x04\0\0")
    with pytest.raises(UserError, match=r"torch\.onnx\.export"):
        read(str(path), ImportOptions())


@pytest.mark.parametrize("suffix", [".caffemodel", ".weights", ".pth", ".pt2", ".tflite"])
def test_other_files_say_what_to_import_instead(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"\1\2\3\4")
    with pytest.raises(UserError) as caught:
        read_model(str(path), SourceOptions())
    assert caught.value.code == "E0673"
    assert caught.value.helps


def test_an_old_blob_of_four_sizes_fits_a_vector() -> None:
    assert blob(np.ones(3, "f4"), legacy=True).startswith(b"\x08\x01\x10\x01\x18\x01\x20\x03")


def test_a_solver_becomes_a_comment(tmp_path: Path) -> None:
    data = layer("d", "Data", "", "data label", "data_param { batch_size: 64 }")
    loss = layer("loss", "SoftmaxWithLoss", "fc label", "loss")
    net = data + layer("fc", "InnerProduct", "data", "fc", "inner_product_param { num_output: 3 }") + loss
    path = tmp_path / "solver.prototxt"
    path.write_text(
        f"net_param {{ {net} }} base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005 max_iter: 10000 random_seed: 7\n"
        'lr_policy: "in\\nv" gamma: 0.0001 power: 0.75 iter_size: 2 type: "Nesterov"'
    )
    text = imported(path, shapes={"data": (1, 4, 4)}).text
    assert (
        text[text.index("}\n") + 2 :]
        == """
# How the model was trained; a `train` block also needs its `data`.
# train solver {
#   loss cross_entropy
#   optimizer sgd lr 0.01 momentum 0.9 decay 0.0005 nesterov on
#   batch 64
#   accumulate 2
#   steps 10000
#   seed 7
#   # learning rate, in steps: lr_policy in?v, gamma 0.0001, power 0.75
# }
"""
    )
