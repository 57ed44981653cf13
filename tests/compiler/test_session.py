"""Running models: held against numpy, and against another implementation's LeNet-5 on real digits."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from netdsl.app.predict import predict
from netdsl.backend.compile import compile_to_bytes
from netdsl.backend.heap import return_memory
from netdsl.backend.providers import NoProvider
from netdsl.backend.session import BadModel, RunFailed, Session, WrongFeed
from netdsl.base.user_error import NotEnoughMemory
from netdsl.data.reader import open_input
from netdsl.weights.check import checked_weights
from netdsl.weights.file import open_weights
from tests.support.paths import TESTS
from tests.support.programs import net_of

MNIST = TESTS.parent / "examples" / "mnist"
FLOAT = TensorProto.FLOAT


def model(
    nodes: list[Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    weights: list[Any] | None = None,
    *,
    kind: int = FLOAT,
    opset: int = 17,
    ir: int = 8,
    domain: str = "",
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()],
        weights or [],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    made = helper.make_model(graph, opset_imports=opsets)
    made.ir_version = ir
    helper.set_model_props(made, {"about": "a test"})
    return bytes(made.SerializeToString())


def simple(op: str = "Relu", shape: tuple[Any, ...] = ("N", 3), **options: Any) -> bytes:
    node = helper.make_node(op, ["x"], ["y"], name="n", domain=options.get("domain", ""))
    return model([node], {"x": list(shape)}, {"y": list(shape)}, **options)


def lenet5() -> bytes:
    """LeNet-5 as examples/mnist describes it, written by hand in ONNX."""
    shapes = {
        "conv1": (6, 1, 5, 5),
        "conv2": (16, 6, 5, 5),
        "dense1": (120, 400),
        "dense2": (84, 120),
        "dense3": (10, 84),
    }
    wanted = {f"{layer}.weight": shape for layer, shape in shapes.items()}
    wanted |= {f"{layer}.bias": shape[:1] for layer, shape in shapes.items()}
    found = checked_weights(wanted, open_weights(str(MNIST / "lenet5.safetensors")))
    weights = [numpy_helper.from_array(found[key], key) for key in found]
    for name, value in (("scale", 1 / 255), ("mean", 0.1307), ("std", 0.3081)):
        weights.append(numpy_helper.from_array(np.array(value, "f4"), name))
    at = "image"
    nodes: list[Any] = []

    def add(op: str, *more: str, **attributes: Any) -> None:
        nonlocal at
        nodes.append(helper.make_node(op, [at, *more], [f"v{len(nodes)}"], **attributes))
        at = nodes[-1].output[0]

    add("Mul", "scale")
    add("Sub", "mean")
    add("Div", "std")
    for layer, pad in (("conv1", 2), ("conv2", 0)):
        add("Conv", f"{layer}.weight", f"{layer}.bias", pads=[pad] * 4)
        add("Tanh")
        add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    add("Flatten")
    for layer in ("dense1", "dense2", "dense3"):
        add("Gemm", f"{layer}.weight", f"{layer}.bias", transB=1)
        if layer != "dense3":
            add("Tanh")
    nodes[-1].output[0] = "logits"
    return model(nodes, {"image": ["N", 1, 28, 28]}, {"logits": ["N", 10]}, weights)


def test_lenet5_names_the_digits() -> None:
    session = Session(lenet5(), name="lenet5")
    image = session.inputs["image"]
    assert image.shape == (None, 1, 28, 28)
    reader = open_input(str(MNIST / "t10k-images-idx3-ubyte.gz"), image.shape[1:], image.dtype, name="image")
    logits = np.concatenate([out["logits"] for out in predict(session, {"image": reader}, 256)])
    labels = open_input(str(MNIST / "t10k-labels-idx1-ubyte.gz"), (), "i64")
    assert int((logits.argmax(1) == np.concatenate(list(labels.batches(10_000)))).sum()) == 9_921
    expected = np.load(TESTS / "data" / "lenet5_logits.npz")["logits"]
    assert np.abs(logits[:16] - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_model_says_what_it_takes_and_gives(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(simple())
    for session in (Session(simple(), threads=1), Session(str(tmp_path / "m.onnx"))):
        assert [(t.name, t.shape, t.dtype) for t in session.inputs.values()] == [("x", (None, 3), "float32")]
        assert [(t.name, t.shape, t.dtype) for t in session.outputs.values()] == [("y", (None, 3), "float32")]
        assert session.metadata == {"about": "a test"}
        assert session.provider == "cpu"
        x = np.array([[-1, 0, 2]], "f4")
        assert session.run({"x": x})["y"].tolist() == [[0, 0, 2]]


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "uint8", "int64", "bool"])
def test_every_type_of_input(kind: str) -> None:
    proto = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    session = Session(simple("Identity", kind=proto))
    assert session.inputs["x"].dtype == kind
    x = np.array([[0, 1, 1]], kind)
    y = session.run({"x": x})["y"]
    assert y.dtype == kind
    assert np.array_equal(y, x)


GOOD = simple()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "m.onnx is empty"),
        (b"<!doctype html>", "m.onnx is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "m.onnx is a git-LFS pointer"),
        (b"net a { input x 3 }", "m.onnx is not an ONNX model, or is truncated"),
        (GOOD[: len(GOOD) // 2], "m.onnx is not an ONNX model, or is truncated"),
        (GOOD[:-1], "m.onnx is not an ONNX model, or is truncated"),
        (bytes(64), "m.onnx is not an ONNX model, or is truncated"),
        (simple(opset=99), "m.onnx has opset 99, but this onnxruntime supports ai.onnx up to "),
        (simple(ir=99), "m.onnx has IR version 99, but this onnxruntime supports up to "),
        (simple(domain="com.acme"), "m.onnx has the operator com.acme:Relu, which this onnxruntime does not support"),
        (simple("Reluu"), "m.onnx has the operator Reluu, which this onnxruntime does not support"),
        (model([], {"x": [3]}, {"y": [3]}), "m.onnx cannot be run; onnxruntime reports: "),
    ],
)
def test_models_that_cannot_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], data: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes(data)
    with pytest.raises(BadModel) as caught:
        Session("m.onnx")
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message
    assert "ONNXRuntimeError" not in caught.value.message
    assert "/onnxruntime_src" not in caught.value.message
    assert caught.value.exit_code == 1
    assert capfd.readouterr().err == ""


def test_providers() -> None:
    with pytest.raises(NoProvider, match=r"unknown execution provider `quantum`; available: .*cpu") as caught:
        Session(GOOD, provider="quantum")
    assert caught.value.exit_code == 2
    for threads, said in ((0, "0"), (100_000, "100,000")):
        with pytest.raises(NoProvider, match=f"takes from 1 to 1,024 threads, not {said}"):
            Session(GOOD, threads=threads)


def test_a_provider_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["AzureExecutionProvider", "CPUExecutionProvider"]
    )
    with pytest.raises(NoProvider) as caught:
        Session(GOOD, provider="cuda")
    assert caught.value.message == "the provider `cuda` is not in this build of onnxruntime; available: cpu"
    assert "onnxruntime-gpu" in caught.value.helps[0]


def test_a_provider_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime falls back to the CPU with a warning; we do not."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("it may start")
    everything = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: everything)
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"), pytest.raises(NoProvider, match="does not start"):
        Session(GOOD, provider="cuda")


@pytest.mark.gpu
def test_cuda_computes_in_full_precision() -> None:
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("no CUDA here")
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((64, 64, 3, 3)).astype("f4")
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    made = model([node], {"x": ["N", 64, 32, 32]}, {"y": ["N", 64, 32, 32]}, [numpy_helper.from_array(weight, "w")])
    x = rng.standard_normal((2, 64, 32, 32)).astype("f4")
    cpu, cuda = (Session(made, provider=name).run({"x": x})["y"] for name in ("cpu", "cuda"))
    assert np.abs(cpu - cuda).max() <= 1e-5 * np.abs(cpu).max()


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "the model requires x, but got nothing"),
        ({"z": np.zeros((1, 3), "f4")}, "the model requires x, but got z"),
        ({"x": np.zeros((1, 4), "f4")}, "input `x` of the model requires float32 ?x3, but got float32 1x4"),
        ({"x": np.zeros((3,), "f4")}, "input `x` of the model requires float32 ?x3, but got float32 3"),
        ({"x": np.zeros((1, 3))}, "input `x` of the model requires float32 ?x3, but got float64 1x3"),
    ],
)
def test_wrong_feeds_are_told_before_onnxruntime_sees_them(feeds: Any, message: str) -> None:
    session = Session(GOOD)
    for _ in range(2):
        with pytest.raises(WrongFeed) as caught:
            session.run(feeds)
        assert caught.value.message == message
        session.run({"x": np.zeros((1, 3), "f4")})  # what fits is not checked again


def test_equal_names_mean_equal_sizes() -> None:
    session = Session(
        compile_to_bytes(net_of("net n { input m [?L] dtype i64; input x [3, ?L]; attention 1 mask m }")), name="n"
    )
    session.run({"m": np.ones((2, 4), "i8"), "x": np.zeros((2, 3, 4), "f4")})
    for name, m, at_m, at_x in (("L", (1, 1), 1, 4), ("N", (2, 4), 2, 1)):
        with pytest.raises(WrongFeed) as caught:
            session.run({"m": np.ones(m, "i8"), "x": np.zeros((1, 3, 4), "f4")})
        shape = "x".join(map(str, m))
        assert caught.value.message == (
            f"`{name}` is the same size throughout n, but it is {at_m} in input `m` ({shape}) "
            f"and {at_x} in input `x` (1x3x4)"
        )


@pytest.mark.parametrize(
    ("inputs", "shapes", "message"),
    [
        ({"x": "3, 32*?H, 2"}, {"x": (3, 64, 2)}, ""),
        ({"x": "3, 32*?H, 2"}, {"x": (3, 33, 2)}, "input `x` of n got 1x3x33x2: no `H` makes `32*H` equal to 33"),
        ({"x": "3, 4*?H + 3"}, {"x": (3, 11)}, ""),
        ({"x": "3, 4*?H + 3"}, {"x": (3, 12)}, "input `x` of n got 1x3x12: no `H` makes `4*H + 3` equal to 12"),
        ({"x": "3, 4*?H + 3"}, {"x": (3, 3)}, "input `x` of n got 1x3x3: `H` must be at least 1"),
        (
            {"x": "3, 8 - 2*?H; slice 1 0 3"},
            {"x": (3, 5)},
            "input `x` of n got 1x3x5: no `H` makes `-2*H + 8` equal to 5",
        ),
        (
            {"x": "3, 4*?H; slice 1 1 (-7)"},
            {"x": (3, 8)},
            "input `x` of n got 1x3x8: `H` must be at least 3, or the result of a layer is empty",
        ),
        (
            {"x": "3, 4*?H", "y": "3, ?H"},
            {"x": (3, 8), "y": (3, 1)},
            "`H` is the same size throughout n, but it is 2 in input `x` (1x3x8) and 1 in input `y` (1x3x1)",
        ),
        ({"y": "3, (?H + ?W)//2", "x": "?H, ?W"}, {"y": (3, 4), "x": (4, 5)}, ""),
        (
            {"y": "3, (?H + ?W)//2", "x": "?H, ?W"},
            {"y": (3, 5), "x": (4, 5)},
            "input `y` of n got 1x3x5: `(H + W)//2` must be 4, not 5, with H = 4 and W = 5",
        ),
        ({"x": "3, (?H + 1)//2"}, {"x": (3, 5)}, ""),
    ],
)
def test_axes_named_by_formulas_fit_them(
    inputs: dict[str, str], shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    """onnxruntime would compute something of another shape."""
    first = [f"input {name} [{sizes.partition(';')[0]}]" for name, sizes in inputs.items()]
    rest = [f"from {name}; {sizes.partition(';')[2] or 'relu'}; output of_{name}" for name, sizes in inputs.items()]
    session = Session(compile_to_bytes(net_of(f"net n {{ {'; '.join([*first, *rest])} }}")), name="n")
    feeds = {name: np.zeros((1, *shape), "f4") for name, shape in shapes.items()}
    if not message:
        assert session.run(feeds)["of_x"].shape == feeds["x"].shape
        return
    with pytest.raises(WrongFeed) as caught:
        session.run(feeds)
    assert caught.value.message == message


def test_the_formulas_of_other_exporters_are_not_read() -> None:
    session = Session(model([helper.make_node("Add", ["a", "b"], ["y"])], {"a": ["2*H"], "b": ["2*H"]}, {"y": ["M"]}))
    assert session.run({"a": np.ones(1, "f4"), "b": np.ones(2, "f4")})["y"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("slice 1 2 (-1)", lambda x: x[..., 2:-1]),
        ("slice 1 3", lambda x: x[..., 3:]),
        ("crop 2", lambda x: x[..., 2:-2]),
        ("slice 1 1; slice 1 0 (-2); upsample 2; crop 1", lambda x: x[..., 1:-2].repeat(2, -1)[..., 1:-1]),
    ],
)
def test_an_axis_that_leaves_an_empty_result_is_refused(body: str, result: Any) -> None:
    """ONNX's Slice would return nothing without a word."""
    session = Session(compile_to_bytes(net_of(f"net n {{ input x [2, ?L]; {body} }}")), name="n")
    for length in range(1, 9):
        x = np.arange(2.0 * length, dtype="f4").reshape(1, 2, length)
        if result(x).size:
            np.testing.assert_array_equal(session.run({"x": x})["output"], result(x))
        else:
            with pytest.raises(WrongFeed, match=rf"input `x` of n got 1x2x{length}: `L` must be at least [45]"):
                session.run({"x": x})


def test_an_axis_of_length_0_is_refused_and_a_batch_of_0_is_not() -> None:
    """A recurrent operator without positions would end the process."""
    session = Session(compile_to_bytes(net_of("net n { input x [3, ?L]; gru 2 }")), name="n")
    with pytest.raises(WrongFeed, match="input `x` of n got 2x3x0: an axis has length 0"):
        session.run({"x": np.zeros((2, 3, 0), "f4")})
    assert Session(GOOD).run({"x": np.zeros((0, 3), "f4")})["y"].shape == (0, 3)


def test_a_failure_while_running_is_one_line() -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], name="squeeze")
    shape = numpy_helper.from_array(np.array([7, -1]), "shape")
    session = Session(model([node], {"x": ["N", 3]}, {"y": [7, "M"]}, [shape]), name="m.onnx")
    with pytest.raises(RunFailed, match=r"m.onnx failed: .*squeeze") as caught:
        session.run({"x": np.zeros((1, 3), "f4")})
    assert "\n" not in caught.value.message


def test_what_does_not_fit_into_memory_is_an_error_of_memory() -> None:
    expand = helper.make_node("Expand", ["x", "sizes"], ["y"])
    shape = numpy_helper.from_array(np.array([1 << 50, 3]), "sizes")
    session = Session(model([expand], {"x": ["N", 3]}, {"y": ["M", 3]}, [shape]), name="m.onnx")
    with pytest.raises(NotEnoughMemory, match=r"not enough memory to run m\.onnx") as caught:
        session.run({"x": np.ones((1, 3), "f4")})
    assert isinstance(caught.value, MemoryError)


def numbers(tmp_path: Path, name: str, count: int) -> str:
    np.save(tmp_path / f"{name}.npy", np.arange(count * 3, dtype="f4").reshape(count, 3))
    return str(tmp_path / f"{name}.npy")


def two(batch: Any = "N") -> Session:
    node = helper.make_node("Sub", ["a", "b"], ["y"])
    return Session(model([node], {"a": [batch, 3], "b": [batch, 3]}, {"y": [batch, 3]}), name="two")


def test_batches_of_several_inputs_stay_together(tmp_path: Path) -> None:
    path = numbers(tmp_path, "a", 7)
    readers = {name: open_input(path, (3,), "f32") for name in ("b", "a")}
    outputs = [out["y"] for out in predict(two(), readers, 3)]
    assert [len(out) for out in outputs] == [3, 3, 1]
    assert not np.concatenate(outputs).any()


def test_inputs_of_different_lengths(tmp_path: Path) -> None:
    readers = {name: open_input(numbers(tmp_path, name, n), (3,), "f32") for name, n in (("a", 7), ("b", 6))}
    with pytest.raises(WrongFeed, match="the inputs differ in length: a has 7, b has 6"):
        next(predict(two(), readers, 3))


def test_a_fixed_batch(tmp_path: Path) -> None:
    readers = {name: open_input(numbers(tmp_path, name, 8), (3,), "f32") for name in ("a", "b")}
    assert [len(out["y"]) for out in predict(two(4), readers, 4)] == [4, 4]
    for session, batch in ((two(3), 3), (two(4), 2)):
        with pytest.raises(WrongFeed, match=r"requires batches of exactly [34], but got 8 examples in batches of"):
            next(predict(session, readers, batch))


def test_the_models_here_are_sound() -> None:
    onnx.checker.check_model(onnx.load_from_string(lenet5()), full_check=True)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other heaps")
def test_loaded_weights_are_in_memory_once(tmp_path: Path) -> None:
    """The rows of linear layers are multiplied by weights as they are stored, and onnxruntime's copies of these are
    returned to the system one by one."""
    path = tmp_path / "net.onnx"
    net = net_of("net t { input x 1024x8; repeat 12 { linear 1024 init zeros; relu } }")
    path.write_bytes(compile_to_bytes(net))
    program = f"""
import onnxruntime
from netdsl.backend.session import Session
def memory(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
before = memory("VmRSS")
session = Session({str(path)!r}, threads=1)
print(memory("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 1.5 * path.stat().st_size


def test_the_bytes_of_a_model_are_not_kept() -> None:
    data = bytes(bytearray(GOOD))
    count = sys.getrefcount(data)
    session = Session(data)
    assert session.inputs
    assert sys.getrefcount(data) == count


def test_cycles_that_nobody_uses_are_freed() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.own = self

    gc.disable()
    try:
        freed = weakref.ref(Cycle())
        assert freed() is not None
        return_memory()
    finally:
        gc.enable()
    assert freed() is None
