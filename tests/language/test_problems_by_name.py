"""`diagnostics.problems` has every problem by name, and imports those modules only for texts with problems."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from netdsl.diagnostics import problem, problems
from tests.support.paths import ROOT

MODULES = sorted(path.stem for path in Path(problem.__file__).parent.glob("*_problems.py"))


def test_the_table_has_every_module() -> None:
    assert sorted(f"{subject}_problems" for subject in problems.SUBJECTS.split()) == MODULES


def test_problems_are_found_by_name() -> None:
    assert problems.TooLarge.__module__ == "netdsl.diagnostics.shape_problems"
    assert problems.WrongType.__module__ == "netdsl.diagnostics.layer_problems"  # which others import
    for name in ("Nonsense", "Record", "__path__"):
        with pytest.raises(AttributeError, match=name):
            getattr(problems, name)


def test_names_mean_one_problem() -> None:
    found: dict[str, str] = {}
    ours = (each for each in problem.Problem.__subclasses__() if each.__module__.startswith("netdsl."))
    for subclass in ours:
        assert found.setdefault(subclass.__name__, subclass.__module__) == subclass.__module__


def test_a_sound_text_imports_none() -> None:
    probe = (
        "import sys; from netdsl.cli import main; main(['check', 'specs/resnet.net']);"
        "print(*(name for name in sys.modules if name.endswith('_problems') or name == 'json'))"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == ""
