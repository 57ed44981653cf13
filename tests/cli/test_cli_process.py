"""Commands as processes: streams, signals, other folders, hash seeds."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from netdsl.base.version import VERSION
from tests.support.cli_tools import ROOT, environment, spawn

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and devices of POSIX")


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A line of sh, in which `netdsl` is ours."""
    command = f'netdsl() {{ "{sys.executable}" -m netdsl "$@"; }}; {line}'
    return subprocess.run(["sh", "-c", command], cwd=cwd, capture_output=True, text=True, env=environment())


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = spawn("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.decode()) == (0, f"netdsl {VERSION}\n")
    assert spawn("frob", cwd=tmp_path).returncode == 2


def test_the_standard_input_and_output_carry_a_model(tmp_path: Path) -> None:
    done = spawn("compile", "-", "-o", "-", cwd=tmp_path, stdin=b"net n { input x 3; dense 2 }")
    assert onnx.load_from_string(done.stdout).graph.name == "n"
    assert done.stderr.startswith(b"the standard output: ")
    assert list(tmp_path.iterdir()) == []


def test_outputs_on_stdout_leave_the_lines_to_stderr(tmp_path: Path) -> None:
    (tmp_path / "n.net").write_text("net n { input x 2; identity }")
    np.save(tmp_path / "x.npy", np.ones((1, 2), np.float32))
    done = spawn("run", "n.net", "x.npy", "-o", "-", cwd=tmp_path)
    (tmp_path / "o.npz").write_bytes(done.stdout)
    with np.load(tmp_path / "o.npz") as found:
        assert found["output"].tolist() == [[1, 1]]
    assert done.stderr == b"x.npy[0]  0: 1  1: 1\n"


@POSIX
@pytest.mark.parametrize(
    "line",
    [
        "check s.net none xor s.net --fix --diff",
        "check s.net none xor --format json",
        "summary w.net",
        "compare w.net xor",
        "run w.net x.npy",
        "run w.net x.npy none.npy",
        "train t.net --epochs 3 --json",
        "eval t.net --weights runs/n/last.safetensors",
        "explain E0101 E9999",
        "zoo show none",
    ],
)
def test_both_streams_into_one_pipe_keep_their_order(tmp_path: Path, line: str) -> None:
    """An unbuffered Python is the oracle."""
    net = "input x 2; dense 2; bn; identity"
    train = 'train n { data npz "d.npz"; loss mse; optimizer sgd lr 0.1; batch 2 }'
    (tmp_path / "w.net").write_text(f"net n {{ {net} }}")
    (tmp_path / "t.net").write_text(f"net n {{ {net} }}\n{train}")
    np.save(tmp_path / "x.npy", np.ones((3, 2), np.float32))
    np.savez(tmp_path / "d.npz", x=np.ones((4, 2), np.float32), y=np.ones((4, 2), np.float32))
    if line.startswith("eval"):
        assert spawn("train", "t.net", "--epochs", 1, cwd=tmp_path).returncode == 0
    merged = []
    for unbuffered in ("", "1"):
        (tmp_path / "s.net").write_text("net s { input x 3; dens 64 }\n")
        if line.startswith("train"):
            shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        command = [sys.executable, "-m", "netdsl", *line.split()]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(PYTHONUNBUFFERED=unbuffered),
        )
        merged.append(re.sub(r"[\d.e-]+ examples/s|\d+\.\d\d s", "", done.stdout))
    assert merged[0] == merged[1]
    assert merged[0].count("\n") > 1


def test_the_same_source_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    text = (ROOT / "specs" / "googlenet.net").read_bytes()
    models = set()
    for n, zone in enumerate(("UTC", "Asia/Tokyo", "America/New_York")):
        folder = tmp_path / str(n) / "deep"
        folder.mkdir(parents=True)
        (folder / "g.net").write_bytes(text)
        where, name = (folder, "g.net:googlenet") if n else (tmp_path, "0/deep/g.net:googlenet")
        done = spawn("compile", name, "-o", "m.onnx", cwd=where, PYTHONHASHSEED=str(n), TZ=zone, LC_ALL="C")
        assert done.returncode == 0, done.stderr
        models.add((where / "m.onnx").read_bytes())
    assert len(models) == 1


def test_problems_come_in_the_same_order_whatever_the_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "n.net").write_text("net n { input x 3; dens 2 }\nnet m { input x 3; conv 3x3 kernal 3; relv }\n")
    said = {spawn("check", "n.net", cwd=tmp_path, PYTHONHASHSEED=str(n)).stderr for n in range(4)}
    assert len(said) == 1


@POSIX
@pytest.mark.parametrize(
    ("line", "code", "err"),
    [
        ("netdsl check none >&- 2>&-", 2, ""),
        ("netdsl check - <&-", 2, "the standard input is closed"),
        ("netdsl compile xor <&- >&- 2>&-", 0, ""),
        (
            "echo 'net n { dens }' | netdsl check - --format json >/dev/full",
            2,
            "E0617]: the standard output: no space left",
        ),
        ("netdsl compile xor -o - >/dev/full", 2, "no space left on device"),
        ("netdsl compile xor -o /dev/full", 2, "cannot write /dev/full: no space left on device"),
        ("netdsl compile xor -o /dev/null", 0, "/dev/null: "),
        ("netdsl check /dev/null", 1, "error["),
        ("netdsl check /dev/zero", 1, "error[E0604]"),
        ("netdsl compile xor 2>/dev/full", 2, ""),
        ("mkfifo p; (echo 'net n { input x 3; dense 2 }' >p &) ; netdsl check p", 0, "p: ok (n)"),
        ("(ulimit -f 8; netdsl compile lenet5)", 2, "cannot write lenet5.onnx: file too large"),
        ("PYTHONIOENCODING=ascii netdsl check n\u00f6", 2, "there is no file n"),
    ],
)
def test_odd_streams(tmp_path: Path, line: str, code: int, err: str) -> None:
    done = shell(line, tmp_path)
    assert done.returncode == code, done
    assert err in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


@POSIX
def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((200_000, 2), np.float32))
    (tmp_path / "n.net").write_text("net n { input x 2; identity }")
    done = shell("{ netdsl run n.net x.npy; echo $? >&2; } | head -n 1", tmp_path)
    assert (done.stdout, done.stderr) == ("x.npy[0]  0: 1  1: 1\n", "141\n")


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_the_old_file_and_no_other(tmp_path: Path, number: signal.Signals, code: int) -> None:
    target = tmp_path / "m.onnx"
    target.write_bytes(b"old")
    command = [sys.executable, "-m", "netdsl", "compile", "vgg16", "-o", "m.onnx", "--force"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, env=environment())
    while process.poll() is None and len(list(tmp_path.iterdir())) == 1:
        time.sleep(0.001)
    process.send_signal(number)
    assert process.communicate() == (None, b"")
    assert process.returncode == code
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert target.read_bytes() == b"old"


IGNORED = """
import sys, time, types
from netdsl.cli import entry

class Callback:
    def __del__(self):
        raise KeyboardInterrupt

def command(options):
    Callback()
    while True:
        time.sleep(0.01)

sys.modules["netdsl.cli.devices"] = types.SimpleNamespace(command=command)
sys.argv = ["netdsl", "devices"]
entry()
"""


def test_ctrl_c_in_a_callback_is_not_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IGNORED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, env=environment())
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
