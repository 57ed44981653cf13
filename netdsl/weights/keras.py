"""Keras's weights as PyTorch would have them: `.keras` archives, `.weights.h5` files, and the older `.h5`.

A layer's kernel becomes `weight`, [H, W, in, out] becomes [out, in, H, W], [in, out] becomes [out, in]; gamma, beta and
the moving statistics become `weight`, `bias`, `running_mean`, `running_var`. Weights are called after the layer. No
model is built, so that no layer's code runs. Source: keras/src/saving/saving_lib.py, version 3;
keras/src/legacy/saving/legacy_h5_format.py.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from netdsl.diagnostics.terminal import escape
from netdsl.weights.errors import BadWeightFile
from netdsl.weights.file import Entry, WeightFile
from netdsl.weights.h5 import Arrays, BytesView
from netdsl.weights.keras_layout import layout, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.weights.archive import ZipMembers
    from netdsl.weights.file import Array
    from netdsl.weights.keras_layout import Layout

LONGEST_CONFIG = 2**26
NUMBERED = re.compile(r"(.*?)/?vars/(\d+)")
OTHERS = ("optimizer", "metrics", "compile_metrics", "optimizer_weights", "top_level_model_weights")
"""What is in a file beside the layers."""


class KerasWeights(WeightFile):
    """The weights of a model that Keras saved."""

    __slots__ = ("_arrays", "_parts", "ordered")

    def __init__(self, path: str, members: ZipMembers | None = None) -> None:
        self.path = path
        config: list[tuple[str, str, dict[str, Any]]] = []
        if members is None:
            self._arrays = Arrays(path, lambda: path)
        else:
            name = "model.weights.h5"
            size = members.members[name].file_size
            self._arrays = Arrays(path, lambda: BytesView(members.map(name, 0, size)))
            config = list(_layers(_config(members), ""))
        self.ordered = bool(config)
        self.entries: dict[str, Entry] = {}
        self._parts: dict[str, tuple[str, Layout]] = {}
        for key, place, word, kind in self._found(config):
            found = self._arrays.datasets[place]
            how = layout(word, kind, found.shape)
            if key in self.entries:
                raise self._arrays.bad(f"two layers are called {key}")
            self.entries[key] = Entry(found.dtype, how.shape)
            self._parts[key] = place, how
        if not self.entries:
            raise BadWeightFile(f"{escape(path)} holds no layer's weights as Keras saves them")

    @property
    def flattens_last(self) -> bool:
        return True

    def read(self, key: str) -> Array:
        place, how = self._parts[key]
        return how.turn(self._arrays.read(place))

    def _found(self, config: list[tuple[str, str, dict[str, Any]]]) -> Iterator[tuple[str, str, str, str]]:
        """Each weight: its name here, its place in the file, Keras's word for it, and the class of its layer."""
        groups: dict[str, list[str]] = {}
        for place in self._arrays.datasets:
            if place.split("/")[0] in OTHERS:
                continue
            if found := NUMBERED.fullmatch(place):
                groups.setdefault(found[1], []).append(place)
            else:
                yield from self._of_old(place)
        told = {place: (name, about) for place, name, about in config}
        order = [place for place, _, _ in config if place in groups]
        for place in [*order, *sorted(groups.keys() - set(order), key=_natural)]:
            name, about = told.get(place, (self._named(place), {}))
            members = sorted(groups[place], key=_natural)
            kind = re.sub(r"_\d+$", "", place.split("/")[-1])
            for word, member in zip(words_of(kind, len(members), about), members, strict=True):
                if word is None:
                    raise BadWeightFile(
                        f"{escape(self.path)}: `{escape(name)}` has {len(members)} arrays, and which of gamma and beta "
                        "is missing it does not say",
                        "save the whole model, as .keras",
                    )
                yield f"{name}.{PYTORCHS.get(word, word)}", member, word, kind

    def _named(self, place: str) -> str:
        own = self._arrays.names.get(place) or self._arrays.names.get(f"{place}/vars")
        if own:
            return own
        return ".".join(part for part in place.split("/") if part not in ("layers", "")) or "model"

    def _of_old(self, place: str) -> Iterator[tuple[str, str, str, str]]:
        """The older format: `model_weights/conv1/conv1/kernel:0`."""
        parts = place.removeprefix("model_weights/").split("/")
        if parts[0] in OTHERS or len(parts) < 2:
            return
        word = parts[-1].partition(":")[0]
        yield f"{parts[0]}.{PYTORCHS.get(word, word)}", place, word, ""


PYTORCHS = {
    "kernel": "weight",
    "depthwise_kernel": "depthwise.weight",
    "pointwise_kernel": "pointwise.weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "embeddings": "weight",
    "alpha": "weight",
}
"""PyTorch's word for each of Keras's."""


def _config(members: ZipMembers) -> Any:
    try:
        return json.loads(members.read("config.json", LONGEST_CONFIG))
    except (KeyError, ValueError, RecursionError):
        raise members.bad("its config.json is missing, or no JSON") from None


def _layers(model: Any, place: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each layer of a model in its order, models in it included: where its weights are, its name, its arguments."""
    waiting = [(model, place, "")]
    found = []
    while waiting:
        each, at, inside = waiting.pop()
        match each:
            case {"config": {"layers": list(layers)}}:
                waiting += reversed(list(_named(layers, f"{at}/layers".lstrip("/"), inside)))
            case {"config": dict(about)}:
                found.append((at, inside.removesuffix("."), about))
    yield from found


def _named(layers: list[Any], place: str, inside: str) -> Iterator[tuple[Any, str, str]]:
    """The layers of one model with their groups in the file: `conv2d`, `conv2d_1`, and so on by class."""
    counts: dict[str, int] = {}
    for layer in layers:
        match layer:
            case {"class_name": str(kind), "config": {"name": str(name)}}:
                snake = snake_case(kind)
                counts[snake] = counts.get(snake, -1) + 1
                number = f"_{counts[snake]}" if counts[snake] else ""
                yield layer, f"{place}/{snake}{number}", f"{inside}{name}."


def snake_case(name: str) -> str:
    """`Conv2DTranspose` as `conv2d_transpose`. Source: keras/src/utils/naming.py, to_snake_case."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _natural(text: str) -> list[tuple[int, str]]:
    """`conv_10` behind `conv_9`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,15})", text)]
