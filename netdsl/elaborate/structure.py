"""Statements that leave the current value unchanged, begin or end it: inputs, outputs, names, defaults,
expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.limits import NAME
from netdsl.base.shape import Size, Undecidable
from netdsl.declare.arguments import whole
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit, Rejected
from netdsl.elaborate.arithmetic import show_value
from netdsl.elaborate.context import CALLABLE, POISON, Context, NameTooLong, Poisoned, Scope
from netdsl.elaborate.expressions import ANY, evaluate, lookup
from netdsl.elaborate.flow import STATEMENT_RULES, branch
from netdsl.elaborate.labels import define_label, label_name
from netdsl.elaborate.layers import change_defaults, current, make_layer, reject_misfit
from netdsl.elaborate.part import feed
from netdsl.ir.net import Output
from netdsl.layers import find_layer
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.base.shape import Shape
    from netdsl.base.text import Span
    from netdsl.elaborate.context import ExprValue, Poison


def _only_in_nets(what: str, span: Span, context: Context) -> None:
    if isinstance(context.builder.active[-1].definition, ast.Block):
        context.reject(problems.Misplaced, span, what=what, where="in a block: it belongs to the net that calls it")


def _new_port(port: ast.Port, context: Context) -> str:
    """Return the name of an input or output. Rejects a second one with the same name."""
    builder = context.builder
    for part in port.parts:
        if isinstance(part, ast.Name) and isinstance(lookup(part.text, context), CALLABLE):
            context.reject(problems.BranchTouchesName, part.span, layer=part.text)
    name = label_name(port.parts, context)
    if len(name) > NAME:
        raise NameTooLong(name)
    context.module.work.spend(len(builder.inputs), port.span, context.frame)
    nested = builder.active[-1].part
    outputs = nested.outputs if nested else builder.outputs
    earlier = [node.span for node in builder.inputs if node.name == name and not nested]
    earlier += [outputs[name].span] if name in outputs else []
    if earlier:
        context.reject(problems.OutputTwice, port.span, name=name, earlier=earlier[0])
    return name


def _input(stmt: ast.Input, context: Context, _: Scope | None) -> None:
    _only_in_nets("input", stmt.span, context)
    name = _new_port(stmt.name, context)
    part = context.builder.active[-1].part
    try:
        cls = find_layer("input")
        assert cls is not None
        layer = make_layer(stmt, cls, context, stmt.name.span, stmt.arguments)
        try:
            node = context.builder.node(layer, (), name, stmt.name.span, context.frame)
        except Misfit as misfit:
            reject_misfit(misfit, layer, (), stmt.name.span, stmt.cache[cls], context)
        if any(isinstance(size, Size) and "N" in size.symbols for size in node.shape):
            what = "`N` is the batch size, and cannot name another size"
            context.reject(problems.BadOperation, stmt.arguments[0].span, what=what)
        node.arguments = stmt.cache[cls]
        if part is not None:
            node = feed(node, part, context)
        else:
            node.shape = _named(node.shape, name)
            context.builder.inputs.append(node)
        context.value = node
    except (Rejected, Poisoned):
        define_label(name, stmt.name.span, POISON, context)
        raise
    define_label(name, stmt.name.span, node, context)


def _named(shape: Shape, name: str) -> Shape:
    """Return the shape with a name, made of the input's and the axis, for each size written as `?`."""
    return tuple(
        size.substitute({str(ANY): Size(f"{name}_{axis}")}) if isinstance(size, Size) else size
        for axis, size in enumerate(shape)
    )


def _output(stmt: ast.Output, context: Context, _: Scope | None) -> None:
    value = context.value
    try:
        _only_in_nets("output", stmt.span, context)
        name = _new_port(stmt.name, context)
        part = context.builder.active[-1].part
        if part is not None and stmt.training:
            return
        if stmt.body is not None:
            side = context.inside()
            side.training = side.training or stmt.training
            node = branch(stmt.body, side, context.scope.open(name))
        else:
            node = current(context, "output", stmt.name.span)
        if node is POISON:
            raise Poisoned
        outputs = context.builder.outputs if part is None else part.outputs
        outputs[name] = Output(name, node, stmt.name.span, stmt.training)
        if part is not None:
            context.builder.reach(f"{context.scope.path}{name}", node)
    except Rejected as rejected:
        if isinstance(rejected.problem, problems.TooLarge):
            raise
        context.builder.fail(stmt.span, rejected.problem)
    except Poisoned:
        context.builder.fail(stmt.span)
    context.value = value


def _let(stmt: ast.Let, context: Context, _: Scope | None) -> None:
    value: ExprValue | Poison
    try:
        value = evaluate(stmt.value, context)
    except Rejected as rejected:
        context.builder.fail(stmt.span, rejected.problem)
        value = POISON
    except Poisoned:
        value = POISON
    _quietly(lambda: context.define(stmt.name, value), stmt, context)


def _default(stmt: ast.Default, context: Context, _: Scope | None) -> None:
    def change() -> None:
        context.defaults = change_defaults(stmt, context)

    _quietly(change, stmt, context)


def _expect(stmt: ast.Expect, context: Context, _: Scope | None) -> None:
    if context.builder.active[-1].part is not None:
        return  # it holds for the net by itself, with its own input
    _quietly(lambda: (_expect_shape if stmt.what == "shape" else _expect_count)(stmt, context), stmt, context)


def _quietly(action: Callable[[], None], stmt: ast.Stmt, context: Context) -> None:
    """Run a statement that cannot affect the current value, reporting its problem."""
    try:
        action()
    except Rejected as rejected:
        context.builder.fail(stmt.span, rejected.problem)
    except Poisoned:
        context.builder.fail(stmt.span)


def _expect_shape(stmt: ast.Expect, context: Context) -> None:
    expected = evaluate(stmt.value, context)
    node = current(context, "expect", stmt.span)
    given = expected if isinstance(expected, tuple) else (expected,)
    sizes = tuple(size if isinstance(size, Size) else whole(size) for size in given)
    if None in sizes:
        what = f"`expect` takes sizes, such as `256x6x6`, not {show_value(expected)}"
        context.reject(problems.BadOperation, stmt.value.span, what=what)
    same = len(sizes) == len(node.shape)
    if not same or any(e != a and e != ANY for e, a in zip(sizes, node.shape, strict=True)):
        context.reject(problems.ExpectShape, stmt.value.span, expected=sizes, node=node)


def _expect_count(stmt: ast.Expect, context: Context) -> None:
    given = evaluate(stmt.value, context)
    expected = whole(given)
    builder = context.builder
    if expected is None:
        what = f"`expect {stmt.what}` takes an integer, not {show_value(given)}"
        context.reject(problems.BadOperation, stmt.value.span, what=what)
    if context.value is POISON or builder.failed or context.module.flawed or context.module.file.broken:
        raise Poisoned
    nodes, weights = context.start
    try:
        actual = builder.counted - weights if stmt.what == "params" else builder.macs(nodes, stmt.span, context.frame)
    except Undecidable:
        unknown = next(size for node in builder.nodes[nodes:] for size in node.shape if isinstance(size, Size))
        context.reject(problems.NotDecidable, stmt.value.span, size=str(unknown))
    if actual != expected:
        context.reject(problems.ExpectCount, stmt.value.span, what=stmt.what, expected=expected, actual=actual)


def _about(stmt: ast.About, context: Context, _: Scope | None) -> None:
    def collect() -> None:
        _only_in_nets("about", stmt.span, context)
        if context.builder.active[-1].part is None:
            context.builder.about.update(_settings(stmt.settings, context))

    _quietly(collect, stmt, context)


def _settings(lines: tuple[ast.Setting, ...], context: Context) -> dict[str, object]:
    """Return the lines of an `about`, with bare words as texts, several values as a list, and nested lines as a
    dict."""
    found: dict[str, object] = {}
    for line in lines:
        given = [v.text if isinstance(v, ast.Name) and not v.grouped else evaluate(v, context) for v in line.values]
        context.module.work.weigh(tuple(given), line.span, context.frame)
        value: object = given[0] if len(given) == 1 else given
        if line.lines is not None:
            value = {"": value, **_settings(line.lines, context)} if given else _settings(line.lines, context)
        found[line.key.text] = value
    return found


def _broken(*_: object) -> None:
    raise Poisoned


def _misplaced(stmt: ast.Stmt, context: Context, _: Scope | None) -> None:
    what = type(stmt).__name__.lower().replace("function", "fn").replace("alias", "net")
    context.reject(problems.Misplaced, stmt.span, what=what, where="in a net or block: it belongs to the file")


STATEMENT_RULES.update(
    {
        ast.Input: _input,
        ast.Output: _output,
        ast.Let: _let,
        ast.Default: _default,
        ast.Expect: _expect,
        ast.About: _about,
        ast.Broken: _broken,
        **dict.fromkeys((ast.Use, ast.Net, ast.Alias, ast.Block, ast.Function, ast.Train), _misplaced),
    }
)
