"""Merge tensors of a file that are one weight in the net: that of a tied or reused layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.shape import format_shape
from netdsl.weights.errors import NotTied
from netdsl.weights.file import WeightView

if TYPE_CHECKING:
    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile


def tied_names(net: Net) -> dict[str, str]:
    """Return the names under which a file may also have a weight, with the net's: `lm_head.weight` for `wte.weight` if
    `lm_head` is tied to `wte`."""
    pairs = {f"{node.name}.{word}": p.name for node in net.nodes for word, p in node.parameters.items()}
    return {name: own for name, own in pairs.items() if name != own and name not in net.parameters}


def merge_tied(net: Net, file: WeightFile) -> WeightFile:
    """Return the file with each weight of the net under its own name only. Frameworks save a tied weight under all of
    its names, or under any one of them. Raises NotTied if the tensors of one weight differ."""
    names = {key: key for key in file.entries}
    for name, own in tied_names(net).items():
        if name not in names:
            continue
        if own in names:
            _check_equal(file, names[own], name, own)
            del names[name]
        else:
            names[own] = names.pop(name)
    return WeightView(file, names) if len(names) < len(file.entries) or any(a != b for a, b in names.items()) else file


def _check_equal(file: WeightFile, first: str, second: str, own: str) -> None:
    """Raise NotTied unless two tensors have the same type, shape and bits."""
    a, b = file.entries[first], file.entries[second]
    if a.shape != b.shape or a.dtype != b.dtype:
        told = f"one is {a.dtype} {format_shape(a.shape)}, the other {b.dtype} {format_shape(b.shape)}"
    else:
        x, y = (np.ascontiguousarray(file.read(key)).reshape(-1) for key in (first, second))
        bits = f"u{x.dtype.itemsize}"  # NaN equals itself, and -0 is not 0
        different = np.count_nonzero(x.view(bits) != y.view(bits))
        if not different:
            return
        told = f"{different:,} of {x.size:,} values differ"
    raise NotTied(
        f"`{first}` and `{second}` are not tied in {file.path}, but in the net both are `{own}`: {told}",
        f"untie them in the net, or load one of them: --drop '^{re.escape(second)}$'",
    )
