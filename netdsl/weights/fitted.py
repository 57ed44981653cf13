"""A file's weights under other names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.weights.file import Entry, WeightFile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from netdsl.weights.file import Array
    from netdsl.weights.keras import KerasModel

    Turn = Callable[[Array], Array]


class Fitted(WeightFile):
    """The weights of `file`, `names` being what each is called now and what it is called there.

    `turns` reorder the values of some, which then have our element order and no longer Keras's. `any_value` lets NaN,
    infinities and negative variances pass. `initial` are the network's weights that are not taken from the file, and
    `left` the file's that are left over.
    """

    __slots__ = ("_any_value", "_doubled", "_file", "_initial", "_left", "_names", "_turns")

    def __init__(
        self,
        file: WeightFile,
        names: Mapping[str, str],
        *,
        doubled: Mapping[str, list[str]] | None = None,
        turns: Mapping[str, Turn] | None = None,
        any_value: bool = False,
        initial: frozenset[str] = frozenset(),
        left: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.path = file.path
        self._file = file
        self._names = names
        self._doubled = doubled or {}
        self._turns = turns
        self._any_value = any_value
        self._initial = initial
        self._left = left or {}
        self.entries = {name: file.entries[old] for name, old in names.items()}
        for name in turns or ():
            entry = self.entries[name]
            self.entries[name] = Entry(entry.dtype, entry.shape)  # laid out as ours, whatever a graph makes of it

    @property
    def metadata(self) -> Mapping[str, str]:
        return {} if self._initial else self._file.metadata  # names of classes are those of a head

    @property
    def doubled(self) -> Mapping[str, list[str]]:
        return self._doubled or self._file.doubled

    @property
    def initial(self) -> frozenset[str]:
        return self._initial | self._file.initial

    @property
    def left(self) -> Mapping[str, tuple[int, ...]]:
        return {**self._file.left, **self._left}

    @property
    def any_value(self) -> bool:
        return self._any_value or self._file.any_value

    @property
    def ordered(self) -> bool:
        return self._file.ordered

    @property
    def keras(self) -> KerasModel | None:
        return self._file.keras if self._turns is None else None

    @property
    def layers(self) -> list[dict[str, str]] | None:
        inner = self._file.layers
        if inner is None:
            return None
        now = {old: name for name, old in self._names.items()}
        return [{word: now[old] for word, old in layer.items() if old in now} for layer in inner]

    @property
    def origins(self) -> Mapping[str, str]:
        """What each weight is called in the file on disk."""
        if not isinstance(self._file, Fitted):
            return self._names
        inner = self._file.origins
        return {name: inner[old] for name, old in self._names.items()}

    def stream(self, keys: Collection[str]) -> Iterator[tuple[str, Array]]:
        now = {self._names[key]: key for key in keys}
        if self._turns or len(now) < len(keys):  # two layers share a tensor
            return super().stream(keys)
        return ((now[old], part) for old, part in self._file.stream(now))

    def read(self, key: str) -> Array:
        array = self._file.read(self._names[key])
        return self._turns[key](array) if self._turns and key in self._turns else array
