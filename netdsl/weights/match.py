"""Match a file's weights to a net: by name, after rename rules, or by order; completely or in part."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import partial
from itertools import accumulate
from math import isclose, prod
from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.shape import format_shape
from netdsl.base.suggest import suggest
from netdsl.base.terminal import plural
from netdsl.lower import live
from netdsl.weights.check import is_ignored, renaming_help
from netdsl.weights.errors import UnclearUse, UnknownWeightLabel, UnlikeLayer, WeightsDoNotFit
from netdsl.weights.file import WeightView
from netdsl.weights.onnx_roles import LAYER_KINDS
from netdsl.weights.order import match_by_order, pair_lines
from netdsl.weights.rename import apply_rules, beside, check_used, read_rules
from netdsl.weights.tied import merge_tied

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.ir.net import Net, Node
    from netdsl.weights.file import Permute, WeightFile
    from netdsl.weights.rename import Rule

    Shape = tuple[int, ...]

MAX_TENSORS_SHOWN = 10
"""Maximum number of tensors listed in a message."""

CHANNELS_FIRST = frozenset({"conv", "dwconv", "deconv", "embedding"})
"""Layers whose result is a feature map with channels first, whatever their input."""

ANY_ORDER = frozenset({"input", "dense", "linear", "permute", "reshape", "slice", "reduce"})
"""Layers whose result can have its elements in any order."""


def match_weights(
    net: Net,
    file: WeightFile,
    *,
    rules: Sequence[Rule] = (),
    order: bool = False,
    allow_nonfinite: bool = False,
    exclude: Sequence[str] = (),
    partial: bool = False,
) -> WeightFile:
    """Return the file's weights under the net's names and in its layout, as far as they are determined by `rules`, the
    rename file next to the net's source, or the `order`. `checked_weights` reports what does not match.

    The rename file is used only if more weights fit with it, and not if an earlier match transposed weights, so that
    matching twice is harmless. Weights selected by the labels in `exclude` keep their initial values; with `partial`,
    so do those that the file lacks. Raises UserError.
    """
    check_used(rules, file)
    named = apply_rules(file, rules) if rules else file
    found = named if order else merge_tied(net, named)
    out = excluded(net, exclude)
    needed = {p.name for node in live(net) for p in node.parameters.values()} - file.initial - out
    if order:
        found = match_by_order(net, found, out)
    elif (
        not file.transposed
        and (path := beside(net.source.name)) is not None
        and (before := _misfits(net, found, needed, partial)) > (0, 0)
    ):
        other = merge_tied(net, apply_rules(named, read_rules(path), turn_known=False))
        if _misfits(net, other, needed, partial) < before:
            found = other
    if exclude or partial:
        ordered = [name for name in net.parameters if name in needed]
        found = _part_of(net, found, ordered, out, partial=partial)
    if shapes := _pointwise_shapes(net, found):
        found = WeightView(found, {key: key for key in found.entries}, shapes=shapes)
    _check_layers(net, found)
    permutations = _flattened_permutations(net, found) or None
    if found.keras is not None:
        from netdsl.weights.keras_order import layout_permutations

        permutations = layout_permutations(net, found.keras, found.origins)
    if permutations is not None or allow_nonfinite:
        names = {key: key for key in found.entries}
        return WeightView(found, names, permutations=permutations, allow_nonfinite=allow_nonfinite)
    return found


def _misfits(net: Net, file: WeightFile, needed: Collection[str], partial: bool) -> tuple[int, int]:
    """Return the number of weights in `needed` that are missing or have another shape in the file, plus that of its
    tensors that are not the net's, unless `partial`; and the number of missing ones."""
    reshaped = _pointwise_shapes(net, file)
    found = {key: reshaped.get(key, entry.shape) for key, entry in file.entries.items()}
    wrong = sum(found.get(name) != net.parameters[name].shape for name in needed)
    spare = 0 if partial else sum(key not in net.parameters and not is_ignored(key) for key in found)
    return wrong + spare, sum(name not in found for name in needed)


def excluded(net: Net, labels: Iterable[str]) -> set[str]:
    """Return the weights that labels select. Raises UnknownWeightLabel if a label selects none.

    A label is the name of a weight, a prefix of names up to a dot (`fc`, `layer4.0`), or a pattern for either
    (`layer?`, `*.bias`).
    """
    found: set[str] = set()
    for label in labels:
        named = labelled(net.parameters, label)
        if not named:
            words = scopes(net.parameters)
            close = [f"did you mean `{word}`?" for word in suggest(label, words)[:1]]
            first = dict.fromkeys(name.partition(".")[0] for name in net.parameters)
            listed = _enumerated(first) or "none"
            text = f"{net.name} has no layer or weight `{label}`: it has {listed}"
            raise UnknownWeightLabel(text, *close)
        found.update(named)
    return found


def labelled(names: Iterable[str], label: str) -> list[str]:
    """Return the names that a label selects: a name, a prefix of names up to a dot, or a pattern for either."""
    return [name for name in names if any(fnmatchcase(scope, label) for scope in _prefixes(name))]


def scopes(names: Iterable[str]) -> list[str]:
    """Return the names and their prefixes up to a dot."""
    return [*dict.fromkeys(scope for name in names for scope in _prefixes(name))]


def _prefixes(name: str) -> Iterator[str]:
    return accumulate(name.split("."), lambda a, b: f"{a}.{b}")


def _part_of(net: Net, file: WeightFile, needed: Collection[str], out: Collection[str], *, partial: bool) -> WeightView:
    """Return the file without the weights `out`, which keep their initial values.

    With `partial`, weights that the net does not have are dropped too, and `needed` ones that the file lacks keep
    their initial values. Raises WeightsDoNotFit if no weight remains.
    """
    dropped = [key for key in file.entries if key in out or (partial and key not in net.parameters)]
    names = {key: key for key in file.entries if key not in set(dropped)}
    if not any(key in net.parameters for key in names):
        wanted = {key: net.parameters[key].shape for key in needed}
        spare = {key: file.entries[key].shape for key in dropped if key not in out}
        why = f"belongs to {net.name}: it has {_enumerated(spare)}" if spare else "remains"
        raise WeightsDoNotFit(f"no weight in {file.path} {why}", *renaming_help(wanted, spare))
    lost = [key for key in needed if key not in names] if partial else []
    origins = file.origins
    unused = {origins[key]: file.entries[key].shape for key in dropped if not is_ignored(key)}
    return WeightView(file, names, initial=frozenset([*out, *lost]), unused=unused)


def _enumerated(names: Collection[str]) -> str:
    return ", ".join([*names][:MAX_TENSORS_SHOWN]) + ", …" * (len(names) > MAX_TENSORS_SHOWN)


def initial_report(net: Net, file: WeightFile, seed: int, *, training: bool = False) -> list[str]:
    """Return lines that list the net's randomly initialized weights, including those of training heads if `training`,
    and the file's unused tensors."""
    heads = net.parameters.keys() - file.entries.keys() if training else frozenset()
    random = {name: p.shape for name, p in net.parameters.items() if name in file.initial | heads}
    return [
        *_listed(f"{len(random)} of {len(net.parameters)} weights are initialized randomly, from seed {seed}", random),
        *_listed(f"{len(file.unused)} tensors of {file.path} are unused", file.unused),
    ]


def transposed_report(net: Net, file: WeightFile) -> list[str]:
    """Return lines that list the net's weights that rename rules transpose, with their names in the file."""
    lines = pair_lines(file, net, file.transposed & net.parameters.keys())
    more = len(lines) - MAX_TENSORS_SHOWN
    return [
        f"{plural(len(lines), 'weight')} transposed:",
        *lines[:MAX_TENSORS_SHOWN],
        *[f"  and {more} more"] * (more > 0),
    ]


def _listed(title: str, shapes: Mapping[str, Shape]) -> Iterator[str]:
    if shapes:
        yield f"{title}:"
    width = max((len(name) for name in shapes), default=0)
    for name, shape in [*shapes.items()][:MAX_TENSORS_SHOWN]:
        yield f"  {name:{width}}  {format_shape(shape)}"
    if len(shapes) > MAX_TENSORS_SHOWN:
        yield f"  and {len(shapes) - MAX_TENSORS_SHOWN} more"


def _pointwise_shapes(net: Net, file: WeightFile) -> dict[str, Shape]:
    """Return the net's shapes of weights that the file has with another number of axes, by name: matrices of linear
    layers and kernels of pointwise convolutions, [N, C] and [N, C, 1] or [N, C, 1, 1], are the same map, and a `param`
    may have other axes of 1."""
    found: dict[str, Shape] = {}
    for node in net.nodes:
        for own in node.parameters.values() if node.layer.kind == "param" else ():
            entry = file.entries.get(own.name)
            if entry is not None and [n for n in entry.shape if n != 1] == [n for n in own.shape if n != 1]:
                found[own.name] = own.shape
        weight = node.parameters.get("weight")
        entry = file.entries.get(weight.name) if weight is not None else None
        if weight is None or entry is None or entry.shape == weight.shape or entry.shape[:2] != weight.shape[:2]:
            continue
        is_map = node.layer.kind == "linear" or (
            node.layer.kind == "conv" and weight.shape[1] == node.inputs[0].shape[0]
        )
        if is_map and len(entry.shape) > 1 and {*entry.shape[2:], *weight.shape[2:]} <= {1}:
            found[weight.name] = weight.shape
    return found


def _check_layers(net: Net, file: WeightFile) -> None:
    """Raise UnlikeLayer if a node of the file's graph computes something else than the net's layer with its weight."""
    for node in net.nodes:
        for word, parameter in node.parameters.items():
            entry = file.entries.get(parameter.name)
            if entry is None or entry.use is None or entry.use.unclear or entry.shape != parameter.shape:
                continue
            name, path, use = parameter.name, file.path, entry.use
            if use.word != word:
                raise UnlikeLayer(f"`{name}` is the {use.word} of a node {use.op} in {path}, not its {word}")
            if node.layer.kind not in LAYER_KINDS.get(use.op, (node.layer.kind,)):
                kind = node.layer.kind
                raise UnlikeLayer(f"`{name}` is a weight of a node {use.op} in {path}, not of a `{kind}`")
            eps = getattr(node.layer, "eps", None)
            if eps is not None and use.epsilon is not None and not isclose(eps, use.epsilon, rel_tol=1e-4):
                raise UnlikeLayer(
                    f"`{node.name}` has the epsilon {eps:g}, but in {path} it is {use.epsilon:.4g}",
                    f"write `{node.layer.kind} eps {use.epsilon:.4g}`",
                )


def _flattened_permutations(net: Net, file: WeightFile) -> dict[str, Permute]:
    """Return the permutations of dense weights, by name, if an ONNX graph flattens feature maps with channels last.

    Raises UnclearUse if the net does not flatten a map with channels first.
    """
    permutations: dict[str, Permute] = {}
    for node in net.nodes:
        for parameter in node.parameters.values():
            entry = file.entries.get(parameter.name)
            if entry is None or entry.use is None or not entry.use.channels or entry.shape != parameter.shape:
                continue
            shape = _map_before(node)
            if shape is None or shape[0] != entry.use.channels or prod(shape) != parameter.shape[-1]:
                raise UnclearUse(
                    f"{file.path}: `{parameter.name}` reads a map that was flattened with its "
                    f"channels last, but it is unclear which map of {net.name} that is"
                )
            permutations[parameter.name] = partial(_channels_first, shape=shape)
    return permutations


def _map_before(node: Node) -> tuple[int, ...] | None:
    """Return the shape of the feature map that a layer reads flattened; None unless its channels come first."""
    if len(node.inputs) != 1:
        return None
    (x,) = node.inputs
    while len(x.shape) == 1 and x.layer.kind not in ANY_ORDER and len(x.inputs) == 1:
        (x,) = x.inputs
    shape = tuple(size for size in x.shape if isinstance(size, int))
    seen, waiting = {x}, [x]
    while waiting:
        each = waiting.pop()
        if each.layer.kind in ANY_ORDER:
            return None
        if each.layer.kind not in CHANNELS_FIRST:
            waiting += [before for before in each.inputs if before not in seen]
            seen.update(each.inputs)
    return shape if 1 < len(shape) == len(x.shape) else None


def _channels_first(array: Array, shape: tuple[int, ...]) -> Array:
    """Reorder the last axis from channels last to channels first: [..., S C] -> [..., C S]."""
    channels, *space = shape
    spread = array.reshape(*array.shape[:-1], *space, channels)
    return np.moveaxis(spread, -1, array.ndim - 1).reshape(array.shape)
