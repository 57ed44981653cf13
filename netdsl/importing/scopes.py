"""Group the statements of a tree by the names of their weights: `layer1.0.conv1` is in `layer1`, and in its `0`."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from netdsl.importing.notation import clean
from netdsl.importing.structure import Group, Path, Step, has_weights, layers_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from netdsl.importing.flat import FlatLayer, FlatNet
    from netdsl.importing.structure import Item

MAX_DEPTH = 30
"""Maximum number of parts of a name; others are not used."""


def parts(path: str) -> Path:
    """Return the parts of a dotted name as words and numbers, or none if it has others."""
    found = tuple(part if re.fullmatch(r"\w+", part, re.ASCII) else clean(part) for part in path.split("."))
    found = tuple(part if is_number(part) or not part[:1].isdigit() else f"_{part}" for part in found)
    return found if all(found) and len(found) <= MAX_DEPTH else ()


def is_number(part: str) -> bool:
    return bool(re.fullmatch(r"0|[1-9]\d*", part))


def common(a: Path, b: Path) -> int:
    """Return how many first parts two names have in common."""
    same = [x == y for x, y in zip(a, b, strict=False)]
    return [*same, False].index(False)


def joined(path: Path, modules: Sequence[Path]) -> Path:
    """Return a name in which these modules are no groups: `convs.0` becomes `convs_0`, in all lists of that name."""
    for module in modules:
        word, found = module[-1], list(path[:1])
        for at, part in enumerate(path[1:], 1):
            if found[-1] == word and (is_number(part) or path[:at] == module):
                found[-1] = f"{word}_{part}"
            else:
                found.append(part)
        path = tuple(found)
    return path


def claims(net: FlatNet) -> dict[FlatLayer, Path]:
    """Return the names that weights can keep: each is that of one layer, and not that of a group."""
    found: dict[FlatLayer, Path] = {}
    counters = _counters(net)
    taken: set[Path] = set()
    groups: set[Path] = set()
    for layer in net.live():
        path = parts(layer.path) if layer.path and layer.kind != "input" and has_weights(layer) else ()
        inner = {path[:count] for count in range(1, len(path))}
        if not path or is_number(path[0]) or _stem(path) in counters or path in taken | groups or inner & taken:
            continue
        found[layer] = path
        taken.add(path)
        groups |= inner
    return found


def _stem(path: Path) -> str:
    """Return the word before the number of a name without groups."""
    match = re.fullmatch(r"(.*?)\d+", path[0]) if len(path) == 1 else None
    return match[1] if match else ""


def _counters(net: FlatNet) -> set[str]:
    """Return the words behind which nodes are numbered, whatever they are: these are no names that a person gave."""
    kinds: dict[str, set[str]] = {}
    for layer in net.live():
        kinds.setdefault(_stem(parts(layer.path)) if layer.path else "", set()).add(layer.kind)
    return {stem for stem, own in kinds.items() if stem and (len(own) > 1 or re.fullmatch(r"(node_)?[A-Z]\w*_", stem))}


class Scopes:
    """The names of a net: `names` of its weights, and `hints`, the modules that other layers are in. `sizes` are how
    many names are in each module, and `numbered` the modules that have numbers as names."""

    def __init__(self, net: FlatNet, names: Mapping[FlatLayer, Path], apart: Sequence[Path] = ()) -> None:
        self.names = names
        modules = Counter(path[:count] for path in names.values() for count in range(1, len(path)))
        self.sizes = modules
        self.numbered = {path[:at] for path in names.values() for at, part in enumerate(path) if is_number(part)}
        self.hints: dict[FlatLayer, Path] = {}
        for layer in net.live():
            if layer not in names and layer.path and layer.kind != "input":
                path = joined(parts(layer.path), apart)
                self.hints[layer] = path if path in modules else path[:-1]

    @property
    def modules(self) -> dict[FlatLayer, Path]:
        """The modules that layers are in."""
        return {**{layer: path[:-1] for layer, path in self.names.items()}, **self.hints}

    def grouped(self, items: Sequence[Item], prefix: Path = ()) -> list[Item]:
        """Return statements with those under a name in groups."""
        found: list[Item] = []
        at = 0
        spans = self._spans(items, prefix)
        while at < len(items):
            item = items[at]
            if at in spans:
                end, part = spans[at]
                inner = self.grouped(items[at:end], (*prefix, part))
                found.append(Group(part, inner, (*prefix, part) in self.numbered))
                at = end
                continue
            if isinstance(item, Step):
                branches = [None if each is None else self.grouped(each, prefix) for each in item.branches]
                item = Step(item.layer, tuple(branches))
            found.append(item)
            at += 1
        return found

    def _spans(self, items: Sequence[Item], prefix: Path) -> dict[int, tuple[int, str]]:
        """Return the groups among statements: by where they begin, where they end, and their name."""
        keys = [self._part(item, prefix) for item in items]
        spans: dict[int, tuple[int, str]] = {}
        ends = {key: at for at, key in enumerate(keys) if key}
        at = 0
        while at < len(items):
            key = keys[at]
            if not key or not self._is_whole(key, items, at, ends[key] + 1, prefix):
                at += 1
                continue
            first, end = at, ends[key] + 1
            while first and keys[first - 1] == "" and self._hint(items[first - 1], prefix) == key:
                first -= 1
            while end < len(items) and keys[end] == "" and self._hint(items[end], prefix) == key:
                end += 1
            spans[first] = end, key
            at = end
        return spans

    def _is_whole(self, part: str, items: Sequence[Item], at: int, end: int, prefix: Path) -> bool:
        """Return whether statements are all that is under a name, and nothing else is among them."""
        path = (*prefix, part)
        inside = [self.names[layer] for layer in layers_of(items[at:end]) if layer in self.names]
        if any(each[: len(path)] != path for each in inside) or path in inside:
            return False
        return len(inside) == self.sizes[path]

    def _part(self, item: Item, prefix: Path) -> str | None:
        """Return the part that the names of all weights in a statement have next: empty if there are none, None if
        they differ."""
        depth = len(prefix)
        found = {self.names[layer][: depth + 1] for layer in layers_of([item]) if layer in self.names}
        if not found:
            return ""
        (path,) = found if len(found) == 1 else ((),)
        hint = self.hints.get(item.layer, path) if isinstance(item, Step) else path
        if hint[: len(path)] != path and path[: len(hint)] == hint:
            return None  # the merge of branches is outside of the module that they are in
        return path[-1] if len(path) > depth and path[:depth] == prefix else None

    def _hint(self, item: Item, prefix: Path) -> str:
        """Return the part that the module of a statement has next, or nothing."""
        layers = list(layers_of([item]))
        hint = self.hints.get(layers[-1], ()) if layers else ()
        return hint[len(prefix)] if len(hint) > len(prefix) and hint[: len(prefix)] == prefix else ""


def numbers(items: Sequence[Item], names: Mapping[FlatLayer, Path], prefix: Path) -> Iterator[int]:
    """Yield the numbers that statements of a `seq` have as their names, in the order of the text."""
    for item in items:
        if isinstance(item, Group):
            if is_number(item.name):
                yield int(item.name)
            continue
        for inner in item.lists():
            yield from numbers(inner, names, prefix)
        path = names.get(item.layer, ())
        if path[:-1] == prefix and path and is_number(path[-1]):
            yield int(path[-1])
