"""Determine the element order of each value in the Keras model, and permute weights to netdsl's order.

Keras stores a feature map as [H, W, C] and netdsl as [C, H, W], so its elements are in a different order once it is
flattened. This affects the columns of a dense layer that reads it, the rows of a dense layer whose output is reshaped
to a map, and the weights of normalizations in between.

The order of a value in Keras, relative to netdsl's, is one of

- `False`: the same order.
- `True`: channels last.
- an array: for each element in netdsl's order, its index in Keras's order.
- a str: unknown, because of the layer with this name.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.weights.errors import OrderUnknown
from netdsl.weights.keras_graph import FIRST, LAST, Path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Shape
    from netdsl.ir.net import Net, Node
    from netdsl.weights.file import Permute
    from netdsl.weights.keras import KerasModel
    from netdsl.weights.keras_graph import KerasLayer

    Order = bool | str | Array

ELEMENTWISE = frozenset(
    [
        *("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "hard_swish", "softplus", "square", "sqrt"),
        *(
            "mish",
            "celu",
            "hard_tanh",
            "softsign",
            "log_sigmoid",
            "hard_shrink",
            "soft_shrink",
            "tanh_shrink",
            "threshold",
        ),
        *("abs", "exp", "log", "sin", "cos", "clip", "sigmoid", "hard_sigmoid", "tanh", "sign", "step"),
        *("scale", "shift", "dropout", "drop_path", "identity"),
    ]
)
"""Layers that compute each element from the same element of their input."""

BY_FEATURE = frozenset(("bn", "layernorm", "rmsnorm", "prelu"))
"""Layers with one weight per element of a flat value."""

ON_FLAT = ELEMENTWISE | BY_FEATURE | {"softmax", "log_softmax", "normalize"}
"""Layers that preserve the order of a flat value."""

MAP_AXES = 3
"""Minimum number of axes of an input that is assumed to be an image, with channels last in Keras."""


def layout_permutations(net: Net, model: KerasModel, origins: Mapping[str, str]) -> dict[str, Permute]:
    """Return the permutations from Keras's order to netdsl's, by weight name; other weights keep their order.

    `origins` maps the net's weight names to the file's. Raises OrderUnknown.
    """
    layers = {name: model.layers[key] for name, key in origins.items()}
    return _Orders(net, model, layers).permutations()


def _role(node: Node) -> str:
    """Return how the order of a layer's result follows from that of its inputs."""
    kind = node.layer.kind
    if kind in ("input", "dense", "permute", "concat"):
        return kind
    if kind in ("flatten", "reshape"):
        return "reshape"
    if node.layer.variadic:
        return "merge"
    flat = len(node.inputs[0].shape) == 1
    if flat and kind == "linear":
        return "dense"
    if kind in ELEMENTWISE or (flat and kind in ON_FLAT):
        return "keep"
    if kind in ("slice", "reduce") or (flat and kind != "embedding"):
        return "part"
    return "map"


def _spread(shape: Shape, order: Order) -> Array:
    """Return an order as an array of indices, for a value of this shape."""
    assert not isinstance(order, str)
    if not isinstance(order, bool):
        return order
    sizes = [size for size in shape if isinstance(size, int)]
    places = np.arange(prod(sizes))
    return np.moveaxis(places.reshape(*sizes[1:], sizes[0]), -1, 0).reshape(-1) if order else places


def _named(places: Array, shape: Shape) -> Order:
    """Return an array of indices as an order: a bool if possible."""
    flat = places.reshape(-1)
    return next((order for order in (False, True) if np.array_equal(flat, _spread(shape, order))), flat)


def _matters(shape: Shape) -> bool:
    """Return whether channels first and channels last are different orders for this shape."""
    return shape[0] != 1 and any(size != 1 for size in shape[1:])


def _same(a: Order, b: Order, shape: Shape) -> bool:
    if isinstance(a, bool) and isinstance(b, bool):
        return a == b or not _matters(shape)
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and a == b
    return np.array_equal(_spread(shape, a), _spread(shape, b))


class _Orders:
    """Computes the order of each value of a net.

    The order of an input, or of a dense layer's result, is decided by the layers that read it (`_needed`), for example
    as a map; all other orders follow from the inputs of a layer. `flipped` exchanges channels first and last.
    """

    def __init__(self, net: Net, model: KerasModel, layers: Mapping[str, str], *, flipped: bool = False) -> None:
        self._net = net
        self._model = model
        self._flipped = flipped
        self._graph = model.graph
        self._layer_of = layers
        self._roles = {node: _role(node) for node in net.nodes}
        self._last: dict[Node, bool] = {}
        self._needed: dict[Node, Order] = {}
        self._orders: dict[Node, Order] = {}
        self._free: set[Node] = set()
        self._maps: set[Node] = set()
        self._read: set[Node] = set()
        self._flat: set[Node] = set()
        self._find_layouts()
        for node in net.nodes:
            if self._roles[node] == "map" and node.layer.kind != "embedding":
                self._read_as_map(node)
        for output in net.outputs.values():
            self._leave(output.node)
        self._find_flat()
        while self._follow():
            pass

    def _layer(self, node: Node) -> str | None:
        """Return the name of the Keras layer that a node takes its weights from; None if there is none."""
        names = (self._layer_of.get(parameter.name) for parameter in node.parameters.values())
        return next((name for name in names if name), None)

    def _step(self, node: Node) -> KerasLayer | None:
        """Return that Keras layer from the configuration; None if there is none."""
        return self._graph.steps.get(self._layer(node) or "") if self._graph is not None else None

    def _find_layouts(self) -> None:
        """Determine whether Keras has each value with channels last: as its layer declares, or like its first input."""
        usual = self._graph is None or self._graph.layouts != {FIRST}
        for node in self._net.nodes:
            step = self._step(node)
            said = step.layout if step else None
            before = (self._last[x] for x in node.inputs if len(x.shape) > 1)
            self._last[node] = (said == LAST) != self._flipped if said else next(before, usual != self._flipped)

    # --- orders decided by the layers that read a value ---

    def _read_as_map(self, node: Node) -> None:
        x = node.inputs[0]
        order: Order = self._last[node]
        base, layer = self._base(x), self._layer(node)
        self._check_axis(node)
        if self._graph is not None and base is not x and self._roles[base] == "dense" and _matters(x.shape):
            way = self._graph.way_to(layer) if layer is not None else Path()
            if way.unknown or (layer is None and self._graph.permutes):
                raise self._unknown(node, way.unknown or node.name)
            if way.reorders:
                order = self._arrivals(node, way, base)[_spread(x.shape, order)]
        self._need(x, order)

    def _leave(self, node: Node) -> None:
        """Require the order of a map for a dense layer's result that is an output of the net with several axes."""
        base = self._base(node)
        if len(node.shape) > 1 and base is not node and self._roles[base] == "dense":
            sizes = self._graph.output_sizes if self._graph is not None else None
            order = self._declared(node, sizes, usual=self._last[node] and len(node.shape) >= MAP_AXES)
            if isinstance(order, str):
                raise self._unknown(node, order)
            self._need(node, order)

    def _check_axis(self, node: Node) -> None:
        """Raise OrderUnknown if a normalization or a Dense layer, which maps the last axis, does not run along the
        channels in Keras, as it does in the net."""
        step, rank = self._step(node), len(node.shape)
        if step and step.kind == "dense" and rank > 1 and not self._last[node]:
            raise OrderUnknown(
                f"`{self._layer(node) or ''}` maps the last axis in the Keras model, whose channels come first, but "
                f"`{node.name}` the channels",
                "permute the axes before it",
            )
        axis = step.about.get("axis") if step and step.kind.endswith("normalization") else None
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        if axis is not None and axis not in ((-1, rank) if self._last[node] else (1, -rank)):
            raise OrderUnknown(
                f"`{self._layer(node) or ''}` normalizes along axis {axis!s} in the Keras model, but "
                f"`{node.name}` along the channels",
                "permute the axes before it",
            )

    def _base(self, node: Node) -> Node:
        """Return the value from which this one is made by reshapes, permutations and elementwise layers."""
        while self._roles[node] in ("keep", "reshape", "permute"):
            node = node.inputs[0]
        return node

    def _need(self, node: Node, order: Order) -> bool:
        """Require an order of a value. Return whether this decides that of another input or dense layer's result."""
        decided = False
        waiting = [(node, order)]
        while waiting:
            node, order = waiting.pop()
            role = self._roles[node]
            if isinstance(order, bool):
                if node in self._read and len(node.shape) > 1:
                    continue
                self._read.add(node)
            if role in ("dense", "input"):
                decided = decided or node not in self._needed
                if not _same(self._needed.setdefault(node, order), order, node.shape):
                    raise self._unknown(node, node.name)
            else:
                waiting += self._needs_before(node, role, order)
        return decided

    def _needs_before(self, node: Node, role: str, order: Order) -> Iterator[tuple[Node, Order]]:
        if role in ("keep", "merge"):
            yield from ((x, order) for x in node.inputs if x.shape == node.shape)
        elif role in ("reshape", "permute"):
            (x,) = node.inputs
            if not all(isinstance(size, int) for size in node.shape):
                return
            places = _spread(node.shape, order)
            if role == "permute":
                axes = node.layer.order(len(node.shape))  # type: ignore[attr-defined]
                places = places.reshape(node.shape).transpose(np.argsort(axes))  # type: ignore[arg-type]
            yield x, _named(places, x.shape)
        elif role == "concat" and isinstance(order, bool):
            yield from ((x, order) for x in node.inputs)
        elif role == "concat" and len(node.shape) == 1:
            yield from self._parts(node, _spread(node.shape, order))
        elif role == "part" and len(node.shape) > 1 and isinstance(order, bool):
            yield node.inputs[0], order
        elif role == "part" and order is not False and self._roles[self._base(node.inputs[0])] == "dense":
            raise self._unknown(node, node.name)

    def _parts(self, node: Node, places: Array) -> Iterator[tuple[Node, Order]]:
        """Yield the order of each input of a flat concat, given that of the result. Raises OrderUnknown."""
        at = 0
        for x in node.inputs:
            count = prod(size for size in x.shape if isinstance(size, int))
            part = places[at : at + count] - at
            if part.min() < 0 or part.max() >= count:
                raise self._unknown(node, node.name)
            yield x, _named(part, x.shape)
            at += count

    # --- orders that follow from the inputs of a layer ---

    def _find_flat(self) -> None:
        """Collect the values whose order matters: outputs of the net and weights on flat values depend on it."""
        self._flat.update(output.node for output in self._net.outputs.values())
        for node in reversed(self._net.nodes):
            role = self._roles[node]
            reads = bool(node.parameters) and role != "map"
            if reads or (node in self._flat and role not in ("map", "dense", "input")):
                self._flat.update(node.inputs)
            if reads:
                self._flat.add(node)

    def _follow(self) -> bool:
        """Compute the order of each value from those of its inputs. Return whether a merge decided an undecided one."""
        decided = False
        self._orders, self._free = {}, set()
        for node in self._net.nodes:
            if node not in self._flat:
                continue
            role = self._roles[node]
            inside = role != "dense" and not self._maps.isdisjoint(node.inputs)
            if _matters(node.shape) if role in ("map", "input") else inside:
                self._maps.add(node)
            if role in ("dense", "input"):
                self._orders[node] = self._needed.get(node, False) if role == "dense" else self._of_input(node)
                if node not in self._needed:
                    self._free.add(node)
                continue
            if role in ("merge", "concat"):
                decided = self._settle(node) or decided
            self._orders[node] = getattr(self, f"_after_{role}")(node)
            if role != "map" and all(x in self._free for x in node.inputs):
                self._free.add(node)
        return decided

    def _of_input(self, node: Node) -> Order:
        """Return the order of an input: by its declared shape, the layers that read it, or its number of axes."""
        graph, inputs = self._graph, self._net.inputs
        usual = self._needed.get(node, self._last[node] and len(node.shape) >= MAP_AXES)
        if graph is None or len(graph.inputs) != len(inputs) or len(node.shape) == 1:
            return usual
        order = self._declared(node, graph.sizes(graph.inputs[inputs.index(node)]), usual=usual)
        return usual if node in self._needed and isinstance(order, str) else order

    def _declared(self, node: Node, sizes: list[Any] | None, *, usual: Order) -> Order:
        """Return the order of an input or output with the shape `sizes` in Keras; `usual` if ambiguous or None."""
        if sizes is None:
            return usual
        ours = [order for order in (False, True) if _agree(_in_keras(node.shape, last=order), sizes)]
        if len(ours) == 1:
            return ours[0]
        return usual if ours else len(sizes) > 1 and node.name

    def _settle(self, node: Node) -> bool:
        """Require the known order of some operands of a merge for its undecided ones. Return whether there were any."""
        joined = self._roles[node] == "concat"
        if joined and len(node.shape) == 1:
            return False
        operands = [x for x in node.inputs if joined or x.shape == node.shape]
        known = [self._orders[x] for x in operands if x not in self._free]
        known = known or [self._orders[x] for x in operands if self._orders[x] is not False]
        if not known or isinstance(known[0], str) or (joined and not isinstance(known[0], bool)):
            return False
        decided = False
        for x in operands:
            if x in self._free and not _same(self._orders[x], known[0], x.shape):
                self._orders[x] = known[0]
                decided = self._need(x, known[0]) or decided
        return decided

    def _after_map(self, node: Node) -> Order:
        return self._last[node] and len(node.shape) > 1

    def _after_keep(self, node: Node) -> Order:
        return self._orders[node.inputs[0]]

    def _after_part(self, node: Node) -> Order:
        order = self._orders[node.inputs[0]]
        return order if isinstance(order, bool | str) else node.name

    def _after_reshape(self, node: Node) -> Order:
        return self._moved(node, lambda places: places)

    def _after_permute(self, node: Node) -> Order:
        axes = node.layer.order(len(node.shape))  # type: ignore[attr-defined]
        shape = node.inputs[0].shape
        return self._moved(node, lambda places: places.reshape(shape).transpose(axes))  # type: ignore[arg-type]

    def _moved(self, node: Node, move: Callable[[Array], Array]) -> Order:
        (x,) = node.inputs
        order = self._orders[x]
        if isinstance(order, str):
            return order
        if not all(isinstance(size, int) for size in x.shape):
            return node.name
        return _named(move(_spread(x.shape, order)), node.shape)

    def _after_merge(self, node: Node) -> Order:
        operands = [x for x in node.inputs if x.shape == node.shape] or list(node.inputs)
        first, *rest = (self._orders[x] for x in operands)
        return first if all(_same(first, each, node.shape) for each in rest) else node.name

    def _after_concat(self, node: Node) -> Order:
        orders = [self._orders[x] for x in node.inputs]
        if any(isinstance(order, str) for order in orders):
            return node.name
        if len(node.shape) == 1:
            sizes = [x.shape[0] for x in node.inputs]
            if not all(isinstance(size, int) for size in sizes):
                return node.name
            starts = np.cumsum([0, *sizes[:-1]])
            parts = (_spread(x.shape, order) for x, order in zip(node.inputs, orders, strict=True))
            return _named(np.concatenate([part + start for part, start in zip(parts, starts, strict=True)]), node.shape)
        telling = [order for x, order in zip(node.inputs, orders, strict=True) if _matters(x.shape)] or orders[:1]
        same = all(isinstance(order, bool) and order == telling[0] for order in telling)
        return telling[0] if same else node.name

    # --- permutations of weights ---

    def permutations(self) -> dict[str, Permute]:
        """Return the permutations of weights whose order differs, by name. Raises OrderUnknown."""
        permutations: dict[str, tuple[Array | None, Array | None]] = {}
        for node in self._net.nodes:
            if not node.parameters or self._roles[node] == "map":
                continue
            columns, rows, dense = self._columns(node), None, self._roles[node] == "dense"
            if dense and (after := self._orders[node]) is not False:
                rows = _spread(node.shape, after)
            elif not dense and node.layer.kind not in ON_FLAT and columns is not None:
                raise self._unknown(node, node.name)
            for parameter in node.parameters.values():
                vector = rows if dense else columns if parameter.shape != (1,) else None
                turn = (rows, columns) if len(parameter.shape) == 2 else (vector, None)
                known = permutations.setdefault(parameter.name, turn)
                if any(not _are_equal(a, b) for a, b in zip(known, turn, strict=True)):
                    raise self._unknown(node, node.name)
        return {name: _turn(*turn) for name, turn in permutations.items() if any(part is not None for part in turn)}

    def _columns(self, node: Node) -> Array | None:
        """Return, for each element that a layer reads, its index in Keras's order; None if the order is the same."""
        (x,) = node.inputs
        order, layer = self._orders[x], self._layer(node)
        way = self._graph.way_to(layer) if self._graph is not None and layer is not None else Path()
        base = self._base(x)
        if x in self._maps:
            if way.unknown:
                raise self._unknown(node, way.unknown)
            if not way.layouts <= {LAST if self._last[base] else FIRST}:
                if self._flipped or len(way.layouts) > 1:
                    raise self._unknown(node, node.name)
                return _Orders(self._net, self._model, self._layer_of, flipped=True)._columns(node)
        if isinstance(order, str):
            raise self._unknown(node, order)
        places = _spread(x.shape, order)
        if way.reorders:
            places = np.argsort(self._arrivals(node, way, base))[places]
        return None if np.array_equal(places, np.arange(places.size)) else places

    def _arrivals(self, node: Node, way: Path, base: Node) -> Array:
        order = self._orders.get(base, False)
        try:
            if len(base.shape) > 1 and not isinstance(order, bool):
                raise ValueError("not a map in one layout")
            return way.arrivals(_in_keras(base.shape, last=order is True))
        except (TypeError, ValueError, OverflowError):
            raise self._unknown(node, node.name) from None

    def _unknown(self, node: Node, because: str) -> OrderUnknown:
        """Return the error for a node. `because` is the layer, of the net or in Keras, that makes the order unknown."""
        foreign = self._graph is not None and because in self._graph.steps and because != node.name
        reason = f", because of `{because}`" if because != node.name else ""
        return OrderUnknown(
            f"`{node.name}`: the order of its elements in the Keras model is unknown{reason}",
            "if that layer keeps the order, `model.save_weights('model.weights.h5')` saves the weights without it"
            if foreign
            else "save the weights in this net's order, as .npz",
        )


def _are_equal(a: Array | None, b: Array | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def _in_keras(shape: Shape, *, last: bool) -> tuple[Any, ...]:
    return (*shape[1:], shape[0]) if last else tuple(shape)


def _agree(ours: tuple[Any, ...], keras: list[Any]) -> bool:
    """Return whether two shapes can be equal, apart from axes of size 1 and unknown sizes."""
    a, b = ([size for size in sizes if size != 1] for sizes in (ours, keras))
    return len(a) == len(b) and all(
        x == y or not isinstance(x, int) or not isinstance(y, int) for x, y in zip(a, b, strict=True)
    )


def _turn(rows: Array | None, columns: Array | None) -> Permute:
    def turn(array: Array) -> Array:
        array = array if rows is None else array[rows]
        return array if columns is None else array[:, columns]

    return turn
