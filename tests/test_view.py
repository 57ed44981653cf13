"""`netdsl view`: what Netron is given to show, and how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import onnx
import pytest

from tests.cli_tools import MNIST, Commands, environment, netdsl

__all__ = ["netdsl"]


@contextmanager
def viewing(folder: Path, *words: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that `netdsl view` tells, and its process, which keeps its temporary files in `folder`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "netdsl", "view", *map(str, words), "--no-browser"],
        cwd=folder,
        env=environment(TMPDIR=str(folder), TEMP=str(folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        told = ""
        while not (address := re.search(r"(http://localhost:\d+) in a browser", told)):
            line = process.stderr.readline()
            assert line, told
            told += line
        yield address[1], process
    finally:
        process.kill()
        process.communicate()


def shown(address: str) -> onnx.ModelProto:
    """The model that Netron's page asks for."""
    with urlopen(address) as page:
        (file,) = re.findall(r'<meta name="file" content="(/data/[^"]+)"', page.read().decode())
    with urlopen(address + file) as data:
        return onnx.load_from_string(data.read())


def test_a_net_is_compiled_and_shown_until_it_is_interrupted(tmp_path: Path) -> None:
    words = ("lenet5", "--weights", MNIST / "lenet5.safetensors")
    with viewing(tmp_path, *words) as (address, process):
        model = shown(address)
        assert [node.op_type for node in model.graph.node].count("Conv") == 2
        (folder,) = tmp_path.iterdir()
        onnx.load_external_data_for_model(model, str(folder))
        with urlopen(f"{address}/data/lenet5.onnx.data") as data:
            assert data.read() == (folder / "lenet5.onnx.data").read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert list(tmp_path.iterdir()) == []
    safetensors = pytest.importorskip("safetensors.numpy")
    given = safetensors.load_file(MNIST / "lenet5.safetensors")
    found = {x.name: onnx.numpy_helper.to_array(x) for x in model.graph.initializer}
    assert (found["conv1.weight"] == given["conv1.weight"]).all()


def test_blocks_are_folded_where_that_is_asked_for(tmp_path: Path) -> None:
    with viewing(tmp_path, "resnet20", "--functions") as (address, _):
        model = shown(address)
    assert len(model.functions) > 0
    names = {function.name for function in model.functions}
    assert sum(node.op_type in names for node in model.graph.node) == 9  # the blocks of 6 * 3 + 2 layers


def test_a_model_is_shown_as_it_is(tmp_path: Path, netdsl: Commands) -> None:
    assert netdsl("compile", "perceptron", "-o", "p.onnx", "-q").code == 0
    with viewing(tmp_path, "p.onnx") as (address, process):
        assert shown(address) == onnx.load("p.onnx")
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert [path.name for path in tmp_path.iterdir()] == ["p.onnx"]


def test_the_port_is_the_one_asked_for_and_free(tmp_path: Path, netdsl: Commands) -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = netdsl("view", "perceptron", "--port", port, "--no-browser")
    assert (ran.code, ran.out) == (2, "")
    assert f"error[E0638]: cannot serve on port {port}" in ran.err
    with viewing(tmp_path, "perceptron", "--port", port) as (address, _):
        assert address.endswith(f":{port}")


def test_a_browser_is_opened_unless_one_says_no(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    import netron

    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(netron, "status", lambda _: False)
    ran = netdsl("view", "perceptron")
    assert (ran.code, ran.out) == (0, "")
    assert opened == re.findall(r"http://\S+", ran.err)
    assert len(opened) == 1
    assert netdsl("view", "perceptron", "--no-browser", "-q").err == ""
    assert len(opened) == 1


def test_without_netron_the_command_that_installs_it_is_told(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "netron", None)
    ran = netdsl("view", "perceptron")
    assert (ran.code, ran.out) == (2, "")
    assert "error[E0806]" in ran.err
    assert "pip install 'netdsl[view]'" in ran.err


WRONG = {
    "a.net": (1, "error[E0202]: there is no layer or block `desne`"),
    "perceptron51": (2, "error[E0601]"),
    "nowhere.onnx": (2, "error[E0601]: there is no file nowhere.onnx"),
    "p.onnx --seed 1": (2, "error[E0614]: p.onnx is a compiled model, and takes no --seed"),
    "p.onnx --functions": (2, "error[E0614]: p.onnx is a compiled model, and takes no --functions"),
    "perceptron --port 70000": (2, "argument --port"),
    "perceptron --weights nowhere.npz": (2, "nowhere.npz"),
}


@pytest.mark.parametrize("line", WRONG)
def test_what_cannot_be_shown(line: str, netdsl: Commands) -> None:
    netdsl.write(a="net a {\n  input x 3\n  desne 2\n}\n")
    ran = netdsl("view", *line.split(), "--no-browser")
    assert (ran.code, ran.out) == (WRONG[line][0], "")
    assert WRONG[line][1] in ran.err
