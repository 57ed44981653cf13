"""Providers: what is asked for is what computes, or it is said; what is here is listed, and how to get the rest."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from netdsl.backend import providers
from netdsl.backend.providers import NoProvider, choose, split
from netdsl.backend.session import FellBack, Session
from tests.support.cli_tools import MNIST, Commands, netdsl

__all__ = ["netdsl"]

DIGITS = sorted((MNIST / "digits").glob("*.png"))
WEIGHTS = MNIST / "lenet5.safetensors"


def model(*ops: str) -> bytes:
    """A chain of operators on x: [N, 3, 3]."""
    names = ["x", *(f"v{at}" for at in range(len(ops) - 1)), "y"]
    nodes = [helper.make_node(op, [names[at]], [names[at + 1]], name=f"n{at}") for at, op in enumerate(ops)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    made = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)]
    )
    made.ir_version = 8
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("cpu", "cpu", {}),
        ("CUDA", "cuda", {}),
        ("cuda:device_id=1", "cuda", {"device_id": "1"}),
        ("cuda: device_id = 1, use_tf32=1", "cuda", {"device_id": "1", "use_tf32": "1"}),
        ("openvino:cache_dir=C:\\x=y", "openvino", {"cache_dir": "C:\\x=y"}),
        ("openvino:load_config=", "openvino", {"load_config": ""}),
    ],
)
def test_what_is_asked_for(text: str, name: str, options: dict[str, str]) -> None:
    assert split(text) == (name, options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cuda:", "is not of the form"),
        ("cuda:device_id", "is not of the form"),
        ("cuda:=1", "is not of the form"),
        ("cuda:a=1,,b=2", "is not of the form"),
        ("cuda:a=1,a=2", "says `a` twice"),
        ("cpu:threads=4", "the provider `cpu` takes no options"),
        ("cdua", "unknown execution provider `cdua`; available: "),
        ("\x1b[31m", r"unknown execution provider `\x1b[31m`"),
    ],
)
def test_what_cannot_be_asked_for(text: str, said: str) -> None:
    with pytest.raises(NoProvider) as caught:
        choose(text)
    assert said in caught.value.message
    assert caught.value.exit_code == 2


def available(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [f"{name}ExecutionProvider" for name in names])
    monkeypatch.setattr(providers, "_plugins", [])


@pytest.mark.parametrize("name", [name for name in providers.KNOWN if name != "cpu"])
def test_one_that_is_absent_says_what_is_there_and_what_to_install(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    available(monkeypatch, "Azure", "CPU")
    monkeypatch.setattr(providers, "builds", lambda: {"onnxruntime": "1.31.1"})
    with pytest.raises(NoProvider) as caught:
        choose(name)
    assert caught.value.message == f"the provider `{name}` is not in this build of onnxruntime; available: cpu"
    (told,) = caught.value.helps
    assert "pip install " in told
    assert ("pip uninstall -y onnxruntime && " in told) == (name in ("cuda", "tensorrt", "directml", "migraphx"))


def test_a_slip_is_set_right(monkeypatch: pytest.MonkeyPatch) -> None:
    available(monkeypatch, "CPU")
    with pytest.raises(NoProvider) as caught:
        choose("opnvino")
    assert caught.value.helps == ("did you mean `openvino`?",)


def test_cuda_is_exact_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    available(monkeypatch, "CUDA", "CPU")
    assert choose("cuda") == ("cuda", "CUDAExecutionProvider", {"use_tf32": "0"}, None)
    assert choose("cuda:use_tf32=1,device_id=1")[2] == {"use_tf32": "1", "device_id": "1"}


def device(name: str, kind: str) -> Any:
    return SimpleNamespace(ep_name=name, device=SimpleNamespace(type=SimpleNamespace(name=kind), vendor="V"))


def test_a_plugins_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    available(monkeypatch, "CPU")
    found = [device("OpenVINOExecutionProvider", "CPU"), device("OpenVINOExecutionProvider", "GPU")]
    monkeypatch.setattr(providers, "devices", lambda: found)
    assert choose("openvino") == ("openvino", "OpenVINOExecutionProvider", {}, found[:1])
    assert choose("openvino:device_type=gpu,num_streams=2")[2:] == ({"num_streams": "2"}, found[1:])
    with pytest.raises(NoProvider, match="has no device NPU here; available: CPU, GPU"):
        choose("openvino:device_type=NPU")
    with pytest.raises(NoProvider, match="available: cpu, openvino"):
        choose("cuda")


PLUGIN = {
    "works": ("def get_ep_name(): return 'AcmeExecutionProvider'\ndef get_library_path(): return 'acme.so'", ""),
    "fails": ("def get_ep_name(): return 'AcmeExecutionProvider'\ndef get_library_path(): raise OSError('no')", "no"),
    "breaks": ("raise ImportError('broken\\nin many lines')", "broken"),
    "is odd": ("", "module 'onnxruntime_ep_acme' has no attribute 'get_ep_name'"),
}


@pytest.mark.parametrize("case", PLUGIN)
def test_a_plugin_package_registers_itself(
    netdsl: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    import onnxruntime

    code, failure = PLUGIN[case]
    (tmp_path / "onnxruntime_ep_acme").mkdir()
    (tmp_path / "onnxruntime_ep_acme" / "__init__.py").write_text(code)
    info = tmp_path / "onnxruntime_ep_acme-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-ep-acme\nVersion: 1.2\n")
    (info / "RECORD").write_text("onnxruntime_ep_acme/__init__.py,,\n")
    taken: list[tuple[str, str]] = []
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(providers, "_plugins", None)
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", lambda *what: taken.append(what))
    monkeypatch.delitem(sys.modules, "onnxruntime_ep_acme", raising=False)
    mine = [plugin for plugin in providers.plugins() if plugin.package == "onnxruntime-ep-acme"]
    assert [(plugin.version, plugin.failure) for plugin in mine] == [("1.2", failure)]
    assert (("onnxruntime-ep-acme", "acme.so") in taken) == (not failure)
    assert providers.plugins() is providers.plugins()
    monkeypatch.setattr(providers, "devices", list)
    ran = netdsl("devices")
    assert "onnxruntime-ep-acme 1.2" in ran.out
    assert (f"cannot be loaded: {failure}" if failure else "none supported") in ran.out
    if mine[0].providers:
        with pytest.raises(NoProvider) as caught:
            choose("acme")
        why = f": {failure}" if failure else ", which finds no suitable device on this machine"
        assert caught.value.message.startswith(f"the provider `acme` comes with onnxruntime-ep-acme{why}; available: ")


def test_devices_are_listed(netdsl: Commands) -> None:
    import onnxruntime

    ran = netdsl("devices")
    assert (ran.code, ran.err) == (0, "")
    assert any(line.split()[0] == "cpu" and onnxruntime.__version__ in line for line in ran.out.splitlines())
    found = json.loads(netdsl("devices", "--json").out)
    assert found["onnxruntime"] == onnxruntime.__version__
    assert set(found) == {"onnxruntime", "packages", "providers", "conflict"}
    assert "cpu" in [provider["name"] for provider in found["providers"]]
    assert netdsl("devices", "cpu").code == 2


def test_two_builds_of_onnxruntime_are_a_conflict(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "builds", lambda: {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"})
    repair = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    out = netdsl("devices").out
    assert "onnxruntime and onnxruntime-gpu are installed in one folder" in out
    assert out.endswith(f"  {repair}\n")
    assert json.loads(netdsl("devices", "--json").out)["conflict"] == repair


def test_builds_are_told_by_the_module_that_they_bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, file in (("onnxruntime_gpu", "onnxruntime"), ("onnxruntime_tools", "onnxruntime_tools")):
        info = tmp_path / f"{name}-9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9\n")
        (info / "RECORD").write_text(f"{file}/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = providers.builds()
    assert found["onnxruntime-gpu"] == "9"
    assert "onnxruntime-tools" not in found
    assert len(found) >= 2


class Half:
    """An onnxruntime session whose provider computes some nodes, all or none."""

    def __init__(self, left: int) -> None:
        nodes = [SimpleNamespace(name=f"n{at}", op_type="Relu") for at in range(5)]
        theirs, ours = nodes[left:], nodes[:left]
        self.parts = [
            SimpleNamespace(ep_name="CUDAExecutionProvider", get_nodes=lambda: theirs),
            SimpleNamespace(ep_name="CPUExecutionProvider", get_nodes=lambda: ours),
        ]
        self.providers = ["CPUExecutionProvider"] if left == 5 else ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_providers(self) -> list[str]:
        return self.providers

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return self.parts

    def disable_fallback(self) -> None:
        pass

    def get_inputs(self) -> list[Any]:
        return []

    get_outputs = get_inputs

    def get_modelmeta(self) -> Any:
        return SimpleNamespace(custom_metadata_map={})

    run = None


LEFT = {
    0: "",
    1: "1 of 5 nodes (Relu n0)",
    4: "4 of 5 nodes (Relu n0, Relu n1, Relu n2, …)",
    5: "all of it",
}


@pytest.mark.parametrize("left", LEFT)
def test_a_fallback_is_found_out(monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    available(monkeypatch, "CUDA", "CPU")
    monkeypatch.setattr(Session, "_open", lambda *_: Half(left))
    assert Session(b"", provider="cuda", allow_fallback=True).fallback == LEFT[left]
    if left == 5:
        with pytest.raises(NoProvider, match="`cuda` does not start on this machine"):
            Session(b"", provider="cuda")
    elif left:
        with pytest.raises(FellBack) as caught:
            Session(b"", provider="cuda")
        assert caught.value.message == f"the model: cuda leaves {LEFT[left]} to the CPU"
        assert caught.value.exit_code == 1
    else:
        assert Session(b"", provider="cuda").fallback == ""


def openvino() -> None:
    """Skip where no OpenVINO computes; it comes as a plug-in for Intel's CPUs, or built in for all."""
    try:
        choose("openvino")
    except NoProvider as absent:
        pytest.skip(str(absent))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["bytes", "file"])
def test_openvino_computes_what_the_cpu_does(tmp_path: Path, form: str) -> None:
    openvino()
    made = model("Relu", "Tanh", "Softmax")
    if form == "file":
        (tmp_path / "m.onnx").write_bytes(made)
    x = np.random.default_rng(0).standard_normal((4, 3, 3)).astype("f4")
    source = str(tmp_path / "m.onnx") if form == "file" else made
    for _ in range(2):  # the second finds the plug-in registered
        session = Session(source, provider="openvino:device_type=CPU")
        assert (session.provider, session.fallback) == ("openvino", "")
        np.testing.assert_allclose(session.run({"x": x})["y"], Session(made).run({"x": x})["y"], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_openvino_names_the_digits(netdsl: Commands) -> None:
    openvino()
    line = ["run", "lenet5", *DIGITS, "--weights", WEIGHTS, "--top", 1]
    ran = netdsl(*line, "--provider", "openvino")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[1] for line in ran.out.splitlines()] == [f"{path.stem[0]}:" for path in DIGITS]


@pytest.mark.slow
def test_what_openvino_cannot_compute_is_found_out(netdsl: Commands) -> None:
    openvino()
    Path("m.onnx").write_bytes(model("Relu", "Det"))
    np.save("x.npy", np.ones((2, 3, 3), "f4"))
    ran = netdsl("run", "m.onnx", "x.npy", "--provider", "openvino")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error[E0815]: m.onnx: openvino leaves 1 of 2 nodes (Det n1) to the CPU\n")
    ran = netdsl("run", "m.onnx", "x.npy", "--provider", "openvino", "--allow-fallback")
    assert (ran.code, ran.err) == (0, "m.onnx: openvino leaves 1 of 2 nodes (Det n1) to the CPU\n")
    assert ran.out == "x.npy[0]  0\nx.npy[1]  0\n"


@pytest.mark.slow
def test_openvino_refuses_an_option_that_it_does_not_know() -> None:
    if "openvino" not in providers.builtin():
        pytest.skip("a plug-in takes any option")
    with pytest.raises(NoProvider, match="the provider `openvino` refuses"):
        Session(model("Relu"), provider="openvino:color=blue")


GPUS = ["cuda", "tensorrt"]


def gpu(name: str) -> None:
    if name not in providers.builtin():
        pytest.skip(f"no {name} here")


@pytest.mark.gpu
@pytest.mark.parametrize("name", GPUS)
def test_a_gpu_names_the_digits(netdsl: Commands, name: str) -> None:
    gpu(name)
    ran = netdsl("run", "lenet5", *DIGITS, "--weights", WEIGHTS, "--top", 1, "--provider", name)
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[1] for line in ran.out.splitlines()] == [f"{path.stem[0]}:" for path in DIGITS]


@pytest.mark.gpu
def test_tf32_has_to_be_asked_for() -> None:
    gpu("cuda")
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.standard_normal((512, 512)).astype("f4"), "w")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 512])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 512])]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", inputs, outputs, [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = rng.standard_normal((64, 512)).astype("f4")
    exact = x.astype("f8") @ onnx.numpy_helper.to_array(weight).astype("f8")
    data = made.SerializeToString()
    ours, fast = (
        np.abs(Session(data, provider=name).run({"x": x})["y"] - exact).max() for name in ("cuda", "cuda:use_tf32=1")
    )
    assert ours <= 1e-5 * np.abs(exact).max()
    assert ours <= fast  # equal on a GPU without TF32


@pytest.mark.gpu
def test_cuda_refuses_a_device_that_is_not_there() -> None:
    gpu("cuda")
    with pytest.raises(NoProvider):
        Session(model("Relu"), provider="cuda:device_id=99")


@pytest.mark.gpu
def test_what_cuda_cannot_compute_is_found_out() -> None:
    gpu("cuda")
    with pytest.raises(FellBack, match=r"cuda leaves 1 of 2 nodes \(Det n1\) to the CPU"):
        Session(model("Relu", "Det"), provider="cuda")
    assert Session(model("Relu", "Det"), provider="cuda", allow_fallback=True).fallback
