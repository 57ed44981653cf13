"""Edits that may change the shape of a value, derived from the origins of its sizes.

They are guesses: `netdsl.app.repair` keeps those with which the program elaborates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import Size
from netdsl.base.size import multiple_that_decides
from netdsl.base.text import Span
from netdsl.diagnostics.origins import origin, origins
from netdsl.diagnostics.problem import Edit, Suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.base.shape import Shape
    from netdsl.ir.net import CallArgument, Node

LEAST_PICTURE = 8
"""Minimum size of an image side."""

ROUNDINGS = (2, 4, 8, 16, 32)
"""Multiples to which the sizes of an input are rounded, and factors by which it is enlarged."""


def differing(one: Shape, other: Shape) -> list[int]:
    """Return the axes in which two shapes of equal rank differ; none if the ranks differ."""
    if len(one) != len(other):
        return []
    return [axis for axis, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


def meet(node: Node, wanted: Shape, start: Node | None = None) -> Iterator[Suggestion]:
    """Yield edits that may change the shape of a value: of the arguments that determined its sizes, of the windows
    after `start`, and of inputs."""
    axes = differing(node.shape, wanted)
    spatial = [axis for axis in axes if axis]
    channels = list(_channels(node, wanted)) if 0 in axes else []
    sizes = list(_sizes(node, wanted, spatial, start)) if spatial else []
    yield from channels
    yield from sizes
    if channels:
        for each in sizes:
            yield Suggestion(f"{channels[0].text} and {each.text}", *channels[0].edits, *each.edits)


def _sizes(node: Node, wanted: Shape, axes: list[int], start: Node | None) -> Iterator[Suggestion]:
    for each in origins(node, axes):
        if each.argument is not None and each.argument.name == "stride":
            yield Suggestion("remove the stride", remove(each.argument))
            yield Suggestion("set the stride to 1", Edit(each.argument.value_span, "1"))
    yield from _padding(node, start)
    yield from _input_sizes(node)
    yield from multiples(node, wanted)


def _channels(node: Node, wanted: Shape) -> Iterator[Suggestion]:
    made = origin(node, 0)
    if made.argument is not None and isinstance(wanted[0], int) and made.argument.value_span.text.isdecimal():
        what = "channel" if len(wanted) > 1 else "unit"
        yield Suggestion(
            f"use {wanted[0]} {what}{'s' * (wanted[0] != 1)}", Edit(made.argument.value_span, str(wanted[0]))
        )


def _padding(node: Node, start: Node | None) -> Iterator[Suggestion]:
    """Yield paddings for windows of stride 1 that shrink their input."""
    edits: dict[object, Edit] = {}
    while node is not start and node.inputs and not node.layer.variadic:
        before = node.inputs[0]
        if node.shape[1:] != before.shape[1:] and getattr(node.layer, "stride", None) == 1:
            edit = pad_same(node)
            edits[edit.span.key] = edit
        node = before
    if edits:
        yield Suggestion("pad to keep the size", *edits.values())


def pad_same(node: Node) -> Edit:
    """Return the edit that sets `pad same` on a window."""
    return keyword(node.span, node.arguments, "pad", "same")


def keyword(head: Span, arguments: tuple[CallArgument, ...], name: str, value: str) -> Edit:
    """Return the edit that sets a keyword of a call, replacing its value or appended to the arguments."""
    for argument in arguments:
        if argument.name == name:
            return Edit(argument.value_span, value)
    end = max((argument.value_span.end for argument in arguments), default=head.end)
    return Edit(Span(head.source, end, end), f" {name} {value}")


def remove(argument: CallArgument) -> Edit:
    """Return the edit that removes a keyword with its value and the preceding space."""
    span = argument.span.to(argument.value_span)
    start = span.start
    while start and span.source.text[start - 1] in " \t":
        start -= 1
    return Edit(Span(span.source, start, span.end), "")


def _input_sizes(node: Node) -> Iterator[Suggestion]:
    """Yield sizes of the input, rounded up and down to a multiple."""
    for entry in _inputs(node):
        literal = entry.arguments[0].value_span if entry.arguments else None
        if literal is None or not all(isinstance(size, int) for size in entry.shape) or len(entry.shape) < 2:
            continue
        for factor in ROUNDINGS:
            for up in (True, False):
                sizes = [entry.shape[0], *(_rounded(size, factor, up) for size in entry.shape[1:])]
                if tuple(sizes) != entry.shape and all(sizes):
                    new = "x".join(map(str, sizes))
                    yield Suggestion(f"use an input whose sizes are multiples of {factor}", Edit(literal, new))


def _rounded(size: object, factor: int, up: bool) -> int:
    assert isinstance(size, int)
    return (size + factor - 1 if up else size) // factor * factor


def channels_first(entry: Node) -> Suggestion | None:
    """Suggest an input with its channels first, if they seem to be last, as in `224x224x3`."""
    if entry.layer.kind != "input" or len(entry.shape) != 3 or not entry.arguments:
        return None
    height, width, channels = entry.shape
    if channels not in (1, 3) or not all(isinstance(size, int) and size >= LEAST_PICTURE for size in (height, width)):
        return None
    shape = f"{channels}x{height}x{width}"
    return Suggestion(f"channels come first: `{shape}`", Edit(entry.arguments[0].value_span, shape))


def larger_inputs(node: Node) -> Iterator[Suggestion]:
    """Yield larger inputs, by the smallest factor first."""
    for entry in _inputs(node):
        if entry.arguments and len(entry.shape) > 1 and all(isinstance(size, int) for size in entry.shape):
            for factor in ROUNDINGS:
                sizes = (entry.shape[0], *(size * factor for size in entry.shape[1:]))
                literal = entry.arguments[0].value_span
                yield Suggestion(f"use an input {factor} times as large", Edit(literal, "x".join(map(str, sizes))))


def kernels(arguments: tuple[CallArgument, ...], fits: Shape) -> Iterator[Suggestion]:
    """Yield a window that fits into the given sizes, odd if possible."""
    least = min((size for size in fits if isinstance(size, int)), default=0)
    if arguments and least > 0 and arguments[0].name == "kernel":
        size = least if least % 2 else max(1, least - 1)
        yield Suggestion("use a smaller window", Edit(arguments[0].value_span, "x".join([str(size)] * len(fits))))


def multiples(node: Node, wanted: Shape) -> Iterator[Suggestion]:
    """Yield the multiple of a named input size that makes two formulas equal."""
    for left, right in zip(node.shape, wanted, strict=False):
        decides = multiple_that_decides(left, right) if left != right else None
        if decides is None:
            continue
        symbol, factor = decides
        for entry in _inputs(node):
            edit = _multiple(entry, symbol, factor)
            if edit is not None:
                yield Suggestion(f"use inputs whose sizes are multiples of {factor}", edit)
                return


def _multiple(entry: Node, symbol: str, factor: int) -> Edit | None:
    """Return the edit that turns the run-time sizes of an input into multiples, if one has the symbol."""
    if not entry.arguments or not any(isinstance(s, Size) and symbol in s.symbols for s in entry.shape):
        return None
    sizes = []
    for size in entry.shape:
        if isinstance(size, Size):
            ((name, each),) = size.terms
            word = f"?{name}" if not str(name).startswith(f"{entry.name}_") else "?"
            sizes.append(f"{each * factor}*{word}")
        else:
            sizes.append(str(size))
    return Edit(entry.arguments[0].value_span, f"[{', '.join(sizes)}]")


def _inputs(node: Node) -> list[Node]:
    """Return the inputs of the net that a value depends on."""
    seen = {id(node)}
    pending = [node]
    found = []
    while pending:
        each = pending.pop()
        if not each.inputs:
            found.append(each)
        for x in each.inputs:
            if id(x) not in seen:
                seen.add(id(x))
                pending.append(x)
    return found
