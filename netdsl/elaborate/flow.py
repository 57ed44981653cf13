"""Statements that change the current value: calls, labels, references, `skip`, merges and loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.base.limits import NAME, NESTING, ROUNDS
from netdsl.base.shape import Size
from netdsl.base.text import Frame, Span
from netdsl.declare.arguments import LayerLabel, whole
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Rejected
from netdsl.diagnostics.report import ROUND, STATEMENT
from netdsl.elaborate.arithmetic import show_value
from netdsl.elaborate.bind import Bound, split_operands
from netdsl.elaborate.blocks import expand_block
from netdsl.elaborate.context import (
    POISON,
    BlockValue,
    Context,
    LabelValue,
    LayerValue,
    NameTooLong,
    NetValue,
    Poisoned,
    Scope,
)
from netdsl.elaborate.expressions import condition, evaluate
from netdsl.elaborate.labels import define_label, find_label, label_name, value_of
from netdsl.elaborate.layers import (
    apply_layer,
    convert_argument,
    current,
    declared_signature,
    defaults_of,
    make_layer,
    unknown_layer,
)
from netdsl.elaborate.loops import bind_entry, entries_of
from netdsl.layers import find_layer
from netdsl.layers.base import Layer
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.elaborate.context import Poison
    from netdsl.ir.net import Node


def _count_rounds(count: int, span: Span, context: Context) -> int:
    """Count the rounds of a loop before they are expanded, multiplied with those of the enclosing loops."""
    around = context.rounds * count
    if around > ROUNDS:
        what = "rounds, including those of the enclosing loops,"
        context.reject(problems.TooLarge, span, what=what, count=around, limit=ROUNDS)
    context.builder.round(span, context.frame, count)
    context.module.work.spend(ROUND * count, span, context.frame)
    return around


def _rounds(stmt: ast.For, context: Context) -> list[Context]:
    """Yield a context for each round of a `for` with its names bound, starting from the current value."""
    entries = entries_of(stmt, context)
    around = _count_rounds(len(entries), stmt.iterable.span, context)
    found = []
    for entry in entries:
        inner = bind_entry(stmt, entry, context)
        inner.rounds = around
        found.append(inner)
    return found


STATEMENT_RULES: dict[type[ast.Stmt], Callable[[Any, Context, Scope | None], None]] = {}
"""The effect of each statement on a context; the scope is the one that a label, or a numbered round, opened for it."""


def run_body(body: ast.Body, context: Context) -> None:
    """Run the statements of a body; a problem in one is reported and poisons the value."""
    if context.depth > NESTING:
        what = "nested braces, including those of called blocks,"
        context.reject(problems.TooLarge, body.span, what=what, count=context.depth, limit=NESTING)
    for stmt in body.statements:
        run_statement(stmt, context)


def run_statement(stmt: ast.Stmt, context: Context, opened: Scope | None = None) -> None:
    """Run one statement. Raises Rejected if a budget is exhausted, which ends the net."""
    context.module.work.spend(STATEMENT, stmt.span, context.frame)
    try:
        STATEMENT_RULES[type(stmt)](stmt, context, opened)
    except NameTooLong as name:
        what = "characters of a name, including its scopes,"
        context.reject(problems.TooLarge, stmt.span, what=what, count=len(name.path), limit=NAME)
    except Rejected as rejected:
        if isinstance(rejected.problem, problems.TooLarge):
            raise
        context.builder.fail(stmt.span, rejected.problem)
        context.value = POISON
    except Poisoned:
        context.builder.fail(stmt.span)
        context.value = POISON
    if context.builder.observer is not None:
        context.builder.observer(stmt, context)


def branch(body: ast.Body, context: Context, scope: Scope | None = None) -> Node | Poison:
    """Return the value of a body applied to the current value, which stays. Raises Rejected if it has none."""
    inner = context.inside(scope)
    run_body(body, inner)
    return POISON if inner.value is POISON else current(inner, "this branch", body.span)


def _call(stmt: ast.Call, context: Context, opened: Scope | None) -> None:
    callee = _callee(stmt.head, context)
    if isinstance(callee, NetValue):
        from netdsl.elaborate.part import expand_net

        expand_net(callee, stmt, context, opened)
        return
    if stmt.operands and not isinstance(callee, BlockValue):
        _check_labels(stmt, callee, context)
    if stmt.operands and (isinstance(callee, BlockValue) or not callee.operands):
        name = callee.block.name.text if isinstance(callee, BlockValue) else callee.kind
        context.reject(problems.TakesNoOperands, stmt.operands[0].span, callee=name)
    if isinstance(callee, BlockValue):
        expand_block(callee, stmt, context, opened, run_body)
        return
    head, arguments = stmt.head.span, stmt.arguments
    labels: tuple[ast.Operand, ...] = ()
    if callee.operands:
        arguments, labels = split_operands(arguments, declared_signature(callee), context)
    layer = make_layer(stmt, callee, context, head, arguments)
    bound: tuple[Bound, ...] = stmt.cache[callee]
    inputs = _inputs(callee, (*labels, *stmt.operands), head, context, opened)
    if layer.values:
        given = {argument.name: argument.expr for argument in bound}
        inputs += tuple([_labelled_value(given[name], context) for name in layer.values if name in given])
    context.value = apply_layer(layer, inputs, head, context, opened, bound)


def _check_labels(stmt: ast.Call, callee: type[Layer], context: Context) -> None:
    """Reject a branch behind a keyword that takes a label. Raises Rejected."""
    keywords = [name.text if isinstance(name, ast.Name) else "" for name in stmt.arguments]
    declared = declared_signature(callee).by_keyword
    layers = [name for name, argument in callee.arguments.items() if isinstance(argument.kind, LayerLabel)]
    takes = keywords and keywords[-1] in (*callee.values, *layers)
    if takes and (len(keywords) == 1 or keywords[-2] not in declared):
        names = tuple(context.scope.visible())
        span, name = stmt.operands[0].span, keywords[-1]
        more = {"callee": callee.kind, "name": name, "head": stmt.head.span, "names": names}
        meant = [
            node.span
            for node in context.builder.nodes
            if node.parameters and node.layer.kind == span.text[1:-1].strip() and node.frame is None
        ]
        context.reject(problems.BranchForLabel, span, layer=name in layers, meant=tuple(meant), **more)


def _labelled_value(expr: ast.Expr, context: Context) -> Node:
    """Return the value of a keyword that takes a label. Raises Rejected or Poisoned."""
    assert isinstance(expr, (ast.Name, ast.Path)), expr
    return value_of(find_label(expr, context))


def _inputs(
    cls: type[Layer], operands: tuple[ast.Operand, ...], head: Span, context: Context, opened: Scope | None
) -> tuple[Node, ...]:
    """Return the operands of a layer, or the current value. Raises Rejected or Poisoned."""
    if not operands and (not cls.operands or 0 in cls.operands):
        if not cls.flow and context.value is not None:
            return ()
        return (current(context, cls.kind, head),)
    values = operand_values(operands, context, opened)
    if len(values) not in cls.operands:
        span = operands[0].span.to(operands[-1].span) if operands else head
        counts = tuple(cls.operands)
        context.reject(
            problems.OperandCount, span, callee=cls.kind, counts=counts, given=len(values), usage=cls.operand_usage
        )
    if cls.flow_first and len(values) == 1:
        values.insert(0, current(context, cls.kind, head))
    return _sound(values)


def operand_values(operands: tuple[ast.Operand, ...], context: Context, opened: Scope | None) -> list[Node | Poison]:
    """Return the values of operands, of which a `for` has one for each round."""
    values: list[Node | Poison] = []
    for operand in operands:
        if isinstance(operand, ast.Body):
            values.append(branch(operand, context, opened))
        elif isinstance(operand, ast.For):
            values += [branch(operand.body, inner, opened) for inner in _rounds(operand, context)]
        else:
            values.append(value_of(find_label(operand, context)))
    return values


def _sound(values: list[Node | Poison]) -> tuple[Node, ...]:
    """Return values of which none has failed. Raises Poisoned."""
    nodes = tuple([value for value in values if value is not POISON])
    if len(nodes) < len(values):
        raise Poisoned
    return nodes


def _callee(head: ast.Name, context: Context) -> BlockValue | NetValue | type[Layer]:
    """Return what the head of a call means: a variable that holds a block, layer or net, a block of the file, a layer,
    or a net of the file."""
    found = context.variables.find(head.text)
    held = found[0] if found else context.module.variable(head.text, context)
    if held is POISON:
        raise Poisoned
    if isinstance(held, (BlockValue, NetValue)):
        return held
    name = held.name if isinstance(held, LayerValue) else head.text
    callee = context.module.block(name) or find_layer(name) or context.module.net(name)
    if callee is None:
        if held is not None:
            is_label = isinstance(held, LabelValue)
            context.reject(problems.NotCallable, head.span, name=name, value=show_value(held), is_label=is_label)
        if context.scope.find(name):
            context.reject(problems.NotCallable, head.span, name=name, value="a label", is_label=True)
        unknown_layer(head, context)
    assert callee is not None
    return callee


def _labelled(stmt: ast.Labelled, context: Context, _: Scope | None) -> None:
    name = label_name(stmt.label, context)
    earlier = context.scope.names.get(name)
    if earlier is not None:
        context.reject(problems.DefinedTwice, stmt.label_span, name=name, earlier=earlier.span)
    scope = context.scope.open(name, stmt.seq)
    around = context.inside()
    around.variables.outer = context.variables.copy()  # what is defined later is not part of it
    if isinstance(stmt.body, ast.Body):
        context.value = branch(stmt.body, context, scope)
    else:
        run_statement(stmt.body, context, scope)
    node = POISON if context.value is None else context.value
    define_label(name, stmt.label_span, node, context, scope=scope, statement=stmt, around=around)


def _sequence(stmt: ast.Sequence, context: Context, opened: Scope | None) -> None:
    """Number the layers of a `seq` without a label, which has a number itself."""
    if opened is None and not context.scope.seq:
        head = Span(stmt.span.source, stmt.span.start, stmt.span.start + len("seq"))
        context.reject(problems.NamelessSequence, head)
    scope = opened or context.scope.open(context.scope.name("seq"))
    scope.seq = True
    _inside(stmt.body, context, scope)
    if opened is None and context.value is not None:
        context.builder.reach(scope.path[:-1], context.value)


def _from(stmt: ast.From, context: Context, _: Scope | None) -> None:
    context.value = value_of(find_label(stmt.target, context))


def _reuse(stmt: ast.Reuse, context: Context, opened: Scope | None) -> None:
    label = find_label(stmt.target, context)
    if label.statement is None or label.context is None or label.scope is None:
        what = f"`{label.name}` is not a layer, block call or group, and cannot be applied again"
        context.reject(problems.BadOperation, stmt.target.span, what=what)
    original = label.scope
    again = opened or context.scope.open(f"{label.name}_{context.scope.ordinal(label.name, 2)}")
    scope = Scope(again.path, label.context.scope, original.seq, original.weights or original.path)
    inner = label.context.inside(scope, Frame(context.frame, stmt.span, name=label.name))
    inner.value = current(context, "reuse", stmt.span)
    body = label.statement.body
    if isinstance(body, ast.Body):
        run_body(body, inner)
    else:
        inner.scope = label.context.scope
        run_statement(body, inner, scope)
    context.value = inner.value


def _skip(stmt: ast.Skip, context: Context, opened: Scope | None) -> None:
    adds = stmt.condition is None or condition(stmt.condition, context)
    head = Span(stmt.span.source, stmt.span.start, stmt.span.start + len("skip"))
    identity = entry = current(context, "skip", head)
    body = branch(stmt.body, context, opened)
    if not adds:
        context.value = body
        return
    if body is POISON:
        raise Poisoned
    projected = stmt.projection is not None and body.shape != identity.shape
    if projected:
        identity = _project(stmt.projection, context, opened or context.scope)
    if body.shape != identity.shape:
        end = Span(stmt.span.source, stmt.body.span.end, stmt.body.span.end)
        context.reject(
            problems.SkipMismatch, head, body=body, identity=identity, entry=entry, projected=projected, end=end
        )
    context.value = apply_layer(_merge_layer("add"), (identity, body), head, context, opened)


def _project(body: ast.Body | None, context: Context, scope: Scope) -> Node:
    assert body is not None
    ordinal = scope.ordinal("downsample")
    value = branch(body, context, scope.open(f"downsample{ordinal if ordinal > 1 else ''}", seq=True))
    if value is POISON:
        raise Poisoned
    return value


_merges: dict[tuple[object, ...], Layer] = {}


def _merge_layer(kind: str, **given: object) -> Layer:
    key = (kind, *given.items())
    if key not in _merges:
        cls = find_layer(kind)
        assert cls is not None
        _merges[key] = cls(**given)
    return _merges[key]


def _merge_option(stmt: ast.Merge, context: Context) -> tuple[dict[str, object], tuple[Bound, ...]]:
    """Return the argument of a merge, `axis` or `spread`, and where it was given. Raises Rejected."""
    cls = find_layer(stmt.kind.text)
    assert cls is not None
    given = dict(defaults_of(stmt.kind.text, context))
    if stmt.option is None:
        return given, ()
    if not cls.arguments:
        context.reject(problems.NeedlessSpread, stmt.option.span, layer=stmt.kind.text, operand=stmt.operands[0].span)
    value = evaluate(stmt.option, context)
    (name,) = cls.arguments
    if name == "axis" and type(value) is not int:
        what = f"an axis is an integer, not {show_value(value)}"
        context.reject(problems.BadOperation, stmt.option.span, what=what)
    bound = Bound(name, stmt.option, stmt.option.span)
    return {**given, name: convert_argument(cls, bound, value, context)}, (bound,)


def _merge(stmt: ast.Merge, context: Context, opened: Scope | None) -> None:
    given, arguments = _merge_option(stmt, context)
    values = operand_values(stmt.operands, context, opened)
    if len(stmt.operands) == 1 and not isinstance(stmt.operands[0], ast.For):
        values.insert(0, current(context, stmt.kind.text, stmt.kind.span))
    nodes = _sound(values)
    if not nodes:
        context.reject(problems.NoOperands, stmt.kind.span, what=stmt.kind.text)
    context.value = nodes[0]
    if len(nodes) > 1:
        layer = _merge_layer(stmt.kind.text, **given)
        context.value = apply_layer(layer, nodes, stmt.kind.span, context, opened, arguments)


def _for(stmt: ast.For, context: Context, opened: Scope | None) -> None:
    for inner in _rounds(stmt, context):
        inner.value = context.value
        inner.scope = opened or inner.scope
        run_body(stmt.body, inner)
        context.value = inner.value


def _repeat(stmt: ast.Repeat, context: Context, opened: Scope | None) -> None:
    given = evaluate(stmt.count, context)
    count = whole(given)
    if isinstance(given, Size):
        context.reject(problems.NotDecidable, stmt.count.span, size=str(given))
    if count is None or count < 0:
        what = f"`repeat` takes an integer of at least 0, not {show_value(given)}"
        context.reject(problems.BadCount, stmt.count.span, what=what)
    around = _count_rounds(count, stmt.count.span, context)
    sole = _sole_call(stmt.body) if opened else None
    for number in range(count):
        variable = stmt.name.text if stmt.name else ""
        scope = opened.open(str(number)) if opened else None
        inner = context.inside(
            opened if sole else scope, Frame(context.frame, stmt.span, variable=variable, value=number)
        )
        inner.rounds = around
        if stmt.name:
            inner.define(stmt.name, number)
        for statement in stmt.body.statements:
            run_statement(statement, inner, scope if statement is sole else None)
        context.value = inner.value
        if opened and inner.value is not None:
            opened.names[str(number)] = LabelValue(name=str(number), node=inner.value, span=stmt.span, scope=scope)
            context.builder.reach(f"{opened.path}{number}", inner.value)


def _sole_call(body: ast.Body) -> ast.Stmt | None:
    """Return the only unlabeled call or `seq` of a round, besides `let` and `expect`; the round names it."""
    calls = [stmt for stmt in body.statements if not isinstance(stmt, (ast.Let, ast.Expect))]
    return calls[0] if len(calls) == 1 and isinstance(calls[0], (ast.Call, ast.Sequence)) else None


def _if(stmt: ast.If, context: Context, opened: Scope | None) -> None:
    for test, body in stmt.arms:
        if condition(test, context):
            _inside(body, context, opened)
            return
    if stmt.otherwise is not None:
        _inside(stmt.otherwise, context, opened)


def _inside(body: ast.Body, context: Context, scope: Scope | None) -> None:
    inner = context.inside(scope)
    run_body(body, inner)
    context.value = inner.value


def _freeze(stmt: ast.Freeze, context: Context, opened: Scope | None) -> None:
    inner = context.inside(opened)
    inner.frozen = True
    run_body(stmt.body, inner)
    context.value = inner.value


STATEMENT_RULES.update(
    {
        ast.Call: _call,
        ast.Labelled: _labelled,
        ast.Sequence: _sequence,
        ast.From: _from,
        ast.Reuse: _reuse,
        ast.Skip: _skip,
        ast.Merge: _merge,
        ast.For: _for,
        ast.Repeat: _repeat,
        ast.If: _if,
        ast.Freeze: _freeze,
    }
)
