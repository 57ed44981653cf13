"""Nets as ONNX models without their weights: as flat lists, and as hashes that do not depend on names of layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from netdsl.backend.compile import structure
from netdsl.backend.emit import Emitted
from netdsl.importing.flat import FlatNet
from netdsl.importing.onnx_file import OnnxFile
from netdsl.importing.onnx_reader import Reader
from netdsl.ir.net import Net
from netdsl.lower import lower
from tests.support.onnx_models import Array

COMMUTATIVE = frozenset(["Add", "Mul", "Sum"])


class _Skeleton(OnnxFile):
    """A model whose weights are all ones, which take no memory."""

    __slots__ = ("parameters",)

    def __init__(self, emitted: Emitted, name: str) -> None:
        self.path, self._files, self.model = name, {}, emitted.model
        self.parameters = {p.name: p.shape for p in emitted.parameters}
        for name, shape in self.parameters.items():
            self.model.graph.initializer.add(name=name, dims=shape, data_type=TensorProto.FLOAT)

    def array(self, tensor: TensorProto) -> Array:
        if tensor.name in self.parameters:
            return np.broadcast_to(np.float32(1), self.parameters[tensor.name])
        return super().array(tensor)


def flat_list(net: Net) -> FlatNet:
    """Return a net as the flat list of its ONNX model."""
    return Reader(_Skeleton(structure(lower(net)), f"{net.name}.onnx")).run()


def fingerprint(
    net: Net, renamed: Mapping[str, str] | None = None
) -> tuple[list[tuple[str, str]], dict[str, tuple[int, ...]]]:
    """Return what a net computes, as a hash for each output, and its weights by name, of which some can be `renamed`.

    Operands of sums and products are sorted, a concat of a concat is one, identities, products with 1 and selections of
    all channels are left out, slices are where they start and the sizes of their results, and reshapes of known sizes
    are these alone, also one behind another; so are transpositions of axes of size 1.
    """
    new = renamed or {}
    emitted = structure(lower(net))
    graph = emitted.model.graph
    inferred = onnx.shape_inference.infer_shapes(emitted.skeleton).graph
    sizes = {each.name: str(each.type) for each in [*inferred.input, *inferred.value_info, *inferred.output]}
    found = {"": ""} | {each.name: _hash(each.name, str(each.type)) for each in graph.input}
    found |= {p.name: _hash(new.get(p.name, p.name), p.shape) for p in emitted.parameters}
    found |= {each.name: _hash(each.dims, each.data_type, each.raw_data) for each in graph.initializer}
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    concats: dict[tuple[str, str], list[str]] = {}
    sources: dict[str, str] = {}
    for node in graph.node:
        if _is_reshape(node, sizes):
            (name,) = node.output
            sources[name] = source = sources.get(node.input[0], node.input[0])
            same_shape = sizes.get(source) == sizes[name]
            found[name] = found[source] if same_shape else _hash("Reshape", found[source], sizes[name])
            continue
        inputs = [found[name] for name in node.input]
        attributes = str(
            sorted((each.name, each.SerializeToString()) for each in node.attribute if each.name != "body")
        )
        if node.op_type in COMMUTATIVE:
            inputs.sort()
        if node.op_type == "Concat":
            inputs = [part for name in node.input for part in concats.get((name, attributes), [found[name]])]
            concats[node.output[0], attributes] = inputs
        if node.op_type == "Slice":
            inputs = [inputs[0], *_first(node, constants, sizes), inputs[3], sizes[node.output[0]]]
        same = _unchanged(node, constants, sizes)
        for at, name in enumerate(node.output):
            found[name] = _hash(node.op_type, attributes, inputs, at) if same is None else found[same]
    single = len(graph.output) == 1
    outputs = sorted(("" if single else each.name, found[each.name]) for each in graph.output)
    return outputs, {new.get(p.name, p.name): p.shape for p in emitted.parameters}


def _is_reshape(node: onnx.NodeProto, sizes: Mapping[str, str]) -> bool:
    """Return whether a node reshapes to known sizes: a Reshape, or a Transpose of axes of size 1."""
    if node.op_type == "Reshape":
        return not re.search(r'dim \{\s*\}|"unk_', sizes.get(node.output[0], "dim {}"))  # which depend on the order
    if node.op_type != "Transpose":
        return False
    dims = re.findall(r"dim \{\s*dim_\w+: (\S+)", sizes.get(node.input[0], ""))
    axes = [axis for axis in node.attribute[0].ints if axis >= len(dims) or dims[axis] != "1"]
    return bool(dims) and axes == sorted(axes)


def _first(node: onnx.NodeProto, constants: Mapping[str, Array], sizes: Mapping[str, str]) -> Iterator[str]:
    """Yield the first element that a slice takes of each of its axes; negative ones count from a known end."""
    dims = re.findall(r"dim \{\s*(?:dim_value: (\d+))?", sizes.get(node.input[0], ""))
    for start, axis in zip(constants[node.input[1]].tolist(), constants[node.input[3]].tolist(), strict=True):
        known = dims[axis] if axis < len(dims) else ""
        yield str(start % int(known) if known else start)


def _unchanged(node: onnx.NodeProto, constants: Mapping[str, Array], sizes: Mapping[str, str]) -> str | None:
    """Return the input that a node returns as it is, if it does."""
    first = node.input[0] if node.input else ""
    if node.op_type == "Identity":
        return first
    constant = constants.get(node.input[1]) if len(node.input) == 2 else None
    if node.op_type == "Mul" and constant is not None and constant.shape == () and constant == 1:
        return first
    if node.op_type == "Gather" and constant is not None and constant.tolist() == [*range(constant.size)]:
        return first if sizes.get(first) == sizes.get(node.output[0]) else None
    return None


def _hash(*parts: object) -> str:
    return sha256(repr(parts).encode()).hexdigest()
