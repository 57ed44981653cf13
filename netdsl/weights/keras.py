"""Keras weights in PyTorch's layout: `.keras` archives, `.weights.h5` files, and older `.h5` files.

A layer's kernel becomes `weight`, [H, W, in, out] becomes [out, in, H, W], [in, out] becomes [out, in]; gamma, beta and
the moving statistics become `weight`, `bias`, `running_mean`, `running_var`. Weights are named after the layer. No
model is built, so that no layer's code runs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.weights.errors import BadWeightFile
from netdsl.weights.file import Entry, WeightFile
from netdsl.weights.h5 import Arrays, BytesView
from netdsl.weights.keras_graph import FIRST, Graph
from netdsl.weights.keras_layout import layout
from netdsl.weights.keras_parts import described, named, numbered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.base.dtypes import Array
    from netdsl.base.zip_archive import ZipArchive
    from netdsl.weights.keras_layout import Layout
    from netdsl.weights.keras_parts import Part

MEMBER = "model.weights.h5"
LONGEST_CONFIG = 2**26

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
"""PyTorch's name for each array of Keras."""


class KerasModel:
    """What a file tells about its model beside the weights: how its layers are wired, where it has a configuration,
    and the layer of each weight."""

    __slots__ = ("graph", "layers")

    def __init__(self, graph: Graph | None, layers: Mapping[str, str]) -> None:
        self.graph = graph
        self.layers = layers


class KerasWeights(WeightFile):
    """The weights of a model saved by Keras."""

    __slots__ = ("_arrays", "_graph", "_last", "_layouts", "_ordered", "_parts")

    def __init__(self, path: str, archive: ZipArchive | None = None) -> None:
        self.path = path
        if archive is None:
            self._arrays = Arrays(path, lambda: path)
            config: str | bytes = self._arrays.texts.get("", {}).get("model_config", [""])[0]
        else:
            self._arrays = Arrays(path, lambda: BytesView(archive.map(MEMBER)))
            config = archive.read("config.json", LONGEST_CONFIG) if "config.json" in archive.members else b""
        model = self._model(config)
        layers = described(model)
        self._graph = Graph(model) if layers else None
        self._last = self._graph is None or self._graph.layouts != {FIRST}
        self.entries: dict[str, Entry] = {}
        self._parts: dict[str, Part] = {}
        self._layouts: dict[str, Layout] = {}
        of_old = any(place.split("/")[-2:-1] != ["vars"] for place in self._arrays.datasets)
        for part in (named if of_old else numbered)(self._arrays, layers):
            self._admit(part)
        self._ordered = bool(layers) or of_old
        if not self.entries:
            raise BadWeightFile(f"{path} holds no layer's weights as Keras saves them")

    def _model(self, config: str | bytes) -> Any:
        try:
            return json.loads(config) if config else None
        except (ValueError, RecursionError):
            raise self.damaged("the model that it describes is no JSON") from None

    def _admit(self, part: Part) -> None:
        key = f"{part.layer}.{PYTORCHS.get(part.word, part.word)}"
        if key in self.entries:
            raise self.damaged(f"two weights are called {key}")
        self._parts[key] = part
        if part.place is None:
            self.entries[key] = Entry("float32", part.shape)
            return
        found = self._arrays.datasets[part.place]
        self._layouts[key] = layout(part.word, part.kind, found.shape, last=self._last)
        self.entries[key] = Entry(found.dtype, self._layouts[key].shape)

    @property
    def keras(self) -> KerasModel:
        return KerasModel(self._graph, {key: part.layer for key, part in self._parts.items()})

    @property
    def ordered(self) -> bool:
        return self._ordered

    def read(self, key: str) -> Array:
        part = self._parts[key]
        if part.place is None:
            return np.full(part.shape, part.value, np.float32)
        return self._layouts[key].turn(self._arrays.read(part.place))
