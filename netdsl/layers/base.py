"""What a layer is: a class that declares its arguments, its weights, its shape rule and its body in ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

from netdsl.base.limits import SIZE
from netdsl.base.shape import Shape, Undecidable, elements
from netdsl.declare.declared import Argument, Misfit, keyword, positional
from netdsl.diagnostics.layer_problems import TooLong, WrongType
from netdsl.diagnostics.shape_problems import NeedsNumber
from netdsl.ir.init import Init

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from netdsl.ir.graph import Graph, Value
    from netdsl.ir.net import Parameter

REMEMBERED = 1_000
"""So many inputs' results a layer keeps; merges live as long as the process."""

LAYERS: dict[str, type[Layer]] = {}
"""The layers whose modules are imported, by name; `netdsl.layers.find` imports them on first use."""


class Weight:
    """A weight that a layer needs: its name in the layer, shape and initialiser, and the fans that scale it.

    The fans default to those of a weight laid out as [outputs, inputs, *kernel], as convolutions and dense layers have.
    """

    __slots__ = ("buffer", "fan_in", "fan_out", "init", "name", "shape", "size")

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        init: Init,
        *,
        fan_in: int | None = None,
        fan_out: int | None = None,
        buffer: bool = False,
    ) -> None:
        area = elements(shape[2:])
        self.name = name
        self.size = elements(shape)
        self.shape = shape
        self.init = init
        self.fan_in = fan_in if fan_in is not None else (shape[1] * area if len(shape) > 1 else shape[0])
        self.fan_out = fan_out if fan_out is not None else shape[0] * area
        self.buffer = buffer


class Weights:
    """A layer's weights by its own words for them: `w.weight`, or `w.get("bias")` where there may be none."""

    __slots__ = ("_graph", "_parameters")

    def __init__(self, graph: Graph, parameters: Mapping[str, Parameter]) -> None:
        self._graph = graph
        self._parameters = parameters

    def __getattr__(self, name: str) -> Value:
        return self._graph.parameter(self._parameters[name])

    def get(self, name: str) -> Value | None:
        return getattr(self, name) if name in self._parameters else None


class Training:
    """What a layer's body may ask for in training: whether it is frozen, where its noise comes from, what it keeps.

    `key` is a number of the layer's own, from the seed and its name; `step` counts the steps, an u32 scalar.
    """

    __slots__ = ("_kept", "frozen", "key", "step")

    def __init__(self, step: Value, key: int, frozen: bool, kept: dict[Value, Value]) -> None:
        self.step = step
        self.key = key
        self.frozen = frozen
        self._kept = kept

    def latest(self, statistic: Value) -> Value:
        """A running statistic; where the layer has been applied before in this step, what it kept then."""
        return self._kept.get(statistic, statistic)

    def keep(self, statistic: Value, after: Value) -> None:
        """Say what becomes of a running statistic."""
        self._kept[statistic] = after


@dataclass_transform(kw_only_default=True, field_specifiers=(positional, keyword))
class Layer:
    """A layer with its arguments. Immutable: equal calls share it, and with it what its rules found for a shape.

    A subclass's docstring gives formula, shapes, conventions, source and a `net` example; it is the layer's page.
    """

    kind: ClassVar[str] = ""
    arguments: ClassVar[dict[str, Argument]] = {}
    variadic: ClassVar[bool] = False
    """Whether it takes any number of inputs, as merges do; the methods then get one argument for each."""
    moves: ClassVar[bool] = False
    """Whether it only moves values, and so takes whole numbers as well."""
    differentiable: ClassVar[bool] = True
    """Whether a gradient passes from its result to its input."""

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in cls.__dict__.items() if isinstance(value, Argument)}
        for name, argument in own.items():
            argument.name = name
        cls.arguments = {**cls.arguments, **own}

    def __init__(self, **values: Any) -> None:
        for name, argument in self.arguments.items():
            setattr(self, name, values.get(name, argument.default))
        self._known: dict[tuple[Shape, ...], tuple[Shape, tuple[Weight, ...]]] = {}

    def weights(self, x: Shape) -> Iterable[Weight]:
        """The weights for an input of this shape (without the batch)."""
        return ()

    def shape(self, *xs: Shape) -> Shape:
        """The result's shape for inputs of these shapes (without the batch). Raises Misfit.

        Undecidable, which the arithmetic of sizes raises, stands for a size that must be a number.
        """
        (x,) = xs
        return x

    def element_type(self, *xs: str) -> str:
        """The type of the result's elements, `f32` or `i64`, for inputs of these types. Raises Misfit."""
        if "i64" in xs and not (self.moves and len(set(xs)) == 1):
            raise Misfit(WrongType, wanted="f32")
        return xs[0]

    def body(self, x: Value, w: Weights) -> Value:
        """The computation, in ops; of a variadic layer `body(*xs)`."""
        raise NotImplementedError

    def train(self, x: Value, w: Weights, training: Training) -> Value:
        """The computation in training, where it is another: with the batch's statistics, with noise."""
        return self.body(x, w)

    def rules(self, shapes: tuple[Shape, ...]) -> tuple[Shape, tuple[Weight, ...]]:
        """The result's shape and the weights for inputs of these shapes, worked out once."""
        known = self._known.get(shapes)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            try:
                shape = self.shape(*shapes)
                for size in shape:
                    if isinstance(size, int) and size > SIZE:
                        raise Misfit(TooLong, size=size)
                weights = tuple(self.weights(shapes[0])) if shapes and not self.variadic else ()
            except Undecidable:
                raise Misfit(NeedsNumber) from None
            known = self._known[shapes] = (shape, weights)
        return known


L = TypeVar("L", bound=Layer)


def layer(name: str) -> Callable[[type[L]], type[L]]:
    """Give a layer its name in the language."""

    def register(cls: type[L]) -> type[L]:
        known = LAYERS.setdefault(name, cls)
        assert known is cls, f"{name} is taken by {known.__name__}"
        cls.kind = name
        return cls

    return register
