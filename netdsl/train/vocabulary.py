"""Indices in data, and whether the embeddings that read them have a vector for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.user_error import UserError
from netdsl.data.dataset import Dataset
from netdsl.layers.dense import EmbeddingLayer

if TYPE_CHECKING:
    from netdsl.data.column import Column
    from netdsl.data.dataset import Examples
    from netdsl.elaborate.recipe import Recipe


class OutsideVocabulary(UserError, code="E0883", title="an index outside the vocabulary"):
    """An `embedding` has a vector for each index from 0 to its vocabulary - 1. Before training, the indices in inputs
    that it reads are compared with it, except in batches from an iterable, which are not known then.

    ```net fixed
    net lm { input text 64 dtype i64; embedding 256 32; gru 128; linear 256 }
    train lm { data text "book.txt" length 64; loss cross_entropy }
    ```
    """


def check_vocabularies(recipe: Recipe, dataset: Examples) -> None:
    """Raise OutsideVocabulary for an index in an input without a vector in an embedding that reads this input."""
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
