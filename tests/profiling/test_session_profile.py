"""Reading onnxruntime's profile: times of runs and of kernels, those of loops in their loop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import netdsl
from netdsl.backend.session import OPTIMIZED, Session
from netdsl.profiling.session_profile import read_profile


def event(name: str, begin: int, length: int, **arguments: object) -> dict[str, object]:
    about = {"op_name": name.partition("_")[0], **arguments}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": begin, "dur": length, "args": about}


def run(begin: int, length: int) -> dict[str, object]:
    return {"cat": "Session", "name": "model_run", "ts": begin, "dur": length, "args": {}}


def test_runs_after_the_warm_up_count_and_kernels_have_medians() -> None:
    events = [run(0, 90), event("Conv_1", 10, 70, node_index="3")]
    for number, length in enumerate((20, 30, 40)):
        begin = 100 * (number + 1)
        events += [event("Conv_1", begin + 5, length, node_index="3"), event("Relu_2", begin + 50, 5, node_index="4")]
        events.append(run(begin, 60 + number))
    found = read_profile(json.dumps(events))
    assert found.runs == pytest.approx([60e-6, 61e-6, 62e-6])
    assert [(kernel.name, kernel.op) for kernel in found.kernels] == [("Conv_1", "Conv"), ("Relu_2", "Relu")]
    assert [kernel.seconds for kernel in found.kernels] == pytest.approx([30e-6, 5e-6])
    assert found.between == pytest.approx(26e-6)  # of 35, 26 and 17


def test_kernels_in_a_body_are_part_of_their_loop() -> None:
    loop = event("Scan_1", 10, 80, node_index="1")
    rounds = [event("MatMul_2", begin, 10, node_index="0", output_size="8") for begin in (20, 40, 60)]
    after = event("Relu_3", 92, 5, node_index="0")  # the same number in another graph
    found = read_profile(json.dumps([*rounds, loop, after, run(0, 100)]), warm_up=0)
    assert [kernel.name for kernel in found.kernels] == ["Scan_1", "Relu_3"]
    assert [(each.name, each.written) for each in found.kernels[0].inner] == [("MatMul_2", 8)] * 3
    assert found.between == pytest.approx(15e-6)


def test_a_kernel_that_does_not_run_each_time_takes_no_time_in_the_others() -> None:
    events = [run(0, 50), event("If_1", 10, 30, node_index="1"), run(100, 20), run(200, 20)]
    assert read_profile(json.dumps(events), warm_up=0).kernels[0].seconds == 0


def test_memory_is_the_most_of_all_runs() -> None:
    runs = [
        (run(100 * at, 50), event("Conv_1", 100 * at + 5, 9, mem_in_use_peak=size)) for at, size in enumerate((1, 3, 2))
    ]
    assert read_profile(json.dumps([each for pair in runs for each in pair]), warm_up=0).peak == 3


def test_onnxruntime_writes_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    net = netdsl.parse("net seen { input x 3x8x8; conv 3x3 16; relu; dense 2 }")
    session = Session(net.to_onnx().SerializeToString(), threads=1, profile="in")
    for _ in range(3):
        session.run({"x": np.zeros((5, 3, 8, 8), np.float32)})
    path = session.native.end_profiling()
    assert path.startswith("in")
    assert (tmp_path / "in" / OPTIMIZED).exists()
    with open(path) as file:
        found = read_profile(file.read())
    assert len(found.runs) == 2
    assert all(len(kernel.times) == 2 for kernel in found.kernels)
    first = found.kernels[0]
    assert (first.op, first.inputs[0], first.outputs[0]) == ("Conv", (5, 3, 8, 8), (5, 16, 8, 8))
    assert (first.read, first.written) == (4 * 5 * 3 * 64, 4 * 5 * 16 * 64)
