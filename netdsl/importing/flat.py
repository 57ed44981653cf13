"""The flat list: a model of another tool as netdsl's layers in order, with their weights; readers make it."""

from __future__ import annotations

from struct import pack, unpack
from typing import TYPE_CHECKING, Any, NamedTuple

from netdsl.base.shape import Shape, format_shape
from netdsl.base.text import Source, Span
from netdsl.declare.arguments import FLOAT32_MAX, LayerLabel, Operand, Padding, Pair, Sides, Sizes, ValueMisfit, Word
from netdsl.diagnostics.problem import Misfit
from netdsl.layers import find_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Dim
    from netdsl.declare.declared import Argument
    from netdsl.layers.base import Layer

    Feeds = Mapping[str, Array]

NOWHERE = Span(Source("", ""), 0, 0)
LABEL = Word("_")
"""The value of a keyword that takes a label; the value itself is among the inputs."""


class FlatWeight:
    """A weight in netdsl's layout, in float32. `read` returns its values when they are needed. Weights of an equal
    `source`, which begins with a name, are the same one."""

    __slots__ = ("_read", "shape", "source")

    def __init__(self, shape: tuple[int, ...], read: Callable[[], Array], source: tuple[Hashable, ...] = ()) -> None:
        self.shape = shape
        self._read = read
        self.source = source

    def read(self) -> Array:
        array = self._read()
        assert array.shape == self.shape, (array.shape, self.shape)
        return array


class FlatLayer:
    """A layer applied to earlier values. As a layer has one result, it is also that value, like a `Node`.

    `inputs` are its operands, and then the values of its keywords that take a label. `weights` are by their names in
    the layer, and empty if the model came without; `shares` is the layer whose weights it uses instead. `path` is its
    dotted name in the model, or empty, and `place` where the model declares it: `file:line`, or the name of a node.
    """

    __slots__ = ("dtype", "inputs", "layer", "path", "place", "shape", "shares", "weights")

    def __init__(self, layer: Layer, inputs: tuple[FlatLayer, ...], shape: Shape, dtype: str) -> None:
        self.layer = layer
        self.inputs = inputs
        self.shape = shape
        self.dtype = dtype
        self.weights: Mapping[str, FlatWeight] = {}
        self.shares: FlatLayer | None = None
        self.path = ""
        self.place = ""

    @property
    def kind(self) -> str:
        return self.layer.kind

    @property
    def span(self) -> Span:
        """A place for the problems of layers, which have one in a text."""
        return NOWHERE

    def __repr__(self) -> str:
        return f"<{self.kind} {format_shape(self.shape)} of {self.place or self.path}>"


Value = FlatLayer | None
"""A value of the model; None where it was refused, which makes None of all that depends on it."""


class Remark(NamedTuple):
    """Something that is so `times` times, first at `place`."""

    what: str
    why: str
    place: str
    times: int

    def __str__(self) -> str:
        times = f" x{self.times}" if self.times > 1 else ""
        first = f" ({'first ' if times else ''}{self.place})" if self.place else ""
        return f"{self.what}{times}{first}" + (f": {self.why}" if self.why else "")


class Remarks:
    """What is to be said about a model, each thing once, with how often and where first."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Remark] = {}

    def add(self, what: str, place: str = "", why: str = "") -> None:
        known = self._found.get((what, why), Remark(what, why, place, 0))
        self._found[what, why] = known._replace(times=known.times + 1)

    def __iter__(self) -> Iterator[Remark]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)


class Trial(NamedTuple):
    """A model with certain weights: the flat list with them, and its values as another program computes them.

    `run` takes the inputs by name, with the batch, and returns the values of some layers of `net`, with the batch; None
    for those that the other program does not show.
    """

    net: FlatNet
    run: Callable[[Feeds, Sequence[FlatLayer]], Sequence[Array | None]]


class FlatNet:
    """A model as a flat list of layers, in an order in which inputs precede what reads them.

    `file` is its name in messages. `left_out` are the parts that have no effect on its outputs, or that a net cannot
    have; `refused` are those without which it is another net: it cannot be imported.
    `reference` returns a trial with the file's weights or, given a seed, one with random numbers for all weights that
    could hide a mistake, since all their elements are equal or another weight is; without one, nothing is proved.
    `batch` is the only size of a batch that it takes, or None for any. `bytes` are those of its files.
    `notes` say how the reference computes the model, if not as it stands.
    `producer` is the program that wrote the file, `about` are facts for the net's `about` block, and `training` the
    lines of a `train` block without its data, which the text has as a comment. `metadata` is that of the file of
    weights, such as names of classes.
    `classes` are those of modules, by their dotted names, where the model tells them.
    `rearranged` are the permutations and reshapes that a reader made, by what they make of which layer. `fixed` are the
    names of constants that became arguments of layers, which no other numbers can replace.
    """

    def __init__(self, name: str, file: str) -> None:
        self.name = name
        self.file = file
        self.layers: list[FlatLayer] = []
        self.inputs: dict[str, FlatLayer] = {}
        self.outputs: dict[str, FlatLayer] = {}
        self.left_out = Remarks()
        self.refused = Remarks()
        self.about: dict[str, object] = {}
        self.training: list[str] = []
        self.metadata: dict[str, str] = {}
        self.classes: dict[str, str] = {}
        self.rearranged: dict[tuple[object, ...], Value] = {}
        self.fixed: set[str] = set()
        self.reference: Callable[[int | None], Trial] | None = None
        self.batch: int | None = None
        self.bytes = 0
        self.notes: list[str] = []
        self.producer = ""

    def input(self, name: str, sizes: Sequence[Dim], place: str = "", **arguments: object) -> Value:
        """Declare an input without its batch. `arguments` are those of the layer `input`: dtype, mean, std, …"""
        found = self.add("input", (), {"sizes": tuple(sizes), **arguments}, path=name, place=place)
        if found is not None:
            self.inputs[name] = found
        return found

    def output(self, name: str, value: Value) -> None:
        """Declare an output."""
        if value is not None:
            self.outputs[name] = value

    def refuse(self, what: str, place: str = "", why: str = "") -> None:
        """Record a part of the model that cannot be imported. Returns None, the value of such a part."""
        self.refused.add(what, place, why)

    def leave_out(self, what: str, place: str = "", why: str = "") -> None:
        """Record a part of the model that is not in the net."""
        self.left_out.add(what, place, why)

    def add(
        self,
        kind: str,
        operands: Sequence[Value],
        arguments: Mapping[str, object] | None = None,
        weights: Mapping[str, FlatWeight] | None = None,
        *,
        values: Mapping[str, Value] | None = None,
        shares: FlatLayer | None = None,
        path: str = "",
        place: str = "",
    ) -> Value:
        """Apply a layer, and return its result. What does not fit is refused.

        Arguments are values of the language: numbers, tuples, `Word`s, booleans. `values` are those of keywords that
        take a label. With `shares`, the layer uses the weights of an equal one (`reuse`), or with the argument `tied`
        its weight alone. Without `weights`, the model has none to be saved.
        """
        named = values or {}
        try:
            layer = make_layer(kind, {**(arguments or {}), **dict.fromkeys(named, LABEL)})
            given = [*operands, *(named[name] for name in layer.values if name in named)]
            inputs = tuple(value for value in given if value is not None)
            if len(inputs) < len(given):
                return None
            if layer.variadic and len(inputs) == 1:
                return inputs[0]
            layer = layer.seeing(inputs)  # type: ignore[arg-type]
            dtype = layer.dtype_of([x.dtype for x in inputs])
            shape, declared = layer.rules(tuple(x.shape for x in inputs))
            layer.accepts(inputs)  # type: ignore[arg-type]
        except ValueMisfit as misfit:
            self.refuse(f"a `{kind}`", place, str(misfit))
            return None
        except Misfit as misfit:
            self.refuse(f"a `{kind}`", place, _message(misfit, kind, inputs))
            return None
        wanted = {each.name: each.shape for each in declared if not (shares and each.shared)}
        if weights and not self._fit({name: each.shape for name, each in weights.items()}, wanted, kind, place):
            return None
        found = FlatLayer(layer, inputs, shape, dtype)
        found.weights, found.shares = weights or {}, shares
        found.path, found.place = path, place
        self.layers.append(found)
        return found

    def _fit(
        self, given: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], kind: str, place: str
    ) -> bool:
        """Refuse weights of other names or shapes than a layer declares."""
        for name in dict.fromkeys([*wanted, *given]):
            if given.get(name) != wanted.get(name):
                has, needs = (
                    "none" if shapes.get(name) is None else format_shape(shapes[name]) for shapes in (given, wanted)
                )
                self.refuse(f"weights of a `{kind}`", place, f"`{name}` has the shape {has}, but needs {needs}")
                return False
        return True

    def live(self) -> list[FlatLayer]:
        """Return the layers that reach an output, and all inputs, in order."""
        wanted = set(self.outputs.values())
        for layer in reversed(self.layers):
            if layer in wanted:
                wanted.update(layer.inputs)
                if layer.shares is not None:
                    wanted.add(layer.shares)
        return [layer for layer in self.layers if layer in wanted or layer.kind == "input"]


def make_layer(kind: str, arguments: Mapping[str, object]) -> Layer:
    """Return a layer with arguments in their simplest form: equal sizes of all axes as one, defaults left out, and
    numbers as short as float32 allows. Raises ValueMisfit for an argument that the layer does not accept."""
    cls = find_layer(kind)
    assert cls is not None, kind
    converted = {}
    for name, value in arguments.items():
        declared = cls.arguments[name]
        if isinstance(declared.kind, (Operand, LayerLabel)):
            converted[name] = value
            continue
        try:
            converted[name] = declared.kind.convert(simplest(value, _is_one(declared)))
        except ValueMisfit as misfit:
            raise ValueMisfit(f"`{name}` must be {misfit}, not {value}") from None
    return cls(**converted)


def _is_one(argument: Argument) -> bool:
    """Return whether one number stands for equal ones: but kernels are written axis by axis."""
    kind = argument.kind
    return isinstance(kind, (Padding, Sides)) or (
        argument.keyword and isinstance(kind, Sizes) and type(kind) is not Pair
    )


def simplest(value: object, one: bool = False) -> object:
    """Return an argument with its floats rounded to the shortest decimals of the same float32 and, if `one` is allowed
    for all axes, one number for equal ones."""
    if isinstance(value, tuple):
        return simplest(value[0]) if one and len({*value}) == 1 else tuple(map(simplest, value))
    return shortest(value) if isinstance(value, float) else value


def shortest(number: float) -> float:
    """Return the number with the fewest digits that is the same in float32."""
    try:
        wanted = pack("<f", number)
    except OverflowError:
        return number
    for digits in range(1, 10):
        short = float(f"{number:.{digits}g}")
        if abs(short) <= FLOAT32_MAX and pack("<f", short) == wanted:
            return short
    return float(unpack("<f", wanted)[0])


def _message(misfit: Misfit, kind: str, inputs: Sequence[FlatLayer]) -> str:
    """Return what a layer says about inputs that do not fit it."""
    fields = misfit.problem.fields
    known: dict[str, Any] = {"span": NOWHERE, "layer": kind, "inputs": tuple(inputs), "head": NOWHERE, **misfit.data}
    return misfit.problem(**{name: value for name, value in known.items() if name in fields}).message()
