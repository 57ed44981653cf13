"""The nets that come with netdsl, by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from netdsl.api.loading import load
from netdsl.diagnostics.suggest import suggest
from netdsl.elaborate.library import zoo as shipped

if TYPE_CHECKING:
    from netdsl.api.loading import Setting
    from netdsl.api.net import Net


class ZooEntry:
    """A net of the zoo: where it is from, and `load`, which takes its parameters."""

    __slots__ = ("_net", "file", "name")

    def __init__(self, name: str, file: str) -> None:
        self.name = name
        self.file = file
        self._net: Net | None = None

    def load(self, **parameters: Setting) -> Net:
        """The net, as `netdsl.load` gives it."""
        return load(self.name, **parameters)

    @property
    def about(self) -> dict[str, object]:
        """What the net says of itself; the first look at it takes as long as a `load`."""
        if self._net is None:
            self._net = self.load()
        return self._net.about

    @property
    def paper(self) -> str | None:
        paper = self.about.get("paper")
        return None if paper is None else str(paper)

    @property
    def authors(self) -> str | None:
        authors = self.about.get("authors")
        return None if authors is None else str(authors)

    @property
    def year(self) -> int | None:
        year = self.about.get("year")
        return year if isinstance(year, int) else None

    def __repr__(self) -> str:
        return f"<{self.name} of the zoo, in {self.file}>"


class Zoo(Mapping[str, ZooEntry]):
    """The shipped nets by name, in the order of their files.

    ```python
    >>> netdsl.zoo["resnet50"].year
    2015
    >>> "lenet5" in netdsl.zoo
    True

    ```
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[str, ZooEntry] | None = None

    @property
    def _all(self) -> dict[str, ZooEntry]:
        if self._entries is None:
            self._entries = {name: ZooEntry(name, file) for name, file in shipped().items()}
        return self._entries

    def __getitem__(self, name: str) -> ZooEntry:
        try:
            return self._all[name]
        except KeyError:
            close = [f"; did you mean {word!r}?" for word in suggest(str(name), self._all)[:1]]
            raise KeyError(f"no network of the zoo is called {name!r}{''.join(close)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return f"<zoo: {', '.join(self)}>"


zoo = Zoo()
