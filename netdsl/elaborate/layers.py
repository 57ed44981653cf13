"""Calls of layers: from arguments to a layer, and from a layer and values to a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from netdsl.base.shape import Size
from netdsl.declare.arguments import Flag, LayerLabel, Operand, ValueMisfit
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Edit, Misfit, Suggestion
from netdsl.elaborate.arithmetic import show_value
from netdsl.elaborate.bind import Signature, bind, bound_values
from netdsl.elaborate.context import CALLABLE, POISON, Context, Poisoned
from netdsl.layers import find_layer, layer_modules
from netdsl.layers.base import Layer
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.base.text import Span
    from netdsl.declare.arguments import Kind
    from netdsl.declare.declared import Declared
    from netdsl.elaborate.bind import Bound
    from netdsl.elaborate.context import Defaults, ExprValue, Scope
    from netdsl.ir.net import Node

    Given = tuple[tuple[Bound, ExprValue], ...]

_signatures: dict[type[Declared], Signature] = {}


def declared_signature(cls: type[Declared]) -> Signature:
    """Return the signature of a declared component."""
    if cls not in _signatures:
        arguments = cls.arguments.values()
        _signatures[cls] = Signature(
            cls.kind,
            tuple(a.name for a in arguments if not a.keyword),
            tuple(a.name for a in arguments if a.keyword),
            tuple(a.name for a in arguments if a.required),
            words={a.name: a.kind.words for a in arguments},
            quoted=tuple(a.name for a in arguments if a.kind.quoted),
            labels=tuple(a.name for a in arguments if isinstance(a.kind, (Operand, LayerLabel))),
            flags=tuple(a.name for a in arguments if isinstance(a.kind, Flag)),
            operands=cls.operand_usage if issubclass(cls, Layer) and cls.operands else "",
            docs={a.name: a.doc for a in arguments},
        )
    return _signatures[cls]


def make_layer(
    call: ast.Call | ast.Input, cls: type[Layer], context: Context, head: Span, arguments: tuple[ast.Expr, ...]
) -> Layer:
    """Return the layer that a call means, without the operands behind its arguments. Equal calls at one place share one
    layer. Raises Rejected or Poisoned."""
    cache = call.cache
    bound = cache.get(cls)
    if bound is None:
        bound = cache[cls] = bind(arguments, declared_signature(cls), context, head)
    given = bound_values(bound, declared_signature(cls), context) if bound else ()
    defaults = defaults_of(cls.kind, context)
    for value in given:
        context.module.work.weigh(value, head, context.frame)
    key = (cls, defaults, *given, *map(type, given)) if given else (cls, defaults)
    layer: Layer | None = cache.get(key)
    if layer is None:
        converted = dict(defaults)
        for argument, value in zip(bound, given, strict=True):
            converted[argument.name] = convert_argument(
                cls, argument, value, context, (*zip(bound, given, strict=True),)
            )
        layer = cache[key] = cls(**converted)
    return layer


def convert_argument(
    cls: type[Declared], bound: Bound, value: ExprValue, context: Context, given: Given = ()
) -> object:
    """Convert the value of an argument as declared; `given` are all arguments of the call. Raises Rejected."""
    try:
        return cls.arguments[bound.name].kind.convert(value)
    except ValueMisfit as misfit:
        if isinstance(value, Size):
            context.reject(problems.NotDecidable, bound.expr.span, size=str(value))
        context.reject(
            problems.BadArgument,
            bound.expr.span,
            callee=cls.kind,
            argument=bound.name,
            expected=str(misfit),
            value=show_value(value),
            order=_order(cls, given),
            instead=_instead(cls.arguments[bound.name].kind, bound.expr, value),
            layer=bound.span == bound.expr.span and isinstance(value, CALLABLE),
        )


def _instead(kind: Kind[object], expr: ast.Expr, value: ExprValue) -> str:
    """Return a value that does not fit in the notation that does: `[2]` as `2`, `"same"` as `same`, `10.0` as `10`."""
    items = expr.items if isinstance(expr, ast.List) else ()
    text, meant = "", value
    if isinstance(value, tuple) and len(value) == 1 and len(items) == 1:
        text, meant = items[0].span.text, value[0]
    elif type(value) is str and value.lower() in kind.words:
        return value.lower()
    elif type(value) is str and value.isdecimal():
        text, meant = value, int(value)
    elif isinstance(value, float) and value.is_integer():
        text, meant = str(int(value)), int(value)
    elif value in (0, 1) and type(value) is int:
        text, meant = ("off", "on")[value], bool(value)
    try:
        kind.convert(meant if text else None)
    except ValueMisfit:
        return ""
    return f"({text})" if text.startswith("-") else text


def _order(cls: type[Declared], given: Given) -> tuple[Edit, ...]:
    """Return the edits that reorder positional arguments so that they fit, if exactly one order does."""
    from itertools import permutations

    places = [(bound, value) for bound, value in given if bound.span == bound.expr.span][:4]
    found = []
    for order in permutations(places):
        try:
            for (bound, _), (_, value) in zip(places, order, strict=True):
                cls.arguments[bound.name].kind.convert(value)
        except ValueMisfit:
            continue
        pairs = [(bound.expr.span, other.expr.span) for (bound, _), (other, _) in zip(places, order, strict=True)]
        found.append(tuple(Edit(here, there.text) for here, there in pairs if here != there))
    return found[0] if len(found) == 1 else ()


def defaults_of(kind: str, context: Context) -> tuple[tuple[str, object], ...]:
    """Return the arguments that `default` sets for a layer. Raises Poisoned if such a statement is wrong."""
    found = context.defaults.get(kind, ())
    if found is None:
        raise Poisoned
    return found


def change_defaults(stmt: ast.Default, context: Context) -> Defaults:
    """The defaults after a `default` statement. Raises Rejected or Poisoned."""
    name = stmt.layer.text
    cls = find_layer(name)
    block, net = context.module.block(name), context.module.net(name)
    if cls is None and (block or net):
        kind = "block" if block else "net"
        what = f"`default` changes a built-in layer, but `{name}` is a {kind}: its defaults are those of its parameters"
        context.reject(problems.BadOperation, stmt.layer.span, what=what)
    cls = cls or unknown_layer(stmt.layer, context)
    declared = declared_signature(cls)
    keywords = tuple(keyword for keyword in declared.by_keyword if keyword not in declared.labels)
    only_keywords = Signature(f"default {name}", (), keywords, (), words=declared.words, flags=declared.flags)
    bound = bind(stmt.arguments, only_keywords, context, stmt.layer.span)
    given = bound_values(bound, only_keywords, context)
    changed = dict(defaults_of(name, context))
    for argument, value in zip(bound, given, strict=True):
        changed[argument.name] = convert_argument(cls, argument, value, context)
    return {**context.defaults, name: tuple(sorted(changed.items()))}


def unknown_layer(head: ast.Name, context: Context) -> NoReturn:
    """Reject the head of a call. Raises Rejected or Poisoned."""
    if context.module.lost(head.text):
        raise Poisoned
    module = context.module
    names = (*layer_modules(), *(n for n in module.names() if module.block(n)), *module.net_names())
    context.reject(problems.UnknownLayer, head.span, name=head.text, candidates=names)


def current(context: Context, what: str, span: Span) -> Node:
    """Return the current value. Raises Poisoned, or Rejected before the first input."""
    if context.value is POISON:
        raise Poisoned
    if context.value is None:
        context.reject(problems.NoInput, span, what=f"`{what}`")
    return context.value


def apply_layer(
    layer: Layer,
    inputs: tuple[Node, ...],
    span: Span,
    context: Context,
    opened: Scope | None = None,
    arguments: tuple[Bound, ...] = (),
) -> Node:
    """Apply a layer to values, under the name of the scope opened for it, or under the next ordinal.

    Messages point at the locations of `arguments`. Raises Rejected.
    """
    scope = opened or context.scope.open(context.scope.name(layer.kind, counts=not layer.variadic))
    try:
        node = context.builder.node(
            layer,
            inputs,
            scope.path[:-1],
            span,
            context.frame,
            weights_of=scope.weights[:-1] if scope.weights is not None else None,
            tied=_tied(arguments, context),
            frozen=context.frozen,
            training=context.training,
        )
    except Misfit as misfit:
        reject_misfit(misfit, layer, inputs, span, arguments, context)
    node.arguments = arguments
    if opened is None:
        context.builder.reach(node.name, node)
    return node


def _tied(arguments: tuple[Bound, ...], context: Context) -> Node | None:
    """Return the layer whose weight a call shares, if any. Raises Rejected or Poisoned."""
    for argument in arguments:
        if argument.name == "tied":
            from netdsl.elaborate.labels import find_label, value_of

            assert isinstance(argument.expr, (ast.Name, ast.Path)), argument.expr
            label = find_label(argument.expr, context)
            node = value_of(label)
            named = label.scope is not None and label.scope.path == f"{node.name}."
            if not named or "weight" not in node.parameters:
                held = tuple(node.parameters) if named else ()
                known = {"name": label.name, "labelled": label.span, "named": named, "held": held}
                context.reject(problems.NoWeightToShare, argument.expr.span, **known)
            if init := next((other for other in arguments if other.name == "init"), None):
                from netdsl.diagnostics.solve import remove

                whole, remedy = argument.span.to(argument.value_span), Suggestion("remove it", remove(init))
                what = f"`init` does not apply to a tied weight, which is that of `{label.name}`"
                more = {"other": whole, "there": "this ties the weight", "help": remedy}
                context.reject(problems.Contradiction, init.span.to(init.value_span), what=what, **more)
            return node
    return None


def reject_misfit(
    misfit: Misfit,
    layer: Layer,
    inputs: tuple[Node, ...],
    span: Span,
    arguments: tuple[Bound, ...],
    context: Context,
) -> NoReturn:
    """Reject a layer that does not fit its inputs, at the argument in question. Raises Rejected."""
    places = {argument.name: argument.expr.span for argument in arguments}
    place = places.get(misfit.at, span)
    call = {"head": span, "arguments": arguments} if "arguments" in misfit.problem.fields else {}
    context.reject(misfit.problem, place, layer=layer.kind, inputs=inputs, **call, **misfit.data)
