"""Recurrent layers of ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.declare.arguments import Word
from netdsl.importing.onnx_fold import OnnxNode, Unsupported
from netdsl.importing.onnx_reader import Reader, handles
from netdsl.importing.onnx_values import Moved, like, ordered, reshaped, settled

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Dim
    from netdsl.importing.flat import FlatLayer, FlatWeight

GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""The gates in PyTorch's order, by their numbers in ONNX's: i o f c, and z r h."""

USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@handles("LSTM", "GRU", "RNN", lazy=True)
def _recurrent(
    r: Reader,
    node: OnnxNode,
    x: Moved,
    w: Any,
    recurrence: Any,
    bias: Any = None,
    lengths: Any = None,
    initial: Any = None,
    initial_c: Any = None,
    peepholes: Any = None,
) -> list[Moved | None]:
    arguments = _arguments(node)
    if any(isinstance(each, Moved) for each in (w, recurrence, bias)):
        raise Unsupported("its weights are computed from the inputs")
    if peepholes is not None and (isinstance(peepholes, Moved) or peepholes.any()):
        raise Unsupported("it has peepholes")
    if node.get("layout", 0):
        raise Unsupported("its batch comes first")
    x = settled(r.net, x, node.place)
    if x.order[1] != 0:
        raise Unsupported("it runs along the batch, the first axis of the inputs")
    ends = _lengths(lengths, x.shape[0])
    x = ordered(r.net, x, (2, 0, 1), node.place)
    values = _initial(r, node, [initial, initial_c][: 1 + (node.op == "LSTM")], w.shape[0] * arguments["hidden"]) | ends
    outputs = [name if name in r.needed else "" for name in (*node.outputs, "", "", "")][:3]
    arguments["last"] = not outputs[0] and not outputs[2]
    arguments["bias"] = bias is not None
    weights = _weights(r, node, w, recurrence, bias)
    layer = r.add(node, node.op.lower(), [x.layer], arguments, weights, values=values)
    return _results(r, node, layer, w.shape[0], outputs)


def _lengths(lengths: Any, longest: Dim) -> dict[str, FlatLayer | None]:
    """Return the lengths of the sequences as the value of a keyword; nothing if all have the same one. Raises
    Unsupported."""
    if isinstance(lengths, Moved) and lengths.axes == ((0,),) and lengths.layer.shape == (1,):
        return {"lengths": lengths.layer}
    if isinstance(lengths, Moved) or (lengths is not None and not (lengths == longest).all()):
        raise Unsupported("its sequences have lengths of their own")
    return {}


def _initial(r: Reader, node: OnnxNode, states: list[Any], size: int) -> dict[str, FlatLayer | None]:
    """Return the initial state as the value of a keyword: h and, of an LSTM, c, one behind the other; nothing for
    zeros. Raises Unsupported."""
    computed = [isinstance(state, Moved) for state in states]
    if not any(computed):
        if any(state is not None and state.any() for state in states):
            raise Unsupported("it begins with a constant state other than 0")
        return {}
    if not all(computed):
        raise Unsupported("only a part of its initial state is computed")
    parts = []
    for state in states:
        turned = Moved(state.layer, tuple(state.axes[axis] for axis in (1, 0, 2)))
        flat = ordered(r.net, reshaped(r.net, turned, [turned.shape[0], size], node.place), (0, 1), node.place)
        parts.append(flat.layer)
    return {"initial": r.add(node, "concat", parts, path="")}


def _arguments(node: OnnxNode) -> dict[str, Any]:
    """Return the arguments of the layer. Raises Unsupported."""
    direction = node.get("direction", "forward")
    if direction not in ("forward", "bidirectional"):
        raise Unsupported("it runs backward only")
    hidden, count = node.get("hidden_size"), 2 if direction == "bidirectional" else 1
    given = [each.decode() for each in node.get("activations") or []]
    arguments: dict[str, Any] = {"hidden": hidden, "bidirectional": count == 2}
    if node.op == "RNN" and given == ["Relu"] * count:
        arguments["act"] = Word("relu")
    elif given and given != USUAL[node.op] * count:
        raise Unsupported("its activations are others than those of the layer")
    if node.get("clip") or node.get("input_forget", 0):
        raise Unsupported("it clips its activations, or couples its gates")
    if node.op == "GRU" and not node.get("linear_before_reset", 0):
        raise Unsupported("its reset gate is applied before the product, as in the first paper")
    return arguments


def _weights(r: Reader, node: OnnxNode, w: Array, recurrence: Array, bias: Array | None) -> dict[str, FlatWeight]:
    """Return the weights by PyTorch's names, with the rows of the gates in PyTorch's order."""
    order = GATES[node.op]
    found = {}
    for direction, end in zip(range(w.shape[0]), ("", "_reverse"), strict=False):
        found[f"weight_ih_l0{end}"] = r.weight(node.inputs[1], _sorted(w[direction], order))
        found[f"weight_hh_l0{end}"] = r.weight(node.inputs[2], _sorted(recurrence[direction], order))
        if bias is not None:
            both = bias[direction].reshape(2, -1)
            found[f"bias_ih_l0{end}"] = r.weight(node.inputs[3], _sorted(both[0], order))
            found[f"bias_hh_l0{end}"] = r.weight(node.inputs[3], _sorted(both[1], order))
    return found


def _sorted(array: Array, order: tuple[int, ...]) -> Array:
    gates = array.reshape(len(order), -1, *array.shape[1:])
    found: Array = np.ascontiguousarray(gates[list(order)]).reshape(array.shape)
    return found


def _results(
    r: Reader, node: OnnxNode, layer: FlatLayer | None, directions: int, outputs: list[str]
) -> list[Moved | None]:
    """Return Y, Y_h and Y_c as far as they are used."""
    if layer is None:
        return [None, None, None]
    found: list[Moved | None] = [None, None, None]
    width = layer.shape[0]
    if outputs[0]:
        y = like(layer, (2, 0, 1))
        assert y is not None
        wide = reshaped(r.net, y, [y.shape[0], y.shape[1], directions, y.shape[2] // directions], node.place)
        found[0] = Moved(wide.layer, tuple(wide.axes[axis] for axis in (0, 2, 1, 3)))
    ends = layer if layer.layer.last else None  # type: ignore[attr-defined]
    if ends is None and any(outputs[1:]):
        ends = r.add(node, "state", [layer])
    for at in (1, 2):
        if outputs[at] and ends is not None:
            part: FlatLayer | None = ends
            if ends.shape[0] != width:
                start = (at - 1) * width
                stop = {"stop": start + width} if at == 1 else {}
                part = r.add(node, "slice", [ends], {"axis": 0, "start": start, **stop})
            state = like(part, (0, 1))
            if state is not None:
                wide = reshaped(r.net, state, [state.shape[0], directions, state.shape[1] // directions], node.place)
                found[at] = Moved(wide.layer, tuple(wide.axes[axis] for axis in (1, 0, 2)))
    return found
