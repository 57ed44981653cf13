"""The website: built without warnings, with a page for each file of the zoo, highlighted and searchable."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.mark.slow
def test_the_website_is_built_without_warnings(tmp_path: Path) -> None:
    """Sphinx resolves all links inside of it; a warning is an error."""
    pytest.importorskip("sphinx")
    from website.build import build

    assert build(tmp_path) == 0
    gallery = (tmp_path / "specs/README.html").read_text()
    for path in ROOT.glob("specs/*.net"):
        assert f'href="{path.stem}.html"' in gallery
        assert f'src="../_images/{path.stem}.svg"' in gallery
        assert (tmp_path / f"_images/{path.stem}.svg").is_file()
    language = (tmp_path / "docs/language.html").read_text()
    assert re.search(r'<span class="nb">conv</span>', language)
    assert not re.search(r'href="[^":]*\.md[#"]', language)
    assert not re.search(r'<span class="err">\?', language)
    for page in tmp_path.rglob("*.html"):
        for path in re.findall(r'<img[^>]* src="([^":]+)"', page.read_text()):
            assert (page.parent / path).is_file(), f"{page}: {path}"
    assert "resnet" in (tmp_path / "searchindex.js").read_text()
