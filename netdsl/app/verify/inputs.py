"""Random inputs for an ONNX model, of whichever tool, by what it declares of its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from netdsl.backend.run_time_sizes import parsed
from netdsl.base.size import Size
from netdsl.importing.proof_inputs import SIZES
from netdsl.ir.names import LEAST, WRITER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from onnx import GraphProto, ModelProto

    from netdsl.base.dtypes import Array

INDEXED = ("Gather", "Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Concat", "Slice")
"""Operators through which an input reaches the embedding that it indexes."""

BINARY = 2
"""Integers of an input that indexes nothing are below this, as in masks."""

FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
INTEGERS = {f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


class NoInputs(Exception):
    """A model for which there are no random inputs; the text says why."""


class Declared(NamedTuple):
    """An input as onnxruntime describes it: a size is a number, a text or None."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]


def declared_inputs(session: Any) -> list[Declared]:
    """Return the inputs of a session of onnxruntime."""
    return [Declared(x.name, x.type, tuple(x.shape)) for x in session.get_inputs()]


def is_batched(inputs: Sequence[Declared]) -> bool:
    """Return whether all inputs begin with the same axis of any size, that of the examples."""
    firsts = {x.shape[0] if x.shape else 0 for x in inputs}
    return len(firsts) == 1 and not any(isinstance(size, int) for size in firsts)


def random_inputs(
    model: ModelProto, inputs: Sequence[Declared], *, seed: int, batch: int, size: int = SIZES[0]
) -> dict[str, Array]:
    """Return random numbers for all inputs, for `batch` examples if any number is possible. Sizes that the model leaves
    open are about `size`. Raises NoInputs."""
    words = vocabularies(model.graph)
    shapes = _shapes(inputs, {entry.key: entry.value for entry in model.metadata_props}, batch, size)
    generator = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for x, shape in zip(inputs, shapes, strict=True):
        if x.type in FLOATS:
            found[x.name] = generator.standard_normal(shape).astype(FLOATS[x.type])
        elif x.type == "tensor(uint8)":
            found[x.name] = generator.integers(0, 256, shape, np.uint8)
        elif x.type in INTEGERS:
            found[x.name] = generator.integers(0, words.get(x.name, BINARY), shape).astype(INTEGERS[x.type])
        elif x.type == "tensor(bool)":
            found[x.name] = generator.integers(0, 2, shape).astype(bool)
        else:
            raise NoInputs(f"the input `{x.name}` is a {x.type}, for which there are no random values")
    return found


def vocabularies(graph: GraphProto) -> dict[str, int]:
    """Return the least number of vectors of the embeddings that an input indexes, by its name."""
    rows = {tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) > 1}
    origins: dict[str, set[str]] = {value.name: {value.name} for value in graph.input}
    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type not in INDEXED:
            continue
        if node.op_type == "Gather" and node.input[0] in rows and not _axis(node):
            for name in origins.get(node.input[1], ()):
                found[name] = min(found.get(name, rows[node.input[0]]), rows[node.input[0]])
            continue
        reached = set().union(*(origins.get(name, set()) for name in node.input))
        if reached:
            origins.update((name, reached) for name in node.output)
    return found


def _axis(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)


def _shapes(inputs: Sequence[Declared], metadata: Mapping[str, str], batch: int, size: int) -> list[tuple[int, ...]]:
    """Return the shape of each input, with the same value for a name wherever it occurs."""
    formulas = WRITER in metadata
    values: dict[str, int] = {}
    batched = is_batched(inputs)
    declared: list[list[Size | int]] = []
    for x in inputs:
        sizes = [
            each if isinstance(each, int) else (parsed(each or "", formulas) or Size(each or f"{x.name}[{axis}]"))
            for axis, each in enumerate(x.shape)
        ]
        declared.append([batch if batched and axis == 0 else each for axis, each in enumerate(sizes)])
    for symbol, factor in _symbols(declared).items():
        least = metadata.get(LEAST + symbol, "1")
        other = SIZES[0] if size != SIZES[0] and len(values) % 2 else size
        values[symbol] = max(other // factor, int(least) if least.isdecimal() else 1)
    return [tuple(_value(each, values) for each in sizes) for sizes in declared]


def _symbols(declared: Iterable[Iterable[Size | int]]) -> dict[str, int]:
    """Return the named sizes, and the factor that each first occurs with."""
    found: dict[str, int] = {}
    for sizes in declared:
        for size in sizes:
            if isinstance(size, Size):
                for symbol in size.symbols:
                    found.setdefault(symbol, max(dict(size.terms).get(symbol, 1), 1))
    return found


def _value(size: Size | int, values: Mapping[str, int]) -> int:
    value = size.substitute({**values}) if isinstance(size, Size) else size
    if not isinstance(value, int) or value < 1:
        raise NoInputs(f"there is no size of an input that is `{size}`")
    return value
