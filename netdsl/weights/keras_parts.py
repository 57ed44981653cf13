"""Which array in a Keras file is which weight of which layer.

Source: keras/src/saving/saving_lib.py, version 3 (`layers/conv2d_1/vars/0`: groups are counted by class, arrays by
their place in the layer), and keras/src/legacy/saving/legacy_h5_format.py (`conv1/conv1/kernel:0`).
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from netdsl.weights.errors import BadWeightFile, damaged
from netdsl.weights.keras_layout import NEUTRAL, words_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from netdsl.weights.h5 import Arrays

NUMBERED = re.compile(r"(.*?)/?vars/(\d+)")
OTHERS = ("optimizer", "metrics", "compile_metrics", "optimizer_weights", "top_level_model_weights")
"""Entries of a file besides the layers."""


class Part:
    """A weight: Keras's name, the layer and its class in snake case, and the array's place in the file. A weight that
    the model omits has no place in the file, but one `value` everywhere."""

    __slots__ = ("kind", "layer", "place", "shape", "value", "word")

    def __init__(
        self, layer: str, word: str, kind: str, place: str | None, value: float = 0.0, shape: tuple[int, ...] = ()
    ) -> None:
        self.layer = layer
        self.word = word
        self.kind = kind
        self.place = place
        self.value = value
        self.shape = shape


class Described:
    """A layer in the model's configuration: the group of its arrays, its name, class and arguments."""

    __slots__ = ("about", "kind", "name", "place")

    def __init__(self, place: str, name: str, kind: str, about: dict[str, Any]) -> None:
        self.place = place
        self.name = name
        self.kind = kind
        self.about = about


def described(model: Any) -> list[Described]:
    """Return the layers of a configuration in order, including those of nested models; none without a configuration."""
    found: list[Described] = []
    waiting: list[tuple[Any, Described]] = [(model, Described("", "", "", {}))]
    while waiting:
        each, known = waiting.pop()
        inner = list(_inside(each, known))
        waiting += reversed(inner)
        if known.name and not inner:
            found.append(known)
    return found


def _inside(model: Any, around: Described) -> Iterator[tuple[Any, Described]]:
    """The layers of one model: groups are called `conv2d`, `conv2d_1` and so on by class. Or the layer that a wrapper
    applies."""
    counts: dict[str, int] = {}
    for layer, name, kind, about in layers_of(model):
        counts[kind] = counts.get(kind, -1) + 1
        number = f"_{counts[kind]}" if counts[kind] else ""
        place = f"{around.place}/layers/{kind}{number}".lstrip("/")
        yield layer, Described(place, f"{around.name}.{name}".lstrip("."), kind, about)
    match model:
        case {"config": {"layer": {"class_name": str(kind), "config": {"name": str(name)} as about} as layer}}:
            yield layer, Described(f"{around.place}/layer", f"{around.name}.{name}", snake_case(kind), about)


def layers_of(model: Any) -> Iterator[tuple[dict[str, Any], str, str, dict[str, Any]]]:
    """The layers that a model's configuration lists: each as it stands there, its name, class and arguments."""
    match model:
        case {"config": {"layers": list(layers)}} | {"config": list(layers)}:
            for layer in layers:
                match layer:
                    case {"class_name": str(kind), "config": {"name": str(name)} as about}:
                        yield layer, name, snake_case(kind), about


def snake_case(name: str) -> str:
    """Return `Conv2DTranspose` as `conv2d_transpose`. Source: keras/src/utils/naming.py, to_snake_case."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def numbered(arrays: Arrays, layers: list[Described]) -> Iterator[Part]:
    """Return the weights of a file whose arrays are called `vars/0`, `vars/1` and so on. Raises BadWeightFile."""
    groups: dict[str, list[str]] = {}
    for place in arrays.datasets:
        if place.split("/")[0] not in OTHERS and (found := NUMBERED.fullmatch(place)):
            groups.setdefault(found[1], []).append(place)
    known = [layer for layer in layers if layer.place in groups]
    rest = groups.keys() - {layer.place for layer in known}
    for place in sorted(rest, key=_natural):
        kind = re.sub(r"_\d+$", "", place.split("/")[-1])
        known.append(Described(place, _called(place, arrays), kind, {}))
    for layer in known:
        places = sorted(groups[layer.place], key=_natural)
        words = words_of(layer.kind, len(places), layer.about)
        if words is None:
            raise BadWeightFile(
                f"{arrays.path}: `{layer.name}` has {len(places)} arrays, and which of gamma and beta "
                "is missing it does not say",
                "save the whole model, as .keras",
            )
        yield from _whole(arrays, layer, dict(zip(words, places, strict=True)))


def named(arrays: Arrays, layers: list[Described]) -> Iterator[Part]:
    """Return the weights of an older file, which names them: `conv1/kernel:0`, in groups named after the layers."""
    known = {layer.name: layer for layer in layers}
    root = "model_weights" if any(place.startswith("model_weights/") for place in arrays.datasets) else ""
    names = arrays.texts.get(root, {}).get("layer_names")
    for name in names or sorted({place.removeprefix(root).lstrip("/").split("/")[0] for place in arrays.datasets}):
        group = f"{root}/{name}".lstrip("/")
        listed = arrays.texts.get(group, {}).get("weight_names")
        places = [place for place in arrays.datasets if place.startswith(f"{group}/")]
        if listed is not None:
            places = sorted(places, key=lambda place: _at(listed, place.removeprefix(f"{group}/")))
        inner: dict[str, dict[str, str]] = {}
        paths = {place: place.removeprefix(f"{group}/").split("/") for place in places if name not in OTHERS}
        alone = name in known and len({tuple(path[:-1]) for path in paths.values()}) == 1
        for place, (*path, word) in paths.items():
            words = inner.setdefault(name if alone else _owner(name, path, known), {})
            if words.setdefault(word.partition(":")[0], place) != place:
                raise damaged(arrays.path, f"{place} has the name of another array")
        for layer, words in inner.items():
            about = known.get(layer, Described(group, layer, "", {}))
            if "depthwise_kernel" in words and "pointwise_kernel" in words and "bias" in words:
                words["pointwise_bias"] = words.pop("bias")
            yield from _whole(arrays, about, words)


def _owner(group: str, path: list[str], known: Collection[str]) -> str:
    """The layer of an array in a group. Its path begins with the models around it, of which Keras writes all or some:
    `sequential/block/conv1` and `conv1` both are `block.conv1` in the group `block`."""

    def shared(layer: str) -> int:
        pairs = zip(reversed(layer.split(".")), reversed(path), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    scores = {layer: shared(layer) for layer in known if f"{layer}.".startswith(f"{group}.")}
    best = [layer for layer, score in scores.items() if score == max(scores.values()) > 0]
    if len(best) == 1:
        return best[0]
    at = len(path) - path[::-1].index(group) if group in path else 0
    return ".".join([group, *path[at:]])


def _whole(arrays: Arrays, layer: Described, words: dict[str, str]) -> Iterator[Part]:
    """Return a layer's weights, with neutral values for those that it omits."""
    shapes = [arrays.datasets[place].shape for place in words.values()]
    for argument, (word, value) in NEUTRAL.items():
        if layer.about.get(argument) is False and word not in words and layer.kind.endswith("normalization") and shapes:
            yield Part(layer.name, word, layer.kind, None, value, shapes[0])
        elif word in words:
            yield Part(layer.name, word, layer.kind, words[word])
    for word, place in words.items():
        if word not in {neutral for neutral, _ in NEUTRAL.values()}:
            yield Part(layer.name, word, layer.kind, place)


def _at(listed: list[str], path: str) -> int:
    return listed.index(path) if path in listed else len(listed)


def _called(place: str, arrays: Arrays) -> str:
    """Return the name of a group with the names of the enclosing layers."""
    parts = place.split("/")
    names = []
    for at, part in enumerate(parts):
        if part not in ("layers", ""):
            here = "/".join(parts[: at + 1])
            names.append(arrays.texts.get(f"{here}/vars", arrays.texts.get(here, {})).get("name", [part])[0])
    return ".".join(names) or "model"


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key by which `conv_10` follows `conv_9`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,15})", text)]
