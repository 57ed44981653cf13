"""The base class of layers, which declare their arguments, weights, shape rule and body."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from netdsl.base.limits import SIZE
from netdsl.base.shape import Shape, Undecidable, elements
from netdsl.declare.arguments import Operand
from netdsl.declare.declared import Declared, registrar
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.ir.init import Init

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from netdsl.ir.graph import Graph, Value
    from netdsl.ir.net import Node, Parameter
    from netdsl.ops.random import Rows
    from netdsl.ops.sync_batch_norm import Shards

_T = TypeVar("_T")

REMEMBERED = 1_000
"""Maximum number of inputs for which a layer caches its result; merges live as long as the process."""

LAYER_CLASSES: dict[str, type[Layer]] = {}
"""Layers whose modules have been imported, by name; `netdsl.layers.find_layer` imports them on first use."""

layer = registrar(LAYER_CLASSES)
"""Registers a layer under its name in the language."""


class Weight:
    """A weight of a layer: its name in the layer, shape and initializer, and the fans that scale it.

    The fans default to those of a weight [outputs, inputs, *kernel], as in convolutions and dense layers. An `unnamed`
    weight has the name of its layer alone; a `shared` one is that of another layer.
    """

    __slots__ = ("buffer", "fan_in", "fan_out", "init", "name", "shape", "shared", "size", "unnamed")

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        init: Init,
        *,
        fan_in: int | None = None,
        fan_out: int | None = None,
        buffer: bool = False,
        unnamed: bool = False,
        shared: bool = False,
    ) -> None:
        area = elements(shape[2:])
        self.name = name
        self.size = elements(shape)
        self.shape = shape
        self.init = init
        self.fan_in = fan_in if fan_in is not None else (shape[1] * area if len(shape) > 1 else shape[0])
        self.fan_out = fan_out if fan_out is not None else shape[0] * area
        self.buffer = buffer
        self.unnamed = unnamed
        self.shared = shared


class Weights:
    """The weights of a layer by their names in it: `w.weight`, or `w.get("bias")` for an optional one."""

    __slots__ = ("_parameters", "graph")

    def __init__(self, graph: Graph, parameters: Mapping[str, Parameter]) -> None:
        self.graph = graph
        self._parameters = parameters

    def __getattr__(self, name: str) -> Value:
        return self.graph.parameter(self._parameters[name])

    def get(self, name: str) -> Value | None:
        return getattr(self, name) if name in self._parameters else None


class Training:
    """The training state available to a layer's body: whether it is frozen, its source of noise, and its running
    statistics.

    `key` is a number specific to the layer, from the seed and its name; `step` counts the steps, a u32 scalar. For a
    batch that is a part of the step and a layer whose inputs differ by example, `rows` is the place of the batch in the
    step, and `shards` are the batches whose statistics are to be shared, if any.
    """

    __slots__ = ("_kept", "frozen", "key", "rows", "shards", "step")

    def __init__(
        self,
        step: Value,
        key: int,
        frozen: bool,
        kept: dict[Value, Value],
        rows: Rows | None = None,
        shards: Shards | None = None,
    ) -> None:
        self.step = step
        self.key = key
        self.rows = rows
        self.shards = shards
        self.frozen = frozen
        self._kept = kept

    def latest(self, statistic: Value) -> Value:
        """Return a running statistic; if the layer was already applied in this step, its new value."""
        return self._kept.get(statistic, statistic)

    def set_state(self, statistic: Value, after: Value) -> None:
        """Set the new value of a running statistic."""
        self._kept[statistic] = after


class Layer(Declared):
    """A layer with its arguments. Immutable: equal calls share it, and the cached results of its rules.

    The inputs of a layer are its operands, which is the current value for a layer without `operands`, and then the
    values of its keywords that are declared as `keyword(Operand(…))` and given, in the order of declaration. The rules
    receive the operands by position and these values by keyword: `attention 8 mask m q k v` calls
    `shape(q, k, v, mask=m)` and `body(q, k, v, w, mask=m)`. The argument itself is the label's text, or None.

    A subclass's docstring has the formula, shapes, conventions, source and a `net` example; it is the layer's page.
    """

    own_first = False
    operands: ClassVar[Collection[int]] = ()
    """The numbers of operands that a call takes; without operands, the current value is the input."""
    operand_usage: ClassVar[str] = "OPERAND…"
    """The operands in the usage line."""
    operand_names: ClassVar[tuple[str, ...]] = ()
    """The names of several operands in drawings, in order; empty where they need none."""
    flow: ClassVar[bool] = True
    """Whether the current value is the input where there are no operands."""
    flow_first: ClassVar[bool] = False
    """Whether the current value precedes a single operand, as in `sub { … }`."""
    variadic: ClassVar[bool] = False
    """Whether it is a merge of any number of operands, which has no weights: its `body` receives no `w`."""
    stateful: ClassVar[bool] = False
    """Whether `body` and `train` return, besides the result, a function that returns the final state."""
    dtype_transparent: ClassVar[bool] = False
    """Whether it only rearranges elements, so that the result has the type of the inputs, integers included."""
    differentiable: ClassVar[bool] = True
    """Whether gradients flow from its output to its input."""

    def __init__(self, **values: object) -> None:
        super().__init__(**values)
        self._known: dict[tuple[Shape, ...], tuple[Shape, tuple[Weight, ...]]] = {}

    def weights(self, *xs: Any) -> Iterable[Weight]:
        """Return the weights for operands of these shapes (without the batch)."""
        return ()

    def shape(self, *xs: Any, **values: Any) -> Shape:
        """Return the shape of the result for inputs of these shapes (without the batch). Raises Misfit.

        Undecidable, raised by the arithmetic of sizes, means that a size must be a number.
        """
        x: Shape = xs[0]
        return x

    def element_type(self, *xs: Any) -> str:
        """Return the type of the result's elements, `f32` or `i64`, for operands of these types. Raises Misfit."""
        if "i64" in xs and not (self.dtype_transparent and len(set(xs)) == 1):
            raise Misfit(problems.WrongType, wanted="f32")
        dtype: str = xs[0]
        return dtype

    def body(self, *xs: Any, **values: Any) -> Value:
        """Return the computation in ops: `body(x, w)` for a layer without operands."""
        raise NotImplementedError

    def train(self, *xs: Any, **values: Any) -> Value:
        """Return the computation in training, if it differs: with batch statistics, with noise. It receives what `body`
        does, and then a `Training`."""
        return self.body(*xs[:-1], **values)

    @property
    def saturation(self) -> tuple[float, float]:
        """The bounds at and beyond which a number of the result is saturated: it hardly changes with the input."""
        return -inf, inf

    def seeing(self, inputs: Sequence[Node]) -> Layer:
        """Return the layer for these inputs, if it depends on the layers that they come from. Raises Misfit."""
        return self

    def split(self, inputs: Sequence[_T]) -> tuple[Sequence[_T], dict[str, _T]]:
        """Split what belongs to the inputs, such as their shapes, into that of operands and that of keywords."""
        if not self.values:
            return inputs, {}
        given = [name for name in self.values if getattr(self, name) is not None]
        operands = len(inputs) - len(given)
        return inputs[:operands], dict(zip(given, inputs[operands:], strict=True))

    def shape_of(self, inputs: tuple[Shape, ...]) -> Shape:
        """Return the shape of the result for inputs of these shapes. Raises Misfit or Undecidable."""
        operands, values = self.split(inputs)
        return self.shape(*operands, **values)

    def dtype_of(self, inputs: Sequence[str]) -> str:
        """Return the type of the result's elements for inputs of these types. Raises Misfit."""
        operands, values = self.split(inputs)
        for name, dtype in values.items():
            kind = self.arguments[name].kind
            assert isinstance(kind, Operand), name
            if dtype != kind.dtype:
                raise Misfit(problems.WrongType, at=name, keyword=name, wanted=kind.dtype)
        return self.element_type(*operands)

    def _check_initializers(self, weights: tuple[Weight, ...]) -> None:
        """Raise Misfit for an initializer of weights with axes that this weight does not have."""
        for weight in weights:
            if (wanted := weight.init.wanted(weight.shape)) and not weight.buffer:
                at = next((name for name in ("init", "bias_init") if getattr(self, name, None) is weight.init), "")
                raise Misfit(
                    problems.InitMisfit,
                    at=at,
                    init=weight.init.name,
                    wanted=wanted,
                    weight=weight.name,
                    sizes=weight.shape,
                )

    def accepts(self, inputs: Sequence[Node]) -> None:
        """Raise Misfit for inputs that have a fitting shape, but cannot be meant."""

    def rules(self, shapes: tuple[Shape, ...]) -> tuple[Shape, tuple[Weight, ...]]:
        """Return the shape of the result and the weights for inputs of these shapes, cached."""
        known = self._known.get(shapes)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            try:
                operands, values = self.split(shapes)
                shape = self.shape(*operands, **values)
                for size in shape:
                    if isinstance(size, int) and size > SIZE:
                        raise Misfit(problems.TooLong, size=size)
                weights = tuple(self.weights(*operands))
                self._check_initializers(weights)
            except Undecidable:
                raise Misfit(problems.NeedsNumber) from None
            known = self._known[shapes] = (shape, weights)
        return known
