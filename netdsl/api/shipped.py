"""The zoo: the nets that are shipped with netdsl."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from netdsl.api.loading import load
from netdsl.app.zoo import index
from netdsl.base.suggest import suggest

if TYPE_CHECKING:
    from netdsl.api.loading import Setting
    from netdsl.api.net import Net


class ZooEntry:
    """A net of the zoo, published in `paper` by `authors` in `year`, with its source in `file`.

    `params` is the number of weights, and `macs` that of multiply-accumulates for one example (None if a size is known
    only at run time).
    """

    __slots__ = ("authors", "file", "macs", "name", "paper", "params", "year")

    def __init__(
        self, name: str, *, file: str, year: int, params: int, macs: int | None, paper: str, authors: str
    ) -> None:
        self.name = name
        self.file = file
        self.year = year
        self.params = params
        self.macs = macs
        self.paper = paper
        self.authors = authors

    def load(self, **parameters: Setting) -> Net:
        """Load the net with these parameters, like `netdsl.load`."""
        return load(self.name, **parameters)

    def __repr__(self) -> str:
        return f"<{self.name} of the zoo: {self.paper}, {self.year}>"


class Zoo(Mapping[str, ZooEntry]):
    """A read-only mapping of the shipped nets by name, oldest first.

    ```python
    >>> netdsl.zoo["resnet50"]
    <resnet50 of the zoo: Deep Residual Learning for Image Recognition, 2015>
    >>> netdsl.zoo["resnet50"].params
    25557032

    ```
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[str, ZooEntry] | None = None

    @property
    def _all(self) -> dict[str, ZooEntry]:
        if self._entries is None:
            self._entries = {name: ZooEntry(name, **known) for name, known in index().items()}
        return self._entries

    def __getitem__(self, name: str) -> ZooEntry:
        try:
            return self._all[name]
        except KeyError:
            close = [f"; did you mean {word!r}?" for word in suggest(str(name), self._all)[:1]]
            raise KeyError(f"the zoo has no net {name!r}{''.join(close)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return f"<zoo: {', '.join(self)}>"


zoo = Zoo()
