"""What an operating system does to the commands that write: section H of docs/bad_inputs.md.

What a single file, a pair of files or a stream goes through is in test_files.py, test_external_data.py and
test_cli_process.py; here every command goes through it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.cli_tools import Commands, environment, netdsl

__all__ = ["netdsl"]

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals, limits and devices of POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="mounts of Linux")

NET = "net n { input x 3; dense 4096 }\n"
SLIP = f"# {'x' * 5000}\nnet s {{ input x 3; dens 64 }}\n"
"""What `check --fix` mends. Like all that is written here it needs more than the 4 KB that are left on a full disk."""

WRITERS = {
    "compile": ("compile n.net -o {}/m.onnx", ["m.onnx"]),
    "external data": ("compile n.net --external-data -o {}/m.onnx", ["m.onnx", "m.onnx.data"]),
    "run": ("run n.net x.npy -o {}/o.npz", ["o.npz"]),
    "fix": ("check --fix {}/s.net", ["s.net"]),
    "zoo": ("zoo copy efficientnet {}", ["efficientnet.net", "mobilenet_v2.net"]),
}
"""Command lines that write into a folder, and the files that they leave there."""

EVERY = pytest.mark.parametrize("writer", WRITERS)


def line(writer: str, folder: object) -> list[str]:
    return [word.format(folder) for word in shlex.split(WRITERS[writer][0])]


def prepare(folder: Path, *outputs: Path) -> None:
    """What the commands read, and in each output folder the file that is to be mended."""
    (folder / "n.net").write_text(NET)
    np.save(folder / "x.npy", np.ones((40, 3), np.float32))
    for output in outputs:
        output.mkdir(parents=True, exist_ok=True)
        (output / "s.net").write_text(SLIP)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def script(text: str, cwd: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """Lines of sh in which `netdsl` is ours, run by the program `before`."""
    command = f'netdsl() {{ "{sys.executable}" -m netdsl "$@"; }}\n{text}'
    return subprocess.run([*before, "sh", "-c", command], cwd=cwd, capture_output=True, text=True, env=environment())


# --- 90: folders ---------------------------------------------------------------------------------------------------


@posix
@EVERY
@pytest.mark.parametrize("folder", ["missing", "n.net", "/dev/null", "/proc", "/proc/self/fd/0"])
def test_a_bad_folder_is_found_before_the_work(
    netdsl: Commands, monkeypatch: pytest.MonkeyPatch, writer: str, folder: str
) -> None:
    def worked(*_: object, **__: object) -> None:
        raise AssertionError("the work had begun")

    for work in (
        "netdsl.app.compile.compile_net",
        "netdsl.backend.compile.compile_to_bytes",
        "netdsl.backend.session.Session",
    ):
        monkeypatch.setattr(work, worked)
    prepare(netdsl.folder)
    before = contents(netdsl.folder)
    ran = netdsl(*line(writer, folder))
    assert (ran.code, ran.out, contents(netdsl.folder)) == (2, "", before)
    assert folder in ran.err


# --- 91: full disks ------------------------------------------------------------------------------------------------


def mounted(options: str, text: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A script with a file system of its own at ./disk, which only it sees.

    Needs root, or a system that lets users have namespaces. Where there is neither, NETDSL_NO_MOUNT=1 leaves these
    tests out; the limit of a file's size is tried everywhere.
    """
    if os.environ.get("NETDSL_NO_MOUNT"):
        pytest.skip("NETDSL_NO_MOUNT is set")
    mount = f"mount -t tmpfs -o {options} none disk || {{ echo cannot mount; exit 99; }}\n{text}"
    user = ["-r"] if os.geteuid() else []
    done = script(mount, cwd, "unshare", "-m", *user)
    if "unshare: " in done.stderr or done.returncode == 99:
        pytest.fail(f"this needs a file system to mount, as root can; NETDSL_NO_MOUNT=1 leaves it out: {done}")
    return done


@linux
@EVERY
def test_a_full_disk_keeps_the_old_files_and_no_others(netdsl: Commands, writer: str) -> None:
    """One block is free: for the first of two files, or for the first bytes."""
    folder = netdsl.folder
    prepare(folder, folder / "old", folder / "disk")
    if writer != "fix" and writer != "zoo":
        assert netdsl(*line(writer, "old")).code == 0
    (folder / "left").mkdir()
    done = mounted(
        "size=1m",
        f"""cp old/* disk; cat /dev/zero >disk/rest; truncate -s -4096 disk/rest
        netdsl {shlex.join(line(writer, "disk"))}; code=$?; rm disk/rest; cp -r disk/. left; exit $code""",
        folder,
    )
    assert done.returncode == 2, done
    assert re.search(
        r"error\[E0606\]: cannot write disk/[\w.]+: (no space left on device|it takes [\d,]+ bytes, but only \d)",
        done.stderr,
    ), done
    assert "Traceback" not in done.stderr
    assert contents(folder / "left") == contents(folder / "old")


@linux
@pytest.mark.parametrize("words", ["", "--external-data", "--training --external-data", "--dtype f16"])
def test_free_space_is_looked_at_before_the_work(netdsl: Commands, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """1.6 TB; no disk of a test has as much."""

    def worked(*_: object, **__: object) -> None:
        raise AssertionError("the work had begun")

    for work in ("netdsl.app.compile.compile_net", "netdsl.backend.serialize._write_external"):
        monkeypatch.setattr(work, worked)
    train = 'train n { data npz "x.npz"; loss mse; optimizer sgd lr 1; batch 1; epochs 1 }'
    netdsl.write(n=f"net n {{ input x 640000; dense 640000 bias off }}\n{train}\n")
    ran = netdsl("compile", "n.net", *words.split(), "-o", "m.onnx")
    assert (ran.code, ran.out) == (2, "")
    count = 640_000**2 * (2 if "f16" in words else 4)
    found = re.search(
        r"E0606\]: cannot write m.onnx(?:.data)?: it takes ([\d,]+) bytes, but only ([\d,]+) are free\n", ran.err
    )
    assert found, ran.err
    assert int(found[1].replace(",", "")) == count
    assert [path.name for path in netdsl.folder.iterdir()] == ["n.net"]


@linux
def test_outputs_that_do_not_fit_are_refused_and_those_that_do_are_not(tmp_path: Path) -> None:
    """On a disk of 1 MB: models, outputs and a run's state, all of 4 bytes a number."""
    prepare(tmp_path, tmp_path / "disk")
    nets = {"fits": 200_000, "large": 300_000}
    for name, size in nets.items():
        text = f"net {name} {{ input x 1; dense {size} bias off }}"
        train = f'train {name} {{ data npz "{name}.npz"; loss mse; optimizer sgd lr 0.1; batch 1; steps 1 }}'
        (tmp_path / f"{name}.net").write_text(f"{text}\n{train}\n")
        np.savez(tmp_path / f"{name}.npz", x=np.ones((1, 1), np.float32), y=np.ones((1, size), np.float32))
    np.save(tmp_path / "one.npy", np.ones((1, 1), np.float32))
    calls = [
        *(f"compile {name}.net -o disk/m.onnx" for name in nets),
        *(f"compile {name}.net --external-data -o disk/m.onnx" for name in nets),
        *(f"run {name}.net one.npy -o disk/o.npz --top 1" for name in nets),
        "train large.net --out disk/run",
    ]
    lines = "\n".join(f"netdsl {call}; echo $? $(ls disk | wc -l); rm -rf disk/*" for call in calls)
    done = mounted("size=1m", lines, tmp_path)
    codes = [line.split() for line in done.stdout.splitlines() if not line.startswith("one.npy")]
    assert codes == [["0", "1"], ["2", "0"], ["0", "2"], ["2", "0"], ["0", "1"], ["2", "0"], ["2", "0"]], done
    assert len(re.findall(r"it takes 1,200,00[04] bytes, but only [\d,]+ are free", done.stderr)) == 4, done.stderr


@linux
def test_a_read_only_disk(tmp_path: Path) -> None:
    prepare(tmp_path, tmp_path / "disk")
    shutil.copy(tmp_path / "n.net", tmp_path / "disk")
    calls = "\n".join(f"netdsl {shlex.join(line(writer, 'disk'))}; echo $?" for writer in WRITERS)
    text = f"cp *.net s.txt disk; mount -o remount,ro disk\n{calls}\ncd disk; netdsl compile n.net; echo $?"
    (tmp_path / "s.txt").write_text(SLIP)
    done = mounted("size=1m", text.replace("s.txt disk", "disk; cp s.txt disk/s.net"), tmp_path)
    assert done.stdout.split() == ["2"] * 6, done
    said = re.findall(r"error\[E0606\]: cannot write ([\w./]+): (?:it is )?read-only", done.stderr)
    assert said == ["disk/m.onnx", "disk/m.onnx", "disk/o.npz", "disk/s.net", "disk/efficientnet.net", "n.onnx"]


@posix
@EVERY
def test_a_file_that_may_not_grow_keeps_the_old_files_and_no_others(netdsl: Commands, writer: str) -> None:
    folder = netdsl.folder
    prepare(folder, folder / "out")
    if writer != "fix" and writer != "zoo":
        assert netdsl(*line(writer, "out")).code == 0
    before = contents(folder / "out")
    done = script(f"ulimit -f 1; netdsl {shlex.join(line(writer, 'out'))}", folder)
    assert done.returncode == 2, done
    assert re.search(r"error\[E0606\]: cannot write out/[\w.]+: file too large\n", done.stderr), done
    assert contents(folder / "out") == before


@posix
def test_a_full_folder_of_temporary_files_is_named(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr("netdsl.app.archive.IN_MEMORY", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(netdsl.folder))
    prepare(netdsl.folder)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        ran = netdsl(*line("run", "."))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ran.code == 2
    assert f"error[E0617]: {netdsl.folder}: file too large\n" in ran.err
    assert contents(netdsl.folder).keys() == {"n.net", "x.npy"}


# --- 93: signals ---------------------------------------------------------------------------------------------------

HELD = """
import os, sys
def hold(_):
    os.write(2, b"written")
    sys.stdin.read()
os.fsync = hold
from netdsl.cli import main
raise SystemExit(main())
"""
"""A command that stops when all is written and nothing has its name yet."""


@posix
@EVERY
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_keeps_the_old_files(netdsl: Commands, writer: str, number: signal.Signals) -> None:
    folder = netdsl.folder
    prepare(folder, folder / "out")
    if writer != "fix" and writer != "zoo":
        assert netdsl(*line(writer, "out")).code == 0
    before = contents(folder / "out")
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, *line(writer, "out")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stderr is not None
    said = b""
    while not said.endswith(b"written"):
        said += (byte := process.stderr.read(1))
        assert byte, said
    process.send_signal(number)
    _, said = process.communicate()
    assert said == b""
    left = contents(folder / "out")
    if number == signal.SIGKILL:
        assert process.returncode == -number
        stale = {name for name in left if name.endswith(".tmp")}
        assert stale
        assert {name: left[name] for name in left.keys() - stale} == before
        assert netdsl(*line(writer, "out")).code == 0
        assert contents(folder / "out").keys() == {*before, *stale, *WRITERS[writer][1]}
    else:
        assert process.returncode == 128 + number
        assert left == before


# --- 94: streams, links, sources -----------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("netdsl summary xor >/dev/full", 2, "error[E0617]: the standard output: no space left on device"),
        ("netdsl summary xor >&-", 0, ""),
        ("netdsl zoo show xor >/dev/full", 2, "error[E0617]: the standard output: no space left on device"),
        ("{ netdsl summary vgg16; echo $? >&2; } | true", 0, "141\n"),
        ("{ netdsl zoo show resnet; echo $? >&2; } | true", 0, "141\n"),
        ("{ netdsl compile lenet5 -o -; echo $? >&2; } | true", 0, "141\n"),
        ("{ netdsl run n.net x.npy -o - 2>log; echo $? >&2; } | true", 0, "141\n"),
        ("netdsl run n.net x.npy -o /dev/full", 2, "cannot write /dev/full: no space left on device"),
        ("netdsl run n.net x.npy -o - >/dev/full", 2, "cannot write to the standard output: no space left on device"),
        ("netdsl run n.net x.npy -o /dev/null >&-", 0, "random weights"),
        ("netdsl check --fix - <s.net", 2, "error[E0622]: cannot edit standard input"),
        ("netdsl check --diff s.net >/dev/full", 2, "error[E0617]: the standard output: no space left on device"),
    ],
)
def test_streams(tmp_path: Path, text: str, code: int, said: str) -> None:
    prepare(tmp_path, tmp_path)
    done = script(text, tmp_path)
    assert done.returncode == code, done
    assert said in done.stderr if said else done.stderr == "", done
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert sorted(contents(tmp_path).keys() - {"log"}) == ["n.net", "s.net", "x.npy"]


@posix
def test_what_is_behind_a_link_is_written_and_the_link_stays(netdsl: Commands) -> None:
    folder = netdsl.folder
    prepare(folder, folder / "real")
    for name in ("s.net", "o.npz", "m.onnx"):
        os.symlink(f"real/{name}", name)
    os.symlink("real", "folder")
    for writer in ("compile", "run", "fix"):
        assert netdsl(*line(writer, ".")).code == 0
    assert netdsl("zoo", "copy", "xor", "folder").code == 0
    assert contents(folder / "real").keys() == {"s.net", "o.npz", "m.onnx", "xor.net"}
    assert all(os.path.islink(name) for name in ("s.net", "o.npz", "m.onnx", "folder"))
    assert "dense 64" in (folder / "real" / "s.net").read_text()


@pytest.mark.parametrize(
    "words",
    [
        "compile a.net -o a.net",
        "compile a.net:a -o a.net",
        "compile a.net -o b.net",
        "compile a.net -o hard",
        "compile a.net -o ./soft",
        "compile a.net -o b --external-data",
        "run a.net:a x.npy -o a.net",
        "run a.net x.npy -o b.net",
        "run a.net x.npy -o x.npy",
        "run a.net x.npy --labels l.txt -o l.txt",
    ],
)
def test_no_output_replaces_what_is_read(netdsl: Commands, words: str) -> None:
    netdsl.write(a='use "b.net"\nnet a { input x 3; b }\n', b="block b { relu }\n")
    np.save("x.npy", np.ones((1, 3), np.float32))
    Path("l.txt").write_text("a\nb\nc\n")
    os.link("a.net", "hard")
    os.symlink("b.net", "soft")
    os.symlink("b.net", "b.data")
    before = contents(netdsl.folder)
    ran = netdsl(*words.split(), "--force")
    assert (ran.code, contents(netdsl.folder)) == (2, before)
    assert "error[E0613]" in ran.err


@posix
@pytest.mark.parametrize("files", [5, 6, 7, 8, 10, 12])
def test_few_open_files_end_in_a_line(tmp_path: Path, files: int) -> None:
    prepare(tmp_path)
    np.savez(tmp_path / "d.npz", x=np.ones((4, 3), np.float32), y=np.ones((4, 2), np.float32))
    train = 'train t { data npz "d.npz"; loss mse; optimizer sgd lr 0.1; batch 2; epochs 1 }'
    (tmp_path / "t.net").write_text(f"net t {{ input x 3; dense 2 }}\n{train}\n")
    for command in ("check n.net", "compile n.net -o m.onnx", "run n.net x.npy -o o.npz", "train t.net --out run"):
        done = script(f"ulimit -n {files}; netdsl {command}", tmp_path)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0 or re.search(r"^error\[E\d{4}\]: ", done.stderr, re.MULTILINE), done


# --- 101: a working folder that is gone ----------------------------------------------------------------------------

GONE = {
    "check {}/n.net": 0,
    "check xor": 0,
    "check n.net": "E0601",
    "check ../n.net": "E0656",
    "check - <{}/n.net": "E0656",
    "check --root . {}/n.net": "E0656",
    "check --fix {}/s.net": 0,
    "summary {}/n.net": 0,
    "diff {}/n.net xor": 0,
    "compare {}/n.net xor": 0,
    "compare {}/n.net xor --plot c.svg": "E0656",
    "draw {}/n.net -o {}/n.svg": 0,
    "draw {}/n.net": "E0656",
    "filters lenet5": "E0656",
    "compile {}/n.net -o {}/m.onnx": 0,
    "compile {}/n.net": "E0656",
    "compile {}/n.net -o ../m.onnx": "E0656",
    "compile {}/n.net -o sub/m.onnx --external-data": "E0656",
    "compile {}/t.net --training": "E0656",
    "run {}/n.net {}/x.npy": 0,
    "run {}/n.net {}/x.npy -o o.npz": "E0656",
    "run {}/n.net x.npy": "E0601",
    "train {}/t.net": "E0606",
    "train {}/t.net --out {}/run": 0,
    "eval {}/t.net --weights w.npz": "E0601",
    "attack xor y.npy --label 1": "E0601",
    "zoo": 0,
    "zoo show xor": 0,
    "zoo copy xor": "E0656",
    "layers conv": 0,
    "explain E0310": 0,
    "devices": 0,
    "weights w.npz": "E0601",
    "view none.net --no-browser": "E0601",
    "completion bash": 0,
    "--version": 0,
}


@posix
@pytest.mark.parametrize("command", GONE)
def test_a_deleted_working_folder(tmp_path: Path, command: str) -> None:
    prepare(tmp_path, tmp_path)
    np.savez(tmp_path / "d.npz", x=np.ones((4, 3), np.float32), y=np.ones((4, 2), np.float32))
    train = 'train t { data npz "d.npz"; loss mse; optimizer sgd lr 0.1; batch 2; epochs 1 }'
    (tmp_path / "t.net").write_text(f"net t {{ input x 3; dense 2 }}\n{train}\n")
    (tmp_path / "gone").mkdir()
    done = script(f"cd gone; rmdir ../gone\nnetdsl {command.format(*[tmp_path] * 2)}", tmp_path)
    expected = GONE[command]
    assert "Traceback" not in done.stderr
    assert re.findall(r"error\[(\w+)\]", done.stderr) == ([expected] if expected else []), done
    assert done.returncode == (2 if expected else 0)
    assert not (tmp_path / "gone").exists()


@posix
@pytest.mark.parametrize("code", ["netdsl.load('xor')", "netdsl.fit", "netdsl.load('{}/n.net').save('{}/m.onnx')"])
def test_python_in_a_deleted_working_folder(tmp_path: Path, code: str) -> None:
    prepare(tmp_path)
    (tmp_path / "gone").mkdir()
    (tmp_path / "code.py").write_text(f"import netdsl\n{code.format(tmp_path, tmp_path)}\n")
    done = script(f'cd gone; rmdir ../gone\n"{sys.executable}" {tmp_path}/code.py', tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
