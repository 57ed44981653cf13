"""Inputs whose elements are indices of vectors of an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.user_error import UserError

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.ir.net import Net

INDICES = "netdsl.indices"
"""Metadata key of a model: the names of these inputs, with spaces between them."""


class OutsideVocabulary(UserError, code="E0883", title="an index outside the vocabulary"):
    """An `embedding` has a vector for each index from 0 to its vocabulary - 1. Before training, the indices in inputs
    that it reads are compared with it, except in batches from an iterable, which are not known then.

    ONNX counts negative indices from the end. Commands and functions refuse them instead, in data, iterables and the
    inputs of a model, since an index of -1 is mostly padding or a word that is missing.

    ```net fixed
    net lm { input text 64 dtype i64; embedding 256 32; gru 128; linear 256 }
    train lm { data text "book.txt" length 64; loss cross_entropy }
    ```
    """


def index_inputs(net: Net) -> list[str]:
    """Return the inputs whose elements reach an embedding, perhaps after layers that rearrange them."""
    reached: set[str] = set()
    waiting = [node.inputs[0] for node in net.nodes if node.layer.kind == "embedding"]
    while waiting:
        node = waiting.pop()
        if node.name not in reached and node.layer.dtype_transparent:
            waiting += node.inputs if node.layer.variadic else node.inputs[:1]
        reached.add(node.name)
    return [node.name for node in net.inputs if node.name in reached]


def refuse_negative(indices: Array, what: str, first: int = 0) -> None:
    """Raise OutsideVocabulary for a negative index in a batch, whose first example has the number `first`."""
    if indices.size and indices.min() < 0:
        example, *place = (int(places[0]) for places in (indices < 0).nonzero())
        value = indices[(example, *place)]
        raise OutsideVocabulary(
            f"{what} contains {value} at {[first + example, *place]}, but an embedding reads it",
            "an index counts from 0, and cannot be negative",
        )
