"""The lines of a `train` block, those of losses, metrics and labels checked against the net."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, TypeVar

from netdsl.base.shape import format_shape
from netdsl.base.text import Span
from netdsl.data.augment import AUGMENTATIONS
from netdsl.data.kinds import KINDS
from netdsl.declare.declared import Declared
from netdsl.diagnostics import loss_problems, sequence_problems, train_problems
from netdsl.diagnostics.argument_problems import BadArgument, MissingArgument
from netdsl.diagnostics.name_problems import UnknownLabel
from netdsl.diagnostics.problem import Misfit
from netdsl.elaborate.context import Poisoned
from netdsl.elaborate.declared import choose_component, make_component, reject_missing, reject_unknown, word
from netdsl.elaborate.labels import label_name
from netdsl.elaborate.layers import declared_signature
from netdsl.elaborate.recipe import LossLine, MetricLine
from netdsl.elaborate.train_numbers import NUMBER_LINES, Average, Dtype, ValidationPart
from netdsl.losses import LOSSES
from netdsl.losses.untargeted import Mean
from netdsl.metrics import METRICS, TARGET_WORDS, EditDistance
from netdsl.optimizers import OPTIMIZERS
from netdsl.schedules import SCHEDULES, EarlyStopping
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.base.shape import Shape
    from netdsl.data.augment import Augmentation
    from netdsl.data.kinds import DataKind
    from netdsl.elaborate.context import Context
    from netdsl.ir.net import Net
    from netdsl.losses import Target
    from netdsl.optimizers import Optimizer
    from netdsl.schedules import Schedule

_D = TypeVar("_D", bound=Declared)

_NORMS = frozenset({"bn", "layernorm", "rmsnorm", "groupnorm", "instancenorm", "l2norm"})
EXCEPT = "except"
EXCEPTIONS = ("bias", "bn", "vectors")
"""Words after `except` that are no labels."""


def read_number(line: ast.Setting, context: Context) -> int:
    _reject_braces(line, context)
    cls = NUMBER_LINES[line.key.text]
    found = make_component(cls, line.values, context, line.key.span)
    (name,) = cls.arguments
    return int(getattr(found, name))


def read_data(line: ast.Setting, context: Context) -> DataKind:
    _reject_braces(line, context)
    return choose_component(line.key, line.values, KINDS, "kind of data", context)


def read_validation(line: ast.Setting, context: Context) -> DataKind | ValidationPart:
    """Return other data, or a fraction. Raises Rejected or Poisoned."""
    if line.values and word(line.values[0]):
        return read_data(line, context)
    _reject_braces(line, context)
    return make_component(ValidationPart, line.values, context, line.key.span)


def read_schedule(line: ast.Setting, context: Context) -> Schedule:
    _reject_braces(line, context)
    return choose_component(line.key, line.values, SCHEDULES, "schedule", context)


def read_stop(line: ast.Setting, context: Context) -> EarlyStopping:
    _reject_braces(line, context)
    return make_component(EarlyStopping, line.values, context, line.key.span)


def read_average(line: ast.Setting, context: Context) -> float:
    _reject_braces(line, context)
    return make_component(Average, line.values, context, line.key.span).decay


def read_dtype(line: ast.Setting, context: Context) -> str:
    _reject_braces(line, context)
    return make_component(Dtype, line.values, context, line.key.span).name


def read_augmentations(line: ast.Setting, context: Context) -> tuple[Augmentation, ...]:
    """Return the augmentations of the line itself and of its braces. Raises Rejected or Poisoned."""
    first = [choose_component(line.key, line.values, AUGMENTATIONS, "augmentation", context)] if line.values else []
    if not line.values and not line.lines:
        reject_missing(line.key, "augmentation", AUGMENTATIONS, context)
    for each in line.lines or ():
        _reject_braces(each, context)
        cls = AUGMENTATIONS.get(each.key.text)
        if cls is None:
            reject_unknown(line.key, each.key, AUGMENTATIONS, "augmentation", context)
        first.append(make_component(cls, each.values, context, each.key.span))
    return tuple(first)


def read_optimizer(line: ast.Setting, context: Context) -> tuple[Optimizer, tuple[ast.Expr, ...]]:
    """Return the optimizer, and the exceptions from weight decay as written. Raises Rejected or Poisoned."""
    given, exceptions = _split(line, context)
    return choose_component(line.key, given, OPTIMIZERS, "optimizer", context), exceptions


def _split(line: ast.Setting, context: Context) -> tuple[tuple[ast.Expr, ...], tuple[ast.Expr, ...]]:
    """Return the arguments of an optimizer, including those in its braces, and what follows `except`. Raises
    Rejected."""
    given = list(line.values)
    for each in line.lines or ():
        _reject_braces(each, context)
        given += [each.key, *each.values]
    words = [word(expr) for expr in given]
    if EXCEPT not in words:
        return tuple(given), ()
    cls = OPTIMIZERS.get(words[0])
    keywords = declared_signature(cls).by_keyword if cls else ()
    begin = end = words.index(EXCEPT)
    while end + 1 < len(given) and words[end + 1] not in keywords:
        end += 1
    if EXCEPT in words[begin + 1 :]:
        again = given[words.index(EXCEPT, begin + 1)]
        context.reject(train_problems.LineTwice, again.span, what="`except`", earlier=given[begin].span)
    if begin == end:
        reject_missing(ast.Name(given[begin].span, EXCEPT), "parameter", dict.fromkeys((*EXCEPTIONS, "LABEL")), context)
    return (*given[:begin], *given[end + 1 :]), tuple(given[begin + 1 : end + 1])


def _reject_braces(line: ast.Setting, context: Context) -> None:
    """Reject braces after a line that takes none. Raises Rejected, or Poisoned if their content is wrong too."""
    if line.lines is None:
        return
    if not line.lines and context.module.file.broken:
        raise Poisoned
    last = line.values[-1] if line.values else line.key
    begin = line.span.source.text.index("{", last.span.end)
    braces = Span(line.span.source, begin, line.span.end)
    context.reject(train_problems.NoBraces, braces, key=line.key.text)


def _of_output(
    line: ast.Setting, table: Mapping[str, type[_D]], context: Context, net: Net | None
) -> tuple[ast.Name | None, _D, Span]:
    """Parse `KEY [OUTPUT] NAME arguments…`: return the output's name, the component, and the location of its name.
    Raises Rejected."""
    key, given = line.key, line.values
    _reject_braces(line, context)
    if not given:
        reject_missing(key, key.text, table, context)
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
            reject_missing(key, key.text, table, context)
        output, given = given[0], given[1:]
    else:
        output = None
    cls = table.get(word(given[0]))
    if cls is None:
        reject_unknown(key, given[0], table, key.text, context)
    return output, make_component(cls, given[1:], context, given[0].span), given[0].span


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
            context.reject(loss_problems.WhichOutput, place, key=key, names=tuple(candidates))
        return candidates[0]
    if given.text not in known:
        lossless = given.text in net.outputs
        context.reject(
            loss_problems.UnknownOutput,
            given.span,
            name=given.text,
            candidates=tuple(known),
            net=net.name,
            lossless=lossless,
        )
    return given.text


def read_loss(line: ast.Setting, context: Context, net: Net | None) -> LossLine | None:
    """Return a loss that fits its output; None without a net to check it against. Raises Rejected or Poisoned."""
    given, found, place = _of_output(line, LOSSES, context, net)
    if net is None:
        return None
    output = _resolve("loss", given, tuple(net.outputs), tuple(net.inference_outputs), net, place, context)
    node = net.outputs[output].node
    if node.dtype == "i64":
        context.reject(loss_problems.LossOfIntegers, place, output=output, node=node)
    try:
        if found.reads_target:
            found.target(node.shape)
    except Misfit as misfit:
        span = found.spans.get(misfit.at, place)
        context.reject(misfit.problem, span, name=found.kind, output=output, node=node, **misfit.data)
    for key in found.values:
        _check_lengths(getattr(found, key), found.spans.get(key, place), net, context)
    return LossLine(output=output, loss=found, span=line.span)


def _check_lengths(name: str | None, span: Span, net: Net, context: Context) -> None:
    """Reject the name of lengths that are not an input with one integer for each example. Raises Rejected."""
    fitting = tuple(node.name for node in net.inputs if (node.shape, node.dtype) == LENGTHS)
    if name is not None and name not in fitting:
        node = next((node for node in net.inputs if node.name == name), None)
        context.reject(sequence_problems.LengthsInput, span, name=name, net=net.name, node=node, candidates=fitting)


LENGTHS = (1,), "i64"
"""Shape and element type of an input that has the number of places of each example."""


def check_losses(losses: Sequence[LossLine], net: Net, context: Context) -> None:
    """Reject a second loss of an output, a training head without one, and targets that cannot be shared. Raises
    Rejected."""
    seen: dict[str, LossLine] = {}
    for line in losses:
        earlier = seen.setdefault(line.output, line)
        if earlier is not line:
            what = f"the loss of `{line.output}`"
            context.reject(train_problems.LineTwice, line.span, what=what, earlier=earlier.span)
    targeted = {name: line for name, line in seen.items() if line.loss.reads_target}
    for output in net.outputs.values():
        if output.training and output.name not in seen:
            context.reject(
                loss_problems.HeadWithoutLoss,
                losses[-1].span,
                output=output.name,
                declared=output.span,
                loss=_loss_of_head(output.node.shape, targeted, net),
            )
    if targeted:
        _check_targets(targeted, net, context)


def _loss_of_head(shape: Shape, targeted: Mapping[str, LossLine], net: Net) -> str:
    """Return the loss to suggest for a training head: that of the first output if it has the same target, or `mean`."""
    for name, line in targeted.items():
        with suppress(Misfit):
            if line.loss.target(shape) == line.loss.target(net.outputs[name].node.shape):
                return line.loss.kind
    return Mean.kind


def _check_targets(losses: dict[str, LossLine], net: Net, context: Context) -> None:
    """Reject training heads that cannot share the target of the only inference output."""
    targets = {name: line.loss.target(net.outputs[name].node.shape) for name, line in losses.items()}
    main = tuple(net.inference_outputs)
    if len(main) > 1:
        return
    first = main[0] if main[0] in targets else next(iter(targets))
    for name, target in targets.items():
        if target != targets[first]:
            context.reject(
                loss_problems.TargetsDiffer,
                losses[name].span,
                output=name,
                here=_in_words(target),
                there=_in_words(targets[first]),
                earlier=losses[first].span,
            )


def _in_words(target: Target) -> str:
    if target.kind == "class":
        places = f" at each of {format_shape(target.shape)} positions" if target.shape else ""
        ignored = f", {target.ignore} ignored" if target.ignore is not None else ""
        return f"one of {target.classes} classes{places}{ignored}"
    if target.kind == "sequence":
        most = f"up to {target.shape[0]} of " if target.shape else ""
        return f"{TARGET_WORDS[target.kind]}, {most}{target.classes} with the blank {target.blank}"
    return TARGET_WORDS[target.kind] + (f" of {format_shape(target.shape)}" if target.shape else "")


def read_metric(line: ast.Setting, context: Context, net: Net | None, losses: Sequence[LossLine]) -> MetricLine | None:
    """Return a metric that fits the loss of its output; None without a net to check it against. Raises Rejected."""
    given, found, place = _of_output(line, METRICS, context, net)
    if net is None or not losses:
        return None
    known = [each.output for each in losses if each.loss.reads_target and not net.outputs[each.output].training]
    named = [each for each in losses if given is not None and each.output == given.text and not each.loss.reads_target]
    if named or not known:
        output = named[0].output if named else ""
        loss = (named or losses)[0].span
        context.reject(loss_problems.MetricWithoutTarget, place, name=found.kind, output=output, loss=loss)
    output = _resolve("metric", given, known, known, net, place, context)
    node = net.outputs[output].node
    target = next(each for each in losses if each.output == output).loss.target(node.shape)
    if wanted := found.misfit(target):
        context.reject(
            loss_problems.MetricMisfit,
            place,
            name=found.kind,
            output=output,
            node=node,
            wanted=wanted,
            target=_in_words(target),
        )
    if isinstance(found, EditDistance):
        if found.blank not in (None, target.blank):
            context.reject(sequence_problems.BlanksDiffer, found.spans["blank"], given=found.blank, loss=target.blank)
        found = EditDistance(blank=target.blank)
    return MetricLine(output=output, metric=found, span=line.span)


DEFAULT_METRICS = {"value": "mse", "sequence": "edit"}
"""Metrics by the kind of target, where it is not accuracy."""


def default_metrics(losses: Sequence[LossLine], net: Net) -> tuple[MetricLine, ...]:
    """Return accuracy if the target is a class or a sign, the edit distance if it is a sequence, otherwise the mean
    squared error."""
    found = []
    for line in losses:
        output = net.outputs[line.output]
        if line.loss.reads_target and not output.training:
            target = line.loss.target(output.node.shape)
            metric = METRICS[DEFAULT_METRICS.get(target.kind, "accuracy")]
            blank = {} if target.blank is None else {"blank": target.blank}
            found.append(MetricLine(output=line.output, metric=metric(**blank), span=line.span))
    return tuple(found)


def read_frozen(line: ast.Setting, context: Context, net: Net | None) -> frozenset[str]:
    """Return the parameters and statistics in labeled parts of the net. Raises Rejected or Poisoned."""
    _reject_braces(line, context)
    if not line.values:
        usage = "freeze LABEL…"
        context.reject(MissingArgument, line.key.span, callee="freeze", name="label", usage=usage)
    return frozenset().union(*(_labelled(expr, "freeze", context, net) for expr in line.values))


def undecayed(given: Sequence[ast.Expr], context: Context, net: Net | None) -> frozenset[str]:
    """Return the parameters that `except` names: `bias`, `bn` for those of all normalizations, `vectors` for those with
    a single axis, or labels. Raises Rejected."""
    found: set[str] = set()
    for expr in given:
        name = word(expr)
        if name == "bias":
            found.update(p for p in (net.parameters if net else ()) if p.rpartition(".")[2] == "bias")
        elif name == "bn":
            norms = [node for node in (net.nodes if net else ()) if node.layer.kind in _NORMS]
            found.update(p.name for node in norms for p in node.parameters.values() if not p.buffer)
        elif name == "vectors":
            found.update(p.name for p in (net.parameters.values() if net else ()) if len(p.shape) < 2 and not p.buffer)
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
        return ".".join(label_name(segment, context) for segment in expr.segments)
    return word(expr)


def _paths(net: Net) -> dict[str, None]:
    """Return every name of a layer and of its enclosing parts."""
    found: dict[str, None] = {}
    for node in net.nodes:
        parts = node.name.split(".")
        for count in range(1, len(parts) + 1):
            found[".".join(parts[:count])] = None
    return found


LINE_KEYS = (
    "data",
    "validate",
    "loss",
    "metric",
    "optimizer",
    "schedule",
    "stop",
    "average",
    "dtype",
    *NUMBER_LINES,
    "augment",
    "freeze",
)
"""The lines of a `train` block."""


def unknown_key(line: ast.Setting, context: Context, more: tuple[str, ...] = ()) -> NoReturn:
    """Reject an unknown line. Raises Rejected."""
    context.reject(train_problems.UnknownLine, line.key.span, name=line.key.text, candidates=(*LINE_KEYS, *more))
