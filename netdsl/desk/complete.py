"""What can be typed at a position, and the signature of the call around it."""

from __future__ import annotations

import os
import re
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from netdsl.base.files import read_source
from netdsl.base.paths import data
from netdsl.base.user_error import UserError
from netdsl.desk.document import net_files
from netdsl.desk.hints import shapes_text
from netdsl.desk.place import Place
from netdsl.desk.words import ABOUT_LINES, ITEMS, OTHERS, STATEMENTS, TRAIN_LINES
from netdsl.elaborate.bind import Signature
from netdsl.elaborate.blocks import block_signature
from netdsl.elaborate.functions import BUILTINS
from netdsl.elaborate.layers import declared_signature
from netdsl.elaborate.library import ZOO_PREFIX, zoo_nets
from netdsl.elaborate.net import net_of
from netdsl.elaborate.part import net_signature
from netdsl.elaborate.recipe_pages import TABLES
from netdsl.elaborate.train_lines import LINE_KEYS
from netdsl.elaborate.train_numbers import NUMBER_LINES, Dtype
from netdsl.layers import find_layer, layer_modules
from netdsl.layers.pages import ReferencePage, default_text, layer_page
from netdsl.schedules import EarlyStopping
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netdsl.declare.declared import Declared
    from netdsl.desk.analysis import DeskAnalysis

MERGES = ("add", "sub", "mul", "div", "max", "min", "concat")
MAX_FILES, DEPTH = 500, 3
"""Maximum number of files listed behind `use`, and of folders above them."""
NOT_CALLED = (*MERGES, "input")
"""Layers that are statements of their own."""
TRAIN_TABLES = {
    "loss": "losses",
    "metric": "metrics",
    "optimizer": "optimizers",
    "schedule": "schedules",
    "data": "data",
    "validate": "data",
}
"""What the lines of a `train` block select from."""


class Completion:
    """A word that can be typed: what it is, its form, and a sentence. Words of a lower `rank` are listed first."""

    __slots__ = ("detail", "kind", "rank", "text", "word")

    def __init__(self, word: str, kind: str, detail: str = "", text: str = "", rank: int = 1) -> None:
        self.word = word
        self.kind = kind
        self.detail = detail
        self.text = text
        self.rank = rank


class Completions:
    """The words that can replace the text from `start` to the position."""

    __slots__ = ("items", "start")

    def __init__(self, start: int, items: list[Completion]) -> None:
        self.start = start
        self.items = items


def complete(analysis: DeskAnalysis, offset: int) -> Completions:
    """Return the words that can be typed at an offset, each once."""
    comments = analysis.scan.comments if analysis.scan else ()
    if any(start < offset <= end for start, end in comments):
        return Completions(offset, [])
    place = Place(analysis, offset)
    if place.is_quoted:
        start = offset - len(place.quoted)
        return Completions(start, list(_files(analysis)) if place.words[:1] == ["use"] else [])
    found: dict[str, Completion] = {}
    for each in _possible(place, analysis):
        found.setdefault(each.word, each)
    return Completions(place.start, list(found.values()))


def _possible(place: Place, analysis: DeskAnalysis) -> Iterator[Completion]:
    if place.in_expression:
        yield from _expression(place, analysis)
    elif "train" in place.owners:
        yield from _train(place, analysis)
    elif place.owner == "about":
        yield from (Completion(word, "key") for word in ABOUT_LINES if not place.words)
    elif not place.words:
        yield from _forms(ITEMS) if place.is_file else _statement(analysis)
    elif place.is_file or place.words[0] in STATEMENTS:
        yield from _inside(place, analysis)
    else:
        yield from _call(place, analysis)


def _forms(table: dict[str, tuple[str, str]]) -> Iterator[Completion]:
    for word, (form, text) in table.items():
        yield Completion(word, "statement", form, text)


def _statement(analysis: DeskAnalysis) -> Iterator[Completion]:
    """Yield what can begin a statement of a body."""
    yield from _definitions(analysis, (ast.Block,), rank=0)
    yield from _forms(STATEMENTS)
    yield from (item for item in layer_items() if item.word not in NOT_CALLED)
    yield from _definitions(analysis, (ast.Net, ast.Alias), rank=2)


@cache
def layer_items() -> tuple[Completion, ...]:
    """Return all layers with their usage."""
    pages = (layer_page(name) for name in layer_modules())
    return tuple(Completion(page.name, "layer", page.usage, page.summary) for page in pages if page)


def _definitions(analysis: DeskAnalysis, kinds: tuple[type[ast.Stmt], ...], rank: int = 1) -> Iterator[Completion]:
    module = analysis.module
    for name in module.names():
        found = module.find(name)
        if found is not None and isinstance(found[1], kinds):
            definition = found[1]
            kind = {ast.Block: "block", ast.Function: "function", ast.Let: "variable"}.get(type(definition), "net")
            form = definition.span.text.partition("{")[0].partition("\n")[0].strip()
            yield Completion(name, kind, form, getattr(definition, "doc", ""), rank)


def _expression(place: Place, analysis: DeskAnalysis) -> Iterator[Completion]:
    yield from _variables(place, analysis)
    yield from _definitions(analysis, (ast.Let, ast.Function))
    yield from (Completion(word, *("word", *OTHERS[word])) for word in ("on", "off", "channels", "shape", "match"))
    yield from (Completion(name, "function") for name in BUILTINS)


def _variables(place: Place, analysis: DeskAnalysis) -> Iterator[Completion]:
    """Yield the parameters and variables that are visible."""
    for each in analysis.references:
        is_variable = each.kind in ("variable", "parameter") and each.span == each.definition
        if is_variable and place.sees(each, analysis):
            yield Completion(each.span.text, "variable", each.kind, rank=0)


def _labels(place: Place, analysis: DeskAnalysis) -> Iterator[Completion]:
    """Yield the labels that are visible, with their shapes."""
    shapes = {}
    for stmt, values in analysis.values.items():
        if isinstance(stmt, (ast.Labelled, ast.Input)) and values.nodes:
            span = stmt.label_span if isinstance(stmt, ast.Labelled) else stmt.name.span
            shapes[span] = shapes_text(values)
    for each in analysis.references:
        if each.kind in ("label", "input") and each.span == each.definition and place.sees(each, analysis):
            yield Completion(each.span.text, "label", shapes.get(each.span, ""), rank=0)


def _inside(place: Place, analysis: DeskAnalysis) -> Iterator[Completion]:
    """Yield what can follow in a definition or statement that is no call."""
    head, *rest = place.words
    if head in ("from", "reuse"):
        yield from _labels(place, analysis)
    elif head in MERGES:
        yield from _labels(place, analysis)
        cls = find_layer(head)
        yield from (Completion(word, "keyword") for word in (cls.arguments if cls and not rest else ()))
    elif head == "use":
        yield from _names_in_file(place, analysis)
        yield Completion("from", "statement", rank=2)
    elif head == "default":
        yield from _keywords(rest[0], rest[1:]) if rest else layer_items()
        yield from _expression(place, analysis) if len(rest) > 1 else ()
    elif head == "input":
        yield from _keywords("input", rest[1:])
    elif head in ("net", "train"):
        yield from _definitions(analysis, (ast.Net, ast.Alias)) if head == "train" or "=" in rest else ()
    elif head == "expect":
        yield from (Completion(word, "word") for word in ("params", "macs"))
        yield from _expression(place, analysis)
    elif head == "output":
        yield Completion("training", "word")
    elif head not in ("block", "freeze", "about"):
        yield from _expression(place, analysis)
        if head == "let":
            yield from _definitions(analysis, (ast.Block,))


def _names_in_file(place: Place, analysis: DeskAnalysis) -> Iterator[Completion]:
    """Yield the definitions of the file at the end of a `use` line, which may not parse yet."""
    text = analysis.source.text
    rest = re.match(r'[^\n"]*\bfrom\s+"([^"\n]+)"', text[place.start :])
    if rest is None:
        return
    path = os.path.join(os.path.dirname(analysis.document.path), rest[1])
    if rest[1].startswith(ZOO_PREFIX):
        path = os.path.join(data("specs"), rest[1][len(ZOO_PREFIX) :])
    try:
        lines = read_source(path).text
    except UserError:
        return
    for kind, name in re.findall(r"^(net|block|fn|let)\s+(\w+)", lines, re.MULTILINE):
        yield Completion(name, {"fn": "function", "let": "variable"}.get(kind, kind), rank=0)


def _call(place: Place, analysis: DeskAnalysis) -> Iterator[Completion]:
    """Yield keywords that are not given yet, words of the last one, and names."""
    head, *given = place.words
    signature = signature_of(head, analysis)
    if signature is not None:
        last = given[-1] if given else ""
        if last in signature.labels:
            yield from _labels(place, analysis)
            return
        at = len(given)
        place_name = signature.by_place[at] if at < len(signature.by_place) else ""
        words = signature.words.get(last if last in signature.by_keyword else place_name, ())
        yield from (Completion(word, "word", rank=0) for word in words)
        if last in signature.flags:
            yield from (Completion(word, "word", rank=0) for word in ("on", "off"))
            return
        if last not in signature.by_keyword:
            yield from _keywords(head, given, signature)
        cls = find_layer(head)
        if (cls and cls.operands) or "until" in signature.by_keyword:
            yield from _labels(place, analysis)
    yield from _expression(place, analysis)


def signature_of(head: str, analysis: DeskAnalysis) -> Signature | None:
    """Return what the block, layer or net of a name accepts."""
    block, cls, net = analysis.module.block(head), find_layer(head), analysis.module.net(head)
    if block is not None:
        return block_signature(block.block)
    if cls is not None:
        return declared_signature(cls)
    definition = net_of(net.definition, net.module) if net else None
    return net_signature(definition) if definition else None


def _keywords(callee: str, given: list[str], signature: Signature | None = None) -> Iterator[Completion]:
    cls = find_layer(callee)
    if signature is None and cls is not None:
        signature = declared_signature(cls)
    for name in signature.by_keyword if signature else ():
        if name not in given:
            argument = cls.arguments.get(name) if cls else None
            default = default_text(argument) if argument else ""
            doc = argument.doc if argument else signature.docs.get(name, "") if signature else ""
            yield Completion(name, "keyword", f"{name} {default}".rstrip(), doc, rank=0)


def _train(place: Place, analysis: DeskAnalysis) -> Iterator[Completion]:
    """Yield what fits in a `train` block."""
    if place.owner == "augment":
        yield from _components(TABLES["augmentations"].classes, place.words)
        return
    if not place.words:
        for key in LINE_KEYS:
            form, text = TRAIN_LINES.get(key, ("", ""))
            number = NUMBER_LINES.get(key)
            yield Completion(key, "key", form, text or (number.__doc__ or "" if number else ""))
        return
    head, *rest = place.words
    if head in TRAIN_TABLES:
        if head in ("loss", "metric") and not rest:
            outputs = (each for each in analysis.references if each.kind == "output" and each.span == each.definition)
            yield from (Completion(each.span.text, "label", "output") for each in outputs)
        yield from _components(TABLES[TRAIN_TABLES[head]].classes, rest)
        if head == "validate" and not rest:
            yield Completion("part", "word")
    elif head == "stop":
        yield from _arguments(EarlyStopping, rest)
    elif head == "dtype":
        yield from _arguments(Dtype, rest)
    elif head in NUMBER_LINES:
        yield from _arguments(NUMBER_LINES[head], rest)
    if head == "freeze" or "except" in rest:
        yield from (
            Completion(each.span.text, "label")
            for each in analysis.references
            if each.kind == "label" and each.span == each.definition and each.exact
        )


def _components(classes: Mapping[str, type[Declared]], given: list[str]) -> Iterator[Completion]:
    """Yield the names of a table or, behind one, its keywords and their words."""
    named = [word for word in given if word in classes]
    if named:
        yield from _arguments(classes[named[0]], given)
        return
    for name, cls in classes.items():
        page = ReferencePage(cls)
        yield Completion(name, "word", page.usage, page.summary, rank=0)


def _arguments(cls: type[Declared], given: list[str]) -> Iterator[Completion]:
    last = cls.arguments.get(given[-1]) if given else None
    if last is not None and last.kind.words:
        yield from (Completion(word, "word", rank=0) for word in last.kind.words)
        return
    for argument in cls.arguments.values():
        if argument.keyword and argument.name not in given:
            detail = f"{argument.name} {default_text(argument)}".rstrip()
            yield Completion(argument.name, "keyword", detail, argument.doc, rank=0)


def _files(analysis: DeskAnalysis) -> Iterator[Completion]:
    """Yield the paths of shipped nets, and of the `.net` files beside the document."""
    folder = os.path.dirname(analysis.document.path)
    for path in islice(net_files(folder, DEPTH), MAX_FILES):
        if path != analysis.document.path:
            yield Completion(os.path.relpath(path, folder).replace(os.sep, "/"), "file", rank=0)
    yield from (Completion(ZOO_PREFIX + name, "file", rank=1) for name in dict.fromkeys(zoo_nets().values()))


class SignatureHelp:
    """A call's usage, the ranges of its arguments in it, and the number of the current one."""

    __slots__ = ("active", "documentation", "parameters", "usage")

    def __init__(self, usage: str, names: list[str], active: int, documentation: str) -> None:
        self.usage = usage
        self.documentation = documentation
        self.active = active
        found = [re.search(rf"(?<!\w){re.escape(name)}(?!\w)", usage, re.IGNORECASE) for name in names]
        self.parameters = [each.span() if each else (0, 0) for each in found]


def signature_help(analysis: DeskAnalysis, offset: int) -> SignatureHelp | None:
    """Return the usage of the call at an offset."""
    place = Place(analysis, offset)
    if place.is_quoted or not place.words or place.is_file or place.words[0] in STATEMENTS:
        return None
    head, *given = place.words
    signature = signature_of(head, analysis)
    if signature is None:
        return None
    page = layer_page(head) if analysis.module.block(head) is None else None
    names = [name for name in signature.by_place if name not in signature.by_keyword] + list(signature.by_keyword)
    last = next((word for word in reversed(given) if word in signature.by_keyword), None)
    bare = len(given)
    active = names.index(last) if last else min(bare, len(names))
    docs = signature.docs.get(names[active], "") if active < len(names) else ""
    return SignatureHelp(page.usage if page else signature.usage, names, active, docs)
