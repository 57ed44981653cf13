"""Lower a Net to a Graph by applying the body of each layer to the values of its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

from netdsl.base.shape import Size, Undecidable
from netdsl.ir.graph import FORWARD, OWN_SHARD, ROW, SHARD_ROWS, STEP, Graph, Origin, Value
from netdsl.layers.base import Training, Weights
from netdsl.ops.arithmetic import add
from netdsl.ops.base import constant
from netdsl.ops.elementwise import cast, identity
from netdsl.ops.random import Rows
from netdsl.ops.shaping import spread
from netdsl.ops.sync_batch_norm import Shards

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from netdsl.base.shape import Dim
    from netdsl.ir.formula import Count
    from netdsl.ir.net import Net, Node, Output

BATCH_SYMBOL = Size("N")


def lower(net: Net, *, batch: int | None = None, training: Collection[str] = ()) -> Graph:
    """Return the graph for inference, with a dynamic batch size or a fixed one.

    Training outputs, and layers that only they need, are left out, except those in `training`. The time is linear in
    the number of operations.
    """
    assert net.incomplete is None
    graph = Graph(net.name, net)
    outputs = _kept(net, training)
    live = _reached(net, [output.node for output in outputs])
    if live.isdisjoint(net.inputs):
        live.update(net.inputs[:1])  # constant outputs take the batch size of an input
    names = {parameter.name for node in live for parameter in node.parameters.values()}
    for parameter in net.parameters.values():
        if parameter.name in names:
            graph.parameter(parameter)
    values = _Values()
    for node in net.nodes:
        if node in live:
            values[node] = _lower(node, values, graph, BATCH_SYMBOL if batch is None else batch)
    taken = {value for name, value in graph.inputs.items()}
    for output in outputs:
        with graph.owned(Origin(output.node)):
            _output(graph, output.name, values[output.node], taken)
    return graph


def _kept(net: Net, training: Collection[str]) -> list[Output]:
    """Return the inference outputs, and the training outputs in `training`."""
    return [output for output in net.outputs.values() if not output.training or output.name in training]


def lower_training(
    net: Net,
    *,
    batch: int,
    seed: int,
    frozen: Collection[str] = (),
    step_batch: int | None = None,
    sync_bn: int = 0,
) -> Graph:
    """Return the graph for training with a fixed batch size, including training outputs.

    Layers use batch statistics and noise, which depends on the seed, the layer's name and the step. `frozen` are
    parameters that are not trained, besides those that the net freezes. The state of the graph holds the running
    statistics and the step counter.

    With `step_batch`, the batch is a part of a step of that many examples, and its noise is that of the same examples
    in a batch of the whole step. If there is noise, the graph has another input, the number ROW of its first example.
    With `sync_bn`, the number of shards, batch normalization has the statistics of a batch of each of them; the graph
    then has the inputs OWN_SHARD and SHARD_ROWS.
    """
    from netdsl.passes.products import PRODUCTS

    assert net.incomplete is None
    graph = Graph(net.name, net)
    for parameter in net.parameters.values():
        graph.parameter(parameter)
    step = graph.state_input(STEP, (), "u32")
    row = Value(graph, (), "u32", name=ROW)
    rows = None if step_batch is None else Rows(row, step_batch)
    shards = Shards(*(Value(graph, (sync_bn, 1), name=name) for name in (OWN_SHARD, SHARD_ROWS))) if sync_bn else None
    varying = _varying(net) if rows else set()
    kept: dict[Value, Value] = {}
    values = _Values()
    for node in net.nodes:
        still = _frozen(node, frozen)
        own = (None, None) if varying.isdisjoint(node.inputs) else (rows, shards)
        training = Training(step, crc32(f"{seed}/{node.name}".encode()), still, kept, *own)
        values[node] = _lower(node, values, graph, batch, training)
    taken = set(graph.inputs.values())
    for output in net.outputs.values():
        with graph.owned(Origin(output.node, FORWARD)):
            _output(graph, output.name, values[output.node], taken)
    for statistic, after in kept.items():
        graph.update(statistic, after)
    graph.update(step, add(step, constant(graph, 1, "u32")), 0)
    read = {x for operation in graph.operations for x in operation.inputs}
    graph.inputs.update((x.name, x) for x in (row, *(shards or ())) if x in read)
    graph.products.update(operation.op for operation in graph.operations if isinstance(operation.op, PRODUCTS))
    return graph


def _varying(net: Net) -> set[Node]:
    """Return the layers whose results differ by example. In a batch of one, shapes do not tell them from others."""
    graph, values = Graph(net.name, net), _Values()
    for node in net.nodes:
        values[node] = _lower(node, values, graph, 2)
    return {node for node, value in values.items() if value.shape[0] == 2}


def _frozen(node: Node, frozen: Collection[str]) -> bool:
    """Return whether no weight of a layer is trained, in which case its statistics stay fixed too."""
    names = [parameter.name for parameter in node.parameters.values()]
    return bool(names) and (getattr(node.parameters, "frozen", False) or all(name in frozen for name in names))


def node_graph(node: Node) -> Graph:
    """Return the graph of one layer for a batch of one."""
    graph = Graph(node.name)
    values = _Values()
    if node.layer.kind == "state":
        state = values[node.inputs[0]] = graph.input(node.inputs[0].name, (1, *node.shape))
        values.states[node.inputs[0]] = lambda: state
    else:
        values.update((x, graph.input(x.name, (1, *x.shape), x.dtype)) for x in dict.fromkeys(node.inputs))
    graph.output(node.name, _lower(node, values, graph, 1))
    return graph


def node_graphs(nodes: Iterable[Node]) -> Iterator[Graph]:
    """Return the graph of each layer; equal layers on equal shapes share one."""
    known: dict[tuple[object, ...], Graph] = {}
    for node in nodes:
        places = {x: at for at, x in enumerate(dict.fromkeys(node.inputs))}
        key = (node.layer, *((places[x], x.shape, x.dtype) for x in node.inputs))
        if key not in known:
            known[key] = node_graph(node)
        yield known[key]


def cost(graph: Graph) -> Count:
    """Return the multiply-accumulates of all operations."""
    total: Count = 0
    for operation in graph.operations:
        total += operation.op.macs(operation.outputs[0].shape, *(x.shape for x in operation.inputs))
    return total


def scratch(graph: Graph) -> Count:
    """Return the elements of large values that exist only while an operation runs, of all operations."""
    total: Count = 0
    for operation in graph.operations:
        total += operation.op.scratch(operation.outputs[0].shape, *(x.shape for x in operation.inputs))
    return total


def macs(net: Net) -> int:
    """Return the cost of inference for a batch of one, as defined in language.md. Raises Undecidable if it depends on a
    size known only at run time."""
    return macs_of(live(net))


def macs_of(nodes: Iterable[Node]) -> int:
    """Return the cost of layers, as `macs`."""
    costs: dict[Graph, Count] = {}
    total: Count = 0
    for graph in node_graphs(nodes):
        if graph not in costs:
            costs[graph] = cost(graph)
        total += costs[graph]
    if not isinstance(total, int):
        raise Undecidable
    return total


def live(net: Net, training: Collection[str] = ()) -> list[Node]:
    """Return the layers that inference needs, and those of the training outputs in `training`, in source order."""
    needed = _reached(net, [output.node for output in _kept(net, training)])
    return [node for node in net.nodes if node in needed]


def _reached(net: Net, ends: list[Node]) -> set[Node]:
    """Return the nodes that these depend on, including themselves."""
    live = set(ends)
    for node in reversed(net.nodes):
        if node in live:
            live.update(node.inputs)
    return live


class _Values(dict["Node", "Value"]):
    """The values of nodes; `states` has, for a recurrent layer, a function that returns its state."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[Node, Callable[[], Value]] = {}


def _lower(node: Node, values: _Values, graph: Graph, batch: Dim, training: Training | None = None) -> Value:
    """Return the result of a layer. What is the same for each example, such as a `param`, has a batch of 1."""
    begin = len(graph.operations)
    if node.layer.kind == "input":
        value = _input(node, graph, batch)
    elif node.layer.kind == "state":
        value = values.states[node.inputs[0]]()
    else:
        operands, named = node.layer.split([values[x] for x in node.inputs])
        weights = () if node.layer.variadic else (Weights(graph, node.parameters),)
        if training:
            result: Any = node.layer.train(*operands, *weights, training, **named)
        else:
            result = node.layer.body(*operands, *weights, **named)
        value, *states = result if node.layer.stateful else (result,)
        values.states.update((node, state) for state in states)
    assert value.shape in ((batch, *node.shape), (1, *node.shape)), f"{node!r} was built as {value.shape}"
    origin = Origin(node, FORWARD if training else "")
    for operation in graph.operations[begin:]:
        operation.origin = origin
    if value.producer and value.producer.origin is origin:
        value.name = node.name
    return value


def _input(node: Node, graph: Graph, batch: Dim) -> Value:
    """Create an input. Pixels and f16 are converted to f32; integers, such as token ids, keep their type."""
    dtype = getattr(node.layer, "dtype", "f32")
    value = graph.input(node.name, (batch, *node.shape), dtype)
    return cast(value, "f32") if dtype in ("u8", "f16") else value


def _output(graph: Graph, name: str, value: Value, taken: set[Value]) -> None:
    """Name a result. An ONNX value has one name, so a value that has another one gets an Identity; a value that is the
    same for each example is repeated."""
    assert name not in graph.inputs, f"{name} is an input and an output"
    like = next(iter(graph.inputs.values()), value)
    if value.shape[0] != like.shape[0]:
        value = spread(value, like)[0]
    if value in taken or value.producer is None:
        value = identity(value)
    taken.add(value)
    graph.output(name, value)
