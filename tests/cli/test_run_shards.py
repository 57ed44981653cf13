"""`netdsl run` in parts: the shard of a cluster's job, the names of parts, parts that exist, killed runs, and that the
parts are the whole."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from netdsl.app.shards import Shard, UnknownShard, WrongOutputName, output_path, shard_from
from tests.support.cli_tools import Commands, environment, netdsl
from tests.support.run_parts import NETS, RNG, WITH_TABLE, X, arrays_of, foreign, in_parts, prepared

__all__ = ["netdsl"]

Environment = dict[str, str]


def array(number: object, count: object, first: object, last: object, step: object = 1) -> Environment:
    """The environment of a job of a SLURM array."""
    words = {"ID": number, "COUNT": count, "MIN": first, "MAX": last, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{word}": str(value) for word, value in words.items()}


def ranks(rank: int, size: int, names: str = "PMI_RANK PMI_SIZE") -> Environment:
    return dict(zip(names.split(), (str(rank), str(size)), strict=True))


OPEN_MPI = "OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE"
STEP = "SLURM_PROCID SLURM_STEP_NUM_TASKS"
BATCH_SCRIPT = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "77"}

FOUND: dict[str, tuple[Environment, tuple[int, int]]] = {
    "--array=0-15": (array(3, 16, 0, 15), (3, 16)),
    "--array=1-16": (array(16, 16, 1, 16), (15, 16)),
    "--array=10-30:5": (array(20, 5, 10, 30, 5), (2, 5)),
    "--array=7": (array(7, 1, 7, 7), (0, 1)),
    "an indexed job": ({"JOB_COMPLETION_INDEX": "2", "NETDSL_SHARDS": "4"}, (2, 4)),
    "MPICH": (ranks(1, 4), (1, 4)),
    "Open MPI": (ranks(3, 4, OPEN_MPI), (3, 4)),
    "srun": (ranks(5, 8, STEP), (5, 8)),
    "srun --mpi=pmi2": (ranks(5, 8, STEP) | ranks(5, 8), (5, 8)),
    "one rank": (ranks(0, 1), (0, 1)),
    "mpirun in a step of one task": (ranks(0, 1, STEP) | ranks(2, 4, OPEN_MPI), (2, 4)),
    "srun in an array": (array(2, 4, 0, 3) | ranks(3, 8, STEP), (2 * 8 + 3, 32)),
    "the batch script of an array": (array(2, 4, 1, 4) | BATCH_SCRIPT, (1, 4)),
    "a step of one task in an array": (array(2, 4, 1, 4) | ranks(0, 1, STEP), (1, 4)),
}


@pytest.mark.parametrize("case", FOUND)
def test_the_environment_tells_the_shard(case: str) -> None:
    variables, (i, n) = FOUND[case]
    shard, sources = shard_from(variables)
    assert (shard, set(sources.split(" and ")) <= set(variables)) == (Shard(i, n), True)


UNKNOWN: dict[str, tuple[Environment, str]] = {
    "nothing": ({}, "finds no shard in the environment"),
    "a batch script": (BATCH_SCRIPT, "finds no shard in the environment"),
    "--array=3,7": (array(3, 2, 3, 7), "the numbers of the SLURM array have gaps: 2 from 3 to 7"),
    "--array=1,2,9-12": (array(9, 6, 1, 12), "have gaps: 6 from 1 to 12"),
    "between two steps": (array(4, 3, 3, 7, 2), "so that number 4 tells no shard"),
    "outside": (array(9, 3, 3, 7, 2), "tells the shard 3 of 3"),
    "no step": (array(3, 2, 3, 3, 0), "have gaps"),
    "an old SLURM": ({"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_COUNT is not set"),
    "a word": (array("x", 2, 0, 1), "SLURM_ARRAY_TASK_ID is 'x', not a number"),
    "a pod": ({"JOB_COMPLETION_INDEX": "2"}, "Kubernetes tells it no number of pods"),
    "too few pods": ({"JOB_COMPLETION_INDEX": "4", "NETDSL_SHARDS": "4"}, "tells the shard 4 of 4"),
    "two launchers": (
        ranks(1, 2, STEP) | ranks(3, 4, OPEN_MPI),
        "OMPI_COMM_WORLD_RANK says 3/4, SLURM_PROCID says 1/2",
    ),
    "two ranks": (ranks(1, 4, STEP) | ranks(2, 4), "PMI_RANK says 2/4, SLURM_PROCID says 1/4"),
    "two arrays": (
        array(0, 2, 0, 1) | {"JOB_COMPLETION_INDEX": "1", "NETDSL_SHARDS": "2"},
        "SLURM_ARRAY_TASK_ID says 0/2, JOB_COMPLETION_INDEX says 1/2",
    ),
    "a negative rank": (ranks(-1, 4), "PMI_RANK is '-1', not a number"),
    "no ranks": (ranks(0, 0), "PMI_RANK tells the shard 0 of 0"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_shard_is_not_guessed(case: str) -> None:
    variables, said = UNKNOWN[case]
    with pytest.raises(UnknownShard) as caught:
        shard_from(variables)
    assert said in str(caught.value)
    assert "--shard I/N" in str(caught.value) or "NETDSL_SHARDS" in str(caught.value)


@pytest.mark.parametrize("step", [1, 2, 7])
def test_the_jobs_of_an_array_are_all_shards(step: int) -> None:
    numbers = range(5, 5 + 12 * step, step)
    found = [shard_from(array(number, 12, numbers[0], numbers[-1], step))[0] for number in numbers]
    assert found == [Shard(i, 12) for i in range(12)]


@pytest.mark.parametrize("count", [1, 9, 10, 1000, 12345])
def test_names_of_parts_sort_as_the_shards(count: int) -> None:
    names = [Shard(i, count).name for i in range(count)]
    assert names == sorted(names)
    assert len({len(name) for name in names}) == 1


def test_the_name_of_an_output() -> None:
    shard = Shard(3, 16)
    assert output_path("parts/{shard}.npz", shard) == "parts/003-of-016.npz"
    assert output_path("{shard}/{{x}}-{shard}.csv", shard) == "003-of-016/{x}-003-of-016.csv"
    assert output_path("{{shard}}.npz", shard) == "{shard}.npz"
    assert output_path("%s{}{{a.npz", None) == "%s{}{{a.npz"
    assert output_path("part0.npz", shard) == "part0.npz"
    assert output_path("-", shard, auto=True) == "-"
    for template, given, auto, said in (
        ("{shards}.npz", shard, False, "{shards} in {shards}.npz stands for nothing"),
        ("{}.npz", shard, False, "{} in {}.npz stands for nothing"),
        ("a{b.npz", shard, False, "{ in a{b.npz stands for nothing"),
        ("{shard}.npz", None, False, "add --shard auto"),
        ("out.npz", shard, True, "all shards would write out.npz"),
    ):
        with pytest.raises(WrongOutputName, match=said.replace("{", r"\{")):
            output_path(template, given, auto=auto)


# --- the parts are the whole ---------------------------------------------------------------------------------------


def rows_of(paths: list[Path]) -> list[list[str]]:
    tables = [list(csv.reader(path.read_text("utf-8").splitlines())) for path in paths]
    assert len({tuple(table[0]) for table in tables}) == 1
    return [row for table in tables for row in table[1:]]


@pytest.mark.parametrize("case", NETS)
def test_joined_parts_have_the_bits_of_the_whole(netdsl: Commands, case: str) -> None:
    line = prepared(netdsl, case)
    whole = netdsl("run", *line, "-o", "whole.npz", "--batch", 4)
    assert whole.code == 0, whole
    expected = {name: array.tobytes() for name, array in arrays_of([Path("whole.npz")]).items()}
    for count in (1, 3, 23, 40):
        paths = in_parts(netdsl, line, count, ".npz", "--batch", 4)
        assert len(paths) == count
        assert {name: array.tobytes() for name, array in arrays_of(paths).items()} == expected
        sizes = [len(next(iter(np.load(path).values()))) for path in paths]
        assert (sum(sizes), max(sizes) - min(sizes) <= 1) == (23, True)
    if case in WITH_TABLE:
        assert netdsl("run", *line, "-o", "whole.csv", "--batch", 4).code == 0
        rows = rows_of([Path("whole.csv")])
        assert [row[0] for row in rows] == [f"x.npz[{at}]" for at in range(23)]
        for count in (5, 40):
            assert rows_of(in_parts(netdsl, line, count, ".csv", "--batch", 4)) == rows


@pytest.mark.parametrize("shape", [("N", 6), (4, 6)])
def test_a_batch_is_that_of_the_whole_run(netdsl: Commands, shape: Any) -> None:
    """Even if all its examples count for each, as in a model that quantizes its activations."""
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    nodes = [helper.make_node("ReduceMax", ["x"], ["m"], axes=[0]), helper.make_node("Div", ["x", "m"], ["y"])]
    line = foreign(nodes, [y], shape)
    batch = () if shape[0] == 4 else ("--batch", 4)
    assert netdsl("run", *line, *batch, "-o", "whole.npz").code == 0
    (expected,) = arrays_of([Path("whole.npz")]).values()
    x = np.load("x.npy")
    np.testing.assert_array_equal(
        expected, np.concatenate([x[at : at + 4] / x[at : at + 4].max(0) for at in range(0, 23, 4)])
    )
    for count in (2, 5, 9, 30):
        (joined,) = arrays_of(in_parts(netdsl, line, count, ".npz", *batch)).values()
        assert joined.tobytes() == expected.tobytes()


def test_a_shard_below_a_batch_is_told(netdsl: Commands) -> None:
    line = prepared(netdsl, "classes")
    said = "the shard has 5 examples, but whole batches of 20 are computed: a smaller --batch is faster"
    assert said in netdsl("run", *line, "--shard", "0/4", "--batch", 20).err
    assert said not in netdsl("run", *line, "--shard", "0/4", "--batch", 5).err
    assert "smaller --batch" not in netdsl("run", *line).err


# --- parts that exist ----------------------------------------------------------------------------------------------

SUFFIXES = (".npz", ".csv", ".parquet")


@pytest.fixture(params=SUFFIXES)
def suffix(request: pytest.FixtureRequest) -> str:
    if request.param == ".parquet":
        pytest.importorskip("pyarrow")
    suffix: str = request.param
    return suffix


def test_a_finished_part_is_skipped(netdsl: Commands, suffix: str) -> None:
    line = prepared(netdsl, "classes")
    options = ("--shard", "1/3", "-o", f"parts/{{shard}}{suffix}", "--skip-done", "--batch", 4)
    part = Path(f"parts/001-of-003{suffix}")
    assert netdsl("run", *line, *options).out.count("\n") == 8
    before = part.stat().st_mtime_ns
    ran = netdsl("run", *line, *options)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[-1] == f"{part} exists: skipped"
    assert part.stat().st_mtime_ns == before
    part.unlink()
    assert netdsl("run", *line, *options).out.count("\n") == 8
    ran = netdsl("run", *line, *options[:-3], "--batch", 4)  # without --skip-done, it is computed again
    assert ran.out.count("\n") == 8
    assert part.stat().st_mtime_ns > before


def test_a_part_of_another_run_is_neither_skipped_nor_replaced(netdsl: Commands, suffix: str) -> None:
    line = prepared(netdsl, "classes")
    part = Path(f"part{suffix}")

    def again(*words: object, shard: str = "1/3") -> tuple[int, str]:
        ran = netdsl("run", *words, "--shard", shard, "-o", part, "--skip-done", "--batch", 4)
        assert (ran.code == 0) or ran.out == ""
        return ran.code, ran.err

    assert again(*line)[0] == 0
    written = part.read_bytes()
    np.savez("more.npz", x=np.concatenate([X, X]))
    np.savez("other.npz", x=X + 1)
    Path("x2.npz").write_bytes(Path("x.npz").read_bytes())
    model, inputs = "it was computed by another model", "it was computed from other inputs"
    cases: list[tuple[list[str], str, str]] = [
        (line, "0/3", "it is the shard 1/3, and this is 0/3"),
        (line, "1/4", "it is the shard 1/3, and this is 1/4"),
        (["n.net", "x.npz", "--seed", "2"], "1/3", model),
        (["n.net", "more.npz", "--seed", "1"], "1/3", inputs),
        (["n.net", "other.npz", "--seed", "1"], "1/3", inputs),
        (["n.net", "x2.npz", "--seed", "1"], "1/3", inputs),
    ]
    for words, shard, said in cases:
        code, err = again(*words, shard=shard)
        if suffix == ".csv":  # which has no place for the model
            assert (code, "its rows are not the examples of this run" in err) == (
                (0, False) if said == model else (2, True)
            )
        else:
            assert (code, f"error[E0636]: part{suffix} exists, but {said}" in err) == (2, True), err
        assert part.read_bytes() == written
    assert (
        netdsl("run", *line, "--shard", "0/3", "-o", part, "--skip-done", "--force", "--batch", 4).out.count("\n") == 7
    )
    assert part.read_bytes() != written


def test_a_file_that_is_no_whole_part_is_not_skipped(netdsl: Commands, suffix: str) -> None:
    line = prepared(netdsl, "classes")
    part = Path(f"part{suffix}")
    options = ("--shard", "1/3", "-o", part, "--skip-done", "--batch", 4)
    assert netdsl("run", *line, *options).code == 0
    written = part.read_bytes()
    for theirs in (b"something else", written[: len(written) // 2], written[: len(written) // 2] + written[-40:]):
        part.write_bytes(theirs)
        ran = netdsl("run", *line, *options)
        assert (ran.code, ran.out, "error[E0636]" in ran.err, part.read_bytes()) == (2, "", True, theirs)
    part.write_bytes(b"")  # reserved by mktemp
    assert netdsl("run", *line, *options).code == 0
    assert part.read_bytes() == written
    part.unlink()
    assert netdsl("run", *line, "-o", part, "--batch", 4).code == 0  # the whole, which does not say of what
    assert netdsl("run", *line, *options).code == 2


def test_a_part_without_examples_is_one(netdsl: Commands, suffix: str) -> None:
    line = prepared(netdsl, "classes")
    part = Path(f"part{suffix}")
    options = ("--shard", "0/40", "-o", part, "--skip-done", "--batch", 4)
    assert netdsl("run", *line, *options).code == 0
    assert "exists: skipped" in netdsl("run", *line, *options).err
    part.write_bytes(b"something else\n")
    assert netdsl("run", *line, *options).code == 2


def test_a_whole_run_is_skipped_too(netdsl: Commands, suffix: str) -> None:
    line = prepared(netdsl, "classes")
    for expected in (23, 0):
        ran = netdsl("run", *line, "-o", f"o{suffix}", "--skip-done")
        assert (ran.code, ran.out.count("\n")) == (0, expected)
    ran = netdsl("run", *line, "-o", f"o{suffix}", "--shard", "0/2")
    assert (ran.code, "E0636" in ran.err) == (2, True)


def test_shards_do_not_overwrite_each_other(netdsl: Commands, suffix: str) -> None:
    """A loop that forgets to name its parts; the same shard again is no mistake, also with other weights."""
    line = prepared(netdsl, "classes")
    for seed in (1, 2):
        assert netdsl("run", *line[:-1], seed, "--shard", "0/3", "-o", f"part{suffix}").code == 0
    ran = netdsl("run", *line, "--shard", "1/3", "-o", f"part{suffix}")
    assert (ran.code, ran.out, "error[E0636]" in ran.err) == (2, "", True)
    assert netdsl("run", *line, "--shard", "1/3", "-o", f"part{suffix}", "--force").code == 0


def test_parts_of_other_numbers_of_shards_are_not_mixed(netdsl: Commands, suffix: str) -> None:
    """As a glob of them would join them all: a rerun of jobs 3 and 4 of 16 by --array=3-4 is two shards."""
    line = prepared(netdsl, "classes")
    template = f"a[b]/{{shard}}-{{{{x}}}}{suffix}"
    assert netdsl("run", *line, "--shard", "3/16", "-o", template).code == 0
    assert [path.name for path in Path("a[b]").iterdir()] == [f"003-of-016-{{x}}{suffix}"]
    ran = netdsl("run", *line, "--shard", "1/2", "-o", template, "--skip-done")
    assert (ran.code, ran.out) == (2, "")
    assert f"this is shard 1/2, but a[b]/003-of-016-{{x}}{suffix} is a part of another number of shards" in ran.err
    assert netdsl("run", *line, "--shard", "4/16", "-o", template).code == 0
    assert netdsl("run", *line, "--shard", "1/2", "-o", template, "--force").code == 0


def test_the_weights_in_a_file_of_their_own_are_part_of_the_model(netdsl: Commands) -> None:
    prepared(netdsl, "classes")
    for seed, code in ((1, 0), (1, 0), (2, 2)):
        assert netdsl("compile", "n.net", "--seed", seed, "--external-data", "-o", "m.onnx").code == 0
        assert netdsl("run", "m.onnx", "x.npz", "-o", "p.npz", "--skip-done").code == code


def test_an_archive_of_a_whole_run_says_nothing(netdsl: Commands) -> None:
    line = prepared(netdsl, "classes")
    import zipfile

    comments = {}
    for name, options in (("whole.npz", ()), ("part.npz", ("--shard", "0/1"))):
        assert netdsl("run", *line, "-o", name, *options).code == 0
        with zipfile.ZipFile(name) as archive:
            comments[name] = archive.comment.decode()
    assert comments["whole.npz"] == "made by netdsl"
    said = json.loads(comments["part.npz"].removesuffix("made by netdsl"))
    assert (said["shard"], said["examples"]) == ("0/1", 23)


def test_auto_reads_the_environment_of_the_command(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*array(0, 0, 0, 0), *ranks(0, 0), *ranks(0, 0, OPEN_MPI), *ranks(0, 0, STEP), "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    line = prepared(netdsl, "classes")
    options = ("--shard", "auto", "-o", "parts/{shard}.npz", "--batch", 4)
    ran = netdsl("run", *line, *options)
    assert (ran.code, ran.out, "error[E0633]" in ran.err, Path("parts").exists()) == (2, "", True, False)
    for name, value in array(4, 3, 2, 4).items():
        monkeypatch.setenv(name, value)
    ran = netdsl("run", *line, *options)
    assert (ran.code, ran.out.count("\n")) == (0, 8)
    assert ran.err.startswith("shard 2/3, from SLURM_ARRAY_TASK_ID\n")
    assert Path("parts/002-of-003.npz").exists()
    ran = netdsl("run", *line, "--shard", "auto", "-o", "part.npz")
    assert (ran.code, "error[E0635]: all shards would write part.npz" in ran.err) == (2, True)
    assert netdsl("run", *line, "--shard", "auto", "--batch", 4).out.count("\n") == 8


def test_only_files_are_skipped(netdsl: Commands) -> None:
    line = prepared(netdsl, "classes")
    for output in ((), ("-o", "-")):
        ran = netdsl("run", *line, "--skip-done", *output)
        assert (ran.code, ran.out, "error[E0641]: --skip-done needs an output file" in ran.err) == (2, "", True)


def test_a_folder_that_cannot_be_made(netdsl: Commands) -> None:
    line = prepared(netdsl, "classes")
    Path("parts").touch()
    ran = netdsl("run", *line, "--shard", "0/2", "-o", "parts/{shard}.npz")
    assert (ran.code, ran.out, "error[E0606]: cannot write parts/000-of-002.npz" in ran.err) == (2, "", True)


# --- killed runs ---------------------------------------------------------------------------------------------------

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def begun(line: list[str], *options: str) -> subprocess.Popen[str]:
    """A run in the middle: it has printed a line, and waits until somebody reads those that the pipe cannot hold."""
    process = subprocess.Popen(
        [sys.executable, "-m", "netdsl", "run", *line, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("x.npy[0]  ")
    return process


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_no_part_and_the_next_one_cleans_up(
    netdsl: Commands, suffix: str, number: signal.Signals
) -> None:
    netdsl.write(n="net n { input x 6; dense 3; softmax }")
    np.save("x.npy", RNG.normal(0, 1, (20_000, 6)).astype(np.float32))
    line, options = ["n.net", "x.npy"], ["--shard", "0/2", "-o", f"parts/{{shard}}{suffix}", "--skip-done"]
    part, stranger = Path(f"parts/000-of-002{suffix}"), Path("parts/.netdsl-0123456789abcdef.tmp")
    process = begun(line, *options)
    stranger.touch()
    process.send_signal(number)
    process.communicate()
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    left = {path.name for path in Path("parts").iterdir()} - {stranger.name}
    assert len(left) == (number == signal.SIGKILL)
    assert all(name.endswith(".tmp") for name in left)
    assert netdsl("run", *line, *options).code == 0
    assert {*Path("parts").iterdir()} == {part, stranger}
    assert netdsl("run", *line, "-o", f"whole{suffix}").code == 0
    assert netdsl("run", *line, "--shard", "1/2", *options[2:]).code == 0
    if suffix == ".npz":
        assert (
            arrays_of(sorted(Path("parts").glob("*.npz")))["output"].tobytes()
            == np.load("whole.npz")["output"].tobytes()
        )


@posix
def test_a_living_run_keeps_its_file(netdsl: Commands) -> None:
    """Two jobs of the same shard, as after a requeue: the second removes nothing of the first, and both finish."""
    pytest.importorskip("fcntl")
    netdsl.write(n="net n { input x 6; dense 3; softmax }")
    np.save("x.npy", RNG.normal(0, 1, (20_000, 6)).astype(np.float32))
    line, options = ["n.net", "x.npy"], ["--shard", "0/2", "-o", "parts/{shard}.npz"]
    first = begun(line, *options)
    (temporary,) = Path("parts").iterdir()
    assert netdsl("run", *line, *options).code == 0
    part = Path("parts/000-of-002.npz").read_bytes()
    assert temporary.exists()
    assert first.communicate()[0].count("\n") == 9999
    assert first.returncode == 0
    assert [path.read_bytes() for path in Path("parts").iterdir()] == [part]
