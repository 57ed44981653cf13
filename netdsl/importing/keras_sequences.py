"""Embeddings, recurrent layers and attention of Keras as netdsl's layers.

Sources: keras/src/layers of Keras 3.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from netdsl.importing.flat import FlatLayer, FlatWeight

if TYPE_CHECKING:
    from netdsl.importing.flat import Value
    from netdsl.importing.keras_step import KerasStep


def embedding(step: KerasStep, x: FlatLayer) -> Value:
    about = step.about
    y: Value = x
    if len(x.shape) > 1:  # words are not channels: their last axis stays the last
        y = step.net.add("permute", [x], {"axes": (*range(1, len(x.shape)), 0)}, place=step.call.name)
    arguments = {"vocabulary": about["input_dim"], "size": about["output_dim"]}
    return step.add("embedding", [y], arguments, step.weights("weight"))


def recurrent(step: KerasStep, x: FlatLayer) -> Value:
    """LSTM, GRU, SimpleRNN, and these in Bidirectional, with the names of their weights in PyTorch."""
    about, kind = step.about, step.call.kind
    both = kind == "bidirectional"
    if both:
        inner = about["layer"]
        kind, about = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "simple_rnn"}[inner["class_name"]], inner["config"]
        if step.about["merge_mode"] != "concat":
            return step.refuse("a Bidirectional that does not concatenate")
    for key in ("return_state", "go_backwards", "stateful"):
        if about.get(key):
            return step.refuse(f"a recurrent layer with {key}")
    if about.get("activation", "tanh") != "tanh":
        return step.refuse("a recurrent layer with another activation than tanh")
    ends = ["_l0", "_l0_reverse"] if both else ["_l0"]
    words = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if about["use_bias"] else [])]
    weights = step.weights(*(f"{word}{end}" for end in ends for word in words))
    arguments = {"hidden": about["units"], "bias": about["use_bias"], "bidirectional": both}
    arguments["last"] = not about["return_sequences"]
    return step.add({"simple_rnn": "rnn"}.get(kind, kind), [x], arguments, weights)


def attention(step: KerasStep, query: FlatLayer, value: FlatLayer, *more: FlatLayer) -> Value:
    about, key = step.about, more[0] if more else value
    if step.call.named.keys() - {"key", "value", "query"} or about.get("use_gate") or about.get("sliding_window"):
        return step.refuse("a MultiHeadAttention with a mask, a gate or a window")
    if (about.get("attention_axes") or [1]) != [1] or len(query.shape) != 2:
        return step.refuse("a MultiHeadAttention along other axes")
    if "key" in step.call.named:
        key = step.conversion.values[step.call.named["key"]]  # type: ignore[assignment]
    heads, size, bias = about["num_heads"], about["key_dim"], about["use_bias"]
    widths = {"query": size, "key": size, "value": about.get("value_dim") or size}
    parts = []
    for (name, width), x in zip(widths.items(), (query, key, value), strict=True):
        weight = step.weight(f"{name}.vars.0")
        weights = {"weight": _rows(weight, heads * width)}
        if bias:
            weights["bias"] = shaped(step.weight(f"{name}.vars.1"), heads * width)
        parts.append(step.add("linear", [x], {"units": heads * width, "bias": bias}, weights, f".{name}"))
    y = step.net.add("attention", parts, {"heads": heads}, place=step.call.name)
    out = step.weight("attention_output.vars.0")
    weights = {"weight": _rows(out, out.shape[-1])}
    if bias:
        weights["bias"] = step.weight("attention_output.vars.1")
    return step.add("linear", [y], {"units": out.shape[-1], "bias": bias}, weights, ".output")


def _rows(weight: FlatWeight, units: int) -> FlatWeight:
    """Return a factor [inputs, heads, size], or [heads, size, outputs], as a matrix [units, inputs]."""
    shape = (units, prod(weight.shape) // units)
    return FlatWeight(shape, lambda: np.ascontiguousarray(weight.read().reshape(shape[::-1]).T))


def shaped(weight: FlatWeight, *shape: int) -> FlatWeight:
    """Return a weight with other sizes."""
    return FlatWeight(shape, lambda: weight.read().reshape(shape))
