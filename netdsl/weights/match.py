"""Do a file's weights fit a network? By name and shape, strictly, before a value is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.diagnostics.suggest import suggest
from netdsl.diagnostics.terminal import escape
from netdsl.weights.errors import BadWeightValues, WeightsDoNotFit, WrongWeightType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from netdsl.weights.file import WeightFile

    Shape = tuple[int, ...]
    Floats = np.ndarray[Any, np.dtype[np.float32]]

SHOWN = 10
PASSED_OVER = "num_batches_tracked"
"""PyTorch counts a batch norm's batches; the count has no part in what is computed."""

FLOATS = ("float16", "bfloat16", "float32", "float64")


class MatchedWeights:
    """The network's weights by name, each read, converted and checked when it is asked for, and not kept."""

    __slots__ = ("_file", "_keys")

    def __init__(self, keys: Collection[str], file: WeightFile) -> None:
        self._keys = keys
        self._file = file

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __getitem__(self, key: str) -> Floats:
        """[shape], float32, contiguous. float16 and bfloat16 convert exactly, float64 to the nearest."""
        if key not in self._keys:
            raise KeyError(key)
        stored = self._file.read(key)
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(stored, dtype=np.float32).reshape(stored.shape)
        _check_values(self._file.path, key, values)
        return values


def match(parameters: Mapping[str, Shape], file: WeightFile, *, optional: Collection[str] = ()) -> MatchedWeights:
    """The file's weights for these names and shapes, or an error that lists all that does not fit.

    `parameters` includes running statistics. `optional` names may be in the file or not, and are not read: the weights
    of training heads.
    """
    passed = {key for key in file.entries if key in optional or key.split(".")[-1] == PASSED_OVER}
    missing = [key for key in parameters if key not in file.entries]
    unexpected = [key for key in file.entries if key not in parameters and key not in passed]
    misshapen = [key for key, shape in parameters.items() if key in file.entries and file.entries[key].shape != shape]
    if missing or unexpected or misshapen:
        raise WeightsDoNotFit(
            "\n".join(
                [
                    f"the weights in {escape(file.path)} do not fit",
                    *_listed("missing", [f"{escape(key)} {_spell(parameters[key])}" for key in missing]),
                    *_listed("unexpected", [_meant(key, file, missing) for key in unexpected]),
                    *_listed("misshapen", [_misshapen(key, parameters[key], file) for key in misshapen]),
                ]
            )
        )
    for key in parameters:
        if (kind := file.entries[key].dtype) not in FLOATS:
            raise WrongWeightType(f"{escape(file.path)}: `{escape(key)}` is {kind}; weights are floating-point")
    return MatchedWeights(parameters.keys(), file)


def _listed(title: str, lines: list[str]) -> Iterator[str]:
    """A heading with a count, and the first lines."""
    if lines:
        yield f"  {len(lines)} {title}:"
        yield from (f"    {line}" for line in lines[:SHOWN])
    if len(lines) > SHOWN:
        yield f"    and {len(lines) - SHOWN} more"


def _meant(key: str, file: WeightFile, missing: list[str]) -> str:
    guess = suggest(key, missing, 1)
    return f"{escape(key)} {_spell(file.entries[key].shape)}" + (f"; did you mean `{guess[0]}`?" if guess else "")


def _misshapen(key: str, wanted: Shape, file: WeightFile) -> str:
    found = file.entries[key].shape
    turned = " (transposed)" if len(wanted) == 2 and found == wanted[::-1] else ""
    return f"{escape(key)} is {_spell(found)}{turned}, and should be {_spell(wanted)}"


def _spell(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _check_values(path: str, key: str, values: Floats) -> None:
    wrong = values.size - int(np.count_nonzero(np.isfinite(values)))
    if wrong:
        raise BadWeightValues(
            f"{escape(path)}: {wrong:,} of {values.size:,} values of `{escape(key)}` are NaN or infinite"
        )
    if key.split(".")[-1] == "running_var" and (negative := int(np.count_nonzero(values < 0))):
        raise BadWeightValues(
            f"{escape(path)}: {negative:,} of {values.size:,} variances of `{escape(key)}` are negative"
        )
