"""Graph: what is computed, as a small set of ops over immutable values; passes and emitters read it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.base.shape import Shape
    from netdsl.base.text import Span
    from netdsl.ir import net
    from netdsl.ir.op import Op

Scalar = float | int | bool

BYTES = {"f16": 2, "bf16": 2, "f32": 4, "f64": 8, "u8": 1, "u32": 4, "i32": 4, "i64": 8, "bool": 1}
"""Bytes per element of each type."""

STEP_NAMES = TARGET, RATE, LOSS, STEP, ROW = "target", "rate", "loss", "step", "row"
"""Names of a training step's own inputs, results and state. With several targets, `target` is the prefix. `row` is the
number of rows of the step before a batch that is a part of it."""

OWN_SHARD, SHARD_ROWS = "netdsl/own_shard", "netdsl/shard_rows"
"""Names of the inputs of a part of a step whose batch normalization has the statistics of all shards: 1 for its own
shard and 0 for the others, and the number of rows of each."""

DTYPES = tuple(BYTES)
"""Element types by their names in the language. A graph computes in `f32` unless a pass converts it to `f16`, or the
products of a training step to `f16` or `bf16`; emission can convert it to `f64`."""

HALVES = "f16", "bf16"
"""Element types of half precision."""


class Tensor:
    """Small constant data; `data` has the elements in row-major order."""

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, dtype: str, shape: tuple[int, ...], data: tuple[Scalar, ...]) -> None:
        assert dtype in DTYPES, dtype
        count = 1
        for size in shape:
            count *= size
        assert len(data) == count, f"{len(data)} elements for {shape}"
        self.dtype = dtype
        self.shape = shape
        self.data = data

    def __repr__(self) -> str:
        return f"Tensor({self.dtype} {list(self.shape)})"


class Value:
    """The result of an operation or, without a `producer`, an input; its shape begins with the batch: `(N, 64, 7, 7)`.

    `name` is its name in the emitted model; inner values have none, and are named after their operation.
    """

    __slots__ = ("dtype", "graph", "name", "producer", "shape")

    def __init__(
        self, graph: Graph, shape: Shape, dtype: str = "f32", *, name: str = "", producer: Operation | None = None
    ) -> None:
        assert dtype in DTYPES, dtype
        self.graph = graph
        self.shape = shape
        self.dtype = dtype
        self.name = name
        self.producer = producer

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.name or '_'}: {self.dtype} {self.shape}>"

    @property
    def origin(self) -> Origin | None:
        """The origin of the operation that produces the value."""
        return self.producer.origin if self.producer else None


class Parameter(Value):
    """A weight or a running statistic; its shape has no batch axis. `declaration` has its initializer and role."""

    __slots__ = ("declaration",)

    def __init__(self, graph: Graph, declaration: net.Parameter) -> None:
        super().__init__(graph, declaration.shape, graph.dtype, name=declaration.name)
        self.declaration = declaration


class Constant(Value):
    """A value known at compile time."""

    __slots__ = ("tensor",)

    def __init__(self, graph: Graph, tensor: Tensor) -> None:
        super().__init__(graph, tensor.shape, tensor.dtype)
        self.tensor = tensor


class State:
    """A value that a step reads and updates for the next one: a parameter, running statistic, momentum or counter.

    `before` is its value at the beginning of a step, `after` at the end. `initial` fills it before the first step; None
    for a parameter, which its declaration initializes.
    """

    __slots__ = ("after", "before", "initial", "name")

    def __init__(self, name: str, before: Value, after: Value, initial: Scalar | None = None) -> None:
        assert before.shape == after.shape, f"{name} is {before.shape}, and would become {after.shape}"
        assert before.dtype == after.dtype, f"{name} is {before.dtype}, and would become {after.dtype}"
        self.name = name
        self.before = before
        self.after = after
        self.initial = initial


PHASES = FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"
"""Phases of a training step. The backward pass includes what it recomputes."""


class Line(NamedTuple):
    """A line of a `train` block: its key, such as `loss`, and its place."""

    name: str
    span: Span


class Origin(NamedTuple):
    """What an operation is for: a layer, a line of a `train` block, or both for the update of a layer's weight.

    `phase` is its phase in a training step, and empty in any other graph.
    """

    node: net.Node | None = None
    phase: str = ""
    line: Line | None = None

    @property
    def name(self) -> str:
        """The name of the layer or else of the line."""
        return self.node.name if self.node else self.line.name if self.line else ""

    @property
    def span(self) -> Span | None:
        """The place of the line or else of the layer."""
        return self.line.span if self.line else self.node.span if self.node else None

    def during(self, phase: str) -> Origin:
        """Return the same owner in a phase, if it is part of a training step."""
        return self._replace(phase=phase) if self.phase else self


class Operation:
    """An op applied to values. `origin` has the layer it came from, so that runtime errors point at a source line."""

    __slots__ = ("inputs", "op", "origin", "outputs")

    def __init__(self, op: Op, inputs: tuple[Value, ...]) -> None:
        self.op = op
        self.inputs = inputs
        self.outputs: tuple[Value, ...] = ()
        self.origin: Origin | None = None

    def __repr__(self) -> str:
        return f"<{type(self.op).__name__} {self.origin.name if self.origin else ''}>"


class Graph:
    """A program in static single assignment form, with `operations` in a valid execution order.

    `inputs`, `outputs` and `parameters` keep their order of declaration, also when emitted. `origin` is the lowered
    net, for model metadata; `dtype` is the type of the parameters. A training step also has a `state`: such a graph
    takes its parameters as inputs and returns their new values. `products` are the ops by which layers multiply and
    convolve, and those of their gradients: what mixed precision computes in another type.
    """

    __slots__ = ("dtype", "inputs", "name", "operations", "origin", "outputs", "parameters", "products", "state")

    def __init__(self, name: str, origin: net.Net | None = None, dtype: str = "f32") -> None:
        self.name = name
        self.origin = origin
        self.dtype = dtype
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, Value] = {}
        self.parameters: dict[str, Parameter] = {}
        self.operations: list[Operation] = []
        self.products: set[Op] = set()
        self.state: dict[str, State] = {}

    def __repr__(self) -> str:
        return f"<graph {self.name}: {len(self.operations)} operations>"

    def input(self, name: str, shape: Shape, dtype: str = "f32") -> Value:
        assert name not in self.inputs, name
        self.inputs[name] = Value(self, shape, dtype, name=name)
        return self.inputs[name]

    def parameter(self, declaration: net.Parameter) -> Parameter:
        """Return the value of a parameter; layers that share weights share it."""
        value = self.parameters.get(declaration.name)
        if value is None:
            value = self.parameters[declaration.name] = Parameter(self, declaration)
        assert value.declaration is declaration, f"two parameters are called {declaration.name}"
        return value

    def output(self, name: str, value: Value) -> None:
        assert name not in self.outputs, name
        self.outputs[name] = value

    def update(self, before: Value, after: Value, initial: Scalar | None = None) -> None:
        """Set the value after the step of a parameter or of a value made by `state_input`."""
        assert before.graph is self, before
        assert before.name not in self.state, before.name
        self.state[before.name] = State(before.name, before, after, initial)

    def state_input(self, name: str, shape: Shape, dtype: str = "f32") -> Value:
        """Return a value carried over from the previous step; `update` must set its next value."""
        return Value(self, shape, dtype, name=name)

    @contextmanager
    def owned(self, origin: Origin | None) -> Iterator[None]:
        """Give the operations that are appended meanwhile this origin, unless they have one."""
        begin = len(self.operations)
        yield
        for operation in self.operations[begin:]:
            operation.origin = operation.origin or origin

    def apply(self, op: Op, *inputs: Value) -> tuple[Value, ...]:
        """Append an operation, infer the shapes and types of its results, and return them."""
        assert all(x.graph is self for x in inputs), f"{type(op).__name__} takes values of another graph"
        operation = Operation(op, inputs)
        shapes = op.shapes(*(x.shape for x in inputs))
        dtypes = op.dtypes(*(x.dtype for x in inputs))
        operation.outputs = tuple(Value(self, s, t, producer=operation) for s, t in zip(shapes, dtypes, strict=True))
        self.operations.append(operation)
        return operation.outputs

    def repeat(self, operation: Operation, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        """Append an operation of another graph, origin included, on inputs of the same shapes and types, and return
        its results."""
        made = Operation(operation.op, inputs)
        made.origin = operation.origin
        made.outputs = tuple([Value(self, y.shape, y.dtype, producer=made) for y in operation.outputs])
        self.operations.append(made)
        return made.outputs
