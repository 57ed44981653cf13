"""The lines of a `train` block that refer to the net: losses and metrics of outputs, parameters by label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from netdsl.declare.declared import Misfit
from netdsl.diagnostics import loss_problems as problems
from netdsl.diagnostics.argument_problems import BadArgument, MissingArgument
from netdsl.diagnostics.name_problems import UnknownLabel
from netdsl.diagnostics.train_problems import LineTwice
from netdsl.elaborate.declared import make, missing, unknown, word
from netdsl.elaborate.labels import spell
from netdsl.elaborate.recipe import LossLine, MetricLine
from netdsl.elaborate.recipe_lines import plain
from netdsl.losses import LOSSES
from netdsl.metrics import METRICS
from netdsl.metrics.base import WORDS
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.base.text import Span
    from netdsl.declare.declared import Declared
    from netdsl.elaborate.context import Context
    from netdsl.ir.net import Net
    from netdsl.losses import Target

D = TypeVar("D", bound="Declared")
NORMS = frozenset({"bn", "layernorm", "groupnorm", "instancenorm"})


def _of_output(
    line: ast.Setting, table: Mapping[str, type[D]], context: Context, net: Net | None
) -> tuple[ast.Name | None, D, Span]:
    """Parse `KEY [OUTPUT] NAME arguments…`: return the output's name, the component, and the location of its name.
    Raises Rejected."""
    key, given = line.key, line.values
    plain(line, context)
    if not given:
        missing(key, key.text, table, context)
    first, second = word(given[0]), word(given[1]) if len(given) > 1 else ""
    is_output = net is not None and first in net.outputs
    if second in table or (is_output and first not in table):
        if not isinstance(given[0], ast.Name):
            value = f"`{given[0].span.text}`"
            expected = "the name of an output"
            context.reject(
                BadArgument, given[0].span, callee=key.text, argument="output", expected=expected, value=value
            )
        if len(given) == 1:
            missing(key, key.text, table, context)
        output, given = given[0], given[1:]
    else:
        output = None
    cls = table.get(word(given[0]))
    if cls is None:
        unknown(key, given[0], table, key.text, context)
    return output, make(cls, given[1:], context, given[0].span), given[0].span


def inference_outputs(net: Net) -> tuple[str, ...]:
    """Return the outputs that inference has too."""
    return tuple(output.name for output in net.outputs.values() if not output.training)


def _resolve(
    key: str,
    given: ast.Name | None,
    known: Sequence[str],
    candidates: Sequence[str],
    net: Net,
    place: Span,
    context: Context,
) -> str:
    """Return the output that a line means: the named one, one of `known`, or the only one of `candidates`. Raises
    Rejected."""
    if given is None:
        if len(candidates) != 1:
            context.reject(problems.WhichOutput, place, key=key, names=tuple(candidates))
        return candidates[0]
    if given.text not in known:
        lossless = given.text in net.outputs
        context.reject(
            problems.UnknownOutput,
            given.span,
            name=given.text,
            candidates=tuple(known),
            net=net.name,
            lossless=lossless,
        )
    return given.text


def loss(line: ast.Setting, context: Context, net: Net | None) -> LossLine | None:
    """Return a loss that fits its output; None without a net to check it against. Raises Rejected or Poisoned."""
    given, found, place = _of_output(line, LOSSES, context, net)
    if net is None:
        return None
    output = _resolve("loss", given, tuple(net.outputs), inference_outputs(net), net, place, context)
    node = net.outputs[output].node
    try:
        found.target(node.shape)
    except Misfit as misfit:
        context.reject(misfit.problem, place, name=found.kind, output=output, node=node, **misfit.data)
    return LossLine(output, found, line.span)


def check_losses(losses: Sequence[LossLine], net: Net, context: Context) -> None:
    """Reject a second loss of an output, a training head without one, and targets that cannot be shared. Raises
    Rejected."""
    seen: dict[str, LossLine] = {}
    for line in losses:
        earlier = seen.setdefault(line.output, line)
        if earlier is not line:
            what = f"the loss of `{line.output}`"
            context.reject(LineTwice, line.span, what=what, earlier=earlier.span)
    for output in net.outputs.values():
        if output.training and output.name not in seen:
            context.reject(
                problems.HeadWithoutLoss,
                losses[-1].span,
                output=output.name,
                declared=output.span,
                loss=losses[0].loss.kind,
            )
    _check_targets(seen, net, context)


def _check_targets(losses: dict[str, LossLine], net: Net, context: Context) -> None:
    """Reject training heads that cannot share the target of the only inference output."""
    targets = {name: line.loss.target(net.outputs[name].node.shape) for name, line in losses.items()}
    main = inference_outputs(net)
    if len(main) > 1:
        return
    first = main[0] if main[0] in targets else next(iter(targets))
    for name, target in targets.items():
        if target != targets[first]:
            context.reject(
                problems.TargetsDiffer,
                losses[name].span,
                output=name,
                here=_in_words(target),
                there=_in_words(targets[first]),
                earlier=losses[first].span,
            )


def _in_words(target: Target) -> str:
    from netdsl.base.shape import text

    if target.kind == "class":
        return f"one of {target.classes} classes" + (f" at each of {text(target.shape)} places" if target.shape else "")
    return WORDS[target.kind] + (f" of {text(target.shape)}" if target.shape else "")


def metric(line: ast.Setting, context: Context, net: Net | None, losses: Sequence[LossLine]) -> MetricLine | None:
    """Return a metric that fits the loss of its output; None without a net to check it against. Raises Rejected."""
    given, found, place = _of_output(line, METRICS, context, net)
    if net is None or not losses:
        return None
    known = [each.output for each in losses if not net.outputs[each.output].training]
    output = _resolve("metric", given, known, known, net, place, context)
    node = net.outputs[output].node
    target = next(each for each in losses if each.output == output).loss.target(node.shape)
    if wanted := found.misfit(target):
        context.reject(
            problems.MetricMisfit,
            place,
            name=found.kind,
            output=output,
            node=node,
            wanted=wanted,
            target=_in_words(target),
        )
    return MetricLine(output, found, line.span)


def default_metrics(losses: Sequence[LossLine], net: Net) -> tuple[MetricLine, ...]:
    """Return accuracy if the target is a class or a sign, otherwise the mean squared error."""
    found = []
    for line in losses:
        output = net.outputs[line.output]
        if not output.training:
            kind = line.loss.target(output.node.shape).kind
            found.append(MetricLine(line.output, METRICS["mse" if kind == "value" else "accuracy"](), line.span))
    return tuple(found)


def frozen(line: ast.Setting, context: Context, net: Net | None) -> frozenset[str]:
    """Return the parameters and statistics in labelled parts of the net. Raises Rejected or Poisoned."""
    plain(line, context)
    if not line.values:
        usage = "freeze LABEL…"
        context.reject(MissingArgument, line.key.span, callee="freeze", name="label", usage=usage)
    return frozenset().union(*(_labelled(expr, "freeze", context, net) for expr in line.values))


def undecayed(given: Sequence[ast.Expr], context: Context, net: Net | None) -> frozenset[str]:
    """Return the parameters that `except` names: `bias`, `bn` for those of all normalizations, or labels. Raises
    Rejected."""
    found: set[str] = set()
    for expr in given:
        name = word(expr)
        if name == "bias":
            found.update(p for p in (net.parameters if net else ()) if p.rpartition(".")[2] == "bias")
        elif name == "bn":
            norms = [node for node in (net.nodes if net else ()) if node.layer.kind in NORMS]
            found.update(p.name for node in norms for p in node.parameters.values() if not p.buffer)
        else:
            found.update(_labelled(expr, "except", context, net))
    return frozenset(found)


def _labelled(expr: ast.Expr, key: str, context: Context, net: Net | None) -> frozenset[str]:
    """Return the names of the parameters inside a label. Raises Rejected or Poisoned."""
    path = path_of(expr, context)
    if not path:
        expected = "the label of a part of the net, such as `conv1` or `layer1.0`"
        context.reject(
            BadArgument, expr.span, callee=key, argument="label", expected=expected, value=f"`{expr.span.text}`"
        )
    if net is None:
        return frozenset()
    inside = f"{path}."
    parameters = [name for name in net.parameters if name.startswith(inside)]
    if not parameters and not any(f"{node.name}.".startswith(inside) for node in net.nodes):
        context.reject(UnknownLabel, expr.span, name=path, candidates=tuple(_paths(net)))
    return frozenset(parameters)


def path_of(expr: ast.Expr, context: Context) -> str:
    """Return a label as written, with its braces evaluated; an empty string for anything else. Raises Rejected or
    Poisoned."""
    if isinstance(expr, ast.Path):
        return ".".join(spell(segment, context) for segment in expr.segments)
    return word(expr)


def _paths(net: Net) -> dict[str, Any]:
    """Return every name of a layer and of its enclosing parts."""
    found: dict[str, Any] = {}
    for node in net.nodes:
        parts = node.name.split(".")
        for count in range(1, len(parts) + 1):
            found[".".join(parts[:count])] = None
    return found
