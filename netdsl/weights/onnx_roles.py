"""Determine which constants of an ONNX graph are weights, of which layers, and in which orientation.

The orientation follows from the node that uses a weight, never from its shape: MatMul multiplies by [in, out], Gemm by
[in, out] or [out, in], and a Transpose in between swaps the axes again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.weights.file import MAX_AXES
from netdsl.weights.onnx_graph import Derived, ValueInfo, axes_of, derived

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.weights.onnx_graph import GraphNode

    Constants = Mapping[int, Derived]

NOT_WEIGHTS: dict[str, frozenset[int]] = {
    "Clip": frozenset({1, 2}),
    "DequantizeLinear": frozenset({1, 2}),
    "Dropout": frozenset({1, 2}),
    "Gather": frozenset({1}),
    "Pad": frozenset({1, 2, 3}),
    "Pow": frozenset({1}),
    "QuantizeLinear": frozenset({1, 2}),
    "Reshape": frozenset({1}),
    "Resize": frozenset({1, 2, 3}),
    "Upsample": frozenset({1}),
}
"""Inputs, by index, that configure an operator and are not weights."""

_SAME_LAYOUT = (
    "Abs AveragePool BatchNormalization Cast Celu Clip DequantizeLinear Dropout Elu Erf Exp Gelu GlobalAveragePool "
    "GlobalMaxPool GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LRN LayerNormalization "
    "LeakyRelu Log LogSoftmax RMSNormalization Shrink "
    "LpNormalization LpPool MaxPool Mish Neg PRelu Pad Pow QuantizeLinear Reciprocal Relu "
    "Resize Round Selu Sigmoid Softmax Softplus Softsign Sqrt Tanh ThresholdedRelu Upsample"
)
SAME_LAYOUT = frozenset(_SAME_LAYOUT.split())
"""Operators whose result has the layout of their first input."""

BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Mean", "Concat", "Where"})
NORM_ROLES = {
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
    "InstanceNormalization": ("weight", "bias"),
    "GroupNormalization": ("weight", "bias"),
    "LayerNormalization": ("weight", "bias"),
    "RMSNormalization": ("weight",),
}
LAYER_KINDS = {
    "BatchNormalization": ("bn",),
    "Conv": ("conv", "dwconv", "linear"),
    "ConvTranspose": ("deconv",),
    "Gather": ("embedding",),
    "Gemm": ("dense", "linear", "conv"),
    "GroupNormalization": ("groupnorm",),
    "InstanceNormalization": ("instancenorm", "groupnorm"),
    "LayerNormalization": ("layernorm",),
    "MatMul": ("dense", "linear", "conv"),
    "Mul": ("layernorm", "rmsnorm", "groupnorm", "instancenorm"),
    "PRelu": ("prelu",),
    "RMSNormalization": ("rmsnorm",),
}
"""Layers that the weights of an operator can belong to. Add is not listed: any layer can have a bias."""

FLAT = "reads a map that was flattened with its channels last"
ASIDE = "does not run along the channels"
MAX_MAKERS = 16


class TensorUse:
    """A use of a tensor by a node: the `constant` in netdsl's layout, its role (`word`), and the index of its `layer`.

    `unclear` is the reason if the role or the orientation cannot be determined. `channels` is the number of channels of
    the feature map that a dense weight reads flattened with channels last, otherwise 0.
    """

    __slots__ = ("channels", "constant", "epsilon", "layer", "op", "unclear", "word")

    def __init__(self, constant: Derived, op: str, word: str, layer: int, *, unclear: str = "") -> None:
        self.constant = constant
        self.op = op
        self.word = word
        self.layer = layer
        self.unclear = unclear
        self.channels = 0
        self.epsilon: float | None = None


class Roles:
    """Collects the uses of a graph's constants, node by node.

    `constants` are the tensors by name, and `of_node` returns that of a Constant node; `is_all(constant, number)` is
    whether all elements equal the number. `passed` names the tensors that are used, but are not weights.
    """

    def __init__(
        self,
        constants: dict[str, Derived],
        ranks: Mapping[str, int],
        of_node: Callable[[GraphNode], Derived | None],
        is_all: Callable[[Derived, float], bool],
    ) -> None:
        self._constants = constants
        self._infos = {name: ValueInfo(rank) for name, rank in ranks.items()}
        self._of_node = of_node
        self._is_all = is_all
        self._open: dict[str, int] = {}
        self._shape_of: dict[str, str] = {}
        self._reshaped: set[str] = set()
        self._grouped: dict[str, tuple[int, float]] = {}
        self._epsilons: dict[str, float] = {}
        self._by_layer: list[list[TensorUse]] = []
        self._refused: set[int] = set()
        self.passed: set[str] = set()

    @property
    def uses(self) -> list[TensorUse]:
        """All uses, layer by layer."""
        return [use for uses in self._by_layer for use in uses]

    def read(self, node: GraphNode) -> None:
        """Record the constants that a node uses, and the layout of its output."""
        if not node.outputs:
            return
        if node.op == "Constant":
            if (made := self._of_node(node)) is not None:
                self._constants[node.outputs[0]] = made
            return
        given = {slot: self._constants[name] for slot, name in enumerate(node.inputs) if name in self._constants}
        if (follows := derived(node, given)) is not None:
            self._constants[node.outputs[0]] = follows
            self._pass_over(node, given)
            return
        self._pass_over(node, given)
        weights = {slot: each for slot, each in given.items() if slot not in NOT_WEIGHTS.get(node.op, ())}
        info = self._info(node, given)
        if weights:
            info = _RULES.get(node.op, Roles._unknown)(self, node, weights, info)
        elif node.op == "Gemm":
            info = ValueInfo(2)
        elif node.op in ("Identity", "Cast", "Reshape") and node.inputs[0] in self._open:
            self._open[node.outputs[0]] = self._open[node.inputs[0]]
        known = self._infos.get(node.outputs[0])
        if info.rank is None and known is not None:
            info.rank = known.rank
        self._infos[node.outputs[0]] = info

    def _pass_over(self, node: GraphNode, given: Constants) -> None:
        self.passed.update(given[slot].root for slot in NOT_WEIGHTS.get(node.op, ()) if slot in given)

    def _use(self, constant: Derived, node: GraphNode, word: str, layer: int, unclear: str = "") -> TensorUse:
        use = TensorUse(constant, node.op, word, layer, unclear=unclear)
        self._by_layer[layer].append(use)
        return use

    def _new_layer(self) -> int:
        self._by_layer.append([])
        return len(self._by_layer) - 1

    def _unknown(self, node: GraphNode, weights: Constants, info: ValueInfo) -> ValueInfo:
        for constant in weights.values():
            self._use(constant, node, "", self._new_layer(), f"is used by a node {node.op}")
        return info

    # --- layouts ---

    def _info(self, node: GraphNode, given: Constants) -> ValueInfo:
        """Return the layout of a node's result, as far as it does not depend on weights."""
        infos = [self._infos.get(name, ValueInfo()) for slot, name in enumerate(node.inputs) if slot not in given]
        first = infos[0] if infos else ValueInfo()
        if node.op == "Transpose":
            perm = node.integers("perm")
            if first.spread and perm is not None and perm != sorted(perm):
                self._refuse(first.makers, "has outputs that are reshaped and then transposed")
            return first.transposed(perm)
        if node.op == "Flatten":
            return first.reshaped([0, -1])
        if node.op == "Shape":
            self._shape_of[node.outputs[0]] = node.inputs[0]
        if node.op == "Reshape":
            self._group_norm(node)
            if node.inputs[-1] in self._shape_of:
                return self._infos.get(self._shape_of[node.inputs[-1]], ValueInfo())
            return first.reshaped(node.integers("shape") or (given[1].values if 1 in given else None))
        if node.op.startswith("Reduce"):
            return _reduced(first, node, given)
        if node.op in BINARY:
            return _together(infos, node.op == "Concat")
        if node.op in SAME_LAYOUT:
            return first
        if node.op == "Gather" and 0 in given:
            rank = None if first.rank is None or first.rank > MAX_AXES else first.rank + 1
            return ValueInfo(rank, 0, given[0].shape[-1] if given[0].shape else 0)
        return ValueInfo()

    def _group_norm(self, node: GraphNode) -> None:
        """Recognize a group normalization that is exported as Reshape, InstanceNormalization and Reshape.

        The weights of the InstanceNormalization are all ones and zeros, and are ignored; the actual ones follow as Mul
        and Add.
        """
        source, output = node.inputs[0], node.outputs[0]
        self._reshaped.add(output)
        if source in self._grouped:
            layer, epsilon = self._grouped[source]
            factors = self._by_layer[layer]
            if all(self._is_all(use.constant, use.word == "weight") for use in factors):
                self.passed.update(use.constant.root for use in factors)
                self._by_layer[layer] = []
                self._epsilons[output] = epsilon

    def _refuse(self, layers: tuple[int, ...], why: str) -> None:
        for layer in set(layers) - self._refused:
            for use in self._by_layer[layer]:
                use.unclear = use.unclear or why
        self._refused.update(layers)

    # --- operators with weights ---

    def _linear(self, node: GraphNode, weights: Constants, info: ValueInfo) -> ValueInfo:
        """Record the weights of a MatMul, or of a Gemm: alpha A' B' + beta C, A and B optionally transposed."""
        layer = self._new_layer()
        gemm = node.op == "Gemm"
        sides = [slot for slot in (0, 1) if slot in weights]
        x = (
            self._infos.get(node.inputs[1 - sides[0]], ValueInfo())
            if len(sides) == 1 and len(node.inputs) > 1
            else ValueInfo()
        )
        left = sides == [0]
        unclear = "is multiplied by another constant" if len(sides) > 1 else ""
        size = None
        for slot in sides:
            found = weights[slot]
            why = unclear or ("" if len(found.shape) == 2 else f"is multiplied as {len(found.shape)}-dimensional")
            if not why:
                as_it_is = (not node.integer("transA", 0) if left else node.integer("transB", 0)) if gemm else left
                turned = found if as_it_is else found.turned([1, 0])
                turned = _scaled(turned, node.number("alpha", 1.0)) if gemm else turned
                found, why = (turned, "") if turned is not None else (found, "is changed too often")
                size = found.shape[0]
            use = self._use(found, node, "weight", layer, why)
            if x.order and found.shape[-1] != x.size:
                use.channels = (x.size or 0) if x.order == "last" else 0
                use.unclear = use.unclear or ("" if use.channels else "reads a map that was transposed and flattened")
        rank = 2 if gemm else x.rank
        channel = (1 if left else 0) if sides else None
        flat = rank in (2, None) and not left and bool(sides)
        made = ValueInfo(rank, channel, size, makers=(layer,) if flat else ())
        if gemm and 2 in weights:
            self._along(weights[2], node, "bias", layer, made, scale=node.number("beta", 1.0))
        elif len(sides) == 1 and not (gemm and len(node.inputs) > 2 and node.inputs[2]):
            self._open[node.outputs[0]] = layer
        return made

    def _convolution(self, node: GraphNode, weights: Constants, info: ValueInfo) -> ValueInfo:
        layer = self._new_layer()
        made = ValueInfo()
        if 1 in weights:
            shape = weights[1].shape
            x = self._infos.get(node.inputs[0], ValueInfo())
            why = "is of too few axes" if len(shape) < 3 else FLAT if x.order and shape[1] != x.size else ""
            self._use(weights[1], node, "weight", layer, why)
            if len(shape) > 2:
                size = shape[0] if node.op == "Conv" else shape[1] * node.integer("group", 1)
                made = ValueInfo(len(shape), len(shape) - 2, size)
        if 2 in weights:
            self._use(weights[2], node, "bias", layer, "" if len(weights[2].shape) == 1 else "is no vector")
        elif 1 in weights and not any(node.inputs[2:]):
            self._open[node.outputs[0]] = layer
        self._unknown(node, {slot: each for slot, each in weights.items() if slot not in (1, 2)}, info)
        return made

    def _norm(self, node: GraphNode, weights: Constants, info: ValueInfo) -> ValueInfo:
        """Record the weights of a normalization, along the last axis (LayerNormalization) or the second."""
        layer = self._new_layer()
        words = NORM_ROLES[node.op]
        last = node.op in ("LayerNormalization", "RMSNormalization")
        axis = 0 if last else None if info.rank is None else info.rank - 2
        moved = info.channel is not None and axis is not None and info.channel != axis
        why = ASIDE if moved else FLAT if info.order else ""
        for slot, constant in weights.items():
            if not 0 < slot <= len(words):
                self._unknown(node, {slot: constant}, info)
                continue
            flat = _squeezed(constant) if last else constant
            alone = why or ("" if flat is not None and len(flat.shape) == 1 else "is no vector")
            use = self._use(flat or constant, node, words[slot - 1], layer, alone)
            use.epsilon = node.number("epsilon", 1e-5)
        if node.op == "InstanceNormalization" and node.inputs[0] in self._reshaped:
            self._grouped[node.outputs[0]] = layer, node.number("epsilon", 1e-5)
        rank, channel = info.rank, 0 if last else axis
        makers = _joined(info.makers, layer)
        return ValueInfo(rank, channel, info.size, axes=info.axes, order=info.order, makers=makers, spread=info.spread)

    def _elementwise(self, node: GraphNode, weights: Constants, info: ValueInfo) -> ValueInfo:
        """Record a bias that is added, for the layer before it, or a factor, which begins a layer."""
        dynamic = [name for slot, name in enumerate(node.inputs) if slot not in weights]
        if len(weights) > 1 or len(dynamic) != 1:
            return self._unknown(node, weights, info)
        (constant,) = weights.values()
        before = self._open.get(dynamic[0]) if node.op == "Add" else None
        layer = self._new_layer() if before is None else before
        use = self._along(constant, node, "bias" if node.op == "Add" else "weight", layer, info)
        use.epsilon = self._epsilons.get(dynamic[0])
        if node.op == "Mul":
            self._open[node.outputs[0]] = layer
        found = ValueInfo(info.rank, info.channel, info.size, axes=info.axes, order=info.order, spread=info.spread)
        found.makers = _joined(info.makers, layer)
        return found

    def _slopes(self, node: GraphNode, weights: Constants, info: ValueInfo) -> ValueInfo:
        if list(weights) != [1]:
            return self._unknown(node, weights, info)
        return self._elementwise(node, weights, info)

    def _along(
        self, constant: Derived, node: GraphNode, word: str, layer: int, info: ValueInfo, *, scale: float = 1.0
    ) -> TensorUse:
        """Record a broadcast tensor. It must be a vector along the channels, besides axes of size 1."""
        axes = [axis for axis, size in enumerate(constant.shape) if size != 1]
        found = _squeezed(constant)
        why = ""
        if len(axes) > 1 or found is None:
            found, why = None, "has several axes that are broadcast"
        elif axes and (len(constant.shape) - 1 - axes[0] != info.axis):
            why = (
                "does not run along the channels"
                if info.axis is not None
                else "is broadcast to a value of unknown rank"
            )
        elif axes and info.order:
            why = FLAT
        found = None if found is None else _scaled(found, scale)
        return self._use(found or constant, node, word, layer, why or ("" if found else "is changed too often"))

    def _embedding(self, node: GraphNode, weights: Constants, info: ValueInfo) -> ValueInfo:
        table = weights[0]
        axis = node.integer("axis", 0)
        why = "" if len(table.shape) == 2 and axis in (0, -2) else f"is gathered along axis {axis}"
        self._use(table, node, "weight", self._new_layer(), why)
        return info


def _scaled(constant: Derived | None, factor: float) -> Derived | None:
    if constant is None or factor == 1:
        return constant
    return constant.after(constant.shape, ("scale", factor))


def _squeezed(constant: Derived) -> Derived | None:
    """Return a constant as a vector, without axes of size 1; None if several axes remain."""
    sizes = [size for size in constant.shape if size != 1]
    return constant.reshaped(tuple(sizes) or (1,)) if len(sizes) < 2 else None


def _joined(makers: tuple[int, ...], layer: int) -> tuple[int, ...]:
    return (*makers, layer) if makers and len(makers) < MAX_MAKERS and layer not in makers else makers


def _together(infos: list[ValueInfo], is_concat: bool) -> ValueInfo:
    """Return the layout of the result of an elementwise operator with broadcasting, or of Concat."""
    ranks = [info.rank for info in infos]
    known = [rank for rank in ranks if rank is not None]
    rank = max(known) if len(known) == len(ranks) and known else None
    largest = [info for info in infos if info.rank == rank]
    channels = {info.channel for info in (infos if rank is None else largest)}
    if rank is not None:
        channels.discard(None)
    orders = {info.order for info in infos}
    first = largest[0] if largest else ValueInfo()
    return ValueInfo(
        rank,
        channels.pop() if len(channels) == 1 else None,
        None if is_concat else first.size,
        axes=first.axes,
        order=orders.pop() if len(orders) == 1 else "mixed",
        makers=first.makers,
        spread=any(info.spread for info in infos),
    )


def _reduced(info: ValueInfo, node: GraphNode, given: Constants) -> ValueInfo:
    if node.integer("keepdims", 1):
        return info
    axes = axes_of(node, given)
    if info.rank is None or axes is None:
        return ValueInfo()
    gone = {axis % info.rank for axis in axes}
    channel = info.axis
    at = None if channel is None else info.rank - 1 - channel
    rank = info.rank - len(gone)
    if at is None or at in gone:
        return ValueInfo(rank)
    return ValueInfo(rank, sum(axis not in gone for axis in range(at + 1, info.rank)), info.size)


_RULES: dict[str, Callable[[Roles, GraphNode, Constants, ValueInfo], ValueInfo]] = {
    "Gemm": Roles._linear,
    "MatMul": Roles._linear,
    "Conv": Roles._convolution,
    "ConvTranspose": Roles._convolution,
    "Add": Roles._elementwise,
    "Mul": Roles._elementwise,
    "PRelu": Roles._slopes,
    "Gather": Roles._embedding,
    **dict.fromkeys(NORM_ROLES, Roles._norm),
}
