"""Net: what the user wrote, as layers with arguments, shapes, names and source locations; reports read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from netdsl.base.shape import format_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from netdsl.base.shape import Shape
    from netdsl.base.text import Frame, Source, Span
    from netdsl.ir.graph import Value
    from netdsl.ir.init import Init


_T = TypeVar("_T")


class Layer(Protocol):
    """The interface of layers that nets use; `netdsl.layers.base.Layer` implements it."""

    kind: ClassVar[str]
    arguments: ClassVar[dict[str, Any]]
    values: ClassVar[tuple[str, ...]]
    operand_names: ClassVar[tuple[str, ...]]
    variadic: ClassVar[bool]
    stateful: ClassVar[bool]
    dtype_transparent: ClassVar[bool]
    differentiable: ClassVar[bool]

    @property
    def body(self) -> Callable[..., Value]: ...
    @property
    def saturation(self) -> tuple[float, float]: ...
    @property
    def train(self) -> Callable[..., Value]: ...
    def shape_of(self, inputs: tuple[Shape, ...]) -> Shape: ...
    def split(self, inputs: Sequence[_T]) -> tuple[Sequence[_T], dict[str, _T]]: ...


class WeightDeclaration(Protocol):
    """The declaration of a weight, from which a `Parameter` is made. Its path is the layer's if it is `unnamed`."""

    name: str
    unnamed: bool
    shape: tuple[int, ...]
    init: Init
    fan_in: int
    fan_out: int
    buffer: bool


class CallArgument:
    """An argument of a call: its name, and the locations of its keyword, if it has one, and of its value."""

    __slots__ = ("name", "span", "value_span")

    def __init__(self, name: str, span: Span, value_span: Span) -> None:
        self.name = name
        self.span = span
        self.value_span = value_span


class Parameter:
    """A weight or a running statistic of a net.

    `name` is its path, such as `layer3.0.conv2.weight`; `fan_in` and `fan_out` scale the initializers that depend on
    them. A `buffer` is saved but never trained.
    """

    __slots__ = ("buffer", "fan_in", "fan_out", "init", "name", "shape", "trainable")

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        init: Init,
        *,
        fan_in: int,
        fan_out: int,
        buffer: bool = False,
        trainable: bool = True,
    ) -> None:
        self.name = name
        self.shape = shape
        self.init = init
        self.fan_in = fan_in
        self.fan_out = fan_out
        self.buffer = buffer
        self.trainable = trainable and not buffer

    def __repr__(self) -> str:
        kind = "buffer" if self.buffer else "parameter" if self.trainable else "frozen parameter"
        return f"<{self.name}: {kind} {format_shape(self.shape)}>"


class Parameters(Mapping[str, Parameter]):
    """The parameters of a layer by their names in the layer (`weight`, `bias`); `reuse` shares them.

    They are created on first access, since shape checking does not need them.
    """

    __slots__ = ("_declared", "_made", "_name", "_trainable")

    def __init__(self, name: str, declared: tuple[WeightDeclaration, ...], trainable: bool) -> None:
        self._name = name
        self._declared = declared
        self._trainable = trainable
        self._made: dict[str, Parameter] | None = None

    @property
    def frozen(self) -> bool:
        """Whether the layer is inside a `freeze`, which stops its running statistics too."""
        return not self._trainable

    def __getitem__(self, name: str) -> Parameter:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return (weight.name for weight in self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def _all(self) -> dict[str, Parameter]:
        if self._made is None:
            self._made = {
                weight.name: Parameter(
                    self._name if weight.unnamed else f"{self._name}.{weight.name}",
                    weight.shape,
                    weight.init,
                    fan_in=weight.fan_in,
                    fan_out=weight.fan_out,
                    buffer=weight.buffer,
                    trainable=self._trainable,
                )
                for weight in self._declared
            }
        return self._made


class Node:
    """A layer applied to values. As a layer has one result, a node is also that value.

    `inputs` are its operands, and then the values of its keywords that take a label. `name` is its path of scopes,
    `shape` the shape of its result without the batch axis, `parameters` its weights by
    their names in the layer (`weight`, `bias`). `dtype` is `i64` for integer inputs (token ids) before an embedding.
    `arguments` are the arguments of the call with their locations.
    """

    __slots__ = ("arguments", "dtype", "frame", "inputs", "layer", "name", "parameters", "shape", "span")

    def __init__(
        self,
        layer: Layer,
        inputs: tuple[Node, ...],
        shape: Shape,
        name: str,
        parameters: Mapping[str, Parameter],
        span: Span,
        frame: Frame | None,
        dtype: str = "f32",
    ) -> None:
        self.layer = layer
        self.inputs = inputs
        self.shape = shape
        self.name = name
        self.parameters = parameters
        self.span = span
        self.frame = frame
        self.dtype = dtype
        self.arguments: tuple[CallArgument, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.name}: {self.layer.kind} {self.shape}>"


UNFINISHED = "…"
"""The name of an output that stands for the rest of a net with errors."""

TRAINING_ONLY = frozenset(["dropout", "drop_path"])
"""Layers that are the identity at inference."""


class Output:
    """A named output; a `training` output exists only in the training graph."""

    __slots__ = ("name", "node", "span", "training")

    def __init__(self, name: str, node: Node, span: Span, training: bool = False) -> None:
        self.name = name
        self.node = node
        self.span = span
        self.training = training

    @property
    def maker(self) -> Node:
        """The layer that computes the values. Layers after it only rearrange them, or drop some in training."""
        node = self.node
        while len(node.inputs) == 1 and (node.layer.dtype_transparent or node.layer.kind in TRAINING_ONLY):
            node = node.inputs[0]
        return node


class Net:
    """An elaborated net: every block expanded, every loop unrolled, every shape known.

    `nodes` are in the order of the source, so that a node's inputs precede it; those that reach no output are left
    out, as are their parameters. `labels` are the names, with their scopes, that the source gives to layers, blocks and
    groups. `variant` elaborates the net anew with another value of one of its own parameters, and
    returns None where that has errors; it is for suggestions, and not every net has it.

    If the net is only what precedes a first error, `incomplete` is the place of that error. It is shown and never
    lowered, and its open ends are outputs with the name UNFINISHED.
    """

    __slots__ = (
        "_parameters",
        "about",
        "doc",
        "incomplete",
        "inputs",
        "labels",
        "name",
        "nodes",
        "outputs",
        "settings",
        "source",
        "variant",
    )

    def __init__(
        self,
        name: str,
        source: Source,
        *,
        doc: str = "",
        inputs: tuple[Node, ...],
        outputs: dict[str, Output],
        nodes: tuple[Node, ...],
        labels: frozenset[str] = frozenset(),
        about: dict[str, object] | None = None,
        settings: dict[str, object] | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.doc = doc
        self.inputs = inputs
        self.outputs = outputs
        self.nodes = nodes
        self.labels = labels
        self._parameters: dict[str, Parameter] | None = None
        self.about = about or {}
        self.settings = settings or {}
        self.variant: Callable[[str, int], Net | None] | None = None
        self.incomplete: Span | None = None

    @property
    def parameters(self) -> dict[str, Parameter]:
        """All weights and running statistics by name, in source order, shared ones once."""
        if self._parameters is None:
            self._parameters = {p.name: p for node in self.nodes for p in node.parameters.values()}
        return self._parameters

    @property
    def inference_outputs(self) -> dict[str, Output]:
        """The outputs that exist in inference too."""
        return {name: output for name, output in self.outputs.items() if not output.training}

    def __repr__(self) -> str:
        return f"<net {self.name}: {len(self.nodes)} layers>"
