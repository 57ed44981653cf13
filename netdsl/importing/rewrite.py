"""Rewrite a flat list as a text that a person would write, in passes, each of which must leave the net as it is."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from netdsl.declare.arguments import LayerLabel, Operand
from netdsl.importing.blocks import Blocks, units, walk, without_units
from netdsl.importing.naming import Ungrouped, statements
from netdsl.importing.notation import written
from netdsl.importing.recompile import Differs, compared, recompiled
from netdsl.importing.repeats import repeated, unlabelled
from netdsl.importing.scopes import Scopes, claims, is_number, joined
from netdsl.importing.statements import Block, layout
from netdsl.importing.structure import nested
from netdsl.importing.text import flat_text, net_name, whole_text
from netdsl.layers.table import LAYER_MODULES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from netdsl.importing.flat import FlatLayer, FlatNet
    from netdsl.importing.statements import Statement
    from netdsl.importing.structure import Item, Path

LINE = 40
"""Number of characters that are as long to read as the end of a line."""

NAME = 6
"""Number of characters that the name of a block counts as, however long it is."""


class Draft:
    """A text of a net, as blocks and statements; `defaults` are lines above them."""

    def __init__(
        self, net: FlatNet, body: Sequence[Statement], blocks: Mapping[str, Block], defaults: Sequence[str] = ()
    ) -> None:
        self.net = net
        self.body = [*body]
        self.blocks = blocks
        self.defaults = defaults

    def text(self, comments: Iterable[str] = ()) -> str:
        """Return the text of a file, with comments above it."""
        return whole_text(self.net, layout(self.body), comments, self.above())

    def above(self) -> list[str]:
        """Return the lines above the net."""
        above = [*self.defaults, ""] if self.defaults else []
        for block in self.blocks.values():
            above += [*block.lines(), ""]
        return above

    def changed(self, body: Sequence[Statement], blocks: Mapping[str, Block], defaults: Sequence[str]) -> Draft:
        """Return a text with other statements."""
        return Draft(self.net, body, blocks, defaults)

    @property
    def cost(self) -> int:
        """How long it takes to read the text: its characters, except for long names of blocks, and its lines."""
        text = self.text()
        words = Counter(re.findall(r"\w+", text))
        lengths = sum(len(line.strip()) for line in text.splitlines())
        long_names = sum((len(each.name) - NAME) * words[each.name] for each in self.blocks.values())
        return lengths - long_names + LINE * text.count("\n")


class Rewriter:
    """The passes over an arranged net. `draft` is the result of those that left the net as it is, None if that is the
    flat list; `dropped` are others, with what is wrong. `apart` are modules that cannot be groups. Names without dots
    are kept if `keep_names` is set, or the text is less than twice as long with them."""

    def __init__(self, net: FlatNet, keep_names: bool = False) -> None:
        self.net = net
        self.keep_names = keep_names
        self.draft: Draft | None = None
        self.dropped: dict[str, str] = {}
        self.names: Mapping[FlatLayer, Path] = {}
        self.apart: list[Path] = []

    def text(self, comments: Iterable[str] = ()) -> str:
        """Return the text, with comments above it."""
        return flat_text(self.net, comments) if self.draft is None else self.draft.text(comments)

    def run(self) -> None:
        """Take all passes at once or, if the result is another net, one after the other, to find those to drop."""
        if not self.at_once(apart=False) and not self.at_once(apart=True):
            self.one_by_one()

    def at_once(self, apart: bool) -> bool:
        """Take the result of all passes, unless it is another net. Modules can be kept `apart`, each in no merge of
        another one."""
        named = self.shortest_of(self.named_bodies(apart))
        if named is None:
            return False
        found = self.tried("", lambda: with_defaults(named), self.names)
        self.dropped = {}
        if found and not self.keep_names and self.names and all(len(path) == 1 for path in self.names.values()):
            self.try_without_names()
        return found

    def try_without_names(self) -> None:
        """Take the text without the model's names, none of which has a dot, if it is at most half as long."""
        named, names, self.names = self.draft, self.names, {}
        nameless = self.shortest_of(self.nameless_bodies())
        assert named is not None
        if nameless is None or 2 * with_defaults(nameless).cost > named.cost:
            self.names = names
        elif self.tried("names", lambda: with_defaults(nameless), {}):
            lines = named.text().count("\n")
            self.dropped["names"] = f"with them, the text has {lines} lines; --keep-names keeps them"
        else:
            self.names = names
            self.dropped = {}

    def shortest_of(self, bodies: Mapping[bool, list[Statement]]) -> Draft | None:
        """Return the shortest text of these statements, None if there are none."""
        distinct = {"\n".join(layout(body)): body for body in bodies.values()}
        drafts = [self.shortest(body, loops=True) for body in distinct.values()]
        return min(drafts, key=lambda draft: draft.cost, default=None)

    def named_bodies(self, apart: bool = True) -> dict[bool, list[Statement]]:
        """Return the statements of the net in which weights have their names, with values late and early."""
        bodies: dict[bool, list[Statement]] = {}
        while not bodies:
            self.names, wrong = self.claimed(), None
            for early in (False, True):
                try:
                    bodies[early] = statements(self.net, self.net_tree(self.names, early, apart), self.names)
                except Ungrouped as error:
                    wrong = error.module
                except Differs:
                    continue
            if bodies or wrong is None or not apart or not self.separate(wrong):
                break
        return bodies

    def nameless_bodies(self) -> dict[bool, list[Statement]]:
        """Return the statements of the net without names, with values late and early."""
        bodies = {}
        for early in (False, True):
            with suppress(Differs):
                bodies[early] = statements(self.net, self.net_tree({}, early), {})
        return bodies

    def claimed(self) -> dict[FlatLayer, Path]:
        """Return the names of weights, without the groups that cannot be."""
        return {layer: joined(path, self.apart) for layer, path in claims(self.net).items()}

    def separate(self, module: Path) -> bool:
        """Name the parts of a module so that it is no group; return whether all names are still different."""
        while module and is_number(module[-1]):
            module = module[:-1]
        before = self.claimed()
        self.apart.append(module)
        names = [*self.claimed().values()] if module else []
        groups = {name[:count] for name in names for count in range(1, len(name))}
        if not names or {*names} == {*before.values()} or len({*names}) < len(names) or not groups.isdisjoint(names):
            self.apart.pop()
            return False
        return True

    def one_by_one(self) -> None:
        """Take the result of each pass that leaves the net as it is."""
        self.names = {}
        self.tried("structure", lambda: self.plain(self.net_tree({}, early=False)), {})
        names = self.claimed()
        bodies = self.bodies(names) if names else []
        if not bodies:
            bodies = self.bodies({})
        if not bodies:
            return
        body = min(bodies, key=lambda body: self.shortest(body, loops=True).cost) if len(bodies) > 1 else bodies[0]
        self.tried("blocks", lambda: self.shortest(body, loops=False), self.names)
        self.tried("repeats", lambda: self.shortest(body, loops=True), self.names)
        if self.draft is not None:
            draft = self.draft
            self.tried("defaults", lambda: with_defaults(draft), self.names)

    def bodies(self, names: Mapping[FlatLayer, Path]) -> list[list[Statement]]:
        """Return the statements of the net with these names, in one or two orders that are the net."""
        found: dict[str, list[Statement]] = {}
        name = "scopes" if names else "structure"
        for early in (False, True):
            tree = self.net_tree(names, early)
            if self.tried(name, lambda: self.plain(tree, names), names):  # noqa: B023
                self.names = names
                body = statements(self.net, tree, names)
                found.setdefault("\n".join(layout(body)), body)
        if found:
            self.dropped.pop(name, None)
        return [*found.values()]

    def net_tree(self, names: Mapping[FlatLayer, Path], early: bool, apart: bool = True) -> list[Item]:
        scopes = Scopes(self.net, names, self.apart)
        tree = nested(self.net, scopes.modules, early, apart and bool(names))
        return scopes.grouped(tree) if names else tree

    def tried(self, name: str, make: Callable[[], Draft], names: Mapping[FlatLayer, Path]) -> bool:
        """Take the result of a pass, unless it is another net, or has other names."""
        try:
            draft = make()
            check(self.net, draft.text(), names)
        except Differs as error:
            self.dropped[name] = str(error).splitlines()[0]
            return False
        self.dropped.pop(name, None)
        self.draft = draft
        return True

    def plain(self, tree: Sequence[Item], names: Mapping[FlatLayer, Path] | None = None) -> Draft:
        """Return the text of a tree, with only those blocks without which weights have other names."""
        body = statements(self.net, tree, names or {})
        blocks = Blocks(self.words(body), every=False, classes=self.net.classes)
        return Draft(self.net, unlabelled(blocks.found(body)), blocks.blocks)

    def shortest(self, body: Sequence[Statement], loops: bool) -> Draft:
        """Return the text with those blocks that make it shorter."""
        banned: set[str] = set()
        best, cost = self.blocked(body, loops, banned), inf
        while best.cost < cost:
            cost = best.cost
            for origin in [*best.blocks][::-1]:
                other = self.blocked(body, loops, banned | {origin})
                if other.cost <= best.cost:
                    best = other
                    banned.add(origin)
        return best

    def blocked(self, body: Sequence[Statement], loops: bool, banned: Collection[str]) -> Draft:
        finder = Blocks(self.words(body), banned=banned, classes=self.net.classes)
        found = finder.found([*body]) if self.names else without_units(finder.found(units(body)))
        blocks, avoid = finder.blocks.values(), {*self.words(body), *finder.variables, *LAYER_MODULES}
        for block in blocks:
            block.body = repeated(unlabelled(block.body), avoid) if loops else unlabelled(block.body)
        found = unlabelled(found)
        return Draft(self.net, repeated(found, avoid) if loops else found, finder.blocks)

    def words(self, body: Sequence[Statement]) -> list[str]:
        """Return the names that blocks cannot have."""
        return [net_name(self.net.name), *(each.label for each in walk(body) if each.label)]


def check(net: FlatNet, text: str, names: Mapping[FlatLayer, Path], alias: str | None = None) -> None:
    """Raise Differs unless a text, or an alias in it, is the net, with these names of its weights."""
    found = compared(net, recompiled(text, f"{alias or net_name(net.name)}.net"))
    for layer, path in names.items():
        if found[layer].name != ".".join(path):
            raise Differs(f"the weights of {'.'.join(path)} are called {found[layer].name}")


def with_defaults(draft: Draft) -> Draft:
    """Return a text with arguments that most calls of a layer have in a `default` line."""
    bodies = [draft.body, *(block.body for block in draft.blocks.values())]
    calls = [each for body in bodies for each in walk(body) if each.layer is not None and each.layer.kind == each.head]
    chosen = dict(filter(None, (_default(kind, name, calls) for kind, name in sorted(_keywords(calls)))))
    lines: dict[str, list[str]] = {}
    for (kind, name), (text, _) in chosen.items():
        lines.setdefault(kind, []).append(f"{name} {text}")

    def rewritten(body: Sequence[Statement]) -> list[Statement]:
        found = []
        for each in body:
            new = each.mapped(iter([rewritten(part) for part in each.lists()]))
            if each.layer is not None and each.layer.kind == each.head:
                new = new.changed(values={**_texts(each, chosen), **each.values})
            found.append(new)
        return found

    blocks = {
        key: Block(block.name, block.parameters, rewritten(block.body), block.seq)
        for key, block in draft.blocks.items()
    }
    defaults = [f"default {kind} {' '.join(texts)}" for kind, texts in lines.items()]
    return draft.changed(rewritten(draft.body), blocks, defaults)


Chosen = dict[tuple[str, str], tuple[str, object]]


def _keywords(calls: Sequence[Statement]) -> set[tuple[str, str]]:
    return {
        (each.head, name)
        for each in calls
        for name, argument in each.layer.arguments.items()  # type: ignore[union-attr]
        if argument.keyword and not isinstance(argument.kind, (Operand, LayerLabel))
    }


def _default(kind: str, name: str, calls: Sequence[Statement]) -> tuple[tuple[str, str], tuple[str, object]] | None:
    """Return the text and the value of a default, if a line for it makes the text shorter."""
    own = [each.layer for each in calls if each.head == kind and name not in each.values]
    argument = own[0].arguments[name] if own and own[0] is not None else None
    if argument is None or argument.default is None:
        return None
    texts = Counter(written(getattr(layer, name), argument.kind) for layer in own)
    usual = written(argument.default, argument.kind)
    text, count = texts.most_common(1)[0]
    others = sum(texts.values()) - count
    saved = count * len(f" {name} {text}") - texts[usual] * len(f" {name} {usual}")
    if text == usual or others > count // 4 or saved < len(f"default {kind} {name} {text}") + LINE // 2:
        return None
    value = next(value for layer in own if written(value := getattr(layer, name), argument.kind) == text)
    return (kind, name), (text, value)


def _texts(call: Statement, chosen: Chosen) -> dict[str, str]:
    """Return the texts of arguments that have another default."""
    assert call.layer is not None
    found = {}
    for (kind, name), (text, _) in chosen.items():
        if kind == call.head:
            own = written(getattr(call.layer, name), call.layer.arguments[name].kind)
            found[name] = "" if own == text else own
    return found
