"""The description of the name at a position, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import elements, format_shape
from netdsl.base.text import Span
from netdsl.desk.analysis import sound
from netdsl.desk.hints import value_text
from netdsl.desk.words import describe
from netdsl.elaborate.arithmetic import show_value
from netdsl.elaborate.functions import BUILTINS
from netdsl.layers import find_layer
from netdsl.layers.pages import default_text, layer_page
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.desk.analysis import DeskAnalysis
    from netdsl.elaborate.references import Reference
    from netdsl.ir.net import Node

MAX_VALUES_SHOWN = 6
"""Maximum number of values listed of a name or statement."""


class Hover:
    """A text in Markdown about a span."""

    __slots__ = ("span", "text")

    def __init__(self, span: Span, text: str) -> None:
        self.span = span
        self.text = text


def hover(analysis: DeskAnalysis, offset: int) -> Hover | None:
    """Describe the name at an offset."""
    found = _name(analysis, offset) or _word(analysis, offset)
    explained = [*_explained(analysis, offset)]
    if not explained:
        return found
    span, texts = explained[0][0], [text for _, text in explained]
    return Hover(found.span if found else span, "\n\n---\n\n".join([*([found.text] if found else []), *texts]))


def _name(analysis: DeskAnalysis, offset: int) -> Hover | None:
    for reference in analysis.at(offset):
        parts = [part for part in _RULES[reference.kind](reference, analysis) if part]
        if parts:
            return Hover(reference.span, "\n\n".join(parts))
    return None


def _word(analysis: DeskAnalysis, offset: int) -> Hover | None:
    """Return what a word of the language means."""
    for token in analysis.scan.tokens if analysis.scan else ():
        if token.start <= offset < token.end and token.text.isidentifier():
            known = describe(token.text) if token.choices != ("NAME",) else None
            if known:
                return Hover(Span(analysis.source, token.start, token.end), f"{_code(known[0])}\n\n{known[1]}")
    return None


def _explained(analysis: DeskAnalysis, offset: int) -> Iterator[tuple[Span, str]]:
    """Yield the first paragraph about each problem at an offset."""
    from netdsl.diagnostics.catalogue import docstring

    for problem in analysis.problems:
        if problem.span.source is analysis.source and problem.span.start <= offset <= problem.span.end:
            first = docstring(type(problem)).split("\n\n")[0]
            yield problem.span, f"**{problem.code}** {problem.title}: {' '.join(first.split())}"


def _code(text: str) -> str:
    return f"```net\n{text}\n```"


def _layer(reference: Reference, analysis: DeskAnalysis) -> Iterator[str]:
    page = layer_page(reference.span.text)
    if page is not None:
        yield _code(page.usage)
        yield page.paragraphs[0]
        yield from _applied(reference, analysis)
        yield f"*{page.name}* in docs/layers/{page.family.rpartition('.')[2]}.md; `netdsl layers {page.name}`"


def _applied(reference: Reference, analysis: DeskAnalysis) -> Iterator[str]:
    """Yield the values of the statement that a name begins."""
    nodes, count = _results(reference, analysis)
    rows = [_row(node) for node in nodes[:MAX_VALUES_SHOWN]]
    if rows:
        more = f"\n\n… and {count - len(rows)} more" if count > len(rows) else ""
        table = "\n".join(["| name | from | to | weights |", "| --- | --- | --- | --: |", *dict.fromkeys(rows)])
        yield table + more


def _row(node: Node) -> str:
    inputs = ", ".join(dict.fromkeys(value_text(x) for x in node.inputs))
    weights = sum(elements(p.shape) for p in node.parameters.values() if not p.buffer)
    return f"| `{node.name}` | {inputs} | {value_text(node)} | {weights:,} |"


def _results(reference: Reference, analysis: DeskAnalysis) -> tuple[list[Node], int]:
    """Return the values of the statements that begin at a name, and their number."""
    for stmt, values in analysis.values.items():
        head = stmt.head if isinstance(stmt, ast.Call) else stmt.kind if isinstance(stmt, ast.Merge) else None
        if head is not None and head.span == reference.span:
            return values.nodes, values.count
    return [], 0


def _keyword(reference: Reference, _: DeskAnalysis) -> Iterator[str]:
    cls = find_layer(reference.owner)
    argument = cls.arguments.get(reference.span.text) if cls else None
    if argument is None:
        yield f"`{reference.span.text}` of `{reference.owner}`"
        return
    default = default_text(argument)
    yield _code(f"{reference.owner} … {argument.name} {default or argument.name.upper()}")
    yield argument.doc[:1].upper() + argument.doc[1:] + "." if argument.doc else ""
    yield f"It takes {argument.kind.expected}." + (f" The default is `{default}`." if default else "")


def _parameter(reference: Reference, analysis: DeskAnalysis) -> Iterator[str]:
    yield from _variable(reference, analysis)
    parameter = next((each for each in _parameters(analysis) if each.name.span == reference.definition), None)
    if parameter is not None and parameter.name.span.text != parameter.span.text:
        yield _code(parameter.span.text)


def _parameters(analysis: DeskAnalysis) -> Iterator[ast.Parameter]:
    for module in (analysis.module, *(used for used, _ in analysis.module.uses if used)):
        for item in module.own.values():
            if isinstance(item, (ast.Net, ast.Block)):
                yield from item.parameters


def _variable(reference: Reference, analysis: DeskAnalysis) -> Iterator[str]:
    values: dict[str, None] = {}
    for known in analysis.values.values():
        for context in known.contexts:
            found = context.variables.find(reference.span.text)
            if found is not None and found[1] == reference.definition and sound(found[0]):
                values[show_value(found[0])] = None
    shown = [value if "`" in value else f"`{value}`" for value in [*values][:MAX_VALUES_SHOWN]]
    kind = "parameter" if reference.kind == "parameter" else "variable"
    text = f"{kind} `{reference.span.text}`"
    yield f"{text}: {', '.join(shown)}{', …' * (len(values) > MAX_VALUES_SHOWN)}" if shown else text


def _value(reference: Reference, analysis: DeskAnalysis) -> Iterator[str]:
    found = analysis.module.find(reference.span.text)
    if found is not None and isinstance(found[1], ast.Let):
        yield _code(found[1].span.text)
        value = found[0].known_let(reference.span.text)
        if sound(value):
            yield f"= {show_value(value)}"


def _definition(reference: Reference, analysis: DeskAnalysis) -> Iterator[str]:
    found = analysis.module.find(reference.span.text)
    if found is None:
        return
    definition = found[1]
    if isinstance(definition, (ast.Net, ast.Block)):
        kind = "net" if isinstance(definition, ast.Net) else "block"
        parameters = ", ".join(each.span.text for each in definition.parameters)
        yield _code(f"{kind} {definition.name.text}" + (f"({parameters})" if parameters else ""))
    else:
        yield _code(definition.span.text)
    yield getattr(definition, "doc", "")
    yield from _applied(reference, analysis)
    for each in analysis.attempts:
        if each.instance.definition is definition and each.net is not None:
            outputs = ", ".join(f"`{out.name}` {format_shape(out.node.shape)}" for out in each.net.outputs.values())
            weights = sum(elements(p.shape) for p in each.net.parameters.values() if not p.buffer)
            yield f"{len(each.net.nodes)} layers, {weights:,} weights; {outputs}"
            return


def _label(reference: Reference, analysis: DeskAnalysis) -> Iterator[str]:
    lines: dict[str, None] = {}
    for stmt, values in analysis.values.items():
        labelled = isinstance(stmt, ast.Labelled) and stmt.label_span == reference.definition
        port = isinstance(stmt, (ast.Input, ast.Output)) and stmt.name.span == reference.definition
        if labelled or port:
            for node in values.nodes:
                lines[f"`{node.name}` {value_text(node)}"] = None
    yield f"{reference.kind} `{reference.span.text}`"
    shown = [*lines][:MAX_VALUES_SHOWN]
    yield "\n".join(f"- {line}" for line in [*shown, *(["…"] if len(lines) > len(shown) else [])])


def _allowed_word(reference: Reference, _: DeskAnalysis) -> Iterator[str]:
    cls = find_layer(reference.owner)
    for argument in cls.arguments.values() if cls else ():
        if reference.span.text in argument.kind.words:
            yield f"`{argument.name}` of `{reference.owner}`: {argument.doc}"
            return


def _builtin(reference: Reference, _: DeskAnalysis) -> Iterator[str]:
    known = describe(reference.span.text)
    if known:
        yield known[1]
    elif reference.span.text in BUILTINS:
        yield f"the built-in function `{reference.span.text}`"


_RULES = {
    "layer": _layer,
    "keyword": _keyword,
    "parameter": _parameter,
    "variable": _variable,
    "value": _value,
    "net": _definition,
    "block": _definition,
    "function": _definition,
    "label": _label,
    "input": _label,
    "output": _label,
    "word": _allowed_word,
    "builtin": _builtin,
}
