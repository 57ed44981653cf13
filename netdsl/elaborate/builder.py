"""Collects a net's nodes, weights and outputs while it is elaborated, and gives the net of what reaches an output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.name_problems import DeadValue, WeightTwice
from netdsl.diagnostics.problem import Rejected
from netdsl.diagnostics.shape_problems import TooLarge
from netdsl.ir.net import Node, Output, Parameter
from netdsl.limits import LAYERS, PARAMETERS, ROUNDS

if TYPE_CHECKING:
    from netdsl.diagnostics.report import Report
    from netdsl.layers.base import Layer, Weight
    from netdsl.syntax import ast
    from netdsl.text import Frame, Span


class Builder:
    """What a net has so far.

    `active` holds the blocks that are being expanded, `training` the indices of the nodes in training heads, `counted`
    the weights outside of those, running statistics apart.
    """

    __slots__ = (
        "about",
        "active",
        "counted",
        "inputs",
        "labels",
        "nodes",
        "outputs",
        "owners",
        "parameters",
        "report",
        "rounds",
        "sizes",
        "training",
    )

    def __init__(self, report: Report) -> None:
        self.report = report
        self.nodes: list[Node] = []
        self.training: set[int] = set()
        self.inputs: list[Node] = []
        self.outputs: dict[str, Output] = {}
        self.parameters: dict[str, Parameter] = {}
        self.owners: dict[str, Node] = {}
        self.active: dict[ast.Block, Span] = {}
        self.labels: dict[str, Span] = {}
        self.about: dict[str, object] = {}
        self.counted = 0
        self.rounds = 0
        self.sizes = 0

    def node(
        self,
        layer: Layer,
        inputs: tuple[Node, ...],
        name: str,
        span: Span,
        frame: Frame | None,
        *,
        weights_of: str | None = None,
        frozen: bool = False,
        training: bool = False,
    ) -> Node:
        """Apply a layer. `weights_of` names the node whose weights it shares. Raises Misfit or Rejected."""
        shape, weights = layer.rules(tuple([x.shape for x in inputs]))
        node = Node(layer, inputs, shape, name, {}, span, frame)
        for weight in weights:
            node.parameters[weight.name] = self._parameter(node, weight, weights_of, frozen, training)
        if len(self.nodes) >= LAYERS:
            raise Rejected(TooLarge(span=span, frame=frame, what="layers", count=len(self.nodes) + 1, limit=LAYERS))
        if training:
            self.training.add(len(self.nodes))
        self.nodes.append(node)
        return node

    def _parameter(self, node: Node, weight: Weight, weights_of: str | None, frozen: bool, training: bool) -> Parameter:
        name = f"{weights_of or node.name}.{weight.name}"
        earlier = self.parameters.get(name)
        if earlier is not None:
            if weights_of and earlier.shape == weight.shape:
                return earlier
            raise Rejected(
                WeightTwice(
                    span=node.span,
                    frame=node.frame,
                    name=name,
                    earlier=self.owners[name].span,
                    shape=weight.shape,
                    other=earlier.shape,
                    shared=weights_of is not None,
                )
            )
        parameter = self.parameters[name] = Parameter(
            name,
            weight.shape,
            weight.init,
            fan_in=weight.fan_in,
            fan_out=weight.fan_out,
            buffer=weight.buffer,
            trainable=not frozen,
        )
        self.owners[name] = node
        size = 1
        for side in weight.shape:
            size *= side
        self.sizes += size
        if not weight.buffer and not training:
            self.counted += size
        if self.sizes > PARAMETERS:
            raise Rejected(
                TooLarge(span=node.span, frame=node.frame, what="weights", count=self.sizes, limit=PARAMETERS)
            )
        return parameter

    def round(self, span: Span, frame: Frame | None, count: int = 1) -> None:
        """Account for rounds of loops and block calls before they are expanded."""
        self.rounds += count
        if self.rounds > ROUNDS:
            raise Rejected(
                TooLarge(span=span, frame=frame, what="rounds and block calls", count=self.rounds, limit=ROUNDS)
            )

    def macs(self, start: int) -> int:
        """Multiply-accumulates of the nodes from an index on, those of training heads apart, for a batch of one."""
        from netdsl.lower import node_macs

        return sum(node_macs(node) for at, node in enumerate(self.nodes[start:], start) if at not in self.training)

    def live(self) -> list[Node]:
        """The nodes that reach an output, in the order of the source; a warning for each value that does not."""
        wanted = {id(output.node) for output in self.outputs.values()}
        read = set(wanted)
        for node in reversed(self.nodes):
            read.update(map(id, node.inputs))
            if id(node) in wanted:
                wanted.update(map(id, node.inputs))
        for node in self.nodes:
            if id(node) not in read:
                self.report.add(DeadValue(span=node.span, frame=node.frame, name=node.name, shape=node.shape))
        return [node for node in self.nodes if id(node) in wanted or node.layer.kind == "input"]
