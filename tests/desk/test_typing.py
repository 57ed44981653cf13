"""Recorded typing: whole programs character by character, with deletions and undo, in a server over stdio."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from netdsl.desk.analysis import DeskAnalysis
from netdsl.desk.complete import complete, signature_help
from netdsl.desk.diagnostics import diagnostics
from netdsl.desk.document import uri_of
from netdsl.desk.hints import hints
from netdsl.desk.hover import hover
from netdsl.desk.names import CannotRename, definition, references, rename
from netdsl.desk.outline import folds, lenses, symbols, tokens
from netdsl.desk.session import Session
from tests.support.lsp_client import Client, server
from tests.support.paths import ROOT

SPECS = ROOT / "specs"
ALL = {"start": {"line": 0, "character": 0}, "end": {"line": 100_000, "character": 0}}
PROBE = "net probe_ {{ input x 4; dense {} }}\n"
"""A net whose shape is the version of the text, so that each answer says which one it is of."""


def typed(text: str, seed: int) -> Iterator[str]:
    """The texts of somebody who types a program: character by character, now and then deleting some and undoing it."""
    draw = random.Random(seed)
    done = ""
    for character in text:
        done += character
        yield done
        if draw.random() < 0.02:
            before, cut = done, draw.randrange(1, 12)
            for count in range(1, min(cut, len(done)) + 1):
                yield before[:-count]
            yield before
        if draw.random() < 0.01:
            start = draw.randrange(len(done))
            yield done[:start] + done[start + draw.randrange(1, 40) :]
            yield done


def type_in(client: Client, uri: str, texts: Iterator[str], ask_each: int = 5) -> int:
    """Send each text as an edit, and compare the version of the answers. Return the number of edits."""
    document = {"textDocument": {"uri": uri}}
    client.open(uri, PROBE.format(1))
    version = 1
    for text in texts:
        version += 1
        client.change(uri, PROBE.format(version) + text, version)
        labels = client.ask("textDocument/inlayHint", {**document, "range": ALL})
        hidden = "default" in text  # while one is typed, the shapes of all layers are unknown
        assert [each["label"] for each in labels[:1]] in ([f"→ {version}"], [] if hidden else None)
        if version % ask_each == 0:
            lines = text.split("\n")
            place = {"line": len(lines), "character": len(lines[-1])}
            for method in ("completion", "signatureHelp", "hover", "definition"):
                client.ask(f"textDocument/{method}", {**document, "position": place})
            for method in ("documentSymbol", "foldingRange", "semanticTokens/full", "codeLens"):
                client.ask(f"textDocument/{method}", document)
    published = [each["params"].get("version") for each in client.notifications]
    assert published == sorted(published)
    return version


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet5", "googlenet", "resnet"])
def test_typing_a_program(name: str) -> None:
    text = (SPECS / f"{name}.net").read_text("utf-8")
    with server(uri_of(str(SPECS))) as client:
        assert type_in(client, uri_of(str(SPECS / "typed.net")), typed(text, 1)) > len(text)


def ask_everything(analysis: DeskAnalysis, session: Session, offset: int) -> None:
    for each in (hover, complete, signature_help, definition):
        each(analysis, offset)
    references(session, analysis, offset, everywhere=False)
    for answer in (hints, diagnostics, symbols, folds, tokens, lenses):
        list(answer(analysis))
    with suppress(CannotRename):
        rename(session, analysis, offset, "other_name")


@pytest.mark.parametrize("name", ["unet", "wavenet", "dueling"])
def test_broken_texts_are_answered(name: str, tmp_path: Path) -> None:
    text = (ROOT / "tests" / "difficult" / f"{name}.net").read_text("utf-8")
    draw = random.Random(3)
    uri = uri_of(str(tmp_path / "n.net"))
    session = Session()
    for version in range(40):
        start = draw.randrange(len(text))
        cut = text[:start] + draw.choice(["", "(", "}", '"', ":", " conv ", "\n"]) + text[start + draw.randrange(30) :]
        session.open(uri, cut, version)
        ask_everything(session.analysis(uri), session, min(start, len(cut)))


MEMORY = """
import gc
from pathlib import Path
from netdsl.desk.session import Session
from netdsl.desk.hints import hints
gc.disable(); gc.freeze()
text = Path("specs/resnet.net").read_text()
session = Session()
def resident():
    return int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmRSS")).split()[1])
for version in range(5_100):
    if version == 100:
        before = resident()
    session.open("file:///nets/n.net", f"{text}# {version}\\n", version)
    hints(session.analysis("file:///nets/n.net"))
    if version % 64 == 0:
        gc.collect()
print((resident() - before) / 1024)
"""


@pytest.mark.slow
def test_five_thousand_edits_keep_the_memory_bounded() -> None:
    import subprocess
    import sys

    from tests.support.cli_tools import environment

    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=ROOT, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 100
