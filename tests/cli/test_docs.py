"""The documentation: every program in it does what it says, every command prints what stands below it, every link leads
somewhere, every limit is the code's. `pytest --update-golden` writes what the commands print now."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from netdsl.app.analyse import check_file
from netdsl.app.frontend import load_net
from netdsl.base import limits
from netdsl.cli import reference
from netdsl.cli.commands import COMMANDS
from netdsl.diagnostics.report import Report
from tests.support.cli_tools import Commands, netdsl
from tests.support.paths import ROOT
from tests.support.walkthrough import blocks, checkout, follow, same

__all__ = ["netdsl"]

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
WALKS = [page for page in PAGES if blocks(page, "console")]
FENCE = re.compile(r"^```(net\b[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def script(path: Path) -> ModuleType:
    """A program that belongs to the pages, and is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


picture = script(ROOT / "docs" / "picture.py")


def programs() -> dict[str, tuple[str, str]]:
    """Each program, by its place: what its fence says, and its text."""
    return {
        f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}": (match[1], match[2])
        for page in PAGES
        for text in [page.read_text("utf-8")]
        for match in FENCE.finditer(text)
    }


PROGRAMS = programs()


def codes(text: str, folder: Path, compiled: bool) -> list[str]:
    """What `netdsl check` finds in a program, or `netdsl compile`."""
    path, report = folder / "main.net", Report()
    path.write_text(text, "utf-8")
    (load_net if compiled else check_file)(str(path), report)
    return [f"{p.code} {p.span}: {p.message()}" for p in report]


@pytest.mark.parametrize("place", PROGRAMS)
def test_a_program_does_what_its_page_says(place: str, tmp_path: Path) -> None:
    """`net` is a file, `net body` what stands in a net; both are clean but for what `fail E0310`, `warn W0201` say."""
    fence, text = PROGRAMS[place]
    words = fence.split()[1:]
    if words[:1] == ["body"]:
        text, words = f"net example {{\n{text}\n}}", words[1:]
    expected = words[1:]
    assert words[:1] in ([], ["fail"], ["warn"]), f"what is ```{fence}?"
    assert bool(expected) == bool(words), f"which problems? ```{fence}"
    found = codes(text, tmp_path, expected == ["E0209"])
    assert [line.split()[0] for line in found] == expected, found


def test_there_are_programs_of_each_sort() -> None:
    assert {" ".join(fence.split()[:2]) for fence, _ in PROGRAMS.values()} >= {"net", "net body", "net fail"}


@pytest.mark.skipif(sys.platform == "win32", reason="the pages speak sh")
@pytest.mark.parametrize("page", WALKS, ids=lambda page: page.name)
def test_the_commands_print_what_the_page_says(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text, wrong = follow(page, checkout(tmp_path))
    if request.config.getoption("--update-golden"):
        page.write_text(text, "utf-8")
    else:
        assert wrong == []


@pytest.mark.parametrize(
    ("found", "wanted", "equal"),
    [
        ("3: 7.18489  8: 4.67127\n", "3: 7.18488  8: 4.6713\n", True),
        ("3: 7.18489\n", "3: 7.19\n", False),
        ("3: 7.18489\n", "5: 7.18489\n", False),
        ("46,814,081 bytes\n", "46,814,082 bytes\n", False),
        ("ok (a)\n", "ok (b)\n", False),
    ],
)
def test_fractions_may_differ_a_little_and_nothing_else(found: str, wanted: str, equal: bool) -> None:
    assert same(found, wanted) == equal


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


NAMED = re.compile(r"[`\s]((?:[\w.-]+/)+\w+\.py)\b|python -m ([\w.]+)")
OTHERS = {"mpi4py", "pip"}


@pytest.mark.parametrize(
    "page", [*PAGES, *sorted((ROOT / "examples").rglob("*.md"))], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_modules_that_a_page_names_exist(page: Path) -> None:
    """`cli/options.py` is in the package, `tests/cli/test_docs.py` in the repository, `netdsl.cli` a module."""
    files = [
        file or f"{module.replace('.', '/')}.py"
        for file, module in NAMED.findall(page.read_text("utf-8"))
        if module not in OTHERS
    ]
    roots = (ROOT, ROOT / "netdsl")
    assert [
        file
        for file in files
        if not any((root / file).exists() or (root / file.removesuffix(".py")).is_dir() for root in roots)
    ] == []


def test_the_reference_of_the_commands_is_fresh() -> None:
    written = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert written == reference.cli_page(), "write it anew with `python -m netdsl.cli.reference`"


def test_the_reference_has_each_command_and_option(netdsl: Commands) -> None:
    """As `--help` tells them, which is argparse's own account."""
    sections = dict(re.findall(r"^## (\w+)$(.*?)(?=^## )", reference.cli_page(), re.MULTILINE | re.DOTALL))
    assert sections.keys() == COMMANDS.keys()
    for name in COMMANDS:
        options = set(re.findall(r"^  (?:-\w(?:, | ))?(--[\w-]+)", netdsl(name, "--help").out, re.MULTILINE))
        missing = {option for option in options if option not in sections[name]}
        assert missing == {"--help", "--json", "--quiet", "--verbose"}, name


def test_the_pictures_are_fresh() -> None:
    for path, drawn in picture.pictures():
        ElementTree.fromstring(drawn)
        assert path.read_bytes() == drawn, "draw it anew with `python docs/picture.py`"
    assert {path.stem for path in (ROOT / "docs" / "draw").iterdir()} == picture.DRAWINGS.keys()


def test_the_picture_has_what_the_terminal_has() -> None:
    """Word for word, at the columns where they stand."""
    svg = ElementTree.fromstring(picture.FILE.read_text("utf-8"))
    texts = [each for each in svg.iter() if each.tag.endswith("text")]
    plain = re.sub(r"\x1b\[[\d;]*m", "", picture.terminal()).split("\n")
    for each in texts:
        row = (int(each.attrib["y"]) - picture.MARGIN) // picture.HEIGHT
        column = round((float(each.attrib["x"]) - picture.MARGIN) / picture.WIDTH)
        assert plain[row][column:].startswith(each.text or "nothing")
    assert sum(len((each.text or "").replace(" ", "")) for each in texts) == len("".join("".join(plain).split()))


def test_the_limits_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "language.md").read_text("utf-8")
    written = dict(re.findall(r"^\| `([A-Z_]+)` \| ([\d,]+) \|", text, re.MULTILINE))
    names = [name for name in vars(limits) if name.isupper() and name != "TYPE_CHECKING"]
    assert written == {name: f"{getattr(limits, name):,}" for name in names}
