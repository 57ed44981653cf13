"""Training in processes that `mpiexec` has started: the same bits, one message, and never a hang."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest

from tests.support.paths import ROOT

pytest.importorskip("mpi4py")
LAUNCHER = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}") or ""

TIMEOUT = 100
"""Seconds after which a run counts as a hang; each takes a few on a quiet machine."""

NET = """net m { input x 8; dense 16; relu; dense 2 }
train m { data npz "d.npz"; validate 0.1; loss cross_entropy; optimizer sgd lr 0.1 momentum 0.9; batch 40; epochs 3 }
"""
TRAIN = ("train", "m.net", "--step-backend", "plain", "--threads", "1")

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

STEPS = 27
"""Number of steps of NET."""


def started(size: int, *arguments: object, folder: Path) -> subprocess.Popen[str]:
    """Start Python in several processes."""
    words = [LAUNCHER, "-n", str(size), sys.executable, *map(str, arguments)]
    return subprocess.Popen(words, cwd=folder, env=ENVIRONMENT, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)


class Ended:
    """What several processes left: the launcher's exit code, and what they printed."""

    def __init__(self, process: subprocess.Popen[str], given: str = "") -> None:
        try:
            self.out, self.err = process.communicate(given, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        self.code = process.returncode

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def launched(size: int, *arguments: object, folder: Path) -> Ended:
    return Ended(started(size, *arguments, folder=folder))


@pytest.fixture(scope="module", autouse=True)
def _launcher(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where there is no launcher of MPICH, whose exit codes are expected, or mpi4py has loaded another MPI."""
    if not LAUNCHER:
        pytest.skip("there is no mpiexec")
    size = (
        "import os; from mpi4py import MPI; print(f' {MPI.COMM_WORLD.size * int(\"PMI_RANK\" in os.environ)} ', end='')"
    )
    found = launched(2, "-c", size, folder=tmp_path_factory.getbasetemp())
    if found.out.split() != ["2", "2"]:
        pytest.skip(f"mpiexec does not start processes of mpi4py: {found}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepared(tmp_path)


def prepared(folder: Path) -> Path:
    """Write data and nets into a folder."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 8), np.float32)
    np.savez(folder / "d.npz", x=x, y=(x.sum(1) > 0).astype("i8"))
    (folder / "m.net").write_text(NET)
    (folder / "w.net").write_text(NET.replace("dense 16", "mine: relu; dense 16"))
    return folder


def netdsl(size: int, *arguments: object, folder: Path) -> Ended:
    return launched(size, "-m", "netdsl", *arguments, folder=folder)


def faulty(fault: str, rank: int, at: int, *arguments: object, folder: Path) -> Ended:
    """Train with a fault on one of two ranks."""
    words = "-m", "tests.support.mpi_program", fault, rank, at, *TRAIN, "--out", "run", *arguments
    return launched(2, *words, folder=folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the results of a process that trains in two shards, undisturbed."""
    folder = prepared(tmp_path_factory.mktemp("whole"))
    assert netdsl(1, *TRAIN, "--out", "run", "--set", "train.shards=2", folder=folder).code == 0
    return results(folder / "run")


def results(run: Path) -> dict[str, bytes]:
    """Return the files of a run whose bytes do not depend on the number of processes."""
    names = ("last.safetensors", "best.safetensors", "last.onnx", "metrics.csv", "steps.csv")
    return {name: (run / name).read_bytes() for name in names}


SUMS = """
import numpy as np
from netdsl.train import mpi
from netdsl.train.launcher import world
from netdsl.train.ranks import tree_sum
ranks = world()
assert ranks.exchange(("rank", ranks.rank)) == [("rank", rank) for rank in range(ranks.size)]
assert ranks.broadcast(f"of {ranks.rank}") == "of 0"
for limit in (2**30, 4096):
    mpi.MAX_MESSAGE = limit
    for length in (0, 1, 3, 1000, 12345):
        parts = np.random.default_rng(length).standard_normal((ranks.size, length), np.float32)
        buffer = parts[ranks.rank].copy()
        ranks.sum(buffer)
        np.testing.assert_array_equal(buffer, tree_sum([*parts]))
        array = np.full((3, length), ranks.rank, np.int64)
        array.flags.writeable = not ranks.leads
        ranks.fill(array)
        assert not array.any()
scalar = np.array(ranks.rank)
ranks.fill(scalar)
assert scalar == 0
print(" equal ", end="")
"""


@pytest.mark.parametrize("size", [2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_sums_have_the_bits_of_a_tree(size: int, tmp_path: Path) -> None:
    found = launched(size, "-c", SUMS, folder=tmp_path)
    assert (found.code, found.out.split()) == (0, ["equal"] * size), found


def test_two_processes_train_to_the_bits_of_one(folder: Path, whole: dict[str, bytes]) -> None:
    found = netdsl(2, *TRAIN, "--out", "two", folder=folder)
    assert found.code == 0, found
    assert found.err.count("2 ranks x 1 thread") == 1
    assert found.err.count(f"two: {STEPS} steps; wrote") == 1
    assert found.out.count("epoch 3/3") == 1
    assert results(folder / "two") == whole


def test_all_processes_train_the_net_on_standard_input(folder: Path) -> None:
    found = Ended(started(2, "-m", "netdsl", "train", "-:m", *TRAIN[2:], folder=folder), NET)
    assert found.code == 0, found
    assert (folder / "runs" / "m" / "last.onnx").exists()


def test_another_number_of_processes_resumes_a_run(folder: Path, whole: dict[str, bytes]) -> None:
    assert netdsl(2, *TRAIN, "--out", "run", "--epochs", "1", folder=folder).code == 0
    assert netdsl(1, *TRAIN, "--out", "run", "--epochs", "2", "--resume", folder=folder).code == 0
    found = netdsl(2, *TRAIN, "--out", "run", "--resume", "--set", "train.shards=2", folder=folder)
    assert found.code == 0, found
    assert f"run: resuming after step {STEPS * 2 // 3} of {STEPS}" in found.err
    assert results(folder / "run") == whole
    refused = netdsl(3, *TRAIN, "--out", "run", "--resume", "--epochs", "4", folder=folder)
    assert refused.code != 0
    assert refused.err.count("error[") == 1, refused
    assert "help: start 2 processes\n" in refused.err
    refused = netdsl(1, *TRAIN, "--out", "run", "--resume", "--set", "train.shards=4", folder=folder)
    assert "error[E0864]: a step has 2 shards according to " in refused.err


def test_a_run_keeps_its_shards_and_threads_even_without_a_checkpoint(folder: Path, whole: dict[str, bytes]) -> None:
    assert faulty("kill", 1, 5, folder=folder).code == 9
    assert not [*(folder / "run/checkpoints").iterdir()]
    found = netdsl(1, "train", "m.net", "--out", "run", "--resume", folder=folder)
    assert found.code == 0, found
    assert "in 2 shards" in found.err
    assert results(folder / "run") == whole


@pytest.mark.parametrize(
    ("fault", "rank", "at", "code", "message"),
    [
        ("bug", 1, 13, 1, "rank 1 (NODE):\nTraceback"),
        pytest.param("bug", 0, 13, 1, "rank 0 (NODE):\nTraceback", marks=pytest.mark.slow),
        pytest.param("bug", 1, 0, 1, "rank 1 (NODE):\nTraceback", marks=pytest.mark.slow),
        pytest.param("error", 1, 13, 1, "error[E0839]: rank 1 (NODE): the data end early\n", marks=pytest.mark.slow),
        ("error", 1, 0, 1, "error[E0839]: rank 1 (NODE): the data end early\n"),
        pytest.param("error", 0, 0, 1, "error[E0839]: the data end early\n", marks=pytest.mark.slow),
        pytest.param(
            "memory", 1, 13, 1, "error[E0615]: rank 1 (NODE): there is not enough memory\n", marks=pytest.mark.slow
        ),
        pytest.param("exit", 1, 13, 3, "rank 1 (NODE) has exited with code 3\n", marks=pytest.mark.slow),
        pytest.param("close", 1, 13, 1, "", marks=pytest.mark.slow),
        pytest.param("exit", 1, 0, 3, "rank 1 (NODE) has exited with code 3\n", marks=pytest.mark.slow),
        ("kill", 1, 13, 9, "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed"),
        pytest.param("infinite", 1, 13, 1, "the data are not finite: `x` of d.npz: x[", marks=pytest.mark.slow),
        pytest.param("full", 0, 13, 2, "error[E0606]: cannot write run/checkpoints/", marks=pytest.mark.slow),
    ],
)
def test_a_fault_of_a_rank_ends_all(
    fault: str, rank: int, at: int, code: int, message: str, folder: Path, whole: dict[str, bytes]
) -> None:
    found = faulty(fault, rank, at, "--checkpoint", "0", folder=folder)
    node = os.uname().nodename
    assert found.code == code, found
    assert (found.err + found.out).count(message.replace("NODE", node)) == 1 or fault == "close", found
    assert (found.err.count("error["), found.err.count("Traceback")) == (
        int("error[" in message or fault == "infinite"),
        int("Traceback" in message),
    )
    if fault == "infinite":
        assert f"(in rank 1 ({node}))" in found.err
    if not at:
        assert fault != "error" or not (folder / "run").exists()
        return
    resumed = netdsl(1, *TRAIN, "--out", "run", "--resume", folder=folder)
    assert resumed.code == 0, resumed
    assert "resuming after step" in resumed.err
    assert results(folder / "run") == whole


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_all_after_the_same_step(number: signal.Signals, folder: Path) -> None:
    words = "-m", "tests.support.mpi_program", "slow", 1, 0, *TRAIN, "--out", "run"
    process = started(2, *words, "--epochs", "500", folder=folder)
    wait_for(folder / "run" / "metrics.csv", lines=3)
    process.send_signal(number)
    found = Ended(process)
    assert found.code == 128 + number, found
    assert found.err.count("with a checkpoint; --resume continues") == 1, found
    step = int(found.err.split("stopped after step ")[1].split(" ")[0])
    resumed = netdsl(1, *TRAIN, "--out", "run", "--resume", "--epochs", step // 9 + 2, folder=folder)
    assert resumed.code == 0, resumed
    assert f"resuming after step {step}" in resumed.err
    shards = "--set", "train.shards=2"
    assert netdsl(1, *TRAIN, "--out", "whole", "--epochs", step // 9 + 2, *shards, folder=folder).code == 0
    assert (folder / "run/last.safetensors").read_bytes() == (folder / "whole/last.safetensors").read_bytes()


@pytest.mark.parametrize(("at", "signals"), [(0, 1), pytest.param(13, 2, marks=pytest.mark.slow)])
def test_a_signal_ends_all_before_the_first_step_and_a_second_one_at_any_time(
    at: int, signals: int, folder: Path
) -> None:
    words = "-m", "tests.support.mpi_program", "stop", 1, at, *TRAIN, "--out", "run"
    process = started(2, *words, folder=folder)
    wait_for(folder / "stopped")
    for _ in range(signals):
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
    found = Ended(process)
    assert found.code == (128 + signal.SIGTERM if at else signal.SIGTERM), found
    assert "Traceback" not in found.err


def wait_for(path: Path, lines: int = 0) -> None:
    """Wait until a file exists, and has a number of lines."""
    end = time.monotonic() + TIMEOUT
    while not path.exists() or path.read_text().count("\n") < lines:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((*TRAIN, "--out", "."), 2, "error[E0863]: . is not the folder of a run"),
        (("train", "n.net"), 2, "error[E0601]: there is no file n.net"),
        pytest.param((*TRAIN, "--set", "train.loss=nll"), 1, "error[E0", marks=pytest.mark.slow),
        pytest.param(
            (*TRAIN, "--set", 'train.data=npz "e.npz"'),
            2,
            "error[E0601]: there is no file e.npz",
            marks=pytest.mark.slow,
        ),
        (("train", "w.net", "--strict"), 1, "error[W0204]: "),
        pytest.param((*TRAIN, "--set", "train.shards=3"), 1, "error[E08", marks=pytest.mark.slow),
    ],
)
def test_all_ranks_fail_with_one_message(words: tuple[str, ...], code: int, message: str, folder: Path) -> None:
    found = netdsl(2, *words, folder=folder)
    assert found.err.count("error[") == found.err.count(message) == 1, found
    assert "rank 1" not in found.err
    assert (found.code, found.out) == (code, "")


def test_ranks_must_have_the_same_program_and_data(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    shutil.copy(folder / "m.net", other)
    shutil.copy(folder / "d.npz", other)
    folders = "import os; os.chdir('other' if os.environ['PMI_RANK'] == '1' else '.')"
    run = f"{folders}; from netdsl.cli import entry; entry()"
    same = launched(2, "-c", run, *TRAIN, "--out", "same", folder=folder)
    assert same.code == 0, same
    assert not (other / "same").exists()
    resumed = launched(2, "-c", run, *TRAIN, "--out", "same", "--resume", "--epochs", "4", folder=folder)
    assert resumed.code == 0, resumed
    assert f"resuming after step {STEPS} of" in resumed.err
    x = np.load(folder / "d.npz")
    np.savez(other / "d.npz", x=x["x"] + np.float32(1), y=x["y"])
    found = launched(2, "-c", run, *TRAIN, "--out", "run", folder=folder)
    assert found.code == 1, found
    assert "differs from rank 0" in found.err
    assert " in the training's `x`: " in found.err
    assert found.err.count("error[E0895]") == 1
    (other / "m.net").write_text(NET.replace("dense 16", "dense 17"))
    found = launched(2, "-c", run, *TRAIN, "--out", "run", folder=folder)
    assert (found.code, found.err.count("error[E0895]")) == (1, 1), found
    assert " in m.net: " in found.err
    (other / "d.npz").unlink()
    (other / "m.net").write_text(NET)
    found = launched(2, "-c", run, *TRAIN, "--out", "run", folder=folder)
    assert found.code == 2, found
    assert found.err == f"error[E0601]: rank 1 ({os.uname().nodename}): there is no file d.npz\n"
    assert not (folder / "run").exists()


def test_a_launcher_of_another_mpi_is_refused(folder: Path) -> None:
    command = [sys.executable, "-m", "netdsl", *TRAIN]
    environment = {**ENVIRONMENT, "OMPI_COMM_WORLD_SIZE": "2"}
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    assert found.returncode == 2
    assert found.stderr.startswith("error[E0896]: the launcher of Open MPI has started 2 processes, but ")
    assert "--distributed off" in found.stderr
    found = subprocess.run(
        [*command, "--distributed", "off"], cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert found.returncode == 0
    assert (folder / "runs" / "m" / "last.onnx").exists()


def test_each_process_trains_for_itself_if_that_is_asked_for(folder: Path) -> None:
    found = netdsl(2, *TRAIN, "--distributed", "off", folder=folder)
    assert found.code == 0, found
    assert {path.name for path in (folder / "runs").iterdir()} == {"m", "m-2"}
    assert results(folder / "runs" / "m") == results(folder / "runs" / "m-2")


FIT = r"""
import hashlib, sys, warnings
import numpy as np
from mpi4py import MPI
import netdsl

comm, fault = MPI.COMM_WORLD, sys.argv[1]
rng = np.random.default_rng(0)
x = rng.standard_normal((400, 8), np.float32)
y = (x.sum(1) > 0).astype("i8")
if fault == "data" and comm.rank == 1:
    x += 1
rows = []

def epoch(row):
    rows.append(row)
    if fault == "callbacks" or (fault == "callback" and comm.rank == 1):
        raise ValueError("mine")

options = dict(loss="cross_entropy", lr=1e30 if fault == "lr" else 0.1, batch=40, epochs=3, validate=0.1, threads=1)
if fault == "value" and comm.rank == 1:
    options["epochs"] = -1
if fault == "keyword" and comm.rank == 1:
    options["lrr"] = 1
if fault in ("out", "warning"):
    options |= dict(out="run", force=True)
net = netdsl.parse("net m { input x 8; dense 16; relu; dense 2 }")
for _ in range(2):
    try:
        found = net.fit(x, y, comm=comm, epoch=epoch, step_backend="plain", **options)
        digest = hashlib.sha256()
        for arrays in (found.weights, found.best):
            for name in sorted(arrays):
                digest.update(arrays[name].tobytes())
        print(f"{len(rows)} {digest.hexdigest()}\n", end="", flush=True)
        if fault == "warning":
            warnings.simplefilter("error")
            options |= dict(force=False, resume=True, threads=2)
    except (netdsl.UserError, netdsl.NetError, RuntimeWarning) as error:
        first = str(error).splitlines()[0]
        print(f"{comm.rank}: {type(error).__name__}: {first}\n", end="", flush=True)
        assert comm.allreduce(1) == comm.size
"""


def fitted(fault: str, folder: Path) -> Ended:
    return launched(2, "-c", FIT, fault, folder=folder)


@pytest.mark.parametrize("fault", ["none", pytest.param("out", marks=pytest.mark.slow)])
def test_processes_fit_from_python(fault: str, folder: Path) -> None:
    found = fitted(fault, folder)
    assert found.code == 0, found
    lines = sorted(line.split() for line in found.out.splitlines())
    assert [count for count, _ in lines] == ["3", "3", "6", "6"]
    assert len({digest for _, digest in lines}) == 1
    assert (folder / "run").exists() == (fault == "out")


@pytest.mark.parametrize(
    ("fault", "kinds", "message"),
    [
        ("data", ["RanksDiffer"] * 2, "in the training's `x`: "),
        pytest.param("value", ["RankRaised", "NetError"], "`epochs` must be", marks=pytest.mark.slow),
        pytest.param("lr", ["Diverged"] * 2, "the loss is ", marks=pytest.mark.slow),
        pytest.param("keyword", ["WrongArgumentType"] * 2, "unexpected keyword argument", marks=pytest.mark.slow),
    ],
)
def test_all_processes_raise_the_error_of_one(fault: str, kinds: list[str], message: str, folder: Path) -> None:
    found = fitted(fault, folder)
    assert found.code == 0, found
    lines = sorted(found.out.splitlines())[::2]
    assert [line.split(": ")[1] for line in lines] == kinds
    assert all(message in line for line in lines), found


def test_an_exception_after_the_training_does_not_leave_the_others_waiting(folder: Path) -> None:
    found = fitted("warning", folder)
    assert found.code == 0, found
    lines = [line.split(": ", 2) for line in sorted(found.out.splitlines()) if ": " in line]
    assert [words[:2] for words in lines] == [["0", "RuntimeWarning"], ["1", "RankRaised"]], found
    assert all("another threads than before" in words[2] for words in lines)


@pytest.mark.parametrize(("fault", "rank"), [("callback", 1), pytest.param("callbacks", 0, marks=pytest.mark.slow)])
def test_an_exception_of_a_program_within_the_training_ends_all(fault: str, rank: int, folder: Path) -> None:
    found = fitted(fault, folder)
    assert found.code == 1
    assert found.err.count("Traceback") == found.err.count("ValueError: mine") == 1
    assert f"rank {rank} ({os.uname().nodename}):" in found.err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="finds the processes in /proc")
def test_killed_at_any_moment_a_run_resumes_to_the_same_bits(folder: Path) -> None:
    options = (*TRAIN, "--epochs", "30", "--checkpoint", "0", "--set", "train.shards=4")
    assert netdsl(1, *options, "--out", "whole", folder=folder).code == 0
    expected, choices = results(folder / "whole"), random.Random(0)
    for number in range(20):
        run = folder / f"run{number}"
        process = started(2, "-m", "tests.support.mpi_program", "slow", 0, 0, *options, "--out", run, folder=folder)
        time.sleep(choices.uniform(1, 8))
        ranks = processes_with(str(run))
        if ranks:
            os.kill(choices.choice(ranks), signal.SIGKILL)
        assert Ended(process).code == (9 if ranks else 0)
        found = netdsl(choices.choice([1, 2, 4]), *options, "--out", run, "--resume", folder=folder)
        assert found.code == 0, found
        assert results(run) == expected, number


def processes_with(argument: str) -> list[int]:
    """Return the processes of Python that have an argument."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_text().split("\0")
            if argument in words and "python" in Path(words[0]).name:
                found.append(int(folder.name))
    return sorted(found)
