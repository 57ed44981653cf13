"""Base class of layers, which declare their arguments, weights, shape rule and computation in ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

from netdsl.diagnostics.layer_problems import TooLong, WrongType
from netdsl.diagnostics.problem import Rejection
from netdsl.diagnostics.shape_problems import NeedsNumber
from netdsl.ir.init import Init, ones, zeros
from netdsl.ir.shape import Shape, Undecidable, elements
from netdsl.limits import SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from netdsl.diagnostics.problem import Problem
    from netdsl.ir.graph import Value
    from netdsl.layers.arguments import Kind
    from netdsl.lower import Training, Weights

REQUIRED = object()
REMEMBERED = 1_000
"""Maximum number of input shapes whose results a layer caches. Merges live as long as the process."""

LAYERS: dict[str, type[Layer]] = {}
"""Layers whose modules have been imported, by name; `netdsl.layers.find` imports them on first use."""


class Argument:
    """One declared argument of a layer: positional only or keyword only, as in language.md."""

    __slots__ = ("default", "doc", "keyword", "kind", "name")

    def __init__(self, kind: Kind, default: object, doc: str, keyword: bool) -> None:
        self.name = ""
        self.kind = kind
        self.default = default
        self.doc = doc
        self.keyword = keyword

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


def positional(kind: Kind, default: object = REQUIRED, *, doc: str = "") -> Any:
    """Declare a positional argument."""
    return Argument(kind, default, doc, keyword=False)


def keyword(kind: Kind, default: object = REQUIRED, *, doc: str = "") -> Any:
    """Declare a keyword argument."""
    return Argument(kind, default, doc, keyword=True)


class Weight:
    """A weight of a layer: its name in the layer, shape, initializer, and the fans that scale it.

    The fans default to those of a weight with the layout [outputs, inputs, *kernel], as in convolutions and `dense`.
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


class Misfit(Rejection):
    """A layer that does not fit its input: the problem, the argument at fault, and the problem's data.

    The elaborator adds source locations: a layer has none, because equal calls share one layer.
    """

    def __init__(self, problem: type[Problem], at: str = "", **data: Any) -> None:
        super().__init__(problem.title)
        self.problem = problem
        self.at = at
        self.data = data


@dataclass_transform(kw_only_default=True, field_specifiers=(positional, keyword))
class Layer:
    """A layer with its arguments. Immutable: equal calls share it, along with its cached results for each shape.

    A subclass's docstring has the formula, shapes, conventions, source and a `net` example; it is the layer's page.
    """

    kind: ClassVar[str] = ""
    arguments: ClassVar[dict[str, Argument]] = {}
    variadic: ClassVar[bool] = False
    """Whether it accepts any number of inputs, as merges do; methods then receive one argument per input."""
    moves: ClassVar[bool] = False
    """Whether it only moves values and therefore also accepts integers."""
    differentiable: ClassVar[bool] = True
    """Whether gradients flow from its output to its input."""

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
        """Return the weights for an input of this shape (without the batch)."""
        return ()

    def shape(self, *xs: Shape) -> Shape:
        """Return the output shape for inputs of these shapes (without the batch). Raises Misfit.

        Undecidable, raised by arithmetic on symbolic sizes, means that a size must be a number.
        """
        (x,) = xs
        return x

    def element_type(self, *xs: str) -> str:
        """Return the output's element type, `f32` or `i64`, for inputs of these types. Raises Misfit."""
        if "i64" in xs and not (self.moves and len(set(xs)) == 1):
            raise Misfit(WrongType, wanted="f32")
        return xs[0]

    def body(self, x: Value, w: Weights) -> Value:
        """Build the computation in ops; the signature of a variadic layer is `body(*xs)`."""
        raise NotImplementedError

    def train(self, x: Value, w: Weights, training: Training) -> Value:
        """Build the training computation if it differs, for example in batch statistics or noise."""
        return self.body(x, w)

    def rules(self, shapes: tuple[Shape, ...]) -> tuple[Shape, tuple[Weight, ...]]:
        """Return the output shape and the weights for inputs of these shapes, cached."""
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
    """Register a layer under a name of the language."""

    def register(cls: type[L]) -> type[L]:
        known = LAYERS.setdefault(name, cls)
        assert known is cls, f"{name} is taken by {known.__name__}"
        cls.kind = name
        return cls

    return register


__all__ = [
    "LAYERS",
    "Argument",
    "Init",
    "Layer",
    "Misfit",
    "Shape",
    "Weight",
    "keyword",
    "layer",
    "ones",
    "positional",
    "zeros",
]
