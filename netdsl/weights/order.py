"""Weights that are paired with a network's one after the other, whatever they are called: the shapes must agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.terminal import escape
from netdsl.weights.errors import WeightsDoNotFit
from netdsl.weights.fitted import Fitted
from netdsl.weights.match import is_passed_over, spell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from netdsl.ir.net import Net
    from netdsl.weights.file import Entry, WeightFile

    Shape = tuple[int, ...]

AROUND = 3
"""So many pairs are shown before the first that does not fit."""

WORDS = ("weight", "bias", "running_mean", "running_var")
"""What PyTorch calls a layer's weights: one is never the other."""


def in_order(candidates: Iterable[Mapping[str, Shape]], file: WeightFile) -> Fitted:
    """The file's weights as the network calls them. `candidates` are its parameters with and without training heads;
    the first that has as many as the file is taken. Raises WeightsDoNotFit."""
    keys = [key for key in file.entries if not is_passed_over(key)]
    choices = list(candidates)
    parameters = next((each for each in choices if len(each) == len(keys)), choices[0])
    if not file.ordered:
        keys = _by_kind(parameters, {key: file.entries[key].shape for key in keys})
    pairs = list(zip(parameters, keys, strict=False))
    for at, (name, key) in enumerate(pairs):
        if file.entries[key].shape != parameters[name] or _are_others(name, key):
            raise WeightsDoNotFit(
                "\n".join(
                    [
                        f"the weights in {escape(file.path)} do not fit in their order: number {at + 1} is another",
                        *shown(pairs[max(0, at - AROUND) : at + 1], file.entries, parameters),
                    ]
                )
            )
    if len(parameters) != len(keys):
        rest = [*keys[len(pairs) :], *list(parameters)[len(pairs) :]]
        raise WeightsDoNotFit(
            f"the weights in {escape(file.path)} do not fit in their order: it has {len(keys)}, the network "
            f"{len(parameters)}; without a partner are {', '.join(map(escape, rest[:10]))}" + ", …" * (len(rest) > 10)
        )
    return Fitted(file, dict(pairs))


def _by_kind(parameters: Mapping[str, Shape], found: Mapping[str, Shape]) -> list[str]:
    """The file's keys in the network's order, where they stand so among layers of a kind: each of the network's layers
    takes the next of the file's that has the same weights."""
    left: dict[object, list[list[str]]] = {}
    for layer in _layers(found):
        left.setdefault(_signature(layer, found), []).append(layer)
    keys: list[str] = []
    for layer in _layers(parameters):
        alike = left.get(_signature(layer, parameters))
        if alike:
            words = {key.split(".")[-1]: key for key in alike.pop(0)}
            keys += [words[name.split(".")[-1]] for name in layer]
        else:
            keys += [key for rest in left.values() for layer in rest for key in layer]
            break
    taken = set(keys)
    return [*keys, *(key for key in found if key not in taken)]


def _layers(shapes: Iterable[str]) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for key in shapes:
        found.setdefault(key.rpartition(".")[0], []).append(key)
    return list(found.values())


def _signature(layer: list[str], shapes: Mapping[str, Shape]) -> frozenset[tuple[str, Shape]]:
    return frozenset((key.split(".")[-1], shapes[key]) for key in layer)


def _are_others(name: str, key: str) -> bool:
    words = name.split(".")[-1], key.split(".")[-1]
    return words[0] != words[1] and all(word in WORDS for word in words)


def pairing(file: WeightFile, net: Net) -> list[str]:
    """The pairs of a file whose weights were fitted in order, a line for each."""
    assert isinstance(file, Fitted)
    shapes = {name: net.parameters[name].shape for name in file.entries}
    origins = file.origins
    return shown(list(origins.items()), {origins[name]: entry for name, entry in file.entries.items()}, shapes)


def shown(pairs: list[tuple[str, str]], entries: Mapping[str, Entry], parameters: Mapping[str, Shape]) -> list[str]:
    """A line for each pair: what the network calls it and its shape, what the file does; and its shape there, where
    that is another."""
    rows = []
    for name, key in pairs:
        wanted, found = parameters[name], entries[key].shape
        rows.append((escape(name), spell(wanted), escape(key), "" if found == wanted else spell(found)))
    a, b, c = (max((len(row[at]) for row in rows), default=0) for at in range(3))
    return [f"  {name:{a}}  {shape:{b}}  <-  {key:{c}}  {found}".rstrip() for name, shape, key, found in rows]
