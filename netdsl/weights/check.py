"""Check a file's weights against a net: names, shapes and types when it is opened, values when they are read."""

from __future__ import annotations

import re
from itertools import groupby, takewhile
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.dtypes import FLOATS
from netdsl.base.shape import format_shape
from netdsl.base.suggest import suggest
from netdsl.weights.errors import BadWeightValues, UnclearUse, WeightsDoNotFit, WrongWeightType

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from netdsl.base.dtypes import Array
    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile

    Shape = tuple[int, ...]
    Floats = NDArray[np.float32]

MAX_HEADS = 3
"""Maximum number of layers suggested for `--except`."""

MAX_TRIES = 8
"""Maximum number of nets elaborated to find a suggestion."""

BY_ORDER = "the shapes are the network's, in the same order: --match order matches them by it, and prints the pairs"


def alike(key: str, lost: Mapping[str, Shape], spare: Mapping[str, Shape]) -> str | None:
    """Return the only unexpected weight with the shape of a missing one, unless its name resembles a missing name."""
    same = [other for other, shape in spare.items() if shape == lost[key]]
    if len(same) != 1 or suggest(same[0], lost, 1):
        return None
    twins = [other for other, shape in lost.items() if shape == lost[key]]
    return same[0] if len(twins) == 1 else None


def renaming_help(lost: Mapping[str, Shape], spare: Mapping[str, Shape]) -> Iterator[str]:
    """Yield suggestions for renaming the unexpected weights (`spare`) to the missing ones (`lost`)."""
    if not lost or not spare:
        return
    for prefix in _prefixes(spare):
        if {key.removeprefix(prefix) for key in spare} == lost.keys():
            yield f"--rename '^{re.escape(prefix)}' '' removes the prefix that all of them have"
            return
    for prefix in _prefixes(lost):
        if {prefix + key for key in spare} == lost.keys():
            yield f"--rename '^' '{prefix}' adds the missing prefix to all of them"
            return
    if list(lost.values()) == list(spare.values()):
        yield BY_ORDER


def head_help(net: Net, wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> Iterator[str]:
    """Yield suggestions if at least half of the net's weights (`wanted`) match the file's (`found`): a parameter value
    with which the shapes match, layers to exclude, or --partial."""
    wrong = [name for name, shape in wanted.items() if found.get(name) != shape]
    if 2 * len(wrong) > len(wanted):
        return
    for name, value in _candidates(net, wanted, found, wrong):
        other = net.variant(name, value) if net.variant is not None else None
        if other is not None and {key: p.shape for key, p in other.parameters.items() if key in wanted} == found:
            yield f"--set {name}={value} makes the shapes of {net.name} match the file"
            break
    labels = [*dict.fromkeys(name.rpartition(".")[0] for name in wrong)]
    if found.keys() - wanted.keys():
        if all(name not in found for name in wrong):
            some = f"{len(wanted) - len(wrong)} of {len(wanted)}"
            yield f"--partial loads the {some} weights that match; in Python, partial=True"
    elif 0 < len(labels) <= MAX_HEADS and all(labels):
        it = "it" if len(labels) == 1 else "them"
        yield (
            f"--except {' '.join(labels)} leaves {it} initial and loads the rest, as for transfer learning; "
            f"in Python, exclude={labels}"
        )


def _candidates(
    net: Net, wanted: Mapping[str, Shape], found: Mapping[str, Shape], wrong: list[str]
) -> list[tuple[str, int]]:
    """Return values of the net's integer parameters that could explain the different sizes, the likeliest first."""
    sizes = {
        pair
        for name in wrong
        if name in found and len(wanted[name]) == len(found[name])
        for pair in zip(wanted[name], found[name], strict=True)
        if pair[0] != pair[1]
    }
    settings = {name: int(text) for name, text in net.settings.items() if str(text).isdecimal()}  # type: ignore[call-overload]
    equal = [(name, is_now) for name, value in settings.items() for before, is_now in sorted(sizes) if before == value]
    moved = [(name, value + is_now - before) for name, value in settings.items() for before, is_now in sorted(sizes)]
    return [pair for pair in dict.fromkeys([*equal, *moved]) if pair[1] > 0][:MAX_TRIES]


def _prefixes(keys: Collection[str]) -> Iterator[str]:
    """Yield the common prefixes of all names, up to a dot, longest first."""
    low, high = min(keys).split("."), max(keys).split(".")  # all others sort between these
    words = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(low[:-1], high[:-1], strict=False))]
    while words:
        yield ".".join(words) + "."
        words.pop()


MAX_LINES_SHOWN = 10
"""Maximum number of weights listed for each kind of mismatch."""

IGNORED = "num_batches_tracked"
"""Last part of the names of ignored tensors: PyTorch's batch counters, which do not affect inference."""

ANY_VALUE = "--allow-nonfinite accepts such values; in Python, allow_nonfinite=True"


class CheckedWeights:
    """The net's weights by name. Each access reads, converts and checks a weight; none is kept in memory."""

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
        """Return a weight as a contiguous float32 array. float16 and bfloat16 convert exactly, float64 is rounded."""
        if key not in self._keys:
            raise KeyError(key)
        stored = self._file.read(key)
        values = _floats(stored)
        if not self._file.allow_nonfinite:
            _check_values(self._file.path, key, values, stored)
        return values

    def stream(self) -> Iterator[tuple[str, Floats]]:
        """Yield all weights by name, in order: each as an array, or in consecutive flat parts."""
        checked = not self._file.allow_nonfinite
        for key, parts in groupby(self._file.stream(self._keys), itemgetter(0)):
            vanished = survived = False
            for _, stored in parts:
                values = _floats(stored)
                if checked and not _are_usable(key, values):
                    self[key]  # raises the error, with the number of invalid values in all parts
                if checked and not survived and stored.dtype.itemsize > values.dtype.itemsize:
                    vanished = vanished or _vanishes(values, stored)
                    survived = bool(values.any())
                yield key, values
            if vanished and not survived:
                self[key]


def checked_weights(
    parameters: Mapping[str, Shape], file: WeightFile, *, optional: Collection[str] = (), net: Net | None = None
) -> CheckedWeights:
    """Return the file's weights for these names and shapes. Raises WeightsDoNotFit, which lists all mismatches,
    WrongWeightType, or UnclearUse.

    `parameters` includes running statistics. The result lacks weights that keep their initial values. The file may
    contain weights in `optional`, those of training heads; they are not read. `net` is used for suggestions.
    """
    parameters = {key: shape for key, shape in parameters.items() if key not in file.initial}
    check_clear(file, parameters)
    passed = {key for key in file.entries if key in optional or is_ignored(key)}
    missing = [key for key in parameters if key not in file.entries]
    unexpected = [key for key in file.entries if key not in parameters and key not in passed]
    misshapen = [key for key, shape in parameters.items() if key in file.entries and file.entries[key].shape != shape]
    if missing or unexpected or misshapen or file.doubled:
        lost = {key: parameters[key] for key in missing}
        spare = {key: file.entries[key].shape for key in unexpected}
        renames = [*renaming_help(lost, spare)]
        found = {key: entry.shape for key, entry in file.entries.items() if key not in passed}
        raise WeightsDoNotFit(
            f"the weights in {file.path} do not match the net",
            *renames,
            *_transposing_help({key: parameters[key] for key in misshapen}, file),
            *(head_help(net, parameters, found) if net is not None and not renames and not file.doubled else ()),
            details=[
                *_listed("missing", missing, lambda key: _missing(key, lost, spare)),
                *_listed("unexpected", unexpected, lambda key: _meant(key, lost, spare)),
                *_listed("doubled", list(file.doubled), lambda key: _doubled(key, file)),
                *_listed("with the wrong shape", misshapen, lambda key: _misshapen(key, parameters[key], file)),
            ],
        )
    for key in parameters:
        if (kind := file.entries[key].dtype) not in FLOATS:
            small = kind.startswith("float")
            raise WrongWeightType(
                f"{file.path}: `{key}` is {kind}, but weights must be floating-point" + ", of 16 bits or more" * small,
                *["convert it to float16 or float32, with the scale that belongs to it"] * small,
            )
    return CheckedWeights(parameters.keys(), file)


def check_clear(file: WeightFile, keys: Iterable[str]) -> None:
    """Raise UnclearUse if the role of one of these tensors is unclear in the file's graph."""
    for key in keys:
        use = file.entries[key].use if key in file.entries else None
        if use is not None and use.unclear:
            raise UnclearUse(f"{file.path}: the role of `{key}` is unclear: it {use.unclear}")


def is_ignored(key: str) -> bool:
    """Return whether a tensor of a file is ignored when weights are matched."""
    return key.split(".")[-1] == IGNORED


def _listed(title: str, keys: list[str], line: Callable[[str], str]) -> Iterator[str]:
    """Yield a heading with the number of keys, and a line for each of the first ones."""
    if keys:
        yield f"  {len(keys)} {title}:"
        yield from (f"    {line(key)}" for key in keys[:MAX_LINES_SHOWN])
    if len(keys) > MAX_LINES_SHOWN:
        yield f"    and {len(keys) - MAX_LINES_SHOWN} more"


def _missing(key: str, lost: Mapping[str, Shape], spare: Mapping[str, Shape]) -> str:
    found = alike(key, lost, spare)
    return f"{key} {format_shape(lost[key])}" + (f"; similar: `{found}`" if found else "")


def _meant(key: str, lost: Mapping[str, Shape], spare: Mapping[str, Shape]) -> str:
    guess = suggest(key, lost, 1)
    return f"{key} {format_shape(spare[key])}" + (f"; did you mean `{guess[0]}`?" if guess else "")


def _doubled(key: str, file: WeightFile) -> str:
    old = " and ".join(f"`{name}`" for name in file.doubled[key][:MAX_LINES_SHOWN])
    return f"{key}: the name of {old}"


def _transposing_help(misshapen: Mapping[str, Shape], file: WeightFile) -> Iterator[str]:
    """Yield a pattern for `--transpose` if matrices are the transposes of the net's, and name those that fit without a
    rule that transposes them."""
    turned = [key for key, wanted in misshapen.items() if len(wanted) == 2 and file.entries[key].shape == wanted[::-1]]
    if again := [key for key in turned if key in file.transposed]:
        names = ", ".join(again[:MAX_LINES_SHOWN]) + ", …" * (len(again) > MAX_LINES_SHOWN)
        yield f"a rule transposes {names}, which would fit without: change its pattern"
    origins = file.origins
    if once := {key: origins[key] for key in turned if key not in file.transposed}:
        layers = dict.fromkeys(".".join(name.split(".")[-2:]) for name in once.values())
        pattern = f"({'|'.join(map(re.escape, layers))})$" if len(layers) > 1 else f"{re.escape(*layers)}$"
        first = ", as the first option," if [*once] != [*once.values()] else ""
        yield (
            f"--transpose '{pattern}'{first} transposes them, if the file has [in, out] matrices; "
            "it must match the square ones of the same kind too, whose shape does not tell"
        )


def _misshapen(key: str, wanted: Shape, file: WeightFile) -> str:
    found = file.entries[key].shape
    turned = " (transposed)" if len(wanted) == 2 and found == wanted[::-1] else ""
    return f"{key} is {format_shape(found)}{turned}, expected {format_shape(wanted)}"


def _floats(stored: Array) -> Floats:
    if stored.dtype == np.float32 and stored.flags.c_contiguous:
        return stored
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(stored, dtype=np.float32).reshape(stored.shape)


def _are_usable(key: str, values: Floats) -> bool:
    return bool(np.isfinite(values).all()) and not (_is_variance(key) and bool((values < 0).any()))


def _vanishes(values: Floats, stored: Array) -> bool:
    """Return whether all values are zero in float32, but not as stored."""
    return stored.dtype.itemsize > values.dtype.itemsize and bool(stored.any()) and not values.any()


def _is_variance(key: str) -> bool:
    return key.split(".")[-1] == "running_var"


def _check_values(path: str, key: str, values: Floats, stored: Array) -> None:
    wrong = values.size - int(np.count_nonzero(np.isfinite(values)))
    if wrong:
        what = "too large for float32" if np.isfinite(stored).all() else "NaN or infinite"
        raise BadWeightValues(f"{path}: {wrong:,} of {values.size:,} values of `{key}` are {what}", ANY_VALUE)
    if _vanishes(values, stored):
        raise BadWeightValues(f"{path}: all {values.size:,} values of `{key}` are too small for float32", ANY_VALUE)
    if _is_variance(key) and (negative := int(np.count_nonzero(values < 0))):
        raise BadWeightValues(f"{path}: {negative:,} of {values.size:,} variances of `{key}` are negative", ANY_VALUE)
