"""The documentation: every program in it does what it says, every link leads somewhere, every limit is the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netdsl import limits
from netdsl.diagnostics.report import Report
from netdsl.frontend import check_file, load_net

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(net\b[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks() -> dict[str, tuple[str, str]]:
    """Each program, by its place: what its fence says, and its text."""
    return {
        f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}": (match[1], match[2])
        for page in PAGES
        for text in [page.read_text("utf-8")]
        for match in FENCE.finditer(text)
    }


BLOCKS = blocks()


def codes(text: str, folder: Path, compiled: bool) -> list[str]:
    """What `netdsl check` finds in a program, or `netdsl compile`."""
    path, report = folder / "main.net", Report()
    path.write_text(text, "utf-8")
    (load_net if compiled else check_file)(str(path), report)
    return [f"{p.code} {p.span}: {p.message()}" for p in report]


@pytest.mark.parametrize("place", BLOCKS)
def test_a_program_does_what_its_page_says(place: str, tmp_path: Path) -> None:
    """`net` is a file, `net body` what stands in a net; both are clean but for what `fail E0310`, `warn W0201` say."""
    fence, text = BLOCKS[place]
    words = fence.split()[1:]
    if words[:1] == ["body"]:
        text, words = f"net example {{\n{text}\n}}", words[1:]
    expected = words[1:]
    assert words[:1] in ([], ["fail"], ["warn"]), f"what is ```{fence}?"
    assert len(expected) == len(words[:1]), f"which problem? ```{fence}"
    found = codes(text, tmp_path, expected == ["E0209"])
    assert [line.split()[0] for line in found] == expected, found


def test_there_are_programs_of_each_sort() -> None:
    assert {" ".join(fence.split()[:2]) for fence, _ in BLOCKS.values()} >= {"net", "net body", "net fail"}


def anchors(page: Path) -> set[str]:
    """What can stand behind a `#`, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in LINK.findall(text):
        if not link.startswith("http"):
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_limits_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "language.md").read_text("utf-8")
    written = dict(re.findall(r"^\| `([A-Z_]+)` \| ([\d,]+) \|", text, re.MULTILINE))
    assert written == {name: f"{value:,}" for name, value in vars(limits).items() if name.isupper()}
