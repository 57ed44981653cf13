"""Collect the nodes, weights and outputs of a net during elaboration, and return the part that reaches an output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.limits import LAYERS, PARAMETERS, ROUNDS
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit, Rejected
from netdsl.diagnostics.report import LAYER
from netdsl.ir.net import Node, Output, Parameter, Parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.base.text import Frame, Span
    from netdsl.diagnostics.problem import Problem
    from netdsl.diagnostics.report import Report
    from netdsl.elaborate.context import Context, Poison
    from netdsl.layers.base import Layer, Weight
    from netdsl.syntax import ast

    Observer = Callable[[ast.Stmt, Context], None]

NONE: Mapping[str, Parameter] = {}
USUAL_WEIGHTS = 8
"""Maximum number of weights of a layer whose work does not depend on it."""


class Expansion:
    """A block or net that is being expanded, with the context of its body; `part` for a net in another net."""

    __slots__ = ("context", "definition", "part")

    def __init__(self, definition: ast.Block | ast.Net, context: Context, part: Part | None = None) -> None:
        self.definition = definition
        self.context = context
        self.part = part


class Part:
    """A net that is being expanded in another net.

    `feeds` are the values of its inputs that are not declared yet, `cut` is the path, with all scopes, of the value to
    end at, empty for none. `call` is the head of the call, `given` the number of values that it passes.
    """

    __slots__ = ("call", "cut", "feeds", "given", "outputs")

    def __init__(self, call: Span, cut: str, feeds: list[Node | Poison]) -> None:
        self.call = call
        self.cut = cut
        self.feeds = list(feeds)
        self.given = len(feeds)
        self.outputs: dict[str, Output] = {}


class Reached(Exception):
    """The end of a net in another net, with its value."""

    def __init__(self, part: Part, node: Node | Poison) -> None:
        super().__init__(part.cut)
        self.part = part
        self.node = node


class NetBuilder:
    """The net under construction.

    `active` are the net and the blocks being expanded, the innermost last, `parts` the ranges of nodes in other nets,
    `training` the indices of the nodes in training heads, `counted` the weights outside of them, without running
    statistics. `labels` has the first use of each label, `label_paths` the names with scopes of all. `failed` is set if
    something may be missing; `cut` has the number of nodes before the first such place, and the place. `observer` is
    called after each statement with its context, whose value is then that of the statement.
    """

    __slots__ = (
        "about",
        "active",
        "counted",
        "cut",
        "failed",
        "inputs",
        "label_paths",
        "labels",
        "nodes",
        "observer",
        "outputs",
        "owners",
        "parts",
        "report",
        "rounds",
        "sizes",
        "training",
    )

    def __init__(self, report: Report, observer: Observer | None = None) -> None:
        self.report = report
        self.observer = observer
        self.nodes: list[Node] = []
        self.training: set[int] = set()
        self.inputs: list[Node] = []
        self.outputs: dict[str, Output] = {}
        self.owners: dict[str, tuple[Node, tuple[Weight, ...]]] = {}
        self.active: list[Expansion] = []
        self.parts: list[range] = []
        self.labels: dict[str, tuple[Span, str]] = {}
        self.label_paths: set[str] = set()
        self.about: dict[str, object] = {}
        self.counted = 0
        self.cut: tuple[int, Span] | None = None
        self.failed = False
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
        tied: Node | None = None,
        frozen: bool = False,
        training: bool = False,
    ) -> Node:
        """Apply a layer. `weights_of` names the node whose weights it shares, and `tied` has its shared one. Raises
        Misfit or Rejected."""
        self.report.work.spend(LAYER + len(inputs) + len(name) // 32, span, frame)
        layer = layer.seeing(inputs)
        dtype = layer.dtype_of([x.dtype for x in inputs])
        shape, weights = layer.rules(tuple([x.shape for x in inputs]))
        if len(weights) > USUAL_WEIGHTS:
            self.report.work.spend(4 * len(weights), span, frame)
        layer.accepts(inputs)
        if len(self.nodes) >= LAYERS:
            raise Rejected(
                problems.TooLarge(span=span, frame=frame, what="layers", count=len(self.nodes) + 1, limit=LAYERS)
            )
        node = Node(layer, inputs, shape, name, NONE, span, frame, dtype)
        if own := weights if tied is None else tuple(weight for weight in weights if not weight.shared):
            node.parameters = self._parameters(node, own, weights_of, frozen, training)
        if tied is not None:
            weight = tied.parameters["weight"]
            wanted = next(each.shape for each in weights if each.shared)
            if weight.shape != wanted:
                raise Misfit(problems.TiedShape, at="tied", owner=tied, shape=weight.shape, wanted=wanted)
            node.parameters = {"weight": weight, **node.parameters}
        if training:
            self.training.add(len(self.nodes))
        self.nodes.append(node)
        return node

    def _parameters(
        self, node: Node, weights: tuple[Weight, ...], shared: str | None, frozen: bool, training: bool
    ) -> Mapping[str, Parameter]:
        """Return the parameters under a node's name, or those that it shares.

        Since no name of a weight within a layer has a dot, two weights have the same name only if two nodes have.
        """
        name = shared or node.name
        earlier = self.owners.get(name)
        if earlier is None:
            self.owners[name] = (node, weights)
            self._count(node, weights, training)
            return Parameters(name, weights, not frozen)
        for weight, other in zip(weights, earlier[1], strict=False):
            if not shared or weight.shape != other.shape:
                raise Rejected(
                    problems.WeightTwice(
                        span=node.span,
                        frame=node.frame,
                        name=f"{name}.{weight.name}",
                        earlier=earlier[0].span,
                        shape=weight.shape,
                        other=other.shape,
                        shared=shared is not None,
                        earlier_frame=earlier[0].frame,
                    )
                )
        return earlier[0].parameters

    def _count(self, node: Node, weights: tuple[Weight, ...], training: bool) -> None:
        for weight in weights:
            self.sizes += weight.size
            if not weight.buffer and not training:
                self.counted += weight.size
        if self.sizes > PARAMETERS:
            largest = max(weights, key=lambda weight: weight.size)
            raise Rejected(
                problems.TooLarge(
                    span=node.span,
                    frame=node.frame,
                    what="weights",
                    count=self.sizes,
                    limit=PARAMETERS,
                    weight=f"{node.name}.{largest.name}",
                    elements=largest.size,
                )
            )

    def fail(self, span: Span, problem: Problem | None = None) -> None:
        """Record that something is missing from the net at a location, because of a problem or its consequences."""
        self.failed = True
        if self.cut is None:
            self.cut = len(self.nodes), span if problem is None else problem.span
        if problem is not None:
            self.report.add(problem)

    def round(self, span: Span, frame: Frame | None, count: int = 1) -> None:
        """Count rounds of loops and block calls before they are expanded."""
        self.rounds += count
        if self.rounds > ROUNDS:
            raise Rejected(
                problems.TooLarge(
                    span=span, frame=frame, what="rounds and block calls", count=self.rounds, limit=ROUNDS
                )
            )

    def reach(self, path: str, node: Node | Poison) -> None:
        """Record that a value has its name. Raises Reached if a net in another net ends at it."""
        for expansion in self.active:
            if expansion.part is not None and expansion.part.cut == path:
                raise Reached(expansion.part, node)

    def macs(self, start: int, span: Span, frame: Frame | None) -> int:
        """Return the multiply-accumulates of the nodes from an index on, without training heads, for a batch of one."""
        from netdsl.lower import macs_of

        self.report.work.spend(LAYER * (len(self.nodes) - start), span, frame)
        return macs_of(node for at, node in enumerate(self.nodes[start:], start) if at not in self.training)

    def live(self) -> list[Node]:
        """Return the nodes that reach an output, in source order, with a warning for each value that does not."""
        wanted = {id(output.node) for output in self.outputs.values()}
        read = set(wanted)
        for node in reversed(self.nodes):
            read.update(map(id, node.inputs))
            if id(node) in wanted:
                wanted.update(map(id, node.inputs))
        inside = {at for part in self.parts for at in part}
        for at, node in enumerate(self.nodes):
            if id(node) not in read and at not in inside:
                self.report.add(problems.DeadValue(span=node.span, frame=node.frame, name=node.name, shape=node.shape))
        return [node for node in self.nodes if id(node) in wanted or node.layer.kind == "input"]
