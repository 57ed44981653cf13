"""Match a file's weights to a net: by rename rules, those of the user or beside the spec, or by order."""

from __future__ import annotations

import re
from itertools import product
from math import isclose
from typing import TYPE_CHECKING

from netdsl.base.terminal import escape
from netdsl.lower import live
from netdsl.weights.errors import UnlikeLayer, WeightsDoNotFit
from netdsl.weights.file import Fitted
from netdsl.weights.match import check_clear, is_passed_over, spell
from netdsl.weights.onnx_flattened import turns_of as turns_of_graph
from netdsl.weights.onnx_roles import KINDS
from netdsl.weights.partial import excluded, part
from netdsl.weights.rename import beside, check_used, read_rules, renamed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from netdsl.ir.net import Net, Node
    from netdsl.weights.file import Entry, WeightFile
    from netdsl.weights.rename import Rule

    Shape = tuple[int, ...]
    Layer = dict[str, str]

AROUND = 3
"""Number of pairs shown before the first that does not fit."""

WORDS = {
    **{word: word for word in ("weight", "bias", "running_mean", "running_var")},
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""PyTorch's words for a layer's weights by its own and Keras's: one is never another."""

NUMBER = re.compile(r"\d+(?=$|[._/])")
"""A number at the end of a part of a name: that of a layer, and not of its kernel as in `branch3x3`."""


def in_order(net: Net, file: WeightFile, free: Collection[str] = ()) -> Fitted:
    """Return the file's weights as the network calls them; `free` ones of the network take no part, or any shape.

    The file may have the weights of training heads or not. Raises WeightsDoNotFit.
    """
    shapes = {key: entry.shape for key, entry in file.entries.items() if not is_passed_over(key)}
    wanted = {name: p.shape for name, p in net.parameters.items()}
    both = [_layers_of(net.nodes), _layers_of(live(net))]
    choices = [*both, *(_without(layers, free) for layers in both if free)]
    graph = file.layers
    if graph is None:
        held = [_grouped(shapes)]
    else:
        held = [_grouped(shapes, graph, repeats=repeats) for repeats in (True, False)]
    pairs = next(((a, b) for a, b in product(choices, held) if _count(a) == _count(b)), (choices[0], held[-1]))
    pairing = Pairing(file, shapes, wanted, free)
    if graph is not None:
        return pairing.by_layer(*pairs)
    if not file.ordered:
        return pairing.flat(pairs[0], _by_kind(pairs[0], wanted, shapes))
    if _is_sorted(file, shapes):
        return pairing.by_name(*pairs)
    return pairing.flat(pairs[0], list(shapes), pairs[1])


class Pairing:
    """Ways to pair the layers of a network with those of a file. Each raises WeightsDoNotFit."""

    def __init__(
        self, file: WeightFile, shapes: Mapping[str, Shape], wanted: Mapping[str, Shape], free: Collection[str]
    ) -> None:
        self._file = file
        self._shapes = shapes
        self._wanted = wanted
        self._free = free

    def flat(self, ours: list[Layer], keys: list[str], theirs: list[Layer] | None = None) -> Fitted:
        """Pair tensor by tensor, in the order in which they stand; where that fails, by layer."""
        names = [name for layer in ours for name in layer.values()]
        if len(names) == len(keys):
            wrong = [at for at, pair in enumerate(zip(names, keys, strict=True)) if not self._agree(*pair)]
            if not wrong:
                return Fitted(self._file, dict(zip(names, keys, strict=True)))
            found = [self._within(*pair) for pair in zip(ours, theirs or [], strict=False)]
            if theirs is not None and len(ours) == len(theirs) and None not in found:
                return self._fitted(found)
        raise self._differs(names, keys)

    def by_layer(self, ours: list[Layer], theirs: list[Layer]) -> Fitted:
        """Pair layer by layer, in the order in which they stand."""
        found = [self._within(*pair) for pair in zip(ours, theirs, strict=False)]
        if len(ours) != len(theirs) or None in found:
            raise self._differs(*([name for layer in side for name in layer.values()] for side in (ours, theirs)))
        return self._fitted(found)

    def by_name(self, ours: list[Layer], theirs: list[Layer]) -> Fitted:
        """Pair the layers of a file that is sorted by name, so that only their shapes tell them apart, and the numbers
        in their names."""
        theirs = sorted(theirs, key=lambda layer: _natural(_name(layer)))
        single = all(len(layer) == 1 for layer in theirs)
        if len({NUMBER.sub("#", _name(layer)) for layer in theirs}) == 1:  # the numbers tell the whole order
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
        return self._fitted(found)

    def _by_signature(self, ours: list[Layer]) -> dict[object, list[Layer]]:
        classes: dict[object, list[Layer]] = {}
        for layer in ours:
            if not any(name in self._free for name in layer.values()):
                classes.setdefault(self._signature(layer, self._wanted), []).append(layer)
        return classes

    def _signature(self, layer: Layer, shapes: Mapping[str, Shape]) -> tuple[Shape, ...]:
        return tuple(sorted(shapes[key] for key in layer.values()))

    def _check_alike(self, names: list[str]) -> None:
        """Refuse layers of the same shapes whose names differ by more than their numbers."""
        kinds = {NUMBER.sub("#", name): name for name in names}
        if len(kinds) > 1:
            listed = ", ".join(f"`{escape(name)}`" for name in [*kinds.values()][:10]) + ", …" * (len(kinds) > 10)
            raise WeightsDoNotFit(
                f"the weights in {escape(self._file.path)} do not fit in their order: they are sorted by name, and "
                f"{listed} have the same shapes",
                "rename them with --rename",
            )

    def _within(self, ours: Layer, theirs: Layer) -> Layer | None:
        """Pair the weights of a layer by their words, or by shapes that all differ; None where neither does."""
        words = {_word(word): key for word, key in theirs.items()}
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
        words = [_word(each[len(_prefix(each)) + 1 :]) for each in (name, key)]
        others = words[0] != words[1] and all(word in WORDS for word in words)
        if self._file.layers is not None:  # a graph knows better than the names
            others = False
        return name in self._free or (self._shapes[key] == self._wanted[name] and not others)

    def _fitted(self, found: Iterable[Layer | None]) -> Fitted:
        pairs = {name: key for layer in found for name, key in (layer or {}).items()}
        return Fitted(self._file, {name: pairs[name] for name in self._wanted if name in pairs})

    def _differs(self, names: list[str], keys: list[str]) -> WeightsDoNotFit:
        """Return the error for the first pair that does not fit."""
        head = f"the weights in {escape(self._file.path)} do not fit in their order: "
        check_clear(self._file, keys)
        pairs = list(zip(names, keys, strict=False))
        at = next((at for at, pair in enumerate(pairs) if not self._agree(*pair)), None)
        if at is not None:
            lines = shown(pairs[max(0, at - AROUND) : at + 1], self._file.entries, self._wanted)
            return WeightsDoNotFit("\n".join([f"{head}number {at + 1} is another", *lines]))
        rest = [*keys[len(pairs) :], *names[len(pairs) :]]
        if not rest:
            return WeightsDoNotFit(f"{head}its layers have other weights than the network's")
        return WeightsDoNotFit(
            f"{head}it has {len(keys)}, the network {len(names)}; without a partner are "
            f"{', '.join(map(escape, rest[:10]))}" + ", …" * (len(rest) > 10)
        )


def _layers_of(nodes: Iterable[Node]) -> list[Layer]:
    """Return the weights of each layer by its words for them, shared ones once."""
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
    """Return a file's weights by layer: by the graph's, else by what their names begin with."""
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
    """Return the layer's part of a name; all of it where it has no parts."""
    at = max(key.rfind("."), key.rfind("/"))
    return key[:at] if at > 0 else key


def _name(layer: Layer) -> str:
    return _prefix(next(iter(layer.values())))


def _word(word: str) -> str:
    return WORDS.get(word.partition(":")[0], word)


def _count(layers: list[Layer]) -> int:
    return sum(map(len, layers))


def _is_sorted(file: WeightFile, shapes: Mapping[str, Shape]) -> bool:
    """Return whether the file's names are sorted, as safetensors sorts those of each type: then their order is not the
    layers'."""
    by_type: dict[str, list[str]] = {}
    for key in shapes:
        by_type.setdefault(file.entries[key].dtype, []).append(key)
    return all(keys == sorted(keys) for keys in by_type.values())


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which `layer2` stands before `layer10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _by_kind(ours: list[Layer], wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> list[str]:
    """Return the file's keys in the network's order, where they stand so among layers of a kind: each of the network's
    layers takes the next of the file's that has the same weights."""
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


def pairing(file: WeightFile, net: Net) -> list[str]:
    """Return the pairs of a file whose weights were fitted in order, a line for each."""
    assert isinstance(file, Fitted)
    shapes = {name: net.parameters[name].shape for name in file.entries}
    origins = file.origins
    return shown(list(origins.items()), {origins[name]: entry for name, entry in file.entries.items()}, shapes)


def shown(pairs: list[tuple[str, str]], entries: Mapping[str, Entry], parameters: Mapping[str, Shape]) -> list[str]:
    """Return a line for each pair: what the network calls it and its shape, what the file does; and its shape there,
    where that is another."""
    rows = []
    for name, key in pairs:
        wanted, found = parameters[name], entries[key].shape
        rows.append((escape(name), spell(wanted), escape(key), "" if found == wanted else spell(found)))
    a, b, c = (max((len(row[at]) for row in rows), default=0) for at in range(3))
    return [f"  {name:{a}}  {shape:{b}}  <-  {key:{c}}  {found}".rstrip() for name, shape, key, found in rows]


def fit(
    net: Net,
    file: WeightFile,
    *,
    rules: Sequence[Rule] = (),
    order: bool = False,
    any_value: bool = False,
    exclude: Sequence[str] = (),
    partial: bool = False,
) -> WeightFile:
    """Return the file under the network's names, as far as `rules`, the rename file beside the network's spec or the
    `order` can tell them; `match` tells what does not fit.

    The file beside the spec is for weights whose names are not the network's already; what was fitted before stays as
    it is. Weights that the labels `exclude` name stay initial, and with `partial` those that the file lacks. Raises
    UserError.
    """
    check_used(rules, file)
    fitted = renamed(file, rules) if rules else file
    out = excluded(net, exclude)
    needed = {p.name for node in live(net) for p in node.parameters.values()} - file.initial - out
    if order:
        fitted = in_order(net, fitted, out)
    elif not needed <= fitted.entries.keys() and (path := beside(net.source.name)) is not None:
        other = renamed(fitted, read_rules(path))
        if not partial or len(needed & other.entries.keys()) > len(needed & fitted.entries.keys()):
            fitted = other
    if exclude or partial:
        ordered = [name for name in net.parameters if name in needed]
        fitted = part(net, fitted, ordered, out, partial=partial)
    _check_alike(net, fitted)
    turns = turns_of_graph(net, fitted) or None
    if fitted.keras is not None:
        from netdsl.weights.keras_order import turns_of

        origins = fitted.origins if isinstance(fitted, Fitted) else {key: key for key in fitted.entries}
        turns = turns_of(net, fitted.keras, origins)
    if turns is not None or any_value:
        return Fitted(fitted, {key: key for key in fitted.entries}, turns=turns, any_value=any_value)
    return fitted


def _check_alike(net: Net, file: WeightFile) -> None:
    """Raise UnlikeLayer where a graph's node computes something else with a weight than the network's layer."""
    for node in net.nodes:
        for word, parameter in node.parameters.items():
            entry = file.entries.get(parameter.name)
            if entry is None or entry.use is None or entry.use.unclear or entry.shape != parameter.shape:
                continue
            name, path, use = escape(parameter.name), escape(file.path), entry.use
            if use.word != word:
                raise UnlikeLayer(f"`{name}` is the {use.word} of a node {use.op} in {path}, not its {word}")
            if node.layer.kind not in KINDS.get(use.op, (node.layer.kind,)):
                kind = node.layer.kind
                raise UnlikeLayer(f"`{name}` is a weight of a node {use.op} in {path}, not of a `{kind}`")
            eps = getattr(node.layer, "eps", None)
            if eps is not None and use.epsilon is not None and not isclose(eps, use.epsilon, rel_tol=1e-4):
                raise UnlikeLayer(
                    f"`{escape(node.name)}` has the epsilon {eps:g}, and in {path} it is {use.epsilon:.4g}",
                    f"write `{node.layer.kind} eps {use.epsilon:.4g}`",
                )
