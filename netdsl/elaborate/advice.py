"""What is right by the language, and yet hardly what was meant: warnings about nets that have no errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.diagnostics.problem import Rejected
from netdsl.elaborate.context import Poisoned
from netdsl.ir.shape import Size
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from netdsl.diagnostics.problem import Problem
    from netdsl.diagnostics.report import Report
    from netdsl.elaborate.module import Module
    from netdsl.ir.net import Net, Node
    from netdsl.ir.shape import Dim
    from netdsl.layers.window import Window


def check(nets: Iterable[Net], report: Report) -> None:
    """Report what stands in some nets in vain, or against its neighbour. The nets are all those of a check: what one of
    them needs is not in vain."""
    for net in nets:
        for problem in (*_swapped(net), *_unread(net), *_noisy(net)):
            report.add(problem)
    if any(_has_bias(node.inputs[0]) for net in nets for node in net.nodes if node.layer.kind == "bn"):
        for problem in _vain_biases(nets):
            report.add(problem)


def _swapped(net: Net) -> Iterator[Problem]:
    """Inputs that look as if their channels came last, where a window reads them."""
    from netdsl.diagnostics.solve import channels_first

    for node in net.nodes:
        if hasattr(node.layer, "window") and (mended := channels_first(node.inputs[0])):
            from netdsl.diagnostics.advice_problems import ChannelsLast

            (edit,) = mended.edits
            entry = node.inputs[0]
            yield ChannelsLast(span=edit.span, shape=entry.shape, reader=node.span, help=mended)


def _unread(net: Net) -> Iterator[Problem]:
    """Windows that never reach the last elements of their input."""
    seen = set()
    for node in net.nodes:
        layer: Any = node.layer
        if getattr(layer, "stride", 1) == 1 or not hasattr(layer, "window"):
            continue
        shape = node.inputs[0].shape
        if (id(layer), shape) in seen:
            continue
        seen.add((id(layer), shape))
        window: Window = layer.window(shape)
        over = unread(shape[1:], window, ceil=getattr(layer, "ceil", False))
        if any(over):
            from netdsl.diagnostics.advice_problems import UnreadPixels

            kernel = next((bound.expr.span for bound in node.arguments if bound.name == "kernel"), node.span)
            yield UnreadPixels(span=kernel, frame=node.frame, node=node, window=window, over=over)


def unread(sizes: tuple[Dim, ...], window: Window, *, ceil: bool = False) -> tuple[int, ...]:
    """How many elements at the end of each axis no window reads; 0 where the windows have gaps anyway, where that
    depends on a size that is not known, and with `ceil`, which reads beyond the end rather."""
    over = []
    for axis, size in enumerate(sizes):
        span, step = window.dilation[axis] * (window.kernel[axis] - 1) + 1, window.stride[axis]
        before, after = window.pads[axis], window.pads[len(sizes) + axis]
        rest = (size + before + after - span) % step
        over.append(0 if ceil or step > span or isinstance(rest, Size) else max(0, rest - after))
    return tuple(over)


def _noisy(net: Net) -> Iterator[Problem]:
    """Dropout right before a normalisation."""
    for node in net.nodes:
        if node.layer.kind == "bn" and node.inputs[0].layer.kind == "dropout":
            from netdsl.diagnostics.advice_problems import DropoutBeforeNorm

            before = node.inputs[0]
            yield DropoutBeforeNorm(span=before.span, frame=before.frame, norm=node.span)


def _has_bias(node: Node) -> bool:
    return getattr(node.layer, "bias", False) is True


def _vain_biases(nets: Iterable[Net]) -> Iterator[Problem]:
    """Layers with a bias that nothing but a `bn` reads, wherever the same text makes such a layer."""
    from netdsl.diagnostics.advice_problems import VainBias

    found: dict[Any, tuple[Node, Node] | None] = {}
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


def check_trainings(module: Module, nets: Iterable[Net]) -> None:
    """Report a training whose loss begins with the softmax that its net ends with."""
    for item in module.file.items:
        if not isinstance(item, ast.Train):
            continue
        losses = list(_cross_entropies(item.settings))
        net = next((net for net in nets if net.name == item.name.text), None)
        if losses and net is None:
            net = _net(item.name.text, module)
        for place, wanted in losses if net else ():
            assert net is not None
            for output in net.outputs.values():
                last = output.node
                if last.layer.kind in ("softmax", "log_softmax") and wanted in (None, output.name):
                    from netdsl.diagnostics.advice_problems import SoftmaxTwice

                    module.report.add(SoftmaxTwice(span=place.span, net=net.name, softmax=last))


def _cross_entropies(settings: tuple[ast.Setting, ...]) -> Iterator[tuple[ast.Name, str | None]]:
    """Where `loss` says `cross_entropy`, and for which output, if the line begins with an output's name."""
    for line in settings:
        if line.key.text == "loss":
            for output, value in zip((None, *line.values), line.values[:2], strict=False):
                if isinstance(value, ast.Name) and value.text == "cross_entropy":
                    yield value, output.text if isinstance(output, ast.Name) else None


def _net(name: str, module: Module) -> Net | None:
    """A net that the check has not met, since it is another file's."""
    from netdsl.elaborate.net import elaborate, entry, resolve

    try:
        return elaborate(resolve(*entry(module, name), {}))
    except Rejected as rejected:
        module.report.add(rejected.problem)
    except Poisoned:
        pass
    return None
