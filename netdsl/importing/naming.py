"""Write a tree as statements, with labels where something refers to them, or a weight needs them for its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.importing.notation import Labels
from netdsl.importing.recompile import Differs
from netdsl.importing.repeats import LEAST
from netdsl.importing.scopes import common, is_number, numbers
from netdsl.importing.statements import Statement
from netdsl.importing.structure import Group, Step, branchable, has_weights, layers_of
from netdsl.importing.text import output_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.importing.flat import FlatLayer, FlatNet
    from netdsl.importing.structure import Item, Path


class Ungrouped(Differs):
    """A `module` whose layers cannot be a group, because others are among them, or refer to a part of it."""

    def __init__(self, text: str, module: Path) -> None:
        super().__init__(text)
        self.module = module


class Scope:
    """What has names of its own: how many layers of each kind it has so far and, in a `seq`, of all kinds. `pending`
    are the numbers that follow."""

    def __init__(self, path: Path, seq: bool, pending: Sequence[int] = ()) -> None:
        self.path = path
        self.seq = seq
        self.count = 0
        self.kinds: dict[str, int] = {}
        self.pending = [*pending]
        self.projected = False

    def automatic(self, kind: str) -> str:
        return f"{kind}{self.kinds.get(kind, 0) + 1}"

    def counts(self, kind: str) -> None:
        self.count += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1


def statements(net: FlatNet, tree: Sequence[Item], names: Mapping[FlatLayer, Path]) -> list[Statement]:
    """Return a tree as statements in which weights have these names. Raises Differs if that cannot be written."""
    writer = _Writer(net, names)
    for _ in range(2):  # where everything is, and what is referred to
        writer.whole(tree)
    return writer.whole(tree)


class _Writer:
    """The state of writing: `places` are the scopes of layers, `last` the values of scopes, and `entries` those before
    groups, of which some have a label at the beginning of the group."""

    def __init__(self, net: FlatNet, names: Mapping[FlatLayer, Path]) -> None:
        self.net = net
        self.names = names
        outputs = output_names(net)
        self.outputs: dict[FlatLayer, list[str]] = {}
        for name, layer in net.outputs.items():
            self.outputs.setdefault(layer, []).append(outputs[name])
        self.single = len(outputs) == 1
        self.owners = {layer.shares for layer in net.live()} - {None}
        used = {name for layer in net.live() for name in layer.layer.arguments}
        self.avoid = used | {part for path in names.values() for part in path}
        self.labels: dict[Path, Labels] = {}
        self.places: dict[FlatLayer, Path] = {}
        self.last: dict[Path, FlatLayer | None] = {}
        self.referred: set[FlatLayer] = set()
        self.labelled: set[FlatLayer] = set()
        self.marked: dict[Path, str] = {}
        self.entries: dict[Path, FlatLayer | None] = {}
        self.entry_labels: dict[Path, str] = {}
        self.current: FlatLayer | None = None

    def label(self, layer: FlatLayer) -> str:
        """Return a label for a layer without a name, always the same. In equal groups, labels are equal."""
        scope = self.places.get(layer, ())
        self.labelled.add(layer)
        return self.words(scope).of(layer, "" if scope and layer.kind != "input" else None)

    def words(self, scope: Path) -> Labels:
        """Return the labels of a scope."""
        if scope not in self.labels:
            marks = {label for group, label in self.marked.items() if group[:-1] == scope}
            self.labels[scope] = Labels(self.avoid | marks | {self.entry_labels.get(scope, "")})
        return self.labels[scope]

    def whole(self, tree: Sequence[Item]) -> list[Statement]:
        self.current = None
        self.labels.clear()  # so that they are in the order of the text, and equal in equal groups
        scope = Scope((), False)
        found = self.written(tree, scope)
        if self.single and self.current not in self.outputs:
            found.append(self.begin(next(iter(self.outputs)), scope))
        return found

    def written(self, items: Sequence[Item], scope: Scope, group: bool = False) -> list[Statement]:
        """Return the statements of a list. The value of a `group` is an output behind its braces."""
        found: list[Statement] = []
        for item in items:
            found += self.group(item, scope) if isinstance(item, Group) else self.step(item, scope)
            if self.current is not None and not self.single and not (group and item is items[-1]):
                found += [Statement(f"output {name}") for name in self.outputs.get(self.current, ())]
        return found

    def begin(self, layer: FlatLayer, scope: Scope) -> Statement:
        """Return the statement that makes a value the current one."""
        self.current = layer
        return Statement(f"from {self.reference(layer, scope.path)}")

    # --- groups ---

    def group(self, item: Group, scope: Scope) -> list[Statement]:
        number = is_number(item.name)
        found = self.fillers(int(item.name), scope) if number else []
        if number:
            scope.counts("seq")
        path = (*scope.path, item.name)
        self.entries[path] = self.current
        inner = Scope(path, item.seq, [*numbers(item.body, self.names, path)])
        body = self.written(item.body, inner, group=True)
        if path in self.entry_labels:
            body.insert(0, Statement("identity", label=self.entry_labels[path]))
        self.last[path] = self.current
        if body and body[0].head.startswith("from "):
            found.append(body.pop(0))
        head, wide = "seq" if item.seq else "", body[0].wide if body else 0
        found.append(Statement(head, label=item.name, operands=[body], number=number, wide=wide, origin=".".join(path)))
        if path in self.marked:
            found.append(Statement("", label=self.marked[path], operands=[[]]))
        return found

    def fillers(self, number: int, scope: Scope) -> list[Statement]:
        """Return layers that do nothing, in place of those that are missing before a number of a `seq`."""
        if scope.pending[:1] == [number]:
            scope.pending.pop(0)
        missing = number - scope.count
        if missing < 0 or not scope.seq:
            raise Ungrouped(f"the weights {'.'.join(scope.path)}.{number} are out of order", scope.path)
        scope.count = number
        return [Statement("identity") for _ in range(missing)]

    # --- layers ---

    def step(self, item: Step, scope: Scope) -> list[Statement]:
        """Return the statement of a layer, with what must stand before and after it."""
        layer = item.layer
        self.places[layer] = scope.path
        if layer in self.labelled:
            self.label(layer)
        if layer.kind == "input":
            self.current = layer
            name = self.label(layer)
            return [Statement(f"input {name}", layer=layer.layer)]
        found, statement = self.skip(item, scope) or self.call(item, scope)
        before, label, mark = self.name(item, scope)
        self.current = layer
        statement.label = label
        found += [*before, statement]
        if mark:
            found.append(Statement("", label=mark, operands=[[]]))
        return found

    def wide(self) -> int:
        size = self.current.shape[0] if self.current is not None and self.current.shape else 0
        return size if isinstance(size, int) else 0

    def name(self, item: Step, scope: Scope) -> tuple[list[Statement], str, str]:
        """Return what must stand before a layer, its label, and the label of an empty group after it, if any."""
        layer = item.layer
        path = self.names.get(layer, ())
        own = path[-1] if path and path[:-1] == scope.path else ""
        if path and not own:
            shared = common(path, scope.path)
            module = path[: shared + 1] if shared + 1 < len(path) else scope.path[: shared + 1]
            raise Ungrouped(f"the weights {'.'.join(path)} are among others", module)
        referred = layer in self.referred
        if layer.layer.variadic or (any(item.lists()) and not own):
            label = self.label(layer) if referred else ""
            return ([], "", label) if any(item.lists()) else ([], label, "")
        if own and is_number(own):
            fillers = self.fillers(int(own), scope)
            scope.counts(layer.kind)
            return fillers, "", self.label(layer) if referred else ""
        if own:
            automatic = own == scope.automatic(layer.kind) and not referred and not scope.seq
            if automatic:
                scope.counts(layer.kind)
            return [], "" if automatic else own, ""
        unknown = bool(self.names) and has_weights(layer)  # a number of its own would be another's
        if scope.seq and not unknown:
            if not scope.pending or scope.count < scope.pending[0]:
                scope.counts(layer.kind)
                return [], "", self.label(layer) if referred else ""
            return [], self.label(layer), ""
        if unknown or referred or (layer.kind == "param" and layer.path):
            return [], self.label(layer), ""
        scope.counts(layer.kind)
        return [], "", ""

    # --- calls ---

    def skip(self, item: Step, scope: Scope) -> tuple[list[Statement], Statement] | None:
        """Return a sum as a `skip`, with its identity or with a `project`, if it is one."""
        layer = item.layer
        if layer.kind != "add" or len(layer.inputs) != 2 or layer.layer.spread or not item.branches[1]:  # type: ignore[attr-defined]
            return None
        shortcut, body = item.branches
        entry = layer.inputs[0] if shortcut is None else _start(shortcut)
        if entry is None or (entry is not self.current and _start(body or []) is not entry):
            return None
        if shortcut is not None and (entry.shape == layer.shape or not self.projects(shortcut, scope)):
            return None
        before = [] if entry is self.current else [self.begin(entry, scope)]
        wide = self.wide()
        inner = self.branch(body or [], entry, scope)
        if shortcut is None:
            return before, Statement("skip", operands=[inner], wide=wide)
        group = shortcut[0]
        items = group.body if isinstance(group, Group) else shortcut
        path = (*scope.path, "downsample")
        scope.projected = True
        project = self.branch(items, entry, Scope(path, True, [*numbers(items, self.names, path)]))
        return before, Statement("skip", operands=[inner], project=project, wide=wide)

    def projects(self, shortcut: Sequence[Item], scope: Scope) -> bool:
        """Return whether a shortcut can be a `project`, which is a `seq` called downsample: it has weights of its own
        alone."""
        inner = [*layers_of(shortcut)]
        if not any(map(has_weights, inner)) or not self.owners.isdisjoint(inner):
            return False
        if scope.projected and self.names:
            return False
        if len(shortcut) == 1 and isinstance(shortcut[0], Group):
            return shortcut[0].name == "downsample" and shortcut[0].seq
        return not self.names

    def call(self, item: Step, scope: Scope) -> tuple[list[Statement], Statement]:
        """Return a layer as a call, behind a `from` if it needs one."""
        layer = item.layer
        operands, values = layer.layer.split(layer.inputs)
        texts = {name: self.reference(value, scope.path) for name, value in values.items()}
        tied = layer.shares is not None and getattr(layer.layer, "tied", None) is not None
        if layer.shares is not None and tied:
            texts["tied"] = self.reference(layer.shares, scope.path)
        before: list[Statement] = []
        if layer.kind == "state":
            return before, Statement(layer.kind, layer=layer.layer, operands=[self.reference(operands[0], scope.path)])
        places = branchable(layer)
        flows = operands[0] if operands and (not places or places.start) else None
        if flows is not None:
            before += [self.begin(flows, scope)] if flows is not self.current else []
        elif (start := self.fork(item)) is not None:
            before.append(self.begin(start, scope))
        wide, known = self.wide(), self.known(scope) if len(places) >= LEAST else ""
        chosen = [*places]
        if len(chosen) == 2 and chosen[0] == 0 and layer.layer.flow_first and self.is_current(item, 0):
            chosen = chosen[1:]
        written = [self.operand(item, at, scope) for at in chosen]
        if layer.shares is not None and not tied:
            return before, Statement(f"reuse {self.reference(layer.shares, scope.path)}", operands=written)
        return before, Statement(layer.kind, layer=layer.layer, values=texts, operands=written, wide=wide, known=known)

    def is_current(self, item: Step, at: int) -> bool:
        return item.branches[at] is None and item.layer.inputs[at] is self.current

    def fork(self, item: Step) -> FlatLayer | None:
        """Return the value that all branches begin with, if it is not the current one."""
        starts = {_start(branch) for branch in item.lists()}
        if len(starts) != 1 or any(self.is_current(item, at) for at in range(len(item.branches))):
            return None
        (start,) = starts
        return None if start is self.current else start

    def operand(self, item: Step, at: int, scope: Scope) -> str | list[Statement]:
        branch = item.branches[at]
        if branch is not None:
            return self.branch(branch, self.current, scope)
        return [] if self.is_current(item, at) else self.reference(item.layer.inputs[at], scope.path)

    def branch(self, items: Sequence[Item], entry: FlatLayer | None, scope: Scope) -> list[Statement]:
        """Return the statements of a branch, which begins with the value before it."""
        self.current = entry
        found = self.written(items, scope)
        self.current = entry
        return found

    # --- references ---

    def known(self, scope: Scope) -> str:
        """Return the label of the current value, if it has one in any case."""
        kept = {*self.referred}, {*self.labelled}, {**self.marked}, {**self.entry_labels}
        if self.current is None:
            return ""
        try:
            found = self.reference(self.current, scope.path)
        except Differs:
            found = ""
        new = (self.labelled, self.marked, self.entry_labels) != kept[1:]
        self.referred, self.labelled, self.marked, self.entry_labels = kept
        return "" if new or found == "_" else found

    def reference(self, layer: FlatLayer, scope: Path) -> str:
        """Return the text that refers to a value from a scope. Raises Differs if there is none."""
        place = self.places.get(layer)
        if place is None:
            return "_"
        if (label := self.entry_label(layer, scope)) is not None:
            return label
        shared = common(place, scope)
        end = len(place)  # the outermost group whose value it is
        while end > shared and self.last.get(place[:end]) is layer:
            end -= 1
        for at in range(shared, end):
            if is_number(place[at]):
                text = f"{layer} is in a part of a `seq`, so that nothing outside can refer to it"
                raise Ungrouped(text, place[: at + 1])
        return ".".join((*place[shared:end], self.last_name(layer, place, end)))

    def entry_label(self, layer: FlatLayer, scope: Path) -> str | None:
        """Return the label of a value at the beginning of the innermost numbered group around a scope that begins with
        it, or None if there is no such group."""
        for end in range(len(scope), 0, -1):
            if is_number(scope[end - 1]) and self.entries.get(scope[:end]) is layer:
                if scope[:end] not in self.entry_labels:
                    self.entry_labels[scope[:end]] = self.words(scope[:end]).take("x", "x")
                return self.entry_labels[scope[:end]]
        return None

    def last_name(self, layer: FlatLayer, place: Path, end: int) -> str:
        """Return the name of a value in a scope: that of a group whose value it is, or its own."""
        if end < len(place):
            group = place[: end + 1]
            if not is_number(group[-1]):
                return group[-1]
            if group not in self.marked:
                self.marked[group] = self.words(place[:end]).take("_".join(place[max(0, end - 1) : end + 1]), "value")
            return self.marked[group]
        self.referred.add(layer)
        path = self.names.get(layer, ())
        return path[-1] if path and path[:-1] == place and not is_number(path[-1]) else self.label(layer)


def _start(items: Sequence[Item]) -> FlatLayer | None:
    """Return the value that statements begin with."""
    first: Item = items[0]
    while True:
        if isinstance(first, Group):
            first = first.body[0]
            continue
        inner = next(first.lists(), None)
        if not inner:
            return first.layer.inputs[0] if first.layer.inputs else None
        first = inner[0]
