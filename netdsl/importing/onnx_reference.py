"""Compute the values of an ONNX model by onnxruntime, with its own weights or with others."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from netdsl.base.size import Size
from netdsl.importing.flat import FlatNet, Trial
from netdsl.importing.onnx_file import OnnxFile
from netdsl.importing.onnx_reader import MALFORMED, Reader
from netdsl.importing.onnx_upgrade import OLDEST, TARGET, convert, upgrade
from netdsl.importing.onnx_widen import widen
from netdsl.importing.proof import TOLERANCE, replacements
from netdsl.importing.proof_net import session_of
from netdsl.importing.recompile import Differs, ModelFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx import GraphProto

    from netdsl.base.dtypes import Array
    from netdsl.importing.flat import FlatLayer

    Values = Mapping[FlatLayer, tuple[str, tuple[int, ...]]]


WIDENED = "the model computes in half precision, and the net in float32: its weights are widened exactly"
"""The note about a model of half precision."""

MULTIPLE = 32
"""What sizes are multiples of, if branches have equal sizes only then."""


def read(path: str, shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})) -> FlatNet:
    """Read an ONNX model as a flat list, with onnxruntime as its reference; `shapes` are sizes of inputs. Raises
    BadImport, NoSuchInput."""
    file = OnnxFile(path)
    reader = Reader(file, shapes=shapes)
    net = reader.run()
    if len(net.refused):
        dynamic = any(isinstance(size, Size) for x in net.inputs.values() for size in x.shape[1:])
        others = [{"multiple": MULTIPLE}] * dynamic + [{"single": True}] * (net.batch in (None, 1))
        attempts = (Reader(file, shapes=shapes, **each) for each in others)  # type: ignore[arg-type]
        reader = next((each for each in attempts if not len(each.run().refused)), reader)
        _note_limits(reader, net.batch)
        net = reader.net
    net.bytes = file.size

    def reference(seed: int | None) -> Trial:
        if seed is None:
            return Trial(net, _Runner(file, reader, {}, net.notes))
        others = replacements(reader.used, seed)
        again = Reader(file, others, reader.multiple, shapes, reader.single)
        return Trial(again.run(), _Runner(file, again, others, net.notes))

    net.reference = reference
    return net


def _note_limits(reader: Reader, batch: int | None) -> None:
    """Tell for which sizes alone a net is the model, whose own batch has a size or None."""
    if reader.multiple > 1:
        why = "its branches or paddings would have unequal sizes"
        reader.net.leave_out(f"sizes that are no multiples of {MULTIPLE}", "", why)
    if reader.single and batch is None:
        reader.net.leave_out("batches of several examples", "", "the model computes with the size of the batch")


class _Runner:
    """A model in onnxruntime, whose outputs are the values of some layers. It adds to `notes`."""

    def __init__(self, file: OnnxFile, reader: Reader, replaced: Mapping[str, Array], notes: list[str]) -> None:
        self.file, self.reader, self.replaced, self.notes = file, reader, replaced, notes
        self.layers: list[FlatLayer] = []
        self.session: Any = None

    def __call__(self, feeds: Mapping[str, Array], layers: Sequence[FlatLayer]) -> list[Array | None]:
        origins = {layer: self.reader.origins[layer] for layer in layers if layer in self.reader.origins}
        outputs = {name: layer for name, layer in self.reader.net.outputs.items() if layer in origins}
        names = [*(name for name, _ in origins.values()), *outputs]
        if self.session is None or self.layers != list(layers):
            self.session = None  # the old one's memory first
            self.session, notes = _session(self.file, names, self.reader, self.replaced)
            self.layers = list(layers)
            self.notes += [note for note in notes if note not in self.notes]
        types = self.reader.types
        wanted = {value.name: value.type for value in self.session.get_inputs()}
        given = {name: array for name, array in self.reader.numbers.items() if name in wanted}
        for name, array in feeds.items():
            if name in wanted:
                _, order = self.reader.origins[self.reader.net.inputs[name]]
                dtype = "float32" if wanted[name] == "tensor(float)" else types[name]
                given[name] = np.ascontiguousarray(array.astype(dtype).transpose(order))
        try:
            values = self.session.run(names, given)
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ModelFailed(f"the model itself fails: {str(error).splitlines()[0][:300]}") from None
        found = {
            layer: _in_order(value, order) for (layer, (_, order)), value in zip(origins.items(), values, strict=False)
        }
        results: dict[FlatLayer, Array] = {}  # an output may be behind nodes that have no layers
        for (name, layer), value in zip(outputs.items(), values[len(origins) :], strict=True):
            if not isinstance(value, np.ndarray):  # a ZipMap's dictionaries
                continue
            array = _in_order(value, self.reader.orders[name])
            first = results.setdefault(layer, array)
            if array is not first and not _equal(first, array):
                raise Differs(f"{layer} is the output {name}, and another one whose values are others")
        found.update(results)
        return [found.get(layer) for layer in layers]


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=TOLERANCE * float(np.abs(a).max(initial=0)))


def _in_order(array: Array, order: tuple[int, ...]) -> Array:
    """Return a value of the model with the axes of the layer's result."""
    numbers = array if array.dtype == np.int64 else array.astype(np.float32)
    if array.ndim != len(order):
        raise Differs(f"a value has the shape {list(array.shape)} in the model, and {len(order)} axes in the net")
    return numbers.transpose([order.index(axis) for axis in range(len(order))])


def _session(
    file: OnnxFile, names: Sequence[str], reader: Reader, replaced: Mapping[str, Array]
) -> tuple[Any, list[str]]:
    """Return a session with some values as outputs, and with replaced constants, and notes about it. The
    weights stay in their files."""
    model = ModelProto()
    model.CopyFrom(file.model)
    graph = model.graph
    del graph.output[:]
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(names))
    kept = [tensor for tensor in graph.initializer if tensor.name in reader.needed - replaced.keys()]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in replaced.items())
    made = [node for node in graph.node if {*node.output} & reader.needed and not {*node.output} & replaced.keys()]
    del graph.node[:]
    graph.node.extend(made)
    inputs = [value for value in graph.input if value.name in reader.needed - replaced.keys()]
    del graph.input[:]
    graph.input.extend(inputs)
    for tensor in graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            _locate(tensor, file)
    _load_inner(graph, file)
    notes = [WIDENED] if widen(model) else []
    folder = os.path.dirname(os.path.abspath(file.path))
    if reader.opset < OLDEST:
        for each in (model, convert(model)):
            try:
                if each is not None:
                    return session_of(each.SerializeToString(), folder), notes
            except Exception:  # onnxruntime's exceptions share no base class
                continue
        try:
            rewritten = ", ".join(upgrade(model, reader.rank_of))
        except MALFORMED:
            raise Differs("onnxruntime cannot load the model: an attribute of a node is malformed") from None
        notes.append(f"netdsl itself wrote operators of opset {reader.opset} as those of opset {TARGET}: {rewritten}")
    try:
        return session_of(model.SerializeToString(), folder), notes
    except Exception as error:
        raise Differs(f"onnxruntime cannot load the model: {str(error).splitlines()[0][:300]}") from None


def _load_inner(graph: GraphProto, file: OnnxFile) -> None:
    """Read the large tensors that are attributes of nodes, or constants of branches, into the model."""
    waiting = [graph]
    while waiting:
        inner = waiting.pop()
        tensors = [attribute.t for node in inner.node for attribute in node.attribute]
        for tensor in (*tensors, *(inner.initializer if inner is not graph else ())):
            if tensor.data_location == TensorProto.EXTERNAL:
                tensor.CopyFrom(numpy_helper.from_array(np.asarray(file.array(tensor)), tensor.name))
        waiting += [attribute.g for node in inner.node for attribute in node.attribute if attribute.HasField("g")]


def _locate(tensor: TensorProto, file: OnnxFile) -> None:
    """Point a tensor at its bytes in the model's file, or in that beside it."""
    path, offset, length = file.place(tensor)
    name = os.path.basename(path or file.path)
    del tensor.external_data[:]
    for key, value in (("location", name), ("offset", offset), ("length", length)):
        if key != "length" or length:
            tensor.external_data.add(key=key, value=str(value))
