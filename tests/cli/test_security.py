"""SECURITY.md: where commands write, and that they open no connection, as Python's audit events tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.cli_tools import environment

AUDITED = """
import json, os, sys
found = {"written": [], "connected": [], "started": []}
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        found["written"].append(os.path.realpath(arguments[0]))
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink"):
        if arguments[-1] not in (-1, 0o777):
            return  # relative to an open folder, as tempfile removes its own
        found["written"].extend(os.path.realpath(path) for path in arguments[:2] if isinstance(path, str))
    elif event.startswith(("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo")):
        found["connected"].append(str(arguments))
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn"):
        found["started"].append([str(each) for each in arguments[1]])
sys.addaudithook(hook)
from netdsl.cli import main
try:
    code = main(sys.argv[2:])
except SystemExit as end:
    code = end.code
found["code"] = code
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""

COMMANDS = [
    "check n.net",
    "check --fix s.net",
    "check --diff n.net",
    "summary n.net",
    "compile n.net -o out/m.onnx",
    "compile n.net --external-data -o out/m.onnx",
    "compile n.net --training -o out/m.onnx",
    "compile n.net --quantize int8 --calibrate x.npy -o out/m.onnx",
    "run n.net x.npy -o out/o.npz",
    "run n.net x.npy",
    "train n.net --out out/run",
    "train n.net --out out/run --step-backend auto",
    "draw n.net -o out/n.svg",
    "compare alexnet resnet18 --plot out/c.svg",
    "zoo copy xor out",
    "zoo",
    "layers",
    "explain",
    "devices",
    "diff n.net xor",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_writes_its_outputs_and_opens_no_connection(tmp_path: Path, command: str) -> None:
    here = tmp_path / "here"
    for name in ("here/out", "home", "cache", "temporary"):
        (tmp_path / name).mkdir(parents=True)
    train = 'train n { data npz "d.npz"; loss mse; optimizer sgd lr 0.1; batch 2; epochs 1 }'
    (here / "n.net").write_text(f"net n {{ input x 3; dense 2 }}\n{train}\n")
    (here / "s.net").write_text("net s { input x 3; dens 2 }\n")
    np.save(here / "x.npy", np.ones((4, 3), np.float32))
    np.savez(here / "d.npz", x=np.ones((4, 3), np.float32), y=np.ones((4, 2), np.float32))
    places = {"HOME": "home", "XDG_CACHE_HOME": "home", "NETDSL_CACHE": "cache", "TMPDIR": "temporary"}
    record = tmp_path / "record.json"
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, record, *command.split()],
        cwd=here,
        capture_output=True,
        text=True,
        env=environment(**{name: str(tmp_path / place) for name, place in places.items()}),
    )
    found = json.loads(record.read_text())
    assert found["code"] == 0, done.stderr
    allowed = [here / "out", tmp_path / "temporary", tmp_path / "cache"]
    written = {Path(path) for path in found["written"]} - {record, Path("/dev/null")}
    if command == "check --fix s.net":
        assert here / "s.net" in written
        written = {path for path in written if path.parent != here}
    assert [path for path in written if not any(path.is_relative_to(folder) for folder in allowed)] == []
    assert list((tmp_path / "home").rglob("*")) == []  # onnxruntime's telemetry, in C, would write here
    assert any((here / "out").iterdir()) == ("out/" in command or command.endswith(" out"))
    assert found["connected"] == []
    assert all(line[1:] == ["-m", "netdsl.train.stopwatch"] for line in found["started"]), found["started"]
