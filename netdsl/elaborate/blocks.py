"""Parameters with domains and defaults, and the expansion of block calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.limits import NESTING
from netdsl.base.text import Frame
from netdsl.declare.arguments import BARE_WORDS
from netdsl.diagnostics import problems
from netdsl.diagnostics.report import CALL
from netdsl.elaborate.arithmetic import show_value
from netdsl.elaborate.bind import Signature, bind, bound_values
from netdsl.elaborate.builder import Expansion
from netdsl.elaborate.context import BlockValue, Context, Scope, Variables
from netdsl.elaborate.expressions import default_value, evaluate
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.base.text import Span
    from netdsl.elaborate.context import ExprValue


def block_signature(block: ast.Block) -> Signature:
    """Return the signature of a block: parameters without a default are positional, the others either."""
    found: Signature | None = block.cache.get(Signature)
    if found is None:
        parameters = block.parameters
        words = tuple(sorted(BARE_WORDS))
        found = block.cache[Signature] = Signature(
            block.name.text,
            tuple(p.name.text for p in parameters),
            tuple(p.name.text for p in parameters if p.default is not None),
            tuple(p.name.text for p in parameters if p.default is None),
            words={
                p.name.text: words
                for p in parameters
                if isinstance(p.default, ast.Name) and p.default.text in BARE_WORDS
            },
            declared=block.name.span,
        )
    return found


def domain_of(parameter: ast.Parameter, context: Context) -> tuple[ExprValue, ...] | None:
    """Return the values that a parameter accepts, or None if it declares no domain."""
    if parameter.domain is None:
        return None
    domain: ExprValue
    if isinstance(parameter.domain, ast.List):
        domain = tuple([default_value(item, context) for item in parameter.domain.items])
    else:
        domain = evaluate(parameter.domain, context)
    if not isinstance(domain, tuple) or not domain:
        what = f"a domain is a list of values, not {show_value(domain)}"
        context.reject(problems.BadOperation, parameter.domain.span, what=what)
    context.module.work.weigh(domain, parameter.domain.span, context.frame)
    return domain


def define(
    parameters: tuple[ast.Parameter, ...], given: Mapping[str, tuple[ExprValue, Span]], context: Context
) -> None:
    """Bind parameters to the given values or their defaults. Raises Rejected for a value outside its domain."""
    for parameter in parameters:
        name = parameter.name.text
        if name in given:
            value, span = given[name]
        else:
            assert parameter.default is not None
            value, span = default_value(parameter.default, context), parameter.default.span
        domain = domain_of(parameter, context)
        if domain is not None and not any(type(v) is type(value) and v == value for v in domain):
            assert parameter.domain is not None
            context.reject(
                problems.OutsideDomain,
                span,
                name=name,
                value=show_value(value),
                domain=show_value(domain),
                declared=parameter.domain.span,
            )
        context.define(parameter.name, value)


def expand_block(
    callee: BlockValue,
    stmt: ast.Call,
    context: Context,
    opened: Scope | None,
    run: Callable[[ast.Body, Context], None],
) -> None:
    """Apply a block to the current value, in the scope opened for the call, or in one of its own."""
    block, builder = callee.block, context.builder
    builder.round(stmt.head.span, context.frame)
    context.module.work.spend(CALL, stmt.head.span, context.frame)
    if len(builder.active) > NESTING:
        context.reject(problems.TooLarge, stmt.head.span, what="nested block calls", count=NESTING + 1, limit=NESTING)
    takes = block_signature(block)
    bound = stmt.cache.get(block)
    if bound is None:
        bound = stmt.cache[block] = bind(stmt.arguments, takes, context, stmt.head.span)
    given = {
        argument.name: (value, argument.expr.span)
        for argument, value in zip(bound, bound_values(bound, takes, context), strict=True)
    }
    scope = opened or context.scope.open(context.scope.name(block.name.text))
    scope.outer, scope.seq = None, block.seq
    inner = Context(builder, callee.module, Variables(None), scope, callee.module.defaults(block.span.start))
    inner.frame = Frame(context.frame, stmt.head.span, name=block.name.text, call=(block, given))
    inner.value, inner.frozen, inner.training = context.value, context.frozen, context.training
    inner.depth, inner.rounds, inner.sizes = context.depth + 1, context.rounds, context.sizes
    define(block.parameters, given, inner)
    if callee.module.flawed:
        builder.fail(stmt.head.span)
    _check_recursion(block, stmt, inner, context)
    builder.active.append(Expansion(block, inner))
    try:
        run(block.body, inner)
    finally:
        builder.active.pop()
    context.value = inner.value
    if opened is None and inner.value is not None:
        builder.reach(scope.path[:-1], inner.value)


def _check_recursion(block: ast.Block, stmt: ast.Call, inner: Context, context: Context) -> None:
    """Reject the call of a block by itself unless an integer parameter falls, and not below 0."""
    active = context.builder.active
    at = next((at for at in range(len(active) - 1, -1, -1) if active[at].definition is block), None)
    if at is None:
        return
    before, now = active[at].context.variables.names, inner.variables.names
    values = [(name.name.text, before[name.name.text][0], now[name.name.text][0]) for name in block.parameters]
    fallen = [(name, new) for name, old, new in values if type(old) is type(new) is int and new < old]
    if any(new >= 0 for _, new in fallen):
        return
    if fallen:
        name, value = fallen[0]
        context.reject(problems.EndlessRecursion, stmt.span, block=block.name.text, name=name, value=value)
    cycle = [expansion.definition.name.text for expansion in active[at:]]
    context.reject(problems.Recursive, stmt.head.span, what="the block", cycle=(*cycle, block.name.text))
