"""The environment of a command: moved data, other writers, locales and folders, little memory, missing packages.

Rows 95 to 100 of docs/bad_inputs.md; rows 90 to 94 are in test_os.py.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from netdsl.cli import check, main
from tests.cli.test_os import EVERY, WRITERS, contents, line, posix, prepare, script
from tests.support.cli_tools import MNIST, ROOT, Commands, Ran, environment, netdsl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["netdsl"]

# --- 95: a model and its data --------------------------------------------------------------------------------------


def test_a_model_moves_with_its_data(netdsl: Commands) -> None:
    prepare(netdsl.folder, netdsl.folder / "a")
    assert netdsl(*line("external data", "a")).code == 0
    there = netdsl("run", "a/m.onnx", "x.npy")
    os.rename("a", "b \u00fc")
    moved = netdsl("run", "b \u00fc/m.onnx", "x.npy")
    assert (there.code, moved.code, moved.out) == (0, 0, there.out)


DAMAGES = {
    "removed": os.unlink,
    "cut": lambda path: os.truncate(path, 5000),
    "empty": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_model_without_all_of_its_data_is_told(netdsl: Commands, damage: str) -> None:
    prepare(netdsl.folder)
    assert netdsl(*line("external data", ".")).code == 0
    DAMAGES[damage]("m.onnx.data")
    ran = netdsl("run", "m.onnx", "x.npy", "-o", "o.npz")
    assert ran.code in (1, 2)
    assert re.match(r"error\[E\d+\]: .*m\.onnx", ran.err), ran
    assert not os.path.exists("o.npz")
    assert netdsl(*line("external data", ".")).code == 0  # where the data are none of ours any more, or gone
    onnx.checker.check_model("m.onnx")


def test_longer_data_are_cut(netdsl: Commands) -> None:
    prepare(netdsl.folder)
    assert netdsl(*line("external data", ".")).code == 0
    fresh = contents(netdsl.folder)
    with open("m.onnx.data", "ab") as file:
        file.write(b"stale" * 10_000)
    assert netdsl(*line("external data", ".")).code == 0
    assert contents(netdsl.folder) == fresh


# --- 96: two writers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [[], ["--external-data"]])
def test_of_several_compilers_one_wins_whole(netdsl: Commands, form: list[str]) -> None:
    netdsl.write(n="net n { input x 1000; dense 1000 }")
    wanted = []
    for seed in ("1", "2", "3"):
        assert netdsl("compile", "n.net", "-o", "m.onnx", "--seed", seed, *form).code == 0
        wanted.append(contents(netdsl.folder))
    command = [sys.executable, "-m", "netdsl", "compile", "n.net", "-q", "-o", "m.onnx", *form, "--seed"]
    processes = [subprocess.Popen([*command, seed], env=environment()) for seed in ("1", "2", "3")]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert contents(netdsl.folder) in wanted


# --- 97: environments ----------------------------------------------------------------------------------------------

SEVERAL = """
import os, shlex, sys
from netdsl.cli import main
for line in os.fsdecode(sys.stdin.buffer.read()).split("\\0"):
    if code := main(shlex.split(line)):
        raise SystemExit(code)
"""

PLACES = {
    "plain": ("plain", {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"}),
    "odd": ("a b\n\u00fc '\U0001f980", {"PYTHONHASHSEED": "7", "TZ": "Pacific/Kiritimati", "LC_ALL": "C"}),
    "ascii": ("-\u00e9", {"PYTHONHASHSEED": "99", "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
}


@posix
def test_all_files_are_the_same_anywhere(tmp_path: Path) -> None:
    """In other folders, with other names, locales, hash seeds and time zones, and without a home."""
    found = []
    for name, changes in PLACES.values():
        folder = tmp_path / name / "out"
        folder.mkdir(parents=True)
        prepare(tmp_path / name, folder)
        kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")}
        lines = [shlex.join(line(writer, "./out" if name == "plain" else folder)) for writer in WRITERS]
        done = subprocess.run(
            [sys.executable, "-c", SEVERAL],
            input="\0".join([*lines, "summary n.net --format json"]).encode(),
            capture_output=True,
            cwd=tmp_path / name,
            env={**kept, "PYTHONPATH": str(ROOT), **changes},
        )
        assert done.returncode == 0, done
        assert b"Traceback" not in done.stderr
        found.append((contents(folder), done.stdout))
    assert {*found[0][0]} == {name for _, names in WRITERS.values() for name in names}
    assert found[1] == found[0]
    assert found[2] == found[0]


@pytest.mark.parametrize("name", ["a b", "a\nb", "\u00fc\U0001f980", "-o", "--", "a'b\"c", "%s{}", "\x1b[31m", "a=b"])
@EVERY
def test_odd_folders(netdsl: Commands, writer: str, name: str) -> None:
    if os.name == "nt" and not name.isprintable():
        pytest.skip("no such names there")
    prepare(netdsl.folder, netdsl.folder / name)
    ran = netdsl(*line(writer, f"./{name}" if name.startswith("-") else name))
    assert ran.code == 0, ran
    assert contents(netdsl.folder / name).keys() == {"s.net", *WRITERS[writer][1]}
    assert "\x1b" not in ran.err
    assert not any(part and "n" not in part for part in ran.err.split("\n")), ran.err  # a name makes no line of its own


# --- 98: flags -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("compile n.net --ouptut m.onnx", "there is no option --ouptut; did you mean --output?"),
        ("check --fxi s.net", "there is no option --fxi; did you mean --fix?"),
        ("zoo copy xor --force", "there is no option --force"),
        ("check s.net --\x1b[31m\u202e", r"there is no option --\x1b[31m\u202e"),
        ("zoo copy xor . \x1b", r"copy xor . \x1b; use"),
        ("compile n.net \x1b", r"unexpected argument \x1b"),
        ("compile n.net -o", "argument -o/--output: expected one argument"),
        ("run n.net x.npy --top", "argument --top: expected one argument"),
        ("summary n.net --depth", "argument --depth: expected one argument"),
        ("compile n.net -o a.onnx -o b.onnx", "argument -o/--output: is given twice"),
        ("compile n.net -o a.onnx --output b.onnx", "argument -o/--output: is given twice"),
        ("compile n.net --opset 21 --opset 21", "argument --opset: is given twice"),
        ("compile n.net --force --force", "argument --force: is given twice"),
        ("run n.net x.npy --batch 1 --batch 2", "argument --batch: is given twice"),
        ("summary n.net --format text --format csv", "argument --format: is given twice"),
        ("check s.net --fix --fix", "argument --fix: is given twice"),
        ("check s.net --fix --quiet --verbose", "-v/--verbose: not allowed with argument -q/--quiet"),
        ("compile n.net -v -q", "-q/--quiet: not allowed with argument -v/--verbose"),
        ("zoo copy xor . --format csv", "zoo copy prints no table"),
    ],
)
def test_flags(netdsl: Commands, words: str, said: str) -> None:
    prepare(netdsl.folder, netdsl.folder)
    before = contents(netdsl.folder)
    ran = netdsl(*words.split())
    assert (ran.code, ran.out, contents(netdsl.folder)) == (2, "", before)
    assert ran.err.startswith("usage: netdsl ")
    assert said in ran.err


def test_what_makes_a_list_may_be_given_again(netdsl: Commands) -> None:
    netdsl.write(n="net n(a = 1, b = 1) { input x 3; dense a * b }")
    ran = netdsl("compile", "n.net", "--set", "a=2", "--set", "b=2", "--metadata", "k=1", "--metadata", "l=2")
    assert ran.code == 0, ran


# --- 99: memory ----------------------------------------------------------------------------------------------------


@posix
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not limit memory")
def test_too_little_memory_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "n.net").write_text("net n { input x 65536; dense 8000 init zeros bias off }")  # 2.1 GB of weights
    np.save(tmp_path / "x.npy", np.zeros((1, 65536), np.float32))
    text = "export OPENBLAS_NUM_THREADS=1; ulimit -v 1000000; netdsl run n.net x.npy --threads 1 -o o.npz"
    done = script(text, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error[E0615]: there is not enough memory\n" in done.stderr, done
    assert contents(tmp_path).keys() == {"n.net", "x.npy"}


NATIVE_CRASHES = {127, 134, 137, 139, 128 + 24}
"""How native code ends a process that has too little memory, before any Python code hears of it: OpenBLAS, glibc and
C++ abort, and the import of ml_dtypes loops until the limit of processor time."""


@posix
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not limit memory")
@pytest.mark.parametrize("command", ["check n.net", "compile n.net", "run n.net x.npy", "train t.net"])
@pytest.mark.parametrize("kilobytes", [17_000, 24_000, 45_000, 60_000, 75_000, 122_000, 140_000, 150_000, 185_000])
def test_a_limit_of_memory_ends_in_a_line(tmp_path: Path, command: str, kilobytes: int) -> None:
    prepare(tmp_path)
    np.savez(tmp_path / "d.npz", x=np.ones((4, 3), np.float32), y=np.ones((4, 2), np.float32))
    train = 'train t { data npz "d.npz"; loss mse; optimizer sgd lr 0.1; batch 2; epochs 1 }'
    (tmp_path / "t.net").write_text(f"net t {{ input x 3; dense 2 }}\n{train}\n")
    before = contents(tmp_path).keys()
    done = script(f"export OPENBLAS_NUM_THREADS=1; ulimit -t 30; ulimit -v {kilobytes}; netdsl {command}", tmp_path)
    # Extensions of NumPy and onnxruntime print some exceptions themselves.
    assert "Traceback" not in done.stderr or "site-packages/numpy" in done.stderr
    assert done.returncode in {0, 1, *NATIVE_CRASHES} or "numpy failed" in done.stderr
    if done.returncode == 1:
        assert re.search(
            r"^error\[E0615\]: there is not enough memory|^OpenBLAS error|numpy failed",
            done.stderr,
            re.MULTILINE,
        )
    if done.returncode == 1 and command != "train t.net":
        assert contents(tmp_path).keys() == before


THREADS = """
import resource
from threading import Thread
from netdsl.base.threads import start, thread_pool

def limit(bytes_left):
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + bytes_left, resource.RLIM_INFINITY))

limit(12 << 20)  # room for the stack of a thread, and for some of what it needs to begin
for begin in (lambda: start(Thread()), lambda: thread_pool(1, "t").submit(int)):
    try:
        begin()
    except MemoryError:
        continue
    raise AssertionError("a thread was started")
limit(256 << 20)
start(Thread())
assert thread_pool(2, "t").submit(int).result(10) == 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a process as Linux tells it")
def test_a_thread_without_memory_is_not_waited_for() -> None:
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stderr) == (0, "")


def test_every_thread_is_started_where_memory_is_asked_for() -> None:
    starts = re.compile(r"\bThreadPoolExecutor\(|(thread|timer|Thread\(.*\)|Timer\(.*\))\.start\(\)")
    sources = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in ROOT.glob("netdsl/**/*.py")}
    assert {name for name, text in sources.items() if starts.search(text)} == {"netdsl/base/threads.py"}


def test_memory_too_short_to_compile_a_module_ends_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Short:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "netdsl.cli.machine":
                raise SystemError("<built-in function compile> returned NULL without setting an exception")

    def fail(_: object) -> int:
        raise MemoryError

    monkeypatch.setattr(check, "command", fail)
    monkeypatch.delitem(sys.modules, "netdsl.cli.machine", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Short(), *sys.meta_path])
    assert main(["check", "lenet5"]) == 1
    assert capfd.readouterr().err == "error[E0615]: there is not enough memory\n"


@pytest.fixture
def importing(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], Ran]:
    """`check`, importing a package of which a module runs the given code, under a limit of memory in bytes."""

    def run(code: str, limit: int) -> Ran:
        (netdsl.folder / "outer_stub.py").write_text("import inner_stub")
        (netdsl.folder / "inner_stub.py").write_text(code)
        monkeypatch.setattr(check, "command", lambda _: import_module("outer_stub"))
        monkeypatch.setattr(import_module("resource"), "getrlimit", lambda _: (limit, limit))
        return netdsl("check", "lenet5")

    monkeypatch.syspath_prepend(netdsl.folder)
    return run


NEAR, FAR = 1 << 20, 1 << 50


@posix
@pytest.mark.parametrize(
    "failure",
    [
        "RuntimeError('cannot load _ml_dtypes_ext module.')",
        "ImportError('numpy._core.multiarray failed to import')",
        "SystemError('initialization of _ext raised unreported exception')",
        "AttributeError('partially initialized module')",
        "KeyError('_ext')",
    ],
)
def test_whatever_an_import_raises_near_the_limit_is_a_lack_of_memory(
    importing: Callable[[str, int], Ran], failure: str
) -> None:
    ran = importing(f"raise {failure}", NEAR)
    assert (ran.code, ran.err.splitlines()[0]) == (1, "error[E0615]: there is not enough memory")


@posix
def test_what_an_import_raises_for_other_reasons_is_no_lack_of_memory(importing: Callable[[str, int], Ran]) -> None:
    assert "error[E0806]: this needs the package missing_stub," in importing("import missing_stub", NEAR).err
    assert "error[E0657]" in importing("raise ImportError('wrong ELF class')", FAR).err
    with pytest.raises(RuntimeError, match="a bug"):
        importing("raise RuntimeError('a bug')", FAR)


# --- 100: packages -------------------------------------------------------------------------------------------------

WITHOUT = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from netdsl.cli import main
raise SystemExit(main())
"""


@pytest.mark.parametrize(
    ("hidden", "words", "code", "said"),
    [
        ("onnxruntime,PIL", "compile n.net -o m.onnx", 0, "m.onnx: "),
        ("onnxruntime,PIL", "compile n.net -o m.onnx --external-data", 0, "m.onnx: "),
        ("onnxruntime,PIL,numpy,onnx", "check --fix s.net", 0, "s.net: ok (s)"),
        ("onnxruntime,PIL,numpy,onnx", "zoo copy xor", 0, "xor.net"),
        ("onnxruntime,PIL,onnx", "summary n.net", 0, ""),
        ("onnx", "compile n.net -o m.onnx", 2, "this needs the package onnx, which is not installed"),
        ("onnxruntime", "run n.net x.npy -o o.npz", 2, "this needs the package onnxruntime, which is not installed"),
        ("onnxruntime", "devices", 2, "this needs the package onnxruntime, which is not installed"),
        ("PIL", "run n.net x.npy -o o.npz", 0, ""),
        ("PIL", "run lenet5 7.png -o o.npz", 2, "pip install"),
    ],
)
def test_missing_packages(tmp_path: Path, hidden: str, words: str, code: int, said: str) -> None:
    prepare(tmp_path, tmp_path)
    shutil.copy(MNIST / "digits" / "7_0.png", tmp_path / "7.png")
    before = contents(tmp_path).keys()
    command = [sys.executable, "-c", WITHOUT, hidden, *words.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert done.returncode == code, done
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not code or contents(tmp_path).keys() == before


# --- the table of all rows -----------------------------------------------------------------------------------------


def test_the_table_names_tests_that_are_there() -> None:
    text = (ROOT / "docs" / "bad_inputs.md").read_text("utf-8")
    rows = {int(row) for row in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert rows >= {*range(1, 79), *range(80, 101)}  # 79 is of folding
    named = re.findall(r"`(test_\w+)\.py::(test_\w+)`", text)
    for module, name in named:
        (path,) = (ROOT / "tests").glob(f"*/{module}.py")
        assert f"\ndef {name}(" in path.read_text("utf-8"), f"{module}.py::{name}"
