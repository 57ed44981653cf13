"""A compact way to write the tree of a text."""

from __future__ import annotations

from netdsl.base.text import Source, Span
from netdsl.diagnostics.report import Report
from netdsl.syntax import ast
from netdsl.syntax.parse import parse


def read(text: str) -> tuple[ast.File, Report]:
    report = Report()
    return parse(Source("test.net", text), report), report


def sound(text: str) -> ast.File:
    """The tree of a text without mistakes."""
    file, report = read(text)
    assert [(p.code, p.span) for p in report] == []
    assert not file.broken
    return file


def dump(value: object) -> str:
    """`(Call (Name conv) [(Dims 3 3)])`: a node's kind and fields; a star where parentheses stood."""
    if isinstance(value, ast.Node):
        made_of = type(value).__init__.__code__
        names = made_of.co_varnames[1 : made_of.co_argcount]
        fields = [dump(getattr(value, n)) for n in names if n not in ("span", "label_span")]
        star = "*" if isinstance(value, ast.Expr) and value.grouped else ""
        return f"({' '.join([type(value).__name__ + star, *fields])})"
    if isinstance(value, tuple):
        return f"[{' '.join(dump(item) for item in value if not isinstance(item, Span))}]"
    return value if isinstance(value, str) and value.isalnum() else "-" if value is None else repr(value)


def expression(text: str) -> str:
    let = sound(f"let x = {text}").items[0]
    assert isinstance(let, ast.Let)
    return short(let.value)


def short(value: object) -> str:
    """An expression as an s-expression: operators first, words and numbers bare, `'` before what parentheses held."""
    quote = "'" if isinstance(value, ast.Expr) and value.grouped else ""
    return quote + _short(value)


def _short(value: object) -> str:
    match value:
        case ast.Number() | ast.Switch():
            return repr(value.value)
        case ast.Text():
            return f'"{value.value}"'
        case ast.Name():
            return value.text
        case ast.Unknown():
            return f"?{value.name or ''}"
        case ast.Dims():
            return "x".join("?" if size is None else str(size) for size in value.sizes)
        case ast.Path():
            return ".".join("".join(p if isinstance(p, str) else f"{{{short(p)}}}" for p in s) for s in value.segments)
        case ast.List():
            return f"[{' '.join(map(short, value.items))}]"
        case ast.Comprehension():
            return f"[{short(value.item)} {' '.join(map(short, value.generators))}]"
        case ast.Generator():
            names = " ".join(map(short, value.names))
            condition = f" if {short(value.condition)}" if value.condition else ""
            return f"for {names} in {short(value.iterable)}{condition}"
        case ast.Slice():
            start, stop = (short(bound) if bound else "-" for bound in (value.start, value.stop))
            return f"(slice {short(value.value)} {start} {stop})"
        case ast.Unary():
            return f"({value.op} {short(value.operand)})"
        case ast.Binary():
            return f"({short(value.first)} {' '.join(f'{op} {short(operand)}' for op, _, operand in value.steps)})"
        case ast.Ternary():
            return f"(if {short(value.condition)} {short(value.then)} {short(value.otherwise)})"
        case ast.Index():
            return f"(at {short(value.value)} {short(value.index)})"
        case ast.Apply():
            return f"({' '.join(map(short, (value.function, *value.arguments)))})"
        case ast.Match():
            arms = (f"({'_' if p is None else short(p)} => {short(v)})" for p, v in value.arms)
            return f"(match {short(value.subject)} {' '.join(arms)})"
    raise AssertionError(value)


def nodes(root: object) -> list[tuple[ast.Node, Span | None]]:
    """Every node below, with the span of the node around it."""
    found: list[tuple[ast.Node, Span | None]] = []
    todo: list[tuple[object, Span | None]] = [(root, None)]
    while todo:
        value, around = todo.pop()
        if isinstance(value, tuple):
            todo += [(item, around) for item in value]
        elif isinstance(value, ast.Node):
            found.append((value, around))
            names = {n for base in type(value).__mro__ for n in getattr(base, "__slots__", ())} - {"span", "cache"}
            todo += [(getattr(value, n), value.span) for n in names]
    return found
