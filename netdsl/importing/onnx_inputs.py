"""The inputs of an ONNX model: which of their axes is the batch, and the sizes and numbers that a user fixes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.size import Size
from netdsl.importing.notation import clean
from netdsl.importing.onnx_fold import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ValueInfoProto

    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Dim


def batch_axes(inputs: Sequence[ValueInfoProto]) -> dict[str, int]:
    """Return the axis of each input that is its batch: the first one, unless the size of the batch, which is the first
    one of the first input, is that of another axis alone. A recurrent state is [layers, batch, size]."""
    shaped = [value for value in inputs if len(value.type.tensor_type.shape.dim) > 1]
    if not shaped:
        return {}
    batch = _size(shaped[0], 0)
    found = {}
    for value in shaped:
        sizes = [_size(value, axis) for axis in range(len(value.type.tensor_type.shape.dim))]
        elsewhere = [axis for axis, size in enumerate(sizes) if size == batch]
        found[value.name] = elsewhere[0] if sizes[0] != batch and len(elsewhere) == 1 else 0
    return found


def _size(value: ValueInfoProto, axis: int) -> int | str:
    """Return a size, or the name of one that is known only at run time."""
    dim = value.type.tensor_type.shape.dim[axis]
    return int(dim.dim_value) if dim.dim_value > 0 else str(dim.dim_param)


def sizes_of_input(value: ValueInfoProto, batch: int, given: Sequence[int] | None, multiple: int) -> list[Dim]:
    """Return the sizes of an input with its batch. Those that are known only at run time are `given`, without the
    batch, or else multiples of a number. Raises Unsupported."""
    dims = value.type.tensor_type.shape.dim
    if given is not None and len(given) != len(dims) - 1:
        raise Unsupported(f"it has {len(dims) - 1} sizes without the batch, and {len(given)} are given")
    fixed = iter(given or ())
    sizes: list[Dim] = []
    for axis, dim in enumerate(dims):
        symbol = clean(dim.dim_param) or f"{clean(value.name)}_{axis}"
        known: Dim = dim.dim_value
        if dim.dim_value <= 0:
            known = Size(symbol if symbol != "N" else "N_") * (multiple if axis > 1 else 1)
        if given is not None and axis != batch:
            size = next(fixed)
            if isinstance(known, int) and known != size:
                raise Unsupported(f"its axis {axis} has the size {known}, and {size} is given")
            known = size
        sizes.append(known)
    return sizes


def number_of_input(value: ValueInfoProto, dtype: str, given: Sequence[int] | None) -> Array:
    """Return the number that an input without axes is fixed to. Raises Unsupported."""
    if given is None or len(given) != 1:
        raise Unsupported(f"a net has no input of a single number; fix it by `--input {value.name}=16000`")
    return np.array(given[0], dtype)
