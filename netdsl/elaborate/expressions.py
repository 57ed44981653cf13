"""Evaluate expressions: exact integers and fractions, floats, booleans, words, lists (as tuples), sizes, blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from netdsl.base.limits import ROUNDS
from netdsl.base.shape import Size
from netdsl.declare.arguments import BARE_WORDS, INITIALISERS, ValueMisfit, Word, is_number
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Edit
from netdsl.diagnostics.report import ROUND
from netdsl.elaborate.arithmetic import binary, compare_values, cut, negated, show_value, subscript, truth
from netdsl.elaborate.context import POISON, Context, LabelValue, LayerValue, Poisoned
from netdsl.elaborate.functions import BUILTINS
from netdsl.ir.init import ARITY, Init
from netdsl.layers import find_layer
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.elaborate.context import ExprValue, Poison

ANY = Size("?")
"""The value of a bare `?` in an expression, until its position names it."""


def evaluate(expr: ast.Expr, context: Context) -> ExprValue:
    """Return the value of an expression. Raises Rejected for a mistake, Poisoned if it is already reported."""
    work = context.module.work
    work.left -= 1
    if work.left < 0:
        work.stop(expr.span, context.frame)
    return _RULES[type(expr)](expr, context)


def condition(expr: ast.Expr, context: Context) -> bool:
    """Return the value of a condition."""
    return truth(evaluate(expr, context), expr, context)


def _literal(expr: ast.Number | ast.Text | ast.Switch, _: Context) -> ExprValue:
    return expr.value


def _unknown(expr: ast.Unknown, context: Context) -> Size | int:
    if expr.name is None:
        return ANY
    sizes = context.sizes
    if sizes is None:
        return Size(expr.name)
    return sizes.values.get(expr.name) or Size(sizes.prefix + expr.name)


def _dims(expr: ast.Dims, _: Context) -> tuple[int | Size, ...]:
    return tuple([ANY if size is None else size for size in expr.sizes])


def _name(expr: ast.Name, context: Context) -> ExprValue:
    value = lookup(expr.text, context)
    if value is POISON or (value is None and context.module.lost(expr.text)):
        raise Poisoned
    if value is None:
        from netdsl.elaborate.bind import reject_function

        reject_function(expr, (), context)
        if expr.text == "channels" and context.value is not None:
            what = "the current value is a single number, without axes, and has no `channels`"
            context.reject(problems.BadOperation, expr.span, what=what)
        context.reject(problems.UnknownName, expr.span, name=expr.text, candidates=context.names())
    return value


def lookup(name: str, context: Context) -> ExprValue | Poison | None:
    """Return what a bare word means as an argument: a variable, a label, a block or a layer; otherwise None."""
    found = context.variables.find(name)
    if found is not None:
        return found[0]
    value: ExprValue | Poison | None = context.module.variable(name, context)
    if value is None and name in ("channels", "shape"):
        value = _flow(name, context)
    if value is None:
        value = context.scope.find(name) or context.module.block(name)
    if value is None and find_layer(name):
        value = LayerValue(name)
    return context.module.net(name) if value is None else value


def _flow(name: str, context: Context) -> ExprValue | Poison | None:
    node = context.value
    if node is None or node is POISON:
        return node
    if name == "shape":
        return node.shape
    return node.shape[0] if node.shape else None


def _path(expr: ast.Path, context: Context) -> LabelValue:
    from netdsl.elaborate.labels import find_label

    return find_label(expr, context)


def _list(expr: ast.List, context: Context) -> ExprValue:
    return tuple([evaluate(item, context) for item in expr.items])


def _comprehension(expr: ast.Comprehension, context: Context) -> ExprValue:
    inner = context.inside()
    inner.calls = context.calls
    rounds = [inner]
    for generator in expr.generators:
        following: list[Context] = []
        for around in rounds:
            following += _generated(generator, around, len(following))
        rounds = following
    return tuple([evaluate(expr.item, each) for each in rounds])


def _generated(generator: ast.Generator, context: Context, before: int) -> list[Context]:
    """Return a context for each entry that a `for` of a comprehension takes; `before` entries precede them."""
    from netdsl.elaborate.loops import bind_entry, entries_of

    entries = entries_of(generator, context)
    if before + len(entries) > ROUNDS:
        context.reject(problems.TooBig, generator.span, what="the list")
    context.module.work.spend(ROUND * len(entries), generator.span, context.frame)
    found = []
    for entry in entries:
        inner = bind_entry(generator, entry, context)
        inner.calls = context.calls
        if generator.condition is None or condition(generator.condition, inner):
            found.append(inner)
    return found


def _unary(expr: ast.Unary, context: Context) -> ExprValue:
    if expr.op == "not":
        return not condition(expr.operand, context)
    return negated(evaluate(expr.operand, context), expr, context)


def _binary(expr: ast.Binary, context: Context) -> ExprValue:
    op = expr.steps[0][0]
    if op in ("and", "or"):
        operands = (expr.first, *(operand for _, _, operand in expr.steps))
        decided = (condition(operand, context) for operand in operands)
        return all(decided) if op == "and" else any(decided)
    left = evaluate(expr.first, context)
    if op in ("==", "!=", "<", "<=", ">", ">=", "in"):
        for op, span, operand in expr.steps:
            right = evaluate(operand, context)
            if not compare_values(op, left, right, span, context):
                return False
            left = right
        return True
    for op, span, operand in expr.steps:
        left = binary(op, left, evaluate(operand, context), span, operand, context)
    return left


def _ternary(expr: ast.Ternary, context: Context) -> ExprValue:
    return evaluate(expr.then if condition(expr.condition, context) else expr.otherwise, context)


def _index(expr: ast.Index, context: Context) -> ExprValue:
    return subscript(evaluate(expr.value, context), evaluate(expr.index, context), expr, context)


def _slice(expr: ast.Slice, context: Context) -> ExprValue:
    value = evaluate(expr.value, context)
    start = evaluate(expr.start, context) if expr.start is not None else 0
    length = len(value) if isinstance(value, tuple) else 0
    return cut(value, start, evaluate(expr.stop, context) if expr.stop is not None else length, expr, context)


def _apply(expr: ast.Apply, context: Context) -> ExprValue:
    if not isinstance(expr.function, ast.Name):
        context.reject(problems.BadCall, expr.function.span, what="only a function can be called, by its name")
    name = expr.function.text
    arguments = tuple([evaluate(argument, context) for argument in expr.arguments])
    function = context.module.function(name)
    if function is not None:
        return function.call(arguments, expr, context)
    if name in BUILTINS:
        return BUILTINS[name](arguments, expr, context)
    if ARITY.get(name):
        return _init(name, arguments, expr, context)
    if context.module.lost(name):
        raise Poisoned
    if name in BARE_WORDS and not arguments:
        edits = (Edit(expr.span, name),)
        context.reject(problems.OtherNotation, expr.span, instead=f"write `{name}` without parentheses", edits=edits)
    found = lookup(name, context)
    if found is POISON:
        raise Poisoned
    if found is not None:
        context.reject(problems.BadCall, expr.span, what=f"`{name}` is not a function: it is {show_value(found)}")
    names = (*BUILTINS, *context.module.names())
    context.reject(problems.UnknownName, expr.function.span, name=name, candidates=names)


def _init(name: str, arguments: tuple[ExprValue, ...], expr: ast.Apply, context: Context) -> Init:
    numbers = [a for a in arguments if is_number(a) or isinstance(a, bool)]
    if len(numbers) != len(arguments) or len(numbers) != ARITY[name]:
        takes = f"{ARITY[name]} number{'s' * (ARITY[name] != 1)}"
        given = f"{len(arguments)} {'is' if len(arguments) == 1 else 'are'} given"
        if len(arguments) == len(numbers):
            takes += f", and {given}"
        context.reject(problems.BadCall, expr.span, what=f"`{name}` takes {takes}")
    converted = []
    for (argument, kind), value, written in zip(INITIALISERS[name].items(), numbers, expr.arguments, strict=True):
        try:
            converted.append(kind.convert(value))
        except ValueMisfit as misfit:
            said = {"callee": name, "argument": argument, "expected": str(misfit), "value": show_value(value)}
            context.reject(problems.BadArgument, written.span, **said)
    if name == "uniform" and converted[0] > converted[1]:
        _reject_bounds(arguments, expr, context)
    return Init(name, *converted)


def _reject_bounds(arguments: tuple[ExprValue, ...], expr: ast.Apply, context: Context) -> NoReturn:
    """Reject `uniform(1, -1)`. Raises Rejected."""
    from netdsl.diagnostics.argument_problems import Contradiction
    from netdsl.diagnostics.problem import Edit, Suggestion

    low, high = (argument.span for argument in expr.arguments)
    what = "the lower bound {} of `uniform` is above the upper bound {}".format(*map(show_value, arguments))
    swap = Suggestion("swap the bounds", Edit(low, high.text), Edit(high, low.text))
    context.reject(Contradiction, expr.span, what=what, help=swap)


def _match(expr: ast.Match, context: Context) -> ExprValue:
    subject = evaluate(expr.subject, context)
    arms = []
    for pattern, value in expr.arms:
        if pattern is None:
            return evaluate(value, context)
        candidate = evaluate(pattern, context)
        if compare_values("==", subject, candidate, pattern.span, context):
            return evaluate(value, context)
        arms.append(candidate)
    context.reject(problems.NoMatch, expr.subject.span, value=show_value(subject), arms=tuple(map(show_value, arms)))


def default_value(expr: ast.Expr, context: Context) -> ExprValue:
    """Return the default of a parameter, which can be a word that a layer's keyword accepts: `pad = same`."""
    if (
        isinstance(expr, ast.Name)
        and expr.text in BARE_WORDS
        and not expr.grouped
        and lookup(expr.text, context) is None
    ):
        return Word(expr.text)
    return evaluate(expr, context)


_RULES: dict[type[ast.Expr], Callable[[Any, Context], ExprValue]] = {
    ast.Number: _literal,
    ast.Text: _literal,
    ast.Switch: _literal,
    ast.Unknown: _unknown,
    ast.Dims: _dims,
    ast.Name: _name,
    ast.Path: _path,
    ast.List: _list,
    ast.Comprehension: _comprehension,
    ast.Unary: _unary,
    ast.Binary: _binary,
    ast.Ternary: _ternary,
    ast.Index: _index,
    ast.Slice: _slice,
    ast.Apply: _apply,
    ast.Match: _match,
}
