"""Indices in data, and whether the embeddings that read them have a vector for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.limits import SIZE
from netdsl.data.dataset import Dataset
from netdsl.data.indices import OutsideVocabulary, index_inputs
from netdsl.data.iterable import Stream
from netdsl.layers.dense import EmbeddingLayer

if TYPE_CHECKING:
    from netdsl.data.column import Column
    from netdsl.data.dataset import Examples
    from netdsl.elaborate.recipe import Recipe


def check_vocabularies(recipe: Recipe, dataset: Examples) -> None:
    """Raise OutsideVocabulary for an index in an input without a vector in an embedding that reads this input, and for
    a negative one that reaches an embedding. An iterable raises it later, for the negative ones."""
    indices = index_inputs(recipe.net)
    if isinstance(dataset, Stream):
        dataset.indices = indices
    if not isinstance(dataset, Dataset):
        return
    for node in recipe.net.nodes:
        if isinstance(node.layer, EmbeddingLayer) and node.inputs[0].name in dataset.inputs:
            words = node.layer.vocabulary
            found, highest = _outside(dataset.inputs[node.inputs[0].name], words)
            if not found:
                continue
            counts = [highest + 1]
            if recipe.data.kind == "text":  # of which a part may lack some symbols
                counts += [each.classes for each in recipe.targets.values() if isinstance(each.classes, int)]
            advice = f"`embedding {max(counts)} {node.layer.size}` has a vector for each"
            raise OutsideVocabulary(
                f"{found}, but `{node.name}`, {node.span}, has {words:,} vectors, from 0 to {words - 1:,}",
                advice if max(counts) > words else "an index counts from 0, and cannot be negative",
            )
    for name in indices:
        if found := _outside(dataset.inputs[name], SIZE)[0]:
            raise OutsideVocabulary(
                f"{found}, but an embedding reads it", "an index counts from 0, and cannot be negative"
            )


def _outside(column: Column, vocabulary: int) -> tuple[str, int]:
    """Return the first index outside a vocabulary, in words, or an empty string; and the highest one."""
    found, highest = "", 0
    for at in range(0, len(column), column.chunk):
        indices = column.take(np.arange(at, min(at + column.chunk, len(column))))
        highest = max(highest, int(indices.max()))
        outside = (indices < 0) | (indices >= vocabulary)
        if not found and outside.any():
            place = tuple(map(int, np.argwhere(outside)[0]))
            inside = f" at {list(place[1:])}" if place[1:] else ""
            found = f"{column.name(at + place[0])} contains {indices[place]}{inside}"
    return found, highest
