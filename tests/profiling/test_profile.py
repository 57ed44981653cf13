"""Profiling nets and models: the operations of kernels, places, inputs, outputs, and the Python API."""

from __future__ import annotations

import json
import math
import os
import signal
import tempfile
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from onnx import TensorProto

import netdsl as package
from netdsl.app.profile import ProfileOptions, profile_model
from netdsl.backend.quantize import quantize
from netdsl.lower import macs
from netdsl.profiling import measure
from netdsl.profiling.attribution import Owned
from netdsl.profiling.flops import flops
from netdsl.profiling.model_nodes import ModelNode, Weight
from netdsl.profiling.profile import Profile
from netdsl.profiling.session_profile import Kernel, SessionProfile
from netdsl.profiling.text import profile_markdown
from netdsl.profiling.views import BETWEEN
from tests.support.cli_tools import Commands, netdsl
from tests.support.onnx_models import graph, model, n, save, w
from tests.support.paths import ROOT
from tests.support.programs import net_of
from tests.support.quick_profile import make_quick

__all__ = ["netdsl"]

NET = "net seen {\n  input x 3x8x8\n  conv 3x3 8\n  relu\n  conv 3x3 8 stride 2; bn\n  dense 4\n}\n"
COUNTED = {
    "convolutions": "conv 3x3 5; relu; dwconv 3x3; conv 1x1 7 groups 1; maxpool 2x2",
    "transposed": "deconv 3x3 5 stride 2; relu",
    "dense": "flatten; dense 7; relu; dense 3 bias off",
    "attention": "flatten; reshape 3x64; linear 9; attention 1",
    "recurrent": "flatten; reshape 3x64; lstm 5; gru 4",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make_quick(monkeypatch)


@pytest.mark.parametrize("name", COUNTED)
def test_operations_are_those_of_the_net(name: str) -> None:
    text = f"net counted {{ input x 3x8x8; {COUNTED[name]} }}"
    found = package.parse(text).profile(batch=3)
    assert found["flops"] == 2 * 3 * macs(net_of(text))
    assert found["unknown_seconds"] == 0


@pytest.mark.parametrize("name", ["convolutions", "dense"])
def test_operations_in_int8_are_those_of_the_net(name: str, tmp_path: Path) -> None:
    """onnxruntime's convolutions in int8 have the channels last, and its `QGemm` has another name."""
    text = f"net counted {{ input x 3x8x8; {COUNTED[name]} }}"
    examples = np.random.default_rng(0).standard_normal((3, 3, 8, 8), np.float32)
    made = quantize(package.parse(text).to_onnx().SerializeToString(), [{"x": examples}])
    (tmp_path / "int8.onnx").write_bytes(made.SerializeToString())
    found = profile_model(str(tmp_path / "int8.onnx"), ProfileOptions(batch=3))
    assert "QLinearConv" in {cost.op for cost in found.costs} or name == "dense"
    assert found.flops == 2 * 3 * macs(net_of(text))


def test_the_parts_of_a_softmax_in_half_precision_are_known(tmp_path: Path) -> None:
    """onnxruntime gives them no names."""
    text = f"net counted {{ input x 3x8x8; {COUNTED['attention']} }}"
    package.parse(text).save(tmp_path / "half.onnx", dtype="f16")
    found = profile_model(str(tmp_path / "half.onnx"), ProfileOptions())
    assert [cost.op for cost in found.costs if cost.place is None] == []
    assert {cost.place.layer for cost in found.costs if cost.place and cost.op == "Exp"} <= {"attention1"}
    assert found.flops == 2 * macs(net_of(text))


def dynamic(path: Path) -> None:
    """Write a product in int8 whose input is quantized at run time, as onnxruntime's own tools do."""
    nodes = [
        n("DynamicQuantizeLinear", "x", "q s z", name="q"),
        n("MatMulInteger", "q w z wz", "m", name="m"),
        n("Cast", "m", "f", to=1, name="f"),
        n("Mul", "s ws", "scale", name="scale"),
        n("Mul", "f scale", "y", name="y"),
    ]
    weights = {"w": np.ones((4, 6), np.int8), "wz": np.array(0, np.int8), "ws": np.array(0.5, np.float32)}
    model(path, nodes, weights, 4)


def test_a_fused_product_is_counted(tmp_path: Path) -> None:
    dynamic(tmp_path / "m.onnx")
    found = profile_model(str(tmp_path / "m.onnx"), ProfileOptions(batch=3))
    assert found.flops == 2 * 3 * 4 * 6


def test_queries_are_multiplied_with_each_key(tmp_path: Path) -> None:
    inputs = {name: (TensorProto.FLOAT, ["n", size, 8]) for name, size in {"q": 5, "k": 7, "v": 7}.items()}
    nodes = [n("Attention", "q k v", "y", q_num_heads=2, kv_num_heads=2)]
    save(tmp_path / "m.onnx", graph(nodes, {}, inputs), opset=23)
    found = profile_model(str(tmp_path / "m.onnx"), ProfileOptions(batch=3))
    assert found.flops == 2 * 3 * 2 * 5 * 7 * 8


def test_an_embedding_moves_what_it_reads_of_its_table(tmp_path: Path) -> None:
    indices = {"x": (TensorProto.INT64, ["n", 3])}
    save(tmp_path / "m.onnx", graph([n("Gather", "w x", "y")], {"w": w(1000, 8)}, indices))
    (cost,) = profile_model(str(tmp_path / "m.onnx"), ProfileOptions(batch=2)).costs
    assert (cost.flops, cost.moved) == (0, 2 * 4 * 2 * 3 * 8)


def test_an_operator_that_multiplies_under_another_name_is_not_counted_as_none() -> None:
    product = ModelNode("p", "MatMul", ["x", "w"], ["y"])
    kernel, owned = Kernel("k", "FastNewThing", 0, {}), Owned(product)
    owned.nodes.append(product)
    weight = Weight((4, 4), 64)
    assert flops(kernel, owned, {"w": weight}) is None
    assert flops(kernel, owned, {"w": weight, "x": weight}) == 0  # computed once, when the model is loaded


def test_a_net_is_profiled_by_line(netdsl: Commands) -> None:
    netdsl.write(seen=NET)
    ran = netdsl("profile", "seen.net", "--batch", "2", "--threads", "1", "-q")
    assert ran.code == 0, ran
    assert ran.out.startswith("seen, batch 2, 1 thread: ")
    lines = {row.partition("│")[2].strip()[:1]: row for row in ran.out.splitlines() if "│" in row}
    assert lines["3"].split()[-2:] == ["+", "relu"]
    assert lines["4"].split()[-3:] == ["in", "line", "3"]
    assert BETWEEN in ran.out


def test_biases_and_states_of_a_recurrent_model_are_no_matrices(netdsl: Commands) -> None:
    sizes = {"w": (1, 20, 3), "r": (1, 20, 5), "b": (1, 40), "h": (1, 2, 5), "c": (1, 2, 5)}
    weights = {name: np.zeros(shape, np.float32) for name, shape in sizes.items()}
    model(Path("m.onnx"), [n("LSTM", "x w r b - h c", "y", hidden_size=5)], weights, 2, 3, batch=7)
    ran = netdsl("profile", "m.onnx", "-q", "--json")
    assert json.loads(ran.out)["flops"] == 2 * 7 * 2 * 20 * (3 + 5)


def test_the_formats_of_a_profile_agree(netdsl: Commands) -> None:
    netdsl.write(seen=NET)
    data = json.loads(netdsl("profile", "seen.net", "-q", "--json", "--by", "layer").out)
    assert {row["name"] for row in data["rows"]} == {"conv1", "conv2", "dense1"}
    assert data["seconds"] > 0
    total = sum(row["seconds"] for row in data["rows"]) + data["between_seconds"]
    assert math.isclose(total, data["seconds"])
    assert netdsl("profile", "seen.net", "-q", "--format", "csv").out.startswith("name,file,line,count,seconds")
    assert netdsl("profile", "seen.net", "-q", "--format", "markdown", "--top", "1").out.startswith("**seen, ")
    folded = netdsl("profile", "seen.net", "-q", "--folded").out.splitlines()
    assert all(line.startswith("seen;") and line.rpartition(" ")[2].isdecimal() for line in folded)
    assert netdsl("profile", "seen.net", "--folded", "--by", "op").code == 2


def test_pictures_data_and_raw_profiles_are_written(netdsl: Commands) -> None:
    netdsl.write(seen=NET)
    assert netdsl("profile", "seen.net", "-o", "a.svg", "--session-profile", "raw.json").code == 0
    ElementTree.parse("a.svg")
    assert any(event["name"] == "model_run" for event in json.loads(Path("raw.json").read_text()))
    assert netdsl("profile", "seen.net", "-o", "raw.json").code == 2  # it is not ours
    for _ in range(2):
        assert netdsl("profile", "seen.net", "-o", "a.json").code == 0
    assert json.loads(Path("a.json").read_text())["by"] == "line"
    assert json.loads(netdsl("profile", "seen.net", "-q", "-o", "-").out)["model"] == "seen"
    assert "E0643" in netdsl("profile", "seen.net", "-o", "a.txt").err
    assert sorted(path.name for path in Path().iterdir()) == ["a.json", "a.svg", "raw.json", "seen.net"]


def test_a_compiled_model_knows_its_lines(netdsl: Commands) -> None:
    netdsl.write(seen=NET)
    assert netdsl("compile", "seen.net").code == 0
    ran = netdsl("profile", "seen.onnx")
    assert "│   3   conv 3x3 8" in ran.out
    netdsl.write(seen=f"# changed\n{NET}")
    ran = netdsl("profile", "seen.onnx")
    assert "conv 3x3" not in ran.out
    assert "│   3" in ran.out
    assert "text of seen.net" in ran.err


def test_a_model_with_functions_has_the_lines_of_its_blocks(netdsl: Commands) -> None:
    text = "net seen { input x 3x8x8; repeat 2 { unit 4 }; dense 2 }\nblock unit(n) {\n  conv 3x3 n; relu\n}\n"
    netdsl.write(seen=text)
    assert netdsl("compile", "seen.net", "--functions").code == 0
    data = json.loads(netdsl("profile", "seen.onnx", "--json").out)
    assert {row["name"]: row["count"] for row in data["rows"]} == {"seen.net:1": 1, "seen.net:3": 2}
    assert (data["unknown_seconds"], data["flops"]) == (0, 2 * (4 * 27 * 64 + 4 * 36 * 64 + 2 * 4 * 64))


def test_a_run_with_too_many_rounds_is_refused(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the profiler was full before the end of the first run that counts."""
    monkeypatch.setattr("netdsl.profiling.measure.read_profile", lambda *_: SessionProfile([], []))
    netdsl.write(seen=NET)
    ran = netdsl("profile", "seen.net")
    assert (ran.code, "E0943" in ran.err) == (1, True)


def test_loops_are_profiled_for_a_short_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = count()
    monkeypatch.setattr(measure, "perf_counter", lambda: next(times) / 128)
    monkeypatch.setattr(measure, "MIN_SECONDS", 2.0)
    monkeypatch.setattr(measure, "read_profile", lambda *_: SessionProfile([0.01], []))

    class Session:
        def end_profiling(self) -> str:
            (tmp_path / "raw.json").write_text("[]")
            return str(tmp_path / "raw.json")

    runs: dict[str, tuple[int, int]] = {}
    for op in ("Conv", "Scan"):
        calls: list[int] = []
        session: Any = Session()
        done = measure.measure(partial(calls.append, 0), session, [op], lambda _: None)
        runs[op] = len(done.seconds), len(calls)
    assert runs == {"Conv": (256, 2 + 256 + 256), "Scan": (256, 2 + 26 + 256)}


def test_what_a_table_in_markdown_says_are_paragraphs() -> None:
    given = {"name": "m", "batch": 1, "threads": 1, "provider": "cpu", "runs": 5, "seconds": 1.0, "between": 0.1}
    warned = Profile(**given, costs=[], sources={}, warnings=["one", "two"])
    assert profile_markdown(warned).split("\n\n")[1:4] == ["median of 5 runs", "warning: one", "warning: two"]


def test_a_model_of_another_tool_has_no_lines(netdsl: Commands) -> None:
    model(netdsl.folder / "other.onnx", [n("Relu", "x", "h"), n("Exp", "h", "y")], {}, 4)
    ran = netdsl("profile", "other.onnx", "--batch", "3")
    assert ran.code == 0, ran
    assert "other.onnx, batch 3" in ran.out
    rows = json.loads(netdsl("profile", "other.onnx", "--by", "kind", "--json").out)["rows"]
    assert {row["name"] for row in rows} == {"Relu", "Exp"}
    refused = netdsl("profile", "other.onnx", "--by", "line")
    assert (refused.code, "E0923" in refused.err) == (2, True)


def test_models_without_an_axis_of_examples(netdsl: Commands) -> None:
    number, vector = (TensorProto.FLOAT, []), (TensorProto.FLOAT, ["n", 4])
    save(Path("number.onnx"), graph([n("Mul", "s x", "y")], {}, {"s": number, "x": vector}))
    assert json.loads(netdsl("profile", "number.onnx", "--batch", "3", "--json").out)["batch"] == 3
    save(Path("constant.onnx"), graph([n("MatMul", "a b", "y")], {"a": w(4, 6), "b": w(6, 3)}, {}))
    found = json.loads(netdsl("profile", "constant.onnx", "--json").out)
    assert (found["rows"], found["between_seconds"]) == ([], pytest.approx(found["seconds"]))


def test_models_that_cannot_be_profiled(netdsl: Commands) -> None:
    Path("damaged.onnx").write_bytes(b"\x0a" * 300)
    ran = netdsl("profile", "damaged.onnx")
    assert (ran.code, "E0812" in ran.err) == (1, True)
    equal = [n("Equal", "x x", "b"), n("Cast", "b", "y", to=TensorProto.FLOAT)]
    save(Path("texts.onnx"), graph(equal, {}, {"x": (TensorProto.STRING, ["n"])}))
    ran = netdsl("profile", "texts.onnx")
    assert (ran.code, "no random numbers for the input `x`, a string" in ran.err) == (1, True), ran


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize("training", [False, True])
def test_a_profile_that_is_ended_leaves_no_files(
    training: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Path]] = []

    def end(*_: object) -> None:
        seen.append([*tmp_path.iterdir()])
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(measure, "measure", end)
    with pytest.raises(SystemExit):
        package.parse("net seen { input x 4; dense 2 }").profile(training=training)
    assert (len(seen[0]), [*tmp_path.iterdir()]) == (1, [])


def test_inputs_are_read_as_by_run(netdsl: Commands) -> None:
    netdsl.write(
        seen=NET, pair="net pair { input a 2; input b [T] dtype i64; embedding 5 2; mean; add { } { from a } }"
    )
    np.save("x.npy", np.zeros((3, 3, 8, 8), np.float32))
    assert "batch 3" in netdsl("profile", "seen.net", "x.npy", "--batch", "3").out
    assert "batch 1" in netdsl("profile", "seen.net", "x.npy").out
    ran = netdsl("profile", "seen.net", "x.npy", "--batch", "4")
    assert (ran.code, "E0922" in ran.err) == (2, True)
    ran = netdsl("profile", "seen.net", "x.npy", "--input", "x=3x8x8")
    assert (ran.code, "E0641" in ran.err) == (2, True)


def test_sizes_that_are_known_at_run_time_are_given(netdsl: Commands) -> None:
    netdsl.write(free="net free { input image [3, ?H, ?W]; conv 3x3 4; relu }")
    ran = netdsl("profile", "free.net")
    assert (ran.code, "--input image=3x224x224" in ran.err) == (2, True)
    ran = netdsl("profile", "free.net", "--input", "image=3x9x11", "-q", "--json")
    assert json.loads(ran.out)["flops"] == 2 * 4 * 27 * 99
    assert netdsl("profile", "free.net", "--input", "image=4x9x11").code == 2
    ran = netdsl("profile", "free.net", "--input", "image=3x9x11", "--input", "imgae=3x9x11")
    assert (ran.code, "no input `imgae`; its inputs: image" in ran.err) == (2, True)


@pytest.mark.parametrize(("slower", "count"), [(-0.1, 0), (0.04, 0), (0.06, 1)])
def test_a_profiler_that_slows_a_run_down_is_told(slower: float, count: int) -> None:
    measured = measure.Measured(SessionProfile([1.0 + slower], []), [1.0], b"")
    assert len(measured.warnings) == count


def test_runs_that_warm_up_do_not_count() -> None:
    assert package.parse(NET).profile(threads=1)["runs"] == measure.MIN_RUNS


def test_python_profiles_arrays_and_views() -> None:
    net = package.parse(NET)
    found = net.profile(np.zeros((2, 3, 8, 8)), threads=1)
    assert (found["batch"], found["by"]) == (2, "line")
    assert "conv 3x3 8" in repr(found)
    assert {row["name"] for row in found.by("kind", 2)["rows"]} <= {"conv", "dense"}
    assert found.folded.startswith("seen;")
    assert found.plot().svg.startswith("<svg")
    assert net.profile({"x": np.zeros((1, 3, 8, 8))})["batch"] == 1
    assert net.profile(np.zeros((3, 3, 8, 8)), batch=2)["batch"] == 2
    for size, batch in ((0, None), (3, 4)):
        with pytest.raises(package.UserError, match="fewer than a batch"):
            net.profile(np.zeros((size, 3, 8, 8)), batch=batch)  # type: ignore[typeddict-item]
    with pytest.raises(package.UserError, match="view is 'line'"):
        found.by("row")
    with pytest.raises(package.UserError, match="shapes is a mapping"):
        net.profile(shapes=3)  # type: ignore[arg-type]
    with pytest.raises(package.UserError, match="unexpected keyword"):
        net.profile(thread=1)  # type: ignore[call-arg]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["lenet5", "resnet20", "crnn", "wavenet", "shufflenet_v2_x0_5", "regnet_y_400mf", "deit_ti"]
)
def test_operations_of_the_zoo_are_those_of_the_nets(name: str) -> None:
    net = package.load(name)
    found = net.profile()
    assert found["flops"] == pytest.approx(2 * net.summary().totals["macs"])  # type: ignore[operator]
    assert found["unknown_seconds"] == 0


def test_a_compiled_model_of_the_zoo_finds_its_text(netdsl: Commands) -> None:
    assert netdsl("compile", "xor").code == 0
    text = (ROOT / "specs" / "xor.net").read_text().splitlines()
    ran = netdsl("profile", "xor.onnx")
    assert any(line.strip() and line.strip()[:40] in ran.out for line in text if "dense" in line), ran
