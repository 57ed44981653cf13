"""Build the website: the pages of the repository as they are, and a gallery of the zoo.

`python -m website.build OUT` writes HTML to OUT; it needs `pip install 'netdsl[site]'`. The pages are copied to a
temporary folder in the layout of the repository, so that their links remain valid.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import netdsl
from netdsl.app.zoo import index

ROOT = Path(__file__).parents[1]
PAGES = ("ARCHITECTURE.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "SECURITY.md")
FOLDERS = ("docs", "examples", "grammars", "specs", "tests")
IGNORED = shutil.ignore_patterns("__pycache__", "runs", "golden")
LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)#\s]+)")
SECTION = re.compile(r"^([A-Z]\w+)(?:[^\n]*):\n\n((?:- .*\n|  .*\n)+)", re.MULTILINE)


def build(out: Path) -> int:
    """Build the website and return the exit code of Sphinx."""
    with TemporaryDirectory() as temporary:
        stage = Path(temporary)
        for name in FOLDERS:
            shutil.copytree(ROOT / name, stage / name, ignore=IGNORED)
        for name in PAGES:
            shutil.copy(ROOT / name, stage)
        shutil.copy(ROOT / "README.md", stage / "index.md")
        gallery(stage / "specs")
        for page in stage.rglob("*.md"):
            page.write_text(adapted(page, stage), encoding="utf-8")
        words = ["-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-c", str(ROOT / "website"), str(stage)]
        return subprocess.run([sys.executable, *words, str(out)], cwd=ROOT, check=False).returncode


def adapted(page: Path, stage: Path) -> str:
    """Return a page with links that Sphinx knows, and a list of the pages below it."""

    def target(match: re.Match[str]) -> str:
        path = (page.parent / match[1]).resolve()
        if path.is_dir() and (path / "README.md").is_file():
            return f"{match[1].rstrip('/')}/README.md"
        if path == stage.resolve() / "README.md":
            return f"{match[1].removesuffix('README.md')}index.md"
        return match[1]

    text = LINK.sub(target, page.read_text(encoding="utf-8"))
    return f"{text.rstrip()}\n\n{''.join(contents(page, stage))}"


def contents(page: Path, stage: Path) -> Iterator[str]:
    """Yield the tables of contents of a page, which only the sidebar shows."""
    if page == stage / "index.md":
        for title, items in SECTION.findall((stage / "docs/README.md").read_text(encoding="utf-8")):
            names = (Path("docs", name) for name in re.findall(r"^- \[.*?\]\(([^)#]+\.md)\)", items, re.MULTILINE))
            yield toctree((str(name).replace("docs/../", "") for name in names), title)
        yield toctree(["specs/README.md"], "Zoo")
        yield toctree(["docs/README.md", *PAGES[1:4], PAGES[5]], "Project")
    elif page.name == "README.md" and page != stage / "docs/README.md":
        below = {*page.parent.glob("*.md"), *page.parent.glob("*/README.md")} - {page}
        yield toctree(sorted(str(path.relative_to(page.parent)) for path in below))


def toctree(names: Iterable[str], caption: str = "") -> str:
    lines = "\n".join(names)
    title = f":caption: {caption}\n" if caption else ""
    return f"```{{toctree}}\n:hidden:\n{title}\n{lines}\n```\n\n" if lines else ""


def gallery(folder: Path) -> None:
    """Write a page for each file of the zoo, and the page that shows them all, oldest first."""
    files: dict[str, dict[str, dict[str, Any]]] = {}
    for name, facts in index().items():
        files.setdefault(facts["file"].removesuffix(".net"), {})[name] = facts
    cards = []
    for stem, nets in files.items():
        first, facts = next(iter(nets.items()))
        (folder / f"{stem}.svg").write_text(netdsl.load(first).draw().svg, encoding="utf-8")
        rows = (f"| `{name}` | {each['params']:,} | {size(each['macs'])} |\n" for name, each in nets.items())
        (folder / f"{stem}.md").write_text(
            f"# {stem}\n\n{facts['authors']}: {facts['paper']}, {facts['year']}\n\n"
            f"| net | weights | MACs |\n| --- | ---: | ---: |\n{''.join(rows)}\n"
            f"```net\n{(folder / f'{stem}.net').read_text(encoding='utf-8')}```\n\n![{first}, drawn]({stem}.svg)\n",
            encoding="utf-8",
        )
        image = f'<img loading="lazy" src="../_images/{stem}.svg" alt="">'
        cards.append(f'<a href="{stem}.html">{image}{escape(stem)}<small>{facts["year"]}</small></a>')
    (folder / "README.md").write_text(
        "# The zoo\n\nNetworks of the literature, a file per paper, from the oldest to the newest.\n\n"
        f'<div class="gallery">\n{chr(10).join(cards)}\n</div>\n',
        encoding="utf-8",
    )


def size(macs: int | None) -> str:
    return "known at run time" if macs is None else f"{macs:,}"


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]).absolute()))
