"""Read Keras weights in PyTorch's layout: `.keras` archives, `.weights.h5` files, and older `.h5` files.

Weights are named after their layers. A kernel becomes `weight`, transposed from [H, W, in, out] to [out, in, H, W], or
from [in, out] to [out, in]; gamma, beta and the moving statistics become `weight`, `bias`, `running_mean` and
`running_var`. No model is built, so no code of a layer runs.
"""

from __future__ import annotations

import json
import re
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from netdsl.weights.errors import BadWeightFile, damaged
from netdsl.weights.file import Entry, WeightFile
from netdsl.weights.h5 import Arrays, BytesView
from netdsl.weights.keras_graph import FIRST, KerasGraph, layers_of, snake_case
from netdsl.weights.keras_recurrent import RECURRENT, GateOrder, recurrent_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from netdsl.base.dtypes import Array
    from netdsl.base.zip_archive import ZipArchive
    from netdsl.weights.keras_graph import Config

    Shape = tuple[int, ...]

MEMBER = "model.weights.h5"
MAX_CONFIG_BYTES = 2**26

PYTORCHS = {
    "kernel": "weight",
    "depthwise_kernel": "depthwise.weight",
    "pointwise_kernel": "pointwise.weight",
    "pointwise_bias": "pointwise.bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "embeddings": "weight",
    "alpha": "weight",
}
"""PyTorch names by Keras names of arrays."""

ARRAY_PATH = re.compile(r"(.*?)/?vars/(\d+)")
CELL = re.compile(r"(.*?)(?:/(forward|backward)_layer)?/cell")
"""The group of the arrays of a recurrent layer, or of a direction in a Bidirectional one."""
DIRECTION = re.compile(r"(forward|backward)_")

NOT_LAYERS = ("optimizer", "metrics", "compile_metrics", "optimizer_weights", "top_level_model_weights")
"""Groups of a file that are not layers."""


class KerasModel:
    """A saved model: the graph of its layers, if the file has a configuration, and the name of each weight's layer."""

    __slots__ = ("graph", "layers")

    def __init__(self, graph: KerasGraph | None, layers: Mapping[str, str]) -> None:
        self.graph = graph
        self.layers = layers


class KerasWeights(WeightFile):
    """The weights of a model saved by Keras."""

    __slots__ = ("_arrays", "_graph", "_last", "_layouts", "_ordered", "_parts", "config", "version")

    def __init__(self, path: str, archive: ZipArchive | None = None, *, may_be_empty: bool = False) -> None:
        self.path = path
        if archive is None:
            self._arrays = Arrays(path, lambda: path)
            config: str | bytes = self._attribute("model_config")
        else:
            self._arrays = Arrays(path, lambda: BytesView(archive.map(MEMBER)))
            config = archive.read("config.json", MAX_CONFIG_BYTES) if "config.json" in archive.members else b""
        self.config = config
        self.version = self._attribute("keras_version")
        model = self._model(config)
        layers = _described(model)
        self._graph = KerasGraph(model) if layers else None
        self._last = self._graph is None or self._graph.layouts != {FIRST}
        self.entries: dict[str, Entry] = {}
        self._parts: dict[str, _Part] = {}
        self._layouts: dict[str, AxisOrder | GateOrder] = {}
        of_old = any(place.split("/")[-2:-1] != ["vars"] for place in self._arrays.datasets)
        for part in (_named if of_old else _numbered)(self._arrays, layers):
            self._admit(part)
        self._ordered = bool(layers) or of_old
        if not self.entries and not may_be_empty:
            raise BadWeightFile(f"{path} contains no weights as saved by Keras")

    def _attribute(self, name: str) -> str:
        """Return an attribute of the whole file, empty if it has none."""
        return next(iter(self._arrays.texts.get("", {}).get(name, ())), "")

    def _model(self, config: str | bytes) -> object:
        try:
            return json.loads(config) if config else None
        except (ValueError, RecursionError):
            raise self.damaged("its model configuration is not JSON") from None

    def _admit(self, part: _Part) -> None:
        key = f"{part.layer}.{PYTORCHS.get(part.word, part.word)}"
        if key in self.entries:
            raise self.damaged(f"two weights are named {key}")
        self._parts[key] = part
        if part.place is None:
            self.entries[key] = Entry("float32", part.shape)
            return
        found = self._arrays.datasets[part.place]
        if part.word.startswith(RECURRENT):
            self._layouts[key] = GateOrder(part.word, part.kind, found.shape)
        else:
            self._layouts[key] = layout(part.word, part.kind, found.shape, last=self._last)
        self.entries[key] = Entry(found.dtype, self._layouts[key].shape)

    @property
    def keras(self) -> KerasModel:
        return KerasModel(self._graph, {key: part.layer for key, part in self._parts.items()})

    @property
    def ordered(self) -> bool:
        return self._ordered

    def read(self, key: str) -> Array:
        return self.converted(key, self.raw(key))

    def stored(self, key: str) -> tuple[str | None, str, tuple[int, ...]]:
        """Return the path of an array in the file, None for one that the layer omits; Keras's name for it, and its
        shape there."""
        part = self._parts[key]
        return part.place, part.word, self._arrays.datasets[part.place].shape if part.place else part.shape

    def raw(self, key: str) -> Array:
        """Return an array in Keras's layout."""
        part = self._parts[key]
        if part.place is None:
            return np.full(part.shape, part.value, np.float32)
        return self._arrays.read(part.place)

    def converted(self, key: str, array: Array) -> Array:
        """Return an array in PyTorch's layout, from Keras's."""
        return self._layouts[key].apply(array) if key in self._layouts else array


class _Part:
    """A weight: its Keras name (`word`), its layer, the layer's class in snake case (`kind`), and its array's path.

    A weight that the layer omits (`scale=False`) has no path, but a `shape` that is filled with `value`.
    """

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


class _Layer:
    """A layer of a configuration: the path of its group, its name, class and arguments."""

    __slots__ = ("about", "kind", "name", "place")

    def __init__(self, place: str, name: str, kind: str, about: Config) -> None:
        self.place = place
        self.name = name
        self.kind = kind
        self.about = about


def _described(model: object) -> list[_Layer]:
    """Return the layers of a configuration in order, those of nested models included; empty without a configuration."""
    found: list[_Layer] = []
    waiting: list[tuple[object, _Layer]] = [(model, _Layer("", "", "", {}))]
    while waiting:
        each, known = waiting.pop()
        inner = list(_inside(each, known))
        waiting += reversed(inner)
        if known.name and not inner:
            found.append(known)
    return found


def _inside(model: object, around: _Layer) -> Iterator[tuple[object, _Layer]]:
    """Yield the layers directly in a model, or the layer in a wrapper, each with its configuration.

    Groups are named after classes, numbered in order: `conv2d`, `conv2d_1`, …
    """
    counts: dict[str, int] = {}
    for layer, name, kind, about in layers_of(model):
        counts[kind] = counts.get(kind, -1) + 1
        number = f"_{counts[kind]}" if counts[kind] else ""
        place = f"{around.place}/layers/{kind}{number}".lstrip("/")
        yield layer, _Layer(place, f"{around.name}.{name}".lstrip("."), kind, about)
    match model:
        case {"config": {"layer": {"class_name": str(kind), "config": {"name": str(name)} as about} as layer}}:
            yield layer, _Layer(f"{around.place}/layer", f"{around.name}.{name}", snake_case(kind), about)


def _numbered(arrays: Arrays, layers: list[_Layer]) -> Iterator[_Part]:
    """Yield the weights of a Keras 3 file, whose arrays are numbered: `vars/0`, `vars/1`, … Raises BadWeightFile."""
    groups: dict[str, list[str]] = {}
    for place in arrays.datasets:
        if place.split("/")[0] not in NOT_LAYERS and (found := ARRAY_PATH.fullmatch(place)):
            groups.setdefault(found[1], []).append(place)
    cells: dict[str, list[str]] = {}
    for place in sorted(groups, reverse=True):  # forward, then backward
        if found := CELL.fullmatch(place):
            cells.setdefault(found[1] + ("/layer" if found[2] else ""), []).append(place)
    known = [layer for layer in layers if layer.place in groups or layer.place in cells]
    within = {place for places in cells.values() for place in places}
    rest = (groups.keys() - within | cells.keys()) - {layer.place for layer in known}
    for place in sorted(rest, key=_natural):
        kind = re.sub(r"_\d+$", "", place.split("/")[-1])
        known.append(_Layer(place, _called(place.removesuffix("/layer"), arrays), kind, {}))
    for layer in known:
        for place in cells.get(layer.place, ()):
            inner = dict(zip(("kernel", "recurrent_kernel", "bias"), sorted(groups[place], key=_natural), strict=False))
            yield from _recurrent(arrays, layer, inner, "_reverse" if "/backward_layer/" in place else "")
        if layer.place not in groups:
            continue
        places = sorted(groups[layer.place], key=_natural)
        words = words_of(layer.kind, len(places), layer.about)
        if words is None:
            raise BadWeightFile(
                f"{arrays.path}: `{layer.name}` has {len(places)} arrays, and does not say which of gamma and beta "
                "is missing",
                "save the whole model, as .keras",
            )
        yield from _whole(arrays, layer, dict(zip(words, places, strict=True)))


def _named(arrays: Arrays, layers: list[_Layer]) -> Iterator[_Part]:
    """Yield the weights of an older file, whose arrays have names: `conv1/kernel:0`, in a group for each layer."""
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
        paths = {place: place.removeprefix(f"{group}/").split("/") for place in places if name not in NOT_LAYERS}
        alone = name in known and len({tuple(path[:-1]) for path in paths.values()}) == 1
        for place, (*path, word) in paths.items():
            words = inner.setdefault(name if alone else _owner(name, path, known), {})
            if words.setdefault(word.partition(":")[0], place) != place:
                raise damaged(arrays.path, f"{place} has the name of another array")
        for layer, words in inner.items():
            about = known.get(layer, _Layer(group, layer, "", {}))
            if "recurrent_kernel" in words:
                direction = next((part for part in layer.split(".") if DIRECTION.match(part)), "")
                about = (
                    about if about.about else next((x for x in layers if f"{x.name}.".startswith(f"{name}.")), about)
                )
                about = _Layer(group, name if direction or not about.name else about.name, about.kind, about.about)
                yield from _recurrent(arrays, about, words, "_reverse" if direction.startswith("backward") else "")
                continue
            if "depthwise_kernel" in words and "pointwise_kernel" in words and "bias" in words:
                words["pointwise_bias"] = words.pop("bias")
            yield from _whole(arrays, about, words)


def _owner(group: str, path: list[str], known: Collection[str]) -> str:
    """Return the name of the layer of an array, from its group and its path there.

    The path names all, some or none of the enclosing models: in the group `block`, `sequential/block/conv1` and `conv1`
    both belong to `block.conv1`.
    """

    def shared(layer: str) -> int:
        pairs = zip(reversed(layer.split(".")), reversed(path), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    scores = {layer: shared(layer) for layer in known if f"{layer}.".startswith(f"{group}.")}
    best = [layer for layer, score in scores.items() if score == max(scores.values()) > 0]
    if len(best) == 1:
        return best[0]
    at = len(path) - path[::-1].index(group) if group in path else 0
    return ".".join([group, *path[at:]])


def _whole(arrays: Arrays, layer: _Layer, words: dict[str, str]) -> Iterator[_Part]:
    """Yield the weights of a layer; a gamma or beta that it omits gets its neutral value."""
    shapes = [arrays.datasets[place].shape for place in words.values()]
    for argument, (word, value) in NEUTRAL.items():
        if layer.about.get(argument) is False and word not in words and layer.kind.endswith("normalization") and shapes:
            yield _Part(layer.name, word, layer.kind, None, value, shapes[0])
        elif word in words:
            yield _Part(layer.name, word, layer.kind, words[word])
    for word, place in words.items():
        if word not in {neutral for neutral, _ in NEUTRAL.values()}:
            yield _Part(layer.name, word, layer.kind, place)


def _recurrent(arrays: Arrays, layer: _Layer, words: dict[str, str], end: str) -> Iterator[_Part]:
    """Yield the weights of a direction of a recurrent layer, whose biases are those of the inputs and of the state."""
    shapes = {word: arrays.datasets[place].shape for word, place in words.items()}
    name = layer.name.rpartition(".")[0] if layer.place.endswith("/layer") and "." in layer.name else layer.name
    kind, parts = recurrent_words(arrays.path, name, shapes, layer.about)
    for ours, word in parts:
        if word is None:
            yield _Part(name, ours + end, kind, None, 0.0, shapes["bias"])
        else:
            yield _Part(name, ours + end, kind, words[word])


def _at(listed: list[str], path: str) -> int:
    return listed.index(path) if path in listed else len(listed)


def _called(place: str, arrays: Arrays) -> str:
    """Return the name of the layer of a group, prefixed with those of the enclosing layers."""
    parts = place.split("/")
    names = []
    for at, part in enumerate(parts):
        if part not in ("layers", ""):
            here = "/".join(parts[: at + 1])
            names.append(arrays.texts.get(f"{here}/vars", arrays.texts.get(here, {})).get("name", [part])[0])
    return ".".join(names) or "model"


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts `conv_10` after `conv_9`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,15})", text)]


NORMALIZING = ("layer_normalization", "group_normalization", "batch_normalization")


NEUTRAL = {"scale": ("gamma", 1.0), "center": ("beta", 0.0)}
"""Arguments that, if False, omit an array of a normalization: the array's name and its neutral value."""


class AxisOrder:
    """A transposition followed by a reshape; `axes` None means no transposition."""

    __slots__ = ("axes", "shape")

    def __init__(self, axes: Shape | None, shape: Shape) -> None:
        self.axes = axes
        self.shape = shape

    def apply(self, array: Array) -> Array:
        return (array if self.axes is None else array.transpose(self.axes)).reshape(self.shape)


def layout(word: str, kind: str, shape: Shape, *, last: bool = True) -> AxisOrder:
    """Return how to convert an array from Keras's layout to PyTorch's.

    `word` is its Keras name, `kind` the layer's class in snake case; `last` is whether the model has channels last.
    """
    rank = len(shape)
    space = tuple(range(rank - 2))
    if rank > 2 and (word == "depthwise_kernel" or (word == "kernel" and kind.startswith("depthwise_conv"))):
        # [H, W, C, multiplier] to [C * multiplier, 1, H, W]
        return AxisOrder((rank - 2, rank - 1, *space), (shape[-2] * shape[-1], 1, *shape[:-2]))
    if word in ("kernel", "pointwise_kernel") and rank >= 2:
        # [in, out] to [out, in], [H, W, in, out] to [out, in, H, W], and [H, W, out, in] of a deconvolution likewise
        return AxisOrder((rank - 1, rank - 2, *space), (shape[-1], shape[-2], *shape[:-2]))
    if word == "alpha" and set(shape[:-1] if last else shape[1:]) == {1}:
        return AxisOrder(None, shape[-1:] if last else shape[:1])
    return _as_is(shape)


def _as_is(shape: Shape) -> AxisOrder:
    return AxisOrder(None, shape)


SEPARABLE = ["depthwise_kernel", "pointwise_kernel"]

ARRAY_NAMES = (
    (r"(depthwise_)?conv\dd(_transpose)?|dense", ["kernel"], ["kernel", "bias"]),
    (r"separable_conv\dd", SEPARABLE, [*SEPARABLE, "pointwise_bias"]),
    (r"embedding", ["embeddings"]),
    (r"p_re_lu", ["alpha"]),
)
"""Pattern of a class in snake case, and the Keras names of its arrays, for each possible number of arrays."""


def words_of(kind: str, count: int, about: Config) -> list[str] | None:
    """Return the Keras names of the numbered arrays of a layer; None if they cannot be determined.

    `kind` is the class in snake case, `count` the number of arrays, and `about` the layer's arguments, empty without a
    configuration.
    """
    if kind in NORMALIZING:
        moving = ["moving_mean", "moving_variance"] if kind == "batch_normalization" else []
        if not about and count == len(moving) + 1:
            return None
        told = [word for argument, (word, _) in NEUTRAL.items() if about.get(argument) is not False]
        known = [[*told, *moving], moving]
    else:
        known = next((words for pattern, *words in ARRAY_NAMES if re.fullmatch(pattern, kind)), [])
    return next((words for words in known if len(words) == count), [f"vars.{at}" for at in range(count)])
