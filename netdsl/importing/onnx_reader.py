"""Read an ONNX model of any opset as a flat list."""

from __future__ import annotations

import json
import os
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.base.dtypes import ONNX
from netdsl.base.size import Size, Undecidable
from netdsl.declare.arguments import Word
from netdsl.importing.calls import check_names, drop_unread_inputs, share_weights
from netdsl.importing.flat import FlatLayer, FlatNet, FlatWeight
from netdsl.importing.onnx_constants import HIDDEN, MADE_UP, Root, is_embedding, is_name, moved_root, root_of
from netdsl.importing.onnx_file import OnnxFile
from netdsl.importing.onnx_fold import EVALUATED, RULES, OnnxNode, Unsupported, fold, shape_array
from netdsl.importing.onnx_inputs import batch_axes, number_of_input, sizes_of_input
from netdsl.importing.onnx_parts import unsupported_part
from netdsl.importing.onnx_values import Moved, fixed_shape, like, ordered, settled
from netdsl.importing.stacks import stack
from netdsl.importing.tidy import tidy
from netdsl.importing.torch_classes import SCOPES, module_classes
from netdsl.layers.input import PREPROCESSING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from onnx import GraphProto, ValueInfoProto

    from netdsl.base.dtypes import Array

    Given = Array | Moved | None
    Handler = Callable[..., "Moved | list[Moved | None] | Array | None"]

HANDLERS: dict[str, Handler] = {}
"""What makes layers of a node, by its operator: it gets the reader, the node, and the values of its inputs."""

MODULES = (
    "onnx_windows",
    "onnx_elementwise",
    "onnx_conditions",
    "onnx_shaping",
    "onnx_products",
    "onnx_attention",
    "onnx_recurrent",
    "onnx_ml",
)
"""The modules with handlers."""

NO_LAYER = "netdsl has no layer for it"

MAX_NESTING = 8
"""Maximum nesting of conditions."""

MAX_COMPUTED = 2**29
"""Maximum number of bytes of all constants that are computed, beside four times those of the model."""

MAX_EVALUATED = 2**24
"""Maximum number of elements that onnx's reference evaluator reads and computes."""

INPUT_TYPES = {
    "float32": "f32",
    "float64": "f32",
    "float16": "f16",
    "bfloat16": "f32",
    "uint8": "u8",
    "int64": "i64",
    "int32": "i64",
}
"""Element types of inputs; integers of 32 bits become those of 64."""


LAZY: set[str] = set()
"""Operators whose handlers take values with axes that are split or joined."""


def handles(*operators: str, lazy: bool = False) -> Callable[[Handler], Handler]:
    """Register what makes layers of some operators."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(operators, handler))
        LAZY.update(operators if lazy else ())
        return handler

    return register


MALFORMED = (TypeError, ValueError, IndexError, KeyError, AttributeError, ZeroDivisionError, OverflowError)
"""Exceptions for nodes that no checker has seen."""

NAMES = ("netdsl.classes.", "netdsl.columns.", "netdsl.targets.", "netdsl.loss.", "netdsl.blank.", "netdsl.lengths.")
"""How the keys of metadata begin that belong to the weights."""


class LeftOut(Exception):
    """A node whose results are left out of the net, such as the names of classes; the text says what."""


class Reader:
    """One pass through a model.

    `needed` are the names of all values that the outputs need, `used` the constants that became weights, but for those
    that are `fixed`, because their elements select layers, `roots` the weights that other constants are rearranged
    from, `params` those that are layers, and `origins` where the model has the value of a layer: its name there, and
    the order of its axes, which `orders` has for outputs. `replaced` are constants with other elements than the file's.
    Sizes that are known only at run time are those of `shapes`, without the batch, or multiples of `multiple`;
    `numbers` are the inputs without axes, which `shapes` makes constants. If `single`, a batch has one example, and
    shapes are computed with that.
    """

    def __init__(
        self,
        file: OnnxFile,
        replaced: Mapping[str, Array] | None = None,
        multiple: int = 1,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        single: bool = False,
    ) -> None:
        for module in MODULES:
            import_module(f"netdsl.importing.{module}")
        self.file = file
        self.graph = file.model.graph
        versions = {entry.domain: entry.version for entry in file.model.opset_import}
        self.opset = versions.get("", versions.get("ai.onnx", 1))
        self.replaced = replaced or {}
        self.multiple = multiple
        self.single = single
        self.shapes = shapes or {}
        self.numbers: dict[str, Array] = {}
        name = os.path.splitext(os.path.basename(file.path))[0]
        self.net = FlatNet(name, file.path)
        model = file.model
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.net.metadata = {key: text for key, text in self.metadata.items() if key.startswith(NAMES)}
        self.net.producer = f"{model.producer_name} {model.producer_version}".strip()
        self.values: dict[str, Given] = {"": None}
        self.left_out: set[str] = set()
        self.unread: dict[str, str] = {}
        self.batch: int | None = None
        self.types: dict[str, str] = {}
        self.used: dict[str, Array] = {}
        self.fixed: set[str] = set()
        self._held: dict[int, Array] = {}
        self._bytes = self._evaluated = 0
        self.roots: dict[str, Root] = {}
        self.params: dict[tuple[str, tuple[int, ...]], FlatLayer | None] = {}
        self.needed: set[str] = set()
        self.origins: dict[FlatLayer, tuple[str, tuple[int, ...]]] = {}
        self.orders: dict[str, tuple[int, ...]] = {}

    # --- the graph ---

    def run(self) -> FlatNet:
        """Read the model."""
        constants = {tensor.name: tensor for tensor in self.graph.initializer}
        for tensor in self.graph.initializer:
            self._define(tensor.name, self.file.array(tensor))
        for sparse in self.graph.sparse_initializer:
            self.net.refuse("a sparse tensor", sparse.values.name)
        inputs = [value for value in self.graph.input if value.name not in constants]
        check_names(self.file.path, self.shapes, [value.name for value in inputs])
        axes = batch_axes(inputs)
        for value in inputs:
            self._input(value, axes.get(value.name, 0))
        self._nodes([OnnxNode(proto) for proto in self.graph.node], {each.name for each in self.graph.output})
        for value in self.graph.output:
            self._output(value.name)
        for old, new in (*stack(self.net).items(), *tidy(self.net).items()):
            if old in self.origins:
                self.origins[new] = self.origins[old]
        self.net.classes = module_classes(self.graph.node)
        self.used = {name: array for name, array in self.used.items() if name not in self.fixed | self.net.fixed}
        share_weights(self.net)
        drop_unread_inputs(self.net)
        if not self.net.outputs and not len(self.net.refused):
            self.net.refuse("a model without outputs")
        return self.net

    def _nodes(self, nodes: Sequence[OnnxNode], wanted: set[str], depth: int = 0) -> None:
        """Read the nodes that the wanted values need."""
        needed: list[OnnxNode] = []
        for node in reversed(nodes):
            if not wanted.isdisjoint(node.outputs):
                needed.append(node)
                wanted.update(node.inputs, _free_names(node))
        self.needed |= wanted
        for node in reversed(needed):
            try:
                self._node(node, depth)
            except (Unsupported, Undecidable) as error:
                lost = not str(error) and isinstance(error, Unsupported)  # an input was refused before
                why = str(error) or "it depends on sizes that are known only at run time"
                self._lost(node, self.net.refuse if not lost else lambda *_: None, node.op, why)
            except LeftOut as error:
                self.left_out.update(node.outputs)
                self._lost(node, self.net.leave_out, str(error))
            except MALFORMED:  # attributes that are missing or of another type, too few or too many inputs
                self._lost(node, self.net.refuse, node.op, "its inputs or attributes are not those of the operator")

    def _lost(self, node: OnnxNode, tell: Callable[[str, str, str], None], what: str, why: str = "") -> None:
        tell(what, node.place, why)
        self.values.update(dict.fromkeys(node.outputs, None))

    def _node(self, node: OnnxNode, depth: int) -> None:
        missing = [name for name in node.inputs if name not in self.values]
        if missing:
            why = self.unread.get(missing[0], "computed nowhere before it")
            raise Unsupported(f"its input `{missing[0]}` is {why}")
        given = [self.values[name] for name in node.inputs]
        if any(value is None and name for name, value in zip(node.inputs, given, strict=True)):
            if not self.left_out.isdisjoint(node.inputs):
                self.left_out.update(node.outputs)
            elif not self._is_known(node.op):
                raise Unsupported(NO_LAYER)
            self.values.update(dict.fromkeys(node.outputs, None))
            return
        if node.op == "If":
            self._condition(node, given[0], depth)
        elif node.op == "Constant":
            self._define(node.outputs[0], self._constant(node))
        elif node.op == "Shape" and isinstance(given[0], Moved):
            sizes = fixed_shape(self.net, given[0]) if self.single else given[0].shape
            sizes = sizes[node.get("start", 0) : node.get("end", given[0].rank)]
            self._define(node.outputs[0], shape_array(sizes))
        elif is_embedding(self, node, given[0] if given else None, given[-1] if given else None):
            self._layers(node, given, depth)
        elif node.op not in RANDOM and (known := _known(given)) is not None:
            found = fold(node, known, self.opset)
            if node.op not in RULES and node.op != "Split":
                self._evaluated += sum(each.size for each in [*known, *found] if each is not None)
                if self._evaluated > MAX_EVALUATED:
                    raise self.file.bad("too many of its constants are to be computed")
            for name, array in zip(node.outputs, found, strict=False):
                self._define(name, array)
            self._trace(node, known[0])
        else:
            self._layers(node, given, depth)

    def _trace(self, node: OnnxNode, x: Array | None) -> None:
        """Remember the weight of which the result of a node has the elements, if it does."""
        y = self.values.get(node.outputs[0])
        if x is not None and isinstance(y, np.ndarray):
            root = moved_root(node, root_of(self.roots, node.inputs[0], x), x, y)
            if root is not None:
                self.roots[node.outputs[0]] = root

    def _layers(self, node: OnnxNode, given: list[Given], depth: int) -> None:
        if why := unsupported_part(node.op, given):
            raise Unsupported(why)
        handler = HANDLERS.get(node.op)
        if handler is None:
            raise Unsupported(NO_LAYER)
        if node.op not in LAZY:
            given = [settled(self.net, value, node.place) if isinstance(value, Moved) else value for value in given]
        found = handler(self, node, *given)
        results = found if isinstance(found, list) else [found]
        for name in node.outputs[len(results) :]:
            self.unread[name] = f"a result of {node.op} that netdsl has no layer for"
        for name, value in zip(node.outputs, results, strict=False):
            self.values[name] = self.replaced.get(name, self._kept(value)) if isinstance(value, np.ndarray) else value
            if isinstance(value, Moved) and value.is_simple and not depth:
                self.origins.setdefault(value.layer, (name, value.order))

    @staticmethod
    def _is_known(operator: str) -> bool:
        """Return whether there is a layer for an operator, or a constant that it could fold to."""
        return (
            operator in HANDLERS
            or operator in ("If", "Split")
            or operator in RULES
            or bool(EVALUATED.fullmatch(operator))
        )

    def _condition(self, node: OnnxNode, condition: Given, depth: int) -> None:
        """Read the branch of an If that a constant condition selects."""
        if isinstance(condition, Moved) or condition is None:
            raise Unsupported("its condition depends on the inputs")
        if depth >= MAX_NESTING:
            raise Unsupported(f"conditions are nested more than {MAX_NESTING} deep")
        branch: GraphProto = node.get("then_branch" if condition.reshape(-1)[0] else "else_branch")
        for tensor in branch.initializer:
            self._define(tensor.name, self.file.array(tensor))
        names = [each.name for each in branch.output]
        self._nodes([OnnxNode(proto) for proto in branch.node], set(names), depth + 1)
        for name, inner in zip(node.outputs, names, strict=False):
            self.values[name] = found = self.values.get(inner)
            if isinstance(found, Moved) and found.is_simple and not depth:
                self.origins.setdefault(found.layer, (name, found.order))

    def _constant(self, node: OnnxNode) -> Array:
        for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
            value = node.get(name)
            if value is not None:
                dtype = np.float32 if "float" in name else np.int64
                return self.file.array(value) if name == "value" else np.array(value, dtype)
        raise Unsupported("it is no array of numbers")

    def _define(self, name: str, array: Array) -> None:
        self.values[name] = self.replaced.get(name, self._kept(array))

    def _kept(self, array: Array) -> Array:
        """Return a constant whose memory is counted, unless it is that of another one or of a file. Raises BadImport if
        there is too much."""
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if owner.base is None and id(owner) not in self._held:
            self._held[id(owner)] = owner
            self._bytes += owner.nbytes
            if self._bytes > MAX_COMPUTED + 4 * self.file.size:
                raise self.file.bad(f"its constants take more than {self._bytes >> 20:,} MiB when they are computed")
        return array

    # --- inputs and outputs ---

    def _input(self, value: ValueInfoProto, batch: int) -> None:
        """Declare an input, of which an axis is the batch."""
        self.values[value.name] = None
        place = f"input {value.name}"
        kind = value.type.tensor_type
        dtype = ONNX.get(kind.elem_type, "")
        given = self.shapes.get(value.name)
        if not value.type.HasField("tensor_type") or dtype not in INPUT_TYPES:
            return self.net.refuse(f"an input of {dtype or 'another type than a tensor'}", place)
        if not kind.HasField("shape"):
            return self.net.refuse("an input without a shape", place)
        try:
            if not kind.shape.dim:
                self.values[value.name] = self.numbers[value.name] = number_of_input(value, dtype, given)
                return self.net.leave_out("an input", place, f"it is {self.numbers[value.name]}")
            sizes = sizes_of_input(value, batch, given, self.multiple)
        except Unsupported as error:
            return self.net.refuse("an input", place, str(error))
        if len(sizes) < 2:
            return self.net.refuse("an input with fewer axes than a batch has", place)
        first = sizes.pop(batch)
        first = 1 if self.single and isinstance(first, Size) else first
        if isinstance(first, int):
            if self.batch not in (None, first):
                return self.net.refuse("an input", place, f"its batch has the size {first}, and another's {self.batch}")
            self.batch = self.net.batch = first
        if first in sizes and isinstance(first, Size):
            return self.net.refuse("an input whose size is that of the batch", place)
        self.types[value.name] = dtype
        arguments = {"dtype": Word(INPUT_TYPES[dtype]), **self._preprocessing(value.name)}
        layer = self.net.input(value.name, sizes, place, **arguments)
        order = [*range(1, len(sizes) + 1)]
        order.insert(batch, 0)
        self.values[value.name] = found = like(layer, order)
        if found is not None:
            self.origins[found.layer] = (value.name, found.order)
            self._note_batch(found.order, place)
        return None

    def _note_batch(self, order: Sequence[int], place: str) -> None:
        """Tell that the batch comes first in the net, and not in the model."""
        if order[0] != 0:
            self.net.leave_out("the order of axes", place, f"the batch is its axis {order.index(0)} in the model")

    def _preprocessing(self, name: str) -> dict[str, object]:
        """Return how images become an input, if netdsl wrote the model."""
        try:
            found = json.loads(self.metadata.get(f"netdsl.input.{name}", "{}"))
        except (ValueError, RecursionError):
            found = {}
        given = found.items() if isinstance(found, dict) else ()
        return {key: _argument(each) for key, each in given if key in PREPROCESSING}

    def _output(self, name: str) -> None:
        value, place = self.values.get(name), f"output {name}"
        if name in self.net.inputs and len(self.graph.output) > 1:  # both would have the name in a net
            self.net.leave_out("an output", place, "it is an input")
        elif isinstance(value, Moved):
            try:
                value = settled(self.net, value, place)
                order = [*range(1, value.rank)]
                order.insert(value.order.index(0), 0)
                value = ordered(self.net, value, order, place)
            except Unsupported as error:
                return self.net.refuse("an output", place, str(error))
            self._note_batch(order, place)
            self.orders[name] = tuple(order)
            self.origins.setdefault(value.layer, (name, value.order))
            self.net.output(name, value.layer)
        elif name in self.left_out:
            self.net.leave_out("an output", place)
        elif isinstance(value, np.ndarray):
            self.net.leave_out("an output", place, "it is a constant")
        elif name not in self.values:
            self.net.refuse("an output", place, f"it is {self.unread.get(name, 'computed by no node')}")
        elif value is not None or not len(self.net.refused):
            self.net.refuse("an output", place, "netdsl has no layer for it")
        return None

    def rank_of(self, name: str) -> int:
        """Return the number of axes of a value in the model."""
        value = self.values[name]
        return value.rank if isinstance(value, Moved) else np.ndim(value)  # type: ignore[arg-type]

    # --- for handlers ---

    def weight(self, name: str, array: Array | None = None) -> FlatWeight:
        """Return a constant as a weight, or an `array` that is computed from it."""
        value = self.values[name]
        if not isinstance(value, np.ndarray):
            raise Unsupported("its weights are computed from the inputs")
        self.used[name] = value
        found = value if array is None else self._kept(array)
        source = name, found.__array_interface__["data"], found.shape, found.strides
        return FlatWeight(found.shape, lambda: np.ascontiguousarray(found, np.float32), source)

    def param(self, node: OnnxNode, name: str, array: Array) -> FlatLayer | None:
        """Return a constant as a `param`, for all nodes that read it the same one."""
        key = name, array.shape
        if key not in self.params:
            weight = {"weight": self.weight(name, array)}
            if array.min() <= HIDDEN:  # what a mask hides is no number that could be another
                self.fixed.add(name)
            path = name if is_name(name) else ""
            self.params[key] = self.add(node, "param", [], {"sizes": array.shape}, weight, path=path)
        return self.params[key]

    def add(
        self,
        node: OnnxNode,
        kind: str,
        xs: Sequence[FlatLayer],
        arguments: Mapping[str, object] | None = None,
        weights: Mapping[str, FlatWeight] | None = None,
        **more: Any,
    ) -> FlatLayer | None:
        """Add a layer for a node."""
        path = more.pop("path", None)
        path = self.path(node) if path is None else path
        return self.net.add(kind, xs, arguments, weights, path=path, place=node.place, **more)

    def path(self, node: OnnxNode) -> str:
        """Return the dotted name of the module that a node is of, from its weight, or its own name; or nothing."""
        for name in node.inputs[1:2]:
            stem: str = name.rpartition(".")[0]
            if stem and not MADE_UP.match(name) and isinstance(self.values.get(name), np.ndarray):
                return stem
        for entry in node.proto.metadata_props:
            if entry.key == SCOPES:
                scopes: list[str] = re.findall(r"'([^']*)'", entry.value)
                return scopes[-2] if len(scopes) > 1 else ""
        stem, _, op = node.name.rpartition("/")
        if op.startswith(node.op) and re.fullmatch(r"[A-Za-z_][\w.]*", stem):
            return stem
        parts = node.name.strip("/").split("/")
        if len(parts) < 2 or not node.name.startswith("/"):
            return "" if len(parts) > 1 else node.name if re.fullmatch(r"[A-Za-z_][\w.]*", node.name) else ""
        found = previous = ""
        for part in parts[:-1]:  # `layer1`, `layer1.0`, `conv1`: a part can repeat the one before it
            found += part.removeprefix(previous) if part.startswith(f"{previous}.") else f".{part}"
            previous = part
        return found.removeprefix(".")


RANDOM = frozenset(["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial"])
"""Operators without a result to fold."""


def _argument(value: object) -> object:
    """Return a value of JSON as an argument."""
    return tuple(value) if isinstance(value, list) else Word(value) if isinstance(value, str) else value


def _known(given: Sequence[Given]) -> list[Array | None] | None:
    """Return values that are all constants, or left out; else None."""
    found = [value for value in given if value is None or isinstance(value, np.ndarray)]
    return found if len(found) == len(given) else None


def _free_names(node: OnnxNode) -> set[str]:
    """Return the names that the branches of a condition may use from around it."""
    found: set[str] = set()
    waiting = [value for value in node.attributes.values() if hasattr(value, "node")]
    while waiting:
        graph = waiting.pop()
        found.update(each.name for each in graph.output)
        for inner in graph.node:
            found.update(inner.input)
            waiting += [attribute.g for attribute in inner.attribute if attribute.HasField("g")]
    return found
