"""`benchmarks/gpu.sh` and `benchmarks.gpu`: failures are remarks, and the script refuses what it cannot run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from threading import active_count
from time import sleep

import pytest

from benchmarks import gpu
from benchmarks.gpu_nets import NETS, SMOKE

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"

bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")

SERVE = """
import json, sys
print("a line of a library")
for line in sys.stdin:
    print(json.dumps({"seconds": [9.0, 0.025, 0.025]}), flush=True)
"""


def contestant(name: str, code: str) -> tuple[str, str, str, list[str]]:
    return "training", "f32", name, [sys.executable, "-c", code]


def results(
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    *contestants: tuple[str, str, str, list[str]],
    jobs: int = 4,
    rounds: int = 2,
) -> str:
    monkeypatch.setattr(gpu, "contestants", lambda *_: iter(contestants))
    monkeypatch.setattr(gpu, "TURN", 0.05)
    arguments = ["resnet50", "--seconds", str(seconds), "--rounds", str(rounds), "--jobs", str(jobs)]
    found = {"resnet50": gpu.contest("resnet50", gpu.options(arguments))}
    assert json.loads(json.dumps(found)) == found
    return gpu.table(found)


def test_failures_are_remarks_below_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    text = results(
        monkeypatch,
        100,
        contestant("netdsl", SERVE),
        contestant("eager", SERVE.replace("0.025", "0.05")),
        contestant("channels_last", "raise SystemExit('no GPU here')"),
    )
    assert "0.50 ×" in text
    assert "25.00 ms" in text
    assert text.endswith("resnet50, training, f32, channels_last: no GPU here")


IGNORE = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""

FORK = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
time.sleep(600)
"""
"""A process of a compiler that holds the pipes open."""

HANG_LATER = """
import sys, time
print('{"seconds": [9.0, 0.025, 0.025]}', flush=True)
time.sleep(600)
"""

FLOOD = "import sys\nwhile True: sys.stderr.write('x' * 999); print('y' * 999)"


@pytest.mark.parametrize("code", [IGNORE, FORK, FLOOD])
def test_a_contestant_that_is_not_ready_in_time_is_ended(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    text = results(monkeypatch, 0, contestant("compiled", code))
    assert text.endswith("resnet50, training, f32, compiled: not ready in time")


@pytest.mark.slow
def test_contestants_that_hang_are_ended_with_what_they_started(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = {"eager": IGNORE, "channels_last": FORK, "compiled": FLOOD, "later": HANG_LATER, "netdsl": SERVE}
    threads = active_count()
    text = results(monkeypatch, 30, *(contestant(name, code) for name, code in codes.items()), jobs=5)
    assert active_count() == threads  # readers end when nobody holds the pipes open
    assert "25.00 ms" in text
    late, long = "not ready in time", "took too long"
    remarks = {"eager": late, "channels_last": late, "compiled": late, "later": long}
    assert text.splitlines()[-4:] == [f"resnet50, training, f32, {name}: {said}" for name, said in remarks.items()]


@pytest.mark.slow
def test_many_that_hang_leave_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = [contestant(name, IGNORE) for name in ("eager", "channels_last", "compiled") * 3]
    text = results(monkeypatch, 30, *hanging, contestant("netdsl", SERVE), jobs=3)
    assert "25.00 ms" in text
    assert text.count("not ready in time") == 3


@pytest.mark.parametrize(
    ("code", "remark"),
    [
        ("raise SystemExit('no GPU here')", "no GPU here"),
        ("raise SystemExit('x' * 10**7)", "x" * 300),
        ("import os; os.kill(os.getpid(), 9)", "ended with exit code -9"),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\n')", "ended with exit code 0"),
        ("print('{garbage', flush=True); import time; time.sleep(600)", "printed no times"),
        ("print('{}', flush=True); import time; time.sleep(600)", "printed no times"),
        ("print('{\"seconds\": [1]}', flush=True); import time; time.sleep(600)", "printed no times"),
        ("print('{\"seconds\": [1, 0, NaN]}', flush=True); import time; time.sleep(600)", "printed no times"),
    ],
)
def test_a_contestant_that_fails_is_a_remark(monkeypatch: pytest.MonkeyPatch, code: str, remark: str) -> None:
    text = results(monkeypatch, 600, contestant("compiled", code), contestant("netdsl", SERVE))
    assert "25.00 ms" in text
    assert text.endswith(f"resnet50, training, f32, compiled: {remark}")


def test_a_command_that_cannot_start_is_a_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    text = results(monkeypatch, 600, ("training", "f32", "eager", [str(ROOT / "nowhere")]), contestant("netdsl", SERVE))
    assert "25.00 ms" in text
    assert "eager: does not start: " in text


@pytest.mark.slow
def test_what_was_measured_counts_if_time_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns are not begun rather than cut off."""
    slow = SERVE.replace("print(json", "import time; time.sleep(1); print(json").replace("0.025, 0.025", "1.0, 1.0")
    text = results(monkeypatch, 15, contestant("netdsl", slow), rounds=100)
    assert "1000.00 ms" in text
    assert "took too long" not in text


def test_tests_have_a_limit_for_what_they_start_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    test = tmp_path / "test_hanging.py"
    test.write_text(f"import subprocess, sys, pytest\n@pytest.mark.gpu\ndef test(): exec({FORK!r})\n", "utf-8")
    monkeypatch.setattr(gpu, "TESTS", (str(test),))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)  # Options of this project's plugins are unknown there.
    assert gpu.tests(3) == "took more than 3 s"


def test_a_signal_ends_the_contest_with_a_table(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"import os; open({str(pids)!r}, 'a').write(str(os.getpid()) + chr(10))" + IGNORE
    script = tmp_path / "contest.py"
    script.write_text(
        f"""import sys
from benchmarks import gpu
gpu.contestants = lambda *_: iter([("training", "f32", "netdsl", [sys.executable, "-c", {code!r}])])
gpu.main(["--provider", "cpu", "--smoke", "--test-seconds", "0", "--seconds", "600", "resnet50"])
""",
        "utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NETDSL_TORCH_PYTHON": ""}
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        while not (pids.exists() and pids.read_text("utf-8").endswith("\n")):
            assert process.poll() is None
            sleep(0.02)
        process.terminate()
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + 15
    assert printed.splitlines()[-1].split()[:4] == ["net", "what", "type", "netdsl"]


def test_smoke_nets_have_the_names_of_the_nets() -> None:
    assert SMOKE.keys() == NETS.keys()
    for name, small in SMOKE.items():
        x, target = small.data()
        assert len(x) == len(target) == small.batch < NETS[name].batch


@bash
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--provider", "rocm"], "the provider is cuda or cpu, not rocm"),
        (["--provider"], "--provider needs a value"),
        (["--wheels", "nowhere"], "there is no folder nowhere"),
        (["--color"], "unknown argument --color; --help lists them"),
        (["--provider", "cuda"], "nvidia-smi"),
    ],
)
def test_the_script_says_what_is_missing(arguments: list[str], said: str) -> None:
    if said == "nvidia-smi" and shutil.which(said):
        pytest.skip("a GPU is here")
    ran = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr
    assert ran.stderr.startswith("gpu.sh: ")


@bash
def test_the_script_describes_itself() -> None:
    ran = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "--smoke" in ran.stdout
    assert "set -" not in ran.stdout
