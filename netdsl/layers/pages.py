"""Reference pages of layers, generated from their declarations: for the terminal, for docs/layers, and as JSON data.

`python -m netdsl.layers.pages` rewrites docs/layers and the table of the layers' modules.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

import netdsl.layers.table
from netdsl.base.paths import replace_pages
from netdsl.declare.arguments import LayerLabel, Operand
from netdsl.diagnostics.catalogue import docstring
from netdsl.ir.init import Init
from netdsl.layers import find_layer, layer_modules
from netdsl.layers.base import LAYER_CLASSES, Layer
from netdsl.layers.table import LAYER_MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netdsl.declare.declared import Argument, Declared

TERMINAL_WIDTH = 100
EXAMPLE_BLOCK = re.compile(r"```net\n(.*?)```", re.DOTALL)
PARAGRAPH_BREAK = re.compile(r"\n(?=[A-Z][a-z]+: )|\n\n+")
"""Separator of a docstring's paragraphs: a blank line, or a line that begins with a label such as `Shapes:`."""


class ReferencePage:
    """Reference page of a layer, or of a loss or similar component.

    `kind` is `layer`, `loss`, `data`, …. The first of `paragraphs` has the formula; `source` and `example` may be
    empty.
    """

    __slots__ = ("arguments", "example", "family", "kind", "name", "paragraphs", "source", "usage")

    def __init__(self, cls: type[Declared], kind: str = "layer", form: str = "{}") -> None:
        """`form` is the line of the language in which its call stands: `optimizer {}`."""
        text, self.example = _example(cls)
        paragraphs = [" ".join(part.split()) for part in PARAGRAPH_BREAK.split(text) if part.strip()]
        sources = [part.removeprefix("Source: ") for part in paragraphs if part.startswith("Source: ")]
        self.name = cls.kind
        self.kind = kind
        self.family = cls.__module__
        self.paragraphs = [part for part in paragraphs if not part.startswith("Source: ")]
        self.source = " ".join(sources)
        self.arguments = sorted(cls.arguments.values(), key=lambda argument: argument.keyword)
        self.usage = form.format(usage(cls))

    @property
    def summary(self) -> str:
        """The first paragraph, up to its formula, such as `Rectified linear unit`."""
        return re.split(r"[.:;](?:\s|$)", self.paragraphs[0])[0]


def _example(cls: type[Declared]) -> tuple[str, str]:
    """Return a docstring without its example, and the example."""
    text = docstring(cls)
    found = EXAMPLE_BLOCK.search(text)
    return EXAMPLE_BLOCK.sub("", text), found[1] if found else ""


def usage(cls: type[Declared]) -> str:
    """Return a layer's call syntax with defaults: `dense UNITS [bias on] [init he_normal] [bias_init zeros]`."""
    before = ["NAME"] if cls.kind == "input" else []
    arguments = sorted(cls.arguments.values(), key=lambda argument: argument.keyword)
    operands = [cls.operand_usage] if issubclass(cls, Layer) and cls.operands else []
    return " ".join([cls.kind, *before, *map(_place, arguments), *operands])


def _place(argument: Argument) -> str:
    is_label = isinstance(argument.kind, (Operand, LayerLabel))
    value = "LABEL" if is_label else default_text(argument) or argument.name.upper()
    text = f"{argument.name} {value}" if argument.keyword else argument.name.upper()
    return text if argument.required else f"[{text}]"


def default_text(argument: Argument) -> str:
    """Return an argument's default as written in the language; empty if there is no single default value."""
    return "" if argument.required or argument.default is None else _written(argument.default)


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value) if not isinstance(value, Init) else repr(value)


def layer_page(name: str) -> ReferencePage | None:
    """Return the page of a layer, or None if there is no such layer."""
    cls = find_layer(name)
    return ReferencePage(cls) if cls else None


def families() -> dict[str, tuple[str, list[ReferencePage]]]:
    """Return the title and the pages of each family of layers, by the name of its module."""
    found: dict[str, tuple[str, list[ReferencePage]]] = {}
    for name, module in layer_modules().items():
        cls = find_layer(name)
        assert cls is not None
        title = (import_module(module).__doc__ or "").partition("\n")[0].rstrip(".")
        found.setdefault(module.rpartition(".")[2], (title, []))[1].append(ReferencePage(cls))
    return found


def page_text(page: ReferencePage) -> str:
    """Return a page for the terminal."""
    from textwrap import fill, indent

    parts = [page.usage, *(fill(paragraph, TERMINAL_WIDTH) for paragraph in page.paragraphs)]
    if page.arguments:
        parts.append("\n".join(_table(page)))
    if page.source:
        parts.append(fill(f"Source: {page.source}", TERMINAL_WIDTH))
    if page.example:
        parts.append(f"Example:\n\n{indent(page.example.rstrip(), '    ')}")
    return "\n\n".join(parts)


def _rows(page: ReferencePage) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield each argument's name, how it is given, what it takes, its default and its description."""
    for argument in page.arguments:
        how = "keyword" if argument.keyword else "by position"
        value = default_text(argument) or ("required" if argument.required else "")
        yield argument.name, how, argument.kind.expected, value, argument.doc


def _table(page: ReferencePage) -> Iterator[str]:
    from textwrap import wrap

    rows = [
        (name, how, value or "-", f"{doc}; {takes}".replace("`", "")) for name, how, takes, value, doc in _rows(page)
    ]
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(3)]
    for *cells, said in rows:
        head = "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        first, *rest = wrap(said, max(TERMINAL_WIDTH - len(head), 40))
        yield head + first
        yield from (" " * len(head) + line for line in rest)


def page_data(page: ReferencePage) -> dict[str, object]:
    """Return a page as plain data."""
    names = ("name", "given", "takes", "default", "doc")
    return {
        "name": page.name,
        "kind": page.kind,
        "family": page.family.rpartition(".")[2],
        "usage": page.usage,
        "summary": page.summary,
        "text": page.paragraphs,
        "arguments": [
            {**dict(zip(names, row, strict=True)), "words": list(argument.kind.words), "required": argument.required}
            for row, argument in zip(_rows(page), page.arguments, strict=True)
        ],
        "example": page.example,
        "source": page.source,
    }


def layer_page_files() -> dict[str, str]:
    """Return the files of docs/layers."""
    intro = "`netdsl layers` prints the same pages. For conventions shared by all layers, see "
    intro += "[language.md](../language.md#conventions)."
    return reference_files("Layers", intro, families(), "netdsl.layers.pages", "net body")


def reference_files(
    title: str, intro: str, groups: Mapping[str, tuple[str, list[ReferencePage]]], generator: str, fence: str
) -> dict[str, str]:
    """Return the Markdown files of a reference, by name: one per group of pages, and an index.

    `generator` is the module that writes them, and `fence` the info string of their examples.
    """
    note = f"<!-- Generated by `python -m {generator}` from the declarations. -->"
    lead = [note, "", f"# {title}", "", intro]
    found = {}
    for file, (heading, pages) in groups.items():
        lead += ["", f"## [{heading}]({file}.md)", "", "| name | description |", "| --- | --- |"]
        lead += [f"| [`{each.name}`]({file}.md#{each.name}) | {escape_markdown(each.summary)} |" for each in pages]
        found[f"{file}.md"] = "\n".join([note, "", f"# {heading}", *(page_section(each, fence) for each in pages), ""])
    return {"README.md": "\n".join([*lead, ""]), **found}


def page_section(page: ReferencePage, fence: str) -> str:
    """Return a page as a section in Markdown; `fence` is the info string of its example."""
    lines = ["", f"## {page.name}", "", f"    {page.usage}"]
    lines += [f"\n{escape_markdown(paragraph)}" for paragraph in page.paragraphs]
    if page.arguments:
        lines += ["", "| argument | given | takes | default | description |", "| --- | --- | --- | --- | --- |"]
    for name, how, takes, value, doc in _rows(page):
        lines.append(f"| `{name}` | {how} | {escape_markdown(takes)} | {value} | {escape_markdown(doc)} |")
    if page.source:
        lines += ["", f"Source: {escape_markdown(page.source)}"]
    if page.example:
        lines += ["", f"```{fence}\n{page.example}```"]
    return "\n".join(lines)


def escape_markdown(text: str) -> str:
    """Return text as Markdown, escaping everything outside backticks."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*<|\\])|(?<!\w)(_)|(_)(?!\w)", r"\\\1\2\3", part) for part in parts[::2]]
    return "`".join(part.replace("|", "\\|") if at % 2 else part for at, part in enumerate(parts))


def declared_layers() -> dict[str, str]:
    """Return the module of each layer, by importing all modules of this package."""
    for module in iter_modules(netdsl.layers.__path__):
        import_module(f"netdsl.layers.{module.name}")
    found = {name: cls.__module__ for name, cls in LAYER_CLASSES.items() if cls.__module__.startswith("netdsl.layers.")}
    return {name: found[name].rpartition(".")[2] for name in sorted(found, key=lambda name: found[name])}


def module_table() -> str:
    """Return the text of table.py, which maps layers to modules without a search at run time."""
    note = '"""The module of each layer. Generated by `python -m netdsl.layers.pages`."""'
    entries = (f'    "{name}": "{module}",' for name, module in declared_layers().items())
    return "\n".join([note, "", "LAYER_MODULES = {", *entries, "}", ""])


if __name__ == "__main__":
    with open(netdsl.layers.table.__file__, "w", encoding="utf-8", newline="\n") as file:
        file.write(module_table())
    LAYER_MODULES.clear()
    LAYER_MODULES.update(declared_layers())
    replace_pages(sys.argv[1] if sys.argv[1:] else "docs/layers", layer_page_files())
