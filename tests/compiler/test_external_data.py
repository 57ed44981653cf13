"""Weights beside their model: where they stand, what is overwritten, and what a reader can find at any moment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from netdsl.app.output import MODEL
from netdsl.backend import external_data
from netdsl.backend.external_data import MARK, write_pair
from netdsl.base.files import CannotWrite, Staged
from tests.support.cli_tools import MNIST, Commands, environment, netdsl, spawn, weighed

__all__ = ["netdsl"]

LENET = ("compile", "lenet5", "--weights", MNIST / "lenet5.safetensors", "-o", "m.onnx")
NET = "net n { input x 3; dense 2 }"
posix = pytest.mark.skipif(os.name != "posix", reason="signals, links and devices of POSIX")


def model(path: Path | str) -> onnx.ModelProto:
    return onnx.load(path, load_external_data=False)


def places(path: Path | str) -> dict[str, dict[str, str]]:
    """Each weight's place, as the model tells it."""
    return {t.name: {e.key: e.value for e in t.external_data} for t in model(path).graph.initializer}


def run(path: Path | str, x: np.ndarray) -> np.ndarray:
    from onnxruntime import InferenceSession

    session = InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_model_with_its_data_is_the_model_in_one_file(
    netdsl: Commands, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert netdsl(*LENET, "--external-data").code == 0
    assert netdsl(*LENET[:-1], "one.onnx").code == 0
    onnx.checker.check_model("m.onnx", full_check=True)
    apart, one = onnx.load("m.onnx"), onnx.load("one.onnx")
    assert [t.name for t in apart.graph.initializer] == [t.name for t in one.graph.initializer]
    for a, b in zip(apart.graph.initializer, one.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(a), numpy_helper.to_array(b))
    x = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    expected = run("one.onnx", x)
    moved = tmp_path_factory.mktemp("moved") / "deep"
    moved.mkdir()
    for name in ("m.onnx", "m.onnx.data"):
        shutil.move(name, moved / name)
    np.testing.assert_array_equal(run(moved / "m.onnx", x), expected)  # from another folder than this one


def test_places_are_relative_aligned_and_without_overlap(netdsl: Commands) -> None:
    (netdsl.folder / "sub").mkdir()
    assert netdsl("compile", "resnet18", "--external-data", "-o", netdsl.folder / "sub" / "m.onnx").code == 0
    end = len(MARK)
    for name, place in places("sub/m.onnx").items():
        offset, length = int(place["offset"]), int(place["length"])
        assert place["location"] == "m.onnx.data"
        assert offset % (65536 if length >= 2**20 else 4096) == 0, name
        assert offset >= end
        end = offset + length
    assert (netdsl.folder / "sub" / "m.onnx.data").stat().st_size == end
    assert len(places("sub/m.onnx")) == 102


def test_compile_says_what_it_wrote(netdsl: Commands) -> None:
    ran = netdsl(*LENET, "--external-data")
    sizes = [os.path.getsize(name) for name in ("m.onnx", "m.onnx.data")]
    start = f"m.onnx: {sizes[0]:,} bytes, and {sizes[1]:,} bytes of weights in m.onnx.data, 61,706 parameters from "
    assert ran.err.startswith(start)


def test_the_same_source_gives_the_same_two_files(tmp_path: Path) -> None:
    found = set()
    for seed in "01":
        folder = tmp_path / seed
        folder.mkdir()
        assert spawn("compile", "xor", "--external-data", cwd=folder, PYTHONHASHSEED=seed).returncode == 0
        found.add(tuple((folder / name).read_bytes() for name in ("xor.onnx", "xor.onnx.data")))
    assert len(found) == 1


def test_old_data_are_replaced_whole_if_they_are_ours(netdsl: Commands) -> None:
    assert netdsl("compile", "resnet18", "--external-data", "-o", "m.onnx").code == 0
    assert netdsl(*LENET, "--external-data").code == 0
    assert os.path.getsize("m.onnx.data") < 400_000
    onnx.checker.check_model("m.onnx", full_check=True)
    assert names(netdsl.folder) == ["m.onnx", "m.onnx.data"]


@pytest.mark.parametrize("stranger", ["m.onnx", "m.onnx.data"])
def test_files_of_others_stay(netdsl: Commands, stranger: str) -> None:
    path = netdsl.folder / stranger
    path.write_bytes(b"of weeks of training")
    ran = netdsl(*LENET, "--external-data")
    assert (ran.code, names(netdsl.folder), path.read_bytes()) == (2, [stranger], b"of weeks of training")
    assert f"error[E0611]: {stranger} exists and was not written by netdsl" in ran.err
    assert netdsl(*LENET, "--external-data", "--force").code == 0
    onnx.checker.check_model("m.onnx")


def test_weights_that_are_read_are_not_overwritten(netdsl: Commands) -> None:
    shutil.copy(MNIST / "lenet5.safetensors", "m.onnx.data")
    ran = netdsl("compile", "lenet5", "--weights", "m.onnx.data", "-o", "m.onnx", "--external-data", "--force")
    assert (ran.code, names(netdsl.folder)) == (2, ["m.onnx.data"])
    assert "error[E0613]: m.onnx.data is an input of this command" in ran.err


@posix
@pytest.mark.parametrize(
    ("prepare", "target", "said"),
    [
        ("", "-", "cannot write -: external data requires a file on disk"),
        ("", "/dev/null", "cannot write /dev/null: external data requires a file on disk"),
        ("mkfifo p", "p", "cannot write p: external data requires a file on disk"),
        ("mkdir m.onnx.data", "m.onnx", "cannot write m.onnx.data: it is a folder"),
        ("touch d; ln -s d m.onnx.data", "m.onnx", "cannot write m.onnx.data: it is a link"),
        ("mkfifo m.onnx.data", "m.onnx", "cannot write m.onnx.data: external data requires a file on disk"),
        ("", "no/m.onnx", "cannot write no/m.onnx: its folder does not exist"),
        ("", "x" * 252, f"cannot write {'x' * 252}.data: file name too long"),
        ("", "nul\0", "cannot write nul\\x00: no file can have this name"),
        ("", "\udcff.onnx", ".onnx: its name is not valid text"),
        (
            "",
            "..onnx",
            "cannot write ..onnx: with external data, the name cannot contain two consecutive dots",
        ),
    ],
)
def test_a_bad_target_fails_before_the_work(netdsl: Commands, prepare: str, target: str, said: str) -> None:
    subprocess.run(prepare, shell=True, check=True)
    (netdsl.folder / "n.net").write_text(NET)
    before = names(netdsl.folder)
    ran = netdsl("compile", "n.net", "-o", target, "--external-data")
    assert (ran.code, names(netdsl.folder)) == (2, before)
    assert said in ran.err


@posix
def test_a_link_is_followed_and_the_data_are_beside_the_model(netdsl: Commands) -> None:
    (netdsl.folder / "real").mkdir()
    os.symlink("real/r.onnx", "m.onnx")
    for _ in range(2):
        assert netdsl(*LENET, "--external-data").code == 0
        assert (names(netdsl.folder), names(netdsl.folder / "real")) == (["m.onnx", "real"], ["r.onnx", "r.onnx.data"])
        onnx.checker.check_model("real/r.onnx")


@pytest.mark.parametrize("name", [".onnx", "a b\né.onnx", "-.onnx", "m"])
def test_odd_names_of_models(netdsl: Commands, name: str) -> None:
    (netdsl.folder / "n.net").write_text(NET)
    assert netdsl("compile", "n.net", f"--output={name}", "--external-data").code == 0
    onnx.checker.check_model(name, full_check=True)
    assert run(name, np.zeros((1, 3), np.float32)).shape == (1, 2)


# --- two files as one ----------------------------------------------------------------------------------------------


def write(path: Path, text: bytes) -> None:
    with write_pair(str(path), 0) as (file, data):
        data.file.write(text)
        file.write(text)


def pair_of(path: Path) -> tuple[bytes | None, bytes | None]:
    return bytes_of(path), bytes_of(Path(f"{path}.data"))


def bytes_of(path: Path) -> bytes | None:
    """To look first whether the file is there would race with a writer that exchanges it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


@pytest.mark.parametrize("old", [(None, None), (b"old", None), (None, b"old"), (b"old", b"old")])
@pytest.mark.parametrize("fails", [None, *range(6)])
def test_any_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: tuple[bytes | None, bytes | None], fails: int | None
) -> None:
    """Each step of the exchange is interrupted in turn, before it is done and after."""
    path = tmp_path / "m.onnx"
    for each, text in zip((path, Path(f"{path}.data")), old, strict=True):
        if text is not None:
            each.write_bytes(text)
    steps = 0

    def interrupted(step):
        def stop(*arguments):
            nonlocal steps
            number, steps = steps, steps + 1
            if number == fails and fails % 2 == 0:
                raise KeyboardInterrupt
            step(*arguments)
            if number == fails:
                raise KeyboardInterrupt

        return stop

    monkeypatch.setattr(Staged, "publish", interrupted(Staged.publish))
    monkeypatch.setattr(external_data.os, "rename", interrupted(os.rename))
    try:
        write(path, b"new")
        assert pair_of(path) == (b"new", b"new")
    except KeyboardInterrupt:
        assert pair_of(path) in (old, (b"new", b"new"))
    assert {name for name in names(tmp_path) if name.endswith(".tmp")} == set()


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write(path, b"old")
    with pytest.raises(CannotWrite, match="no space left on device"), write_pair(str(path), 0) as (_, data):
        data.file.write(b"half")
        raise OSError(28, "No space left on device")
    assert (pair_of(path), names(tmp_path)) == ((b"old", b"old"), ["m.onnx", "m.onnx.data"])
    with pytest.raises(FileNotFoundError), write_pair(str(path), 0):
        open(tmp_path / "weights.npz")


def test_readers_never_find_a_model_with_anothers_data(tmp_path: Path) -> None:
    """Two writers exchange the pair again and again. Whoever finds the same model before and after the data has its."""
    path = tmp_path / "m.onnx"
    write(path, b"first")
    stop = threading.Event()

    def writer(letter: str) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            write(path, f"{letter}{count}".encode())

    writers = [threading.Thread(target=writer, args=(letter,)) for letter in "ab"]
    for each in writers:
        each.start()
    found = 0
    try:
        end = time.monotonic() + 60
        while found < 300 and time.monotonic() < end:
            before, data = pair_of(path)
            after = pair_of(path)[0]
            if before is not None and before == after:
                assert data == before
                found += 1
    finally:
        stop.set()
        for each in writers:
            each.join()
    assert found
    last = pair_of(path)
    assert last[0] == last[1]
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_old_files_and_no_other(tmp_path: Path, number: signal.Signals, code: int) -> None:
    (tmp_path / "m.onnx").write_bytes(MODEL)
    (tmp_path / "m.onnx.data").write_bytes(MARK)
    command = [sys.executable, "-m", "netdsl", "compile", "vgg16", "-o", "m.onnx", "--external-data"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, env=environment())
    while process.poll() is None and len(names(tmp_path)) == 2:
        time.sleep(0.001)
    process.send_signal(number)
    assert process.communicate() == (None, b"")
    assert process.returncode == code
    assert (names(tmp_path), pair_of(tmp_path / "m.onnx")) == (["m.onnx", "m.onnx.data"], (MODEL, MARK))


@posix
def test_a_file_that_may_not_grow_is_told(tmp_path: Path) -> None:
    command = f'ulimit -f 8; exec "{sys.executable}" -m netdsl compile lenet5 --external-data'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert (done.returncode, names(tmp_path)) == (2, [])
    assert "error[E0606]: cannot write lenet5.onnx: file too large" in done.stderr


# --- more than one file holds --------------------------------------------------------------------------------------

HUGE = "net huge { input x 32768; dense 18432 init zeros bias off }"
"""2.4 GB of weights."""


def test_what_is_too_large_for_a_stream_is_said_before_anything_is_written(tmp_path: Path) -> None:
    done = spawn("compile", "-", "-o", "-", cwd=tmp_path, stdin=HUGE.encode())
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"error[E0680]: the model would have 2.4 GB" in done.stderr
    assert b"--external-data" in done.stderr


def test_the_switch_is_automatic_and_said(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdsl.backend.compile.ONE_FILE", 246_823)
    ran = netdsl(*LENET)
    assert " bytes of weights in m.onnx.data (one file holds at most 2 GB), 61,706 parameters" in ran.err
    onnx.checker.check_model("m.onnx", full_check=True)
    monkeypatch.setattr("netdsl.backend.compile.ONE_FILE", 246_824)
    os.remove("m.onnx.data")
    assert netdsl(*LENET).code == 0
    assert names(netdsl.folder) == ["m.onnx"]


@pytest.mark.slow
def test_more_than_two_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "h.net").write_text(HUGE)
    code = "import sys; from netdsl.cli import main; assert main(sys.argv[1:]) == 0"
    done, peak = weighed(code, "compile", "h.net", "-o", "m.onnx", cwd=tmp_path)
    assert (
        "2,415,984,640 bytes of weights in m.onnx.data (one file holds at most 2 GB), 603,979,776 parame" in done.stderr
    )
    assert peak < 200e6
    onnx.checker.check_model(str(tmp_path / "m.onnx"))
    y = run(tmp_path / "m.onnx", np.ones((1, 32768), np.float32))
    assert (y.shape, y.any()) == ((1, 18432), False)
