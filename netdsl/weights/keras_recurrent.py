"""Weights of Keras's recurrent layers as PyTorch's: `LSTM`, `GRU` and `SimpleRNN`, also in `Bidirectional`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.weights.errors import BadWeightFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.base.dtypes import Array
    from netdsl.weights.keras_graph import Config

RECURRENT = ("weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l")
"""How PyTorch's names of the weights begin."""

KINDS = {4: "lstm", 3: "gru", 1: "simple_rnn"}
"""Layers by their number of gates."""


def recurrent_words(
    path: str, name: str, shapes: Mapping[str, tuple[int, ...]], about: Config
) -> tuple[str, list[tuple[str, str | None]]]:
    """Return the kind of a layer and, for each of PyTorch's weights, the Keras array that holds it; None for zeros.

    `shapes` are those of `kernel`, `recurrent_kernel` and, if there is one, `bias`. Raises BadWeightFile for a layer
    that does not compute what PyTorch's does.
    """
    recurrent, bias = shapes.get("recurrent_kernel", ()), shapes.get("bias")
    gates = recurrent[1] // recurrent[0] if len(recurrent) == 2 and recurrent[0] else 0
    if gates not in KINDS or recurrent != (recurrent[0], gates * recurrent[0]):
        raise BadWeightFile(f"{path}: `{name}` is a recurrent layer, but neither LSTM nor GRU nor SimpleRNN")
    kind = KINDS[gates]
    if kind == "gru" and (len(bias) == 1 if bias else about.get("reset_after") is not True):
        if not bias and "reset_after" not in about:
            raise BadWeightFile(
                f"{path}: the GRU `{name}` has no biases, which would tell whether `reset_after` is True",
                "save the whole model, as .keras",
            )
        raise BadWeightFile(
            f"{path}: the GRU `{name}` has `reset_after=False`: its reset gate applies to the state before the product "
            "with the recurrent kernel, and in this net to the product",
            "train it with `reset_after=True`, Keras's default",
        )
    if kind != "simple_rnn" and about.get("recurrent_activation", "sigmoid") != "sigmoid":
        raise BadWeightFile(
            f"{path}: the gates of `{name}` are {about['recurrent_activation']}, and not sigmoid as in this net",
            "train it with `recurrent_activation='sigmoid'`, Keras's default",
        )
    words: list[tuple[str, str | None]] = [("weight_ih_l0", "kernel"), ("weight_hh_l0", "recurrent_kernel")]
    if bias is not None:
        words += [("bias_ih_l0", "bias"), ("bias_hh_l0", "bias" if kind == "gru" else None)]
    return kind, words


class GateOrder:
    """Convert [in, G H] to [G H, in], with the G gates in PyTorch's order: for a GRU, r z h instead of z r h.

    The two biases of a GRU are the rows of one array.
    """

    __slots__ = ("_row", "_swap", "shape")

    def __init__(self, word: str, kind: str, shape: tuple[int, ...]) -> None:
        self._row = 0 if word.startswith("bias_ih") else 1
        self._swap = kind == "gru"
        self.shape = shape[::-1] if word.startswith("weight") else shape[-1:]

    def apply(self, array: Array) -> Array:
        if len(self.shape) == 2:
            array = array.T
        elif array.ndim == 2:
            array = array[self._row]
        if not self._swap:
            return array
        z, r, h = np.split(array, 3)
        return np.concatenate([r, z, h])
