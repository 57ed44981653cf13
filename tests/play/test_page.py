"""The page itself: in a browser, and built anew."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from html import unescape
from pathlib import Path

import pytest

from netdsl.play.opened import open_text
from netdsl.play.playground import Playground
from netdsl.play.server import PAGE, PlayServer
from tests.support.paths import ROOT


@pytest.mark.slow
def test_a_browser_shows_shapes_colors_and_the_drawing() -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("there is no Chromium")
    with PlayServer(Playground(open_text("resnet34"))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        words = ["--headless=new", "--no-sandbox", "--virtual-time-budget=20000", "--dump-dom", server.address]
        done = subprocess.run([browser, *words], capture_output=True, text=True, timeout=120)
        server.shutdown()
        thread.join()
    text = unescape(re.sub(r"\n\s*", " ", done.stdout))
    assert "→ 64x56x56 … 512x7x7 ×16" in text
    assert "resnet34(depth = 34" in text
    assert re.search(r'<span class="ͼ\w+">block</span> <span class="ͼ\w+">basic</span>', text)
    assert "No problems." in text
    assert server.token not in text


@pytest.mark.slow
def test_the_script_is_built_from_its_source(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm")
    folder = tmp_path / "play"
    shutil.copytree(ROOT / "editors/play", folder, ignore=shutil.ignore_patterns("node_modules"))
    for words in (["ci", "--ignore-scripts"], ["run", "check"], ["run", "bundle", "--", "."]):
        subprocess.run([npm, *words], cwd=folder, check=True, timeout=600)
    for name in ("play.js", "LICENSES.txt"):
        assert (folder / name).read_bytes() == (Path(PAGE) / name).read_bytes(), "run `npm run build` in editors/play"
