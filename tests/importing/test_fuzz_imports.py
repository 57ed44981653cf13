"""Random files of other tools' models for some seconds; `python -m tests.fuzz_imports --minutes 60` is the same for an
hour."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from netdsl.importing.errors import ImportRefused
from tests import fuzz_imports

pytest.importorskip("h5py")


def ends(seeds: range) -> Counter[str]:
    """Try cases; what became of each, by its format."""
    found: Counter[str] = Counter()
    for seed in seeds:
        said, kind, whole = fuzz_imports.fault(seed)
        assert not kind, f"seed {seed}: {whole}"
        found[said] += 1
    return found


def test_random_files_are_imported_or_refused() -> None:
    found = ends(range(40))
    assert {each.split()[0] for each in found} == {"onnx", "caffe", "darknet", "keras"}
    assert 3 <= sum(number for each, number in found.items() if each.endswith("imported")) <= 37, found


@pytest.mark.slow
def test_many_random_files_are_imported_or_refused(tmp_path: Path) -> None:
    assert fuzz_imports.search(120, 10_000, tmp_path) == 0


@pytest.mark.parametrize("what", ["raises", "runs", "writes", "hangs", "takes memory", "leaves files"])
def test_faults_are_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(file: str, *_: object) -> None:
        match what:
            case "raises":
                raise KeyError("a bug")
            case "runs":
                os.system("true")
            case "writes":
                Path(fuzz_imports.ROOT, "written").write_text("")
            case "hangs":
                while time.monotonic():
                    pass
            case "takes memory":
                bytearray(2 * fuzz_imports.MEMORY)
            case "leaves files":
                Path(file).with_name("more").write_text("")
                raise ImportRefused("no")

    monkeypatch.setattr(fuzz_imports, "import_model", faulty)
    monkeypatch.setattr(fuzz_imports, "MEMORY", 50_000_000)
    monkeypatch.setattr(fuzz_imports, "SECONDS", 0.1)
    _, kind, _ = fuzz_imports.fault(2)
    assert kind.split()[0] in ("KeyError", "Forbidden", "TooSlow", "AssertionError"), kind
    assert not Path(fuzz_imports.ROOT, "written").exists()


def test_files_of_the_folder_and_bytecode_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "read_first.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("sys.dont_write_bytecode", False)

    def harmless(file: str, *_: object) -> None:
        import_module("read_first")
        descriptor, _name = tempfile.mkstemp(dir=Path(file).parent)
        os.fdopen(descriptor, "w").close()

    monkeypatch.setattr(fuzz_imports, "import_model", harmless)
    assert fuzz_imports.fault(2)[1:] == ("", "")
    assert list(tmp_path.glob("__pycache__/read_first.*"))
