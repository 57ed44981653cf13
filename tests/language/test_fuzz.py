"""Random programs for some seconds; `python -m tests.fuzz --minutes 60` is the same for an hour."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import fuzz
from tests.support import fuzz_rules
from tests.support.cli_tools import ROOT, environment
from tests.support.fuzz_programs import mutant, program
from tests.support.fuzz_programs import settings as settings_of

PATIENCE = 20
"""A slow machine must not fail; a hang does."""

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True, scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("fuzz"))
        yield


@given(SEEDS)
@settings(max_examples=150)
def test_mutants_of_real_programs_obey_the_rules(seed: int) -> None:
    random = Random(seed)
    text = mutant(random)
    fuzz_rules.obeys(text, settings_of(random, text), patience=PATIENCE)


@given(SEEDS)
@settings(max_examples=150)
def test_random_programs_obey_the_rules(seed: int) -> None:
    random = Random(seed)
    text = program(random)
    fuzz_rules.obeys(text, settings_of(random, text), patience=PATIENCE)


@given(st.text() | st.text(alphabet='net{}()[]"#;:=-*/ x1\n?.,\r\\\x1b\u202e\u2212'))
def test_any_text_obeys_the_rules(text: str) -> None:
    fuzz_rules.obeys(text.encode("utf-8", "replace").decode(), patience=PATIENCE)


def test_many_random_programs_are_right() -> None:
    """Else nothing deeper than the parser would be tried."""
    compiled = sum(fuzz_rules.obeys(program(Random(seed)), patience=PATIENCE) > 0 for seed in range(40))
    assert compiled >= 10


def test_many_mutants_of_real_programs_are_refused_and_some_are_right() -> None:
    refused = 0
    for seed in range(60):
        _, report = fuzz_rules.told(mutant(Random(seed)))
        refused += report is not None and report.errors > 0
    assert 30 <= refused < 60


def test_what_is_said_does_not_depend_on_hash_seeds() -> None:
    sums = set()
    for seed in ("0", "42"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", "--digest", "60"],
            cwd=ROOT,
            env=environment(PYTHONHASHSEED=seed),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        sums.add(done.stdout)
    assert len(sums) == 1


def test_a_fault_is_found_and_made_smaller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def faulty(file: str, *_: object, **__: object) -> None:
        if "relu" in Path(file).read_text("utf-8"):
            raise KeyError("a bug")

    monkeypatch.setattr(fuzz_rules, "check_file", faulty)
    text = "net a {\n  input x 4\n  relu\n  dense 10\n}\n"
    found = fuzz.fault(text, ())
    assert found is not None
    kind, whole = found
    assert kind.startswith("KeyError at")
    assert "a bug" in whole
    assert fuzz.smaller(text, (), kind) == "relu"
    assert fuzz.fault("net a { input x 4 }", ()) is None
    assert fuzz.search(0.5, 0, tmp_path) >= 1
    assert "a bug" in (tmp_path / "001.txt").read_text("utf-8")


def test_a_hang_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: object, **__: object) -> None:
        while True:
            pass

    monkeypatch.setattr(fuzz_rules, "check_file", endless)
    monkeypatch.setattr(fuzz_rules, "CHECK_SECONDS", 0.1)
    with pytest.raises(fuzz_rules.TooSlow):
        fuzz_rules.obeys("net a { input x 4; relu }")
