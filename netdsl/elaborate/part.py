"""Nets in other nets: `backbone: mobilenet_v2 until features`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.limits import NESTING
from netdsl.base.shape import Size
from netdsl.base.text import Frame
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Rejected
from netdsl.diagnostics.report import NET
from netdsl.elaborate.bind import Signature, bind, bound_values, split_operands
from netdsl.elaborate.builder import Expansion, Part, Reached
from netdsl.elaborate.context import POISON, Context, LabelValue, PartSizes, Poisoned, Scope, Variables
from netdsl.elaborate.labels import label_name
from netdsl.elaborate.layers import current
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.base.shape import Dim
    from netdsl.elaborate.bind import Bound
    from netdsl.elaborate.context import NetValue, Poison
    from netdsl.ir.net import Node

UNTIL = "until"
"""The keyword of the label at which a net in another net ends."""


def net_signature(net: ast.Net) -> Signature:
    """Return the signature of a net as a part of another: keywords for its parameters, and `until`."""
    parameters = [parameter.name.text for parameter in net.parameters]
    return Signature(net.name.text, (), (*parameters, UNTIL), (), declared=net.name.span)


def expand_net(callee: NetValue, stmt: ast.Call, context: Context, opened: Scope | None) -> None:
    """Apply a net to the current value, or to operands, which take the place of its inputs."""
    from netdsl.elaborate.flow import operand_values, run_body
    from netdsl.elaborate.net import define_parameters, net_of, resolve

    builder, head, name = context.builder, stmt.head.span, callee.name
    builder.round(head, context.frame)
    context.module.work.spend(NET, head, context.frame)
    if len(builder.active) > NESTING:
        context.reject(problems.TooLarge, head, what="nested block calls", count=NESTING + 1, limit=NESTING)
    net = net_of(callee.definition, callee.module)
    takes = net_signature(net) if net else Signature(name, (), (UNTIL,), ())
    arguments, labels = split_operands(stmt.arguments, takes, context)
    arguments = arguments if labels else stmt.arguments  # all of them, for what to say about a wrong one
    bound = {argument.name: argument for argument in bind(arguments, takes, context, head)}
    until = bound.pop(UNTIL, None)
    cut = _cut(until, context) if until else ""
    values = zip(bound.values(), bound_values(tuple(bound.values()), takes, context), strict=True)
    given = {argument.name: (value, argument.expr.span) for argument, value in values}
    instance = resolve(callee.module, callee.definition, given)
    definition = instance.definition
    _check_recursion(definition, stmt, context)
    operands = (*labels, *stmt.operands)
    feeds: list[Node | Poison] = [] if operands else [current(context, name, head)]
    feeds += operand_values(operands, context, None)
    scope = opened or context.scope.open(context.scope.name(name))
    scope.outer, scope.seq = None, False
    defaults = instance.module.defaults(definition.span.start)
    inner = Context(builder, instance.module, Variables(None), scope, defaults)
    inner.frame = Frame(context.frame, head, name=name, call=(definition, given))
    inner.frozen, inner.training = context.frozen, context.training
    inner.depth, inner.rounds, inner.sizes = context.depth + 1, context.rounds, PartSizes(scope.path)
    define_parameters(instance, inner)
    part = Part(head, scope.path + cut if cut else "", feeds)
    start, failed, builder.failed = len(builder.nodes), builder.failed, False
    if instance.module.flawed:
        builder.fail(head)
    builder.active.append(Expansion(definition, inner, part))
    try:
        run_body(definition.body, inner)
        value = _result(part, until, inner, start)
    except Reached as reached:
        if reached.part is not part:
            raise
        value = reached.node
    finally:
        builder.active.pop()
        builder.failed = builder.failed or failed
        builder.parts.append(range(start, len(builder.nodes)))
    if value is POISON:
        raise Poisoned
    if part.feeds:
        more = {"counts": (len(feeds) - len(part.feeds),), "given": len(feeds), "usage": "one for each input"}
        context.reject(problems.OperandCount, operands[0].span.to(operands[-1].span), callee=name, **more)
    for output in part.outputs.values():
        known = LabelValue(name=output.name, node=output.node, span=output.span, scope=None)
        scope.names.setdefault(output.name, known)
    context.value = value
    if opened is None:
        builder.reach(scope.path[:-1], value)


def _cut(until: Bound, context: Context) -> str:
    """Return the path, in the net, of the value to end at. Raises Rejected."""
    target = until.expr
    if isinstance(target, ast.Name) and not target.grouped:
        return target.text
    if isinstance(target, ast.Path):
        return ".".join(label_name(segment, context) for segment in target.segments)
    context.reject(problems.CutNotALabel, target.span)


def _check_recursion(net: ast.Net, stmt: ast.Call, context: Context) -> None:
    nets = [each.definition for each in context.builder.active if isinstance(each.definition, ast.Net)]
    if net in nets:
        cycle = tuple(each.name.text for each in nets[nets.index(net) :])
        context.reject(problems.Recursive, stmt.head.span, what="the net", cycle=(*cycle, net.name.text))


def _result(part: Part, until: Bound | None, inner: Context, start: int) -> Node | Poison:
    """Return the value of a net that was run to its end. Raises Rejected."""
    builder = inner.builder
    frame, net = _around(inner), _name(inner)
    if builder.failed:
        return POISON  # a mistake in the net may be why something is missing
    if until is not None:
        prefix = inner.scope.path
        paths = {path.removeprefix(prefix) for path in builder.label_paths if path.startswith(prefix)}
        paths |= {node.name.removeprefix(prefix) for node in builder.nodes[start:]} | set(part.outputs)
        name = part.cut.removeprefix(prefix)
        raise Rejected(
            problems.NothingToCut(
                span=until.expr.span, frame=frame, net=net, name=name, candidates=tuple(sorted(paths))
            )
        )
    if len(part.outputs) > 1:
        raise Rejected(problems.SeveralOutputs(span=part.call, frame=frame, net=net, outputs=tuple(part.outputs)))
    only = [output.node for output in part.outputs.values()]
    return only[0] if only else current(inner, f"the net `{net}`", part.call)


def _name(context: Context) -> str:
    """Return the name of the net that is being expanded."""
    return context.builder.active[-1].definition.name.text


def _around(inner: Context) -> Frame | None:
    """Return the frame of the call of a net, from the context of its body."""
    return inner.frame.parent if inner.frame is not None else None


def feed(declared: Node, part: Part, context: Context) -> Node:
    """Return the value that takes the place of an input. Raises Poisoned if there is none, or if it does not fit."""
    builder, net = context.builder, _name(context)
    undeclared = builder.nodes.pop()
    assert undeclared is declared
    builder.training.discard(len(builder.nodes))
    frame = _around(builder.active[-1].context)
    if not part.feeds:
        if builder.failed:
            raise Poisoned  # what it needs may be what is wrong
        name, span, given = declared.name, declared.span, part.given
        unfed = problems.InputNotFed(span=part.call, frame=frame, net=net, name=name, declared=span, given=given)
        builder.fail(part.call, unfed)
        raise Poisoned
    value = part.feeds.pop(0)
    if value is POISON:
        raise Poisoned
    fits = _bind_sizes(declared, value, context)
    if not fits or declared.dtype != value.dtype:
        misfit = problems.PartMisfit(span=part.call, frame=frame, net=net, declared=declared, given=value, types=fits)
        builder.fail(part.call, misfit)
        raise Poisoned
    source = value
    while len(source.inputs) == 1 and (source.layer.dtype_transparent or source.layer.kind == "dropout"):
        source = source.inputs[0]
    if source.layer.kind == "input":
        wanted = _preprocessing(declared)
        if wanted is not None and wanted != (_preprocessing(source) or _preprocessing(source, whole=True)):
            builder.report.add(
                problems.OtherPreprocessing(span=part.call, frame=frame, net=net, declared=declared, given=source)
            )
    return value


def _preprocessing(node: Node, *, whole: bool = False) -> tuple[object, ...] | None:
    """Return how pixels become the values of an input, for each channel. An input that declares nothing has None, or
    with `whole` the defaults."""
    order, mean, std = (getattr(node.layer, name) for name in ("order", "mean", "std"))
    if mean is None and std is None and order == "rgb" and not whole:
        return None
    channels = node.shape[0] if isinstance(node.shape[0], int) else 1
    spread = [tuple(values) * channels if len(values) == 1 else tuple(values) for values in (mean or (0,), std or (1,))]
    return (order, *spread)


def _bind_sizes(declared: Node, given: Node, context: Context) -> bool:
    """Name the sizes of an input that only its own net names, and return whether the value fits.

    The channels are those declared. Other sizes are free, if the layers accept them: a net for one size of images is
    applied to images of another. So is a bare `?`.
    """
    sizes = context.sizes
    assert sizes is not None
    fits = len(declared.shape) == len(given.shape)
    for axis, (size, value) in enumerate(zip(declared.shape, given.shape, strict=False)):
        if isinstance(size, Size):
            fits = fits and ("?" in size.symbols or _solve(size, value, sizes))
        elif axis == 0:
            fits = fits and size == value
    names: dict[str, Size | int] = {
        symbol: Size(symbol.removeprefix(sizes.prefix)) for size in declared.shape for symbol in _symbols(size)
    }
    declared.shape = tuple(size.substitute(names) if isinstance(size, Size) else size for size in declared.shape)
    return fits


def _symbols(size: Dim) -> list[str]:
    return size.symbols if isinstance(size, Size) else []


def _solve(size: Size, value: Dim, sizes: PartSizes) -> bool:
    """Return whether a size such as `16*?H` can have a value, after recording that of `?H`."""
    term, factor = size.terms[0]
    if len(size.terms) > 1 or not isinstance(term, str) or not term.startswith(sizes.prefix):
        return size == value
    rest = value - size.constant
    found = rest // factor
    if found * factor != rest or (isinstance(found, int) and found < 1):
        return False
    sizes.values[term.removeprefix(sizes.prefix)] = found
    return True
