"""Find which nodes of a model each kernel computes, after onnxruntime's optimizer fused, reordered and inserted nodes.

The optimizer drops all metadata of nodes, so that names are what is left: the name of a kernel contains that of a node,
its anchor, and values that were not fused away keep their names. Each node has exactly one owner, the kernel that
computes it:

1. A kernel owns its anchor if both have the same operator, and otherwise the anchor's nearest ancestor that has, if no
   other kernel owns what is between: `Conv`, `BatchNormalization` and `Relu` become a `Conv` that is named after the
   `Relu`. It also owns the nodes whose results are its outputs.
2. Any other node belongs to that owner among those of its inputs that runs last: a sum fused into the second of two
   convolutions belongs to this one.
3. A node whose inputs have no owner, because they are constants, belongs to the first kernel that reads its result.

A kernel whose name has an unknown form has no anchor. If its outputs do not tell what it computes either, it owns
nothing, and is shown as unknown.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from netdsl.profiling.model_nodes import ModelNode

FORMS = (
    r"(.+)_nchwc",  # in the blocked layout
    r"(.+)_bn",  # a batch normalization as a depthwise convolution
    r"fused (.+)",  # with the activation after it
    r"(.+?)/\w*Fusion\w*/?",  # several nodes at once
    r"(.+)_token_\d+",  # made unique
    r"(.+)_new_reshape",
    r"(.+)_transposed",
    r"(.+)_quant",
    r"(.+)_q",  # with the number that ends it as an input
    r"(.+)/duplicated",  # a conversion from integers, for each of its readers
    r"InsertedPrecisionFreeCast_(.+)",  # in single precision
)
"""How onnxruntime derives the name of a node from that of another node or value, as patterns."""

LAYOUT = frozenset({"ReorderInput", "ReorderOutput"})
"""Operators that convert a value to the blocked layout and back."""

INSERTED = re.compile(r"(Transpose|Squeeze|Unsqueeze|QuantizeLinear|DequantizeLinear)(_token_\d+)?")
"""Names of the nodes that onnxruntime inserts when it moves transpositions, also past conversions to integers."""

FUNCTION = re.compile(r"(?:InsertedPrecisionFreeCast_)?_inlfunc_([A-Za-z]+)_.+")
"""Names of the nodes that an operator without a kernel of its own becomes, such as a Softmax in half precision."""

CAST = "InsertedPrecisionFreeCast_"
"""Prefix of the names of conversions between half and single precision that onnxruntime inserts."""

PREFIXES = re.compile(r"^(Fused|Nhwc|NhwcFused|QLinear|Q(?=Gemm))(?=[A-Z])")
"""What distinguishes the names of onnxruntime's own operators from those of ONNX that they compute."""


class RunNode:
    """A node that ran, in the order of execution: its name, operator and, if they are known, values."""

    __slots__ = ("inputs", "name", "op", "outputs")

    def __init__(self, name: str, op: str, inputs: Iterable[str] = (), outputs: Iterable[str] = ()) -> None:
        self.name = name
        self.op = op
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)

    def __repr__(self) -> str:
        return f"<{self.op} {self.name}>"


class Owned:
    """What a kernel computes: its `main` node, which costs most, and all nodes that it owns; `layout` is set if it only
    converts a value, of the nodes that it is attributed to. Without a main node, the kernel is unknown."""

    __slots__ = ("layout", "main", "nodes")

    def __init__(self, main: ModelNode | None = None, *, layout: bool = False) -> None:
        self.main = main
        self.nodes: list[ModelNode] = []
        self.layout = layout


def base_names(name: str) -> list[str]:
    """Return a name and those that onnxruntime can have derived it from, the longest first.

    >>> base_names("norm0_bn_nchwc")
    ['norm0_bn_nchwc', 'norm0_bn', 'norm0']
    """
    found = [name]
    for each in found:
        for form in FORMS:
            if (match := re.fullmatch(form, each)) and match[1] not in found:
                found.append(match[1])
    return found


def operator(op: str) -> str:
    """Return the operator of ONNX that one of onnxruntime's own is a form of: `Conv` of `FusedConv`."""
    return PREFIXES.sub("", op)


class Attribution:
    """The owners of a model's nodes. `owned` has an entry for each kernel, `owner` the number of the kernel of each
    node."""

    __slots__ = ("_by_name", "_maker", "_nodes", "_readers", "_run", "owned", "owner")

    def __init__(self, nodes: Sequence[ModelNode], run: Sequence[RunNode]) -> None:
        self._nodes = nodes
        self._run = run
        self._by_name = {node.name: node for node in nodes}
        self._maker = {value: node for node in nodes for value in node.outputs}
        self._readers: dict[str, list[ModelNode]] = {}
        for node in nodes:
            for value in node.inputs:
                self._readers.setdefault(value, []).append(node)
        self.owned = [Owned(layout=self._is_conversion(kernel)) for kernel in run]
        self.owner: dict[ModelNode, int] = {}
        anchors = [None if owned.layout else self._anchor(at) for at, owned in enumerate(self.owned)]
        self._own_anchors(anchors)
        self._own_outputs()
        self._own_ancestors(anchors)
        for node, at in self.owner.items():  # a kernel without an anchor is known by its result
            self.owned[at].main = self.owned[at].main or node
        self._place_parts()
        self._own_rest()
        for node in nodes:
            if node in self.owner:
                self.owned[self.owner[node]].nodes.append(node)
        self._place_conversions()

    def _is_conversion(self, kernel: RunNode) -> bool:
        """Return whether a kernel only converts a value to another layout or precision, and is no node's."""
        inserted = INSERTED.fullmatch(kernel.name) and kernel.name not in self._by_name
        return kernel.op in LAYOUT or (kernel.op == "Cast" and kernel.name.startswith(CAST)) or bool(inserted)

    def _anchor(self, at: int) -> ModelNode | None:
        for name in base_names(self._run[at].name):
            found = self._by_name.get(name) or self._maker.get(name)
            if found is not None:
                return found
        return None

    def _own_anchors(self, anchors: list[ModelNode | None]) -> None:
        named = [(at, anchor) for at, anchor in enumerate(anchors) if anchor is not None]
        named.sort(key=lambda pair: self._run[pair[0]].name != pair[1].name)  # before copies of a node, the node itself
        for at, anchor in named:
            if anchor.op == operator(self._run[at].op) and anchor not in self.owner:
                self.owner[anchor] = at
                self.owned[at].main = anchor

    def _own_outputs(self) -> None:
        """Give each kernel the nodes whose results are its outputs, directly or after conversions."""
        converted = {
            value: kernel.inputs[0]
            for kernel, owned in zip(self._run, self.owned, strict=True)
            if owned.layout and kernel.inputs
            for value in kernel.outputs
        }
        made = {value: at for at, kernel in enumerate(self._run) for value in kernel.outputs}
        for value in made:
            source = value
            while source in converted:
                source = converted[source]
            node = self._maker.get(value)
            if node is not None and source in made:
                self.owner.setdefault(node, made[source])

    def _own_ancestors(self, anchors: list[ModelNode | None]) -> None:
        for at, anchor in enumerate(anchors):
            if anchor is not None and self.owned[at].main is None:
                main = self._nearest(anchor, at) or anchor
                self.owner.setdefault(main, at)
                self.owned[at].main = main

    def _nearest(self, anchor: ModelNode, at: int) -> ModelNode | None:
        """Return the nearest node with the operator of a kernel among the anchor and its ancestors, up to those that
        other kernels own."""
        op = operator(self._run[at].op)
        todo, seen = deque([anchor]), {anchor}
        while todo:
            node = todo.popleft()
            if node.op == op:
                return node
            for before in filter(None, map(self._maker.get, node.inputs)):
                if before not in seen and self.owner.get(before, at) == at:
                    todo.append(before)
                seen.add(before)
        return None

    def _own_rest(self) -> None:
        for node in self._nodes:
            if node not in self.owner:
                before = [self.owner[x] for x in map(self._maker.get, node.inputs) if x in self.owner]
                if before:
                    self.owner[node] = max(before)
        for node in reversed(self._nodes):
            if node not in self.owner:
                readers = [x for value in node.outputs for x in self._readers.get(value, ())]
                after = [self.owner[x] for x in readers if x in self.owner]
                if after:
                    self.owner[node] = min(after)

    def _place_parts(self) -> None:
        """Attribute the parts of an operator that has no kernel of its own to the operator, whose result is that of the
        last part."""
        reads = self._first_readers()
        for at in reversed(range(len(self._run))):
            part = FUNCTION.fullmatch(self._run[at].name)
            if part is None or self.owned[at].main is not None:
                continue
            after = (self.owned[reads[value]].main for value in self._run[at].outputs if value in reads)
            self.owned[at].main = next((main for main in after if main is not None and main.op == part[1]), None)

    def _first_readers(self) -> dict[str, int]:
        """Return the kernel that reads a value first."""
        found: dict[str, int] = {}
        for at, kernel in enumerate(self._run):
            for value in kernel.inputs:
                found.setdefault(value, at)
        return found

    def _place_conversions(self) -> None:
        """Attribute a conversion to the kernel whose result it converts back, or else which reads its result. In a
        chain, some have only conversions there, and belong to the nearest kernel on the other side."""
        made = {value: at for at, kernel in enumerate(self._run) for value in kernel.outputs}
        reads = self._first_readers()
        waiting = [at for at, owned in enumerate(self.owned) if owned.layout]
        for other in (False, True):
            for at in (*waiting, *reversed(waiting)):  # some convert the results of others
                kernel, owned = self._run[at], self.owned[at]
                if owned.main is None:
                    before = [self.owned[made[value]].main for value in kernel.inputs if value in made]
                    after = [self.owned[reads[value]].main for value in kernel.outputs if value in reads]
                    back = any(value in self._maker for value in kernel.outputs)
                    near, far = (before, after) if back else (after, before)
                    owned.main = next(filter(None, near[:1] + far[:1] * other), None)
