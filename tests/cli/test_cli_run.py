"""`netdsl run`: real digits, inputs of all forms, batches, pictures, and what comes out."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.cli_tools import MNIST, Commands, Ran, netdsl
from tests.support.paths import TESTS

__all__ = ["netdsl"]

IMAGES = MNIST / "t10k-images-idx3-ubyte.gz"
WEIGHTS = MNIST / "lenet5.safetensors"
DIGITS = sorted((MNIST / "digits").glob("*.png"))
LOGITS = TESTS / "data" / "lenet5_logits.npz"

BOTH = "net both { input a 3; dense 4; output u; input b 2; dense 3; relu; output v }"
SUM = "net sum { input x 4; output total { dense 1 bias off }; output same { identity } }"


def labels() -> Any:
    return np.frombuffer(gzip.decompress((MNIST / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)


def images() -> Any:
    data = gzip.decompress(IMAGES.read_bytes())
    return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 28, 28)


def first_classes(ran: Ran) -> list[int]:
    return [int(line.split("  ")[1].split(":")[0]) for line in ran.out.splitlines()]


def test_lenet5_names_9921_of_10000_digits(netdsl: Commands) -> None:
    ran = netdsl("run", "lenet5", IMAGES, "--weights", WEIGHTS, "-o", "out.npz")
    assert (ran.code, ran.err) == (0, "")
    with np.load("out.npz") as found:
        assert found.files == ["output"]
        logits = found["output"]
    assert (logits.shape, logits.dtype) == ((10_000, 10), np.float32)
    assert int((logits.argmax(1) == labels()).sum()) == 9921
    assert first_classes(ran) == logits.argmax(1).tolist()
    with np.load(LOGITS) as file:
        wanted = file["logits"]
    np.testing.assert_allclose(logits[:16], wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_a_compiled_model_gives_what_its_net_gives(netdsl: Commands) -> None:
    (netdsl.folder / "t10k.gz").write_bytes(IMAGES.read_bytes())
    assert netdsl("compile", "lenet5", "--weights", WEIGHTS).code == 0
    by_net = netdsl("run", "lenet5", "t10k.gz", "--weights", WEIGHTS, "-o", "net.npz")
    by_model = netdsl("run", "lenet5.onnx", "t10k.gz", "-o", "model.npz")
    assert by_net.out == by_model.out
    assert Path("net.npz").read_bytes() == Path("model.npz").read_bytes()


def test_a_line_is_the_examples_name_and_its_best_classes(netdsl: Commands) -> None:
    np.save("x.npy", np.array([[3, 1, 2, 3, 0, -1], [0, 0, 0, 0, 0, 1e-9]], np.float32))
    netdsl.write(n="net n { input x 6; identity }")
    assert netdsl("run", "n.net", "x.npy").out == (
        "x.npy[0]  0: 3  3: 3  2: 2  1: 1  4: 0\nx.npy[1]  5: 1e-09  0: 0  1: 0  2: 0  3: 0\n"
    )
    assert netdsl("run", "n.net", "x.npy", "--top", 1).out == "x.npy[0]  0: 3\nx.npy[1]  5: 1e-09\n"
    assert netdsl("run", "n.net", "x.npy", "--top", 100).out.startswith(
        "x.npy[0]  0: 3  3: 3  2: 2  1: 1  4: 0  5: -1\n"
    )


def test_of_equal_values_the_lower_class_is_first(netdsl: Commands) -> None:
    np.save("x.npy", np.tile(np.float32([0, 1]), (1, 500)))
    netdsl.write(n="net n { input x 1000; identity }")
    assert netdsl("run", "n.net", "x.npy", "--top", 4).out == "x.npy[0]  1: 1  3: 1  5: 1  7: 1\n"


def test_a_number_a_map_and_nan_have_their_lines_too(netdsl: Commands) -> None:
    np.save("x.npy", np.array([[1, 2, 3, 4]], np.float32))
    np.savez("w.npz", **{"total.dense1.weight": np.ones((1, 4), np.float32)})
    netdsl.write(sum=SUM, map="net map { input x 1x2x2; identity }")
    assert (
        netdsl("run", "sum.net", "x.npy", "--weights", "w.npz").out
        == "x.npy[0]  total: 10  same: 3: 4  2: 3  1: 2  0: 1\n"
    )
    np.save("x.npy", np.array([[[[1, 2], [3, 4]]]], np.float32))
    assert netdsl("run", "map.net", "x.npy").out == "x.npy[0]  1x2x2, 1 to 4\n"
    np.save("x.npy", np.array([[1, np.nan, 3, 4]], np.float32))
    assert "same: 1: nan  3: 4" in netdsl("run", "sum.net", "x.npy").out


def test_digits_as_pictures_are_the_test_images(netdsl: Commands) -> None:
    from PIL import Image

    assert len(DIGITS) == 16
    for path in DIGITS:
        label, index = map(int, path.stem.split("_"))
        assert label == labels()[index]
        assert np.array_equal(np.asarray(Image.open(path)), images()[index])
    ran = netdsl("run", "lenet5", *DIGITS, "--weights", WEIGHTS, "--top", 1)
    assert first_classes(ran) == [int(path.stem[0]) for path in DIGITS]
    assert [line.split("  ")[0] for line in ran.out.splitlines()] == list(map(str, DIGITS))


@pytest.mark.parametrize("batch", [1, 3, 5, 64])
@pytest.mark.parametrize("form", ["npy", "npz", "idx", "gz", "png"])
def test_no_form_or_batch_changes_the_answer(netdsl: Commands, form: str, batch: int) -> None:
    some = images()[:5]
    raw = bytes([0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 28, 0, 0, 0, 28]) + some.tobytes()
    paths = [f"x.{form}"]
    if form == "npy":
        np.save("x.npy", some[:, None].astype(np.float32))
    elif form == "npz":
        np.savez("x.npz", image=some, labels=labels()[:5])
    elif form == "png":
        from PIL import Image

        paths = [f"{n}.png" for n in range(5)]
        for path, image in zip(paths, some, strict=True):
            Image.fromarray(image).save(path)
    else:
        Path(paths[0]).write_bytes(gzip.compress(raw) if form == "gz" else raw)
    ran = netdsl("run", "lenet5", *paths, "--weights", WEIGHTS, "--batch", batch, "-o", "o.npz")
    assert first_classes(ran) == [7, 2, 1, 0, 4]
    with np.load("o.npz") as found, np.load(LOGITS) as wanted:
        np.testing.assert_allclose(found["output"], wanted["logits"][:5], rtol=1e-4, atol=1e-4)


def two_inputs() -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(5, 3)).astype(np.float32), generator.normal(size=(5, 2)).astype(np.float32)
    np.save("a.npy", a)
    np.save("b.npy", b)
    return a, b


def test_several_inputs_are_named(netdsl: Commands) -> None:
    netdsl.write(both=BOTH)
    a, b = two_inputs()
    weights = {
        "dense1.weight": np.eye(4, 3, dtype=np.float32),
        "dense1.bias": np.zeros(4, np.float32),
        "dense2.weight": np.ones((3, 2), np.float32),
        "dense2.bias": np.arange(3, dtype=np.float32),
    }
    np.savez("w.npz", **weights)
    ran = netdsl("run", "both.net", "b=b.npy", "a=a.npy", "--weights", "w.npz", "-o", "o.npz", "--batch", 2)
    assert (ran.code, ran.err, len(ran.out.splitlines())) == (0, "", 5)
    assert ran.out.startswith("a.npy[0]  u: ")
    with np.load("o.npz") as found:
        assert found.files == ["u", "v"]
        np.testing.assert_allclose(found["u"], np.pad(a, ((0, 0), (0, 1))), rtol=1e-6)
        np.testing.assert_allclose(
            found["v"], np.maximum(b.sum(1, keepdims=True) + np.arange(3), 0), rtol=1e-5, atol=1e-6
        )


WRONG_INPUTS = {
    "one without a name": ("a.npy", 2, "error[E0612]: a.npy is for no input: there are a, b"),
    "a name that is none": ("c=a.npy", 2, "error[E0612]: c=a.npy is for no input"),
    "one missing": ("a=a.npy", 2, "error[E0612]: no data for b"),
    "swapped": ("a=b.npy b=a.npy", 1, "error[E0802]: b.npy is 5x2, but the input takes examples of 3"),
    "unequal": ("a=a.npy b=short.npy", 1, "error[E0813]: the inputs differ in length: a has 5, b has 4"),
    "twice": ("a=a.npy a=a.npy b=b.npy", 1, "error[E0801]: several files for one input must all be images"),
}


@pytest.mark.parametrize("case", WRONG_INPUTS)
def test_wrong_inputs(netdsl: Commands, case: str) -> None:
    line, code, said = WRONG_INPUTS[case]
    netdsl.write(both=BOTH)
    np.save("short.npy", two_inputs()[1][:4])
    ran = netdsl("run", "both.net", *line.split(), "-o", "o.npz")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert not Path("o.npz").exists()


def test_a_path_may_hold_an_equals_sign(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 2; identity }")
    np.save("x=1.npy", np.ones((1, 2), np.float32))
    assert netdsl("run", "n.net", "x=1.npy").out == "x=1.npy[0]  0: 1  1: 1\n"
    assert netdsl("run", "n.net", "x=x=1.npy").out == "x=1.npy[0]  0: 1  1: 1\n"


def test_random_weights_are_said_to_be_random(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 2; dense 3 }", none="net none { input x 2; relu }")
    np.save("x.npy", np.ones((1, 2), np.float32))
    assert netdsl("run", "n.net", "x.npy", "--seed", 7).err == (
        "n: using random weights (seed 7); pass --weights FILE to load trained ones\n"
    )
    assert netdsl("run", "none.net", "x.npy").err == ""


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_a_fixed_batch_is_filled_up_and_cut_again(netdsl: Commands, count: int) -> None:
    np.save("x.npy", images()[:count, None])
    assert netdsl("compile", "lenet5", "--weights", WEIGHTS, "--batch", 4).code == 0
    fixed = netdsl("run", "lenet5.onnx", "x.npy", "-o", "o.npz")
    assert fixed.out == netdsl("run", "lenet5", "x.npy", "--weights", WEIGHTS).out
    with np.load("o.npz") as found:
        assert len(found["output"]) == count
    assert "requires batches of exactly 4" in netdsl("run", "lenet5.onnx", "x.npy", "--batch", 3).err


PICTURE = "net n {{ input image 3x4x6 {}; identity }}"


@pytest.mark.parametrize("compiled", [False, True], ids=["net", "model"])
@pytest.mark.parametrize(
    ("advice", "size", "code"),
    [("", (6, 4), 0), ("order bgr", (6, 4), 0), ("", (12, 8), 1), ("resize 4", (12, 8), 0)],
)
def test_pictures_become_inputs_as_the_net_says(
    netdsl: Commands, advice: str, size: tuple[int, int], code: int, compiled: bool
) -> None:
    from PIL import Image

    pixels = np.full((size[1], size[0], 3), (10, 20, 30), np.uint8)
    Image.fromarray(pixels).save("a.png")
    netdsl.write(n=PICTURE.format(advice))
    if compiled:
        assert netdsl("compile", "n.net").code == 0
    ran = netdsl("run", "n.onnx" if compiled else "n.net", "a.png", "-o", "o.npz")
    assert ran.code == code, ran
    if not code:
        with np.load("o.npz") as found:
            channels = found["output"][0].mean((1, 2)).tolist()
        assert channels == ([30, 20, 10] if "bgr" in advice else [10, 20, 30])


ZOO_LIKE = """net n {
  input image 3x20x20 resize 24 crop 20 mean [123.675, 116.28, 103.53] std [58.395, 57.12, 57.375]
  identity
}"""


@pytest.mark.parametrize(("declared", "said"), [("resize 28 crop 28", None), ("resize 28 crop 28 mean 9", "mean 9")])
def test_arrays_are_not_said_to_be_resized(netdsl: Commands, declared: str, said: str | None) -> None:
    netdsl.write(n=f"net n {{ input image 1x28x28 {declared}; scale 1/255; dense 3 }}")
    ran = netdsl("eval", "n.net", "--data", "shapes n 9")
    assert ran.code == 0
    lines = [line for line in ran.err.splitlines() if "preprocessed" in line]
    assert lines == ([f"n: images are preprocessed with `{said}`"] if said else [])


@pytest.mark.parametrize("compiled", [False, True], ids=["net", "model"])
def test_a_photograph_is_preprocessed_as_with_torchvision_and_it_is_said(netdsl: Commands, compiled: bool) -> None:
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 31, 3)).astype(np.uint8)).save("a.png")
    netdsl.write(n=ZOO_LIKE)
    file = "n.net"
    if compiled:
        assert netdsl("compile", "n.net").code == 0
        file = "n.onnx"
    ran = netdsl("run", file, "a.png", "-o", "o.npz")
    how = "resize 24 crop 20 mean [123.675, 116.28, 103.53] std [58.395, 57.12, 57.375]"
    assert (ran.code, ran.err) == (0, f"{file}: images are preprocessed with `{how}`\n")
    assert netdsl("run", file, "a.png", "-q").err == ""
    with Image.open("a.png") as image:
        small = np.asarray(image.resize((24, 30), Image.Resampling.BILINEAR))[5:25, 2:22].astype(np.float64)
    wanted = (small / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    with np.load("o.npz") as found:
        np.testing.assert_allclose(found["output"][0], wanted.transpose(2, 0, 1), atol=1e-5)
    np.save("x.npy", wanted.transpose(2, 0, 1)[None].astype(np.float32))
    ran = netdsl("run", file, "x.npy", "-o", "p.npz")
    assert ran.err.startswith("x.npy: arrays are used as they are, without `resize 24 crop 20 mean [123.675, 116.28,")
    with np.load("o.npz") as one, np.load("p.npz") as other:
        np.testing.assert_allclose(one["output"], other["output"], atol=1e-5)


def test_unscaled_pixels_are_told(netdsl: Commands) -> None:
    from PIL import Image

    Image.new("RGB", (4, 4)).save("a.png")
    netdsl.write(n="net n { input image 3x4x4; dense 2 }", m="net m { input image 3x4x4; scale 1/255; dense 2 }")
    told = "n: `dense1` reads unscaled pixels, with values up to 255"
    assert told in netdsl("run", "n.net", "a.png").err
    assert "unscaled" not in netdsl("run", "m.net", "a.png").err
    np.save("x.npy", np.zeros((1, 3, 4, 4), np.float32))
    assert "unscaled" not in netdsl("run", "n.net", "x.npy").err


def test_a_crop_of_another_size_than_the_input_is_refused(netdsl: Commands) -> None:
    netdsl.write(n=PICTURE.format("crop 4"))
    ran = netdsl("compile", "n.net")
    assert (ran.code, "error[E0426]" in ran.err) == (1, True), ran


@pytest.mark.parametrize(
    "advice", ["[]", "{", '{"resize": 0}', '{"crop": "7"}', '{"order": "rbg"}', '{"tile": 1}', "[" * 9999]
)
def test_advice_that_makes_no_sense_is_refused(netdsl: Commands, advice: str) -> None:
    netdsl.write(n="net n { input image 1x28x28; identity }")
    netdsl("compile", "n.net")
    model = onnx.load("n.onnx")
    model.metadata_props.add(key="netdsl.input.image", value=advice)
    onnx.save(model, "n.onnx")
    ran = netdsl("run", "n.onnx", DIGITS[0])
    assert (ran.code, ran.err.startswith("error[E0812]: n.onnx has invalid preprocessing metadata")) == (1, True)


def foreign(op: str, kind: int, shape: list[Any], **attributes: Any) -> None:
    """A model of somebody else's, x: [N, 3] -> y."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], **attributes)],
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", kind, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, "foreign.onnx")


def test_models_of_others_run_too(netdsl: Commands) -> None:
    np.save("x.npy", np.array([[1, -2, 3], [4, 5, 6]], np.float32))
    foreign("Relu", TensorProto.FLOAT, ["N", 3])
    assert netdsl("run", "foreign.onnx", "x.npy", "--top", 2).out == "x.npy[0]  2: 3  0: 1\nx.npy[1]  2: 6  1: 5\n"
    foreign("Cast", TensorProto.BOOL, ["N", 3], to=TensorProto.BOOL)
    assert netdsl("run", "foreign.onnx", "x.npy", "--top", 2).out.startswith("x.npy[0]  0: 1  1: 1\n")
    foreign("Cast", TensorProto.UINT8, ["N", 3], to=TensorProto.UINT8)
    assert netdsl("run", "foreign.onnx", "x.npy", "--top", 1).out.endswith("x.npy[1]  2: 6\n")


@pytest.mark.parametrize(
    ("op", "kind", "shape", "attributes", "said"),
    [
        ("ReduceSum", TensorProto.FLOAT, [], {"keepdims": 0}, "`y` is float32 "),
        (
            "Transpose",
            TensorProto.FLOAT,
            [3, "N"],
            {"perm": [1, 0]},
            "`y` is float32 3x2, not an array of numbers with 2 entries",
        ),
        ("Cast", TensorProto.STRING, ["N", 3], {"to": TensorProto.STRING}, "`y` is object 2x3"),
    ],
)
def test_outputs_that_are_no_results_of_examples(
    netdsl: Commands, op: str, kind: int, shape: list[Any], attributes: dict[str, Any], said: str
) -> None:
    np.save("x.npy", np.ones((2, 3), np.float32))
    foreign(op, kind, shape, **attributes)
    ran = netdsl("run", "foreign.onnx", "x.npy", "-o", "o.npz")
    assert (ran.code, said in ran.err, Path("o.npz").exists()) == (1, True, False), ran


def test_outputs_of_different_sizes_are_not_joined(netdsl: Commands) -> None:
    from PIL import Image

    for name, side in (("a.png", 4), ("b.png", 5)):
        Image.new("L", (side, side)).save(name)
    netdsl.write(n="net n { input x 1x?x?; identity }")
    assert netdsl("run", "n.net", "a.png", "b.png", "--batch", 1).out == "a.png  1x4x4, 0 to 0\nb.png  1x5x5, 0 to 0\n"
    ran = netdsl("run", "n.net", "a.png", "b.png", "--batch", 1, "-o", "o.npz")
    assert (ran.code, Path("o.npz").exists()) == (1, False)
    assert "error[E0621]: the output `output` is 1x4x4 for some examples and 1x5x5 for others" in ran.err


def test_an_archive_of_ours_is_replaced_and_no_other(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 2; identity }")
    np.save("x.npy", np.ones((1, 2), np.float32))
    np.savez("theirs.npz", a=np.ones(3))
    theirs = Path("theirs.npz").read_bytes()
    for _ in range(2):
        assert netdsl("run", "n.net", "x.npy", "-o", "ours.npz").code == 0
    ran = netdsl("run", "n.net", "x.npy", "-o", "theirs.npz")
    assert (ran.code, ran.out, Path("theirs.npz").read_bytes()) == (2, "", theirs)
    assert netdsl("run", "n.net", "x.npy", "-o", "theirs.npz", "--force").code == 0


def test_what_does_not_fit_into_memory_waits_on_disk(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdsl.app.archive.IN_MEMORY", 10)
    netdsl.write(n="net n { input x 2; identity }")
    x = np.arange(20, dtype=np.float32).reshape(10, 2)
    np.save("x.npy", x)
    assert netdsl("run", "n.net", "x.npy", "-o", "o.npz", "--batch", 3).code == 0
    with np.load("o.npz") as found:
        assert np.array_equal(found["output"], x)


def test_threads_do_not_change_the_answer(netdsl: Commands) -> None:
    runs = [netdsl("run", "lenet5", *DIGITS, "--weights", WEIGHTS, "--threads", n).out for n in (1, 2)]
    assert runs[0] == runs[1]
