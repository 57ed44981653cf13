"""Warnings about nets without errors: valid, but probably not what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import Size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from netdsl.base.shape import Dim
    from netdsl.diagnostics.problem import Problem
    from netdsl.diagnostics.report import Report
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.net import Net, Node
    from netdsl.layers.window import Window


def check_nets(nets: Iterable[Net], report: Report) -> None:
    """Report layers that have no effect or disturb their neighbors. The nets are all those of one check: what one of
    them needs is not superfluous."""
    for net in nets:
        for problem in (
            *_swapped(net),
            *_unread(net),
            *_noisy(net),
            *_flattened(net),
            *_undropped(net),
            *_undrawn(net),
        ):
            report.add(problem)
    if any(_has_bias(node.inputs[0]) for net in nets for node in net.nodes if node.layer.kind == "bn"):
        for problem in _vain_biases(nets):
            report.add(problem)


def _swapped(net: Net) -> Iterator[Problem]:
    """Yield inputs that look channels-last and are read by a window."""
    for node in net.nodes:
        if (
            not hasattr(node.layer, "window")
            or len((entry := node.inputs[0]).shape) != 3
            or entry.shape[2] not in (1, 3)
        ):
            continue
        from netdsl.diagnostics.solve import channels_first

        if swapped := channels_first(entry):
            from netdsl.diagnostics.advice_problems import ChannelsLast

            (edit,) = swapped.edits
            yield ChannelsLast(span=edit.span, shape=entry.shape, reader=node.span, help=swapped)


def _unread(net: Net) -> Iterator[Problem]:
    """Yield windows that never reach the last elements of their input. Those of `unpool` are its pool's."""
    seen = set()
    for node in net.nodes:
        layer = node.layer
        if getattr(layer, "stride", 1) == 1 or not hasattr(layer, "window") or len(node.inputs) > 1:
            continue
        shape = node.inputs[0].shape
        if (id(layer), shape) in seen:
            continue
        seen.add((id(layer), shape))
        window: Window = layer.window(shape)
        over = unread(shape[1:], window, ceil=getattr(layer, "ceil", False))
        if any(over):
            from netdsl.diagnostics.advice_problems import UnreadPixels

            kernel = next((bound.value_span for bound in node.arguments if bound.name == "kernel"), node.span)
            yield UnreadPixels(
                span=kernel,
                frame=node.frame,
                node=node,
                windows=tuple(d * (k - 1) + 1 for k, d in zip(window.kernel, window.dilation, strict=True)),
                stride=window.stride,
                after=window.pads[len(over) :],
                over=over,
            )


def unread(sizes: tuple[Dim, ...], window: Window, *, ceil: bool = False) -> tuple[int, ...]:
    """Return the number of elements at the end of each axis that no window reads; 0 if the windows have gaps anyway, if
    it depends on a symbolic size, and with `ceil`, which reads beyond the end instead."""
    over = []
    for axis, size in enumerate(sizes):
        span, step = window.dilation[axis] * (window.kernel[axis] - 1) + 1, window.stride[axis]
        before, after = window.pads[axis], window.pads[len(sizes) + axis]
        rest = (size + before + after - span) % step
        over.append(0 if ceil or step > span or isinstance(rest, Size) else max(0, rest - after))
    return tuple(over)


def _noisy(net: Net) -> Iterator[Problem]:
    """Yield dropout directly before a normalization."""
    for node in net.nodes:
        if node.layer.kind == "bn" and node.inputs[0].layer.kind == "dropout":
            from netdsl.diagnostics.advice_problems import DropoutBeforeNorm

            before = node.inputs[0]
            yield DropoutBeforeNorm(span=before.span, frame=before.frame, norm=node.span)


def _undropped(net: Net) -> Iterator[Problem]:
    """Yield recurrent layers with dropout between layers, of which there is one."""
    for node in net.nodes:
        if node.layer.stateful and getattr(node.layer, "layers", 2) == 1 and getattr(node.layer, "dropout", 0):
            from netdsl.diagnostics.recurrent_problems import VainDropout

            at = next((each.value_span for each in node.arguments if each.name == "dropout"), node.span)
            yield VainDropout(span=at, frame=node.frame, node=node)


WEIGHTS = {"bias_init": ("bias",), "init": ("affine", "scale")}
"""Initializers, and the switches of the weight that they draw."""


def _undrawn(net: Net) -> Iterator[Problem]:
    """Yield initializers of weights that the same call switches off."""
    for node in net.nodes:
        given = {each.name: each for each in node.arguments}
        for name in WEIGHTS.keys() & given.keys():
            switch = next((each for each in WEIGHTS[name] if getattr(node.layer, each, True) is False), None)
            off = given.get(switch or "")
            if switch is not None and (off is None or off.value_span.text == "off"):
                from netdsl.diagnostics.advice_problems import VainInit

                yield VainInit(span=given[name].span, frame=node.frame, init=given[name], switch=switch, off=off)


OF_SEQUENCES = frozenset(["embedding", "linear", "layernorm", "rmsnorm", "attention", "lstm", "gru", "rnn"])
"""Layers whose result [C, L] has a meaning at each position."""


def _flattened(net: Net) -> Iterator[Problem]:
    """Yield `dense` on a sequence, perhaps behind elementwise layers and merges."""
    makers: dict[int, Node] = {}
    for node in net.nodes:
        if node.layer.kind == "dense" and (maker := makers.get(id(node.inputs[0]))):
            from netdsl.diagnostics.advice_problems import DenseOnSequence

            yield DenseOnSequence(span=node.span, frame=node.frame, node=node, maker=maker)
        if len(node.shape) != 2 or node.shape[1] == 1:
            continue
        if node.layer.kind in OF_SEQUENCES:
            makers[id(node)] = node
        elif not node.parameters and not node.layer.dtype_transparent:
            before = [makers[id(x)] for x in node.inputs if x.shape == node.shape and id(x) in makers]
            if before and len(before) == len(node.inputs):
                makers[id(node)] = before[-1]


def _has_bias(node: Node) -> bool:
    return getattr(node.layer, "bias", False) is True


def _vain_biases(nets: Iterable[Net]) -> Iterator[Problem]:
    """Yield layers whose bias is only read by a `bn`, in every net that the same text creates."""
    from netdsl.diagnostics.advice_problems import VainBias

    found: dict[object, tuple[Node, Node] | None] = {}
    for net in nets:
        readers: dict[int, list[Node | None]] = {id(output.node): [None] for output in net.outputs.values()}
        for node in net.nodes:
            for x in node.inputs:
                readers.setdefault(id(x), []).append(node)
        for node in filter(_has_bias, net.nodes):
            norms = [reader for reader in readers[id(node)] if reader is not None and reader.layer.kind == "bn"]
            if len(norms) < len(readers[id(node)]):
                found[node.span.key] = None
            else:
                found.setdefault(node.span.key, (node, norms[0]))
    for node, norm in filter(None, found.values()):
        yield VainBias(span=node.span, frame=node.frame, node=node, norm=norm.span)


def check_trainings(recipes: Iterable[Recipe], report: Report) -> None:
    """Report what is doubtful about trainings without errors."""
    for recipe in recipes:
        _forgive(recipe, report)
        for find in (_activations, _pixels, _idle, _late, _unvalidated, _seen):
            for problem in find(recipe):
                report.add(problem)


def _forgive(recipe: Recipe, report: Report) -> None:
    """Discard warnings that an input reaches no output if a loss reads it."""
    names = {getattr(line.loss, key) for line in recipe.losses for key in line.loss.values}
    spans = {node.span.key for node in recipe.net.inputs if node.name in names}
    for problem in list(report):
        if problem.code == "W0201" and problem.span.key in spans:
            report.discard(problem)


NEVER_NEGATIVE = frozenset(
    ["sigmoid", "hard_sigmoid", "softmax", "relu", "relu6", "softplus", "abs", "square", "sqrt", "exp", "step"]
)


def _activations(recipe: Recipe) -> Iterator[Problem]:
    """Yield final activations that the loss applies itself, or that keep it from telling classes apart."""
    from netdsl.diagnostics import advice_problems as problems

    for line in recipe.losses:
        if not line.loss.reads_target:
            continue
        output = recipe.net.outputs[line.output]
        last = output.maker
        kind, span = last.layer.kind, line.loss.spans[""]
        target = line.loss.target(output.node.shape)
        over_classes = getattr(last.layer, "axis", None) in (0, -len(last.shape))
        if line.loss.kind in ("cross_entropy", "ctc") and kind in ("softmax", "log_softmax") and over_classes:
            yield problems.SoftmaxTwice(span=span, net=recipe.net.name, softmax=last)
        elif line.loss.kind == "cross_entropy" and kind in ("sigmoid", "hard_sigmoid"):
            yield problems.SigmoidBefore(span=span, loss=line.loss.kind, node=last, classes=target.classes)
        elif target.kind == "sign" and kind in NEVER_NEGATIVE:
            yield problems.SigmoidBefore(span=span, loss=line.loss.kind, node=last)


def _pixels(recipe: Recipe) -> Iterator[Problem]:
    """Yield pixels that reach a layer with weights unscaled."""
    from netdsl.elaborate.pixels import scaling, unscaled

    found = unscaled(recipe.net, recipe.augment) if recipe.data.raw else None
    if found:
        from netdsl.diagnostics.advice_problems import UnscaledPixels

        node, peak = found
        yield UnscaledPixels(
            span=recipe.data.spans[""],
            data=recipe.data.kind,
            entry=recipe.net.inputs[0],
            reader=node,
            peak=peak,
            edit=scaling(recipe.net),
        )


def _idle(recipe: Recipe) -> Iterator[Problem]:
    """Yield a training that changes no weight."""
    if not recipe.trains():
        from netdsl.diagnostics.advice_problems import NothingTrained

        trainable = [p for p in recipe.net.parameters.values() if not p.buffer]
        why = "no gradient of the loss reaches a weight"
        if not trainable:
            why = "it has no weights"
        elif not any(line.weight for line in recipe.losses):
            why = "the weight of the loss is 0"
        elif all(not p.trainable or p.name in recipe.freeze for p in trainable):
            why = "all weights are frozen"
        yield NothingTrained(span=recipe.span, net=recipe.net.name, why=why)


def _late(recipe: Recipe) -> Iterator[Problem]:
    """Yield schedules that extend beyond the last epoch. An epoch has at least one step."""
    from netdsl.schedules import Plateau, StepDecay

    schedule = recipe.schedule
    unit = "epochs" if recipe.epochs is not None else "steps"
    end = recipe.epochs if recipe.epochs is not None else recipe.steps
    assert end is not None
    late: dict[str, str] = {}
    if schedule.warmup >= end:
        late["warmup"] = f"the warm-up takes {schedule.warmup:g} epochs"
    if recipe.steps is not None and (schedule.warmup_steps or 0) >= recipe.steps:
        late["warmup_steps"] = f"the warm-up takes {schedule.warmup_steps:,} steps"
    if isinstance(schedule, StepDecay) and schedule.at[-1] >= end:
        late["at"] = f"the learning rate would drop after epoch {schedule.at[-1]:g}"
    if isinstance(schedule, Plateau) and schedule.patience + 2 >= end:
        late["patience"] = f"the learning rate would drop after epoch {schedule.patience + 2} at the earliest"
    spans = [(schedule.spans.get(argument, schedule.spans[""]), what) for argument, what in late.items()]
    if recipe.stop is not None and recipe.stop.patience + 1 >= end:
        what = f"training would stop early after epoch {recipe.stop.patience + 1} at the earliest"
        spans.append((recipe.stop.spans["patience"], what))
    for span, what in spans:
        from netdsl.diagnostics.advice_problems import BeyondTheEnd

        yield BeyondTheEnd(span=span, what=what, end=end, unit=unit, given=recipe.spans.get(unit))


def _seen(recipe: Recipe) -> Iterator[Problem]:
    """Yield validation on the training data. Exempt are `xor`, whose corners are all there are, and the arrays of a
    program."""
    from netdsl.data.kinds import TextFile

    data, validate = recipe.data, recipe.validate
    if isinstance(validate, float) or validate is None or data.kind in ("xor", "python"):
        return
    if validate.equals(data):
        from netdsl.diagnostics.advice_problems import SeenValidation
        from netdsl.diagnostics.edits import after

        span = recipe.spans["validate"]
        edit = after(span, " split test") if data.kind == "mnist" and "split" not in validate.spans else None
        yield SeenValidation(span=span, earlier=recipe.spans["data"], edit=edit)
    elif isinstance(data, TextFile) and isinstance(validate, TextFile) and validate.overlaps(data):
        from netdsl.diagnostics.advice_problems import PartlySeenValidation

        here, there = recipe.spans["validate"], recipe.spans["data"]
        yield PartlySeenValidation(span=here, earlier=there, part=validate.part, seen=data.part)


def _unvalidated(recipe: Recipe) -> Iterator[Problem]:
    """Yield early stopping without validation data."""
    if recipe.stop is not None and recipe.validate is None:
        from netdsl.diagnostics.advice_problems import UnvalidatedStop

        metric = recipe.watched if recipe.schedule.watches else None
        figure = f"`{metric.metric.name}`" if metric else "the loss"
        yield UnvalidatedStop(span=recipe.spans["stop"], figure=figure)
