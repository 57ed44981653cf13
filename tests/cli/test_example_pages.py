"""The examples that are pages: a reader saves their files and types their commands.

Trainings are cut to two steps here; the whole ones are slow: `pytest -m slow tests/cli/test_example_pages.py`.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from netdsl.app.analyse import check_file
from netdsl.diagnostics.report import Report
from tests.support.paths import ROOT
from tests.support.walkthrough import blocks, checkout, printed, saved

EXAMPLES = ROOT / "examples"
EPOCH = re.compile(r"^epoch (\d+)/\1  (.*)$", re.MULTILINE)
FIGURE = re.compile(r"(\w+) ([\d.e-]+)")

Figures = Mapping[str, float]


def char_gpt(gpt: Figures) -> None:
    """Far better than the frequencies of the characters, and not by heart."""
    assert gpt["loss"] < gpt["validation_loss"] < 1.9
    assert gpt["validation_accuracy"] > 0.5


def vit_mnist(vit: Figures, lenet5: Figures) -> None:
    assert lenet5["validation_error"] < 0.02
    assert lenet5["validation_error"] < vit["validation_error"] < 0.07


def language_id(bag: Figures, lstm: Figures) -> None:
    assert 0.7 < bag["validation_accuracy"] < 0.8
    assert lstm["validation_accuracy"] > max(0.78, bag["validation_accuracy"] + 0.03)


def speech(local: Figures, recurrent: Figures) -> None:
    assert recurrent["validation_edit"] < 0.02 < local["validation_edit"] < 0.06


CLAIMS: dict[str, Callable[..., None]] = {claim.__name__: claim for claim in (char_gpt, vit_mnist, language_id, speech)}
"""What a page says of the last epochs of its trainings, in order; it must hold for those on the page, and of a run."""


def last_epochs(text: str) -> list[Figures]:
    return [{name: float(value) for name, value in FIGURE.findall(line)} for _, line in EPOCH.findall(text)]


def commands(page: Path) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines()]


def completed(command: str, folder: Path) -> str:
    text = printed(f"({command}) && echo completed", folder)
    assert text.endswith("completed\n"), f"$ {command}\n{text}"
    return text


@pytest.mark.parametrize("name", CLAIMS)
def test_the_nets_of_a_page_are_clean(name: str, tmp_path: Path) -> None:
    saved(EXAMPLES / name / "README.md", tmp_path)
    (file,) = tmp_path.glob("*.net")
    report = Report()
    check_file(str(file), report)
    assert [problem.message() for problem in report] == []


@pytest.mark.parametrize("name", CLAIMS)
def test_the_figures_of_a_page_are_what_it_claims(name: str) -> None:
    CLAIMS[name](*last_epochs((EXAMPLES / name / "README.md").read_text("utf-8")))


@pytest.mark.skipif(sys.platform == "win32", reason="the pages speak sh")
@pytest.mark.parametrize("name", CLAIMS)
def test_the_commands_of_a_page_run(name: str, tmp_path: Path) -> None:
    page, clone = EXAMPLES / name / "README.md", checkout(tmp_path)
    saved(page, clone)
    for program in clone.glob("speech.py"):
        program.write_text(re.sub(r'(npz": )\d+', r"\g<1>60", program.read_text("utf-8")), "utf-8")
    for command in commands(page):
        if command.startswith("netdsl train "):
            command += " --steps 2 --set train.schedule=constant --set train.validate=0.02 --step-backend plain --quiet"
        if command.startswith("netdsl generate "):
            command = re.sub(r"--length \d+", "--length 2", command)
        if " pip " in command:
            catalogs(clone / "packages" / "django" / "locale")
        else:
            completed(command, clone)


def catalogs(folder: Path) -> None:
    """Write catalogs of messages as a package has them: 40 in each language of the page about languages."""
    languages = re.search(r'LANGUAGES = "(.*)"', (EXAMPLES / "language_id" / "README.md").read_text("utf-8"))
    assert languages
    for language in languages[1].split():
        pairs = [(f"a message of number {n}", f"{language} brown foxes jump") for n in "abcdefghijklmnopqrstuvwxyz"]
        file = folder / language / "LC_MESSAGES" / "django.mo"
        file.parent.mkdir(parents=True)
        file.write_bytes(catalog(pairs))


def catalog(pairs: list[tuple[str, str]]) -> bytes:
    """Return a catalog in the format of GNU gettext: a header, two tables of lengths and offsets, and the texts."""
    texts = [("", "Content-Type: text/plain; charset=UTF-8\n"), *pairs]
    columns = [[text.encode() for text in column] for column in zip(*texts, strict=True)]
    at = 28 + 16 * len(texts)
    tables, body = b"", b""
    for column in columns:
        for text in column:
            tables += struct.pack("<II", len(text), at + len(body))
            body += text + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, len(texts), 28, 28 + 8 * len(texts), 0, at) + tables + body


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the pages speak sh")
@pytest.mark.parametrize("name", CLAIMS)
def test_the_whole_training_measures_what_the_page_claims(name: str, tmp_path: Path) -> None:
    page, clone = EXAMPLES / name / "README.md", checkout(tmp_path)
    saved(page, clone)
    CLAIMS[name](*last_epochs("".join(completed(command, clone) for command in commands(page))))
