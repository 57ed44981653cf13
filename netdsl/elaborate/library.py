"""Read files and the files that they use, each once and within a root, and find shipped nets by name."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from netdsl.base.limits import NESTING
from netdsl.base.paths import data
from netdsl.base.text import Frame, Source
from netdsl.diagnostics import problems
from netdsl.elaborate.module import Module
from netdsl.syntax import ast
from netdsl.syntax.parse import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.diagnostics.problem import Problem
    from netdsl.diagnostics.report import Report

ZOO_PREFIX = "zoo/"


def zoo_nets() -> dict[str, str]:
    """Return every net of the shipped specs with the name of its file."""
    folder = data("specs")
    nets = {}
    for file in sorted(os.listdir(folder)):
        if file.endswith(".net"):
            with open(os.path.join(folder, file), encoding="utf-8") as text:
                for name in re.findall(r"^net\s+(\w+)", text.read(), re.MULTILINE):
                    nets[name] = file
    return nets


class Library:
    """The files of one run. `root` is the folder that no path may leave, by default that of the first file."""

    __slots__ = ("_files", "_frame", "_reading", "_root", "_texts", "report")

    def __init__(self, report: Report, root: str | None = None, texts: Mapping[str, str] | None = None) -> None:
        """Initialize; `texts` replace files, by their names in messages."""
        self.report = report
        self._root = root
        self._texts = texts or {}
        self._files: dict[str, Module | None] = {}
        self._reading: list[tuple[str, str]] = []
        self._frame: Frame | None = None

    def load(self, source: Source, path: str) -> Module:
        """Return the module of an entry file that is already read; `path` is its path (for `-`, in this folder).
        Raises NoWorkingFolder."""
        from netdsl.base.files import absolute

        path = absolute(path)
        folder = os.path.dirname(os.path.abspath(path))
        place = os.path.realpath(path)
        root = os.path.realpath(absolute(self._root) if self._root is not None else folder)
        return self._build(source, place, folder, root)

    def load_zoo(self, file: str) -> Module:
        """Return the module of a shipped spec."""
        folder = data("specs")
        path = os.path.join(folder, file)
        return self._build(self.read(path, ZOO_PREFIX + file), os.path.realpath(path), folder, os.path.realpath(folder))

    def read(self, path: str, shown: str | None = None) -> Source:
        """Return the text of a file, or its replacement. Raises UserError."""
        from netdsl.base.files import read_source

        name = shown or ("<stdin>" if path == "-" else path)
        return Source(name, self._texts[name]) if name in self._texts else read_source(path, shown)

    def _build(self, source: Source, place: str, folder: str, root: str) -> Module:
        file = parse(source, self.report)
        module = Module(file, self.report)
        self._reading.append((place, source.name))
        for item in file.items:
            if isinstance(item, ast.Use):
                used = self._use(item, folder, root)
                names = None if item.names is None else tuple(name.text for name in item.names)
                module.uses.append((used, names))
                if used is not None:
                    self._import(item, used, module)
        self._reading.pop()
        self._files[place] = module
        return module

    def _use(self, item: ast.Use, folder: str, root: str) -> Module | None:
        from netdsl.base.user_error import UserError

        wanted = item.path.value
        if wanted.startswith(ZOO_PREFIX):
            folder, root = data("specs"), os.path.realpath(data("specs"))
            path = os.path.join(folder, wanted[len(ZOO_PREFIX) :])
        else:
            path = os.path.join(folder, wanted)
        place = os.path.realpath(path) if "\0" not in path else ""
        if not wanted or os.path.isabs(wanted) or "://" in wanted or os.path.commonpath([root, place or "/"]) != root:
            return self._fail(problems.OutsideRoot(span=item.path.span, frame=self._frame, path=wanted))
        reading = [p for p, _ in self._reading]
        if place in reading:
            names = [name for _, name in self._reading[reading.index(place) :]]
            return self._fail(problems.UseCycle(span=item.path.span, frame=self._frame, cycle=(*names, names[0])))
        if place not in self._files:
            self._files[place] = None
            shown = (
                wanted
                if wanted.startswith(ZOO_PREFIX)
                else os.path.join(os.path.dirname(item.span.source.name), wanted)
            )
            around = self._frame
            try:
                if len(reading) >= NESTING:
                    raise UserError(f"files use one another more than {NESTING} deep")
                source = self.read(path, shown)
                self._frame = Frame(around, item.path.span)
                self._build(source, place, os.path.dirname(path), root)
            except UserError as error:
                return self._fail(
                    problems.CannotUse(span=item.path.span, frame=around, path=wanted, reason=error.message)
                )
            finally:
                self._frame = around
        return self._files[place]

    def _fail(self, problem: Problem) -> Module | None:
        self.report.add(problem)
        return None

    def _import(self, item: ast.Use, used: Module, module: Module) -> None:
        for name in item.names or ():
            if name.text not in used.own:
                if not used.mutilated(name.text):
                    path, candidates = item.path.value, tuple(used.own)
                    problem = problems.NotInFile(
                        span=name.span, frame=self._frame, name=name.text, path=path, candidates=candidates
                    )
                    self.report.add(problem)
                module.uses.append((None, (name.text,)))
            elif name.text in module.own:
                earlier = module.own[name.text].name.span
                self.report.add(problems.DefinedTwice(span=name.span, name=name.text, earlier=earlier))
        names = [name.text for name in item.names] if item.names is not None else list(used.own)
        for text in names:
            definition = used.own.get(text)
            earlier_import = module.imported.get(text)
            if definition is None or text in module.own:
                continue
            if earlier_import is not None and earlier_import[1] is not definition:
                earlier = earlier_import[1].name.span
                self.report.add(problems.DefinedTwice(span=item.span, name=text, earlier=earlier))
            module.imported[text] = (used, definition)
