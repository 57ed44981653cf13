"""The random inputs on which an imported net is compared with its model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.size import Size
from netdsl.data.random_inputs import known_sizes, random_array

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.importing.flat import FlatLayer, FlatNet

BATCH = 2
"""Examples of a batch, if the model takes any number of them."""

SIZES = (64, 97, 96, 32, 128, 16, 224)
"""What sizes that are known only at run time are, or about that: the first two for which the model runs. One is odd,
since sizes are rounded where a net strides."""


def sizes_of_symbols(flat: FlatNet, size: int) -> dict[str, int]:
    """Return a value for each symbol in the sizes of the inputs, so that these sizes are about `size`; neighbors, such
    as a height and a width, get other ones."""
    found: dict[str, int] = {}
    for layer in flat.inputs.values():
        for each in layer.shape:
            if isinstance(each, Size):
                other = SIZES[0] if size != SIZES[0] and len(found) % 2 else size
                found.setdefault(each.symbols[0], max(other // each.terms[0][1], 1))
    return found


def random_inputs(flat: FlatNet, seed: int, size: int = SIZES[0]) -> dict[str, Array]:
    """Return a batch of random inputs by name. Sizes known only at run time are about `size`."""
    symbols = sizes_of_symbols(flat, size)
    generator = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for name, layer in flat.inputs.items():
        shape = (flat.batch or BATCH, *known_sizes(layer.shape, symbols))
        dtype = layer.layer.dtype  # type: ignore[attr-defined]
        vocabulary = _vocabulary(flat, layer) if dtype == "i64" else 0
        found[name] = random_array(dtype, shape, vocabulary, generator)
    return found


def _vocabulary(flat: FlatNet, source: FlatLayer) -> int:
    """Return the least number of words of the embeddings that read an input."""
    reached, found = {source}, 2
    sizes = []
    for layer in flat.layers:
        if reached.intersection(layer.inputs) and layer.dtype == "i64":
            reached.add(layer)
        if layer.kind == "embedding" and layer.inputs[0] in reached:
            sizes.append(layer.layer.vocabulary)  # type: ignore[attr-defined]
    return min(sizes, default=found)
