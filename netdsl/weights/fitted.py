"""A file's weights under other names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.weights.file import WeightFile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from netdsl.weights.file import Array
    from netdsl.weights.keras import KerasModel

    Turn = Callable[[Array], Array]


class Fitted(WeightFile):
    """The weights of `file`, `names` being what each is called now and what it is called there.

    `turns` reorder the values of some, which then have our element order and no longer Keras's. `any_value` lets NaN,
    infinities and negative variances pass.
    """

    __slots__ = ("_any_value", "_doubled", "_file", "_names", "_turns")

    def __init__(
        self,
        file: WeightFile,
        names: Mapping[str, str],
        *,
        doubled: Mapping[str, list[str]] | None = None,
        turns: Mapping[str, Turn] | None = None,
        any_value: bool = False,
    ) -> None:
        self.path = file.path
        self._file = file
        self._names = names
        self._doubled = doubled or {}
        self._turns = turns
        self._any_value = any_value
        self.entries = {name: file.entries[old] for name, old in names.items()}

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._file.metadata

    @property
    def doubled(self) -> Mapping[str, list[str]]:
        return self._doubled or self._file.doubled

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
    def origins(self) -> Mapping[str, str]:
        """What each weight is called in the file on disk."""
        if not isinstance(self._file, Fitted):
            return self._names
        inner = self._file.origins
        return {name: inner[old] for name, old in self._names.items()}

    def stream(self, keys: Collection[str]) -> Iterator[tuple[str, Array]]:
        if self._turns:
            return super().stream(keys)
        now = {self._names[key]: key for key in keys}
        return ((now[old], part) for old, part in self._file.stream(now))

    def read(self, key: str) -> Array:
        array = self._file.read(self._names[key])
        return self._turns[key](array) if self._turns and key in self._turns else array
