"""The recipes of examples/cluster: scripts and manifests do what a cluster would have them do, and Ray and Optuna run
theirs in an environment of their own: `pytest -m slow tests/cli/test_cluster_example.py`."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from netdsl.cli.parser import parse_arguments
from tests.support.cli_tools import MNIST, environment
from tests.support.paths import ROOT
from tests.support.walkthrough import checkout, follow

FOLDER = ROOT / "examples" / "cluster"
SCRIPTS = sorted(FOLDER.glob("*.sbatch"))
MANIFESTS = sorted(FOLDER.glob("*.yaml"))
TINY = """net n { input x 6; dense 5; relu; dense 3 }
train n { data npz "d.npz"; validate 0.25; loss cross_entropy; metric error; optimizer sgd lr 0.1; batch 8; epochs 3 }
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="the scripts are for POSIX")


def job(line: list[object], clone: Path, **variables: str) -> str:
    """What a command of a job prints."""
    path = f"{clone.parent / 'programs'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(word) for word in line],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(PATH=path, **variables),
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def data(folder: Path) -> None:
    rng = np.random.default_rng(0)
    (folder / "n.net").write_text(TINY)
    np.save(folder / "x.npy", rng.normal(0, 1, (100, 6)).astype(np.float32))
    np.savez(folder / "d.npz", x=rng.normal(0, 1, (80, 6)).astype(np.float32), y=rng.integers(0, 3, 80))


@posix
def test_the_page_prints_what_it_says(tmp_path: Path) -> None:
    _, wrong = follow(FOLDER / "README.md", checkout(tmp_path))
    assert wrong == []


@posix
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_one(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text("utf-8")
    options = re.findall(r"^#SBATCH (--[\w-]+)=\S+$", text, re.MULTILINE)
    assert len(options) == text.count("#SBATCH")
    assert {"--cpus-per-task", "--time", "--output"} <= {*options}


@posix
def test_the_array_is_the_whole_run_and_resumes(tmp_path: Path) -> None:
    clone = checkout(tmp_path)
    data(clone)
    assert re.search(r"^#SBATCH --array=\d+-\d+$", (FOLDER / "infer.sbatch").read_text("utf-8"), re.MULTILINE)
    words = {"COUNT": 3, "MIN": 5, "MAX": 7, "STEP": 1}
    array = {f"SLURM_ARRAY_TASK_{word}": str(value) for word, value in words.items()} | {"SLURM_CPUS_PER_TASK": "1"}
    job(["netdsl", "compile", "n.net", "-o", "m.onnx", "-q"], clone)
    job(["netdsl", "run", "m.onnx", "x.npy", "-o", "whole.npz"], clone)
    line = ["bash", FOLDER / "infer.sbatch", "m.onnx", "x.npy", "parts"]
    for number in (5, 6, 7):
        job(line, clone, SLURM_ARRAY_TASK_ID=str(number), **array)
    parts = sorted((clone / "parts").iterdir())
    assert [part.name for part in parts] == [f"{i:03}-of-003.npz" for i in range(3)]
    joined = np.concatenate([np.load(part)["output"] for part in parts])
    assert joined.tobytes() == np.load(clone / "whole.npz")["output"].tobytes()
    parts[2].unlink()
    said = [job(line, clone, SLURM_ARRAY_TASK_ID=number, **array) for number in "67"]
    assert ["skipped" in text for text in said] == [True, False]
    assert parts[2].exists()


SRUN = """#!/bin/sh
echo "srun $@" >> srun.log
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""


@posix
def test_the_training_begins_and_resumes(tmp_path: Path) -> None:
    clone = checkout(tmp_path)
    data(clone)
    srun = tmp_path / "programs" / "srun"
    srun.write_text(SRUN)
    srun.chmod(0o755)
    line = ["bash", FOLDER / "train.sbatch", "n.net", "runs/n"]
    job(line, clone, SLURM_CPUS_PER_TASK="1")
    assert (clone / "runs" / "n" / "best.onnx").exists()
    job(line, clone, SLURM_CPUS_PER_TASK="1", MPI="pmix")
    train = "netdsl train n.net --out runs/n --threads 1"
    assert (clone / "srun.log").read_text().splitlines() == [
        f"srun --mpi=pmi2 --cpus-per-task=1 {train}",
        f"srun --mpi=pmix --cpus-per-task=1 {train} --resume",
    ]


def words(manifest: Path) -> list[str]:
    """The command of a container: the items of the first list `command`."""
    (items,) = re.findall(r"^ +command:\n((?: +- .*\n)+)", manifest.read_text("utf-8"), re.MULTILINE)
    return [item.partition("  #")[0].strip().removeprefix("- ").strip('"') for item in items.splitlines()]


@posix
def test_the_pods_are_the_whole_run(tmp_path: Path) -> None:
    text = (FOLDER / "infer-job.yaml").read_text("utf-8")
    (completions,) = re.findall(r"^  completions: (\d+)$", text, re.MULTILINE)
    assert re.findall(r'- name: (\w+) .*\n +value: "(\d+)"', text) == [("NETDSL_SHARDS", completions)]
    assert "completionMode: Indexed" in text
    clone = checkout(tmp_path)
    data(clone)
    job(["netdsl", "compile", "n.net", "-o", "digits.onnx", "-q"], clone)
    (clone / "x.npy").rename(clone / "images.npy")
    line = [word.replace("/data", ".") for word in words(FOLDER / "infer-job.yaml")]
    for index in "012":
        job(line, clone, JOB_COMPLETION_INDEX=index, NETDSL_SHARDS="3")
    job(["netdsl", "run", "digits.onnx", "images.npy", "-o", "whole.npz"], clone)
    joined = np.concatenate([np.load(part)["output"] for part in sorted((clone / "parts").iterdir())])
    assert joined.tobytes() == np.load(clone / "whole.npz")["output"].tobytes()


def test_the_launcher_has_a_rank_for_each_slot() -> None:
    text = (FOLDER / "train-mpijob.yaml").read_text("utf-8")
    launcher, replicas = map(int, re.findall(r"^      replicas: (\d+)$", text, re.MULTILINE))
    (slots,) = re.findall(r"^  slotsPerWorker: (\d+)$", text, re.MULTILINE)
    mpirun, n, ranks, program, *line = words(FOLDER / "train-mpijob.yaml")
    assert (launcher, mpirun, n, int(ranks), program) == (1, "mpirun", "-n", replicas * int(slots), "netdsl")
    assert parse_arguments(line).name == "train"


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_is_yaml(manifest: Path) -> None:
    document = pytest.importorskip("yaml").safe_load(manifest.read_text("utf-8"))
    assert document.keys() == {"apiVersion", "kind", "metadata", "spec"}
    containers = list(found(document, "containers"))
    assert all(isinstance(container["image"], str) for each in containers for container in each)
    assert [container["command"] for each in containers for container in each if "command" in container] == [
        words(manifest)
    ]
    mounted = {mount["name"] for mounts in found(document, "volumeMounts") for mount in mounts}
    assert mounted == {volume["name"] for volumes in found(document, "volumes") for volume in volumes}


def found(value: object, key: str) -> Iterator[list[dict[str, object]]]:
    """The values of a key, at any depth."""
    for name, each in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        if name == key:
            yield each
        yield from found(each, key)


# --- Ray and Optuna ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Python in an environment with netdsl, Ray and Optuna, about 800 MB, removed at the end."""
    folder = tmp_path_factory.mktemp("cluster")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, "download", "--no-deps", "--dest", folder, "optuna"]).returncode:
        pytest.skip("pip reaches no index")
    subprocess.run([*pip, "install", "ray[data]", "optuna", ROOT], check=True)
    yield python
    shutil.rmtree(folder)


@pytest.mark.slow
@posix
def test_ray_has_the_bits_of_run(python: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    raw = gzip.decompress((MNIST / "t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(raw, "u1", offset=16).reshape(-1, 1, 28, 28)
    np.save(tmp_path / "images.npy", images)
    weights = ["--weights", str(MNIST / "lenet5.safetensors")]
    recipe = [python, FOLDER / "ray_infer.py", "lenet5"]
    clone = checkout(tmp_path)
    job([*recipe, tmp_path / "images.npy", tmp_path / "scores", *weights], clone)
    job(["netdsl", "run", "lenet5", tmp_path / "images.npy", *weights, "-o", "whole.npz"], clone)
    expected = np.load(clone / "whole.npz")["output"]
    table = parquet.read_table(tmp_path / "scores").sort_by("id")
    assert table["id"].to_pylist() == list(range(10_000))
    assert rows_of(table["output"]).tobytes() == expected.tobytes()

    write_lists(tmp_path / "images.parquet", images[:300])
    job([*recipe, tmp_path / "images.parquet", tmp_path / "again", *weights, "--batch", 70], clone)
    table = parquet.read_table(tmp_path / "again").sort_by("id")
    assert table["id"].to_pylist() == list(range(300))
    assert rows_of(table["output"])[::-1].tobytes() == expected[:300].tobytes()


def rows_of(column: object) -> np.ndarray:
    return np.array(column.to_pylist(), np.float32)


def write_lists(path: Path, images: np.ndarray) -> None:
    """Write images as lists in lists, with the identifiers in the reverse order."""
    from pyarrow import parquet, table

    ids = np.arange(len(images))[::-1]
    parquet.write_table(table({"id": ids, "image": images.tolist()}), path, row_group_size=50)


@pytest.mark.slow
@posix
def test_ray_does_not_wait_for_ever(python: Path, tmp_path: Path) -> None:
    clone = checkout(tmp_path)
    data(clone)
    line = [python, FOLDER / "ray_infer.py", "n.net", "x.npy", "scores", "--workers", "100000"]
    done = subprocess.run(line, cwd=clone, capture_output=True, text=True, env=environment())
    assert (done.returncode, "the workers leave no CPU" in done.stderr) == (2, True), done.stderr


@pytest.mark.slow
@posix
def test_a_sweep_resumes(python: Path, tmp_path: Path) -> None:
    import sqlite3

    clone = checkout(tmp_path)
    data(clone)
    for trials in (3, 4, 4):
        said = job([python, FOLDER / "sweep.py", "n.net", "--trials", trials], clone)
        assert f"best of {trials}: 0." in said
        with closing(sqlite3.connect(clone / "sweep" / "sweep.db")) as database:
            states = [state for (state,) in database.execute("select state from trials")]
        assert len(states) == trials
        assert {*states} <= {"COMPLETE", "PRUNED"}
    assert {path.name for path in (clone / "sweep").iterdir()} == {"sweep.db", *(f"trial-{at}" for at in range(4))}
