"""`benchmarks/gpu.sh` and `benchmarks.gpu`: failures are remarks, and the script refuses what it cannot run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

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
    print(json.dumps({"seconds": [9.0, 0.25, 0.25]}), flush=True)
"""


def contestant(name: str, code: str) -> tuple[str, str, str, list[str]]:
    return "training", "f32", name, [sys.executable, "-c", code]


def results(monkeypatch: pytest.MonkeyPatch, seconds: int, *contestants: tuple[str, str, str, list[str]]) -> str:
    monkeypatch.setattr(gpu, "contestants", lambda *_: iter(contestants))
    given = gpu.options(["resnet50", "--seconds", str(seconds), "--rounds", "2", "--jobs", "4"])
    found = {"resnet50": gpu.contest("resnet50", given)}
    assert json.loads(json.dumps(found)) == found
    return gpu.table(found)


def test_failures_are_remarks_below_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    text = results(
        monkeypatch,
        100,
        contestant("netdsl", SERVE),
        contestant("eager", SERVE.replace("0.25", "0.5")),
        contestant("channels_last", "raise SystemExit('no GPU here')"),
    )
    assert "0.50 ×" in text
    assert "250.00 ms" in text
    assert text.endswith("resnet50, training, f32, channels_last: no GPU here")


def test_a_contestant_that_is_not_ready_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    text = results(monkeypatch, 0, contestant("compiled", "import time; time.sleep(600)"))
    assert text.endswith("resnet50, training, f32, compiled: not ready in time")


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
