"""Match a file's weights to a net by the order of its layers."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

from netdsl.base.shape import format_shape
from netdsl.lower import live
from netdsl.weights.check import check_clear, is_ignored
from netdsl.weights.errors import WeightsDoNotFit
from netdsl.weights.file import WeightView

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from netdsl.ir.net import Net, Node
    from netdsl.weights.file import Entry, WeightFile

    Shape = tuple[int, ...]
    Layer = dict[str, str]

MAX_PAIRS_BEFORE = 3
"""Maximum number of pairs shown before the first mismatch."""

ROLES = {
    **{word: word for word in ("weight", "bias", "running_mean", "running_var")},
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Roles of a layer's weights by PyTorch's and Keras's names; weights of different roles never match."""

NUMBER = re.compile(r"\d+(?=$|[._/])")
"""A number at the end of a part of a name, which counts layers, unlike the one in `branch3x3`."""


def match_by_order(net: Net, file: WeightFile, free: Collection[str] = ()) -> WeightView:
    """Return the file's weights under the net's names, matched by order. Raises WeightsDoNotFit.

    Weights in `free`, which keep their initial values, match any shape, and may be missing from the file; so may those
    of training heads.
    """
    shapes = {key: entry.shape for key, entry in file.entries.items() if not is_ignored(key)}
    wanted = {name: p.shape for name, p in net.parameters.items()}
    both = [_layers_of(net.nodes), _layers_of(live(net))]
    choices = [*both, *(_without(layers, free) for layers in both if free)]
    graph = file.layers
    if graph is None:
        held = [_grouped(shapes)]
    else:
        held = [_grouped(shapes, graph, repeats=repeats) for repeats in (True, False)]
    pairs = next(((a, b) for a, b in product(choices, held) if _count(a) == _count(b)), (choices[0], held[-1]))
    pairing = _Pairing(file, shapes, wanted, free)
    if graph is not None:
        return pairing.by_layer(*pairs)
    if not file.ordered:
        return pairing.flat(pairs[0], _by_kind(pairs[0], wanted, shapes))
    if _is_sorted(file, shapes):
        return pairing.by_name(*pairs)
    return pairing.flat(pairs[0], list(shapes), pairs[1])


class _Pairing:
    """Ways to pair the layers of a net with those of a file. Each raises WeightsDoNotFit."""

    def __init__(
        self, file: WeightFile, shapes: Mapping[str, Shape], wanted: Mapping[str, Shape], free: Collection[str]
    ) -> None:
        self._file = file
        self._shapes = shapes
        self._wanted = wanted
        self._free = free

    def flat(self, ours: list[Layer], keys: list[str], theirs: list[Layer] | None = None) -> WeightView:
        """Pair tensors in order; if that fails, layers in order."""
        names = [name for layer in ours for name in layer.values()]
        if len(names) == len(keys):
            wrong = [at for at, pair in enumerate(zip(names, keys, strict=True)) if not self._agree(*pair)]
            if not wrong:
                return WeightView(self._file, dict(zip(names, keys, strict=True)))
            found = [self._within(*pair) for pair in zip(ours, theirs or [], strict=False)]
            if theirs is not None and len(ours) == len(theirs) and None not in found:
                return self._paired(found)
        raise self._differs(names, keys)

    def by_layer(self, ours: list[Layer], theirs: list[Layer]) -> WeightView:
        """Pair layers in order."""
        found = [self._within(*pair) for pair in zip(ours, theirs, strict=False)]
        if len(ours) != len(theirs) or None in found:
            raise self._differs(*([name for layer in side for name in layer.values()] for side in (ours, theirs)))
        return self._paired(found)

    def by_name(self, ours: list[Layer], theirs: list[Layer]) -> WeightView:
        """Pair the layers of a file that is sorted by name, using shapes and the numbers in names."""
        theirs = sorted(theirs, key=lambda layer: _natural(_name(layer)))
        single = all(len(layer) == 1 for layer in theirs)
        if len({NUMBER.sub("#", _name(layer)) for layer in theirs}) == 1:  # the numbers determine the order
            keys = [key for layer in theirs for key in layer.values()]
            return self.flat(ours, keys) if single else self.by_layer(ours, theirs)
        if single:
            ours = [{word: name} for layer in ours for word, name in layer.items()]
        left: dict[object, list[Layer]] = {}
        for layer in theirs:
            left.setdefault(self._signature(layer, self._shapes), []).append(layer)
        found: list[Layer | None] = []
        for signature, layers in self._by_signature(ours).items():
            alike = left.pop(signature, [])
            if len(alike) != len(layers):
                raise self._differs(*([name for layer in side for name in layer.values()] for side in (ours, theirs)))
            self._check_alike([_name(layer) for layer in alike])
            found += [self._within(*pair) for pair in zip(layers, alike, strict=True)]
        rest = {key for layers in left.values() for layer in layers for key in layer.values()}
        free = [name for layer in ours for name in layer.values() if name in self._free]
        if None in found or len(rest) not in (0, len(free)):
            raise self._differs(*([name for layer in side for name in layer.values()] for side in (ours, theirs)))
        return self._paired(found)

    def _by_signature(self, ours: list[Layer]) -> dict[object, list[Layer]]:
        classes: dict[object, list[Layer]] = {}
        for layer in ours:
            if not any(name in self._free for name in layer.values()):
                classes.setdefault(self._signature(layer, self._wanted), []).append(layer)
        return classes

    def _signature(self, layer: Layer, shapes: Mapping[str, Shape]) -> tuple[Shape, ...]:
        return tuple(sorted(shapes[key] for key in layer.values()))

    def _check_alike(self, names: list[str]) -> None:
        """Raise WeightsDoNotFit if layers of the same shapes have names that differ in more than numbers."""
        kinds = {NUMBER.sub("#", name): name for name in names}
        if len(kinds) > 1:
            listed = ", ".join(f"`{name}`" for name in [*kinds.values()][:10]) + ", …" * (len(kinds) > 10)
            raise WeightsDoNotFit(
                f"the weights in {self._file.path} cannot be matched by order: they are sorted by name, and "
                f"{listed} have the same shapes",
                "rename them with --rename",
            )

    def _within(self, ours: Layer, theirs: Layer) -> Layer | None:
        """Pair the weights of a layer by role, or by shape if all shapes differ. Return None if neither works."""
        words = {_role(word): key for word, key in theirs.items()}
        if words.keys() == ours.keys() and len(words) == len(theirs):
            found = {name: words[word] for word, name in ours.items()}
        else:
            by_shape = {self._shapes[key]: key for key in theirs.values()}
            wanted = [self._wanted[name] for name in ours.values()]
            if len(by_shape) < len(theirs) or by_shape.keys() != set(wanted) or len(wanted) != len(theirs):
                return None
            found = {name: by_shape[self._wanted[name]] for name in ours.values()}
        return found if all(self._agree(*pair) for pair in found.items()) else None

    def _agree(self, name: str, key: str) -> bool:
        words = [_role(each[len(_prefix(each)) + 1 :]) for each in (name, key)]
        others = words[0] != words[1] and all(word in ROLES for word in words)
        if self._file.layers is not None:  # the roles are from a graph, more reliable than names
            others = False
        return name in self._free or (self._shapes[key] == self._wanted[name] and not others)

    def _paired(self, found: Iterable[Layer | None]) -> WeightView:
        pairs = {name: key for layer in found for name, key in (layer or {}).items()}
        return WeightView(self._file, {name: pairs[name] for name in self._wanted if name in pairs})

    def _differs(self, names: list[str], keys: list[str]) -> WeightsDoNotFit:
        """Return the error for the first pair that does not match."""
        head = f"the weights in {self._file.path} do not match by order: "
        check_clear(self._file, keys)
        pairs = list(zip(names, keys, strict=False))
        at = next((at for at, pair in enumerate(pairs) if not self._agree(*pair)), None)
        if at is not None:
            lines = _lines(pairs[max(0, at - MAX_PAIRS_BEFORE) : at + 1], self._file.entries, self._wanted)
            return WeightsDoNotFit(f"{head}number {at + 1} is different", details=lines)
        rest = [*keys[len(pairs) :], *names[len(pairs) :]]
        if not rest:
            return WeightsDoNotFit(f"{head}its layers have different weights than those of the net")
        return WeightsDoNotFit(
            f"{head}it has {len(keys)}, the network {len(names)}; without a partner are "
            f"{', '.join(rest[:10])}" + ", …" * (len(rest) > 10)
        )


def _layers_of(nodes: Iterable[Node]) -> list[Layer]:
    """Return the weights of each layer by role. Shared weights appear once."""
    seen: set[str] = set()
    layers: list[Layer] = []
    for node in nodes:
        layer = {word: p.name for word, p in node.parameters.items() if p.name not in seen}
        seen.update(layer.values())
        layers += [layer] if layer else []
    return layers


def _without(layers: list[Layer], names: Collection[str]) -> list[Layer]:
    kept = [{word: name for word, name in layer.items() if name not in names} for layer in layers]
    return [layer for layer in kept if layer]


def _grouped(shapes: Mapping[str, Shape], graph: list[Layer] | None = None, *, repeats: bool = False) -> list[Layer]:
    """Group a file's weights by layer: as in its graph, or without one by the prefixes of their names."""
    if graph is None:
        found: dict[str, Layer] = {}
        for key in shapes:
            found.setdefault(_prefix(key), {})[key[len(_prefix(key)) + 1 :] or "weight"] = key
        return list(found.values())
    seen: set[str] = set()
    layers: list[Layer] = []
    for each in graph:
        layer = {word: key for word, key in each.items() if key in shapes and (repeats or key not in seen)}
        seen.update(layer.values())
        layers += [layer] if layer else []
    return layers


def _prefix(key: str) -> str:
    """Return a name without its last part; the whole name if it has only one."""
    at = max(key.rfind("."), key.rfind("/"))
    return key[:at] if at > 0 else key


def _name(layer: Layer) -> str:
    return _prefix(next(iter(layer.values())))


def _role(word: str) -> str:
    return ROLES.get(word.partition(":")[0], word)


def _count(layers: list[Layer]) -> int:
    return sum(map(len, layers))


def _is_sorted(file: WeightFile, shapes: Mapping[str, Shape]) -> bool:
    """Return whether the names of each type are sorted, as in safetensors files: their order is not that of layers."""
    by_type: dict[str, list[str]] = {}
    for key in shapes:
        by_type.setdefault(file.entries[key].dtype, []).append(key)
    return all(keys == sorted(keys) for keys in by_type.values())


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts `layer2` before `layer10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _by_kind(ours: list[Layer], wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> list[str]:
    """Return the file's keys in the net's order if the file orders only layers of the same kind: each layer of the net
    gets the next layer of the file with the same roles and shapes."""
    left: dict[object, list[Layer]] = {}
    for layer in _grouped(found):
        left.setdefault(frozenset((word, found[key]) for word, key in layer.items()), []).append(layer)
    keys: list[str] = []
    for layer in ours:
        alike = left.get(frozenset((word, wanted[name]) for word, name in layer.items()))
        if not alike:
            keys += [key for rest in left.values() for each in rest for key in each.values()]
            break
        words = alike.pop(0)
        keys += [words[word] for word in layer]
    taken = set(keys)
    return [*keys, *(key for key in found if key not in taken)]


def pair_lines(file: WeightFile, net: Net, names: Collection[str] | None = None) -> list[str]:
    """Return a line for each weight of a file that was matched by order; or for those with these `names`, matched in
    any way."""
    assert isinstance(file, WeightView)
    pairs = [(name, key) for name, key in file.origins.items() if names is None or name in names]
    shapes = {name: net.parameters[name].shape for name, _ in pairs}
    turned = {key for name, key in pairs if name in file.transposed}
    return _lines(pairs, {key: file.entries[name] for name, key in pairs}, shapes, turned)


def _lines(
    pairs: list[tuple[str, str]],
    entries: Mapping[str, Entry],
    parameters: Mapping[str, Shape],
    turned: Collection[str] = (),
) -> list[str]:
    """Return a line for each pair: name and shape in the net, name in the file, and the shape there if it differs or
    the weight is transposed (`turned`)."""
    rows = []
    for name, key in pairs:
        wanted, found = parameters[name], entries[key].shape
        told = f"{format_shape(found[::-1])} transposed" if key in turned else format_shape(found)
        rows.append((name, format_shape(wanted), key, told if found != wanted or key in turned else ""))
    a, b, c = (max((len(row[at]) for row in rows), default=0) for at in range(3))
    return [f"  {name:{a}}  {shape:{b}}  <-  {key:{c}}  {found}".rstrip() for name, shape, key, found in rows]
