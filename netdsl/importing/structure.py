"""Find the nesting of a flat list: each layer moves into the branch of the merge that alone needs it.

Source: Click, Global code motion, global value numbering (1995): a value is computed as late as possible, at the lowest
common ancestor of its uses.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

Path = tuple[str, ...]
"""A name in parts, without dots."""

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from netdsl.importing.flat import FlatLayer, FlatNet

MAX_BRANCH = 40
"""Maximum number of layers of a branch; longer ones become the flow, and other operands are labels."""

MAX_MODULE = 80
"""The same for the branch of a merge in a numbered module, whose layers belong together."""

MAX_NESTED = 3
"""Maximum number of merges, one within the other, in a branch."""

LEAST_ALIKE = 4
"""Minimum number of operands of which one is made like the others."""


class Step:
    """A layer in the tree. `branches` are the statements of its operands, None for those that are values from before
    it."""

    __slots__ = ("branches", "layer")

    def __init__(self, layer: FlatLayer, branches: tuple[list[Item] | None, ...]) -> None:
        self.layer = layer
        self.branches = branches

    def lists(self) -> Iterator[list[Item]]:
        return (branch for branch in self.branches if branch is not None)


class Group:
    """Statements under a name, which is a number in a `seq`."""

    __slots__ = ("body", "name", "seq")

    def __init__(self, name: str, body: list[Item], seq: bool) -> None:
        self.name = name
        self.body = body
        self.seq = seq

    def lists(self) -> Iterator[list[Item]]:
        yield self.body


Item = Step | Group


def layers_of(items: Iterable[Item]) -> Iterator[FlatLayer]:
    """Yield the layers of statements in the order of the text."""
    for item in items:
        for inner in item.lists():
            yield from layers_of(inner)
        if isinstance(item, Step):
            yield item.layer


def branchable(layer: FlatLayer) -> range:
    """Return the positions of the operands that can be branches; the others are the current value, or labels."""
    operands, _ = layer.layer.split(layer.inputs)
    count, takes = len(operands), type(layer.layer).operands
    if not takes or count < 2:
        return range(count if takes and 0 not in takes and layer.kind != "state" else 0)
    return range(1 if layer.layer.flow_first and count not in takes else 0, count)


def arrange(net: FlatNet) -> None:
    """Rewrite a net as its text has it: a concat of what an earlier one joins takes that, and the operand of a sum that
    is a branch comes last, as in `skip`."""
    _associate(net)
    homes = _Homes(net, {})
    for layer in homes.layers:
        if layer.kind in COMMUTATIVE and len(layer.inputs) == 2:
            a, b = (homes.length((layer, at)) for at in range(2))
            if a > b:
                layer.inputs = layer.inputs[::-1]


def nested(net: FlatNet, modules: Mapping[FlatLayer, Path], early: bool = False, named: bool = False) -> list[Item]:
    """Return the statements of an arranged net. A value that several merges need is where the first one needs it, if
    `early`, and else before all of them. Layers with weights of one of the `modules` are together and, if these are
    `named`, without those of others."""
    return _Homes(net, modules, early, named).tree()


def has_weights(layer: FlatLayer) -> bool:
    """Return whether a layer has weights of its own."""
    declared = layer.layer.rules(tuple(value.shape for value in layer.inputs))[1]
    return bool(declared) and layer.shares is None


def _associate(net: FlatNet) -> None:
    """Replace the first operands of each concat by an earlier concat of just these."""
    known: dict[tuple[object, ...], FlatLayer] = {}
    for layer in net.layers:
        if layer.kind != "concat":
            continue
        operands, axis = tuple(layer.inputs), layer.layer.axis  # type: ignore[attr-defined]
        for count in range(len(operands) - 1, 1, -1):
            earlier = known.get((axis, *operands[:count]))
            if earlier is not None:
                layer.inputs = (earlier, *operands[count:])
                break
        known.setdefault((axis, *operands), layer)


COMMUTATIVE = frozenset(["add", "mul"])
"""Merges whose two operands can be exchanged without changing a bit."""

Place = tuple["FlatLayer", int] | None
"""A list of statements: the branch of a layer's operand, or None for that of the net."""


class _Homes:
    """The list that each layer is in. `flowing` are the operands that are no branch but the flow before their layer."""

    def __init__(
        self, net: FlatNet, modules: Mapping[FlatLayer, Path], early: bool = False, named: bool = False
    ) -> None:
        self.net = net
        self.named = named
        self.modules = {**modules}
        self.members = [layer for layer in modules if has_weights(layer)]
        self.pinned: dict[FlatLayer, Place] = {}
        self.early = early
        self.layers = net.live()
        self.order = {layer: at for at, layer in enumerate(self.layers)}
        self.readers: dict[FlatLayer, list[tuple[FlatLayer, int]]] = {layer: [] for layer in self.layers}
        for layer in self.layers:
            for at, value in enumerate(layer.inputs):
                self.readers[value].append((layer, at))
        self.fixed = {*net.outputs.values(), *net.inputs.values()}
        self.flowing: set[tuple[FlatLayer, int]] = set()
        self.home: dict[FlatLayer, Place] = {}
        self.depth: dict[Place, int] = {None: 0}
        while self._settle():
            pass
        if self._align():
            self._settle()
        self._adopt()
        while self._gather() or self._settle():
            self._settle()

    def _settle(self) -> bool:
        """Find the homes; return whether a branch is too large, which makes it a part of the flow."""
        self.home, self.depth = {}, {None: 0}
        for layer in reversed(self.layers):
            uses = [self._use(reader, at) for reader, at in self.readers[layer]]
            home = None if layer in self.fixed or not uses else self._lowest(uses)
            self.home[layer] = self._common(home, self.pinned[layer]) if layer in self.pinned else home
        sizes: dict[Place, int] = {}
        heights: dict[Place, int] = {}
        for layer in self.layers:  # what is in a branch precedes its layer
            inner = [(layer, at) for at in range(len(layer.inputs)) if (layer, at) in sizes]
            home = self.home[layer]
            sizes[home] = sizes.get(home, 0) + 1 + sum(sizes[each] for each in inner)
            height = max((heights[each] for each in inner), default=-1) + 1 if len(layer.inputs) > 1 else 0
            heights[home] = max(heights.get(home, 0), height)
        large = {
            place
            for place in sizes
            if place is not None and (sizes[place] > self._limit(place[0]) or heights[place] > MAX_NESTED)
        }
        chosen = {max((each for each in large if each[0] is layer), key=lambda each: sizes[each]) for layer, _ in large}
        self.flowing |= chosen
        self.sizes = sizes
        return bool(chosen)

    def _limit(self, merge: FlatLayer) -> int:
        """Return the maximum number of layers of a branch."""
        module = self.modules.get(merge)
        return MAX_MODULE if module and module[-1].isdigit() else MAX_BRANCH

    def _align(self) -> bool:
        """Pin what only one operand of a merge needs to the flow before it, if the other operands are alike, each from
        a value of its own, and this one is too from then on; return whether there are any."""
        for layer in self.layers:
            if len(layer.inputs) < LEAST_ALIKE:
                continue
            chains = [self._chain(layer, at) for at in range(len(layer.inputs))]
            usual, times = Counter(tuple(each.kind for each in chain) for chain in chains).most_common(1)[0]
            starts = {
                chain[-1].inputs[0] if chain else value for chain, value in zip(chains, layer.inputs, strict=True)
            }
            if not usual or len(starts) < len(chains):
                continue
            for at, chain in enumerate(chains):
                tail = chain[: len(usual)]
                start = tail[-1].inputs[0] if tail else layer
                alike = tuple(each.kind for each in tail) == usual and self.home.get(start) == (layer, at)
                if alike and times >= len(chains) - 1:
                    inside = [each for each in self.layers if self.home[each] == (layer, at) and each not in tail]
                    self.pinned.update(dict.fromkeys(inside, self.home[layer]))
        return bool(self.pinned)

    def _chain(self, layer: FlatLayer, at: int) -> list[FlatLayer]:
        """Return the last layers of a branch, from the last one on, of which each has one input."""
        found: list[FlatLayer] = []
        value = layer.inputs[at]
        while self.home[value] == (layer, at) and len(value.inputs) == 1:
            found.append(value)
            value = value.inputs[0]
        return found

    def _use(self, reader: FlatLayer, at: int) -> Place:
        """Return the list in which a reader needs an operand."""
        home = self.home[reader]
        if (reader, at) in self.flowing or at not in branchable(reader):
            return home
        place = reader, at
        self.depth[place] = self.depth[home] + 1
        return place

    def _adopt(self) -> None:
        """Put merges that are in no known module into that of their branches, and those of several branches that are
        all in a module within theirs."""
        inside: dict[FlatLayer, list[Path]] = {}
        branches: dict[FlatLayer, set[int]] = {}
        for layer, place in self.home.items():
            if place is not None and layer in self.modules:
                inside.setdefault(place[0], []).append(self.modules[layer])
                branches.setdefault(place[0], set()).add(place[1])
        for layer, paths in inside.items():
            first, last = min(paths), max(paths)
            same = [a == b for a, b in zip(first, last, strict=False)]
            shared, own = first[: [*same, False].index(False)], self.modules.get(layer)
            whole = len(branches[layer]) == len(layer.inputs) > 1
            if own is None or (whole and len(shared) > len(own) and shared[: len(own)] == own):
                self.modules[layer] = shared

    def _gather(self) -> bool:
        """Pin the layers of modules that are in several lists to what these have in common; return whether there are
        any."""
        members: dict[Path, list[FlatLayer]] = {}
        for layer in self.members:
            path = self.modules[layer]
            for depth in range(1, len(path) + 1):
                members.setdefault(path[:depth], []).append(layer)
        for path, layers in sorted(members.items(), key=lambda each: len(each[0])):
            places = {layer: self._outside(layer, path) for layer in layers}
            target = places[layers[0]]
            for place in places.values():
                target = self._common(target, place)
            target = self._without_others(target, path) if self.named else target
            if {*places.values()} == {target}:
                continue
            apart = {place for place in places.values() if place != target}
            new = [
                layer for layer, own in self.modules.items() if own[: len(path)] == path and self.home[layer] in apart
            ]
            self.pinned.update(dict.fromkeys(new, target))
            if new:
                return True
        return self.named and self._expel(members)

    def _expel(self, members: Mapping[Path, Sequence[FlatLayer]]) -> bool:
        """Pin what is of other modules in a branch of a module's merge to the list that the merge is in; return whether
        there is any."""
        own = {*self.members}
        known = [layer for layer, path in self.modules.items() if path in members or layer in own]
        inner = [layer for layer in known if self.home[layer] is not None]
        for path in sorted(members, key=len):
            for layer in inner:
                if self.modules[layer][: len(path)] == path:
                    continue
                outermost, merge = layer, None
                item, place = layer, self.home[layer]
                while place is not None:
                    if self.modules.get(place[0], ())[: len(path)] == path:
                        outermost, merge = item, place[0]
                    item = place[0]
                    place = self.home[item]
                if merge is not None and self.pinned.get(outermost, (outermost, 0)) != self.home[merge]:
                    self.pinned[outermost] = self.home[merge]
                    return True
        return False

    def _outside(self, layer: FlatLayer, path: Path) -> Place:
        """Return the list in which the outermost merge of a module is that a layer is in."""
        place = self.home[layer]
        while place is not None and self.modules.get(place[0], ())[: len(path)] == path:
            place = self.home[place[0]]
        return place

    def _without_others(self, place: Place, path: Path) -> Place:
        """Return the list in which a module can be: in no branch of a module beside it."""
        while place is not None:
            other = self.modules.get(place[0], ())
            if other[: len(path)] == path[: len(other)]:
                break
            place = self.home[place[0]]
        return place

    def _lowest(self, uses: Sequence[Place]) -> Place:
        """Return the list of a value with these uses."""
        home = uses[0]
        for use in uses[1:]:
            home = self._common(home, use)
        if not self.early:
            return home
        within = {use: self._child(use, home) for use in uses}
        if None in within.values() or len({*within.values()}) == 1:
            return home
        first = min(within.values(), key=lambda layer: self.order[layer])  # type: ignore[index]
        return self._lowest([use for use in uses if within[use] is first])

    def _child(self, place: Place, home: Place) -> FlatLayer | None:
        """Return the layer in a list whose branch has a place within, None for the list itself."""
        found = None
        while place != home:
            assert place is not None
            found = place[0]
            place = self.home[found]
        return found

    def _common(self, a: Place, b: Place) -> Place:
        while a != b:
            if self.depth[a] < self.depth[b]:
                a, b = b, a
            assert a is not None
            a = self.home[a[0]]
        return a

    def length(self, place: tuple[FlatLayer, int]) -> int:
        """Return the number of layers of a branch."""
        return self.sizes.get(place, 0)

    def tree(self) -> list[Item]:
        """Return the statements of the net."""
        lists: dict[Place, list[Item]] = {None: []}
        for layer in self.layers:  # what is in a branch precedes its layer
            branches = tuple(lists.pop((layer, at), None) for at in range(len(layer.inputs)))
            lists.setdefault(self.home[layer], []).append(Step(layer, branches))
        return lists[None]
