"""`netdsl view`: what Netron is given to show, and how it ends."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import onnx
import pytest

from tests.support.cli_tools import MNIST, Commands, environment, netdsl

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
        while not (address := re.search(r"(http://127\.0\.0\.1:\d+/[\w-]+/) \(press", told)):
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
        (file,) = re.findall(r'<meta name="file" content="/(data/[^"]+)"', page.read().decode())
    with urlopen(address + file) as data:
        return onnx.load_from_string(data.read())


def test_a_net_is_compiled_and_shown_until_it_is_interrupted(tmp_path: Path) -> None:
    words = ("lenet5", "--weights", MNIST / "lenet5.safetensors")
    with viewing(tmp_path, *words) as (address, process):
        model = shown(address)
        assert [node.op_type for node in model.graph.node].count("Conv") == 2
        (folder,) = tmp_path.iterdir()
        onnx.load_external_data_for_model(model, str(folder))
        with urlopen(f"{address}data/lenet5.onnx.data") as data:
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
        assert urlsplit(address).port == port


def test_a_browser_is_opened_unless_one_says_no(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("netdsl.cli.viewer.Viewer.serve_forever", lambda _: None)
    ran = netdsl("view", "perceptron")
    assert (ran.code, ran.out) == (0, "")
    assert opened == re.findall(r"http://\S+", ran.err)
    assert len(opened) == 1
    assert re.fullmatch(r"perceptron: http://\S+ .*\n", netdsl("view", "perceptron", "--no-browser", "-q").err)
    assert len(opened) == 1
    assert netdsl("view", "perceptron", "-q").err == ""
    assert len(opened) == 2


def test_without_netron_the_command_that_installs_it_is_told(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    ran = netdsl("view", "perceptron")
    assert (ran.code, ran.out) == (2, "")
    assert "error[E0806]" in ran.err
    assert "pip install 'netdsl[view]'" in ran.err


def asked(address: str, method: str, path: str, *hosts: str) -> tuple[int, bytes]:
    """Return the status and the body of a request with these `Host` headers."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection("127.0.0.1", place.port or 0, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    for host in hosts:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_only_those_who_know_the_address_are_answered(tmp_path: Path, netdsl: Commands) -> None:
    """DNS rebinding lets a page of another site ask this machine, with the site's name in `Host`."""
    assert netdsl("compile", "perceptron", "-o", "p.onnx", "-q").code == 0
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "other.onnx").write_bytes(b"secret")
    with viewing(tmp_path, "p.onnx") as (address, _), viewing(tmp_path, "p.onnx") as (other, _):
        token, port = urlsplit(address).path, urlsplit(address).port
        assert len(token) >= 20
        assert token != urlsplit(other).path
        host = f"127.0.0.1:{port}"
        for path in (
            token,
            f"{token}index.js",
            f"{token}data/p.onnx",
            f"{token}data/p.onnx?cb=1",
            f"{token}index.html",
        ):
            for name in (host, f"localhost:{port}", f"LOCALHOST:{port}"):
                assert asked(address, "GET", path, name)[0] == 200, (path, name)
        strangers = ["evil.example", f"evil.example:{port}", f"localhost.evil.example:{port}", "127.0.0.1", "localhost"]
        strangers += [f"127.0.0.1:{port + 1}", f"{host}@evil.example", f"[::1]:{port}", f"0.0.0.0:{port}", ""]
        for hosts in (
            [],
            *([name] for name in strangers),
            [host, "evil.example"],
            ["evil.example", host],
            [host, host],
        ):
            for method in ("GET", "HEAD"):
                status, body = asked(address, method, token, *hosts)
                assert (status, b"netron" in body.lower()) == (403, False), hosts
        wrong = [
            "/",
            "/index.html",
            "/index.js",
            "/data/p.onnx",
            f"{token[:-2]}/",
            f"/x{token[1:]}",
            urlsplit(other).path,
        ]
        for path in [
            *wrong,
            token.upper(),
            "//",
            f"/%00{token}",
            f"http://evil.example{token[:-2]}/",
            "*",
            "/%e9/",
            f"http://{host}{token}",
            f"//evil.example{token}",
        ]:
            assert asked(address, "GET", path, host)[0] == 403, path
        beyond = ["secret.txt", "other.onnx", "../p.onnx", "/etc/passwd", "..%2fp.onnx", "%00", ""]
        files = [
            *(f"data/{name}" for name in beyond),
            "server.py",
            "../netron/index.js/..",
            "..%2f..%2fpip%2f__init__.py",
        ]
        for path in [*files, "/etc/hosts", "%2fetc%2fhosts", "__init__.py", "none.js", ".", "\\..\\x.js", "%00.js"]:
            status, body = asked(address, "GET", token + path, host)
            assert (status, b"secret" in body) == (404, False), path
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get"):
            assert asked(address, method, token, host)[0] == 501, method
        status, body = asked(address, "HEAD", token, host)
        assert (status, body) == (200, b"")


@pytest.mark.parametrize("name", [b"a b#c?d%41&<\"'>.onnx", "n\u00e9\u4e2d.onnx".encode(), b"\xff.onnx"])
def test_any_name_is_served(tmp_path: Path, netdsl: Commands, name: bytes) -> None:
    assert netdsl("compile", "perceptron", "-o", "p.onnx", "-q").code == 0
    target = tmp_path / os.fsdecode(name)
    try:
        (tmp_path / "p.onnx").rename(target)
    except OSError:
        pytest.skip("this system has no such names")
    with viewing(tmp_path, target.name) as (address, _):
        assert shown(address).graph.name == "perceptron"


def test_only_this_machine_reaches_it(tmp_path: Path) -> None:
    with viewing(tmp_path, "perceptron") as (address, process):
        found = Path("/proc/net/tcp")
        if not found.exists():
            pytest.skip("no /proc")
        port = f":{urlsplit(address).port:04X}"
        places = [line.split()[1] for line in found.read_text().splitlines()[1:] if line.split()[3] == "0A"]
        assert [place for place in places if place.endswith(port)] == [f"0100007F{port}"]
        assert process.poll() is None


def test_nothing_leaves_the_machine_by_the_page(tmp_path: Path) -> None:
    with viewing(tmp_path, "perceptron") as (address, _), urlopen(address) as page:
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Content-Security-Policy"].startswith("connect-src 'self' ")
        assert page.headers["Set-Cookie"].startswith("consent=")
        assert "Access-Control-Allow-Origin" not in page.headers


def test_external_data_outside_of_the_models_folder_are_not_served(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(8))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "own.bin").write_bytes(bytes(8))
    tensors = []
    for name in ("../secret.bin", "link.bin", "own.bin", str(tmp_path / "secret.bin")):
        tensor = onnx.TensorProto(name=name, data_type=1, dims=[2], data_location=onnx.TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=name)
        tensors.append(tensor)
    graph = onnx.helper.make_graph([], "g", [], [], initializer=tensors)
    (folder / "m.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    done = subprocess.run(
        [sys.executable, "-m", "netdsl", "view", "m.onnx"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, "error[E0708]" in done.stderr) == (1, True), done
    names = [t.name for t in tensors]
    del graph.initializer[:2], graph.initializer[1:]
    (folder / "m.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with viewing(folder, "m.onnx") as (address, _):
        path, host = urlsplit(address).path, urlsplit(address).netloc
        found = {name: asked(address, "GET", f"{path}data/{name}", host)[0] for name in names}
        assert found == {name: 200 if name == "own.bin" else 404 for name in names}


WRONG = {
    "a.net": (1, "error[E0202]: unknown layer or block `desne`"),
    "perceptron51": (2, "error[E0601]"),
    "nowhere.onnx": (2, "error[E0601]: there is no file nowhere.onnx"),
    "p.onnx --seed 1": (2, "error[E0614]: p.onnx is a compiled model, which does not accept --seed"),
    "p.onnx --functions": (2, "error[E0614]: p.onnx is a compiled model, which does not accept --functions"),
    "perceptron --port 70000": (2, "argument --port"),
    "perceptron --weights nowhere.npz": (2, "nowhere.npz"),
}


@pytest.mark.parametrize("line", WRONG)
def test_what_cannot_be_shown(line: str, netdsl: Commands) -> None:
    netdsl.write(a="net a {\n  input x 3\n  desne 2\n}\n")
    ran = netdsl("view", *line.split(), "--no-browser")
    assert (ran.code, ran.out) == (WRONG[line][0], "")
    assert WRONG[line][1] in ran.err
